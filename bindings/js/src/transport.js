// The way to Kinesis: one signed `POST` after another to one endpoint.
//
// The component says what to ask and judges every answer. This file only carries: it signs, sends, bounds the size, and
// puts two things right that the component cannot see, once for each request: a clock that is off, and credentials that
// have been replaced. It follows no redirect, and nothing here is logged.

import { Sha256 } from "@aws-crypto/sha256-js";
import { SignatureV4 } from "@smithy/signature-v4";

import { KinesisReaderError, words } from "./errors.js";
import { text } from "./text.js";

/** A page holds 10 MiB of data, which is 13.4 MiB as base64 and less than twice that in any encoding. */
export const ANSWER_SIZE_MAX = 64 << 20;

/** How far into a body an error's name is looked for. */
const SEARCH_SIZE_MAX = 64 << 10;

/** AWS takes a signature that is up to five minutes old or early. */
const SKEW_MIN_MS = 4 * 60_000;

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

  /** Sends a request of the component's and gives the response as it wants it; throws a failure as it wants it. */
  async send({ target, body }, signal) {
    try {
      return lift(await this.#exchange(target, body, signal));
    } catch (thrown) {
      throw failure(thrown, this.#url.host, signal);
    }
  }

  async #exchange(target, body, signal) {
    const credentials = await this.#credentials.current();
    const signedAt = Date.now() + this.#skew;
    const answer = await this.#sign(target, body, credentials, signedAt, signal);
    switch (remedy(answer)) {
      case "clock": {
        if (answer.date === undefined || Math.abs(answer.date - signedAt) < SKEW_MIN_MS) return answer;
        this.#skew = answer.date - Date.now();
        return this.#sign(target, body, credentials, Date.now() + this.#skew, signal);
      }
      case "credentials": {
        const others = await this.#credentials.replace(credentials);
        return others ? this.#sign(target, body, others, Date.now() + this.#skew, signal) : answer;
      }
      default:
        return answer;
    }
  }

  /** Signs a request and sends it. */
  async #sign(target, body, credentials, at, signal) {
    const url = this.#url;
    const headers = { host: url.host, "content-type": CONTENT_TYPES[body.tag], "x-amz-target": target };
    const signer = new SignatureV4({
      service: "kinesis", region: this.#region, credentials, sha256: Sha256, applyChecksum: false,
    });
    const request = { method: "POST", protocol: url.protocol, hostname: url.hostname, path: url.pathname, query: {}, headers, body: body.val };
    const signed = await signer.sign(request, { signingDate: new Date(at) });
    // Whoever sends it sets it, and `fetch` lets nobody else.
    delete signed.headers.host;
    const post = this.#post;
    const answer = await post(url, { headers: { ...signed.headers, ...this.#headers }, body: body.val, signal });
    // A signature holds for one host, so a redirect leads nowhere. A browser says no more of one than 0.
    if (answer.status === 0 || (answer.status >= 300 && answer.status < 400)) {
      throw { tag: "permanent", val: `a redirect, which is not followed, came from: ${url.host}` };
    }
    return { ...answer, date: dateOf(answer.header("date")) };
  }
}

/** A way to post by `fetch`. */
export function posting(fetch) {
  return async (url, { headers, body, signal }) => {
    // Not "error", which not every runtime knows.
    const response = await fetch(url, { method: "POST", headers, body, signal, redirect: "manual" });
    const bytes = response.body === null ? new Uint8Array() : await bytesOf(response);
    return { status: response.status, header: (name) => response.headers.get(name) ?? undefined, bytes };
  };
}

/** Why an answer is not taken. */
export function tooLarge() {
  return { tag: "permanent", val: `an answer is larger than ${ANSWER_SIZE_MAX >> 20} MiB` };
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

  /** Credentials to sign with. */
  async current() {
    const kept = this.#kept;
    if (!kept) return this.#fetch();
    const left = kept.expiration ? kept.expiration.getTime() - Date.now() : Infinity;
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
    if (!accessKeyId || !secretAccessKey) {
      throw new KinesisReaderError("credentials", "the credentials lack accessKeyId or secretAccessKey", {
        hint: "give credentials: { accessKeyId, secretAccessKey, sessionToken }, or a function that gives them",
      });
    }
    if (Object.values(credentials).some((value) => typeof value === "string" && /[\r\n\0]/.test(value))) {
      throw new KinesisReaderError("credentials", "the AWS credentials hold a character that no header can hold");
    }
    this.#fetchedAt = Date.now();
    return (this.#kept = credentials);
  }
}

function same(a, b) {
  return a.accessKeyId === b.accessKeyId && a.secretAccessKey === b.secretAccessKey && a.sessionToken === b.sessionToken;
}

/** The whole body, which may not be longer than any page. */
async function bytesOf(response) {
  if (Number(response.headers.get("content-length") ?? Infinity) <= ANSWER_SIZE_MAX && !response.headers.get("content-encoding")) {
    return new Uint8Array(await response.arrayBuffer());
  }
  const parts = [];
  let size = 0;
  for (const reader = response.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    size += value.length;
    if (size > ANSWER_SIZE_MAX) {
      await reader.cancel();
      throw tooLarge();
    }
    parts.push(value);
  }
  const bytes = new Uint8Array(size);
  parts.reduce((at, part) => (bytes.set(part, at), at + part.length), 0);
  return bytes;
}

function dateOf(header) {
  const at = Date.parse(header ?? "");
  return Number.isNaN(at) ? undefined : at;
}

/** What a rejection asks of the one who signs; its name stands in a header or in the body, in CBOR too as plain text. */
function remedy({ status, header, bytes }) {
  if (![400, 401, 403].includes(status)) return undefined;
  const said = (header("x-amzn-errortype") ?? "") + new TextDecoder().decode(bytes.subarray(0, SEARCH_SIZE_MAX));
  if (CREDENTIALS_REFUSED.some((name) => said.includes(name))) return "credentials";
  return CLOCK_REFUSED.some((name) => said.includes(name)) ? "clock" : undefined;
}

function lift({ status, header, date, bytes }) {
  const cbor = header("content-type")?.split(";")[0].trim() === CONTENT_TYPES.cbor;
  return {
    status,
    // Text crosses as the bytes that it is.
    body: cbor ? { tag: "cbor", val: bytes } : { tag: "json", val: text.isUtf8(bytes) ? bytes : new TextDecoder().decode(bytes) },
    trace: header("x-amzn-requestid"),
    date: date === undefined ? undefined : BigInt(date),
    signed: undefined,
  };
}

/** Why there is no response, and whether another try may help. */
function failure(thrown, host, signal) {
  if (thrown?.tag) return thrown;
  if (signal.aborted) return { tag: "transient", val: `no answer in time: ${host}` };
  if (thrown instanceof KinesisReaderError) return { tag: "permanent", val: thrown.message };
  // `fetch` says only that it failed; what happened is in the cause, and in a browser nowhere.
  const cause = thrown?.cause ?? thrown;
  const code = cause?.code ?? cause?.errors?.[0]?.code;
  const why = code && !cause.message?.includes(code) ? `${code} ${cause.message ?? ""}`.trim() : words(cause);
  return { tag: typeof code === "string" && UNTRUSTED.test(code) ? "permanent" : "transient", val: `no answer from: ${host} (${why})` };
}
