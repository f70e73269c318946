// Resolves the endpoint URL and the region to sign for.
//
// Signatures name the region, so it is needed even if the URL is given. DNS suffixes and their exceptions follow the AWS
// endpoint rules for Kinesis.

import { KinesisReaderError, optionError } from "./errors.js";
import { printable } from "./printable.js";

/** Partitions with DNS suffixes of their own: region prefixes, suffix, dual-stack suffix. */
const PARTITIONS = [
  [["cn-"], "amazonaws.com.cn", "api.amazonwebservices.com.cn"],
  [["eusc-"], "amazonaws.eu", "api.amazonwebservices.eu"],
  [["us-iso-"], "c2s.ic.gov", "api.aws.ic.gov"],
  [["us-isob-"], "sc2s.sgov.gov", "api.aws.scloud"],
  [["eu-isoe-"], "cloud.adc-e.uk", "api.cloud-aws.adc-e.uk"],
  [["us-isof-", "eu-isof-"], "csp.hci.ic.gov", "api.aws.hci.ic.gov"],
];

export function resolveEndpoint({ stream, endpointUrl, region, fips = false, dualStack = false }) {
  const arnRegion = stream.startsWith("arn:") ? stream.split(":")[3] : undefined;
  const resolved = region ?? arnRegion;
  if (!resolved) {
    throw new KinesisReaderError("option", "region: not set", {
      hint: "set region, or AWS_REGION in Node, or give the ARN of the stream",
    });
  }
  if (arnRegion && arnRegion !== resolved) {
    throw optionError("region", `not the region of the ARN, ${printable(arnRegion)}: ${printable(resolved)}`, "leave out region");
  }
  if (typeof resolved !== "string" || !/^(?!-)[a-zA-Z0-9-]{1,63}(?<!-)$/.test(resolved)) {
    throw optionError("region", `not a region: ${printable(resolved)}`, "regions look like us-east-1");
  }
  return { region: resolved, url: parseEndpoint(endpointUrl ?? serviceUrl(resolved, fips, dualStack)) };
}

function serviceUrl(region, fips, dualStack) {
  const [, suffix, dualStackSuffix] = PARTITIONS.find(([prefixes]) => prefixes.some((prefix) => region.startsWith(prefix)))
    ?? [[], "amazonaws.com", "api.aws"];
  // In GovCloud, the regular endpoint is a FIPS endpoint.
  const service = fips && (dualStack || !region.startsWith("us-gov-")) ? "kinesis-fips" : "kinesis";
  return `https://${service}.${region}.${dualStack ? dualStackSuffix : suffix}`;
}

function parseEndpoint(text) {
  const invalid = (why) => optionError("endpointUrl", `invalid: ${printable(withoutSecrets(String(text)))} (${why})`,
    "endpoints look like https://kinesis.us-east-1.amazonaws.com or http://localhost:4567");
  if (!/^[a-z][a-z0-9+.-]*:\/\//i.test(text)) throw invalid("no scheme; start it with http:// or https://");
  let url;
  try {
    url = new URL(text);
  } catch {
    throw invalid("not a URL");
  }
  if (url.protocol !== "http:" && url.protocol !== "https:") throw invalid("neither http nor https");
  if (url.username || url.password || text.includes("@")) throw invalid("contains a user name or password; use credentials");
  if (url.search || url.hash) throw invalid("contains a query or fragment");
  return url;
}

/**
 * Removes everything that is, or may have been meant as, a password from an invalid URL. `tests/golden/endpoints.json` has
 * examples, with which all packages are tested.
 */
export function withoutSecrets(text) {
  // The slashes after the scheme may be too few or of the wrong kind.
  const [scheme] = /^(?:https?:[\\/]+|[a-z0-9+.-]+:\/\/[\\/]*)/i.exec(text) ?? [""];
  const [, before, mark, query] = /^([^?#]*)([?#]?)([^]*)$/.exec(text.slice(scheme.length));
  if (AT.test(query)) return `${scheme}***`;
  const rest = before.replace(AT, "");
  const user = rest === before ? "" : "***@";
  const [, authority, path] = /^([^\\/]*)([^]*)$/.exec(rest);
  const host = shownAuthority(authority, path);
  // What looks like a path may be the rest of a password.
  return scheme + user + host + (host.endsWith("***") ? "" : path) + (mark && `${mark}***`);
}

/** Everything up to the last `@`, in any spelling that may have been meant as one. */
const AT = /^[^]*(?:[@\uff20\ufe6b]|%40)/;

/** If the host is missing, user name and password look like host and port. */
function shownAuthority(authority, path) {
  if (authority.startsWith("[")) {
    const [address] = /^\[[0-9a-f:.]+\]/i.exec(authority) ?? [];
    if (address === undefined) return "***";
    return /^(?::[0-9]+)?$/.test(authority.slice(address.length)) ? authority : `${address}***`;
  }
  const colon = authority.indexOf(":");
  const host = colon < 0 ? authority : authority.slice(0, colon);
  if (host.includes("%")) return "***";
  const port = authority.slice(colon + 1);
  const isPort = /^[0-9]+$/.test(port) || (port === "" && path === "");
  return colon < 0 || isPort ? authority : `${host}:***`;
}
