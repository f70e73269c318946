//! Records that are small in the stream and large in the output: what they come to is taken in bounded steps, each of
//! which is kept.

use std::path::Path;
use std::process::Command;

use kinesis_reader::destination::{Batch, Destination, Error, Written};
use serde_json::Value;
use tests::aggregate::{UserRecord, aggregate};
use tests::emulator::Emulator;
use tests::program::{STREAM, read, run, said};

use crate::inside;

/// A record of nearly a mebibyte that is 118 MB of lines: messages without data, each with a key of 256 characters.
async fn put_many(emulator: &Emulator) -> u32 {
    let users = vec![UserRecord::new(&"ż".repeat(256), ""); 150_000];
    emulator.put_data(STREAM, &aggregate(&users), 0).await;
    users.len() as u32
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_no_key_can_be_makes_a_record_one_message() {
    let emulator = Emulator::ferrokinesis().await;
    emulator.create(STREAM, 1).await;
    let bomb = aggregate(&vec![UserRecord::new(&"K".repeat(1_000_000), ""); 1000]);
    for data in [&b"{\"n\":1}"[..], &bomb, b"{\"n\":2}"] {
        emulator.put_data(STREAM, data, 0).await;
    }
    for to in ["sqlite:out.db", "ndjson:out.ndjson"] {
        let folder = tempfile::tempdir().expect("a folder");
        // The second one finds nothing new.
        for _ in 0..2 {
            let output = run(&mut read(folder.path(), &emulator.url, to));
            assert!(output.status.success(), "{to}: {}", said(&output));
        }
        let file = to.split_once(':').expect("a path").1;
        let length = std::fs::metadata(folder.path().join(file)).expect("the output").len();
        assert!(length < 4 << 20, "{to}: {length} bytes of a record of {}", bomb.len());
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

/// A destination that counts what waits for a commit.
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
async fn what_waits_for_its_commit_is_bounded_by_what_comes_out() {
    let emulator = Emulator::ferrokinesis().await;
    emulator.create(STREAM, 1).await;
    let all = u64::from(put_many(&emulator).await);
    let folder = tempfile::tempdir().expect("a folder");
    let outputs: [(&str, Box<dyn Destination>, u64); 2] = [
        (inside::FILE, Box::new(inside::file(folder.path())), 750),
        // A row has no escapes, and no names of members.
        (inside::DATABASE, Box::new(inside::database(folder.path())), 600),
    ];
    for (to, destination, least) in outputs {
        let mut output = Counting { destination, waiting: 0, most: 0, all: 0 };
        let small = |config: &mut inside::Config| config.limits.batch_bytes = 4 << 20;
        inside::drive(inside::ours(), &emulator.url, &mut output, small).await.expect("it ends");
        assert_eq!(output.all, all, "{to}");
        // The bytes that may wait, and a batch.
        let most = (36 << 20) / least;
        assert!(output.most <= most, "{to}: {} messages waited, of {most}", output.most);
    }
}

/// With room for the first batch of a page and not for the second, what was kept of the first stays.
#[tokio::test(flavor = "multi_thread")]
async fn where_a_page_has_no_room_the_next_run_goes_on_within_it() {
    let emulator = Emulator::ferrokinesis().await;
    emulator.create(STREAM, 1).await;
    let all = put_many(&emulator).await;
    let folder = tempfile::tempdir().expect("a folder");
    let to = "ndjson:out.ndjson";

    // In blocks of 512 bytes. The signal would end the program before the write could fail.
    let whole = read(folder.path(), &emulator.url, to);
    let mut bounded = Command::new("/bin/sh");
    bounded.args(["-c", "trap '' XFSZ; ulimit -f 200000; exec \"$0\" \"$@\""]);
    bounded.arg(whole.get_program()).args(whole.get_args()).env_clear().current_dir(folder.path());
    bounded.envs(whole.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = run(&mut bounded);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let kept = state(folder.path());
    let length = kept["output"]["length"].as_u64().expect("a length");
    assert!((90 << 20..=96 << 20).contains(&length), "{length} bytes are kept, which is a batch");
    assert!(kept.to_string().contains("sub"), "within the record: {kept}");

    let output = run(&mut read(folder.path(), &emulator.url, to));
    assert!(output.status.success(), "{}", said(&output));
    let text = std::fs::read_to_string(folder.path().join("out.ndjson")).expect("the file");
    let number = |line: &str| {
        let line: Value = serde_json::from_str(line).expect("JSON");
        line["_kinesis"]["sub_seq"].as_u64().expect("a number") as u32
    };
    let numbers: Vec<u32> = text.lines().map(number).collect();
    assert!(numbers.iter().copied().eq(0..all), "{} of {all}, each once and in order", numbers.len());
}

fn state(folder: &Path) -> Value {
    let text = std::fs::read_to_string(folder.join("out.ndjson.state")).expect("a state");
    serde_json::from_str(&text).expect("it is JSON")
}
