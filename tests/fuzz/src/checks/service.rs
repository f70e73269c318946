//! A whole run against a service that answers as the bytes say, over and over: it must end, and keep only what it
//! delivered.
//!
//! The bytes are a script: for each operation a few answers, with status, headers and body, that are given in turn and
//! then again from the first. Such a service may contradict itself in any way but one: it does not bring new records for
//! ever. So a bounded run has to come to its end, or to an error.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kinesis_reader_machine::wire::{Body, Class, Operation, Wire, classify, decode_rejection};
use kinesis_reader_machine::{
    Action, Batch, Checkpoint, Config, Failure, Instant, Position, Reader, Request, Response, Source, Start, Timestamp,
    Until,
};

use super::Bytes;
use super::driver::{BEGIN, answer};

/// Requests of a run that ends. A dozen failures in a row end one; a few shards, each with a few dozen pages, and
/// listings with as many, and each of them may be asked for as often as failures are allowed.
const REQUESTS_MAX: u32 = 20_000;

/// Answers to each operation before the first comes again.
const ANSWERS_MAX: u64 = 6;

/// What comes back for a request.
#[derive(Clone)]
enum Answer {
    Response { status: u16, body: Body, date: Option<Timestamp>, aws_request_id: Option<String> },
    Failure(Failure),
}

/// A service that says again and again what it has to say.
struct Service {
    answers: BTreeMap<&'static str, (usize, Vec<Answer>)>,
    /// There is throttling among it, which may last for ever and fails no run.
    throttles: bool,
}

impl Service {
    fn new(bytes: &mut Bytes<'_>) -> Service {
        let operations = [
            Operation::DescribeStreamSummary,
            Operation::ListShards,
            Operation::GetShardIterator,
            Operation::GetRecords,
        ];
        let mut service = Service { answers: BTreeMap::new(), throttles: false };
        for operation in operations {
            let answers: Vec<Answer> =
                (0..=bytes.below(ANSWERS_MAX)).map(|_| service.answer(operation, bytes)).collect();
            service.answers.insert(operation.target(), (0, answers));
        }
        service
    }

    fn answer(&mut self, operation: Operation, bytes: &mut Bytes<'_>) -> Answer {
        if bytes.below(12) == 0 {
            return Answer::Failure(Failure::Transient("connection reset".to_owned()));
        }
        let (status, body) = answer(operation, bytes);
        let throttled = status != 200 && classify(operation, &decode_rejection(status, &body)) == Class::Throttled;
        self.throttles |= throttled;
        let date = bytes.one(&[None, Some(BEGIN), Some(BEGIN), Some(BEGIN - 400_000), Some(0), Some(u64::MAX)]);
        let aws_request_id = bytes.one(&[None, Some("id\u{1b}[31m")]).map(str::to_owned);
        Answer::Response { status, body, date: date.map(Timestamp), aws_request_id }
    }

    fn next(&mut self, request: &Request) -> Answer {
        let (next, answers) = self.answers.get_mut(request.operation.target()).expect("each has some");
        *next += 1;
        answers[(*next - 1) % answers.len()].clone()
    }
}

/// What was made safe of each shard, by sequence number.
#[derive(Default)]
struct Destination(BTreeMap<String, BTreeSet<String>>);

impl Destination {
    fn take(&mut self, batch: &Batch) {
        let mut count = 0;
        while count < batch.count() {
            let lines = batch.lines(count, 1);
            assert!(lines.count == 1, "no line from {count} on");
            count += lines.count;
        }
        let kept = self.0.entry(batch.shard().to_owned()).or_default();
        kept.extend(batch.messages(0, u32::MAX).into_iter().map(|message| message.sequence));
    }

    /// A checkpoint names what was made safe, or what it named before.
    fn allows(&self, checkpoint: &Checkpoint, saved: Option<&Checkpoint>) {
        for (shard, position) in &checkpoint.shards {
            let Position::After(message) = position else { continue };
            let was_there = saved.and_then(|saved| saved.shards.get(shard)) == Some(position);
            let safe = self.0.get(shard).is_some_and(|kept| kept.contains(message.sequence.as_str()));
            assert!(safe || was_there, "{shard} is at {position:?}, which was not delivered");
        }
    }
}

/// A run that the bytes describe.
pub fn check(data: &[u8]) {
    let mut bytes = Bytes(data);
    let mut config = Config::new(Source::Name("orders".to_owned()));
    config.start = bytes.one(&[Start::TrimHorizon, Start::Latest, Start::AtTimestamp(Timestamp(BEGIN - 1000))]);
    config.until = bytes.one(&[
        Until::CaughtUp(Duration::ZERO),
        Until::CaughtUp(Duration::from_millis(100)),
        Until::Time(Timestamp(BEGIN - 500)),
        Until::Time(Timestamp(BEGIN + 60_000)),
    ]);
    config.wire = bytes.one(&[Wire::Json, Wire::Cbor]);
    config.limits.pace = bytes.one(&[None, Some(100)]);
    config.limits.page_records = 1 + bytes.below(4) as u32;
    config.limits.failures = bytes.one(&[Some(1), Some(3), Some(12)]);
    let mut service = Service::new(&mut bytes);
    let first = run(config.clone(), None, &mut service);
    let second = run(config, Some(&first), &mut service);
    assert!(Checkpoint::parse(&second).is_ok());
}

/// Runs to the end, and gives the checkpoint.
fn run(config: Config, saved: Option<&str>, service: &mut Service) -> String {
    let before = saved.map(|saved| Checkpoint::parse(saved).expect("a valid checkpoint"));
    let mut now = Instant(0);
    let mut reader = Reader::open(config, saved, 7, now, Timestamp(BEGIN)).expect("a valid configuration");
    let mut destination = Destination::default();
    let (mut requests, mut actions) = (0, 0);
    loop {
        actions += 1;
        assert!(actions < 20 * REQUESTS_MAX, "it does not end: {:?}", reader.totals());
        match reader.poll_action() {
            Action::Send(request) => {
                requests += 1;
                if requests > REQUESTS_MAX {
                    // Throttling is waited for as long as it lasts, but not without pauses.
                    assert!(service.throttles, "it asks for ever: {:?}", reader.totals());
                    assert!(now.0 > u64::from(requests), "it asks without a pause: {:?}", reader.totals());
                    return reader.checkpoint();
                }
                now.0 += 1;
                let signed = Some(Timestamp(BEGIN + now.0));
                let told = match service.next(&request) {
                    Answer::Response { status, body, date, aws_request_id } => {
                        reader.handle_response(request.id, Response { status, body, aws_request_id, date, signed }, now)
                    }
                    Answer::Failure(failure) => reader.handle_failure(request.id, failure, now),
                };
                assert_eq!(told, Ok(()));
            }
            Action::Deliver(batch) => {
                destination.take(&batch);
                assert_eq!(reader.handle_delivered(batch.id(), now), Ok(()));
                let checkpoint = Checkpoint::parse(&reader.checkpoint()).expect("a valid checkpoint");
                destination.allows(&checkpoint, before.as_ref());
            }
            Action::Notice(_) => {}
            Action::Wait(wait) => {
                let until = wait.until.expect("all that is out is answered at once");
                assert!(until > now, "{wait:?} at {now:?}");
                now = until;
                reader.handle_timeout(now);
            }
            Action::Finish(_) => {
                let checkpoint = Checkpoint::parse(&reader.checkpoint()).expect("a valid checkpoint");
                destination.allows(&checkpoint, before.as_ref());
                return reader.checkpoint();
            }
        }
    }
}

/// Scripts made of what a linear congruence gives.
pub fn seeds() -> Vec<Vec<u8>> {
    super::driver::seeds()
}
