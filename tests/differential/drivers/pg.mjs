// node-postgres, by new pg.Client({ connectionString }).

import { createRequire } from "node:module";
import { WHERE, serve } from "./serve.mjs";

// The packages are where `prepare` put them, which is the first argument.
const pg = createRequire(process.argv[2] + "/")("pg");

await serve(async (url) => {
  const client = new pg.Client({ connectionString: url });
  // Without a listener, an error after the connection is ready would end the process.
  client.on("error", () => {});
  try {
    await client.connect();
    return (await client.query(WHERE)).rows[0].place;
  } finally {
    client.end().catch(() => {});
  }
});
