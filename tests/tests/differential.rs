//! The component's own compiled code beside the libraries that it stands in for: its ways through JSON, base64, CBOR and
//! times are those of wasm's vector instructions, which no native build takes.
//!
//! Pages are drawn as the fuzz target `page` draws them. Where their lines are known they must be those, to the byte;
//! and whatever the bytes, the component must make of them what the native reader makes of them.
//! `cargo xtask fuzz sandbox --seconds N` goes on for longer, and with what the other fuzz targets found.

use std::path::Path;
use std::time::{Duration, Instant};

use kinesis_reader::component::{Action, Bounds, COMPONENT, Compiled, Sandbox, wit};
use kinesis_reader_machine::wire::{Body, Operation};
use kinesis_reader_machine::{MessageId, Payload};

#[path = "../fuzz/src/checks/mod.rs"]
#[allow(unreachable_pub, dead_code, reason = "it is the fuzz targets' library too")]
mod checks;

use checks::page::{Asked, Came, agree, drawn, first_answer, native, seeds};

#[test]
fn the_component_gives_the_lines_that_the_libraries_give() {
    let sandbox = Sandbox::new(Bounds::default(), None).expect("a sandbox");
    let component = sandbox.compile(COMPONENT).expect("it compiles");
    let mut known = 0;
    for input in seeds().iter().chain(&kept()) {
        known += u32::from(is_as_known(&component, input));
    }
    let seconds = std::env::var("KINESIS_FUZZ_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    let until = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut cases = 0;
    while until.map_or(cases < CASES, |until| Instant::now() < until) {
        // Longer inputs are pages of more records.
        let mut chance = fastrand::Rng::with_seed(cases);
        let length = 1 << chance.u32(2..12);
        let input: Vec<u8> = (0..length).map(|_| chance.u8(..)).collect();
        known += u32::from(is_as_known(&component, &input));
        cases += 1;
    }
    assert!(known > 500, "{known} of {cases} pages with lines that are known");
    println!("{cases} pages, {known} with lines that are known");
}

/// Pages of a test.
const CASES: u64 = 3000;

/// Whether the lines of the page are known. Panics unless the component gives them, or what the native reader gives.
fn is_as_known(component: &Compiled, input: &[u8]) -> bool {
    let (asked, wanted) = drawn(input);
    let came = boxed(component, &asked);
    if let Some(wanted) = &wanted {
        agree(&asked, &came, wanted);
    }
    assert_eq!(came, native(&asked), "{asked:?}");
    wanted.is_some()
}

/// What was found before, and the inputs of the fuzz target where it has run.
fn kept() -> Vec<Vec<u8>> {
    let corpus = std::env::var_os("KINESIS_FUZZ_CORPUS").map(Into::into);
    let folders = [Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/regressions/page")), corpus];
    let files = folders.into_iter().flatten().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten();
    files.map(|file| std::fs::read(file.expect("it can be read").path()).expect("it can be read")).collect()
}

/// What the component makes of a page.
fn boxed(component: &Compiled, asked: &Asked) -> Came {
    let mut loaded = component.instantiate().expect("it loads");
    let mut config = loaded.defaults(&wit::Source::Name("orders".to_owned())).expect("defaults");
    (config.until, config.limits.pace, config.deaggregate) = (wit::Until::Stopped, None, asked.deaggregate);
    config.payload = match asked.form {
        Payload::Merged => wit::Payload::Merged,
        Payload::Json => wit::Payload::Json,
        Payload::Text => wit::Payload::Text,
        Payload::Base64 => wit::Payload::Base64,
    };
    config.message_id = match asked.id {
        MessageId::Sha256 => wit::MessageId::Sha256,
        MessageId::Dlt => wit::MessageId::Dlt,
    };
    let mut reader = loaded.open(&config, None, 1, 0, 0).expect("it opens");
    let mut handed = false;
    loop {
        match reader.poll().expect("an action") {
            Action::Send(request) => {
                let body = match request.operation {
                    wit::Operation::GetRecords if handed => return Came::Nothing,
                    wit::Operation::GetRecords => {
                        handed = true;
                        match &asked.body {
                            Body::Json(text) => wit::Body::Json(text.clone()),
                            Body::Cbor(bytes) => wit::Body::Cbor(bytes.clone()),
                        }
                    }
                    wit::Operation::DescribeStreamSummary => first(Operation::DescribeStreamSummary),
                    wit::Operation::ListShards => first(Operation::ListShards),
                    wit::Operation::GetShardIterator => first(Operation::GetShardIterator),
                };
                let response = wit::Response { status: 200, body, trace: None, date: None, signed: None };
                reader.handle_response(request.id, &response, 0).expect("it was asked");
            }
            Action::Deliver(handle) => {
                let mut batch = reader.batch(&handle).expect("a batch");
                let (mut text, mut rejects, mut skip) = (String::new(), String::new(), 0);
                while skip < batch.count {
                    let lines = batch.lines(skip, asked.piece).expect("lines");
                    assert!(lines.count > 0, "{asked:?}");
                    text += &lines.text;
                    skip += lines.count;
                }
                skip = 0;
                while skip < batch.count {
                    let some = batch.rejects(skip, asked.piece).expect("rejects");
                    assert!(some.next > skip, "{asked:?}");
                    rejects += &some.text;
                    skip = some.next;
                }
                return Came::Lines { text, rejects };
            }
            Action::Notice(wit::Notice::Retry(_)) => return Came::Refused,
            Action::Notice(_) => {}
            Action::Wait(_) | Action::Finish(_) => return Came::Nothing,
        }
    }
}

fn first(operation: Operation) -> wit::Body {
    wit::Body::Json(first_answer(operation))
}
