//! The component imports nothing and behaves exactly like the machine.

use kinesis_reader::component::{Action, Bounds, COMPONENT, Loaded, Reader, Sandbox, wit};
use kinesis_reader_machine as machine;
use machine::wire::{Body, Wire};
use simulation::chance::Chance;
use simulation::kinesis::Kinesis;
use simulation::kinesis::quirks::Quirks;
use simulation::kinesis::stream::Stream;

const BEGIN: u64 = 1_763_900_000_000;

#[test]
fn the_component_imports_nothing_and_is_small() {
    assert!(COMPONENT.len() < 380_000, "{} bytes", COMPONENT.len());
    assert_eq!(sandbox().imports(COMPONENT).expect("a component"), Vec::<String>::new());
}

#[test]
fn the_component_behaves_like_the_machine_for_the_same_seed_and_inputs() {
    let sandbox = sandbox();
    let component = sandbox.compile(COMPONENT).expect("a valid component");
    let (mut deliveries, mut failures) = (0, 0);
    for seed in 0..60 {
        let loaded = component.instantiate().expect("an instance");
        let (delivered, failed) = side_by_side(loaded, seed);
        deliveries += delivered;
        failures += failed;
    }
    assert!(deliveries > 100 && failures > 10, "too few events: {deliveries} batches, {failures} failures");
}

/// Plays one stream to the machine and the component. Returns the number of delivered batches and failed requests.
#[expect(clippy::too_many_lines, reason = "a list of every type")]
fn side_by_side(loaded: Loaded, seed: u64) -> (u32, u32) {
    let mut chance = Chance::new(seed, 1);
    let mut kinesis = service(seed, &mut chance);
    let mut now = 0;
    let (mut native, mut boxed) = open(loaded, seed, &mut chance);
    let (mut deliveries, mut failures) = (0, 0);
    for _ in 0..3000 {
        assert_eq!(native.checkpoint(), boxed.checkpoint().expect("a checkpoint"), "seed {seed}");
        let revision = native.revision();
        assert_eq!(revision, boxed.revision().expect("a revision"), "seed {seed}");
        let since = chance.within(0, revision);
        assert_eq!(native.changes(since), boxed.changes(since).expect("changes"), "seed {seed}");
        let actions = (native.poll_action(), boxed.poll().expect("an action"));
        match actions {
            (machine::Action::Send(request), Action::Send(same)) => {
                assert_eq!(
                    (request.id.0, request.operation.target(), &request.shard, request.deadline.0),
                    (same.id, same.target.as_str(), &same.shard, same.deadline),
                    "seed {seed}"
                );
                match (&request.body, &same.body) {
                    (Body::Json(text), wit::Body::Json(same)) => assert_eq!(text, same, "seed {seed}"),
                    (Body::Cbor(bytes), wit::Body::Cbor(same)) => assert_eq!(bytes, same, "seed {seed}"),
                    (body, same) => panic!("seed {seed}: {body:?}, {same:?}"),
                }
                now += chance.within(1, 80);
                if chance.percent(5) {
                    failures += 1;
                    let why = "connection reset".to_owned();
                    let result = native.handle_failure(
                        request.id,
                        machine::Failure::Transient(why.clone()),
                        machine::Instant(now),
                    );
                    result.expect("the request is pending");
                    boxed.handle_failure(same.id, &wit::Failure::Transient(why), now).expect("the request is pending");
                    continue;
                }
                let answer =
                    kinesis.call(request.operation.target(), &request.body, BEGIN + now).expect("a valid request");
                failures += u32::from(answer.status != 200);
                let date = BEGIN + now / 1000 * 1000;
                let response = machine::Response {
                    status: answer.status,
                    body: answer.body.clone(),
                    aws_request_id: None,
                    date: Some(machine::Timestamp(date)),
                    signed: Some(machine::Timestamp(BEGIN + now)),
                };
                native.handle_response(request.id, response, machine::Instant(now)).expect("the request is pending");
                let body = match answer.body {
                    Body::Json(text) => wit::Body::Json(text),
                    Body::Cbor(bytes) => wit::Body::Cbor(bytes),
                };
                let response = wit::Response {
                    status: answer.status,
                    body,
                    aws_request_id: None,
                    date: Some(date),
                    signed: Some(BEGIN + now),
                };
                boxed.handle_response(same.id, &response, now).expect("the request is pending");
            }
            (machine::Action::Deliver(batch), Action::Deliver(handle)) => {
                deliveries += 1;
                let lines = batch.lines(0, u32::MAX);
                let mut same = boxed.batch(&handle).expect("a batch");
                assert_eq!((batch.id().0, batch.shard(), batch.count()), (same.id, same.shard.as_str(), same.count));
                let same_lines = same.lines(0, u32::MAX).expect("lines");
                assert_eq!(
                    (&lines.text, lines.count, lines.invalid),
                    (&same_lines.text, same_lines.count, same_lines.invalid),
                    "seed {seed}"
                );
                let (invalid_lines, same_invalid_lines) =
                    (batch.invalid_lines(0, u32::MAX), same.invalid_lines(0, u32::MAX).expect("lines"));
                assert_eq!(
                    (invalid_lines.text, invalid_lines.count, invalid_lines.next),
                    (same_invalid_lines.text, same_invalid_lines.count, same_invalid_lines.next)
                );
                let data: Vec<Vec<u8>> = batch.messages(0, u32::MAX).into_iter().map(|message| message.data).collect();
                let messages = same.messages(0, u32::MAX).expect("messages");
                assert_eq!(data, messages.into_iter().map(|message| message.data).collect::<Vec<_>>());
                boxed.release(handle).expect("the batch is outstanding");
                native.handle_delivered(batch.id(), machine::Instant(now)).expect("the batch is outstanding");
                boxed.handle_delivered(batch.id().0, now).expect("the batch is outstanding");
            }
            (machine::Action::Notice(notice), Action::Notice(same)) => {
                assert_eq!(native_notice(notice), notice_of(same))
            }
            (machine::Action::Wait(wait), Action::Wait(same)) => {
                assert_eq!(wait.until.map(|until| until.0), same.until, "seed {seed}");
                now = same.until.expect("a deadline").max(now);
                native.handle_timeout(machine::Instant(now));
                boxed.handle_timeout(now).expect("timeouts never fail");
            }
            (machine::Action::Finish(outcome), Action::Finish(same)) => {
                let ended = match (&outcome, &same) {
                    (machine::Outcome::Reached, wit::Outcome::Reached)
                    | (machine::Outcome::Exhausted, wit::Outcome::Exhausted)
                    | (machine::Outcome::Limited, wit::Outcome::Limited) => true,
                    (machine::Outcome::Failed(why), wit::Outcome::Failed(same)) => why.attempts == same.attempts,
                    _ => false,
                };
                assert!(ended, "seed {seed}: {outcome:?} and {same:?}");
                assert_eq!(native.totals().messages, boxed.totals().expect("totals").messages);
                return (deliveries, failures);
            }
            other => panic!("seed {seed}: different actions: {other:?}"),
        }
    }
    panic!("seed {seed}: the run does not end");
}

/// Creates a stream with a few shards and messages, sometimes resharded.
fn service(seed: u64, chance: &mut Chance) -> Kinesis {
    let quirks = Quirks::draw(chance);
    let mut stream = Stream::new("orders", 0, 3, quirks.sequences, quirks.retention_ms, BEGIN - 100_000);
    for n in 0..chance.within(0, 90) {
        let shard = chance.within(0, 2) as usize;
        let data = [format!("{{\"n\":{n}}}"), "[1]".to_owned(), "not JSON".to_owned()][n as usize % 3].clone();
        stream.put(
            shard,
            (n % 5 > 0).then(|| format!("key {n}")),
            data.into_bytes(),
            BEGIN - 90_000 + n,
            BEGIN - 90_000 + n,
        );
    }
    if chance.percent(60) {
        stream.split(0, BEGIN - 50_000);
    }
    Kinesis::new(quirks, stream, Chance::new(seed, 2))
}

fn open(mut loaded: Loaded, seed: u64, chance: &mut Chance) -> (machine::Reader, Reader) {
    let mut config = machine::Config::new(machine::Source::Name("orders".to_owned()));
    config.limits.page_records = chance.magnitude(1, 100) as u32;
    config.wire = chance.of(&[Wire::Json, Wire::Cbor]);
    let mut boxed = loaded.defaults(&wit::Source::Name("orders".to_owned())).expect("defaults");
    boxed.limits.page_records = config.limits.page_records;
    boxed.wire = match config.wire {
        Wire::Json => wit::Wire::Json,
        Wire::Cbor => wit::Wire::Cbor,
    };
    let native = machine::Reader::open(config, None, seed, machine::Instant(0), machine::Timestamp(BEGIN));
    (native.expect("a valid configuration"), loaded.open(&boxed, None, seed, 0, BEGIN).expect("a valid configuration"))
}

fn native_notice(notice: machine::Notice) -> String {
    match notice {
        machine::Notice::Gap(gap) => format!("gap {} {:?}", gap.shard, gap.after),
        machine::Notice::Retry(error) => format!("retry {:?} {}", error.shard, error.attempts),
        machine::Notice::Shard(status) => format!("shard {} {:?} {}", status.shard, status.parents, status.closed),
    }
}

fn notice_of(notice: wit::Notice) -> String {
    match notice {
        wit::Notice::Gap(gap) => format!("gap {} {:?}", gap.shard, gap.after),
        wit::Notice::Retry(error) => format!("retry {:?} {}", error.shard, error.attempts),
        wit::Notice::Shard(status) => format!("shard {} {:?} {}", status.shard, status.parents, status.closed),
    }
}

fn sandbox() -> Sandbox {
    Sandbox::new(Bounds::default(), None).expect("a sandbox")
}
