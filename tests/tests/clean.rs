//! The program prints clean text: nothing from outside acts on a terminal, forges a line or floods the log, and no
//! secret appears. Messages on stdout are data and stay as they are.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Output};

use kinesis_reader::terminal::clean;
use serde_json::{Value, json};
use test_support::emulator::REGION;
use test_support::hostile::{Hostile, Request, answer, record, refusal, shard};
use test_support::program::{STREAM, bare, run};

/// Moves the cursor, sets a title and a color, forges a line, overrides the direction, hides characters and has C1
/// controls.
const HOSTILE: &str = "x\u{1b}[2J\u{1b}]0;name\u{7}\u{1b}[31m\r\n1999-01-01T00:00:00Z ERROR kinesis_reader: forged\u{202e}gnp\u{200b}\u{e0041}\u{2028}\u{9b}31m\u{7f}";

#[test]
fn identifiers_cannot_control_the_terminal() {
    let server = Hostile::start(|request| match request.operation.as_str() {
        "ListShards" => Some(answer(200, "", &json!({"Shards": [shard(HOSTILE), shard(&"y".repeat(5000))]}))),
        _ => None,
    });
    let folder = tempfile::tempdir().expect("a temporary directory");
    for command in [&["shards"][..], &["read", "-vvv"], &["read", "-vvv", "--max-messages", "3"]] {
        assert_clean(&run(at(&folder, &server).args(command).arg(STREAM)), &format!("{command:?}"));
    }
}

#[test]
fn error_messages_cannot_control_the_terminal() {
    let long = format!("{HOSTILE}{}", "\u{1b}[31m".repeat(5_000));
    for operation in ["DescribeStreamSummary", "ListShards", "GetShardIterator", "GetRecords"] {
        for (status, name) in [(400, "AccessDeniedException"), (400, HOSTILE), (500, "InternalFailure")] {
            let message = long.clone();
            let server = Hostile::start(move |request: &Request| {
                (request.operation == operation).then(|| refusal(status, name, &message))
            });
            let folder = tempfile::tempdir().expect("a temporary directory");
            let mut command = at(&folder, &server);
            // This one is retried for minutes. The first seconds are enough.
            if status == 500 {
                command = limited(command, "3");
            }
            let output = run(command.args(["read", STREAM, "-vvv", "--report", "report.json"]));
            let what = format!("{operation} {status}");
            assert_clean(&output, &what);
            if status == 400 && operation != "DescribeStreamSummary" {
                assert_eq!(output.status.code(), Some(1), "{what}");
                let report = fs::read_to_string(folder.path().join("report.json")).expect("the report");
                let report: Value = serde_json::from_str(&report).expect("valid JSON");
                let error = report["error"].as_str().expect("why it failed");
                assert!(error.contains("forged") && clean(error) == error && error.len() < 20_000, "{error}");
            }
        }
    }
}

#[test]
fn gaps_and_malformed_answers_cannot_control_the_terminal() {
    let gone = "StartingSequenceNumber 1 used in GetShardIterator is older than the trim horizon";
    let gap = Hostile::start(move |request| match request.operation.as_str() {
        "GetShardIterator" if request.body["ShardIteratorType"] != "TRIM_HORIZON" => {
            Some(refusal(400, "InvalidArgumentException", gone))
        }
        _ => None,
    });
    let folder = tempfile::tempdir().expect("a temporary directory");
    // The second run finds a gap after what the first one read.
    for _ in 0..2 {
        assert_clean(&run(at(&folder, &gap).args(["read", STREAM, "-v"])), "a gap");
    }
    // A checkpoint with a hostile shard in it.
    let usual = Hostile::start(|_| None);
    let read = || run(at(&folder, &usual).args(["read", STREAM, "-v", "--to", "ndjson:lines", "--report", "report"]));
    assert!(read().status.success());
    let state = folder.path().join("lines.state");
    let saved = fs::read_to_string(&state).expect("the state");
    let gone = format!(r#""shards":{{{}:{{"at":"trim-horizon"}},"#, json!(HOSTILE));
    let changed = saved.replace(r#""shards":{"#, &gone);
    assert_ne!(changed, saved);
    fs::write(&state, changed).expect("a writable file");
    assert_clean(&read(), "a gap in a hostile shard");
    let report = fs::read_to_string(folder.path().join("report")).expect("the report");
    assert!(report.lines().all(|line| clean(line) == line), "{report}");

    let strange = [
        json!({"Records": [{"SequenceNumber": HOSTILE}]}),
        json!({"Records": [{HOSTILE: HOSTILE}], HOSTILE: HOSTILE}),
        json!({"Records": HOSTILE}),
        Value::from(HOSTILE),
    ];
    for body in strange {
        let what = body.to_string();
        let server = Hostile::start(move |request| (request.operation == "GetRecords").then(|| answer(200, "", &body)));
        let folder = tempfile::tempdir().expect("a temporary directory");
        assert_clean(&run(limited(at(&folder, &server), "3").args(["read", STREAM, "-vvv"])), &what);
    }
}

#[test]
fn payloads_recordings_and_databases_cannot_control_the_terminal() {
    let payload = json!({"n": HOSTILE, HOSTILE: "\u{1b}[2J".repeat(5000)}).to_string();
    let raw = format!("{HOSTILE}{payload}");
    let server = Hostile::start(move |request| match request.operation.as_str() {
        "GetRecords" => {
            let records = [record(0, HOSTILE, payload.as_bytes()), record(1, "key", raw.as_bytes())];
            Some(answer(200, "", &json!({"Records": records, "NextShardIterator": "2", "MillisBehindLatest": 0})))
        }
        _ => None,
    });
    let folder = tempfile::tempdir().expect("a temporary directory");
    let read = run(at(&folder, &server).args(["read", STREAM, "--recording", "recording", "--invalid-records", "bad"]));
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    assert_clean(&read, "read");
    let shown = run(bare(folder.path()).args(["show", "orders.db"]).env("COLUMNS", "100000"));
    assert_clean(&shown, "show");
    assert!(String::from_utf8_lossy(&shown.stdout).contains("\\u{202e}gnp"), "the payload is shown");

    // A database that was changed by someone else.
    let db = rusqlite::Connection::open(folder.path().join("orders.db")).expect("a database");
    let checkpoint = json!({"version": HOSTILE, HOSTILE: {"at": HOSTILE}, "shards": {HOSTILE: {HOSTILE: [HOSTILE]}}});
    db.execute("UPDATE _kinesis_checkpoints SET checkpoint = ?1, updated_at = ?2", [&checkpoint.to_string(), HOSTILE])
        .expect("a writable database");
    db.execute_batch(&format!("CREATE TABLE \"{HOSTILE}\" (a)")).expect("a valid name");
    db.execute("UPDATE orders SET _kinesis__shard_id = ?1, _kinesis__ts = ?1", [HOSTILE]).expect("a writable database");
    drop(db);
    assert_clean(&run(bare(folder.path()).args(["show", "orders.db"])), "show a changed database");

    let recording = fs::read_to_string(folder.path().join("recording")).expect("the recording");
    let head: String = recording.split_inclusive('\n').take(3).collect();
    let hostile = json!(HOSTILE);
    for line in [
        format!(r#"{{"input":{{"failure":{{"id":0,"failure":{{"Transient":{hostile}}},"now":1}}}}}}"#),
        format!(r#"{{"input":{hostile}}}"#),
        format!(r#"{{"output":{{"checkpoint":{hostile}}}}}"#),
        format!(r#"{{"output":{{"failed":{{"call":"poll","why":{hostile}}}}}}}"#),
        format!(r#"{{"output":{{"notice":{{"Gap":{{"shard":{hostile},"after":{hostile}}}}}}}}}"#),
        HOSTILE.to_owned(),
    ] {
        fs::write(folder.path().join("made"), format!("{head}{line}\n")).expect("a writable file");
        assert_clean(&run(bare(folder.path()).args(["replay", "made"])), &line);
    }
    assert_clean(&run(bare(folder.path()).args(["replay", "recording"])), "replay");
}

#[test]
fn arguments_cannot_control_the_terminal() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let server = Hostile::start(|_| None);
    let path = format!("nowhere/{}", HOSTILE.replace('\0', ""));
    for words in [
        vec!["read", HOSTILE],
        vec!["read", "arn:aws:kinesis:us-east-1:123456789012:stream/\u{1b}[31m"],
        vec!["read", STREAM, "--start", HOSTILE],
        vec!["read", STREAM, "--until", HOSTILE],
        vec!["read", STREAM, "--behind", HOSTILE],
        vec!["read", STREAM, "--pace", HOSTILE],
        vec!["read", STREAM, "--to", HOSTILE],
        vec!["read", STREAM, "--state", HOSTILE],
        vec!["read", STREAM, "--wire", HOSTILE],
        vec!["read", STREAM, "--profile", HOSTILE],
        vec!["read", STREAM, "--role-arn", HOSTILE],
        vec!["read", STREAM, "--to", &format!("sqlite:{path}")],
        vec!["read", STREAM, "--to", &format!("ndjson:{path}")],
        vec!["read", STREAM, "--state", &format!("file:{path}")],
        vec!["read", STREAM, "--invalid-records", &path],
        vec!["read", STREAM, "--report", &path],
        vec!["read", STREAM, "--recording", &path],
        vec!["show", &path],
        vec!["replay", &path],
        vec![HOSTILE],
        vec!["read", STREAM, HOSTILE],
        vec!["read", STREAM, "--\u{1b}[31m\u{202e}"],
        vec!["shards", STREAM, "--region", HOSTILE],
    ] {
        let output = run(at(&folder, &server).args(&words));
        assert!(matches!(output.status.code(), Some(1 | 2)), "{words:?}: {output:?}");
        assert_clean(&output, &format!("{words:?}"));
    }
    for url in [HOSTILE, "http://\u{1b}[31m/", "http://host\u{202e}", "http://127.0.0.1:\u{1b}[31m"] {
        let output = run(bare(folder.path()).args(["read", STREAM, "--region", REGION, "--endpoint-url", url]));
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert_clean(&output, url);
    }
    let odd = OsStr::from_bytes(b"\xff\x1b[31m\xc2\x9b");
    for words in [[OsStr::new("show"), odd], [OsStr::new("replay"), odd], [odd, odd]] {
        assert_clean(&run(bare(folder.path()).args(words)), "not UTF-8");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "one list of cases")]
fn no_password_in_a_url_is_printed() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let server = Hostile::start(|_| None);
    let address = server.url.trim_start_matches("http://").to_owned();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("a writable file");
    fs::create_dir(folder.path().join(".aws")).expect("a directory");
    write(".aws/config", "[profile url]\nregion = us-east-1\nendpoint_url = http://user:MARKED@127.0.0.1/\n");
    let urls = [
        "http://user:MARKED@127.0.0.1/",
        "http:/user:MARKED@127.0.0.1/",
        "user:MARKED@127.0.0.1",
        "http://user:MAR/KED:MARKED@127.0.0.1",
        "http://user:MARKED",
        "http://127.0.0.1/?X-Amz-Signature=MARKED",
        "https://user:MARKED@[::1]:99999",
    ];
    type Case<'a> = (Vec<&'a str>, Vec<(&'a str, &'a str)>);
    let mut cases: Vec<Case<'_>> = Vec::new();
    for url in urls {
        cases.push((vec!["read", STREAM, "--endpoint-url", url], vec![]));
        cases.push((vec!["shards", STREAM], vec![("AWS_ENDPOINT_URL", url)]));
        cases.push((vec!["shards", STREAM], vec![("AWS_ENDPOINT_URL_KINESIS", url)]));
    }
    for url in &urls[..4] {
        // Arguments that are not URLs.
        for flag in ["--to", "--state", "--start", "--until", "--pace", "--wire", "--region", "--role-arn", "--nosuch"]
        {
            cases.push((vec!["read", STREAM, flag, url], vec![]));
        }
        for words in [vec!["read", url], vec!["read", STREAM, url], vec![url], vec!["show", url], vec!["replay", url]] {
            cases.push((words, vec![]));
        }
    }
    cases.push((vec!["read", STREAM, "--profile", "url"], vec![]));
    let https = ("AWS_ENDPOINT_URL", "https://kinesis.invalid");
    let proxies = [
        "http://user:MARKED@127.0.0.1:1".to_owned(),
        format!("http://user:MARKED@{address}"),
        "http://user:MARKED@127.0.0.1:port".to_owned(),
        "user:MARKED@127.0.0.1:1".to_owned(),
    ];
    for proxy in &proxies {
        cases.push((vec!["read", STREAM, "-vvv", "--recording", "recording"], vec![https, ("HTTPS_PROXY", proxy)]));
        cases.push((vec!["shards", STREAM], vec![https, ("ALL_PROXY", proxy)]));
    }
    let role = "arn:aws:iam::123456789012:role/r";
    let sts = format!("http://user:MARKED@{address}");
    cases.push((vec!["read", STREAM, "-vvv", "--role-arn", role], vec![("AWS_ENDPOINT_URL_STS", &sts), https]));

    for (words, env) in cases {
        let mut command = limited(bare(folder.path()), "20");
        command.args(&words).env("AWS_REGION", REGION).envs(env.iter().copied());
        if words[0] == "read" {
            command.args(["--report", "report.json"]);
        }
        let output = run(&mut command);
        let what = format!("{words:?} {env:?}");
        assert!(!output.status.success(), "{what}");
        assert_clean(&output, &what);
        for name in ["report.json", "recording"] {
            let text = fs::read_to_string(folder.path().join(name)).unwrap_or_default();
            assert!(!text.contains("MARKED"), "{what}: {text}");
            let _ = fs::remove_file(folder.path().join(name));
        }
    }
}

/// Asserts that stdout and stderr contain no secrets, and only printable lines of bounded length.
fn assert_clean(output: &Output, what: &str) {
    for (name, bytes) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
        let text = std::str::from_utf8(bytes).unwrap_or_else(|_| panic!("{what}: {name} is not UTF-8: {bytes:?}"));
        assert!(!text.contains("MARKED"), "{what}: {name}: {text}");
        for line in text.lines() {
            let is_plain = line.chars().collect::<Vec<_>>().chunks(1000).all(|piece| {
                let piece: String = piece.iter().collect();
                kinesis_reader_machine::printable(&piece) == piece
            });
            assert!(is_plain, "{what}: {name}: {line:?}");
            assert!(!line.starts_with("1999-01-01"), "{what}: {name}: a forged line: {line:?}");
            assert!(line.len() < 64 << 10, "{what}: {name}: {} bytes in a line", line.len());
        }
    }
    assert!(output.status.code() != Some(101), "{what}: the program panicked");
}

/// Returns a command that talks to the server.
fn at(folder: &tempfile::TempDir, server: &Hostile) -> Command {
    let mut command = bare(folder.path());
    command.env("AWS_ENDPOINT_URL", &server.url).env("AWS_REGION", REGION);
    command
}

/// Returns the same command, interrupted after some seconds.
fn limited(command: Command, seconds: &str) -> Command {
    let mut limited = Command::new("timeout");
    limited.args(["-s", "INT", seconds]).arg(command.get_program()).args(command.get_args());
    limited.current_dir(command.get_current_dir().unwrap_or(Path::new("."))).env_clear();
    for (name, value) in command.get_envs() {
        limited.env(name, value.unwrap_or_default());
    }
    limited.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    limited
}
