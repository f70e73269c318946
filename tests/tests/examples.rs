//! The examples of the crates, run as a reader of their documentation would run them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tests::emulator::Emulator;

const STREAM: &str = "orders";

#[tokio::test(flavor = "multi_thread")]
async fn the_machine_is_driven_natively() {
    let emulator = Emulator::ferrokinesis().await;
    let folder = tempfile::tempdir().expect("a folder");
    let read = || run(example("drive", folder.path()).args([&emulator.url, STREAM, "orders.checkpoint"]));
    reads_what_is_new(&emulator, read).await;
}

/// Over a split and a merge: all, then nothing, then what is new.
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
        let text = String::from_utf8(output.stdout).expect("lines are text");
        let numbers = text.lines().map(|line| {
            let message: Value = serde_json::from_str(line).expect("a line is JSON");
            message["n"].as_u64().expect("a message has its number") as u32
        });
        let numbers: Vec<u32> = numbers.collect();
        assert_eq!(numbers.len(), new.len());
        assert_eq!(numbers.into_iter().collect::<BTreeSet<_>>(), new.collect());
    }
}

fn example(name: &str, folder: &Path) -> Command {
    let program = PathBuf::from(std::env::var_os("KINESIS_READER_BIN").expect("run by `cargo xtask test`"));
    let examples = program.parent().expect("it is in a folder").join("examples");
    let mut command = Command::new(examples.join(name));
    command.current_dir(folder);
    command
}

fn run(command: &mut Command) -> Output {
    command.output().expect("it starts")
}
