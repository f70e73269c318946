//! A stdout and a stderr that cannot be written to, and tight limits on the process.

use std::fs::File;
use std::process::{Command, Output, Stdio};

use test_support::emulator::{Emulator, REGION};
use test_support::program::{STREAM, assert_complete, assert_consistent, bare, messages, read, run, stderr};

/// If messages to the user cannot be printed, the run succeeds nevertheless.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_or_closed_stderr_changes_nothing() {
    let emulator = Emulator::ferrokinesis().await;
    emulator.create(STREAM, 1).await;
    emulator.put(STREAM, 0..200).await;
    for way in ["open", "full", "closed", "none"] {
        let end = |command: &mut Command| match way {
            "open" => run(command).status.code(),
            "full" => code(command.stderr(device("/dev/full"))),
            "closed" => code(command.stderr(broken_pipe())),
            _ => code(&mut in_shell("exec \"$0\" \"$@\" 2>&-", command)),
        };
        let folder = tempfile::tempdir().expect("a temporary directory");
        let read = |more: &[&str]| {
            let mut command = read(folder.path(), &emulator.url, "sqlite:out.db");
            command.args(more).stdout(Stdio::null());
            command
        };
        assert_eq!(end(&mut read(&["-vvv"])), Some(0), "{way}");
        assert_complete(folder.path(), "sqlite:out.db", 200);
        assert_eq!(end(&mut read(&[])), Some(0), "{way}");
        assert_eq!(end(&mut read(&["--payload", "xml"])), Some(2), "{way}");
        assert_eq!(end(&mut read(&["--state", "file:none/s"])), Some(2), "{way}");
        assert_eq!(end(&mut read(&["--report", "/dev/full"])), Some(1), "{way}");
        assert_eq!(end(bare(folder.path()).args(["show", "none.db"])), Some(2), "{way}");
    }
}

/// Another process that shares a pipe may have made it non-blocking. A slow reader is waited for all the same.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_non_blocking_stdout_that_is_read_slowly_gets_every_message() {
    use std::io::Read;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;

    let emulator = Emulator::ferrokinesis().await;
    emulator.create(STREAM, 1).await;
    emulator.put(STREAM, 0..5000).await;
    let folder = tempfile::tempdir().expect("a temporary directory");
    let (mut reader, writer) = UnixStream::pair().expect("a pair of sockets");
    writer.set_nonblocking(true).expect("a socket");
    let mut command = read(folder.path(), &emulator.url, "ndjson:-");
    let mut child =
        command.stdout(Stdio::from(OwnedFd::from(writer))).stderr(Stdio::piped()).spawn().expect("a process");
    drop(command);
    let lines = tokio::task::spawn_blocking(move || {
        let (mut lines, mut piece) = (0, [0; 16]);
        loop {
            match reader.read(&mut piece).expect("a socket") {
                0 => return lines,
                length => lines += piece[..length].iter().filter(|byte| **byte == b'\n').count(),
            }
        }
    });
    assert_eq!(lines.await.expect("a thread"), 5000);
    assert!(child.wait().expect("a process").success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_stdout_is_an_error_and_a_closed_one_is_not() {
    let emulator = Emulator::ferrokinesis().await;
    emulator.create(STREAM, 1).await;
    emulator.put(STREAM, 0..200).await;
    let folder = tempfile::tempdir().expect("a temporary directory");
    let recording = ["--recording", "run.recording"];
    assert!(run(read(folder.path(), &emulator.url, "sqlite:out.db").args(recording)).status.success());
    let endpoint = ["--endpoint-url", &*emulator.url, "--region", REGION];
    let lines = ["read", STREAM, "--to", "ndjson:-", "--state", "file:s"];
    for words in [
        &["show", "out.db"][..],
        &["replay", "run.recording"],
        &["replay", "--quiet", "run.recording"],
        &["--help"],
        &["read", "--help"],
        &["--version"],
        &[&["shards", STREAM][..], &endpoint].concat(),
        &[&lines[..], &endpoint].concat(),
    ] {
        let command = || {
            let mut command = bare(folder.path());
            command.args(words).stderr(Stdio::piped());
            command
        };
        let output = output(command().stdout(device("/dev/full")));
        assert_eq!(output.status.code(), Some(1), "{words:?}: {}", stderr(&output));
        assert!(stderr(&output).contains("error: cannot write to the output: "), "{words:?}: {}", stderr(&output));
        let output = self::output(command().stdout(broken_pipe()));
        assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""), "{words:?}");
        // Writing to a read-only stdout fails as well. Not every platform reports it, but the program must not panic.
        let output = self::output(command().stdout(File::open("/dev/null").expect("a device")));
        assert_ne!(output.status.code(), Some(101), "{words:?}: {}", stderr(&output));
    }
    // None of the lines that could not be written count as delivered.
    let output = run(read(folder.path(), &emulator.url, "ndjson:-").args(["--state", "file:s"]));
    assert_eq!(String::from_utf8_lossy(&output.stdout).lines().count(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_written_to_a_removed_file_do_not_count_as_read() {
    let emulator = Emulator::ferrokinesis().await;
    emulator.create(STREAM, 1).await;
    emulator.put(STREAM, 0..200).await;
    let folder = tempfile::tempdir().expect("a temporary directory");
    let path = folder.path().join("lines");
    let file = File::create(&path).expect("a writable directory");
    std::fs::remove_file(&path).expect("the file exists");
    let read = || {
        let mut command = read(folder.path(), &emulator.url, "ndjson:-");
        command.args(["--state", "file:s"]).stderr(Stdio::piped());
        command
    };
    let output = output(read().stdout(file));
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("the file was removed during the run"), "{}", stderr(&output));
    assert_eq!(String::from_utf8_lossy(&run(&mut read()).stdout).lines().count(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_file_is_written_to_and_not_replaced() {
    let emulator = Emulator::ferrokinesis().await;
    emulator.create(STREAM, 1).await;
    emulator.put(STREAM, 0..20).await;
    let folder = tempfile::tempdir().expect("a temporary directory");
    let command = || read(folder.path(), &emulator.url, "sqlite:out.db");
    let output = run(command().args(["--report", "/dev/stdout"]));
    assert!(output.status.success(), "{}", stderr(&output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a report");
    assert_eq!(report["messages"], 20);
    let output = run(command().args(["--recording", "/dev/stdout"]));
    assert!(output.status.success() && output.stdout.starts_with(b"{\"recording\":1"), "{}", stderr(&output));

    let path = folder.path().join("log");
    std::fs::write(&path, "before\n").expect("a writable directory");
    let file = File::options().append(true).open(&path).expect("the file exists");
    assert!(self::output(command().args(["--report", "/dev/fd/1"]).stdout(file)).status.success());
    let text = std::fs::read_to_string(&path).expect("text");
    assert!(text.starts_with("before\n{") && text.ends_with("}\n"), "{text}");
}

/// A limit on the size of files (`ulimit -f`) is handled like a full disk. The signal that comes with it is ignored.
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_on_file_sizes_is_reported_like_a_full_disk() {
    let emulator = Emulator::ferrokinesis().await;
    emulator.create(STREAM, 2).await;
    emulator.put(STREAM, 0..6000).await;
    let bounded = |blocks: u32, command: &mut Command| {
        run(&mut in_shell(&format!("ulimit -f {blocks}; exec \"$0\" \"$@\""), command))
    };
    for to in ["sqlite:out.db", "ndjson:out.ndjson"] {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let output = bounded(1024, read(folder.path(), &emulator.url, to).args(["--page-records", "100"]));
        let words = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{to}: {words}");
        assert!(
            words.contains("error: cannot ") && words.contains("hint: ") && words.contains("room"),
            "{to}: {words}"
        );
        assert!(assert_consistent(folder.path(), to) < 6000, "{to}: the limit was not reached");
        if to.starts_with("ndjson") {
            let text = std::fs::read_to_string(folder.path().join("out.ndjson")).expect("text");
            assert_eq!(text.lines().count(), messages(folder.path(), to).len(), "an incomplete line is left");
        }
        let output = run(&mut read(folder.path(), &emulator.url, to));
        assert!(output.status.success(), "{to}: {}", stderr(&output));
        assert_complete(folder.path(), to, 6000);
    }

    // At the limit, a recording ends with a complete line, and the run continues without it.
    let folder = tempfile::tempdir().expect("a temporary directory");
    let output = bounded(1024, read(folder.path(), &emulator.url, "ndjson:-").args(["--recording", "recording"]));
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("the recording ends here"), "{}", stderr(&output));
    let recording = std::fs::read_to_string(folder.path().join("recording")).expect("text");
    assert!(recording.lines().count() > 3 && recording.ends_with("}\n"), "{} lines", recording.lines().count());
    let output = run(bare(folder.path()).args(["replay", "--quiet", "recording"]));
    assert!(output.status.success(), "{}", stderr(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn tight_process_limits_are_errors_and_not_panics() {
    let emulator = Emulator::ferrokinesis().await;
    emulator.create(STREAM, 1).await;
    emulator.put(STREAM, 0..100).await;
    let folder = tempfile::tempdir().expect("a temporary directory");
    let mut codes = std::collections::BTreeSet::new();
    for limit in ["-n 5", "-n 8", "-n 10", "-n 12", "-n 14", "-n 64", "-v 1000000", "-v 3000000"] {
        let mut command = read(folder.path(), &emulator.url, "sqlite:out.db");
        let output = run(&mut in_shell(&format!("ulimit {limit}; exec \"$0\" \"$@\""), &mut command));
        let (code, words) = (output.status.code(), stderr(&output));
        assert!(!words.contains("panicked"), "{limit}: {words}");
        assert!(code == Some(0) || code == Some(1) && words.contains("error: "), "{limit}: {code:?} {words}");
        codes.insert(code);
    }
    assert_eq!(codes.len(), 2, "not both failures and successes: {codes:?}");
    let output = run(&mut read(folder.path(), &emulator.url, "sqlite:out.db"));
    assert!(output.status.success(), "{}", stderr(&output));
    assert_complete(folder.path(), "sqlite:out.db", 100);
}

fn output(command: &mut Command) -> Output {
    command.spawn().and_then(std::process::Child::wait_with_output).expect("the program starts")
}

fn code(command: &mut Command) -> Option<i32> {
    command.status().expect("the program starts").code()
}

fn device(path: &str) -> File {
    File::options().write(true).open(path).expect("a device")
}

/// Returns the writing end of a pipe whose reading end is closed.
fn broken_pipe() -> std::io::PipeWriter {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    writer
}

/// Returns the same command, run by a shell script.
fn in_shell(script: &str, command: &mut Command) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(script).arg(command.get_program()).args(command.get_args()).env_clear();
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.current_dir(command.get_current_dir().expect("the directory is set"));
    shell
}
