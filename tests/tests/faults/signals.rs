//! Signals, closed pipes, and several readers at once.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use test_support::emulator::Emulator;
use test_support::program::{STREAM, assert_complete, assert_consistent, bare, messages, read, run, signal, stderr};
use test_support::proxy::{Fault, Mood, Proxy};

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_run_keeps_what_was_delivered_and_the_next_run_continues() {
    let emulator = Emulator::ferrokinesis().await;
    emulator.create(STREAM, 2).await;
    emulator.put(STREAM, 0..3000).await;
    let proxy = Proxy::start(&emulator.url, 1, Mood::default()).await;
    for (to, name) in [
        ("sqlite:int.db", "INT"),
        ("sqlite:term.db", "TERM"),
        ("ndjson:int.ndjson", "INT"),
        ("ndjson:term.ndjson", "TERM"),
    ] {
        let folder = tempfile::tempdir().expect("a temporary directory");
        // The proxy slows the run down, so that it is not finished before the signal.
        proxy.set(Mood::of(100, &[Fault::Delay]));
        let mut command = read(folder.path(), &proxy.url, to);
        command.args(["--page-records", "10", "--report", "report.json"]).stderr(Stdio::piped());
        let child = command.spawn().expect("the program starts");
        wait_until(|| !messages(folder.path(), to).is_empty()).await;
        signal(&child, name);
        let output = child.wait_with_output().expect("a child process");
        assert_eq!(output.status.code(), Some(130), "{to} {name}: {}", stderr(&output));
        assert!(stderr(&output).contains("interrupted"), "{}", stderr(&output));
        let part = assert_consistent(folder.path(), to);
        let report = std::fs::read_to_string(folder.path().join("report.json")).expect("a report");
        let report: serde_json::Value = serde_json::from_str(&report).expect("valid JSON");
        assert_eq!((&report["outcome"], &report["messages"]), (&"stopped".into(), &part.into()), "{to}: {report}");
        assert!(part < 3000, "{to}: the run was finished before the signal");

        proxy.set(Mood::default());
        let output = run(&mut read(folder.path(), &proxy.url, to));
        assert!(output.status.success(), "{to}: {}", stderr(&output));
        assert_complete(folder.path(), to, 3000);
    }
}

/// A write to a full pipe blocks forever. The first signal waits for it, and the second does not.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_interrupt_ends_the_program_at_once() {
    let emulator = Emulator::ferrokinesis().await;
    emulator.create(STREAM, 1).await;
    emulator.put(STREAM, 0..3000).await;
    let folder = tempfile::tempdir().expect("a temporary directory");
    let mut command = read(folder.path(), &emulator.url, "ndjson:-");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
    // Once the first byte is out, the program is in the middle of a write that is larger than any pipe.
    let mut byte = [0];
    child.stdout.as_mut().expect("a pipe").read_exact(&mut byte).expect("a byte");
    let signals = interrupt_until_it_ends(&mut child).await;
    let output = child.wait_with_output().expect("a child process");
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    assert!(signals >= 2, "the first one did not wait for the write");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_pipe_is_success() {
    let emulator = Emulator::ferrokinesis().await;
    emulator.create(STREAM, 2).await;
    emulator.put(STREAM, 0..3000).await;
    let folder = tempfile::tempdir().expect("a temporary directory");
    for state in [&[][..], &["--state", "file:kept.state"]] {
        let mut command = read(folder.path(), &emulator.url, "ndjson:-");
        command.args(["--page-records", "50"]).args(state);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
        assert!(line.ends_with("}\n"), "{line}");
        let output = child.wait_with_output().expect("a child process");
        assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
    }
}

/// The second reader says which process the first one is, and does not disturb it.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_reader_of_the_same_output_or_state_is_refused() {
    let emulator = Emulator::ferrokinesis().await;
    emulator.create(STREAM, 1).await;
    emulator.put(STREAM, 0..200).await;
    let folder = tempfile::tempdir().expect("a temporary directory");
    for to in ["sqlite:out.db", "ndjson:out.ndjson"] {
        let first = read(folder.path(), &emulator.url, to).arg("--follow").stderr(Stdio::piped()).spawn();
        let first = first.expect("the program starts");
        wait_until(|| !messages(folder.path(), to).is_empty()).await;
        let second = run(&mut read(folder.path(), &emulator.url, to));
        let words = stderr(&second);
        assert_eq!(second.status.code(), Some(2), "{words}");
        assert!(words.contains(&format!("another reader, process {}", first.id())), "{words}");
        assert!(words.contains("hint: "), "{words}");
        assert_eq!(finish(first, folder.path(), to), 200);
    }
    // The same with one state for two outputs.
    let to = ["ndjson:a.ndjson", "ndjson:b.ndjson"];
    let with = |to| {
        let mut command = read(folder.path(), &emulator.url, to);
        command.args(["--state", "file:one.state", "--follow"]).stderr(Stdio::piped());
        command
    };
    let first = with(to[0]).spawn().expect("the program starts");
    wait_until(|| std::fs::metadata(folder.path().join("one.state")).is_ok()).await;
    let second = run(&mut with(to[1]));
    assert_eq!(second.status.code(), Some(2), "{}", stderr(&second));
    assert!(stderr(&second).contains("holds the state"), "{}", stderr(&second));
    assert!(!folder.path().join("b.ndjson").exists());
    signal(&first, "INT");
    assert_eq!(first.wait_with_output().expect("a child process").status.code(), Some(130));
    let shown = run(bare(folder.path()).args(["show", "out.db"]));
    assert!(shown.status.success(), "{}", stderr(&shown));
}

/// Interrupts the program, and returns the number of messages in its output.
fn finish(child: Child, folder: &Path, to: &str) -> usize {
    signal(&child, "INT");
    let output = child.wait_with_output().expect("a child process");
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    assert_consistent(folder, to)
}

/// Interrupts the program again and again, for up to a minute. Returns how often it took.
pub(crate) async fn interrupt_until_it_ends(child: &mut Child) -> u32 {
    for signals in 0..600 {
        if child.try_wait().expect("a child process").is_some() {
            return signals;
        }
        signal(child, "INT");
        // Two signals at the same time may count as one.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let _ = child.kill();
    panic!("the program does not end");
}

/// Waits up to a minute for a condition to become true.
pub(crate) async fn wait_until(condition: impl Fn() -> bool) {
    for _ in 0..6000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the condition does not become true");
}
