// Credentials, kept until they near their end.

import { KinesisReaderError, words } from "./errors.js";

/** Instances and containers have new credentials this long before the old ones end. */
const RENEW_BEFORE_MS = 5 * 60_000;

/** Credentials that are near their end when they come are not asked for again before this has passed. */
const RENEW_PAUSE_MS = 30_000;

/** Credentials, kept until they near their end. One fetch at a time: who comes meanwhile waits for it. */
export class Credentials {
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
