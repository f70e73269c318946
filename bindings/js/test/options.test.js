import assert from "node:assert/strict";
import { test } from "node:test";

import { resolveEndpoint } from "../src/endpoint.js";
import * as browser from "../src/index.js";
import { KinesisReaderError, read } from "../src/node.js";
import { configure } from "../src/options.js";
import { duration, time } from "../src/times.js";
import { credentials } from "./emulator.js";

const NOW = Date.parse("2025-11-23T12:00:00Z");

test("times as people write them", () => {
  for (const [written, meant] of [
    ["2025-11-23T10:00:00Z", "2025-11-23T10:00:00.000Z"],
    ["2025-11-23T10:00:00.25+01:00", "2025-11-23T09:00:00.250Z"],
    ["2025-11-20", "2025-11-20T00:00:00.000Z"],
    ["1h ago", "2025-11-23T11:00:00.000Z"],
    ["1h30m ago", "2025-11-23T10:30:00.000Z"],
    ["2d ago", "2025-11-21T12:00:00.000Z"],
    [new Date(NOW), "2025-11-23T12:00:00.000Z"],
    [NOW, "2025-11-23T12:00:00.000Z"],
  ]) {
    assert.equal(new Date(time(written, NOW)).toISOString(), meant);
  }
  for (const [written, why] of [
    ["yesterday", /no word and no time/],
    ["2025-11-23T10:00:00", /no offset/],
    ["2025-13-23", /no time/],
    ["ago", /no length/],
    ["90 ago", /no unit/],
    [NOW / 1000, /seconds\?/],
    [new Date(NaN), /no time/],
    [-1, /before 1970/],
    [{}, /no time/],
  ]) {
    assert.throws(() => time(written, NOW), why);
  }
});

test("lengths of time as people write them", () => {
  for (const [written, ms] of [["90s", 90_000], ["1h 30m", 5_400_000], ["2d", 172_800_000], ["250ms", 250], ["1.5h", 5_400_000], [1500.7, 1500], ["0", 0]]) {
    assert.equal(duration(written), ms);
  }
  for (const written of ["90", "", "1y", "h", "-1s", -1, NaN, Infinity, null]) assert.throws(() => duration(written), /no (unit|length)/);
});

test("the component's defaults are changed where an option says so, and nowhere else", () => {
  const defaults = {
    source: { tag: "name", val: "orders" }, start: { tag: "trim-horizon" }, until: { tag: "caught-up", val: 0n },
    payload: "merged", later: false, limits: { messages: undefined, pageRecords: 10_000, pace: 100, backoffMax: 10_000n },
  };
  assert.deepEqual(configure(defaults, { stream: "orders" }, NOW), defaults);
  const options = {
    stream: "orders", start: "LATEST", until: "forever", payload: "text", later: true,
    maxMessages: 5, pageRecords: 7, pace: "off", limits: { backoffMax: "2s" },
  };
  assert.deepEqual(configure(defaults, options, NOW), {
    ...defaults, start: { tag: "latest" }, until: { tag: "stopped" }, payload: "text", later: true,
    limits: { messages: 5n, pageRecords: 7, pace: undefined, backoffMax: 2000n },
  });
  assert.deepEqual(configure(defaults, { start: "1h ago", until: new Date(NOW) }, NOW).start, { tag: "at-timestamp", val: BigInt(NOW - 3_600_000) });
  assert.deepEqual(configure(defaults, { behind: "10s" }, NOW).until, { tag: "caught-up", val: 10_000n });
});

test("what cannot be meant is told with a hint, before anything is sent", async () => {
  const sent = () => assert.fail("something was sent");
  for (const [options, message] of [
    [undefined, /options are missing/],
    [{}, /^stream: it is missing/],
    [{ stream: "a b" }, /^stream: no name of a stream.*"a b"/],
    [{ stream: "arn:aws:sqs:us-east-1:000000000000:x" }, /^stream: no ARN of a Kinesis stream/],
    [{ from: "1h ago" }, /^from: there is no such option\nhint: those there are: behind, credentials/],
    [{ start: "soon" }, /^start: not understood: soon \(it is no word and no time\)\nhint: write trim-horizon/],
    [{ start: new Date(Date.now() + 1e6) }, /^start: it is in the future/],
    [{ until: "1h" }, /^until: not understood: 1h/],
    [{ until: "forever", behind: "1s" }, /^behind: it has no meaning/],
    [{ start: "1h ago", until: "2h ago" }, /^until: ends before the start/],
    [{ behind: "1" }, /^behind: not understood: 1 \(it has no unit\)/],
    [{ payload: "xml" }, /^payload: not known: xml\nhint: write merged, json, text, base64/],
    [{ deaggregate: "yes" }, /^deaggregate: it is no boolean: yes/],
    [{ pace: 101 }, /^pace: not from 1 to 100: 101/],
    [{ pace: 300 }, /^pace: it is no whole number that can be: 300/],
    [{ pageRecords: 0 }, /^pageRecords: not from 1 to 10000: 0/],
    [{ maxMessages: 1.5 }, /^maxMessages: it is no whole number/],
    [{ limits: { records: 1 } }, /^limits.records: there is no such option\nhint: those there are: limits.backoffFirst/],
    [{ limits: { requestTimeout: "1" } }, /^limits.requestTimeout: not understood/],
    [{ state: 7 }, /^state: it is no state: number/],
    [{ region: "us east" }, /^region: not a region/],
    [{ stream: "arn:aws:kinesis:eu-west-1:000000000000:stream/x" }, /^region: it is not that of the ARN/],
    [{ endpointUrl: "localhost:4567" }, /^endpointUrl: not an endpoint: localhost:4567 \(it has no scheme/],
    [{ endpointUrl: "ftp://host" }, /neither http nor https/],
    [{ endpointUrl: "http://user:marked@host" }, /^endpointUrl: not an endpoint: http:\/\/\*\*\*@host \(it holds a user name/],
    [{ roleArn: "reader" }, /^roleArn: not the ARN of a role/],
  ]) {
    const given = options && { stream: "orders", region: "us-east-1", endpointUrl: "http://localhost:1", credentials, fetch: sent, ...options };
    if (options && Object.keys(options).length === 0) delete given.stream;
    await assert.rejects(async () => read(given).next(), (error) => {
      assert.ok(error instanceof KinesisReaderError, String(error));
      assert.equal(error.code, "option");
      assert.match(error.message, message);
      assert.doesNotMatch(error.message, /marked/);
      return true;
    });
  }
});

test("a region and credentials are needed where nothing else says them", async () => {
  await assert.rejects(browser.read({ stream: "orders", credentials }).next(), { code: "option", message: /^region: it is not set/ });
  await assert.rejects(browser.read({ stream: "orders", region: "us-east-1" }).next(), { code: "credentials", message: /no AWS credentials were given/ });
  await assert.rejects(browser.read({ stream: "orders", profile: "me" }).next(), { code: "option", message: /^profile: there are no AWS profiles here/ });
});

test("AWS's endpoints by partition", () => {
  // Region; plain, dual-stack, FIPS, FIPS and dual-stack; made with the endpoint rules of botocore 1.44.5.
  for (const [region, plain, dual, fips, both] of [
    ["us-east-1", "kinesis.us-east-1.amazonaws.com", "kinesis.us-east-1.api.aws", "kinesis-fips.us-east-1.amazonaws.com", "kinesis-fips.us-east-1.api.aws"],
    ["cn-north-1", "kinesis.cn-north-1.amazonaws.com.cn", "kinesis.cn-north-1.api.amazonwebservices.com.cn", "kinesis-fips.cn-north-1.amazonaws.com.cn", "kinesis-fips.cn-north-1.api.amazonwebservices.com.cn"],
    ["us-gov-west-1", "kinesis.us-gov-west-1.amazonaws.com", "kinesis.us-gov-west-1.api.aws", "kinesis.us-gov-west-1.amazonaws.com", "kinesis-fips.us-gov-west-1.api.aws"],
    ["us-isob-west-1", "kinesis.us-isob-west-1.sc2s.sgov.gov", "kinesis.us-isob-west-1.api.aws.scloud", "kinesis-fips.us-isob-west-1.sc2s.sgov.gov", "kinesis-fips.us-isob-west-1.api.aws.scloud"],
    ["eusc-de-east-1", "kinesis.eusc-de-east-1.amazonaws.eu", "kinesis.eusc-de-east-1.api.amazonwebservices.eu", "kinesis-fips.eusc-de-east-1.amazonaws.eu", "kinesis-fips.eusc-de-east-1.api.amazonwebservices.eu"],
  ]) {
    for (const [fips_, dualStack, host] of [[false, false, plain], [false, true, dual], [true, false, fips], [true, true, both]]) {
      assert.equal(resolveEndpoint({ stream: "orders", region, fips: fips_, dualStack }).url.href, `https://${host}/`);
    }
  }
});
