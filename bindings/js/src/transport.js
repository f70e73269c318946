// The way to Kinesis: one signed `POST` after another to one endpoint.
//
// The component says what to ask and judges every answer. This file only carries: it signs, sends, bounds the size, and
// puts two things right that the component cannot see: a clock that is off, and credentials that have been replaced. It
// follows no redirect, and nothing here is logged.

import { Sha256 } from "@aws-crypto/sha256-js";
import { SignatureV4 } from "@smithy/signature-v4";

import { boundOf, inWords, isSuccess } from "./body.js";
import { dateOf } from "./clock.js";
import { Credentials } from "./credentials.js";
import { KinesisReaderError, words } from "./errors.js";
import { printable } from "./printable.js";
import { text } from "./text.js";

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
