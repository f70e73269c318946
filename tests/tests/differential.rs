//! Compares the compiled component to reference libraries. Its code for JSON, base64, CBOR and times uses wasm's vector
//! instructions, which no native build does.
//!
//! Pages are generated as in the fuzz target `page`. If a page's lines are known in advance, the component's must be
//! identical; in any case it must produce the same as the native reader. `cargo xtask fuzz sandbox --seconds N` runs
//! longer and also uses what the other fuzz targets found.

use std::path::Path;
use std::time::{Duration, Instant};

use kinesis_reader::component::{Action, Bounds, COMPONENT, Compiled, Sandbox, wit};
use kinesis_reader_machine::wire::{Body, Operation};
use kinesis_reader_machine::{MessageId, Payload};

#[path = "../fuzz/src/checks/mod.rs"]
#[allow(unreachable_pub, dead_code, reason = "shared with the fuzz targets")]
mod checks;

use checks::page::{Case, Output, assert_lines, draw, first_answer, read_natively, seeds};

#[test]
fn the_component_renders_the_same_lines_as_the_libraries() {
    let sandbox = Sandbox::new(Bounds::default(), None).expect("a sandbox");
    let component = sandbox.compile(COMPONENT).expect("a valid component");
    let mut known = 0;
    for input in seeds().iter().chain(&findings()) {
        known += u32::from(check(&component, input));
    }
    let seconds = std::env::var("KINESIS_FUZZ_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    let until = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut cases = 0;
    while until.map_or(cases < CASES, |until| Instant::now() < until) {
        // Longer inputs produce pages with more records.
        let mut chance = fastrand::Rng::with_seed(cases);
        let length = 1 << chance.u32(2..12);
        let input: Vec<u8> = (0..length).map(|_| chance.u8(..)).collect();
        known += u32::from(check(&component, &input));
        cases += 1;
    }
    assert!(known > 500, "only {known} of {cases} pages have known lines");
    println!("{cases} pages, {known} with known lines");
}

/// Pages per test.
const CASES: u64 = 3000;

/// Checks a page against its known lines, if any, and the native reader. Returns whether its lines are known.
fn check(component: &Compiled, input: &[u8]) -> bool {
    let (case, expected) = draw(input);
    let output = read_in_component(component, &case);
    if let Some(expected) = &expected {
        assert_lines(&case, &output, expected);
    }
    assert_eq!(output, read_natively(&case), "{case:?}");
    expected.is_some()
}

/// Returns earlier failures, and the corpus of the fuzz target if it has run.
fn findings() -> Vec<Vec<u8>> {
    let corpus = std::env::var_os("KINESIS_FUZZ_CORPUS").map(Into::into);
    let folders = [Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/regressions/page")), corpus];
    let files = folders.into_iter().flatten().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten();
    files.map(|file| std::fs::read(file.expect("a readable directory").path()).expect("a readable file")).collect()
}

/// Reads a page with the component.
fn read_in_component(component: &Compiled, case: &Case) -> Output {
    let mut loaded = component.instantiate().expect("an instance");
    let mut config = loaded.defaults(&wit::Source::Name("orders".to_owned())).expect("defaults");
    (config.until, config.limits.pace, config.deaggregate) = (wit::Until::Stopped, None, case.deaggregate);
    config.payload = match case.form {
        Payload::Merged => wit::Payload::Merged,
        Payload::Json => wit::Payload::Json,
        Payload::Text => wit::Payload::Text,
        Payload::Base64 => wit::Payload::Base64,
    };
    config.message_id = match case.id {
        MessageId::Sha256 => wit::MessageId::Sha256,
        MessageId::Dlt => wit::MessageId::Dlt,
    };
    let mut reader = loaded.open(&config, None, 1, 0, 0).expect("the config is valid");
    let mut is_sent = false;
    loop {
        match reader.poll().expect("an action") {
            Action::Send(request) => {
                let body = match request.operation {
                    wit::Operation::GetRecords if is_sent => return Output::Nothing,
                    wit::Operation::GetRecords => {
                        is_sent = true;
                        match &case.body {
                            Body::Json(text) => wit::Body::Json(text.clone()),
                            Body::Cbor(bytes) => wit::Body::Cbor(bytes.clone()),
                        }
                    }
                    wit::Operation::DescribeStreamSummary => first(Operation::DescribeStreamSummary),
                    wit::Operation::ListShards => first(Operation::ListShards),
                    wit::Operation::GetShardIterator => first(Operation::GetShardIterator),
                };
                let response = wit::Response { status: 200, body, aws_request_id: None, date: None, signed: None };
                reader.handle_response(request.id, &response, 0).expect("the request is pending");
            }
            Action::Deliver(handle) => {
                let mut batch = reader.batch(&handle).expect("a batch");
                let (mut text, mut invalid_lines, mut skip) = (String::new(), String::new(), 0);
                while skip < batch.count {
                    let lines = batch.lines(skip, case.piece).expect("lines");
                    assert!(lines.count > 0, "{case:?}");
                    text += &lines.text;
                    skip += lines.count;
                }
                skip = 0;
                while skip < batch.count {
                    let some = batch.invalid_lines(skip, case.piece).expect("invalid lines");
                    assert!(some.next > skip, "{case:?}");
                    invalid_lines += &some.text;
                    skip = some.next;
                }
                return Output::Lines { text, invalid_lines };
            }
            Action::Notice(wit::Notice::Retry(_)) => return Output::Refused,
            Action::Notice(_) => {}
            Action::Wait(_) | Action::Finish(_) => return Output::Nothing,
        }
    }
}

fn first(operation: Operation) -> wit::Body {
    wit::Body::Json(first_answer(operation))
}
