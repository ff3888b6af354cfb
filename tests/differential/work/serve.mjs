// What the Node drivers share: a URL per line comes in, and what was done goes out.

import { createInterface } from "node:readline";

// Standard output is for answers; drivers print notices and warnings too.
console.log = console.error;

// A socket may fail after its answer is out; that must not end the run.
process.on("uncaughtException", (error) => console.error(error));
process.on("unhandledRejection", (error) => console.error(error));

export function expect(holds, what) {
  if (!holds) throw new Error(`not as expected: ${what}`);
}

export async function serve(work) {
  for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
    let answer;
    try {
      answer = { done: await work(JSON.parse(line).url) };
    } catch (error) {
      answer = { error: String(error) };
    }
    process.stdout.write(JSON.stringify(answer) + "\n");
  }
  process.stdout.write("", () => process.exit(0));
}
