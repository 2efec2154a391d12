// A GraphQL service for the tests, made with graphql-yoga, on a free port of
// loopback. It asks for the token in its environment, prints its URL, says on
// standard output which mutations it has carried out, and ends when standard
// input does.
import { createServer } from "node:http";
import { createRequire } from "node:module";

const require = createRequire(new URL("../npm/package.json", import.meta.url));
const { createSchema, createYoga } = require("graphql-yoga");
const { GraphQLError } = require("graphql");

const orders = [
  { id: "9007199254740993", total: 1250, status: "OPEN", lines: [{ sku: "a-1", count: 2 }] },
  { id: "2", total: 99, status: "SENT", lines: null },
];
const refused = (message, code) => new GraphQLError(message, { extensions: { code } });
const find = (id) => {
  const order = orders.find((o) => o.id === id);
  if (!order) throw refused(`there is no order ${id}`, "NOT_FOUND");
  return order;
};

const typeDefs = /* GraphQL */ `
  type Query {
    "One order."
    order(id: ID!): Order
    "Orders, the newest first."
    orders(first: Int = 10, after: String, where: OrderFilter): OrderConnection!
    me: User
  }
  type Mutation {
    "Cancels an order."
    cancel(id: ID!, reason: Reason!): Order
  }
  type Order { id: ID! total: Int! status: Status! lines: [Line!] secret: String }
  type Line { sku: String! count: Int! }
  type User { id: ID! name: String! friends(first: Int): [User!] }
  type OrderConnection { nodes: [Order!]! pageInfo: PageInfo! count: Int! }
  type PageInfo { endCursor: String hasNextPage: Boolean! }
  enum Status { OPEN SENT CANCELLED }
  enum Reason { MISTAKE CHANGED_MIND }
  input OrderFilter { status: Status and: [OrderFilter!] least: Int = 0 }
`;

const resolvers = {
  Query: {
    order: (_, { id }) => find(id),
    orders: (_, { first, where }) => {
      const nodes = orders.filter((o) => (!where?.status || o.status === where.status) && o.total >= (where?.least ?? 0)).slice(0, first);
      return { nodes, count: nodes.length, pageInfo: { endCursor: null, hasNextPage: false } };
    },
    me: () => ({ id: "1", name: "Ann", friends: [] }),
  },
  Mutation: {
    cancel: (_, { id }) => {
      const order = find(id);
      order.status = "CANCELLED";
      console.log(`cancelled ${id}`);
      return order;
    },
  },
  Order: {
    secret: () => {
      throw refused("not for you", "FORBIDDEN");
    },
  },
};

const yoga = createYoga({ schema: createSchema({ typeDefs, resolvers }), logging: false, landingPage: false, graphiql: false });
const server = createServer((req, res) => {
  if (req.headers.authorization !== `Bearer ${process.env.TOKEN}`) {
    res.writeHead(401, { "content-type": "text/plain" }).end("no");
    return;
  }
  yoga(req, res);
});
process.stdin.resume().once("close", () => process.exit(0));
server.listen(0, "127.0.0.1", () => console.log(`http://127.0.0.1:${server.address().port}/graphql`));
