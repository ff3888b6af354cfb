// Ordinary work by node-postgres, which has no COPY and no cancel request of its own.

import { createRequire } from "node:module";
import { once } from "node:events";
import { expect, serve } from "./serve.mjs";

// The packages are where `prepare` put them, which is the first argument.
const pg = createRequire(process.argv[2] + "/")("pg");

await serve(async (url) => {
  const done = [];
  const client = new pg.Client({ connectionString: url });
  // Without a listener, an error after the connection is ready would end the process.
  client.on("error", () => {});
  await client.connect();
  for (let number = 0; number < 10; number += 1) {
    const query = { name: "plus", text: "select $1::int + 1 as sum", values: [number] };
    expect((await client.query(query)).rows[0].sum === number + 1, "a sum");
  }
  done.push("prepared");
  const { rows } = await client.query("select repeat('y', 1000) from generate_series(1, 20000)");
  expect(rows.length === 20000, "all rows");
  done.push("large");
  await client.query("listen news");
  const heard = once(client, "notification", { signal: AbortSignal.timeout(10000) });
  const other = new pg.Client({ connectionString: url });
  await other.connect();
  await other.query("notify news, 'hello'");
  expect((await heard)[0].payload === "hello", "the news");
  done.push("notify");
  await Promise.all([client.end(), other.end()]);
  return done;
});
