// Compiled by a test: what the types of the package let people write, and what they do not.

import {
  KinesisReaderError, mergeCheckpoints, read, readBatches, storageState,
  type Batch, type Message, type Notice, type Options, type Shard, type State,
} from "kinesis-reader";

interface Order {
  n: number;
  item: string;
}

const state: State = storageState("orders");

export async function messages(signal: AbortSignal): Promise<number> {
  const options: Options = {
    stream: "orders", start: new Date(), until: "forever", behind: "10s", state, signal,
    onGap: "fail", recreated: "follow", onInvalidRecords: async (lines) => console.warn(lines.length),
    maxMessages: 10, pace: "off", limits: { requestTimeout: "30s" },
    credentials: async () => ({ accessKeyId: "a", secretAccessKey: "b" }),
    onNotice: (notice: Notice) => {
      if (notice.kind === "gap") console.warn(notice.shard, notice.after);
      if (notice.kind === "retry" && notice.cause.tag === "rejected") console.warn(notice.cause.val.code);
    },
  };
  const reading = read<Order>(options);
  let sum = 0;
  for await (const message of reading) {
    const one: Message<Order> = message;
    sum += one.n + one._kinesis.seq_no.length;
  }
  const shards: Shard[] = reading.shards();
  return sum + shards.length + (reading.totals()?.messages ?? 0);
}

export async function batches(): Promise<string> {
  let joined = "";
  try {
    for await (const batch of readBatches<Order>({ stream: "orders" })) {
      const one: Batch<Order> = batch;
      for (const { item } of one.messages()) joined += item;
      joined += one.records()[0]!.data.length + one.lines;
      joined = await mergeCheckpoints(joined, one.checkpoint);
      await one.ack();
    }
  } catch (error) {
    if (error instanceof KinesisReaderError && error.code === "service") joined += error.service?.operation ?? error.hint;
  }
  return joined;
}

// @ts-expect-error the stream is missing
read({ start: "latest" });
// @ts-expect-error there is no such form
read({ stream: "orders", payload: "xml" });
