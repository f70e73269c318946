//! Gaps: records that left the stream unread are reported once, or end the run before them.

use std::collections::BTreeMap;

use kinesis_reader_machine::wire::{Body, Operation};
use kinesis_reader_machine::{
    Action, Cause, Config, Gap, Instant, Notice, OnGap, Outcome, Reader, Recreated, Request, Response, Source, Start,
    Timestamp,
};
use serde_json::{Value, json};

#[test]
fn a_generation_that_came_and_went_between_two_runs_is_a_gap() {
    let mut stream = Stream::new(&["0"]);
    stream.put("0", 1..4);
    let first = stream.run(None, |_| {});
    assert_eq!((first.read, first.gaps), (vec![1, 2, 3], vec![]));

    // Shard 0 was split into 1 and 2, and these were split as well. When the reader runs again, only the last are left.
    stream.shards.clear();
    for (id, parent) in [("3", "1"), ("4", "1"), ("5", "2"), ("6", "2")] {
        stream.add(id, &[parent]);
    }
    stream.put("3", 10..12);
    stream.put("6", 12..14);
    let gaps = [gap("0", Some(3)), gap("1", None), gap("2", None)];

    let failed = stream.run(Some(&first.checkpoint), |config| config.on_gap = OnGap::Fail);
    let Outcome::Failed(error) = &failed.outcome else { panic!("{:?}", failed.outcome) };
    assert!(matches!(&error.cause, Cause::Gap(gap) if gaps.contains(gap)), "{error:?}");
    assert_eq!(failed.read, [0; 0]);
    // The checkpoint stays before the gap, so that another run finds it again.
    assert!(failed.checkpoint.contains(r#""shardId-000000000000":{"after":"3"}"#), "{}", failed.checkpoint);
    for on_gap in [OnGap::Fail, OnGap::Continue] {
        let again = stream.run(Some(&failed.checkpoint), |config| config.on_gap = on_gap);
        assert_eq!(matches!(again.outcome, Outcome::Failed(_)), on_gap == OnGap::Fail, "{:?}", again.outcome);
        assert!(!again.gaps.is_empty());
    }

    let second = stream.run(Some(&failed.checkpoint), |_| {});
    assert_eq!((sorted(second.gaps), second.outcome), (gaps.to_vec(), Outcome::Reached));
    assert_eq!(sorted(second.read), [10, 11, 12, 13]);
    let third = stream.run(Some(&second.checkpoint), |_| {});
    assert_eq!((third.gaps, third.read, third.outcome), (vec![], vec![], Outcome::Reached));
}

#[test]
fn records_that_left_the_stream_before_the_first_run_are_not_a_gap() {
    let mut stream = Stream::new(&[]);
    stream.add("3", &["1"]);
    stream.add("4", &["1", "2"]);
    stream.put("4", 1..3);
    let first = stream.run(None, |config| config.on_gap = OnGap::Fail);
    assert_eq!((first.read, first.gaps, first.outcome), (vec![1, 2], vec![], Outcome::Reached));
    // It is not a gap for a second run either, which knows the children.
    let second = stream.run(Some(&first.checkpoint), |config| config.on_gap = OnGap::Fail);
    assert_eq!((second.read, second.gaps, second.outcome), (vec![], vec![], Outcome::Reached));
}

#[test]
fn a_trimmed_position_is_a_gap_and_the_rest_is_read() {
    let mut stream = Stream::new(&["0"]);
    stream.put("0", 1..4);
    let first = stream.run(None, |_| {});
    stream.put("0", 4..9);
    stream.trim("0", 6);
    let failed = stream.run(Some(&first.checkpoint), |config| config.on_gap = OnGap::Fail);
    let Outcome::Failed(error) = failed.outcome else { panic!("{:?}", failed.outcome) };
    assert_eq!((error.cause, failed.gaps), (Cause::Gap(gap("0", Some(3))), vec![gap("0", Some(3))]));
    assert_eq!((failed.read, &failed.checkpoint), (vec![], &first.checkpoint));
    let second = stream.run(Some(&failed.checkpoint), |_| {});
    assert_eq!((second.read, second.gaps), (vec![7, 8], vec![gap("0", Some(3))]));
}

#[test]
fn a_recreated_stream_is_refused_or_followed_as_configured() {
    let mut stream = Stream::new(&["0", "1"]);
    stream.put("0", 1..4);
    stream.put("1", 4..5);
    // There is no gap in a shard that was read to its end.
    stream.shards.get_mut(&id("1")).expect("the shard exists").closed = true;
    let first = stream.run(None, |_| {});
    assert!(first.checkpoint.contains(r#""shardId-000000000001":{"at":"end"}"#), "{}", first.checkpoint);

    stream = Stream { created: 2000, ..Stream::new(&["0"]) };
    stream.put("0", 50..53);
    let refused = stream.run(Some(&first.checkpoint), |_| {});
    let Outcome::Failed(error) = refused.outcome else { panic!("{:?}", refused.outcome) };
    assert!(matches!(error.cause, Cause::Recreated(_)), "{error:?}");
    assert_eq!((refused.read, refused.gaps, refused.checkpoint), (vec![], vec![], first.checkpoint.clone()));

    let gap = vec![gap("0", Some(3))];
    let follow = |config: &mut Config| config.recreated = Recreated::Follow;
    let failed = stream.run(Some(&first.checkpoint), |config| {
        follow(config);
        config.on_gap = OnGap::Fail;
    });
    let Outcome::Failed(error) = failed.outcome else { panic!("{:?}", failed.outcome) };
    assert_eq!((error.cause, failed.gaps), (Cause::Gap(gap[0].clone()), gap.clone()));
    assert_eq!((failed.read, failed.checkpoint), (vec![], first.checkpoint.clone()));

    // The new stream is read from its oldest records, whatever the start is.
    let followed = stream.run(Some(&first.checkpoint), |config| {
        follow(config);
        config.start = Start::Latest;
    });
    assert_eq!((followed.read, followed.gaps, followed.outcome), (vec![50, 51, 52], gap, Outcome::Reached));
    assert!(followed.checkpoint.contains(r#""created":2000000"#), "{}", followed.checkpoint);
    assert!(!followed.checkpoint.contains("shardId-000000000001"), "{}", followed.checkpoint);
    let after = stream.run(Some(&followed.checkpoint), |_| {});
    assert_eq!((after.read, after.gaps, after.outcome), (vec![], vec![], Outcome::Reached));
}

#[test]
fn a_position_in_the_future_is_a_gap_and_reading_continues_at_the_present() {
    let mut stream = Stream::new(&["0"]);
    stream.put("0", 1..4);
    let name = r#"{"name":"orders"}"#;
    let checkpoint =
        |time: u64| format!(r#"{{"version":1,"stream":{name},"shards":{{"{}":{{"at":{time}}}}}}}"#, id("0"));
    for ahead in [PRESENT + 2_001, 2_147_483_647_000, 253_402_300_799_000, u64::MAX] {
        let gap = vec![Gap { shard: id("0"), after: None, ahead: Some(Timestamp(ahead)) }];
        let failed = stream.run(Some(&checkpoint(ahead)), |config| config.on_gap = OnGap::Fail);
        let Outcome::Failed(error) = failed.outcome else { panic!("{:?}", failed.outcome) };
        assert_eq!((error.cause, failed.gaps, failed.read), (Cause::Gap(gap[0].clone()), gap.clone(), vec![]));
        assert!(failed.checkpoint.contains(&format!(r#"{{"at":{ahead}}}"#)), "{}", failed.checkpoint);

        let run = stream.run(Some(&checkpoint(ahead)), |_| {});
        assert_eq!((run.outcome, run.gaps, run.read), (Outcome::Reached, gap, vec![1, 2, 3]));
        let next = stream.run(Some(&run.checkpoint), |_| {});
        assert_eq!((next.gaps, next.read), (vec![], vec![]));
    }
    let run = stream.run(Some(&checkpoint(PRESENT)), |config| config.on_gap = OnGap::Fail);
    assert_eq!((run.outcome, run.gaps, run.read), (Outcome::Reached, vec![], vec![1, 2, 3]));
}

#[test]
fn another_account_s_stream_is_not_followed() {
    let mut stream = Stream::new(&["0"]);
    let first = stream.run(None, |_| {});
    stream = Stream { created: 2000, account: "222222222222", ..stream };
    let run = stream.run(Some(&first.checkpoint), |config| config.recreated = Recreated::Follow);
    let Outcome::Failed(error) = run.outcome else { panic!("{:?}", run.outcome) };
    assert!(matches!(error.cause, Cause::Recreated(_)), "{error:?}");
}

/// When each run is opened.
const PRESENT: u64 = 5_000_000;

fn gap(shard: &str, after: Option<u32>) -> Gap {
    Gap { shard: id(shard), after: after.map(|after| after.to_string()), ahead: None }
}

fn id(shard: &str) -> String {
    format!("shardId-{shard:0>12}")
}

fn sorted<T: std::fmt::Debug>(mut all: Vec<T>) -> Vec<T> {
    all.sort_by_key(|one| format!("{one:?}"));
    all
}

/// A stream in its simplest form: its records are numbers, which are also their sequence numbers.
struct Stream {
    /// In seconds.
    created: u64,
    account: &'static str,
    /// The shards that are listed.
    shards: BTreeMap<String, Shard>,
}

#[derive(Default)]
struct Shard {
    parents: Vec<String>,
    closed: bool,
    records: Vec<u32>,
}

/// The result of a run.
struct Run {
    outcome: Outcome,
    read: Vec<u32>,
    gaps: Vec<Gap>,
    checkpoint: String,
}

impl Stream {
    fn new(shards: &[&str]) -> Stream {
        let mut stream = Stream { created: 1000, account: "111111111111", shards: BTreeMap::new() };
        shards.iter().for_each(|shard| stream.add(shard, &[]));
        stream
    }

    fn add(&mut self, shard: &str, parents: &[&str]) {
        let parents = parents.iter().map(|parent| id(parent)).collect();
        self.shards.insert(id(shard), Shard { parents, ..Shard::default() });
    }

    fn put(&mut self, shard: &str, numbers: std::ops::Range<u32>) {
        self.shards.get_mut(&id(shard)).expect("the shard exists").records.extend(numbers);
    }

    /// Removes the records up to this one from the stream.
    fn trim(&mut self, shard: &str, last: u32) {
        self.shards.get_mut(&id(shard)).expect("the shard exists").records.retain(|record| *record > last);
    }

    fn run(&self, checkpoint: Option<&str>, change: impl FnOnce(&mut Config)) -> Run {
        let mut config = Config::new(Source::Name("orders".to_owned()));
        config.limits.pace = None;
        change(&mut config);
        let mut now = Instant(0);
        let mut reader = Reader::open(config, checkpoint, 1, now, Timestamp(PRESENT)).expect("a valid configuration");
        let (mut read, mut gaps) = (Vec::new(), Vec::new());
        loop {
            match reader.poll_action() {
                Action::Send(request) => {
                    let (status, body) = self.answer(&request);
                    let response = Response {
                        status,
                        body: Body::Json(body.to_string()),
                        aws_request_id: None,
                        date: None,
                        signed: None,
                    };
                    reader.handle_response(request.id, response, now).expect("the request is pending");
                }
                Action::Deliver(batch) => {
                    for message in batch.messages(0, u32::MAX) {
                        read.push(message.sequence.parse().expect("a number"));
                    }
                    reader.handle_delivered(batch.id(), now).expect("the batch is pending");
                }
                Action::Notice(Notice::Gap(gap)) => gaps.push(gap),
                Action::Notice(_) => {}
                Action::Wait(wait) => {
                    now = wait.until.expect("a deadline");
                    reader.handle_timeout(now);
                }
                Action::Finish(outcome) => return Run { outcome, read, gaps, checkpoint: reader.checkpoint() },
            }
        }
    }

    fn answer(&self, request: &Request) -> (u16, Value) {
        let Body::Json(query) = &request.body else { panic!("not JSON") };
        let query: Value = serde_json::from_str(query).expect("JSON");
        let refused = |code: &str, message: String| (400, json!({"__type": code, "message": message}));
        match request.operation {
            Operation::DescribeStreamSummary => {
                let arn = format!("arn:aws:kinesis:eu-west-1:{}:stream/orders", self.account);
                let summary =
                    json!({"StreamName": "orders", "StreamARN": arn, "StreamCreationTimestamp": self.created});
                (200, json!({"StreamDescriptionSummary": summary}))
            }
            Operation::ListShards => {
                let shards = self.shards.iter().map(|(id, shard)| {
                    json!({
                        "ShardId": id,
                        "ParentShardId": shard.parents.first(),
                        "AdjacentParentShardId": shard.parents.get(1),
                        "SequenceNumberRange": {"EndingSequenceNumber": shard.closed.then_some("9999")},
                    })
                });
                (200, json!({"Shards": shards.collect::<Vec<_>>()}))
            }
            Operation::GetShardIterator => {
                let id = query["ShardId"].as_str().expect("a shard");
                let Some(shard) = self.shards.get(id) else {
                    return refused("ResourceNotFoundException", format!("Shard {id} does not exist"));
                };
                let from = match query["ShardIteratorType"].as_str() {
                    Some("AFTER_SEQUENCE_NUMBER") => {
                        let after = query["StartingSequenceNumber"].as_str().expect("a number");
                        let Some(at) = shard.records.iter().position(|record| record.to_string() == after) else {
                            let why = format!("StartingSequenceNumber {after} used on shard {id} is invalid.");
                            return refused("InvalidArgumentException", why);
                        };
                        at + 1
                    }
                    Some("TRIM_HORIZON") => 0,
                    // All records arrived at the opening.
                    Some("AT_TIMESTAMP") => {
                        let time = query["Timestamp"].as_f64().expect("a time");
                        assert!(time * 1000.0 <= PRESENT as f64, "the service refuses times in the future: {time}");
                        0
                    }
                    Some("LATEST") => shard.records.len(),
                    other => panic!("a request for {other:?}"),
                };
                (200, json!({"ShardIterator": format!("{id} {from}")}))
            }
            Operation::GetRecords => {
                let iterator = query["ShardIterator"].as_str().expect("an iterator");
                let (id, from) = iterator.split_once(' ').expect("one of our iterators");
                let shard = &self.shards[id];
                let record =
                    |record: &u32| json!({"SequenceNumber": record.to_string(), "Data": "", "PartitionKey": "k"});
                let records: Vec<Value> =
                    shard.records[from.parse::<usize>().expect("a number")..].iter().map(record).collect();
                let next = (!shard.closed).then(|| format!("{id} {}", shard.records.len()));
                (200, json!({"Records": records, "NextShardIterator": next, "MillisBehindLatest": 0}))
            }
        }
    }
}
