// Compiled by a test: what the package's types permit and what they refuse.

import {
  KinesisReaderError, mergeCheckpoints, read, readBatches, storageState,
  type Batch, type Message, type Notice, type Options, type Run, type Shard, type State,
} from "kinesis-reader";

interface Order {
  n: number;
  item: string;
}

const state: State = storageState("orders");

export async function messages(signal: AbortSignal): Promise<number> {
  const options: Options = {
    stream: "orders", start: new Date(), until: "forever", behind: "10s", state, signal, maxMessages: 10, pace: "off",
    onGap: "fail", recreated: "follow", onInvalidRecords: async (lines) => console.warn(lines.length),
    limits: { failures: null, requestTimeout: "30s" },
    endpointUrl: new URL("http://localhost:4567"),
    credentials: async () => ({ accessKeyId: "a", secretAccessKey: "b" }),
    onNotice: (notice: Notice) => {
      if (notice.kind === "gap") console.warn(notice.shard, notice.after);
      if (notice.kind === "retry" && notice.cause.tag === "rejected") console.warn(notice.cause.val.code);
    },
  };
  const run: Run<Message<Order>> = read<Order>(options);
  let sum = 0;
  for await (const message of run) {
    const { seq_no, partition, sub_seq } = message._kinesis;
    sum += message.n + seq_no.length + (partition?.length ?? 0) + (sub_seq ?? 0);
    // @ts-expect-error the partition key can be null
    sum += partition.length;
  }
  const shards: Shard[] = run.shards();
  // @ts-expect-error a shard that was not read has no lag
  sum += shards[0]!.behind;
  return sum + (run.totals()?.messages ?? 0);
}

export async function batches(): Promise<string> {
  let joined = "";
  try {
    for await (const batch of readBatches<Order>({ stream: "orders" })) {
      const typed: Batch<Order> = batch;
      for (const { item } of typed.messages()) joined += item;
      joined += typed.records()[0]!.data.length + typed.lines;
      joined = await mergeCheckpoints(joined, typed.checkpoint);
      await typed.ack();
    }
  } catch (error) {
    if (error instanceof KinesisReaderError && error.code === "service") joined += error.service?.operation ?? error.hint;
    if (error instanceof KinesisReaderError && error.cause instanceof Error) joined += `${error.name}: ${error.stack}`;
  }
  return joined;
}

// @ts-expect-error the stream is missing
read({ start: "latest" });
// @ts-expect-error there is no such payload form
read({ stream: "orders", payload: "xml" });
// @ts-expect-error the option is called endpointUrl
read({ stream: "orders", endpoint: "http://localhost:4567" });
// @ts-expect-error the option is called maxMessages
read({ stream: "orders", limits: { messages: 10 } });
