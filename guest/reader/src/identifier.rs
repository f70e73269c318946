//! The identifiers that the service's model allows.
//!
//! Identifiers become part of requests, checkpoints and messages to the operator. A response or checkpoint with an
//! identifier that the model does not allow is rejected, so none of ours contains a control character or a path.

/// Whether a name is valid for a stream or a shard: "Length Constraints: Minimum length of 1. Maximum length of 128.
/// Pattern: [a-zA-Z0-9_.-]+".
/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_Shard.html>
pub(crate) fn is_name(name: &str) -> bool {
    (1..=128).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// "Maximum length of 2048. Pattern: arn:aws.*:kinesis:.*:\d{12}:stream/\S+"
/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_StreamDescriptionSummary.html>
const ARN_MAX: usize = 2048;

/// Returns the stream's name in `arn:PARTITION:kinesis:REGION:ACCOUNT:stream/NAME`, or `None` if the text is not the
/// ARN of a stream.
pub(crate) fn stream_of(arn: &str) -> Option<&str> {
    let mut parts = arn.splitn(6, ':');
    let (scheme, partition, service) = (parts.next()?, parts.next()?, parts.next()?);
    let (region, account, resource) = (parts.next()?, parts.next()?, parts.next()?);
    let is_valid = scheme == "arn" && is_name(partition) && service == "kinesis" && is_name(region);
    let is_valid_account = account.len() == 12 && account.bytes().all(|b| b.is_ascii_digit());
    let stream = resource.strip_prefix("stream/").filter(|name| is_name(name))?;
    (is_valid && is_valid_account && arn.len() <= ARN_MAX).then_some(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_that_the_model_allows_are_valid() {
        let longest = "a".repeat(128);
        for name in ["shardId-000000000000", "a", "0", "A_b.C-9", longest.as_str()] {
            assert!(is_name(name), "{name}");
        }
        let longer = "a".repeat(129);
        for name in ["", " ", "a b", "a/b", "a\n", "a\0", "\u{1b}[2J", "\u{202e}a", "ü", "a:b", longer.as_str()] {
            assert!(!is_name(name), "{name:?}");
        }
    }

    #[test]
    fn an_arn_names_its_stream() {
        for arn in [
            "arn:aws:kinesis:eu-west-1:123456789012:stream/a.b-c_1",
            "arn:aws-cn:kinesis:local:000000000000:stream/a.b-c_1",
        ] {
            assert_eq!(stream_of(arn), Some("a.b-c_1"), "{arn}");
        }
        for arn in [
            "",
            "arn",
            "arn:aws:sqs:eu-west-1:123456789012:stream/a",
            "arn:aws:kinesis:eu-west-1:12345678901:stream/a",
            "arn:aws:kinesis:eu-west-1:123456789012:stream/",
            "arn:aws:kinesis:eu-west-1:123456789012:stream/a/consumer/b:1",
            "arn:aws:kinesis::123456789012:stream/a",
            "arn::kinesis:eu-west-1:123456789012:stream/a",
            "arn:aws\u{1b}[31m:kinesis:eu-west-1:123456789012:stream/a",
            "arn:aws:kinesis:eu\nwest:123456789012:stream/a",
            "arn:aws:kinesis:eu-west-1:123456789012:stream/a\u{202e}",
        ] {
            assert_eq!(stream_of(arn), None, "{arn:?}");
        }
    }
}
