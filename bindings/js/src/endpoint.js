// Where requests go: region, partition and overrides in, one URL out.
//
// The region decides the signature too, so it is needed even where the URL is given. Suffixes and their exceptions are
// those of the AWS endpoint rules for Kinesis.

import { KinesisReaderError, badOption, shown } from "./errors.js";

/** All partitions whose suffixes are not those of AWS's first one: region prefixes, suffix, suffix with IPv6. */
const PARTITIONS = [
  [["cn-"], "amazonaws.com.cn", "api.amazonwebservices.com.cn"],
  [["eusc-"], "amazonaws.eu", "api.amazonwebservices.eu"],
  [["us-iso-"], "c2s.ic.gov", "api.aws.ic.gov"],
  [["us-isob-"], "sc2s.sgov.gov", "api.aws.scloud"],
  [["eu-isoe-"], "cloud.adc-e.uk", "api.cloud-aws.adc-e.uk"],
  [["us-isof-", "eu-isof-"], "csp.hci.ic.gov", "api.aws.hci.ic.gov"],
];

/** Settles on an endpoint. */
export function resolveEndpoint({ stream, endpointUrl, region, fips = false, dualStack = false }) {
  const named = stream.startsWith("arn:") ? stream.split(":")[3] : undefined;
  const signed = region ?? named;
  if (!signed) {
    throw new KinesisReaderError("option", "region: it is not set", {
      hint: "give region, or set AWS_REGION, or name the stream by its ARN",
    });
  }
  if (named && named !== signed) {
    throw badOption("region", `it is not that of the ARN: ${shown(signed)} (the ARN's is ${shown(named)})`, "leave out region");
  }
  if (typeof signed !== "string" || !/^(?!-)[a-zA-Z0-9-]{1,63}(?<!-)$/.test(signed)) {
    throw badOption("region", `not a region: ${shown(signed)}`, "regions look like us-east-1");
  }
  return { region: signed, url: parse(endpointUrl ?? serviceUrl(signed, fips, dualStack)) };
}

function serviceUrl(region, fips, dualStack) {
  const [, plain, both] = PARTITIONS.find(([prefixes]) => prefixes.some((prefix) => region.startsWith(prefix)))
    ?? [[], "amazonaws.com", "api.aws"];
  // In GovCloud the common endpoint is a FIPS endpoint.
  const service = fips && (dualStack || !region.startsWith("us-gov-")) ? "kinesis-fips" : "kinesis";
  return `https://${service}.${region}.${dualStack ? both : plain}`;
}

function parse(text) {
  const bad = (why) => badOption("endpointUrl", `not an endpoint: ${shown(withoutSecrets(String(text)))} (${why})`,
    "endpoints look like https://kinesis.us-east-1.amazonaws.com or http://localhost:4567");
  if (!/^[a-z][a-z0-9+.-]*:\/\//i.test(text)) throw bad("it has no scheme: put http:// or https:// before it");
  let url;
  try {
    url = new URL(text);
  } catch {
    throw bad("it is no URL");
  }
  if (url.protocol !== "http:" && url.protocol !== "https:") throw bad("its scheme is neither http nor https");
  if (url.username || url.password) throw bad("it holds a user name: give credentials");
  if (url.search || url.hash) throw bad("it holds a query");
  return url;
}

/**
 * The text without anything that may be a password or a signature: everything before the host, whatever form the `@`
 * takes, the query and the fragment. This must also work for text that is not a valid URL.
 */
function withoutSecrets(text) {
  const [scheme] = /^[a-z][a-z0-9+.-]*:[\\/]{2}/i.exec(text) ?? [""];
  const rest = text.slice(scheme.length).replace(/^[^]*(?:[@\uff20\ufe6b]|%40)/i, "***@");
  return scheme + rest.replace(/[?#][^]*/, "?***");
}
