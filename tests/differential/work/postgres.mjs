// Ordinary work by postgres.js, which sends statements without waiting for answers.

import { once } from "node:events";
import { createRequire } from "node:module";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { expect, serve } from "./serve.mjs";

// The packages are where `prepare` put them, which is the first argument.
const postgres = createRequire(process.argv[2] + "/")("postgres");

await serve(async (url) => {
  const done = [];
  const sql = postgres(url, { max: 1, onnotice: () => {} });
  try {
    const sums = await Promise.all([...Array(100).keys()].map((n) => sql`select ${n}::int + 1 as sum`));
    expect(sums.every((rows, n) => rows[0].sum === n + 1), "the sums");
    done.push("prepared", "pipeline");
    await sql`create temp table t (id int, words text)`;
    const lines = [...Array(20000).keys()].map((n) => `${n}\t${"x".repeat(50)}\n`);
    await pipeline(Readable.from(lines), await sql`copy t from stdin`.writable());
    done.push("copy in");
    let bytes = 0;
    // Without pausing: a paused socket of this driver is not always resumed.
    const copied = await sql`copy t to stdout`.readable();
    copied.on("data", (chunk) => (bytes += chunk.length));
    await once(copied, "end");
    expect(bytes === lines.join("").length, "what was copied");
    done.push("copy out");
    const rows = await sql`select repeat('y', 1000) from generate_series(1, 20000)`;
    expect(rows.length === 20000, "all rows");
    done.push("large");
    const sleep = sql`select pg_sleep(60)`;
    setTimeout(() => sleep.cancel(), 300);
    const code = await sleep.then(() => "", (error) => error.code);
    expect(code === "57014", `a cancelled statement: ${code}`);
    expect((await sql`select 1 as one`)[0].one === 1, "the session goes on");
    done.push("cancel");
    const heard = new Promise((resolve, reject) => {
      setTimeout(() => reject(new Error("no news")), 10000).unref();
      sql.listen("news", resolve, () => sql.notify("news", "hello")).catch(reject);
    });
    expect((await heard) === "hello", "the news");
    done.push("notify");
    return done;
  } finally {
    await sql.end({ timeout: 1 }).catch(() => {});
  }
});
