//! Conversions between the machine's types and those of the WIT, one `From` impl per direction.

use core::time::Duration;

use kinesis_reader_machine as machine;

use crate::batch::Batch;
use crate::bindings::exports::kinesis::reader::reading as wit;
use crate::time::millis;

impl From<wit::Config> for machine::Config {
    fn from(config: wit::Config) -> Self {
        let wit::Config { source, start, until, payload, message_id, wire, deaggregate, on_gap, recreated, limits } =
            config;
        machine::Config {
            source: source.into(),
            start: match start {
                wit::Start::TrimHorizon => machine::Start::TrimHorizon,
                wit::Start::Latest => machine::Start::Latest,
                wit::Start::AtTimestamp(time) => machine::Start::AtTimestamp(machine::Timestamp(time)),
            },
            until: match until {
                wit::Until::CaughtUp(lag) => machine::Until::CaughtUp(Duration::from_millis(lag)),
                wit::Until::Time(time) => machine::Until::Time(machine::Timestamp(time)),
                wit::Until::Stopped => machine::Until::Stopped,
            },
            payload: match payload {
                wit::Payload::Merged => machine::Payload::Merged,
                wit::Payload::Json => machine::Payload::Json,
                wit::Payload::Text => machine::Payload::Text,
                wit::Payload::Base64 => machine::Payload::Base64,
            },
            message_id: match message_id {
                wit::MessageId::Sha256 => machine::MessageId::Sha256,
                wit::MessageId::Dlt => machine::MessageId::Dlt,
            },
            wire: match wire {
                wit::Wire::Json => machine::wire::Wire::Json,
                wit::Wire::Cbor => machine::wire::Wire::Cbor,
            },
            deaggregate,
            on_gap: match on_gap {
                wit::OnGap::Continue => machine::OnGap::Continue,
                wit::OnGap::Fail => machine::OnGap::Fail,
            },
            recreated: match recreated {
                wit::Recreated::Refuse => machine::Recreated::Refuse,
                wit::Recreated::Follow => machine::Recreated::Follow,
            },
            limits: limits.into(),
        }
    }
}

impl From<machine::Config> for wit::Config {
    fn from(config: machine::Config) -> Self {
        let machine::Config { source, start, until, payload, message_id, wire, deaggregate, on_gap, recreated, limits } =
            config;
        wit::Config {
            source: match source {
                machine::Source::Name(name) => wit::Source::Name(name),
                machine::Source::Arn(arn) => wit::Source::Arn(arn),
            },
            start: match start {
                machine::Start::TrimHorizon => wit::Start::TrimHorizon,
                machine::Start::Latest => wit::Start::Latest,
                machine::Start::AtTimestamp(time) => wit::Start::AtTimestamp(time.0),
            },
            until: match until {
                machine::Until::CaughtUp(lag) => wit::Until::CaughtUp(millis(lag)),
                machine::Until::Time(time) => wit::Until::Time(time.0),
                machine::Until::Stopped => wit::Until::Stopped,
            },
            payload: match payload {
                machine::Payload::Merged => wit::Payload::Merged,
                machine::Payload::Json => wit::Payload::Json,
                machine::Payload::Text => wit::Payload::Text,
                machine::Payload::Base64 => wit::Payload::Base64,
            },
            message_id: match message_id {
                machine::MessageId::Sha256 => wit::MessageId::Sha256,
                machine::MessageId::Dlt => wit::MessageId::Dlt,
            },
            wire: match wire {
                machine::wire::Wire::Json => wit::Wire::Json,
                machine::wire::Wire::Cbor => wit::Wire::Cbor,
            },
            deaggregate,
            on_gap: match on_gap {
                machine::OnGap::Continue => wit::OnGap::Continue,
                machine::OnGap::Fail => wit::OnGap::Fail,
            },
            recreated: match recreated {
                machine::Recreated::Refuse => wit::Recreated::Refuse,
                machine::Recreated::Follow => wit::Recreated::Follow,
            },
            limits: limits.into(),
        }
    }
}

impl From<wit::Source> for machine::Source {
    fn from(source: wit::Source) -> Self {
        match source {
            wit::Source::Name(name) => machine::Source::Name(name),
            wit::Source::Arn(arn) => machine::Source::Arn(arn),
        }
    }
}

impl From<wit::Limits> for machine::Limits {
    fn from(limits: wit::Limits) -> Self {
        machine::Limits {
            max_messages: limits.max_messages,
            page_records: limits.page_records,
            requests: limits.requests,
            batches: limits.batches,
            batch_bytes: limits.batch_bytes,
            pace: limits.pace,
            idle_interval: Duration::from_millis(limits.idle_interval),
            list_interval: Duration::from_millis(limits.list_interval),
            request_timeout: Duration::from_millis(limits.request_timeout),
            backoff_first: Duration::from_millis(limits.backoff_first),
            backoff_max: Duration::from_millis(limits.backoff_max),
            failures: limits.failures,
        }
    }
}

impl From<machine::Limits> for wit::Limits {
    fn from(limits: machine::Limits) -> Self {
        wit::Limits {
            max_messages: limits.max_messages,
            page_records: limits.page_records,
            requests: limits.requests,
            batches: limits.batches,
            batch_bytes: limits.batch_bytes,
            pace: limits.pace,
            idle_interval: millis(limits.idle_interval),
            list_interval: millis(limits.list_interval),
            request_timeout: millis(limits.request_timeout),
            backoff_first: millis(limits.backoff_first),
            backoff_max: millis(limits.backoff_max),
            failures: limits.failures,
        }
    }
}

impl From<wit::Body> for machine::wire::Body {
    fn from(body: wit::Body) -> Self {
        match body {
            wit::Body::Json(text) => machine::wire::Body::Json(text),
            wit::Body::Cbor(bytes) => machine::wire::Body::Cbor(bytes),
        }
    }
}

impl From<machine::wire::Body> for wit::Body {
    fn from(body: machine::wire::Body) -> Self {
        match body {
            machine::wire::Body::Json(text) => wit::Body::Json(text),
            machine::wire::Body::Cbor(bytes) => wit::Body::Cbor(bytes),
        }
    }
}

impl From<wit::Response> for machine::Response {
    fn from(response: wit::Response) -> Self {
        let wit::Response { status, body, aws_request_id, date, signed } = response;
        let [date, signed] = [date, signed].map(|time| time.map(machine::Timestamp));
        machine::Response { status, body: body.into(), aws_request_id, date, signed }
    }
}

impl From<wit::Failure> for machine::Failure {
    fn from(failure: wit::Failure) -> Self {
        match failure {
            wit::Failure::Transient(why) => machine::Failure::Transient(why),
            wit::Failure::Permanent(why) => machine::Failure::Permanent(why),
        }
    }
}

impl From<machine::Failure> for wit::Failure {
    fn from(failure: machine::Failure) -> Self {
        match failure {
            machine::Failure::Transient(why) => wit::Failure::Transient(why),
            machine::Failure::Permanent(why) => wit::Failure::Permanent(why),
        }
    }
}

impl From<machine::Action> for wit::Action {
    fn from(action: machine::Action) -> Self {
        match action {
            machine::Action::Send(request) => wit::Action::Send(request.into()),
            machine::Action::Deliver(batch) => wit::Action::Deliver(wit::Batch::new(Batch(batch))),
            machine::Action::Notice(notice) => wit::Action::Notice(notice.into()),
            machine::Action::Wait(wait) => wit::Action::Wait(wait.into()),
            machine::Action::Finish(outcome) => wit::Action::Finish(outcome.into()),
        }
    }
}

impl From<machine::Request> for wit::Request {
    fn from(request: machine::Request) -> Self {
        let machine::Request { id, operation, shard, body, deadline } = request;
        wit::Request {
            id: id.0,
            operation: operation.into(),
            shard,
            target: operation.target().into(),
            body: body.into(),
            deadline: deadline.0,
        }
    }
}

impl From<machine::wire::Operation> for wit::Operation {
    fn from(operation: machine::wire::Operation) -> Self {
        match operation {
            machine::wire::Operation::DescribeStreamSummary => wit::Operation::DescribeStreamSummary,
            machine::wire::Operation::ListShards => wit::Operation::ListShards,
            machine::wire::Operation::GetShardIterator => wit::Operation::GetShardIterator,
            machine::wire::Operation::GetRecords => wit::Operation::GetRecords,
        }
    }
}

impl From<machine::Notice> for wit::Notice {
    fn from(notice: machine::Notice) -> Self {
        match notice {
            machine::Notice::Gap(gap) => wit::Notice::Gap(gap.into()),
            machine::Notice::Retry(error) => wit::Notice::Retry(error.into()),
            machine::Notice::Shard(status) => wit::Notice::Shard(status.into()),
        }
    }
}

impl From<machine::Gap> for wit::Gap {
    fn from(gap: machine::Gap) -> Self {
        let machine::Gap { shard, after, ahead } = gap;
        wit::Gap { shard, after, ahead: ahead.map(|time| time.0) }
    }
}

impl From<machine::Wait> for wit::Wait {
    fn from(wait: machine::Wait) -> Self {
        wit::Wait {
            until: wait.until.map(|until| until.0),
            reason: match wait.reason {
                machine::WaitReason::Response => wit::WaitReason::Response,
                machine::WaitReason::Delivery => wit::WaitReason::Delivery,
                machine::WaitReason::Pace => wit::WaitReason::Pace,
                machine::WaitReason::Backoff => wit::WaitReason::Backoff,
                machine::WaitReason::Listing => wit::WaitReason::Listing,
            },
        }
    }
}

impl From<machine::Outcome> for wit::Outcome {
    fn from(outcome: machine::Outcome) -> Self {
        match outcome {
            machine::Outcome::Reached => wit::Outcome::Reached,
            machine::Outcome::Exhausted => wit::Outcome::Exhausted,
            machine::Outcome::Limited => wit::Outcome::Limited,
            machine::Outcome::Stopped => wit::Outcome::Stopped,
            machine::Outcome::Failed(error) => wit::Outcome::Failed(error.into()),
        }
    }
}

impl From<machine::ServiceError> for wit::ServiceError {
    fn from(error: machine::ServiceError) -> Self {
        let machine::ServiceError { operation, shard, cause, attempts } = error;
        wit::ServiceError { operation: operation.into(), shard, cause: cause.into(), attempts }
    }
}

impl From<machine::Cause> for wit::Cause {
    fn from(cause: machine::Cause) -> Self {
        match cause {
            machine::Cause::Rejected { rejection, aws_request_id } => {
                let machine::wire::Rejection { status, code, message } = rejection;
                let hint = machine::wire::hint(&code).map(Into::into);
                wit::Cause::Rejected(wit::Rejection { status, code, message, aws_request_id, hint })
            }
            machine::Cause::Unintelligible(why) => wit::Cause::Unintelligible(why),
            machine::Cause::Failure(failure) => wit::Cause::Failure(failure.into()),
            machine::Cause::Timeout => wit::Cause::Timeout,
            machine::Cause::Recreated(stream) => wit::Cause::Recreated(stream),
            machine::Cause::Gap(gap) => wit::Cause::Gap(gap.into()),
        }
    }
}

impl From<machine::ShardStatus> for wit::ShardStatus {
    fn from(status: machine::ShardStatus) -> Self {
        let machine::ShardStatus { shard, parents, closed, state, position, behind } = status;
        wit::ShardStatus {
            shard,
            parents,
            closed,
            state: match state {
                machine::ShardState::Blocked => wit::ShardState::Blocked,
                machine::ShardState::Seeking => wit::ShardState::Seeking,
                machine::ShardState::Sought => wit::ShardState::Sought,
                machine::ShardState::Ready => wit::ShardState::Ready,
                machine::ShardState::Reading => wit::ShardState::Reading,
                machine::ShardState::Delivering => wit::ShardState::Delivering,
                machine::ShardState::Ending => wit::ShardState::Ending,
                machine::ShardState::CaughtUp => wit::ShardState::CaughtUp,
                machine::ShardState::Drained => wit::ShardState::Drained,
                machine::ShardState::Failed => wit::ShardState::Failed,
            },
            position: position.into(),
            behind: behind.map(millis),
        }
    }
}

impl From<machine::Position> for wit::Position {
    fn from(position: machine::Position) -> Self {
        match position {
            machine::Position::TrimHorizon => wit::Position::TrimHorizon,
            machine::Position::At(time) => wit::Position::At(time.0),
            machine::Position::After(last) => wit::Position::After(wit::MessagePosition {
                sequence: last.sequence.as_str().into(),
                subsequence: last.subsequence,
            }),
            machine::Position::End => wit::Position::End,
        }
    }
}

impl From<machine::Totals> for wit::Totals {
    fn from(totals: machine::Totals) -> Self {
        let machine::Totals { messages, bytes, dropped, pages, empty_pages, requests, throttled, retried } = totals;
        wit::Totals { messages, bytes, dropped, pages, empty_pages, requests, throttled, retried }
    }
}

impl From<machine::Lines> for wit::Lines {
    fn from(lines: machine::Lines) -> Self {
        let machine::Lines { text, count, invalid } = lines;
        wit::Lines { text, count, invalid }
    }
}

impl From<machine::InvalidLines> for wit::InvalidLines {
    fn from(invalid_lines: machine::InvalidLines) -> Self {
        let machine::InvalidLines { text, count, next } = invalid_lines;
        wit::InvalidLines { text, count, next }
    }
}

impl From<machine::Message> for wit::Message {
    fn from(message: machine::Message) -> Self {
        let machine::Message { id, sequence, subsequence, partition_key, arrived, data } = message;
        wit::Message { id, sequence, subsequence, partition_key, arrived: arrived.0, data }
    }
}

impl From<machine::OpenError> for wit::OpenError {
    fn from(error: machine::OpenError) -> Self {
        match error {
            machine::OpenError::Config(machine::FieldError { field, message }) => {
                wit::OpenError::Config(wit::FieldError { field, message })
            }
            machine::OpenError::Checkpoint(error) => wit::OpenError::Checkpoint(error.into()),
        }
    }
}

impl From<machine::CheckpointError> for wit::CheckpointError {
    fn from(error: machine::CheckpointError) -> Self {
        match error {
            machine::CheckpointError::Malformed(why) => wit::CheckpointError::Malformed(why),
            machine::CheckpointError::Foreign(stream) => wit::CheckpointError::Foreign(stream),
        }
    }
}

impl From<machine::Misuse> for wit::Misuse {
    fn from(misuse: machine::Misuse) -> Self {
        match misuse {
            machine::Misuse::UnknownRequest(id) => wit::Misuse::UnknownRequest(id.0),
            machine::Misuse::UnknownBatch(id) => wit::Misuse::UnknownBatch(id.0),
        }
    }
}
