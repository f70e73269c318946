//! Bugs that the simulation found, each as the shortest sequence of events that shows it.

use std::time::Duration;

use kinesis_reader_machine::wire::{Body, Operation};
use kinesis_reader_machine::{
    Action, Config, Instant, Notice, Reader, Request, Response, ShardState, Source, Start, Timestamp, Until, Wait,
};

const SHARD: &str = r#"{"Shards":[{"ShardId":"shardId-000000000000","HashKeyRange":{"StartingHashKey":"0",
    "EndingHashKey":"9"},"SequenceNumberRange":{"StartingSequenceNumber":"1"}}]}"#;
const CLOSED: &str = r#"{"Shards":[{"ShardId":"shardId-000000000000","HashKeyRange":{"StartingHashKey":"0",
    "EndingHashKey":"9"},"SequenceNumberRange":{"StartingSequenceNumber":"1","EndingSequenceNumber":"9"}},
    {"ShardId":"shardId-000000000001","ParentShardId":"shardId-000000000000","HashKeyRange":{"StartingHashKey":"0",
    "EndingHashKey":"9"},"SequenceNumberRange":{"StartingSequenceNumber":"10"}}]}"#;
const EXPIRED: &str = r#"{"Shards":[{"ShardId":"shardId-000000000001","ParentShardId":"shardId-000000000000",
    "HashKeyRange":{"StartingHashKey":"0","EndingHashKey":"9"},
    "SequenceNumberRange":{"StartingSequenceNumber":"10"}}]}"#;
const END: &str = r#"{"Records":[],"MillisBehindLatest":0}"#;
const END_WITH_A_LAG: &str = r#"{"Records":[],"MillisBehindLatest":5000}"#;
const ITERATOR: &str = r#"{"ShardIterator":"AAAA"}"#;
const NOTHING: &str = r#"{"Records":[],"NextShardIterator":"BBBB","MillisBehindLatest":0}"#;
const OPENED: u64 = 1_763_900_000_000;

/// A start in the future counts as the present, and must be saved as such. If the requested time were saved, a second
/// run would skip what arrived in between.
#[test]
fn a_start_in_the_future_is_saved_as_the_present() {
    let mut story = Story::open(Start::AtTimestamp(Timestamp(OPENED + 60_000)), Until::Stopped);
    story.date = Some(OPENED);
    story.answers(Operation::ListShards, SHARD, 10);
    let checkpoint = story.reader.checkpoint();
    assert!(checkpoint.contains(&format!(r#"{{"at":{OPENED}}}"#)), "{checkpoint}");
}

/// A page that arrived while the machine slept shows the shard as it was before.
#[test]
fn an_empty_page_requested_before_the_end_time_does_not_end_the_read() {
    let mut story = Story::open(Start::TrimHorizon, Until::Time(Timestamp(OPENED + 60_000)));
    story.answers(Operation::ListShards, SHARD, 10);
    story.answers(Operation::GetShardIterator, ITERATOR, 20);
    story.answers(Operation::GetRecords, NOTHING, 300_000);
    assert_eq!(story.reader.shards()[0].state, ShardState::Ready);
    story.answers(Operation::GetRecords, NOTHING, 300_300);
    assert_eq!(story.reader.shards()[0].state, ShardState::CaughtUp);
}

/// Records may arrive between a false end and the listing that shows the shard as closed.
#[test]
fn an_end_without_children_is_read_again_once_the_shard_is_listed_as_closed() {
    let mut story = Story::open(Start::TrimHorizon, Until::Stopped);
    story.answers(Operation::ListShards, SHARD, 10);
    story.answers(Operation::GetShardIterator, ITERATOR, 20);
    story.answers(Operation::GetRecords, END, 30);
    story.answers(Operation::ListShards, CLOSED, 40);
    story.answers(Operation::GetShardIterator, ITERATOR, 50);
    story.answers(Operation::GetRecords, END, 300);
    assert_eq!(story.reader.shards()[0].state, ShardState::Drained);
}

/// These records may even leave the stream together with their shard.
#[test]
fn an_end_without_children_of_a_shard_that_left_the_stream_is_a_gap() {
    let mut story = Story::open(Start::TrimHorizon, Until::Stopped);
    story.answers(Operation::ListShards, SHARD, 10);
    story.answers(Operation::GetShardIterator, ITERATOR, 20);
    story.answers(Operation::GetRecords, END, 30);
    story.answers(Operation::ListShards, EXPIRED, 40);
    story.answers(Operation::GetShardIterator, ITERATOR, 50);
    assert_eq!(story.gaps, ["shardId-000000000000"]);
}

/// The ends of an open shard may all be false. Those of a closed shard count, whether there are pages between them or
/// not.
#[test]
fn ends_with_a_lag_count_only_after_the_shard_is_listed_as_closed() {
    let mut story = Story::open(Start::TrimHorizon, Until::Stopped);
    story.answers(Operation::ListShards, SHARD, 10);
    for listing in [SHARD, SHARD, SHARD, SHARD, CLOSED] {
        story.answers(Operation::GetShardIterator, ITERATOR, 20);
        story.answers(Operation::GetRecords, END_WITH_A_LAG, 30);
        story.answers(Operation::ListShards, listing, 40);
        assert_eq!(story.reader.shards()[0].state, ShardState::Seeking);
    }
    for last in [false, false, true] {
        story.answers(Operation::GetShardIterator, ITERATOR, 50);
        story.answers(Operation::GetRecords, NOTHING, 60);
        story.answers(Operation::GetRecords, END_WITH_A_LAG, 70);
        assert_eq!(story.reader.shards()[0].state == ShardState::Drained, last);
        if !last {
            story.answers(Operation::ListShards, CLOSED, 80);
        }
    }
}

/// A page that is refused was read all the same, so its bytes count against the service's limits.
#[test]
fn a_refused_page_counts_against_the_pace() {
    let mut story = Story::open(Start::TrimHorizon, Until::Stopped);
    story.answers(Operation::ListShards, SHARD, 10);
    story.answers(Operation::GetShardIterator, ITERATOR, 20);
    let record = |sequence: u32, data: &str| {
        format!(
            r#"{{"SequenceNumber":"{sequence}","ApproximateArrivalTimestamp":1763900000,"Data":"{data}","PartitionKey":"k"}}"#
        )
    };
    // Four MiB of base64 are three MiB of data, at two MiB a second.
    let records = format!("{},{}", record(2, &"A".repeat(4 << 20)), record(1, "AAAA"));
    let page = format!(r#"{{"Records":[{records}],"NextShardIterator":"BBBB","MillisBehindLatest":0}}"#);
    story.answers(Operation::GetRecords, &page, 30);
    assert_eq!(story.request().operation, Operation::GetRecords);
    assert!(story.now >= 1500, "{} ms", story.now);
}

/// A reader and its inputs.
struct Story {
    reader: Reader,
    now: u64,
    /// The `Date` of answers, if they have one.
    date: Option<u64>,
    /// The shards with a gap.
    gaps: Vec<String>,
}

impl Story {
    fn open(start: Start, until: Until) -> Story {
        let mut config = Config { start, until, ..Config::new(Source::Name("orders".to_owned())) };
        config.limits.list_interval = Duration::from_secs(3600);
        let reader = Reader::open(config, None, 1, Instant(0), Timestamp(OPENED)).expect("a valid configuration");
        Story { reader, now: 0, date: None, gaps: Vec::new() }
    }

    /// Answers the next request for this operation, at this time. Describing the stream is denied.
    fn answers(&mut self, operation: Operation, body: &str, at: u64) {
        loop {
            let request = self.request();
            let (status, body, at) = match request.operation {
                requested if requested == operation => (200, body, at),
                Operation::DescribeStreamSummary => (400, r#"{"__type":"AccessDeniedException"}"#, self.now),
                other => panic!("a request for {other} instead of {operation}"),
            };
            self.now = self.now.max(at);
            let date = self.date.map(Timestamp);
            let response =
                Response { status, body: Body::Json(body.to_owned()), aws_request_id: None, date, signed: date };
            self.reader.handle_response(request.id, response, Instant(self.now)).expect("the request is pending");
            if request.operation == operation {
                return;
            }
        }
    }

    fn request(&mut self) -> Request {
        loop {
            match self.reader.poll_action() {
                Action::Send(request) => return request,
                Action::Notice(Notice::Shard(_) | Notice::Retry(_)) => {}
                Action::Notice(Notice::Gap(gap)) => self.gaps.push(gap.shard),
                Action::Wait(Wait { until: Some(until), .. }) => {
                    self.now = self.now.max(until.0);
                    self.reader.handle_timeout(Instant(self.now));
                }
                other => panic!("no request: {other:?}"),
            }
        }
    }
}
