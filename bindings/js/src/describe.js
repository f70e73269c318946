// Describes the component's errors and notices in words, and says what to do about them.

const OPERATIONS = {
  "describe-stream-summary": "DescribeStreamSummary",
  "list-shards": "ListShards",
  "get-shard-iterator": "GetShardIterator",
  "get-records": "GetRecords",
};

/** The last time that a `Date` can hold. */
const DATE_MAX = 8.64e15;

export function describeNotice(kind, notice) {
  switch (kind) {
    case "gap":
      return describeGap(notice);
    case "retry":
      return describeServiceError(notice);
    case "shard":
      return `${notice.shard}: ${notice.state}`;
    default:
      return kind;
  }
}

/** Describes a gap. `ahead` is the checkpoint's time, if that is in the future. */
function describeGap({ shard, after, ahead }) {
  if (ahead !== undefined) {
    const at = new Date(Math.min(ahead, DATE_MAX)).toISOString();
    return `gap in ${shard}: the checkpoint is in the future, and earlier records may be unread: ${at}`;
  }
  const what = after ? `records after ${after}` : "records";
  return `gap in ${shard}: ${what} may have left the stream unread`;
}

export function describeServiceError({ operation, shard, cause, attempts }) {
  if (cause.tag === "recreated") return `the stream was recreated since the checkpoint: ${cause.val}`;
  if (cause.tag === "gap") return describeGap(cause.val);
  const name = OPERATIONS[operation] ?? operation;
  const request = shard === undefined ? name : `${name} of ${shard}`;
  const count = attempts > 1 ? ` (${attempts} attempts)` : "";
  return `${request} failed: ${describeCause(cause)}${count}`;
}

function describeCause({ tag, val }) {
  switch (tag) {
    case "rejected": {
      const message = val.message ? `: ${val.message}` : "";
      const requestId = val.awsRequestId === undefined ? "" : ` (AWS request id ${val.awsRequestId})`;
      return `${val.code}${message}${requestId}`;
    }
    case "unintelligible":
      return `invalid answer: ${val}`;
    case "failure":
      return val.val;
    case "timeout":
      return "timeout";
    default:
      return tag;
  }
}

export function serviceHint({ cause }) {
  switch (cause.tag) {
    case "rejected":
      return cause.val.hint;
    case "failure":
    case "timeout":
      return "check the network, region, credentials and endpoint; the next run continues from here";
    case "recreated":
      return 'give the new stream its own state, or set recreated: "follow" to read it from its oldest record';
    case "gap":
      return 'set onGap: "continue" to continue with the records that are left';
    case "unintelligible":
      return "check that the endpoint is Kinesis";
    default:
      return undefined;
  }
}
