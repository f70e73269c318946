// Messages per CPU-second of the reading process: this package beside a loop on the AWS SDK, in turn, on one shard of a
// server that only repeats pages.
//
// usage: npm install --no-save @aws-sdk/client-kinesis @smithy/node-http-handler
//        cargo build --release --workspace --bin replay
//        node bench/compare.js target/release/replay [bytes of data in a message] [messages]

import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const [replay, size = "500", messages = "400000"] = process.argv.slice(2);
const server = spawn(replay, [size, messages, "1"], { stdio: ["pipe", "pipe", "inherit"] });
const [url] = await once(createInterface(server.stdout), "line");
const contestants = fileURLToPath(new URL("contestants.js", import.meta.url));

/** Ways in pairs that give the same: objects, and lines with their envelope in a file. */
const PAIRS = [["sdk", "read"], ["sdk", "batches"], ["sdk-lines", "lines"]];

const best = {};
for (let round = 0; round < 3; round += 1) {
  for (const way of new Set(PAIRS.flat())) {
    const { stdout, stderr, status } = spawnSync(process.execPath, [contestants, way, url], { encoding: "utf8" });
    if (status !== 0) throw new Error(stderr);
    const { count, seconds } = JSON.parse(stdout);
    if (count !== Number(messages)) throw new Error(`${way} had ${count} messages`);
    best[way] = Math.max(best[way] ?? 0, count / seconds);
  }
}
for (const [way, rate] of Object.entries(best)) {
  console.log(way.padEnd(10), Math.round(rate).toLocaleString("en").padStart(9), "messages a CPU-second");
}
for (const [theirs, ours] of PAIRS) console.log(`${ours} / ${theirs}`.padEnd(20), `${(best[ours] / best[theirs]).toFixed(2)} x`);
server.stdin.end();
