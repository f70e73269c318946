//! Several processes at one output, processes that are killed, and one that runs out of room.
//!
//! Each test runs itself as the other process: a variable of the environment names the directory
//! to work in, and so tells which of the two it is.

use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use kinesis_reader::destination::{Destination, Error, NdjsonFile, Sqlite};
use kinesis_reader::error::Exit;
use kinesis_reader::state::{self, FileState, Saved, State};

use crate::common::{Dir, append, batch, ids, told};

#[test]
fn another_process_is_refused_and_a_dead_one_is_not_in_the_way() {
    const NAME: &str = "processes::another_process_is_refused_and_a_dead_one_is_not_in_the_way";
    if let Some(dir) = role() {
        let mut db = Sqlite::open(&dir.join("a.db"), "orders").unwrap();
        db.write(&mut batch(0..5)).unwrap();
        db.commit("{}").unwrap();
        db.write(&mut batch(5..9)).unwrap();
        let _state = FileState::open(&dir.join("s.json")).unwrap();
        tell("held");
        forever();
    }
    let dir = Dir::new();
    let (mut child, mut words) = start(NAME, dir.root(), "");
    await_word(&mut words, "held");
    let pid = child.id();
    let error = Sqlite::open(&dir.path("a.db"), "orders").err().unwrap();
    assert!(matches!(error, Error::Held { by: Some(by), .. } if by == pid), "{error:?}");
    let error = FileState::open(&dir.path("s.json")).unwrap_err();
    assert!(matches!(error, state::Error::Held { by: Some(by), .. } if by == pid), "{error:?}");
    // Looking is allowed.
    assert!(told(&dir.path("a.db")).contains("stream orders: 5 messages"));
    assert!(Sqlite::peek(&dir.path("a.db"), "orders").unwrap().is_some());
    child.kill().unwrap();
    child.wait().unwrap();

    let mut db = Sqlite::open(&dir.path("a.db"), "orders").unwrap();
    assert_eq!(db.checkpoint().unwrap().as_deref(), Some("{}"));
    FileState::open(&dir.path("s.json")).unwrap();
    assert_eq!(dir.count("a.db", "orders"), 5);
}

/// Commits one message at a time until it is killed; the checkpoint is the number of the next.
#[test]
fn killed_at_any_moment_messages_and_checkpoint_agree() {
    const NAME: &str = "processes::killed_at_any_moment_messages_and_checkpoint_agree";
    let next = |destination: &mut dyn Destination| -> u64 {
        destination.checkpoint().unwrap().map_or(0, |text| text.parse().unwrap())
    };
    if let Some(dir) = role() {
        let mut db = Sqlite::open(&dir.join("a.db"), "orders").unwrap();
        let state = FileState::open(&dir.join("s.json")).unwrap();
        let mut file = NdjsonFile::open(&dir.join("a.ndjson"), Box::new(state)).unwrap();
        loop {
            for destination in [&mut db as &mut dyn Destination, &mut file] {
                let n = next(destination);
                destination.write(&mut batch(n..n + 3)).unwrap();
                destination.write(&mut batch(n + 3..n + 5)).unwrap();
                destination.commit(&(n + 5).to_string()).unwrap();
            }
            tell("round");
        }
    }
    let dir = Dir::new();
    for rounds in [1, 2, 7, 3, 5] {
        let (mut child, mut words) = start(NAME, dir.root(), "");
        for _ in 0..rounds {
            await_word(&mut words, "round");
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let mut db = Sqlite::open(&dir.path("a.db"), "orders").unwrap();
        let n = next(&mut db);
        assert_eq!(dir.count("a.db", "orders"), n);
        let state = FileState::open(&dir.path("s.json")).unwrap();
        let mut file = NdjsonFile::open(&dir.path("a.ndjson"), Box::new(state)).unwrap();
        let n = next(&mut file);
        assert_eq!(dir.ids("a.ndjson"), ids(0..n));
        assert!(n >= rounds * 5);
    }
}

/// A file may not grow beyond a limit, as if the disk were full.
#[test]
fn a_full_disk_ends_the_write_and_costs_nothing_that_was_safe() {
    const NAME: &str = "processes::a_full_disk_ends_the_write_and_costs_nothing_that_was_safe";
    if let Some(dir) = role() {
        let sqlite = dir.join("sqlite").exists();
        let mut output: Box<dyn Destination> = if sqlite {
            Box::new(Sqlite::open(&dir.join("a.db"), "orders").unwrap())
        } else {
            let state = FileState::open(&dir.join("s.json")).unwrap();
            Box::new(NdjsonFile::open(&dir.join("a.ndjson"), Box::new(state)).unwrap())
        };
        let error = (0..100_000_u64)
            .find_map(|n| {
                let batch = &mut batch(n * 200..n * 200 + 200);
                let done = output.write(batch).map(|_| ());
                done.and_then(|()| output.commit(&(n * 200 + 200).to_string())).err()
            })
            .expect("the limit is met");
        assert!(!error.is_usage_error(), "{error:?}");
        assert!(error.hint().is_some(), "{error:?}");
        assert!(matches!(output.commit("0"), Err(Error::Broken)));
        drop(output);
        tell(&format!("failed: {error}"));
        return;
    }
    for kind in ["sqlite", "ndjson"] {
        let dir = Dir::new();
        append(&dir.path(kind), "");
        // The signal would end the process before the write could fail.
        let (mut child, mut words) = start(NAME, dir.root(), "trap '' XFSZ; ulimit -f 600; ");
        let line = await_word(&mut words, "failed:");
        assert!(line.contains("cannot write to the"), "{line}");
        assert!(child.wait().unwrap().success(), "{line}");
        if kind == "sqlite" {
            let mut db = Sqlite::open(&dir.path("a.db"), "orders").unwrap();
            let safe: u64 = db.checkpoint().unwrap().unwrap().parse().unwrap();
            assert_eq!(dir.count("a.db", "orders"), safe);
            db.write(&mut batch(safe..safe + 5)).unwrap();
            db.commit("1").unwrap();
            assert_eq!(dir.count("a.db", "orders"), safe + 5);
        } else {
            let saved = FileState::peek(&dir.path("s.json")).unwrap().unwrap();
            let safe: u64 = saved.checkpoint.parse().unwrap();
            assert!(safe > 0);
            assert_eq!(dir.ids("a.ndjson"), ids(0..safe), "no torn line is left");
            let state = FileState::open(&dir.path("s.json")).unwrap();
            let mut file = NdjsonFile::open(&dir.path("a.ndjson"), Box::new(state)).unwrap();
            file.write(&mut batch(safe..safe + 5)).unwrap();
            file.commit("1").unwrap();
            assert_eq!(dir.ids("a.ndjson"), ids(0..safe + 5));
        }
    }
}

/// What is replaced whole is the old one where there is no room for the new one.
#[test]
fn a_full_disk_leaves_the_last_state_and_the_last_report() {
    const NAME: &str = "processes::a_full_disk_leaves_the_last_state_and_the_last_report";
    let report = |outcome: &str| serde_json::json!({"stream": "orders", "outcome": outcome});
    let saved = |checkpoint: &str| Saved { checkpoint: checkpoint.to_owned(), output: None };
    if let Some(dir) = role() {
        let mut state = FileState::open(&dir.join("s")).unwrap();
        let error = state.save(&saved("2")).unwrap_err();
        assert!(matches!(error, state::Error::Write { .. }) && error.hint().unwrap().contains("ulimit -f"), "{error}");
        assert_eq!(state.load().unwrap(), Some(saved("1")));
        let error = kinesis_reader::report::write(&dir.join("r"), &report("failed")).unwrap_err();
        assert!(error.exit() == Exit::Failed && error.hint().unwrap().contains("room"), "{error}");
        return;
    }
    let dir = Dir::new();
    FileState::open(&dir.path("s")).unwrap().save(&saved("1")).unwrap();
    kinesis_reader::report::write(&dir.path("r"), &report("reached")).unwrap();
    let (mut child, mut words) = start(NAME, dir.root(), "trap '' XFSZ; ulimit -f 0; ");
    await_word(&mut words, "1 passed");
    assert!(child.wait().unwrap().success());
    assert_eq!(dir.names(), ["r", "s"]);
    assert_eq!(FileState::peek(&dir.path("s")).unwrap(), Some(saved("1")));
    assert!(std::fs::read_to_string(dir.path("r")).unwrap().contains("reached"));
}

const ROLE: &str = "KINESIS_READER_TEST_DIRECTORY";

/// In the other process, the directory it works in.
fn role() -> Option<PathBuf> {
    env::var_os(ROLE).map(PathBuf::from)
}

/// Runs a test of this file as another process, after a shell has done `first`.
fn start(test: &str, dir: &Path, first: &str) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new("sh")
        .arg("-c")
        .arg(format!("{first}exec \"$0\" \"$@\""))
        .arg(env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(ROLE, dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let words = BufReader::new(child.stdout.take().unwrap());
    (child, words)
}

fn tell(word: &str) {
    let mut out = std::io::stdout();
    writeln!(out, "{word}").unwrap();
    out.flush().unwrap();
}

/// Until the parent kills this process, or is gone itself.
fn forever() {
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

fn await_word(words: &mut impl BufRead, word: &str) -> String {
    let mut line = String::new();
    loop {
        line.clear();
        assert!(words.read_line(&mut line).unwrap() > 0, "it ended before it said {word}");
        if line.contains(word) {
            return line;
        }
    }
}
