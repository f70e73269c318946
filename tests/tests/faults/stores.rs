//! Outputs and states that are locked, changed or damaged.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rusqlite::Connection;
use test_support::emulator::Emulator;
use test_support::program::{STREAM, assert_complete, assert_consistent, read, run, stderr};
use test_support::proxy::{Fault, Mood, Proxy};

use crate::signals::{interrupt_until_it_ends, wait_until};

/// While another program writes to the database, the reader waits. It gives up if that takes too long.
#[tokio::test(flavor = "multi_thread")]
async fn the_program_waits_for_a_locked_database() {
    let emulator = Emulator::ferrokinesis().await;
    emulator.create(STREAM, 1).await;
    emulator.put(STREAM, 0..200).await;
    let folder = tempfile::tempdir().expect("a temporary directory");
    let to = "sqlite:out.db";
    assert!(run(&mut read(folder.path(), &emulator.url, to)).status.success());
    let other = Connection::open(folder.path().join("out.db")).expect("a database");
    other.busy_timeout(Duration::from_secs(60)).expect("a timeout");
    let lock = || other.execute_batch("BEGIN IMMEDIATE; CREATE TABLE IF NOT EXISTS other (n)").expect("the lock");
    let proxy = Proxy::start(&emulator.url, 1, Mood::of(100, &[Fault::Delay])).await;
    let start = || {
        let mut command = read(folder.path(), &proxy.url, to);
        command.args(["--page-records", "10"]).stderr(Stdio::piped()).spawn().expect("the program starts")
    };
    emulator.put(STREAM, 200..800).await;

    // The lock is released in time. Once a page was requested, the program has opened the database.
    let mut pages = proxy.passed("GetRecords");
    let child = start();
    wait_until(|| proxy.passed("GetRecords") > pages).await;
    lock();
    // The program tries to commit within a second. While it waits, it need not request pages.
    tokio::time::sleep(Duration::from_secs(2)).await;
    other.execute_batch("COMMIT").expect("our own transaction");
    let output = child.wait_with_output().expect("a child process");
    assert!(output.status.success(), "{}", stderr(&output));
    assert_complete(folder.path(), to, 800);

    // The lock is never released. Two interrupts end the wait at once.
    emulator.put(STREAM, 800..1400).await;
    pages = proxy.passed("GetRecords");
    let mut child = start();
    wait_until(|| proxy.passed("GetRecords") > pages).await;
    lock();
    interrupt_until_it_ends(&mut child).await;
    assert_eq!(child.wait().expect("a child process").code(), Some(130));
    assert_consistent(folder.path(), to);

    // The lock is never released. The program gives up with an error.
    let output = run(&mut read(folder.path(), &emulator.url, to));
    let words = stderr(&output);
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.contains("out.db") && words.contains("locked"), "{words}");
    assert!(words.contains("hint: another program is writing to the database"), "{words}");
    other.execute_batch("ROLLBACK").expect("our own transaction");
    let output = run(&mut read(folder.path(), &emulator.url, to));
    assert!(output.status.success(), "{}", stderr(&output));
    assert_complete(folder.path(), to, 1400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_database_is_an_error_and_left_alone() {
    let emulator = Emulator::ferrokinesis().await;
    emulator.create(STREAM, 1).await;
    emulator.put(STREAM, 0..2000).await;
    let folder = tempfile::tempdir().expect("a temporary directory");
    let path = folder.path().join("out.db");
    let reads = || run(&mut read(folder.path(), &emulator.url, "sqlite:out.db"));
    assert!(reads().status.success());
    emulator.put(STREAM, 2000..2100).await;
    let whole = std::fs::read(&path).expect("a database");
    let noise = |from: usize, to: usize| {
        let mut bytes = whole.clone();
        bytes[from..to].fill(0xa5);
        bytes
    };
    for (damaged, words) in [
        (noise(0, 100), "is not a SQLite database"),
        (noise(100, 4096), "is damaged"),
        (noise(4096, whole.len()), "is damaged"),
        (whole[..whole.len() / 2].to_vec(), "is damaged"),
    ] {
        std::fs::write(&path, &damaged).expect("a writable directory");
        let output = reads();
        let stderr = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{words}: {stderr}");
        assert!(stderr.contains(words) && stderr.contains("out.db") && stderr.contains("hint: "), "{words}: {stderr}");
        assert!(std::fs::read(&path).expect("the file exists") == damaged, "{words}: it was written to");
    }
    std::fs::write(&path, &whole).expect("a writable directory");
    let output = reads();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_complete(folder.path(), "sqlite:out.db", 2100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_and_a_state_that_disagree_are_an_error_and_left_alone() {
    let emulator = Emulator::ferrokinesis().await;
    emulator.create(STREAM, 1).await;
    emulator.put(STREAM, 0..300).await;
    let folder = tempfile::tempdir().expect("a temporary directory");
    let [file, state] = ["out.ndjson", "out.ndjson.state"].map(|name| folder.path().join(name));
    let reads = || run(&mut read(folder.path(), &emulator.url, "ndjson:out.ndjson"));
    assert!(reads().status.success());
    emulator.put(STREAM, 300..400).await;
    let [lines, kept] = [&file, &state].map(|path| std::fs::read(path).expect("the file exists"));
    let text = String::from_utf8(kept.clone()).expect("a state is text");
    let altered = |from: &str, to: &str| {
        assert!(text.contains(from), "{from} is not in {text}");
        text.replace(from, to).into_bytes()
    };
    for (damaged, bytes, words) in [
        (&file, Some(lines[..lines.len() - 10].to_vec()), "the file is shorter than its state says"),
        (&file, Some(Vec::new()), "the file is shorter than its state says, 0 of"),
        (&file, None, "the file is gone"),
        (&state, None, "bytes that its state does not account for"),
        (&state, Some(kept[..kept.len() / 2].to_vec()), "the state is damaged"),
        (&state, Some(Vec::new()), "the state is damaged"),
        (&state, Some(vec![0; 512]), "the state is damaged"),
        (&state, Some(altered("\"shards\":{", "\"shards\":[{")), "the state is damaged"),
        (&state, Some(altered("{\"after\":\"", "{\"after\":\"x")), "the checkpoint is damaged"),
        (&state, Some(altered("\"orders\"", "\"others\"")), "the checkpoint belongs to another stream"),
    ] {
        match &bytes {
            Some(bytes) => std::fs::write(damaged, bytes).expect("a writable directory"),
            None => std::fs::remove_file(damaged).expect("the file exists"),
        }
        let before = [&file, &state].map(|path| std::fs::read(path).ok());
        let output = reads();
        let stderr = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{words}: {stderr}");
        assert!(stderr.contains(words) && stderr.contains("hint: "), "{words}: {stderr}");
        assert_eq!([&file, &state].map(|path| std::fs::read(path).ok()), before, "{words}: something was written");
        restore(&file, &lines);
        restore(&state, &kept);
    }
    // Anything beyond the length in the state was never committed.
    restore(&file, &[&lines[..], b"{\"n\":1,\"torn"].concat());
    let output = reads();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_complete(folder.path(), "ndjson:out.ndjson", 400);
}

fn restore(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).expect("a writable directory");
}
