//! Requests as the service accepts them: exactly the members of its model, within their bounds.
//!
//! A request that the service would never accept from any client is *forbidden*. A reader that makes it has a bug, and
//! the simulation fails.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::stream::Stream;

/// Why no reader may make a request.
pub(super) type Forbidden = String;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct DescribeStreamSummary {
    pub(super) stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    pub(super) stream_arn: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct ListShards {
    pub(super) stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    pub(super) stream_arn: Option<String>,
    pub(super) next_token: Option<String>,
    pub(super) max_results: Option<u64>,
    pub(super) exclusive_start_shard_id: Option<String>,
    pub(super) stream_creation_timestamp: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct GetShardIterator {
    pub(super) stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    pub(super) stream_arn: Option<String>,
    pub(super) shard_id: String,
    pub(super) shard_iterator_type: IteratorType,
    pub(super) starting_sequence_number: Option<String>,
    pub(super) timestamp: Option<f64>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum IteratorType {
    AtSequenceNumber,
    AfterSequenceNumber,
    TrimHorizon,
    Latest,
    AtTimestamp,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "PascalCase")]
pub(super) struct GetRecords {
    pub(super) shard_iterator: String,
    pub(super) limit: Option<u64>,
    #[serde(rename = "StreamARN")]
    pub(super) stream_arn: Option<String>,
}

pub(super) fn parse<T: DeserializeOwned>(request: Value) -> Result<T, Forbidden> {
    serde_json::from_value(request).map_err(|error| error.to_string())
}

/// Checks that a request names this stream, by its name, its ARN or both.
pub(super) fn check_stream_required(stream: &Stream, name: Option<&str>, arn: Option<&str>) -> Result<(), Forbidden> {
    if name.is_none() && arn.is_none() {
        return Err("names no stream".to_owned());
    }
    check_stream(stream, name, arn)
}

/// Checks that a request names no other stream.
pub(super) fn check_stream(stream: &Stream, name: Option<&str>, arn: Option<&str>) -> Result<(), Forbidden> {
    match (name, arn) {
        (Some(name), _) if name != stream.name => Err(format!("names another stream: {name}")),
        (_, Some(arn)) if arn != stream.arn => Err(format!("names another stream: {arn}")),
        _ => Ok(()),
    }
}

pub(super) fn check_range(name: &str, value: Option<u64>, least: u64, most: u64) -> Result<(), Forbidden> {
    match value {
        Some(value) if !(least..=most).contains(&value) => {
            Err(format!("{name} is not between {least} and {most}: {value}"))
        }
        _ => Ok(()),
    }
}
