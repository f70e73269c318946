// Keeps credentials until they expire or are refused.

import { KinesisReaderError, messageOf } from "./errors.js";

/** AWS replaces the credentials of instances and containers at least this long before they expire. */
const RENEW_BEFORE_MS = 5 * 60_000;

/** If credentials are about to expire when we get them, we do not ask again for this long. */
const RENEW_PAUSE_MS = 30_000;

export class CredentialCache {
  #provider;
  #credentials;
  #requestedAt = 0;
  /** The request to the provider that is under way, shared by all callers. */
  #pending;

  /** Takes credentials, or a function that returns them. */
  constructor(credentials) {
    this.#provider = typeof credentials === "function" ? credentials : async () => credentials;
  }

  /** Returns credentials to sign with at this time. */
  async current(now) {
    const credentials = this.#credentials;
    if (!credentials) return this.#request();
    const left = expirationOf(credentials) - now;
    if (left > RENEW_BEFORE_MS || (left > 0 && Date.now() - this.#requestedAt < RENEW_PAUSE_MS)) return credentials;
    this.#requestedAt = Date.now();
    try {
      return await this.#request();
    } catch (thrown) {
      if (left > 0) return credentials;
      throw thrown;
    }
  }

  /** Returns credentials other than these, which the service refused, or undefined if there are none. */
  async replace(refused) {
    if (this.#credentials && !areEqual(this.#credentials, refused)) return this.#credentials;
    const credentials = await this.#request();
    return areEqual(credentials, refused) ? undefined : credentials;
  }

  #request() {
    this.#pending ??= this.#load().finally(() => (this.#pending = undefined));
    return this.#pending;
  }

  async #load() {
    let credentials;
    try {
      // Bypasses the provider's own cache once we have what is in it.
      credentials = await this.#provider({ forceRefresh: this.#credentials !== undefined });
    } catch (cause) {
      throw new KinesisReaderError("credentials", `cannot load AWS credentials: ${messageOf(cause)}`, {
        hint: "run `aws configure` or `aws sso login`, set credentials, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (emulators accept any values)",
        cause,
      });
    }
    check(credentials);
    this.#requestedAt = Date.now();
    return (this.#credentials = credentials);
  }
}

/** Throws if these are not usable credentials. Secrets stay out of the errors. */
function check(credentials) {
  const { accessKeyId, secretAccessKey, sessionToken = "" } = credentials ?? {};
  if (!isText(accessKeyId) || !isText(secretAccessKey)) {
    throw new KinesisReaderError("credentials", "the credentials lack accessKeyId or secretAccessKey", {
      hint: "set credentials: { accessKeyId, secretAccessKey, sessionToken }, or a function that returns them",
    });
  }
  if ([accessKeyId, secretAccessKey, sessionToken ?? ""].some((value) => !/^[\x20-\x7e]*$/.test(value))) {
    throw new KinesisReaderError("credentials", "the credentials contain characters that are not allowed in HTTP headers");
  }
}

function isText(value) {
  return typeof value === "string" && value !== "";
}

function areEqual(a, b) {
  return a.accessKeyId === b.accessKeyId && a.secretAccessKey === b.secretAccessKey && a.sessionToken === b.sessionToken;
}

/** Returns when credentials expire, in milliseconds since the Unix epoch. An invalid time means never. */
function expirationOf({ expiration }) {
  const at = expiration === undefined || expiration === null ? NaN : new Date(expiration).getTime();
  return Number.isNaN(at) ? Infinity : at;
}
