//! Records that are small in the stream but large in the output. They must be delivered in bounded steps, each of which
//! is committed.

use std::path::Path;
use std::process::Command;

use kinesis_reader::destination::{Batch, Destination, Error, Written};
use serde_json::Value;
use simulation::aggregate::{UserRecord, aggregate};
use test_support::emulator::Emulator;
use test_support::program::{STREAM, read, run, stderr};

use crate::inside;

/// Puts a record of almost 1 MiB that becomes 118 MB of lines: messages without data, each with a key of 256
/// characters.
async fn put_many(emulator: &Emulator) -> u32 {
    let users = vec![UserRecord::new(&"ż".repeat(256), ""); 150_000];
    emulator.put_data(STREAM, &aggregate(&users), 0).await;
    users.len() as u32
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overlong_key_makes_an_aggregated_record_one_message() {
    let emulator = Emulator::ferrokinesis().await;
    emulator.create(STREAM, 1).await;
    let bomb = aggregate(&vec![UserRecord::new(&"K".repeat(1_000_000), ""); 1000]);
    for data in [&b"{\"n\":1}"[..], &bomb, b"{\"n\":2}"] {
        emulator.put_data(STREAM, data, 0).await;
    }
    for to in ["sqlite:out.db", "ndjson:out.ndjson"] {
        let folder = tempfile::tempdir().expect("a temporary directory");
        // The second run finds nothing new.
        for _ in 0..2 {
            let output = run(&mut read(folder.path(), &emulator.url, to));
            assert!(output.status.success(), "{to}: {}", stderr(&output));
        }
        let file = to.split_once(':').expect("a path").1;
        let length = std::fs::metadata(folder.path().join(file)).expect("the output").len();
        assert!(length < 4 << 20, "{to}: a record of {} bytes became {length} bytes", bomb.len());
        let rows = match to {
            "sqlite:out.db" => {
                let db = rusqlite::Connection::open(folder.path().join(file)).expect("a database");
                db.query_row("SELECT count(*) FROM orders", [], |row| row.get::<_, i64>(0)).expect("a table")
            }
            _ => std::fs::read_to_string(folder.path().join(file)).expect("the file").lines().count() as i64,
        };
        assert_eq!(rows, 3, "{to}");
    }
}

/// A destination that counts uncommitted messages.
struct Counting {
    destination: Box<dyn Destination>,
    waiting: u64,
    most: u64,
    all: u64,
}

impl Destination for Counting {
    fn checkpoint(&mut self) -> Result<Option<String>, Error> {
        self.destination.checkpoint()
    }

    fn write(&mut self, batch: &mut dyn Batch) -> Result<Written, Error> {
        let written = self.destination.write(batch)?;
        self.waiting += written.messages;
        self.most = self.most.max(self.waiting);
        self.all += written.messages;
        Ok(written)
    }

    fn commit(&mut self, checkpoint: &str) -> Result<(), Error> {
        self.waiting = 0;
        self.destination.commit(checkpoint)
    }

    fn commit_changes(&mut self, changes: &str) -> Result<bool, Error> {
        let done = self.destination.commit_changes(changes)?;
        if done {
            self.waiting = 0;
        }
        Ok(done)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn uncommitted_messages_are_bounded_by_the_bytes_of_their_output() {
    let emulator = Emulator::ferrokinesis().await;
    emulator.create(STREAM, 1).await;
    let all = u64::from(put_many(&emulator).await);
    let folder = tempfile::tempdir().expect("a temporary directory");
    let outputs: [(&str, Box<dyn Destination>, u64); 2] = [
        (inside::FILE, Box::new(inside::file(folder.path())), 750),
        // A row has no escapes and no member names.
        (inside::DATABASE, Box::new(inside::database(folder.path())), 600),
    ];
    for (to, destination, least) in outputs {
        let mut output = Counting { destination, waiting: 0, most: 0, all: 0 };
        let small = |config: &mut inside::Config| config.limits.batch_bytes = 4 << 20;
        inside::drive(inside::ours(), &emulator.url, &mut output, small).await.expect("the run ends");
        assert_eq!(output.all, all, "{to}");
        // The bytes that may be uncommitted, and one more batch.
        let most = (36 << 20) / least;
        assert!(output.most <= most, "{to}: {} uncommitted messages, more than {most}", output.most);
    }
}

/// If there is room for the first batch of a page but not for the second, the first one stays committed.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_full_disk_the_next_run_continues_within_the_page() {
    let emulator = Emulator::ferrokinesis().await;
    emulator.create(STREAM, 1).await;
    let all = put_many(&emulator).await;
    let folder = tempfile::tempdir().expect("a temporary directory");
    let to = "ndjson:out.ndjson";

    // In blocks of 512 bytes. Unless it is ignored, SIGXFSZ would end the program before the write could fail.
    let unbounded = read(folder.path(), &emulator.url, to);
    let mut bounded = Command::new("/bin/sh");
    bounded.args(["-c", "trap '' XFSZ; ulimit -f 200000; exec \"$0\" \"$@\""]);
    bounded.arg(unbounded.get_program()).args(unbounded.get_args()).env_clear().current_dir(folder.path());
    bounded.envs(unbounded.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = run(&mut bounded);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let state = state(folder.path());
    let length = state["output"]["length"].as_u64().expect("a length");
    assert!((90 << 20..=96 << 20).contains(&length), "not one batch: {length} bytes");
    assert!(state.to_string().contains("sub"), "not within the record: {state}");

    let output = run(&mut read(folder.path(), &emulator.url, to));
    assert!(output.status.success(), "{}", stderr(&output));
    let text = std::fs::read_to_string(folder.path().join("out.ndjson")).expect("the file");
    let number = |line: &str| {
        let line: Value = serde_json::from_str(line).expect("JSON");
        line["_kinesis"]["sub_seq"].as_u64().expect("a number") as u32
    };
    let numbers: Vec<u32> = text.lines().map(number).collect();
    assert!(numbers.iter().copied().eq(0..all), "not {all} messages, each once and in order: {}", numbers.len());
}

fn state(folder: &Path) -> Value {
    let text = std::fs::read_to_string(folder.join("out.ndjson.state")).expect("a state");
    serde_json::from_str(&text).expect("valid JSON")
}
