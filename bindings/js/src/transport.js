// The way to Kinesis: one signed `POST` after another to one endpoint.
//
// The component says what to ask and judges every answer. This file only carries: it signs, sends, bounds the size, and
// puts two things right that the component cannot see: a clock that is off, and credentials that have been replaced. It
// follows no redirect, and nothing here is logged.

import { Sha256 } from "@aws-crypto/sha256-js";
import { SignatureV4 } from "@smithy/signature-v4";

import { KinesisReaderError, words } from "./errors.js";
import { printable } from "./printable.js";
import { text } from "./text.js";

/**
 * How large an answer to an operation may be. A page holds 10 MiB of data, which is 13.4 MiB as base64 and less than
 * twice that in any encoding; a listing names up to 10,000 shards; all others are a few hundred bytes.
 */
const ANSWER_SIZES_MAX = { GetRecords: 64 << 20, ListShards: 16 << 20 };
const ANSWER_SIZE_MAX = 64 << 10;

/** How much of an error is read. Longer ones are pages of proxies, and their status says enough. */
const REFUSAL_SIZE_MAX = 1 << 20;

/** How far into a body an error's name is looked for. */
const SEARCH_SIZE_MAX = 64 << 10;

/** AWS takes a signature that is up to five minutes old or early. */
const SKEW_MIN_MS = 4 * 60_000;

/** The clock is corrected only to a time in this range. */
const SERVICE_TIME_MIN = Date.UTC(2015);
const SERVICE_TIME_MAX = Date.UTC(2100);

/** The last time that fits into a signature. */
const SIGNABLE_MAX = Date.UTC(10_000) - 1;

/** Corrections of the clock for one request. The second repairs what a false date in the first did. */
const CLOCK_CORRECTIONS_MAX = 2;

/** Instances and containers have new credentials this long before the old ones end. */
const RENEW_BEFORE_MS = 5 * 60_000;

/** Credentials that are near their end when they come are not asked for again before this has passed. */
const RENEW_PAUSE_MS = 30_000;

const CREDENTIALS_REFUSED = ["ExpiredTokenException", "UnrecognizedClientException", "InvalidClientTokenId"];
const CLOCK_REFUSED = ["InvalidSignatureException", "SignatureDoesNotMatch", "RequestExpired", "RequestTimeTooSkewed"];

const CONTENT_TYPES = { json: "application/x-amz-json-1.1", cbor: "application/x-amz-cbor-1.1" };

/** Codes of Node's TLS that another try does not help. */
const UNTRUSTED = /^(CERT_|ERR_TLS_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_)/;

/** Kinesis at its endpoint. */
export class Transport {
  #url;
  #region;
  #credentials;
  #post;
  #headers;
  /** What the service's clock is ahead of ours. */
  #skew = 0;

  /**
   * @param {{ url: URL, region: string, credentials: object | Function, post: Function, headers?: object }} to
   *   `post` sends what is signed, as `posting` makes it of a `fetch`
   */
  constructor({ url, region, credentials, post, headers = {} }) {
    this.#url = url;
    this.#region = region;
    this.#credentials = new Credentials(credentials);
    this.#post = post;
    this.#headers = headers;
  }

  /** Fetches credentials once, so that having none is told before anything is read. */
  async prepare() {
    await this.#credentials.current();
  }

  /**
   * Sends a request of the component's. Returns a response or throws a failure in its form, at the latest when the signal
   * aborts.
   */
  async send({ target, body }, signal) {
    try {
      return lift(await unlessAborted(this.#exchange(target, body, signal), signal));
    } catch (thrown) {
      throw failure(thrown, this.#url.host, signal);
    }
  }

  async #exchange(target, body, signal) {
    let credentials = await this.#credentials.current(this.#now());
    let corrections = 0;
    let replaced = false;
    for (;;) {
      const answer = await this.#sign(target, body, credentials, signal);
      switch (remedy(answer)) {
        case "clock":
          if (corrections === CLOCK_CORRECTIONS_MAX || !this.#correctClock(answer)) return answer;
          corrections += 1;
          break;
        case "credentials": {
          const others = replaced ? undefined : await this.#credentials.replace(credentials);
          if (!others) return answer;
          replaced = true;
          credentials = others;
          break;
        }
        default:
          return answer;
      }
    }
  }

  /** The time of the service as far as we know it. */
  #now() {
    return Date.now() + this.#skew;
  }

  /** Corrects the clock by an answer that refused a signature; false if the clock was not the reason. */
  #correctClock({ date, signed }) {
    if (date === undefined || date < SERVICE_TIME_MIN || date >= SERVICE_TIME_MAX) return false;
    if (Math.abs(date - signed) < SKEW_MIN_MS) return false;
    this.#skew = date - Date.now();
    return true;
  }

  /** Signs a request and sends it. */
  async #sign(target, body, credentials, signal) {
    const url = this.#url;
    const signed = this.#now();
    if (!(signed >= 0 && signed <= SIGNABLE_MAX)) {
      throw new Failure("permanent", "the clock of this machine is off, so requests cannot be signed: set the clock");
    }
    const headers = { host: url.host, "content-type": CONTENT_TYPES[body.tag], "x-amz-target": target };
    const signer = new SignatureV4({
      service: "kinesis", region: this.#region, credentials, sha256: Sha256, applyChecksum: false,
    });
    const request = { method: "POST", protocol: url.protocol, hostname: url.hostname, path: url.pathname, query: {}, headers, body: body.val };
    const { headers: authorized } = await signer.sign(request, { signingDate: new Date(signed) });
    // Whoever sends it sets it, and `fetch` lets nobody else.
    delete authorized.host;
    const post = this.#post;
    const bound = boundOf(target);
    const answer = await post(url, { headers: { ...authorized, ...this.#headers }, body: body.val, signal, bound });
    // A signature holds for one host, so a redirect leads nowhere. A browser says no more of one than 0.
    if (answer.status === 0 || (answer.status >= 300 && answer.status < 400)) {
      throw new Failure("permanent", `a redirect, which is not followed, came from: ${url.host}`);
    }
    if (answer.isCut && isSuccess(answer.status)) {
      throw new Failure("permanent", `an answer larger than ${inWords(bound(answer.status))} came from: ${url.host}`);
    }
    return { ...answer, signed, date: dateOf(answer.header("date")) };
  }
}

/** Returns how many bytes of an answer to this operation may be read, by its status. */
function boundOf(target) {
  const operation = target.slice(target.lastIndexOf(".") + 1);
  return (status) => (isSuccess(status) ? ANSWER_SIZES_MAX[operation] ?? ANSWER_SIZE_MAX : REFUSAL_SIZE_MAX);
}

function inWords(size) {
  return size >= 1 << 20 ? `${size >> 20} MiB` : `${size >> 10} KiB`;
}

function isSuccess(status) {
  return status >= 200 && status < 300;
}

/** Awaits a promise, unless the signal aborts first. */
async function unlessAborted(promise, signal) {
  let abort;
  const aborted = new Promise((_, reject) => {
    abort = () => reject(signal.reason);
    signal.addEventListener("abort", abort);
    if (signal.aborted) abort();
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

/** A way to post by `fetch`. */
export function posting(fetch) {
  return async (url, { headers, body, signal, bound }) => {
    // Not "error", which not every runtime knows.
    const response = await fetch(url, { method: "POST", headers, body, signal, redirect: "manual" });
    const { status } = response;
    const taken = response.body === null ? new Taken(0) : await takenOf(response, bound(status), signal);
    return { status, header: (name) => response.headers.get(name) ?? undefined, ...taken.whole() };
  };
}

/** Collects the body of an answer up to a bound. */
export class Taken {
  #most;
  #parts = [];
  #size = 0;

  constructor(most) {
    this.#most = most;
  }

  /** Adds a part; false if it exceeds the bound. */
  take(part) {
    const room = Math.max(this.#most - this.#size, 0);
    this.#parts.push(part.length > room ? part.subarray(0, room) : part);
    this.#size += part.length;
    return part.length <= room;
  }

  /** The bytes up to the bound, and whether there were more. */
  whole() {
    const isCut = this.#size > this.#most;
    const bytes = text.bytes(Math.min(this.#size, this.#most));
    this.#parts.reduce((at, part) => (bytes.set(part, at), at + part.length), 0);
    return { bytes, isCut };
  }
}

/** Credentials, kept until they near their end. One fetch at a time: who comes meanwhile waits for it. */
class Credentials {
  #provider;
  #kept;
  #fetchedAt = 0;
  #fetching;

  constructor(credentials) {
    this.#provider = typeof credentials === "function" ? credentials : async () => credentials;
  }

  /** Credentials to sign with at this time. */
  async current(now) {
    const kept = this.#kept;
    if (!kept) return this.#fetch();
    const left = endOf(kept) - now;
    if (left > RENEW_BEFORE_MS || (left > 0 && Date.now() - this.#fetchedAt < RENEW_PAUSE_MS)) return kept;
    this.#fetchedAt = Date.now();
    try {
      return await this.#fetch();
    } catch (thrown) {
      if (left > 0) return kept;
      throw thrown;
    }
  }

  /** Other credentials than the given ones, which the service does not take. Undefined: there are no others. */
  async replace(refused) {
    if (this.#kept && !same(this.#kept, refused)) return this.#kept;
    const fresh = await this.#fetch();
    return same(fresh, refused) ? undefined : fresh;
  }

  #fetch() {
    this.#fetching ??= this.#load().finally(() => (this.#fetching = undefined));
    return this.#fetching;
  }

  async #load() {
    let credentials;
    try {
      // Providers that keep what they have found are asked to look anew, for it is kept here.
      credentials = await this.#provider({ forceRefresh: this.#kept !== undefined });
    } catch (thrown) {
      throw new KinesisReaderError("credentials", `the AWS credentials cannot be had: ${words(thrown)}`, {
        hint: "run `aws configure` or `aws sso login`, give credentials, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (an emulator takes any values)",
        cause: thrown,
      });
    }
    const { accessKeyId, secretAccessKey } = credentials ?? {};
    if (!isText(accessKeyId) || !isText(secretAccessKey)) {
      throw new KinesisReaderError("credentials", "the credentials lack accessKeyId or secretAccessKey", {
        hint: "give credentials: { accessKeyId, secretAccessKey, sessionToken }, or a function that gives them",
      });
    }
    if ([accessKeyId, secretAccessKey, credentials.sessionToken ?? ""].some((value) => !/^[\x20-\x7e]*$/.test(value))) {
      throw new KinesisReaderError("credentials", "the AWS credentials hold a character that no header can hold");
    }
    this.#fetchedAt = Date.now();
    return (this.#kept = credentials);
  }
}

function same(a, b) {
  return a.accessKeyId === b.accessKeyId && a.secretAccessKey === b.secretAccessKey && a.sessionToken === b.sessionToken;
}

function isText(value) {
  return typeof value === "string" && value !== "";
}

/** When credentials expire, in milliseconds since 1970. An invalid time means never. */
function endOf({ expiration }) {
  const at = expiration === undefined || expiration === null ? NaN : new Date(expiration).getTime();
  return Number.isNaN(at) ? Infinity : at;
}

/** Reads a body up to a bound, and no further. */
async function takenOf(response, most, signal) {
  const taken = new Taken(most);
  // Not every `fetch` has streams.
  if (response.body === undefined) {
    taken.take(new Uint8Array(await response.arrayBuffer()));
    return taken;
  }
  const reader = response.body.getReader();
  const leave = () => reader.cancel().catch(() => {});
  signal.addEventListener("abort", leave);
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return taken;
      if (!taken.take(value)) {
        leave();
        return taken;
      }
    }
  } finally {
    signal.removeEventListener("abort", leave);
  }
}

const MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(" ");

/** The time in a `Date` header in the form that servers must send; undefined if it is invalid or before 1970. */
export function dateOf(header) {
  const [, day, month, year, hour, minute, second] = /^[A-Z][a-z]{2}, (\d\d) ([A-Z][a-z]{2}) (\d{4}) (\d\d):(\d\d):(\d\d) GMT$/.exec(header ?? "") ?? [];
  // `Date.UTC` takes years below 100 as 19xx.
  if (!(year >= 1970)) return undefined;
  const at = Date.UTC(year, MONTHS.indexOf(month), day, hour, minute, second);
  // `Date.UTC` turns a 30th of February into a day in March.
  return new Date(at).toUTCString().slice(5) === header.slice(5) ? at : undefined;
}

/** What a rejection asks of the one who signs; its name stands in a header or in the body, in CBOR too as plain text. */
function remedy({ status, header, bytes }) {
  if (![400, 401, 403].includes(status)) return undefined;
  const said = (header("x-amzn-errortype") ?? "") + new TextDecoder().decode(bytes.subarray(0, SEARCH_SIZE_MAX));
  if (CREDENTIALS_REFUSED.some((name) => said.includes(name))) return "credentials";
  return CLOCK_REFUSED.some((name) => said.includes(name)) ? "clock" : undefined;
}

function lift({ status, header, date, signed, bytes }) {
  const cbor = header("content-type")?.split(";")[0].trim() === CONTENT_TYPES.cbor;
  return {
    status,
    // Text crosses as the bytes that it is.
    body: cbor ? { tag: "cbor", val: bytes } : { tag: "json", val: text.isUtf8(bytes) ? bytes : new TextDecoder().decode(bytes) },
    trace: header("x-amzn-requestid"),
    date: date === undefined ? undefined : BigInt(date),
    signed: BigInt(signed),
  };
}

/** A failure in the form of the component. */
class Failure {
  constructor(tag, val) {
    this.tag = tag;
    this.val = printable(val);
  }
}

function failure(thrown, host, signal) {
  if (thrown instanceof Failure) return thrown;
  if (signal.aborted) return new Failure("transient", `no answer in time: ${host}`);
  if (thrown instanceof KinesisReaderError) return new Failure("permanent", thrown.message.split("\nhint: ")[0]);
  // `fetch` says only that it failed; what happened is in the cause, and in a browser nowhere.
  const cause = thrown?.cause ?? thrown;
  const code = cause?.code ?? cause?.errors?.[0]?.code;
  const why = code && !cause.message?.includes(code) ? `${code} ${cause.message ?? ""}`.trim() : words(cause);
  const tag = typeof code === "string" && UNTRUSTED.test(code) ? "permanent" : "transient";
  return new Failure(tag, `no answer from: ${host} (${why})`);
}
