// A consumer for a test to kill. It prints each message when it is done with it, and a line for each later save.

import { writeSync } from "node:fs";

import { fileState, read } from "../src/node.js";
import { credentials, region } from "./emulator.js";

const [endpointUrl, stream, path] = process.argv.slice(2);
const file = fileState(path);
let count = 0;
const state = {
  load: () => file.load(),
  async save(checkpoint) {
    await file.save(checkpoint);
    // The first save is before the first message.
    if (count > 0) writeSync(1, "saved\n");
  },
};

for await (const { n } of read({ stream, endpointUrl, region, credentials, state, pace: "off" })) {
  await new Promise((resolve) => setTimeout(resolve, 2));
  writeSync(1, `${n}\n`);
  count += 1;
}
