// postgres.js, by postgres(url).

import { createRequire } from "node:module";
import { WHERE, serve } from "./serve.mjs";

// The packages are where `prepare` put them, which is the first argument.
const postgres = createRequire(process.argv[2] + "/")("postgres");

await serve(async (url) => {
  const sql = postgres(url);
  try {
    return (await sql.unsafe(WHERE))[0].place;
  } finally {
    sql.end({ timeout: 0 }).catch(() => {});
  }
});
