//! Runs the program as a user would, and reads what it wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use kinesis_reader_machine::sequence::Sequence;
use serde_json::Value;

use crate::emulator::REGION;

/// The name of the stream.
pub const STREAM: &str = "orders";

/// Returns a command for the program in a clean environment.
pub fn bare(folder: &Path) -> Command {
    let program = PathBuf::from(std::env::var_os("KINESIS_READER_BIN").expect("run by `cargo xtask`"));
    let mut command = Command::new(program);
    command.current_dir(folder).env_clear().env("HOME", folder).env("AWS_EC2_METADATA_DISABLED", "true");
    command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
    // All tests share a cache of compiled code, so that the program starts as quickly as for a user.
    command.env("XDG_CACHE_HOME", std::env::temp_dir().join("kinesis-reader-tests"));
    command
}

/// Returns a command that reads the stream from this endpoint.
pub fn read(folder: &Path, url: &str, to: &str) -> Command {
    let mut command = bare(folder);
    command.args(["read", STREAM, "--pace", "off", "--to", to, "--endpoint-url", url, "--region", REGION]);
    command
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Output {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().expect("the program starts")
}

/// Returns what the program printed on stderr.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Sends the program a signal, by its name in `kill`.
pub fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status();
    assert!(sent.is_ok_and(|status| status.success()), "kill -{name}");
}

/// A message in an output.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Message {
    pub shard: String,
    pub sequence: String,
    /// The number in its payload.
    pub number: u64,
}

/// Returns the messages in an output, in order. Lines of a file beyond the length in its state do not count.
pub fn messages(folder: &Path, to: &str) -> Vec<Message> {
    match to.split_once(':').expect("a kind and a path") {
        ("sqlite", path) => in_database(&folder.join(path)),
        (_, path) => in_file(&folder.join(path)),
    }
}

fn in_database(path: &Path) -> Vec<Message> {
    if !path.exists() {
        return Vec::new();
    }
    let db = rusqlite::Connection::open(path).expect("a database");
    let Ok(mut rows) = db.prepare("SELECT _kinesis__shard_id, _kinesis__seq_no, data FROM orders ORDER BY rowid")
    else {
        // The program was killed before the first commit.
        return Vec::new();
    };
    let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, String>(2)?))).expect("rows");
    let message = |(shard, sequence, data): (_, _, String)| {
        let data: Value = serde_json::from_str(&data).expect("the payload is JSON");
        Message { shard, sequence, number: data["n"].as_u64().expect("the payload has a number") }
    };
    rows.map(|row| message(row.expect("columns of text"))).collect()
}

fn in_file(path: &Path) -> Vec<Message> {
    let mut state = path.as_os_str().to_owned();
    state.push(".state");
    // Read the state first: while the program runs, the file only grows.
    let state =
        std::fs::read(state).ok().map(|state| serde_json::from_slice::<Value>(&state).expect("a state is JSON"));
    let committed = state.and_then(|state| state["output"]["length"].as_u64()).unwrap_or(0);
    let mut text = std::fs::read(path).unwrap_or_default();
    assert!(text.len() as u64 >= committed, "the file has {} bytes, of which {committed} are committed", text.len());
    text.truncate(committed as usize);
    let text = String::from_utf8(text).expect("lines are UTF-8");
    assert!(text.is_empty() || text.ends_with('\n'), "the last line is incomplete");
    let message = |line: &str| {
        let line: Value = serde_json::from_str(line).expect("a line is JSON");
        let member = |name: &str| line["_kinesis"][name].as_str().expect("an envelope").to_owned();
        let number = line["n"].as_u64().expect("the payload has a number");
        Message { shard: member("shard_id"), sequence: member("seq_no"), number }
    };
    text.lines().map(message).collect()
}

/// What is wrong with an output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flaws {
    pub lost: u64,
    pub repeated: u64,
    /// Messages that follow a later one of their shard.
    pub out_of_order: u64,
}

/// Compares an output to what was put: messages with the numbers from 0 up to `count`.
pub fn flaws(messages: &[Message], count: u32) -> Flaws {
    let mut seen = BTreeSet::new();
    let mut last = BTreeMap::<&str, Sequence>::new();
    let mut flaws = Flaws::default();
    for message in messages {
        if !seen.insert(message.number) {
            flaws.repeated += 1;
        }
        let sequence: Sequence = message.sequence.parse().expect("a sequence number");
        let before = last.insert(&message.shard, sequence.clone());
        flaws.out_of_order += u64::from(before.is_some_and(|before| before > sequence));
    }
    flaws.lost = (0..u64::from(count)).filter(|number| !seen.contains(number)).count() as u64;
    flaws
}

/// Asserts that all `count` messages are in the output, each once and in order.
pub fn assert_complete(folder: &Path, to: &str, count: u32) {
    let messages = messages(folder, to);
    assert_eq!((messages.len(), flaws(&messages, count)), (count as usize, Flaws::default()), "{to}");
}

/// Asserts that no message is repeated or out of order, and returns how many there are.
pub fn assert_consistent(folder: &Path, to: &str) -> usize {
    let messages = messages(folder, to);
    assert_eq!(Flaws { lost: 0, ..flaws(&messages, 0) }, Flaws::default(), "{to}");
    messages.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_flaw_is_found() {
        let message = |shard: &str, sequence: u32, number| Message {
            shard: shard.to_owned(),
            sequence: sequence.to_string(),
            number,
        };
        let (a, b, c) = (message("x", 9, 0), message("y", 1, 1), message("x", 10, 2));
        let found = |messages: &[&Message]| flaws(&messages.iter().copied().cloned().collect::<Vec<_>>(), 3);
        assert_eq!(found(&[&a, &b, &c]), Flaws::default());
        assert_eq!(found(&[&a, &c]), Flaws { lost: 1, ..Flaws::default() });
        assert_eq!(found(&[&a, &b, &c, &c]), Flaws { repeated: 1, ..Flaws::default() });
        assert_eq!(found(&[&c, &b, &a]), Flaws { out_of_order: 1, ..Flaws::default() });
    }
}
