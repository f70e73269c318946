//! What rejections mean: one table that maps the service's error names to classes.
//!
//! The names come from the service's model for the four operations, from its list of errors common to all operations,
//! and from the layers in front of it. Each row quotes AWS and gives the source. Names that are not in the table are
//! classified by status code. A few names depend on the operation or message; see [`classify`].

use super::answer::Rejection;
use super::operation::Operation;

/// How to react to a rejection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Too many requests, by this reader or others: repeat the request later. Does not count as a failure.
    Throttled,
    /// The service failed or is not ready: repeat the request.
    Transient,
    /// The iterator is too old: get a new one for the current position.
    ExpiredIterator,
    /// The listing's token is too old: list again from the first page.
    ExpiredToken,
    /// The shard does not exist. The listing tells whether the shard has expired or the stream is gone.
    ShardGone,
    /// The requested position has been trimmed from the shard: start at the oldest record.
    Trimmed,
    /// The credentials are invalid or have expired: sign with new ones, once.
    Credentials,
    /// The host's clock is wrong: sign with the service's time, once.
    ClockSkew,
    /// Retrying is pointless; someone has to fix something.
    Fatal,
}

/// A row of the error table.
#[derive(Clone, Copy, Debug)]
pub struct ErrorRow {
    /// The error's name and its alternative spellings.
    pub names: &'static [&'static str],
    /// How to react.
    pub class: Class,
    /// What AWS says about it, or our own description if AWS has none.
    pub says: &'static str,
    /// The source of the quote.
    pub page: &'static str,
    /// What the user can do about it.
    pub hint: Option<&'static str>,
}

/// Returns how to react to a rejection of `operation`.
pub fn classify(operation: Operation, rejection: &Rejection) -> Class {
    let Some(row) = row(&rejection.code) else { return by_status(rejection.status) };
    let message = rejection.message.to_ascii_lowercase();
    let says = |part: &str| message.contains(part);
    match (rejection.code.as_str(), operation) {
        ("InvalidArgumentException", Operation::GetShardIterator) if says("startingsequencenumber") => {
            // The sequence number belongs to another shard or stream, or is missing: the position is wrong rather than
            // old. Starting over at the oldest record would hide that. "Invalid StartingSequenceNumber. It encodes
            // shardId-000000000007, while it was used in a call to shardId-000000000000"
            // <https://github.com/boto/boto3/issues/1478> "StartingSequenceNumber … used in GetShardIterator on shard …
            // is invalid because it did not come from this stream."
            // <https://github.com/amazon-archives/amazon-kinesis-connectors/issues/8>
            if ["encodes", "did not come from", "must be provided"].into_iter().any(says) {
                Class::Fatal
            } else {
                Class::Trimmed
            }
        }
        // kinesis-mock returns this where Kinesis returns InvalidArgumentException: the shard exists, but the record
        // does not.
        ("ResourceNotFoundException", Operation::GetShardIterator) if says("sequencenumber") => Class::Trimmed,
        ("ResourceNotFoundException", Operation::DescribeStreamSummary | Operation::ListShards) => Class::Fatal,
        // "Credential should be scoped to a valid region": the request went to an endpoint other than the one it was
        // signed for.
        ("InvalidSignatureException" | "SignatureDoesNotMatch", _) if says("scoped to") => Class::Fatal,
        // "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access
        // Key and signing method.", against "Signature expired: 20120306T074514Z is now earlier than 20120306T074556Z".
        // <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html>
        ("InvalidSignatureException" | "SignatureDoesNotMatch", _) if says("does not match") => Class::Credentials,
        _ => row.class,
    }
}

/// Returns what the user can do about an error.
pub fn hint(code: &str) -> Option<&'static str> {
    row(code)?.hint
}

fn row(code: &str) -> Option<&'static ErrorRow> {
    ERRORS.iter().find(|row| row.names.contains(&code))
}

/// "509 Bandwidth Limit Exceeded" is throttling by the service's front end; botocore treats it as such.
/// <https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html>
fn by_status(status: u16) -> Class {
    match status {
        429 | 509 => Class::Throttled,
        408 | 500..=599 => Class::Transient,
        _ => Class::Fatal,
    }
}

const GET_RECORDS: &str = "https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetRecords.html";
const GET_SHARD_ITERATOR: &str = "https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetShardIterator.html";
const LIST_SHARDS: &str = "https://docs.aws.amazon.com/kinesis/latest/APIReference/API_ListShards.html";
const UPDATE_STREAM_MODE: &str = "https://docs.aws.amazon.com/kinesis/latest/APIReference/API_UpdateStreamMode.html";
const COMMON: &str = "https://docs.aws.amazon.com/kinesis/latest/APIReference/CommonErrors.html";
const SIGNATURES: &str = "https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html";
const JSON_PROTOCOL: &str = "https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html";
const RETRIES: &str = "https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html";

const GRANTS: &str = "allow kinesis:DescribeStreamSummary, kinesis:ListShards, kinesis:GetShardIterator and \
                      kinesis:GetRecords on the stream's ARN; for a stream in another account, its resource policy must \
                      allow them too, and the stream must be specified by ARN";
const NEW_CREDENTIALS: &str = "the credentials are invalid or have expired: renew them";
const CLOCK: &str = "this machine's clock is wrong: set it";
const KEY_STATE: &str = "the stream is encrypted with a KMS key that cannot be used now: enable the key or cancel its \
                         deletion";
const REQUEST_FORM: &str = "the request was changed on its way, or sent to the wrong service: check whether a proxy \
                            modifies requests, and that the endpoint is a Kinesis endpoint";

/// The error table.
pub const ERRORS: &[ErrorRow] = &[
    // Specific to the four operations.
    ErrorRow {
        names: &["ProvisionedThroughputExceededException"],
        class: Class::Throttled,
        says: "The request rate for the stream is too high, or the requested data is too large for the available \
               throughput. Reduce the frequency or size of your requests.",
        page: GET_RECORDS,
        hint: None,
    },
    ErrorRow {
        names: &["LimitExceededException"],
        class: Class::Throttled,
        says: "The requested resource exceeds the maximum number allowed, or the number of concurrent stream requests \
               exceeds the maximum number allowed.",
        page: LIST_SHARDS,
        hint: None,
    },
    ErrorRow {
        names: &["KMSThrottlingException"],
        class: Class::Throttled,
        says: "The request was denied due to request throttling.",
        page: GET_RECORDS,
        hint: None,
    },
    ErrorRow {
        names: &["ThrottlingException"],
        class: Class::Throttled,
        says: "The request was denied because the request rate is too high. Reduce the frequency of your requests, and \
               retry them with exponential backoff.",
        page: COMMON,
        hint: None,
    },
    ErrorRow {
        names: &["ExpiredIteratorException"],
        class: Class::ExpiredIterator,
        says: "The provided iterator exceeds the maximum age allowed.",
        page: GET_RECORDS,
        hint: None,
    },
    ErrorRow {
        names: &["ExpiredNextTokenException"],
        class: Class::ExpiredToken,
        says: "The pagination token passed to the operation is expired.",
        page: LIST_SHARDS,
        hint: None,
    },
    ErrorRow {
        names: &["InternalFailureException"],
        class: Class::Transient,
        says: "The processing of the request failed because of an unknown error, exception, or failure.",
        page: GET_RECORDS,
        hint: None,
    },
    ErrorRow {
        // Also returned while the stream is being created.
        names: &["ResourceInUseException"],
        class: Class::Transient,
        says: "The resource is not available for this operation. For successful operation, the resource must be in the \
               ACTIVE state.",
        page: LIST_SHARDS,
        hint: None,
    },
    ErrorRow {
        // Fatal if the stream itself was requested.
        names: &["ResourceNotFoundException"],
        class: Class::ShardGone,
        says: "The requested resource could not be found. The stream might not be specified correctly.",
        page: LIST_SHARDS,
        hint: Some("check the stream's name, the region and the account of the credentials"),
    },
    ErrorRow {
        // Trimmed if it is about the sequence number.
        names: &["InvalidArgumentException"],
        class: Class::Fatal,
        says: "A specified parameter exceeds its restrictions, is not supported, or can't be used.",
        page: GET_SHARD_ITERATOR,
        hint: Some(
            "if it is about a sequence number, the checkpoint is from another stream or an earlier one of this name",
        ),
    },
    ErrorRow {
        names: &["AccessDeniedException"],
        class: Class::Fatal,
        says: "Specifies that you do not have the permissions required to perform this operation.",
        page: LIST_SHARDS,
        hint: Some(GRANTS),
    },
    ErrorRow {
        names: &["DryRunOperationException"],
        class: Class::Fatal,
        says: "The request was rejected because the DryRun parameter was specified.",
        page: GET_RECORDS,
        hint: None,
    },
    ErrorRow {
        names: &["KMSAccessDeniedException"],
        class: Class::Fatal,
        says: "The ciphertext references a key that doesn't exist or that you don't have access to.",
        page: GET_RECORDS,
        hint: Some(
            "the stream is encrypted: allow kms:Decrypt on its KMS key, also in the key's policy if the key is in \
             another account",
        ),
    },
    ErrorRow {
        names: &["KMSDisabledException"],
        class: Class::Fatal,
        says: "The request was rejected because the specified KMS key isn't enabled.",
        page: GET_RECORDS,
        hint: Some(KEY_STATE),
    },
    ErrorRow {
        names: &["KMSInvalidStateException"],
        class: Class::Fatal,
        says: "The request was rejected because the state of the specified resource isn't valid for this request.",
        page: GET_RECORDS,
        hint: Some(KEY_STATE),
    },
    ErrorRow {
        names: &["KMSNotFoundException"],
        class: Class::Fatal,
        says: "The request was rejected because the specified entity or resource can't be found.",
        page: GET_RECORDS,
        hint: Some(
            "the stream is encrypted with a KMS key that does not exist: check the stream's encryption settings",
        ),
    },
    ErrorRow {
        names: &["KMSOptInRequired"],
        class: Class::Fatal,
        says: "The Amazon Web Services access key ID needs a subscription for the service.",
        page: GET_RECORDS,
        hint: Some("the account is not signed up for KMS, with which the stream is encrypted"),
    },
    ErrorRow {
        names: &["ValidationException"],
        class: Class::Fatal,
        says: "The request failed validation. For example, a parameter value is not valid, a combination of parameters \
               is not supported, or the operation is not supported for the stream's capacity mode.",
        page: UPDATE_STREAM_MODE,
        hint: Some("check the stream's name or ARN"),
    },
    // Common to all operations.
    ErrorRow {
        names: &["Throttling", "RequestLimitExceeded", "TooManyRequestsException"],
        class: Class::Throttled,
        says: "The request was denied due to request throttling.",
        page: RETRIES,
        hint: None,
    },
    ErrorRow {
        names: &["InternalFailure", "InternalServerError"],
        class: Class::Transient,
        says: "The request processing has failed because of an unknown error, exception or failure.",
        page: COMMON,
        hint: None,
    },
    ErrorRow {
        names: &["ServiceUnavailable", "ServiceUnavailableException"],
        class: Class::Transient,
        says: "The request has failed due to a temporary failure of the server.",
        page: COMMON,
        hint: None,
    },
    ErrorRow {
        names: &["RequestAbortedException"],
        class: Class::Transient,
        says: "Convenient exception that can be used when a request is aborted before a reply is sent back.",
        page: COMMON,
        hint: None,
    },
    ErrorRow {
        names: &["RequestTimeout", "RequestTimeoutException"],
        class: Class::Transient,
        says: "Problems with the request at the HTTP level. Reading the Request timed out.",
        page: RETRIES,
        hint: None,
    },
    ErrorRow {
        names: &["ExpiredTokenException", "ExpiredToken"],
        class: Class::Credentials,
        says: "The security token included in the request is expired.",
        page: COMMON,
        hint: Some(NEW_CREDENTIALS),
    },
    ErrorRow {
        names: &["UnrecognizedClientException", "InvalidClientTokenId"],
        class: Class::Credentials,
        says: "The X.509 certificate or AWS access key ID provided does not exist in our records.",
        page: COMMON,
        hint: Some(NEW_CREDENTIALS),
    },
    ErrorRow {
        names: &["MissingAuthenticationToken", "MissingAuthenticationTokenException"],
        class: Class::Credentials,
        says: "The request must contain either a valid (registered) AWS access key ID or X.509 certificate.",
        page: COMMON,
        hint: Some(NEW_CREDENTIALS),
    },
    ErrorRow {
        names: &["IncompleteSignature", "IncompleteSignatureException"],
        class: Class::Credentials,
        says: "The request signature does not conform to AWS standards.",
        page: COMMON,
        hint: Some(NEW_CREDENTIALS),
    },
    ErrorRow {
        // If the secret key is wrong, the message says so; otherwise the signing time is.
        names: &["InvalidSignatureException", "SignatureDoesNotMatch"],
        class: Class::ClockSkew,
        says: "Signature expired: 20120306T074514Z is now earlier than 20120306T074556Z.",
        page: SIGNATURES,
        hint: Some("the clock of this machine or the secret key is wrong, or the region is not the endpoint's"),
    },
    ErrorRow {
        names: &["RequestExpired"],
        class: Class::ClockSkew,
        says: "The request reached the service more than 15 minutes after the date stamp on the request or more than 15 \
               minutes after the request expiration date (such as for pre-signed URLs), or the date stamp on the \
               request is more than 15 minutes in the future.",
        page: COMMON,
        hint: Some(CLOCK),
    },
    ErrorRow {
        names: &["RequestTimeTooSkewed"],
        class: Class::ClockSkew,
        says: "The request reached the service more than 15 minutes after the date stamp on the request, or the date \
               stamp on the request is more than 15 minutes in the future.",
        page: SIGNATURES,
        hint: Some(CLOCK),
    },
    ErrorRow {
        names: &["NotAuthorized"],
        class: Class::Fatal,
        says: "You do not have permission to perform this action.",
        page: COMMON,
        hint: Some(GRANTS),
    },
    ErrorRow {
        names: &["OptInRequired"],
        class: Class::Fatal,
        says: "The AWS access key ID needs a subscription for the service.",
        page: COMMON,
        hint: Some("the account is not signed up for Kinesis, or not for this region: enable it"),
    },
    ErrorRow {
        names: &["ValidationError"],
        class: Class::Fatal,
        says: "The input fails to satisfy the constraints specified by an AWS service.",
        page: COMMON,
        hint: Some("check the stream's name or ARN"),
    },
    ErrorRow {
        names: &["InvalidParameterCombination"],
        class: Class::Fatal,
        says: "Parameters that must not be used together were used together.",
        page: COMMON,
        hint: Some(REQUEST_FORM),
    },
    ErrorRow {
        names: &["InvalidParameterValue"],
        class: Class::Fatal,
        says: "An invalid or out-of-range value was supplied for the input parameter.",
        page: COMMON,
        hint: Some("check the stream's name or ARN"),
    },
    ErrorRow {
        names: &["MissingParameter"],
        class: Class::Fatal,
        says: "A required parameter for the specified action is not supplied.",
        page: COMMON,
        hint: Some(REQUEST_FORM),
    },
    ErrorRow {
        names: &["SerializationException"],
        class: Class::Fatal,
        says: "The body could not be read as the content type says.",
        page: JSON_PROTOCOL,
        hint: Some(REQUEST_FORM),
    },
    ErrorRow {
        names: &["MalformedHttpRequestException"],
        class: Class::Fatal,
        says: "Problems with the request at the HTTP level, e.g. we can't decompress the body according to the \
               decompression algorithm specified by the content-encoding.",
        page: COMMON,
        hint: Some(REQUEST_FORM),
    },
    ErrorRow {
        names: &["RequestEntityTooLargeException"],
        class: Class::Fatal,
        says: "Problems with the request at the HTTP level. The request entity is too large.",
        page: COMMON,
        hint: Some(REQUEST_FORM),
    },
    ErrorRow {
        names: &["UnknownOperationException", "InvalidAction"],
        class: Class::Fatal,
        says: "The action or operation requested is invalid. Verify that the action is typed correctly.",
        page: COMMON,
        hint: Some(REQUEST_FORM),
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Body, decode_rejection};
    use alloc::collections::BTreeSet;
    use alloc::string::ToString;

    fn rejection(status: u16, body: &str) -> Rejection {
        decode_rejection(status, &Body::Json(body.to_string()))
    }

    #[test]
    fn names_are_unique_and_have_sources() {
        let names = ERRORS.iter().flat_map(|row| row.names);
        assert_eq!(names.clone().count(), names.collect::<BTreeSet<_>>().len());
        assert!(ERRORS.iter().all(|row| row.page.starts_with("https://") && row.says.ends_with('.')));
        assert!(ERRORS.iter().all(|row| row.class != Class::Credentials || row.hint.is_some()));
    }

    #[test]
    fn unknown_names_are_classified_by_status() {
        for (status, class) in [
            (400, Class::Fatal),
            (403, Class::Fatal),
            (404, Class::Fatal),
            (408, Class::Transient),
            (429, Class::Throttled),
            (500, Class::Transient),
            (502, Class::Transient),
            (503, Class::Transient),
            (509, Class::Throttled),
            (302, Class::Fatal),
        ] {
            let rejection = rejection(status, r#"{"__type":"NewException"}"#);
            assert_eq!(classify(Operation::GetRecords, &rejection), class, "{status}");
        }
    }

    #[test]
    fn a_rejected_sequence_number_is_trimmed_or_wrong() {
        let class = |message: &str| {
            let body = alloc::format!(r#"{{"__type":"InvalidArgumentException","message":"{message}"}}"#);
            classify(Operation::GetShardIterator, &rejection(400, &body))
        };
        assert_eq!(
            class(
                "StartingSequenceNumber 49 used in GetShardIterator on shard s in stream t under account 1 is invalid."
            ),
            Class::Trimmed
        );
        assert_eq!(
            class(
                "StartingSequenceNumber 49 used in GetShardIterator on shard s in stream t under account 1 is invalid because it did not come from this stream."
            ),
            Class::Fatal
        );
        assert_eq!(
            class(
                "Invalid StartingSequenceNumber. It encodes shardId-000000000007, while it was used in a call to shardId-000000000000"
            ),
            Class::Fatal
        );
        assert_eq!(
            class("The timestampInMillis parameter cannot be greater than the currentTimestampInMillis."),
            Class::Fatal
        );
    }

    #[test]
    fn a_missing_resource_is_a_shard_or_the_stream() {
        let rejection = rejection(400, r#"{"__type":"ResourceNotFoundException","message":"…"}"#);
        assert_eq!(classify(Operation::GetRecords, &rejection), Class::ShardGone);
        assert_eq!(classify(Operation::GetShardIterator, &rejection), Class::ShardGone);
        assert_eq!(classify(Operation::ListShards, &rejection), Class::Fatal);
        assert_eq!(classify(Operation::DescribeStreamSummary, &rejection), Class::Fatal);
    }

    #[test]
    fn an_invalid_signature_points_to_the_clock_the_key_or_the_region() {
        let class = |message: &str| {
            let body = alloc::format!(r#"{{"__type":"InvalidSignatureException","message":"{message}"}}"#);
            classify(Operation::ListShards, &rejection(400, &body))
        };
        assert_eq!(class("Signature expired: 20120306T074514Z is now earlier than 20120306T074556Z"), Class::ClockSkew);
        assert_eq!(class("Signature not yet current: 20120306T074514Z is still later than …"), Class::ClockSkew);
        assert_eq!(
            class("The request signature we calculated does not match the signature you provided."),
            Class::Credentials
        );
        assert_eq!(class("Credential should be scoped to a valid region."), Class::Fatal);
    }
}
