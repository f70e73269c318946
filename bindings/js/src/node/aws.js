// Resolves region, endpoint and credentials like every AWS tool: from options, then the environment, then the profile.

import { createRequire } from "node:module";

import {
  CONFIG_PREFIX_SEPARATOR, NODE_REGION_CONFIG_FILE_OPTIONS, NODE_REGION_CONFIG_OPTIONS,
  NODE_USE_DUALSTACK_ENDPOINT_CONFIG_OPTIONS, NODE_USE_FIPS_ENDPOINT_CONFIG_OPTIONS, loadConfig,
} from "@smithy/core/config";

import { resolveEndpoint } from "../endpoint.js";
import { KinesisReaderError, messageOf, optionError } from "../errors.js";
import { printable } from "../printable.js";

const { version } = createRequire(import.meta.url)("../../package.json");

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
  const credentials = await resolveCredentials(options, endpoint.region);
  return { ...endpoint, credentials, headers: { "user-agent": `kinesis-reader-js/${version}` } };
}

async function resolveCredentials({ credentials, profile, roleArn }, region) {
  if (credentials !== undefined && roleArn === undefined) return credentials;
  // Loading this takes longer than loading everything else, so it is only loaded if needed.
  const { fromIni, fromNodeProviderChain, fromTemporaryCredentials } = await import("@aws-sdk/credential-providers");
  // As in the AWS command line, a profile takes precedence over keys in the environment.
  const source = credentials ?? (profile === undefined ? fromNodeProviderChain() : fromIni({ profile }));
  if (roleArn === undefined) return source;
  if (!/^arn:.*:iam::.*:role\//.test(roleArn)) {
    throw optionError("roleArn", `not the ARN of a role: ${printable(roleArn)}`, "ARNs of roles look like arn:aws:iam::123456789012:role/reader");
  }
  return fromTemporaryCredentials({
    masterCredentials: source,
    params: { RoleArn: roleArn, RoleSessionName: "kinesis-reader" },
    clientConfig: { region },
  });
}

async function setting(selectors, profile) {
  try {
    return await loadConfig(selectors, { ...selectors.options, profile })();
  } catch (cause) {
    throw new KinesisReaderError("option", `cannot load the AWS configuration: ${messageOf(cause)}`, {
      hint: "check the AWS_* variables and ~/.aws/config", cause,
    });
  }
}

/** Also reads the region from the credentials file. Without a default: `resolveEndpoint` reports a missing region. */
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
