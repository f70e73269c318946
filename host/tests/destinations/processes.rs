//! Several processes with one output, processes that are killed, and processes that run out of disk space.
//!
//! Each test runs itself again as a child process. An environment variable, which is set only there, names the
//! directory to work in.

use std::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use kinesis_reader::cli::error::Exit;
use kinesis_reader::destination::{Destination, Error, NdjsonFile, Sqlite};
use kinesis_reader::state::{self, FileState, Saved, State};

use crate::common::{Dir, append, batch, ids, shown};

#[test]
fn a_second_process_is_refused_until_the_first_one_dies() {
    const NAME: &str = "processes::a_second_process_is_refused_until_the_first_one_dies";
    if let Some(dir) = child_directory() {
        let mut db = Sqlite::open(&dir.join("a.db"), "orders").unwrap();
        db.write(&mut batch(0..5)).unwrap();
        db.commit("{}").unwrap();
        db.write(&mut batch(5..9)).unwrap();
        let _state = FileState::open(&dir.join("s.json")).unwrap();
        print("held");
        wait_for_parent();
    }
    let dir = Dir::new();
    let (mut child, mut words) = start(NAME, dir.root(), "");
    wait_for(&mut words, "held");
    let pid = child.id();
    let error = Sqlite::open(&dir.path("a.db"), "orders").err().unwrap();
    assert!(matches!(error, Error::Held { by: Some(by), .. } if by == pid), "{error:?}");
    let error = FileState::open(&dir.path("s.json")).unwrap_err();
    assert!(matches!(error, state::Error::Held { by: Some(by), .. } if by == pid), "{error:?}");
    // Reading is allowed.
    assert!(shown(&dir.path("a.db")).contains("stream orders: 5 messages"));
    assert!(Sqlite::peek(&dir.path("a.db"), "orders").unwrap().is_some());
    child.kill().unwrap();
    child.wait().unwrap();

    let mut db = Sqlite::open(&dir.path("a.db"), "orders").unwrap();
    assert_eq!(db.checkpoint().unwrap().as_deref(), Some("{}"));
    FileState::open(&dir.path("s.json")).unwrap();
    assert_eq!(dir.count("a.db", "orders"), 5);
}

/// The child commits five messages at a time until it is killed. The checkpoint is the number of the next message.
#[test]
fn messages_and_checkpoint_agree_after_a_kill_at_any_time() {
    const NAME: &str = "processes::messages_and_checkpoint_agree_after_a_kill_at_any_time";
    let next = |destination: &mut dyn Destination| -> u64 {
        destination.checkpoint().unwrap().map_or(0, |text| text.parse().unwrap())
    };
    if let Some(dir) = child_directory() {
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
            print("round");
        }
    }
    let dir = Dir::new();
    for rounds in [1, 2, 7, 3, 5] {
        let (mut child, mut words) = start(NAME, dir.root(), "");
        for _ in 0..rounds {
            wait_for(&mut words, "round");
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

/// A limit on the file size has the same effect as a full disk.
#[test]
fn a_full_disk_fails_the_write_and_loses_nothing_committed() {
    const NAME: &str = "processes::a_full_disk_fails_the_write_and_loses_nothing_committed";
    if let Some(dir) = child_directory() {
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
            .expect("the limit is reached");
        assert!(!error.is_usage_error(), "{error:?}");
        assert!(error.hint().is_some(), "{error:?}");
        assert!(matches!(output.commit("0"), Err(Error::Broken)));
        drop(output);
        print(&format!("failed: {error}"));
        return;
    }
    for kind in ["sqlite", "ndjson"] {
        let dir = Dir::new();
        append(&dir.path(kind), "");
        // Otherwise the signal would end the process before the write could fail.
        let (mut child, mut words) = start(NAME, dir.root(), "trap '' XFSZ; ulimit -f 600; ");
        let line = wait_for(&mut words, "failed:");
        assert!(line.contains("cannot write to the"), "{line}");
        assert!(child.wait().unwrap().success(), "{line}");
        if kind == "sqlite" {
            let mut db = Sqlite::open(&dir.path("a.db"), "orders").unwrap();
            let committed: u64 = db.checkpoint().unwrap().unwrap().parse().unwrap();
            assert_eq!(dir.count("a.db", "orders"), committed);
            db.write(&mut batch(committed..committed + 5)).unwrap();
            db.commit("1").unwrap();
            assert_eq!(dir.count("a.db", "orders"), committed + 5);
        } else {
            let saved = FileState::peek(&dir.path("s.json")).unwrap().unwrap();
            let committed: u64 = saved.checkpoint.parse().unwrap();
            assert!(committed > 0);
            assert_eq!(dir.ids("a.ndjson"), ids(0..committed), "no torn line is left");
            let state = FileState::open(&dir.path("s.json")).unwrap();
            let mut file = NdjsonFile::open(&dir.path("a.ndjson"), Box::new(state)).unwrap();
            file.write(&mut batch(committed..committed + 5)).unwrap();
            file.commit("1").unwrap();
            assert_eq!(dir.ids("a.ndjson"), ids(0..committed + 5));
        }
    }
}

/// A file that is replaced as a whole keeps its old contents if there is no room for the new ones.
#[test]
fn a_full_disk_leaves_the_last_state_and_report_intact() {
    const NAME: &str = "processes::a_full_disk_leaves_the_last_state_and_report_intact";
    let report = |outcome: &str| serde_json::json!({"stream": "orders", "outcome": outcome});
    let saved = |checkpoint: &str| Saved { checkpoint: checkpoint.to_owned(), output: None };
    if let Some(dir) = child_directory() {
        let mut state = FileState::open(&dir.join("s")).unwrap();
        let error = state.save(&saved("2")).unwrap_err();
        assert!(matches!(error, state::Error::Write { .. }) && error.hint().unwrap().contains("ulimit -f"), "{error}");
        assert_eq!(state.load().unwrap(), Some(saved("1")));
        let error = kinesis_reader::cli::report::write(&dir.join("r"), &report("failed")).unwrap_err();
        assert!(error.exit() == Exit::Failed && error.hint().unwrap().contains("room"), "{error}");
        return;
    }
    let dir = Dir::new();
    FileState::open(&dir.path("s")).unwrap().save(&saved("1")).unwrap();
    kinesis_reader::cli::report::write(&dir.path("r"), &report("reached")).unwrap();
    let (mut child, mut words) = start(NAME, dir.root(), "trap '' XFSZ; ulimit -f 0; ");
    wait_for(&mut words, "1 passed");
    assert!(child.wait().unwrap().success());
    assert_eq!(dir.names(), ["r", "s"]);
    assert_eq!(FileState::peek(&dir.path("s")).unwrap(), Some(saved("1")));
    assert!(std::fs::read_to_string(dir.path("r")).unwrap().contains("reached"));
}

const CHILD_DIRECTORY: &str = "KINESIS_READER_TEST_DIRECTORY";

/// In the child process, the directory to work in. `None` in the parent.
fn child_directory() -> Option<PathBuf> {
    env::var_os(CHILD_DIRECTORY).map(PathBuf::from)
}

/// Runs a test of this file as a child process, after a shell has run the commands in `first`.
fn start(test: &str, dir: &Path, first: &str) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new("sh")
        .arg("-c")
        .arg(format!("{first}exec \"$0\" \"$@\""))
        .arg(env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(CHILD_DIRECTORY, dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let words = BufReader::new(child.stdout.take().unwrap());
    (child, words)
}

fn print(word: &str) {
    let mut out = std::io::stdout();
    writeln!(out, "{word}").unwrap();
    out.flush().unwrap();
}

/// Blocks until the parent kills this process or dies itself.
fn wait_for_parent() {
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

fn wait_for(words: &mut impl BufRead, word: &str) -> String {
    let mut line = String::new();
    loop {
        line.clear();
        assert!(words.read_line(&mut line).unwrap() > 0, "the child ended before it printed {word}");
        if line.contains(word) {
            return line;
        }
    }
}
