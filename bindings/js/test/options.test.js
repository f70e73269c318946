import assert from "node:assert/strict";
import { test } from "node:test";

import { resolveEndpoint } from "../src/endpoint.js";
import * as browser from "../src/index.js";
import { KinesisReaderError, read } from "../src/node.js";
import { configure } from "../src/options.js";
import { parseDuration, parseTime } from "../src/times.js";
import { credentials } from "./emulator.js";

const NOW = Date.parse("2025-11-23T12:00:00Z");

test("times can be written in several ways", () => {
  for (const [time, expected] of [
    ["2025-11-23T10:00:00Z", "2025-11-23T10:00:00.000Z"],
    ["2025-11-23T10:00:00.25+01:00", "2025-11-23T09:00:00.250Z"],
    ["2025-11-20", "2025-11-20T00:00:00.000Z"],
    ["1h ago", "2025-11-23T11:00:00.000Z"],
    ["1h30m ago", "2025-11-23T10:30:00.000Z"],
    ["2d ago", "2025-11-21T12:00:00.000Z"],
    [new Date(NOW), "2025-11-23T12:00:00.000Z"],
    [NOW, "2025-11-23T12:00:00.000Z"],
  ]) {
    assert.equal(new Date(parseTime(time, NOW)).toISOString(), expected);
  }
  for (const [time, message] of [
    ["yesterday", "not a keyword or a time"],
    ["2025-11-23T10:00:00", "no UTC offset; end it with Z"],
    ["2025-13-23", "not a time"],
    ["ago", "not a duration"],
    ["90 ago", "no unit"],
    [NOW / 1000, "too small for milliseconds; are these seconds?"],
    [new Date(NaN), "not a time"],
    [-1, "before 1970"],
    [{}, "not a time"],
  ]) {
    assert.throws(() => parseTime(time, NOW), { message });
  }
});

test("durations can be written in several ways", () => {
  for (const [duration, ms] of [["90s", 90_000], ["1h 30m", 5_400_000], ["2d", 172_800_000], ["250ms", 250], ["1.5h", 5_400_000], [1500.7, 1500], ["0", 0]]) {
    assert.equal(parseDuration(duration), ms);
  }
  for (const duration of ["90", "", "1y", "h", "-1s", -1, NaN, Infinity, null]) assert.throws(() => parseDuration(duration), /^Error: (no unit|not a duration)$/);
});

test("options change the component's defaults", () => {
  const defaults = {
    source: { tag: "name", val: "orders" }, start: { tag: "trim-horizon" }, until: { tag: "caught-up", val: 0n },
    payload: "merged", later: false, limits: { maxMessages: undefined, pageRecords: 10_000, pace: 80, idleInterval: 1_000n, failures: 9, backoffMax: 10_000n },
  };
  assert.deepEqual(configure(defaults, { stream: "orders" }, NOW), defaults);
  const options = {
    stream: "orders", start: "LATEST", until: "forever", payload: "text", later: true, maxMessages: 5, pageRecords: 7, pace: "off", idleInterval: "250ms",
    limits: { failures: null, backoffMax: "2s" },
  };
  assert.deepEqual(configure(defaults, options, NOW), {
    ...defaults, start: { tag: "latest" }, until: { tag: "stopped" }, payload: "text", later: true,
    limits: { maxMessages: 5n, pageRecords: 7, pace: undefined, idleInterval: 250n, failures: undefined, backoffMax: 2000n },
  });
  assert.deepEqual(configure(defaults, { start: "1h ago", until: new Date(NOW) }, NOW).start, { tag: "at-timestamp", val: BigInt(NOW - 3_600_000) });
  assert.deepEqual(configure(defaults, { behind: "10s" }, NOW).until, { tag: "caught-up", val: 10_000n });
});

test("invalid options are reported with a hint before anything is sent", async () => {
  const sent = () => assert.fail("a request was sent");
  for (const [options, message] of [
    [undefined, /^expected an object with options: undefined/],
    [{}, /^stream: required/],
    [{ stream: "a b" }, /^stream: .*"a b"/],
    [{ stream: "arn:aws:sqs:us-east-1:000000000000:x" }, /^stream: .*arn:aws:sqs/],
    [{ from: "1h ago" }, /^unknown option: from\nhint: the options are behind, credentials/],
    [{ endpoint: "http://localhost" }, /^unknown option: endpoint\n/],
    [{ start: "soon" }, /^start: cannot parse: soon \(not a keyword or a time\)\nhint: use trim-horizon/],
    [{ start: new Date(Date.now() + 1e6) }, /^start: in the future: 2/],
    [{ until: "1h" }, /^until: cannot parse: 1h/],
    [{ until: "forever", behind: "1s" }, /^behind: cannot be combined with until: forever/],
    [{ start: "1h ago", until: "2h ago" }, /^until: /],
    [{ behind: "1" }, /^behind: cannot parse: 1 \(no unit\)/],
    [{ payload: "xml" }, /^payload: unknown value: xml\nhint: use one of merged, json, text, base64/],
    [{ onGap: "stop" }, /^onGap: unknown value: stop\nhint: use one of continue, fail/],
    [{ recreated: true }, /^recreated: unknown value: true\nhint: use one of refuse, follow/],
    [{ onInvalidRecords: "invalid.ndjson" }, /^onInvalidRecords: expected a function: invalid.ndjson/],
    [{ deaggregate: "yes" }, /^deaggregate: expected a boolean: yes/],
    [{ pace: 101 }, /^pace: .*101/],
    [{ pace: 300 }, /^pace: too large: 300/],
    [{ pace: "fast" }, /^pace: expected a whole number or "off": fast/],
    [{ idleInterval: "1" }, /^idleInterval: cannot parse: 1 \(no unit\)/],
    [{ idleInterval: "5m" }, /^idleInterval: .*300000/],
    [{ pageRecords: 0 }, /^pageRecords: .*0/],
    [{ maxMessages: 1.5 }, /^maxMessages: expected a whole number: 1.5/],
    [{ maxMessages: 0 }, /^maxMessages: .*0/],
    [{ limits: { messages: 1 } }, /^unknown option: limits.messages\nhint: the options are limits.backoffFirst/],
    [{ limits: { requests: null } }, /^limits.requests: expected a whole number: null/],
    [{ limits: { requestTimeout: "1" } }, /^limits.requestTimeout: cannot parse: 1 /],
    [{ state: 7 }, /^state: expected a path or an object: number/],
    [{ region: "us east" }, /^region: not a region: us east/],
    [{ stream: "arn:aws:kinesis:eu-west-1:000000000000:stream/x" }, /^region: not the region of the ARN, eu-west-1: us-east-1/],
    [{ endpointUrl: "localhost:4567" }, /^endpointUrl: invalid: localhost:4567 \(no scheme/],
    [{ endpointUrl: "ftp://host" }, /neither http nor https/],
    [{ endpointUrl: "http://user:marked@host" }, /^endpointUrl: invalid: http:\/\/\*\*\*@host \(contains a user name/],
    [{ roleArn: "reader" }, /^roleArn: not the ARN of a role: reader/],
  ]) {
    const all = options && { stream: "orders", region: "us-east-1", endpointUrl: "http://localhost:1", credentials, fetch: sent, ...options };
    if (options && Object.keys(options).length === 0) delete all.stream;
    await assert.rejects(async () => read(all).next(), (error) => {
      assert.ok(error instanceof KinesisReaderError, String(error));
      assert.equal(error.code, "option");
      assert.match(error.message, message);
      assert.doesNotMatch(error.message, /marked/);
      return true;
    });
  }
});

test("a browser needs a region and credentials", async () => {
  await assert.rejects(browser.read({ stream: "orders", credentials }).next(), { code: "option", message: /^region: not set/ });
  await assert.rejects(browser.read({ stream: "orders", region: "us-east-1" }).next(), { code: "credentials", message: /^no credentials/ });
  await assert.rejects(browser.read({ stream: "orders", profile: "me" }).next(), { code: "option", message: /^profile: only supported in Node/ });
});

test("each partition of AWS has its own endpoints", () => {
  // Region; plain, dual-stack, FIPS, FIPS and dual-stack. From the endpoint rules of botocore 1.44.5.
  for (const [region, plain, dual, fips, both] of [
    ["us-east-1", "kinesis.us-east-1.amazonaws.com", "kinesis.us-east-1.api.aws", "kinesis-fips.us-east-1.amazonaws.com", "kinesis-fips.us-east-1.api.aws"],
    ["cn-north-1", "kinesis.cn-north-1.amazonaws.com.cn", "kinesis.cn-north-1.api.amazonwebservices.com.cn", "kinesis-fips.cn-north-1.amazonaws.com.cn", "kinesis-fips.cn-north-1.api.amazonwebservices.com.cn"],
    ["us-gov-west-1", "kinesis.us-gov-west-1.amazonaws.com", "kinesis.us-gov-west-1.api.aws", "kinesis.us-gov-west-1.amazonaws.com", "kinesis-fips.us-gov-west-1.api.aws"],
    ["us-isob-west-1", "kinesis.us-isob-west-1.sc2s.sgov.gov", "kinesis.us-isob-west-1.api.aws.scloud", "kinesis-fips.us-isob-west-1.sc2s.sgov.gov", "kinesis-fips.us-isob-west-1.api.aws.scloud"],
    ["eusc-de-east-1", "kinesis.eusc-de-east-1.amazonaws.eu", "kinesis.eusc-de-east-1.api.amazonwebservices.eu", "kinesis-fips.eusc-de-east-1.amazonaws.eu", "kinesis-fips.eusc-de-east-1.api.amazonwebservices.eu"],
  ]) {
    for (const [isFips, dualStack, host] of [[false, false, plain], [false, true, dual], [true, false, fips], [true, true, both]]) {
      assert.equal(resolveEndpoint({ stream: "orders", region, fips: isFips, dualStack }).url.href, `https://${host}/`);
    }
  }
});
