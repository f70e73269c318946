//! The program interrupted, stopped and left alone by whoever reads its output.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use tests::emulator::Emulator;
use tests::program::{STREAM, assert_part, assert_whole, bare, messages, read, run, said, signal};
use tests::proxy::{Fault, Mood, Proxy};

#[tokio::test(flavor = "multi_thread")]
async fn interrupted_in_mid_read_it_keeps_what_was_out_and_the_next_run_goes_on() {
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
        let folder = tempfile::tempdir().expect("a folder");
        // Slow enough that it cannot be done before the signal.
        proxy.set(Mood::of(100, &[Fault::Delay]));
        let mut command = read(folder.path(), &proxy.url, to);
        command.args(["--page-records", "10", "--report", "report.json"]).stderr(Stdio::piped());
        let child = command.spawn().expect("it starts");
        until(|| !messages(folder.path(), to).is_empty()).await;
        signal(&child, name);
        let output = child.wait_with_output().expect("it is our child");
        assert_eq!(output.status.code(), Some(130), "{to} {name}: {}", said(&output));
        assert!(said(&output).contains("interrupted"), "{}", said(&output));
        let part = assert_part(folder.path(), to);
        let report = std::fs::read_to_string(folder.path().join("report.json")).expect("a report");
        let report: serde_json::Value = serde_json::from_str(&report).expect("it is JSON");
        assert_eq!((&report["outcome"], &report["messages"]), (&"stopped".into(), &part.into()), "{to}: {report}");
        assert!(part < 3000, "{to}: it was done before the signal");

        proxy.set(Mood::default());
        let output = run(&mut read(folder.path(), &proxy.url, to));
        assert!(output.status.success(), "{to}: {}", said(&output));
        assert_whole(folder.path(), to, 3000);
    }
}

/// A write to a pipe that nobody empties blocks for ever, and the first signal waits for it. The second does not.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_interrupt_ends_it_at_once() {
    let emulator = Emulator::ferrokinesis().await;
    emulator.create(STREAM, 1).await;
    emulator.put(STREAM, 0..3000).await;
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = read(folder.path(), &emulator.url, "ndjson:-");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    // Once the first byte is out it is in the midst of a write that is larger than any pipe.
    let mut byte = [0];
    child.stdout.as_mut().expect("a pipe").read_exact(&mut byte).expect("a byte");
    let signals = interrupt_until_it_ends(&mut child).await;
    let output = child.wait_with_output().expect("it is our child");
    assert_eq!(output.status.code(), Some(130), "{}", said(&output));
    assert!(signals >= 2, "the first one did not wait for the write");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_closes_the_pipe_has_had_enough() {
    let emulator = Emulator::ferrokinesis().await;
    emulator.create(STREAM, 2).await;
    emulator.put(STREAM, 0..3000).await;
    let folder = tempfile::tempdir().expect("a folder");
    for state in [&[][..], &["--state", "file:kept.state"]] {
        let mut command = read(folder.path(), &emulator.url, "ndjson:-");
        command.args(["--page-records", "50"]).args(state);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
        assert!(line.ends_with("}\n"), "{line}");
        let output = child.wait_with_output().expect("it is our child");
        assert_eq!((output.status.code(), said(&output).as_str()), (Some(0), ""));
    }
}

/// Two readers of one output or one state: the second is told who the first is, and does not disturb it.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_reader_of_one_place_is_refused() {
    let emulator = Emulator::ferrokinesis().await;
    emulator.create(STREAM, 1).await;
    emulator.put(STREAM, 0..200).await;
    let folder = tempfile::tempdir().expect("a folder");
    for to in ["sqlite:out.db", "ndjson:out.ndjson"] {
        let first = read(folder.path(), &emulator.url, to).arg("--follow").stderr(Stdio::piped()).spawn();
        let first = first.expect("it starts");
        until(|| !messages(folder.path(), to).is_empty()).await;
        let second = run(&mut read(folder.path(), &emulator.url, to));
        let words = said(&second);
        assert_eq!(second.status.code(), Some(2), "{words}");
        assert!(words.contains(&format!("another reader, process {}", first.id())), "{words}");
        assert!(words.contains("hint: "), "{words}");
        assert_eq!(finish(first, folder.path(), to), 200);
    }
    // One state for two outputs.
    let to = ["ndjson:a.ndjson", "ndjson:b.ndjson"];
    let with = |to| {
        let mut command = read(folder.path(), &emulator.url, to);
        command.args(["--state", "file:one.state", "--follow"]).stderr(Stdio::piped());
        command
    };
    let first = with(to[0]).spawn().expect("it starts");
    until(|| std::fs::metadata(folder.path().join("one.state")).is_ok()).await;
    let second = run(&mut with(to[1]));
    assert_eq!(second.status.code(), Some(2), "{}", said(&second));
    assert!(said(&second).contains("holds the state"), "{}", said(&second));
    assert!(!folder.path().join("b.ndjson").exists());
    signal(&first, "INT");
    assert_eq!(first.wait_with_output().expect("it is our child").status.code(), Some(130));
    let shown = run(bare(folder.path()).args(["show", "out.db"]));
    assert!(shown.status.success(), "{}", said(&shown));
}

/// Interrupts it, and gives what it left.
fn finish(child: Child, folder: &Path, to: &str) -> usize {
    signal(&child, "INT");
    let output = child.wait_with_output().expect("it is our child");
    assert_eq!(output.status.code(), Some(130), "{}", said(&output));
    assert_part(folder, to)
}

/// Interrupts it again and again, and tells how often. What goes on after a minute of that will not end.
pub(crate) async fn interrupt_until_it_ends(child: &mut Child) -> u32 {
    for signals in 0..600 {
        if child.try_wait().expect("it is our child").is_some() {
            return signals;
        }
        signal(child, "INT");
        // Two that come at once may count as one.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let _ = child.kill();
    panic!("it does not end");
}

/// Waits for something to become true. What does not within a minute will not.
pub(crate) async fn until(is: impl Fn() -> bool) {
    for _ in 0..6000 {
        if is() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it does not come");
}
