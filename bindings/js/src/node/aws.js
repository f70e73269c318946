// Region, endpoint and credentials as every AWS tool finds them: options, then the environment, then the profile.

import {
  CONFIG_PREFIX_SEPARATOR, NODE_REGION_CONFIG_FILE_OPTIONS, NODE_REGION_CONFIG_OPTIONS,
  NODE_USE_DUALSTACK_ENDPOINT_CONFIG_OPTIONS, NODE_USE_FIPS_ENDPOINT_CONFIG_OPTIONS, loadConfig,
} from "@smithy/core/config";

import { createRequire } from "node:module";

import { resolveEndpoint } from "../endpoint.js";
import { KinesisReaderError, badOption, shown, words } from "../errors.js";

const { version } = createRequire(import.meta.url)("../../package.json");

/** Where requests go, and in whose name. */
export async function connect(options) {
  const { stream, profile } = options;
  const region = options.region ?? (stream.startsWith("arn:") ? undefined : await setting(REGION, profile));
  const endpoint = resolveEndpoint({
    stream,
    region,
    endpointUrl: options.endpointUrl ?? (await setting(ENDPOINT_URL, profile)),
    fips: await setting(NODE_USE_FIPS_ENDPOINT_CONFIG_OPTIONS, profile),
    dualStack: await setting(NODE_USE_DUALSTACK_ENDPOINT_CONFIG_OPTIONS, profile),
  });
  return { ...endpoint, credentials: await credentials(options, endpoint.region), headers: { "user-agent": `kinesis-reader-js/${version}` } };
}

async function credentials({ credentials, profile, roleArn }, region) {
  if (credentials !== undefined && roleArn === undefined) return credentials;
  // Loaded where it is needed, for it takes longer than all else that is loaded.
  const { fromIni, fromNodeProviderChain, fromTemporaryCredentials } = await import("@aws-sdk/credential-providers");
  // Where a profile is named, keys in the environment do not count, as in the AWS command line.
  const found = credentials ?? (profile === undefined ? fromNodeProviderChain() : fromIni({ profile }));
  if (roleArn === undefined) return found;
  if (!/^arn:.*:iam::.*:role\//.test(roleArn)) {
    throw badOption("roleArn", `not the ARN of a role: ${shown(roleArn)}`, "it looks like arn:aws:iam::123456789012:role/reader");
  }
  return fromTemporaryCredentials({
    masterCredentials: found,
    params: { RoleArn: roleArn, RoleSessionName: "kinesis-reader" },
    clientConfig: { region },
  });
}

async function setting(selectors, profile) {
  try {
    return await loadConfig(selectors, { ...selectors.options, profile })();
  } catch (cause) {
    throw new KinesisReaderError("option", `cannot use the AWS configuration: ${words(cause)}`, {
      hint: "look at the AWS_… variables and at ~/.aws/config", cause,
    });
  }
}

/** The region may also stand with the credentials; that there is none is told where it is needed. */
const REGION = { ...NODE_REGION_CONFIG_OPTIONS, default: undefined, options: NODE_REGION_CONFIG_FILE_OPTIONS };

/** <https://docs.aws.amazon.com/sdkref/latest/guide/feature-ss-endpoints.html> */
const ENDPOINT_URL = {
  environmentVariableSelector: (env) =>
    env.AWS_IGNORE_CONFIGURED_ENDPOINT_URLS === "true" ? undefined : env.AWS_ENDPOINT_URL_KINESIS || env.AWS_ENDPOINT_URL || undefined,
  configFileSelector: (profile, config) => {
    const services = profile.services && config?.[["services", profile.services].join(CONFIG_PREFIX_SEPARATOR)];
    return services?.[["kinesis", "endpoint_url"].join(CONFIG_PREFIX_SEPARATOR)] ?? profile.endpoint_url;
  },
  default: undefined,
};
