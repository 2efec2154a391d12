// A certified authorization server for the tests, on a free port of loopback. It
// is told its clients, lifetimes (seconds) and the format of tokens as one line of
// JSON on standard input, prints its issuer, and ends when standard input does.
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { Provider } from "../npm/node_modules/oidc-provider/lib/index.js";

const lines = createInterface({ input: process.stdin });
lines.once("close", () => process.exit(0));
lines.once("line", (line) => {
  const { clients, ttl, format = "opaque" } = JSON.parse(line);
  const server = createServer();
  server.listen(0, "127.0.0.1", () => {
    const issuer = `http://127.0.0.1:${server.address().port}`;
    const provider = new Provider(issuer, {
      clients,
      cookies: { keys: ["test"] },
      scopes: ["openid", "offline_access", "read", "write"],
      pkce: { required: () => true },
      rotateRefreshToken: true,
      issueRefreshToken: async () => true,
      ttl: { AccessToken: ttl, ClientCredentials: ttl, RefreshToken: 600, Session: 600, Grant: 600, Interaction: 600, IdToken: 600, DeviceCode: 60 },
      features: {
        clientCredentials: { enabled: true },
        deviceFlow: { enabled: true },
        devInteractions: { enabled: true },
        registration: { enabled: true },
        revocation: { enabled: true },
        resourceIndicators: {
          enabled: true,
          useGrantedResource: () => true,
          getResourceServerInfo: (_, resource) => ({ scope: "read write", audience: resource, accessTokenTTL: ttl, accessTokenFormat: format }),
        },
      },
    });
    server.on("request", provider.callback());
    console.log(issuer);
  });
});
