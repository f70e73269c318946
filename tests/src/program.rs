//! The program as it is built, run as a user runs it, and what it left behind.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use kinesis_reader_machine::sequence::Sequence;
use serde_json::Value;

use crate::emulator::REGION;

/// The stream that is read.
pub const STREAM: &str = "orders";

/// The program in an environment of its own.
pub fn bare(folder: &Path) -> Command {
    let program = PathBuf::from(std::env::var_os("KINESIS_READER_BIN").expect("run by `cargo xtask`"));
    let mut command = Command::new(program);
    command.current_dir(folder).env_clear().env("HOME", folder).env("AWS_EC2_METADATA_DISABLED", "true");
    command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
    // Compiled code is kept for all tests, so that a start is what it is for a user.
    command.env("XDG_CACHE_HOME", std::env::temp_dir().join("kinesis-reader-tests"));
    command
}

/// The program, about to read the stream from this endpoint.
pub fn read(folder: &Path, url: &str, to: &str) -> Command {
    let mut command = bare(folder);
    command.args(["read", STREAM, "--pace", "off", "--to", to, "--endpoint-url", url, "--region", REGION]);
    command
}

/// Runs it to its end.
pub fn run(command: &mut Command) -> Output {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().expect("it starts")
}

/// What it said on stderr.
pub fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Sends it a signal, by the name that `kill` has for it.
pub fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status();
    assert!(sent.is_ok_and(|status| status.success()), "kill -{name}");
}

/// A message as it lies in an output.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Message {
    pub shard: String,
    pub sequence: String,
    /// The number that its payload gives.
    pub number: u64,
}

/// The messages that are in an output, in its order. Lines of a file that are beyond what its state calls safe are not
/// among them.
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
        // Killed before the first commit.
        return Vec::new();
    };
    let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, String>(2)?))).expect("rows");
    let message = |(shard, sequence, data): (_, _, String)| {
        let data: Value = serde_json::from_str(&data).expect("the payload is JSON");
        Message { shard, sequence, number: data["n"].as_u64().expect("a message has its number") }
    };
    rows.map(|row| message(row.expect("text"))).collect()
}

fn in_file(path: &Path) -> Vec<Message> {
    let mut state = path.as_os_str().to_owned();
    state.push(".state");
    // The state first: while the program is at work the file only grows.
    let state =
        std::fs::read(state).ok().map(|state| serde_json::from_slice::<Value>(&state).expect("a state is JSON"));
    let safe = state.and_then(|state| state["output"]["length"].as_u64()).unwrap_or(0);
    let mut text = std::fs::read(path).unwrap_or_default();
    assert!(text.len() as u64 >= safe, "{} bytes of {safe} that are safe", text.len());
    text.truncate(safe as usize);
    let text = String::from_utf8(text).expect("lines are text");
    assert!(text.is_empty() || text.ends_with('\n'), "a line is torn");
    let message = |line: &str| {
        let line: Value = serde_json::from_str(line).expect("a line is JSON");
        let of = |name: &str| line["_kinesis"][name].as_str().expect("an envelope").to_owned();
        let number = line["n"].as_u64().expect("a message has its number");
        Message { shard: of("shard_id"), sequence: of("seq_no"), number }
    };
    text.lines().map(message).collect()
}

/// What is wrong with an output of the messages numbered from 0 to `whole`, of which all must be there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flaws {
    pub lost: u64,
    pub twice: u64,
    /// Messages that come after a later one of their shard.
    pub out_of_order: u64,
}

/// Compares an output with what was put.
pub fn flaws(messages: &[Message], whole: u32) -> Flaws {
    let mut seen = BTreeSet::new();
    let mut last = BTreeMap::<&str, Sequence>::new();
    let mut flaws = Flaws::default();
    for message in messages {
        if !seen.insert(message.number) {
            flaws.twice += 1;
        }
        let sequence: Sequence = message.sequence.parse().expect("a sequence number");
        let before = last.insert(&message.shard, sequence.clone());
        flaws.out_of_order += u64::from(before.is_some_and(|before| before > sequence));
    }
    flaws.lost = (0..u64::from(whole)).filter(|number| !seen.contains(number)).count() as u64;
    flaws
}

/// All are there, each once and in order.
pub fn assert_whole(folder: &Path, to: &str, whole: u32) {
    let messages = messages(folder, to);
    assert_eq!((messages.len(), flaws(&messages, whole)), (whole as usize, Flaws::default()), "{to}");
}

/// None is there twice or out of order, whatever is still missing.
pub fn assert_part(folder: &Path, to: &str) -> usize {
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
        assert_eq!(found(&[&a, &b, &c, &c]), Flaws { twice: 1, ..Flaws::default() });
        assert_eq!(found(&[&c, &b, &a]), Flaws { out_of_order: 1, ..Flaws::default() });
    }
}
