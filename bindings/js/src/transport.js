// Signs requests and sends them to one endpoint.
//
// The component decides what to request and judges every answer. This file carries requests and answers, limits their
// size, and sends a request again in two cases that the component cannot see: if the clock was wrong, and if there are new
// credentials. It follows no redirects and logs nothing.

import { Sha256 } from "@aws-crypto/sha256-js";
import { SignatureV4 } from "@smithy/signature-v4";

import { describeSize, isSuccess, sizeLimit } from "./body.js";
import { Clock, isSignable, parseHttpDate } from "./clock.js";
import { CredentialCache } from "./credentials.js";
import { KinesisReaderError, messageOf } from "./errors.js";
import { printable } from "./printable.js";
import { text } from "./text.js";

/** How much of a body is searched for the name of an error. */
const SEARCH_SIZE_MAX = 64 << 10;

/** Clock corrections per request: if the date that the first one relied on was wrong, the second one repairs it. */
const CLOCK_CORRECTIONS_MAX = 2;

const CREDENTIALS_REFUSED = ["ExpiredTokenException", "UnrecognizedClientException", "InvalidClientTokenId"];
const CLOCK_REFUSED = ["InvalidSignatureException", "SignatureDoesNotMatch", "RequestExpired", "RequestTimeTooSkewed"];

const CONTENT_TYPES = { json: "application/x-amz-json-1.1", cbor: "application/x-amz-cbor-1.1" };

/** TLS errors of Node that a retry does not fix. */
const UNTRUSTED = /^(CERT_|ERR_TLS_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_)/;

export class Transport {
  #url;
  #region;
  #credentials;
  #post;
  #headers;
  #clock = new Clock();

  /** @param {{ url: URL, region: string, credentials: object | Function, post: Function, headers?: object }} settings */
  constructor({ url, region, credentials, post, headers = {} }) {
    this.#url = url;
    this.#region = region;
    this.#credentials = new CredentialCache(credentials);
    this.#post = post;
    this.#headers = headers;
  }

  /** Loads the credentials, so that a run without any fails before it reads. */
  async prepare() {
    await this.#credentials.current();
  }

  /**
   * Sends a request of the component. Returns the component's `response` or throws a `Failure`, at the latest when the
   * signal aborts.
   */
  async send({ target, body }, signal) {
    try {
      return toResponse(await unlessAborted(this.#exchange(target, body, signal), signal));
    } catch (thrown) {
      throw toFailure(thrown, this.#url.host, signal);
    }
  }

  async #exchange(target, body, signal) {
    let credentials = await this.#credentials.current(this.#clock.now());
    let corrections = 0;
    let isReplaced = false;
    for (;;) {
      const answer = await this.#attempt(target, body, credentials, signal);
      switch (reasonRefused(answer)) {
        case "clock":
          if (corrections === CLOCK_CORRECTIONS_MAX || !this.#clock.correct(answer.date, answer.signed)) return answer;
          corrections += 1;
          break;
        case "credentials": {
          const others = isReplaced ? undefined : await this.#credentials.replace(credentials);
          if (!others) return answer;
          isReplaced = true;
          credentials = others;
          break;
        }
        default:
          return answer;
      }
    }
  }

  /** Signs a request and sends it once. */
  async #attempt(target, body, credentials, signal) {
    const url = this.#url;
    const signed = this.#clock.now();
    if (!isSignable(signed)) throw new Failure("permanent", "cannot sign requests: the clock of this machine is wrong");
    const headers = { host: url.host, "content-type": CONTENT_TYPES[body.tag], "x-amz-target": target };
    const signer = new SignatureV4({
      service: "kinesis", region: this.#region, credentials, sha256: Sha256, applyChecksum: false,
    });
    const request = { method: "POST", protocol: url.protocol, hostname: url.hostname, path: url.pathname, query: {}, headers, body: body.val };
    const { headers: authorized } = await signer.sign(request, { signingDate: new Date(signed) });
    // HTTP clients set it, and `fetch` allows no one else to.
    delete authorized.host;
    const post = this.#post;
    const limit = sizeLimit(target);
    const answer = await post(url, { headers: { ...authorized, ...this.#headers }, body: body.val, signal, sizeLimit: limit });
    // The signature is valid for one host only. In browsers, the status of a redirect is 0.
    if (answer.status === 0 || (answer.status >= 300 && answer.status < 400)) {
      throw new Failure("permanent", `unexpected redirect from ${url.host}`);
    }
    if (answer.isCut && isSuccess(answer.status)) {
      throw new Failure("permanent", `answer from ${url.host} is larger than ${describeSize(limit(answer.status))}`);
    }
    return { ...answer, signed, date: parseHttpDate(answer.header("date")) };
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

/**
 * Returns what was wrong with the signature of a refused request. The name of the error is in a header or in the body,
 * where it is plain text in CBOR too.
 */
function reasonRefused({ status, header, bytes }) {
  if (![400, 401, 403].includes(status)) return undefined;
  const searched = (header("x-amzn-errortype") ?? "") + new TextDecoder().decode(bytes.subarray(0, SEARCH_SIZE_MAX));
  if (CREDENTIALS_REFUSED.some((name) => searched.includes(name))) return "credentials";
  return CLOCK_REFUSED.some((name) => searched.includes(name)) ? "clock" : undefined;
}

function toResponse({ status, header, date, signed, bytes }) {
  const isCbor = header("content-type")?.split(";")[0].trim() === CONTENT_TYPES.cbor;
  return {
    status,
    // `text.js` passes UTF-8 to the component as it is.
    body: isCbor ? { tag: "cbor", val: bytes } : { tag: "json", val: text.isUtf8(bytes) ? bytes : new TextDecoder().decode(bytes) },
    awsRequestId: header("x-amzn-requestid"),
    date: date === undefined ? undefined : BigInt(date),
    signed: BigInt(signed),
  };
}

/** Why there is no response, with the members of the component's `failure`. */
class Failure extends Error {
  constructor(tag, message) {
    super(printable(message));
    this.tag = tag;
    this.val = this.message;
  }
}

function toFailure(thrown, host, signal) {
  if (thrown instanceof Failure) return thrown;
  if (signal.aborted) return new Failure("transient", `no answer from ${host} in time`);
  if (thrown instanceof KinesisReaderError) return new Failure("permanent", thrown.message.split("\nhint: ")[0]);
  // The error of `fetch` says only that it failed. The reason is its cause, which browsers do not reveal.
  const cause = thrown?.cause ?? thrown;
  const code = cause?.code ?? cause?.errors?.[0]?.code;
  const why = code && !cause.message?.includes(code) ? `${code} ${cause.message ?? ""}`.trim() : messageOf(cause);
  const tag = typeof code === "string" && UNTRUSTED.test(code) ? "permanent" : "transient";
  return new Failure(tag, `no answer from ${host}: ${why}`);
}
