//! Whole runs against a service that repeats a script. They must end, and their checkpoint must name only what was
//! delivered.
//!
//! The bytes are the script: for each operation, a few answers with status, headers and body, which are given in turn
//! and then repeated. Such a service may contradict itself in any way, but it cannot return new records forever. So a
//! bounded run must reach its end or fail.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kinesis_reader_machine::wire::{Body, Class, Operation, Wire, classify, decode_rejection};
use kinesis_reader_machine::{
    Action, Batch, Checkpoint, Config, Failure, Instant, Position, Reader, Request, Response, Source, Start, Timestamp,
    Until,
};

use super::Bytes;
use super::driver::{BEGIN, answer};

/// The maximum number of requests of a run that ends. There are a few shards with a few dozen pages each, and listings
/// with as many, each of which may be requested again until a dozen failures in a row end the run.
const REQUESTS_MAX: u32 = 20_000;

/// The maximum number of answers to each operation before they repeat.
const ANSWERS_MAX: u64 = 6;

/// The result of a request.
#[derive(Clone)]
enum Answer {
    Response { status: u16, body: Body, date: Option<Timestamp>, aws_request_id: Option<String> },
    Failure(Failure),
}

/// A service that repeats its answers.
struct Service {
    answers: BTreeMap<&'static str, (usize, Vec<Answer>)>,
    /// Whether some answers throttle, which may continue forever without failing a run.
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
        let (next, answers) = self.answers.get_mut(request.operation.target()).expect("every operation has answers");
        *next += 1;
        answers[(*next - 1) % answers.len()].clone()
    }
}

/// The sequence numbers that were delivered, by shard.
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
        let delivered = self.0.entry(batch.shard().to_owned()).or_default();
        delivered.extend(batch.messages(0, u32::MAX).into_iter().map(|message| message.sequence));
    }

    /// Checks that a checkpoint names only messages that were delivered, or that the saved checkpoint named.
    fn check(&self, checkpoint: &Checkpoint, saved: Option<&Checkpoint>) {
        for (shard, position) in &checkpoint.shards {
            let Position::After(message) = position else { continue };
            let is_saved = saved.and_then(|saved| saved.shards.get(shard)) == Some(position);
            let is_delivered = self.0.get(shard).is_some_and(|delivered| delivered.contains(message.sequence.as_str()));
            assert!(is_delivered || is_saved, "{shard} is at {position:?}, which was not delivered");
        }
    }
}

/// Runs a reader twice against the service that the bytes describe.
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

/// Runs a reader to its end, and returns its checkpoint.
fn run(config: Config, saved: Option<&str>, service: &mut Service) -> String {
    let before = saved.map(|saved| Checkpoint::parse(saved).expect("a valid checkpoint"));
    let mut now = Instant(0);
    let mut reader = Reader::open(config, saved, 7, now, Timestamp(BEGIN)).expect("a valid configuration");
    let mut destination = Destination::default();
    let (mut requests, mut actions) = (0, 0);
    loop {
        actions += 1;
        assert!(actions < 20 * REQUESTS_MAX, "the run does not end: {:?}", reader.totals());
        match reader.poll_action() {
            Action::Send(request) => {
                requests += 1;
                if requests > REQUESTS_MAX {
                    // The reader waits as long as it is throttled, but it must pause between requests.
                    assert!(service.throttles, "requests without end: {:?}", reader.totals());
                    assert!(now.0 > u64::from(requests), "requests without pauses: {:?}", reader.totals());
                    return reader.checkpoint();
                }
                now.0 += 1;
                let signed = Some(Timestamp(BEGIN + now.0));
                let result = match service.next(&request) {
                    Answer::Response { status, body, date, aws_request_id } => {
                        reader.handle_response(request.id, Response { status, body, aws_request_id, date, signed }, now)
                    }
                    Answer::Failure(failure) => reader.handle_failure(request.id, failure, now),
                };
                assert_eq!(result, Ok(()));
            }
            Action::Deliver(batch) => {
                destination.take(&batch);
                assert_eq!(reader.handle_delivered(batch.id(), now), Ok(()));
                let checkpoint = Checkpoint::parse(&reader.checkpoint()).expect("a valid checkpoint");
                destination.check(&checkpoint, before.as_ref());
            }
            Action::Notice(_) => {}
            Action::Wait(wait) => {
                let until = wait.until.expect("every request is answered at once");
                assert!(until > now, "{wait:?} at {now:?}");
                now = until;
                reader.handle_timeout(now);
            }
            Action::Finish(_) => {
                let checkpoint = Checkpoint::parse(&reader.checkpoint()).expect("a valid checkpoint");
                destination.check(&checkpoint, before.as_ref());
                return reader.checkpoint();
            }
        }
    }
}

/// Returns pseudorandom scripts.
pub fn seeds() -> Vec<Vec<u8>> {
    super::driver::seeds()
}
