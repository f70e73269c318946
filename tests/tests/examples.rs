//! Runs the crates' examples as in their documentation.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use test_support::emulator::{Emulator, payload};

const STREAM: &str = "orders";

#[tokio::test(flavor = "multi_thread")]
async fn the_drive_example_reads_a_stream_natively() {
    let emulator = Emulator::ferrokinesis().await;
    let folder = tempfile::tempdir().expect("a directory");
    let read = || run(example("drive", folder.path()).args([&emulator.url, STREAM, "orders.checkpoint"]));
    reads_what_is_new(&emulator, read).await;
}

/// The example is the same as in the README and the crate's documentation.
#[tokio::test(flavor = "multi_thread")]
async fn the_lines_example_reads_a_stream() {
    let source = include_str!("../../host/examples/lines.rs");
    let readme = include_str!("../../README.md");
    let shown = readme.split("```rust\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a Rust example");
    let shown: String = shown.lines().map(|line| format!("{}\n", line.strip_prefix("  ").unwrap_or(line))).collect();
    assert!(source.trim_end().ends_with(shown.trim_end()), "the README differs from the example:\n{shown}");

    let emulator = Emulator::ferrokinesis().await;
    let folder = tempfile::tempdir().expect("a directory");
    let read = || run(in_environment(&mut example("lines", folder.path()), &emulator));
    reads_what_is_new(&emulator, read).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_destination_example_counts_every_message_once() {
    let emulator = Emulator::ferrokinesis().await;
    let folder = tempfile::tempdir().expect("a directory");
    emulator.create(STREAM, 2).await;
    for until in [1200, 1300] {
        emulator.put(STREAM, until - 100..until).await;
        if until == 1200 {
            emulator.put(STREAM, 0..1100).await;
            emulator.put_bad(STREAM, 2000..2001).await;
        }
        let output =
            run(in_environment(&mut example("destination", folder.path()), &emulator).args([STREAM, "sums.json"]));
        let errors = String::from_utf8(output.stderr).expect("UTF-8");
        assert!(output.status.success(), "{errors}");
        assert_eq!(errors.contains("is not an order"), until == 1200, "{errors}");
        // Prices are multiples of a quarter, so sums are exact.
        let mut sums = BTreeMap::new();
        for n in 0..until {
            let order: Value = serde_json::from_str(&payload(n)).expect("JSON");
            *sums.entry(order["item"].as_str().expect("an item").to_owned()).or_insert(0.0) +=
                order["price"].as_f64().expect("a price");
        }
        let expected: String = sums.iter().map(|(item, sum)| format!("{item}: {sum}\n")).collect();
        assert_eq!(String::from_utf8(output.stdout).expect("text"), expected);
    }
}

/// Sets the endpoint in the way all AWS tools understand.
fn in_environment<'a>(command: &'a mut Command, emulator: &Emulator) -> &'a mut Command {
    command.env_clear().env("AWS_ENDPOINT_URL_KINESIS", &emulator.url).env("AWS_REGION", "us-east-1");
    command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test")
}

/// Reads everything across a split and a merge, then nothing, then what is new.
async fn reads_what_is_new(emulator: &Emulator, read: impl Fn() -> Output) {
    emulator.create(STREAM, 3).await;
    emulator.put(STREAM, 0..600).await;
    let shards = emulator.open_shards(STREAM).await;
    emulator.split(STREAM, &shards[0]).await;
    emulator.merge(STREAM, &shards[1], &shards[2]).await;
    emulator.put(STREAM, 600..1000).await;
    for new in [0..1000, 0..0, 1000..1100] {
        if new.start > 0 {
            emulator.put(STREAM, new.clone()).await;
        }
        let output = read();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        let numbers = text.lines().map(|line| {
            let message: Value = serde_json::from_str(line).expect("JSON");
            message["n"].as_u64().expect("a number") as u32
        });
        let numbers: Vec<u32> = numbers.collect();
        assert_eq!(numbers.len(), new.len());
        assert_eq!(numbers.into_iter().collect::<BTreeSet<_>>(), new.collect());
    }
}

fn example(name: &str, folder: &Path) -> Command {
    let program = PathBuf::from(std::env::var_os("KINESIS_READER_BIN").expect("run by `cargo xtask test`"));
    let examples = program.parent().expect("a directory").join("examples");
    let mut command = Command::new(examples.join(name));
    command.current_dir(folder);
    command
}

fn run(command: &mut Command) -> Output {
    command.output().expect("the example starts")
}
