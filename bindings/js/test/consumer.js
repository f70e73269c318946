// A consumer to be killed: it tells each message once it is done with it, and when its checkpoint was kept in the middle.

import { writeSync } from "node:fs";

import { fileState, read } from "../src/node.js";
import { credentials, region } from "./emulator.js";

const [endpointUrl, stream, path] = process.argv.slice(2);
const file = fileState(path);
let had = 0;
const state = {
  load: () => file.load(),
  async save(checkpoint) {
    await file.save(checkpoint);
    // The first is kept before there is a message.
    if (had > 0) writeSync(1, "saved\n");
  },
};

for await (const { n } of read({ stream, endpointUrl, region, credentials, state, pace: "off" })) {
  await new Promise((resolve) => setTimeout(resolve, 2));
  writeSync(1, `${n}\n`);
  had += 1;
}
