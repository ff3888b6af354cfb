// What the Node drivers share: a URL per line comes in, and where it led goes out.

import { createInterface } from "node:readline";

export const WHERE =
  "select json_build_object('database', current_database(), " +
  "'port', inet_server_port(), 'user', current_user)::text as place";

const PATIENCE = 3000;

// Standard output is for answers; drivers print notices and warnings too.
console.log = console.error;

// A socket may fail after its answer is out; that must not end the run.
process.on("uncaughtException", (error) => console.error(error));
process.on("unhandledRejection", (error) => console.error(error));

export async function serve(connect) {
  for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
    let timer;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error("too late")), PATIENCE);
    });
    let answer;
    try {
      answer = JSON.parse(await Promise.race([connect(JSON.parse(line).url), late]));
    } catch (error) {
      answer = { error: String(error) };
    }
    clearTimeout(timer);
    process.stdout.write(JSON.stringify(answer) + "\n");
  }
  process.stdout.write("", () => process.exit(0));
}
