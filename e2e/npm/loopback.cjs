// The reference servers listen on every interface and have no setting for it.
// Loaded before one of them, this keeps it on loopback.
const net = require("node:net");
const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (port, ...rest) {
  const done = rest.find((arg) => typeof arg === "function");
  return listen.call(this, { port: Number(port), host: "127.0.0.1" }, done);
};
