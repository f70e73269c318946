//! The machine as a whole, with any inputs in any order.
//!
//! Most answers are plausible for the request, and some are nonsense.

use std::time::Duration;

use kinesis_reader_machine::wire::model::ERRORS;
use kinesis_reader_machine::wire::{Body, Operation, Wire};
use kinesis_reader_machine::{
    Action, Batch, BatchId, Checkpoint, Config, Failure, Instant, Misuse, Notice, OnGap, Reader, Recreated, Request,
    RequestId, Response, Source, Start, Timestamp, Until,
};
use serde_json::{Value, json};

use super::Bytes;
use super::config::PAYLOADS;

/// The maximum number of actions between two inputs. A listing has a few shards, and each of them causes a few actions,
/// so more would be an endless loop.
const ACTIONS_MAX: u32 = 10_000;

/// The latest time on the host's clock. At the last millisecond that a number can hold, there would be nothing to wait
/// for.
const CLOCK_MAX: u64 = 1 << 60;

/// Runs a host that follows the bytes.
pub fn check(data: &[u8]) {
    let mut bytes = Bytes(data);
    let Some(mut host) = Host::open(&mut bytes) else { return };
    while !bytes.is_empty() {
        host.poll();
        if host.finished {
            break;
        }
        host.input(&mut bytes);
    }
    host.poll();
    host.end();
}

struct Host {
    reader: Reader,
    batch_bytes: u32,
    now: u64,
    wake: Option<u64>,
    requests: Vec<Request>,
    batches: Vec<Batch>,
    checkpoint: Checkpoint,
    /// Shards whose saved position was in the future, and which are read from the present on.
    ahead: Vec<String>,
    finished: bool,
}

impl Host {
    fn open(bytes: &mut Bytes<'_>) -> Option<Host> {
        let mut config = Config::new(Source::Name("orders".to_owned()));
        config.start = match bytes.below(3) {
            0 => Start::TrimHorizon,
            1 => Start::Latest,
            _ => Start::AtTimestamp(Timestamp(BEGIN - 1000)),
        };
        config.until = match bytes.below(4) {
            0 | 1 => Until::CaughtUp(Duration::from_millis(bytes.below(200))),
            2 => Until::Time(Timestamp(BEGIN + bytes.number() % 100_000)),
            _ => Until::Stopped,
        };
        config.payload = bytes.one(&PAYLOADS);
        config.wire = bytes.one(&[Wire::Json, Wire::Cbor]);
        config.on_gap = bytes.one(&[OnGap::Continue, OnGap::Fail]);
        config.recreated = bytes.one(&[Recreated::Refuse, Recreated::Follow]);
        let limits = &mut config.limits;
        limits.max_messages = bytes.optional_number().map(|messages| messages.max(1));
        limits.page_records = 1 + bytes.below(4) as u32;
        limits.requests = 1 + bytes.below(5) as u32;
        limits.batches = 1 + bytes.below(5) as u32;
        limits.pace = bytes.one(&[None, Some(100), Some(1)]);
        limits.failures = bytes.one(&[None, Some(1), Some(3)]);
        limits.batch_bytes = bytes.one(&[1, 500, 5_000, 96 << 20]);
        let saved = match bytes.below(3) {
            0 => None,
            _ => Some(checkpoint(bytes)),
        };
        let seed = bytes.number();
        let batch_bytes = config.limits.batch_bytes;
        let reader = Reader::open(config, saved.as_deref(), seed, Instant(0), Timestamp(BEGIN)).ok()?;
        let checkpoint = Checkpoint::parse(&reader.checkpoint()).expect("a valid checkpoint");
        let (requests, batches, ahead) = (Vec::new(), Vec::new(), Vec::new());
        Some(Host { reader, batch_bytes, now: 0, wake: None, requests, batches, checkpoint, ahead, finished: false })
    }

    /// Polls the reader until it waits or finishes.
    fn poll(&mut self) {
        for _ in 0..ACTIONS_MAX {
            match self.reader.poll_action() {
                Action::Send(request) => self.requests.push(request),
                Action::Deliver(batch) => self.deliver(batch),
                Action::Notice(Notice::Gap(gap)) if gap.ahead.is_some() => self.ahead.push(gap.shard),
                Action::Notice(_) => {}
                Action::Wait(wait) => {
                    let until = wait.until.map(|until| until.0);
                    assert!(until.is_none_or(|until| until > self.now), "{wait:?} at {}", self.now);
                    assert!(until.is_some() || !self.batches.is_empty(), "a wait for nothing: {wait:?}");
                    self.wake = until;
                    return self.check_state();
                }
                Action::Finish(_) => {
                    assert!(self.batches.is_empty(), "finished with undelivered batches");
                    self.finished = true;
                    return self.check_state();
                }
            }
        }
        panic!("{ACTIONS_MAX} actions without a wait");
    }

    fn deliver(&mut self, batch: Batch) {
        assert!(batch.count() > 0);
        let (mut count, mut lines, mut bytes, mut invalid) = (0, 0, 0, 0);
        while count < batch.count() {
            let some = batch.lines(count, 300);
            assert!(some.count > 0, "no line from {count} on");
            count += some.count;
            lines += some.text.lines().count();
            bytes += some.text.len();
            invalid += some.invalid;
        }
        let (mut next, mut rejected) = (0, 0);
        while next < batch.count() {
            let some = batch.invalid_lines(next, 300);
            assert!(some.next > next && some.text.lines().count() == some.count as usize);
            (next, rejected) = (some.next, rejected + some.count);
        }
        assert_eq!(rejected, invalid);
        assert!(batch.behind().as_millis() <= u128::from(u64::MAX) && format!("{batch:?}").contains("to: "));
        assert_eq!(lines, batch.count() as usize);
        assert!(bytes <= self.batch_bytes as usize || lines == 1, "{lines} lines of {bytes} bytes in a batch");
        assert_eq!(batch.messages(0, u32::MAX).len(), lines);
        assert!(Checkpoint::parse(&batch.checkpoint()).is_ok());
        assert!(self.batches.iter().all(|other| other.shard() != batch.shard()), "two undelivered batches of a shard");
        self.batches.push(batch);
    }

    /// Calls what can be called at any time, and checks that positions only advance.
    fn check_state(&mut self) {
        self.reader.totals();
        let states = self.reader.shards();
        assert!(states.is_sorted_by(|a, b| a.shard < b.shard));
        let text = self.reader.checkpoint();
        let checkpoint = Checkpoint::parse(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert_eq!(checkpoint.to_text(), text);
        // A recreated stream has other positions.
        let created = |checkpoint: &Checkpoint| checkpoint.stream.created;
        let same = created(&self.checkpoint).is_none() || created(&checkpoint) == created(&self.checkpoint);
        for (shard, position) in self.checkpoint.shards.iter().filter(|_| same) {
            // A checkpoint may forget a shard that has left the stream, once all its descendants are known.
            let Some(now) = checkpoint.shards.get(shard) else { continue };
            let is_ahead = self.ahead.contains(shard);
            assert!(is_ahead || now >= position, "{shard} went back from {position:?} to {now:?}");
        }
        self.checkpoint = checkpoint;
    }

    fn input(&mut self, bytes: &mut Bytes<'_>) {
        match bytes.below(16) {
            0..8 => self.answer(bytes),
            8 => {
                let Some(request) = self.pick(bytes) else { return self.wake() };
                let why = String::from_utf8_lossy(bytes.some()).into_owned();
                let failure =
                    bytes.one(&[Failure::Transient as fn(_) -> _, Failure::Transient, Failure::Permanent])(why);
                let result = self.reader.handle_failure(request.id, failure, Instant(self.now));
                assert_eq!(result, Ok(()));
            }
            9 | 10 => {
                if self.batches.is_empty() {
                    return self.wake();
                }
                let batch = self.batches.swap_remove(bytes.below(self.batches.len() as u64) as usize);
                assert_eq!(self.reader.handle_delivered(batch.id(), Instant(self.now)), Ok(()));
                let again = self.reader.handle_delivered(batch.id(), Instant(self.now));
                assert_eq!(again, Err(Misuse::UnknownBatch(batch.id())));
            }
            11 | 12 => self.wake(),
            13 => {
                self.now = (self.now + bytes.number() % CLOCK_MAX).min(CLOCK_MAX);
                self.reader.handle_timeout(Instant(self.now));
            }
            14 => {
                // The clock steps back, and the ids are unknown.
                self.reader.handle_timeout(Instant(self.now / 2));
                let (request, batch) = (RequestId(u64::MAX), BatchId(u64::MAX));
                let result = self.reader.handle_failure(request, Failure::Transient(String::new()), Instant(self.now));
                assert_eq!(result, Err(Misuse::UnknownRequest(request)));
                let result = self.reader.handle_delivered(batch, Instant(self.now));
                assert_eq!(result, Err(Misuse::UnknownBatch(batch)));
            }
            _ => {
                if bytes.below(8) == 0 {
                    self.reader.stop(Instant(self.now));
                }
            }
        }
    }

    fn wake(&mut self) {
        self.now = self.now.max(self.wake.unwrap_or(self.now));
        self.reader.handle_timeout(Instant(self.now));
    }

    /// Picks a request, which may have been answered before: a repeated or late answer is not a misuse.
    fn pick(&mut self, bytes: &mut Bytes<'_>) -> Option<Request> {
        if self.requests.is_empty() {
            return None;
        }
        let position = bytes.below(self.requests.len() as u64) as usize;
        match bytes.below(8) {
            0 => self.requests.get(position).cloned(),
            _ => Some(self.requests.swap_remove(position)),
        }
    }

    fn answer(&mut self, bytes: &mut Bytes<'_>) {
        let Some(request) = self.pick(bytes) else { return self.wake() };
        self.now += bytes.below(100);
        let (status, body) = answer(request.operation, bytes);
        let date = bytes.one(&[None, Some(Timestamp(BEGIN + self.now)), Some(Timestamp(0)), Some(Timestamp(u64::MAX))]);
        let signed =
            bytes.one(&[None, Some(Timestamp(BEGIN + self.now)), Some(Timestamp(0)), Some(Timestamp(u64::MAX))]);
        let response = Response { status, body, aws_request_id: None, date, signed };
        assert_eq!(self.reader.handle_response(request.id, response, Instant(self.now)), Ok(()));
    }

    /// Stops the reader, which must finish once all batches are reported.
    fn end(mut self) {
        if !self.finished {
            self.reader.stop(Instant(self.now));
            self.poll();
        }
        while let Some(batch) = self.batches.pop() {
            assert_eq!(self.reader.handle_delivered(batch.id(), Instant(self.now)), Ok(()));
            self.poll();
        }
        assert!(self.finished, "the run does not end");
    }
}

pub(super) const BEGIN: u64 = 1_763_900_000_000;

/// The identifiers of shards. They say nothing about which shard is whose parent.
const SHARDS: [&str; 6] = ["a", "b", "c", "d", "e", "shardId-000000000006"];

/// Makes up an answer to an operation, which is often plausible.
pub(super) fn answer(operation: Operation, bytes: &mut Bytes<'_>) -> (u16, Body) {
    match bytes.below(10) {
        0 => {
            let code = ERRORS[usize::from(bytes.byte()) % ERRORS.len()].names[0];
            let status = bytes.one(&[400, 400, 429, 500, 503]);
            (status, Body::Json(json!({"__type": code, "message": String::from_utf8_lossy(bytes.some())}).to_string()))
        }
        1 => {
            let body = bytes.some();
            let status = bytes.one(&[200, 200, 400, 404, 500, 0]);
            let text = Body::Json(String::from_utf8_lossy(body).into_owned());
            (status, if bytes.below(2) == 0 { text } else { Body::Cbor(body.to_vec()) })
        }
        _ => (200, Body::Json(plausible_answer(operation, bytes).to_string())),
    }
}

fn plausible_answer(operation: Operation, bytes: &mut Bytes<'_>) -> Value {
    match operation {
        Operation::DescribeStreamSummary => json!({"StreamDescriptionSummary": {
            "StreamName": bytes.one(&["orders", "orders", "others"]),
            "StreamARN": "arn:aws:kinesis:eu-west-1:123456789012:stream/orders",
            "StreamCreationTimestamp": bytes.one(&[1_763_900_000u64, 1_763_900_000, 1]),
            "StreamStatus": "ACTIVE",
        }}),
        Operation::ListShards => {
            let shards: Vec<Value> = (0..bytes.below(5)).map(|_| shard(bytes)).collect();
            json!({"Shards": shards, "NextToken": bytes.one(&[None, None, Some("more")])})
        }
        Operation::GetShardIterator => json!({"ShardIterator": bytes.one(&["it", "it2"])}),
        Operation::GetRecords => {
            let records: Vec<Value> = (0..bytes.below(5)).map(|_| record(bytes)).collect();
            let children = (0..bytes.below(3)).map(|_| {
                let parents: Vec<&str> = (0..bytes.below(3)).map(|_| bytes.one(&SHARDS)).collect();
                json!({"ShardId": bytes.one(&SHARDS), "ParentShards": parents, "HashKeyRange": Value::Null})
            });
            let children: Vec<Value> = children.collect();
            json!({
                "Records": records,
                "NextShardIterator": bytes.one(&[Some("next"), Some("next"), None]),
                "MillisBehindLatest": bytes.one(&[0, 0, 1, 100_000, u64::MAX]),
                "ChildShards": if children.is_empty() { Value::Null } else { children.into() },
            })
        }
    }
}

fn shard(bytes: &mut Bytes<'_>) -> Value {
    json!({
        "ShardId": bytes.one(&SHARDS),
        "ParentShardId": bytes.one(&[None, None, Some("a"), Some("b"), Some("gone")]),
        "AdjacentParentShardId": bytes.one(&[None, None, None, Some("c"), Some("d")]),
        "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": "340282366920938463463374607431768211455"},
        "SequenceNumberRange": {
            "StartingSequenceNumber": "1",
            "EndingSequenceNumber": bytes.one(&[None, Some("99"), Some("5")]),
        },
    })
}

fn record(bytes: &mut Bytes<'_>) -> Value {
    let text = String::from_utf8_lossy(bytes.some()).into_owned();
    json!({
        "SequenceNumber": bytes.byte().to_string(),
        "PartitionKey": bytes.one(&[Some("key"), None]),
        "ApproximateArrivalTimestamp": 1_763_900_000.0 + f64::from(bytes.byte()) - 128.0,
        "Data": text,
    })
}

/// Makes up a checkpoint of this stream or of a similar one.
fn checkpoint(bytes: &mut Bytes<'_>) -> String {
    let shards = (0..bytes.below(4)).map(|_| {
        let position = match bytes.below(5) {
            0 => json!({"at": "trim-horizon"}),
            1 => json!({"at": "end"}),
            2 => json!({"at": BEGIN - 5}),
            3 => json!({"after": bytes.byte().to_string(), "sub": bytes.below(3)}),
            _ => json!({"after": bytes.byte().to_string()}),
        };
        (bytes.one(&SHARDS).to_owned(), position)
    });
    let shards: serde_json::Map<String, Value> = shards.collect();
    let stream = match bytes.below(2) {
        0 => json!({"name": "orders"}),
        _ => json!({"name": "orders", "created": 1_763_900_000_000u64}),
    };
    json!({"version": 1, "stream": stream, "shards": shards}).to_string()
}

/// Returns pseudorandom inputs of various lengths, from a linear congruential generator.
pub fn seeds() -> Vec<Vec<u8>> {
    let bytes = |seed: u64| {
        let next = |state: &u64| Some(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
        std::iter::successors(Some(seed), next).skip(1).map(|state| (state >> 56) as u8)
    };
    (0..40).map(|seed| bytes(seed).take(100 + 40 * seed as usize).collect()).collect()
}
