//! Serializes the WIT's types for recordings.
//!
//! Each type is declared a second time here, as a remote type for serde. A field that is added to the WIT does not
//! compile until it is added here too. The bindings cannot derive serde's traits themselves, because one of the types
//! holds a resource.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::bindings::wit;

/// Implements serde's traits for types of the WIT by way of the types declared below.
macro_rules! in_a_recording {
    ($($name:ident)*) => {$(
        impl Serialize for wit::$name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                $name::serialize(self, serializer)
            }
        }

        impl<'de> Deserialize<'de> for wit::$name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $name::deserialize(deserializer)
            }
        }
    )*};
}

in_a_recording! {
    Source Start Until Payload MessageId Wire OnGap Recreated Limits Config
    Body Response Failure
    Operation Request
    WaitReason Wait
    Rejection Cause ServiceError
    MessagePosition Position ShardState ShardStatus Gap Notice
    Outcome
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "wit::Source")]
enum Source {
    Name(String),
    Arn(String),
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "wit::Start")]
enum Start {
    TrimHorizon,
    Latest,
    AtTimestamp(u64),
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "wit::Until")]
enum Until {
    CaughtUp(u64),
    Time(u64),
    Stopped,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "wit::Payload")]
enum Payload {
    Merged,
    Json,
    Text,
    Base64,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "wit::MessageId")]
enum MessageId {
    Sha256,
    Dlt,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "wit::Wire")]
enum Wire {
    Json,
    Cbor,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "wit::Limits")]
struct Limits {
    max_messages: Option<u64>,
    page_records: u32,
    requests: u32,
    batches: u32,
    batch_bytes: u32,
    pace: Option<u8>,
    idle_interval: u64,
    list_interval: u64,
    request_timeout: u64,
    backoff_first: u64,
    backoff_max: u64,
    failures: Option<u32>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "wit::OnGap")]
enum OnGap {
    Continue,
    Fail,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "wit::Recreated")]
enum Recreated {
    Refuse,
    Follow,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "wit::Config")]
struct Config {
    source: wit::Source,
    start: wit::Start,
    until: wit::Until,
    payload: wit::Payload,
    message_id: wit::MessageId,
    wire: wit::Wire,
    /// Missing in recordings of readers that could not split aggregated records.
    #[serde(default)]
    deaggregate: bool,
    /// Missing in recordings of readers that always continued.
    #[serde(default = "continue_on_gap")]
    on_gap: wit::OnGap,
    /// Missing in recordings of readers that always refused.
    #[serde(default = "refuse")]
    recreated: wit::Recreated,
    limits: wit::Limits,
}

fn continue_on_gap() -> wit::OnGap {
    wit::OnGap::Continue
}

fn refuse() -> wit::Recreated {
    wit::Recreated::Refuse
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "wit::Body")]
enum Body {
    Json(String),
    Cbor(Vec<u8>),
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "wit::Response")]
struct Response {
    status: u16,
    body: wit::Body,
    aws_request_id: Option<String>,
    date: Option<u64>,
    /// Missing in recordings of hosts that did not report it.
    #[serde(default)]
    signed: Option<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "wit::Failure")]
enum Failure {
    Transient(String),
    Permanent(String),
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "wit::Operation")]
enum Operation {
    DescribeStreamSummary,
    ListShards,
    GetShardIterator,
    GetRecords,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "wit::Request")]
struct Request {
    id: u64,
    operation: wit::Operation,
    shard: Option<String>,
    target: String,
    body: wit::Body,
    deadline: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "wit::WaitReason")]
enum WaitReason {
    Response,
    Delivery,
    Pace,
    Backoff,
    Listing,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "wit::Wait")]
struct Wait {
    until: Option<u64>,
    reason: wit::WaitReason,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "wit::Rejection")]
struct Rejection {
    status: u16,
    code: String,
    message: String,
    aws_request_id: Option<String>,
    hint: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "wit::Cause")]
enum Cause {
    Rejected(wit::Rejection),
    Unintelligible(String),
    Failure(wit::Failure),
    Timeout,
    Recreated(String),
    Gap(wit::Gap),
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "wit::ServiceError")]
struct ServiceError {
    operation: wit::Operation,
    shard: Option<String>,
    cause: wit::Cause,
    attempts: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "wit::MessagePosition")]
struct MessagePosition {
    sequence: String,
    subsequence: Option<u32>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "wit::Position")]
enum Position {
    TrimHorizon,
    At(u64),
    After(wit::MessagePosition),
    End,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "wit::ShardState")]
enum ShardState {
    Blocked,
    Seeking,
    Sought,
    Ready,
    Reading,
    Delivering,
    Ending,
    CaughtUp,
    Drained,
    Failed,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "wit::ShardStatus")]
struct ShardStatus {
    shard: String,
    parents: Vec<String>,
    closed: bool,
    state: wit::ShardState,
    position: wit::Position,
    behind: Option<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "wit::Gap")]
struct Gap {
    shard: String,
    after: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ahead: Option<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "wit::Notice")]
enum Notice {
    Gap(wit::Gap),
    Retry(wit::ServiceError),
    Shard(wit::ShardStatus),
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "wit::Outcome")]
enum Outcome {
    Reached,
    Exhausted,
    Limited,
    Stopped,
    Failed(wit::ServiceError),
}
