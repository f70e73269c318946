//! The real program against emulators of Kinesis: nothing is missing or repeated, later runs read only what is new, and
//! errors are clear.

use std::collections::BTreeSet;
use std::io::Read;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use simulation::aggregate::{UserRecord, aggregate};
use test_support::emulator::{Emulator, REGION};
use test_support::program::{STREAM, bare, read, run};

#[tokio::test(flavor = "multi_thread")]
async fn ferrokinesis_is_read_over_a_split_and_a_merge() {
    read_over_reshards(&Emulator::ferrokinesis().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kinesis_local_is_read_over_a_split_and_a_merge() {
    let local = Local::start();
    read_over_reshards(&Emulator::at(local.url())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_message_arrives_once_despite_kills_at_any_moment() {
    let emulator = Emulator::ferrokinesis().await;
    emulator.create(STREAM, 4).await;
    let mut count = 2000;
    emulator.put(STREAM, 0..count).await;
    let mut rng = fastrand::Rng::with_seed(7);
    for to in ["sqlite:out.db", "ndjson:out.ndjson"] {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let mut kills = 0;
        // Continue until a run after enough kills succeeds.
        loop {
            let mut child =
                program(&emulator, &folder, to).args(["--page-records", "10"]).spawn().expect("the program starts");
            let moment = Instant::now() + Duration::from_millis(rng.u64(10..400));
            let ended = loop {
                match child.try_wait().expect("a child process") {
                    Some(status) => break Some(status),
                    None if kills < KILLS && Instant::now() >= moment => break None,
                    None => tokio::time::sleep(Duration::from_millis(1)).await,
                }
            };
            match ended {
                Some(status) if kills >= KILLS => {
                    assert!(status.success(), "{to}: {status}");
                    break;
                }
                Some(status) => {
                    assert!(status.success(), "{to}: {status}");
                    emulator.put(STREAM, count..count + 500).await;
                    count += 500;
                }
                None => {
                    child.kill().expect("the program is running");
                    child.wait().expect("a child process");
                    kills += 1;
                }
            }
        }
        assert_numbers(&numbers(&folder, to), count, to);
    }
}

/// How often the program is killed before it may finish.
const KILLS: u32 = 25;

#[tokio::test(flavor = "multi_thread")]
async fn aggregated_messages_arrive_once_wherever_the_runs_stop() {
    let emulator = Emulator::ferrokinesis().await;
    emulator.create(STREAM, 2).await;
    emulator.put_aggregated(STREAM, 0..300, 70).await;
    emulator.put(STREAM, 300..400).await;
    // A user record that arrived in the wrong shard, and that its producer put again.
    let foreign = UserRecord { explicit_hash_key: Some(u128::MAX), ..UserRecord::new("k", r#"{"n":400}"#) };
    emulator.put_data(STREAM, &aggregate(std::slice::from_ref(&foreign)), 0).await;
    emulator.put_data(STREAM, &aggregate(&[foreign]), u128::MAX).await;
    for to in ["sqlite:out.db", "ndjson:out.ndjson"] {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let (mut messages, mut dropped) = (0, 0);
        while messages < 401 {
            let output = run(program(&emulator, &folder, to).args(["--max-messages", "37", "--report", "report.json"]));
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let report = report(&folder);
            messages += report["messages"].as_u64().expect("a number");
            dropped += report["dropped"].as_u64().expect("a number");
            assert_ne!(report["messages"], 0, "{to}: {messages} of 401");
        }
        assert_eq!((messages, dropped), (401, 1), "{to}");
        assert_numbers(&numbers(&folder, to), 401, to);
    }
    let folder = tempfile::tempdir().expect("a temporary directory");
    let all = run(program(&emulator, &folder, "sqlite:out.db").stderr(Stdio::piped()));
    assert!(all.status.success());
    let errors = String::from_utf8_lossy(&all.stderr);
    assert!(errors.contains("1 messages in aggregated records were skipped"), "{errors}");
    let db = rusqlite::Connection::open(folder.path().join("out.db")).expect("a database");
    let parts: (u32, u32, u32) = db
        .query_row(
            "SELECT count(_kinesis__sub_seq), max(_kinesis__sub_seq), count(DISTINCT _kinesis_msg_id) FROM orders",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .expect("rows");
    assert_eq!(parts, (301, 69, 401));

    let folder = tempfile::tempdir().expect("a temporary directory");
    let whole = run(program(&emulator, &folder, "sqlite:out.db").args(["--no-deaggregate", "--report", "report.json"]));
    assert!(whole.status.success());
    let records = 300_u32.div_ceil(70) + 102;
    let messages = report(&folder)["messages"].as_u64().expect("a number");
    // The last aggregated record of a shard may hold fewer messages.
    assert!((u64::from(records)..=u64::from(records) + 1).contains(&messages), "{messages}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gap_is_reported_or_ends_the_run() {
    let emulator = Emulator::ferrokinesis().await;
    emulator.create(STREAM, 1).await;
    emulator.put(STREAM, 0..10).await;
    let folder = tempfile::tempdir().expect("a temporary directory");
    let read = |more: &[&str]| {
        let mut program = program(&emulator, &folder, "ndjson:out.ndjson");
        let output = run(program.args(["--report", "report.json"]).args(more).stderr(Stdio::piped()));
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code().expect("an exit code"), report(&folder), errors)
    };
    assert_eq!(read(&[]).0, 0);

    // Pretend that there was another shard, which was not read and has left the stream since.
    let state = folder.path().join("out.ndjson.state");
    let text = std::fs::read_to_string(&state).expect("the state");
    let older = r#""shards":{"shardId-99999999999":{"at":"trim-horizon"},"#;
    std::fs::write(&state, text.replace(r#""shards":{"#, older)).expect("a writable file");
    emulator.put(STREAM, 10..20).await;
    let gap = serde_json::json!([{"shard": "shardId-99999999999", "after": null}]);
    for _ in 0..2 {
        let (code, report, errors) = read(&["--on-gap", "fail"]);
        assert_eq!((code, &report["gaps"], &report["outcome"]), (1, &gap, &"failed".into()), "{errors}");
        assert!(errors.contains("error: records of shardId-99999999999 have left the stream"), "{errors}");
        assert!(errors.contains("hint: ") && errors.contains("--on-gap continue"), "{errors}");
    }
    let (code, report, errors) = read(&[]);
    assert_eq!((code, &report["gaps"], &report["outcome"]), (3, &gap, &"reached".into()), "{errors}");
    assert!(errors.contains("unread: all of them") && errors.contains("caught up, with a gap"), "{errors}");
    let (code, report, errors) = read(&["--on-gap", "fail"]);
    assert_eq!((code, &report["gaps"]), (0, &serde_json::json!([])), "{errors}");
    assert_numbers(&numbers(&folder, "ndjson:out.ndjson"), 20, "ndjson:out.ndjson");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recreated_stream_is_read_into_the_old_output_only_on_request() {
    let emulator = Emulator::ferrokinesis().await;
    let folder = tempfile::tempdir().expect("a temporary directory");
    let read = |more: &[&str]| {
        let mut program = program(&emulator, &folder, "sqlite:out.db");
        let output = run(program.args(["--report", "report.json"]).args(more).stderr(Stdio::piped()));
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code().expect("an exit code"), errors)
    };
    emulator.create(STREAM, 1).await;
    emulator.put(STREAM, 0..10).await;
    assert_eq!(read(&[]).0, 0);
    emulator.ask("DeleteStream", serde_json::json!({"StreamName": STREAM})).await;
    // The creation times of the two streams must differ, and may have a resolution of a second.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    emulator.create(STREAM, 1).await;
    emulator.put(STREAM, 10..20).await;

    let (code, errors) = read(&[]);
    assert!(code == 2 && errors.contains("deleted and recreated") && errors.contains("--recreated follow"), "{errors}");
    assert_numbers(&numbers(&folder, "sqlite:out.db"), 10, "refused");
    let (code, errors) = read(&["--recreated", "follow"]);
    let report = report(&folder);
    assert_eq!(
        (code, &report["messages"], report["gaps"].as_array().map(Vec::len)),
        (3, &10.into(), Some(1)),
        "{errors}"
    );
    // The rows of the old stream stay, and the checkpoint belongs to the new one.
    assert_numbers(&numbers(&folder, "sqlite:out.db"), 20, "followed");
    assert_eq!(read(&[]).0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_records_are_in_their_file_once_despite_kills() {
    let emulator = Emulator::ferrokinesis().await;
    emulator.create(STREAM, 3).await;
    let mut rng = fastrand::Rng::with_seed(11);
    for to in ["sqlite:out.db", "ndjson:out.ndjson"] {
        emulator.put(STREAM, 0..300).await;
        emulator.put_bad(STREAM, 0..100).await;
        emulator.put(STREAM, 300..600).await;
        let folder = tempfile::tempdir().expect("a temporary directory");
        let read = || {
            let mut command = program(&emulator, &folder, to);
            command.args(["--page-records", "5", "--invalid-records", "bad.ndjson", "--report", "report.json"]);
            command
        };
        for _ in 0..10 {
            let mut child = read().spawn().expect("the program starts");
            tokio::time::sleep(Duration::from_millis(rng.u64(10..300))).await;
            let _ = child.kill();
            child.wait().expect("a child process");
        }
        let output = run(read().stderr(Stdio::piped()));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let bad = std::fs::read_to_string(folder.path().join("bad.ndjson")).expect("the file");
        let lines: Vec<Value> = bad.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let ids: BTreeSet<&str> = lines.iter().filter_map(|line| line["_kinesis_msg_id"].as_str()).collect();
        let expected = rounds(to) * 100;
        assert_eq!((lines.len(), ids.len()), (expected, expected), "{to}");
        for line in &lines {
            let (reason, member) =
                if line["data"].is_string() { ("not JSON", "data") } else { ("not UTF-8", "data_base64") };
            assert_eq!(line["_kinesis_reason"], reason, "{line}");
            assert!(line[member].is_string() && line["_kinesis"]["seq_no"].is_string(), "{line}");
        }
    }
    let folder = tempfile::tempdir().expect("a temporary directory");
    let output =
        run(program(&emulator, &folder, "sqlite:out.db").args(["--invalid-records", "b"]).stderr(Stdio::piped()));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.contains("200 messages did not match --payload: see b"), "{errors}");
    let same = run(program(&emulator, &folder, "ndjson:b").args(["--invalid-records", "b"]).stderr(Stdio::piped()));
    assert_eq!(same.status.code(), Some(2));
}

/// Returns how often the stream was filled before this destination was read into.
fn rounds(to: &str) -> usize {
    if to.starts_with("sqlite") { 1 } else { 2 }
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_are_one_sentence_with_a_hint() {
    let emulator = Emulator::ferrokinesis().await;
    emulator.create(STREAM, 1).await;
    emulator.put(STREAM, 0..3).await;
    let folder = tempfile::tempdir().expect("a temporary directory");
    let at = |path: &str| folder.path().join(path);
    let url = emulator.url.as_str();
    let read = |arguments: &[&str]| run(bare(folder.path()).arg("read").args(arguments));

    let check = |output: &Output, code: i32, words: &str, hint: &str| {
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains(words), "{words:?} is not in: {text}");
        assert!(text.contains("hint: ") && text.contains(hint), "{hint:?} is not in: {text}");
    };
    let here = ["--endpoint-url", url, "--region", REGION];
    let with = |more: &[&str]| read(&[&here, more].concat());

    check(&with(&["nosuch"]), 1, "ResourceNotFoundException", "region");
    check(
        &read(&[STREAM, "--region", "nowhere-1", "--endpoint-url", "http://[::1"]),
        2,
        "invalid endpoint URL",
        "http",
    );
    check(&read(&[STREAM]), 2, "no region", "--region");
    let keyless = run(bare(folder.path()).env_remove("AWS_ACCESS_KEY_ID").arg("read").arg(STREAM).args(here));
    check(&keyless, 1, "no AWS credentials", "AWS_ACCESS_KEY_ID");
    check(&with(&[STREAM, "--to", "sqlite:/proc/nothing/x.db"]), 2, "/proc/nothing/x.db", "directory");

    std::fs::write(at("damaged.state"), "{\"version\":1,").expect("a writable file");
    let damaged = ["--to", "ndjson:a.ndjson", "--state", "file:damaged.state"];
    check(&with(&[&[STREAM], damaged.as_slice()].concat()), 2, "damaged.state", "");
    assert_eq!(std::fs::read_to_string(at("damaged.state")).expect("the file exists"), "{\"version\":1,");

    emulator.create("others", 1).await;
    assert!(with(&["others", "--to", "ndjson:b.ndjson"]).status.success());
    let foreign = ["--to", "ndjson:c.ndjson", "--state", "file:b.ndjson.state"];
    let foreign = with(&[&[STREAM], foreign.as_slice()].concat());
    check(&foreign, 2, "another stream", "--state");

    let unknown = read(&[STREAM, "--paylod", "json"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("--payload"));
}

#[test]
fn an_unreachable_endpoint_is_reported_after_a_few_tries() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let refused = format!("http://127.0.0.1:{}", free_port());
    let refused = refused.as_str();
    for (url, region, why) in [
        (refused, REGION, "connection refused"),
        // The command line derives a host name like this from a wrong region.
        ("http://kinesis.us-eest-1.invalid", "us-eest-1", "host not found: kinesis.us-eest-1.invalid"),
    ] {
        for command in ["read", "shards"] {
            let output = run(bare(folder.path()).args([command, STREAM, "--region", region, "--endpoint-url", url]));
            let text = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{text}");
            let [error, hint] = text.lines().collect::<Vec<_>>()[..] else { panic!("not two lines: {text}") };
            assert!(error.starts_with(&format!("error: could not reach {url}/: {why}")), "{error}");
            assert!(error.ends_with("after 4 tries"), "{error}");
            assert!(hint.starts_with("hint: ") && hint.contains(region) && hint.contains("--endpoint-url"), "{hint}");
        }
    }
    assert!(!folder.path().join("orders.db").exists(), "a database was created");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_any_output_at_any_level() {
    const SECRETS: [&str; 2] = ["marked-secret-key-4711", "marked-session-token-0815"];
    let emulator = Emulator::ferrokinesis().await;
    emulator.create(STREAM, 2).await;
    emulator.put(STREAM, 0..50).await;
    let folder = tempfile::tempdir().expect("a temporary directory");
    for (stream, url) in
        [(STREAM, emulator.url.as_str()), ("nosuch", emulator.url.as_str()), (STREAM, "http://127.0.0.1:1")]
    {
        let mut command = bare(folder.path());
        command.env("AWS_SECRET_ACCESS_KEY", SECRETS[0]).env("AWS_SESSION_TOKEN", SECRETS[1]);
        command.args(["read", stream, "-vvv", "--region", REGION, "--endpoint-url", url, "--to", "ndjson:-"]);
        let output = run(command.args(["--report", "report.json"]));
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(log.contains("TRACE") || log.contains("DEBUG"), "nothing was logged: {log}");
        let report = std::fs::read(folder.path().join("report.json")).unwrap_or_default();
        for text in [&output.stdout, &output.stderr, &report] {
            let text = String::from_utf8_lossy(text);
            for secret in SECRETS {
                assert!(!text.contains(secret), "{secret} is in: {text}");
            }
        }
    }
}

/// Reads 10,000 messages over a split and a merge, then nothing new, then 500 more.
async fn read_over_reshards(emulator: &Emulator) {
    emulator.create(STREAM, 3).await;
    emulator.put(STREAM, 0..4000).await;
    let shards = emulator.open_shards(STREAM).await;
    emulator.split(STREAM, &shards[0]).await;
    emulator.put(STREAM, 4000..7000).await;
    emulator.merge(STREAM, &shards[1], &shards[2]).await;
    emulator.put(STREAM, 7000..10_000).await;

    let outputs = ["sqlite:out.db", "ndjson:out.ndjson"];
    let folder = tempfile::tempdir().expect("a temporary directory");
    let mut count = 10_000;
    for (more, new) in [(0, 10_000), (0, 0), (500, 500)] {
        emulator.put(STREAM, count..count + more).await;
        count += more;
        for to in outputs {
            let output = run(program(emulator, &folder, to).args(["--report", "report.json"]));
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let report = report(&folder);
            assert_eq!((&report["messages"], &report["new"]), (&new.into(), &new.into()), "{to}: {report}");
            assert_numbers(&numbers(&folder, to), count, to);
        }
    }
}

fn report(folder: &tempfile::TempDir) -> Value {
    let report = std::fs::read_to_string(folder.path().join("report.json")).expect("the report");
    serde_json::from_str(&report).expect("valid JSON")
}

/// Returns the numbers of the messages in an output.
fn numbers(folder: &tempfile::TempDir, to: &str) -> Vec<u64> {
    let number = |text: &str| {
        let message: Value = serde_json::from_str(text).expect("lines are JSON");
        message["n"].as_u64().expect("the payload has a number")
    };
    match to.split_once(':').expect("a kind and a path") {
        ("sqlite", path) => {
            let db = rusqlite::Connection::open(folder.path().join(path)).expect("a database");
            let mut rows = db.prepare("SELECT data FROM orders").expect("the table");
            let rows = rows.query_map([], |row| row.get::<_, String>(0)).expect("rows");
            rows.map(|data| number(&data.expect("text"))).collect()
        }
        (_, path) => {
            let text = std::fs::read_to_string(folder.path().join(path)).expect("the file");
            assert!(text.ends_with('\n'), "the last line is incomplete");
            text.lines().map(number).collect()
        }
    }
}

fn assert_numbers(numbers: &[u64], count: u32, to: &str) {
    let distinct: BTreeSet<&u64> = numbers.iter().collect();
    assert_eq!((numbers.len(), distinct.len()), (count as usize, count as usize), "{to}");
    assert_eq!(distinct.last(), Some(&&u64::from(count - 1)), "{to}");
}

fn program(emulator: &Emulator, folder: &tempfile::TempDir, to: &str) -> Command {
    let mut command = read(folder.path(), &emulator.url, to);
    command.stderr(Stdio::null());
    command
}

/// The npm package kinesis-local, in a process of its own.
struct Local {
    child: Child,
    port: u16,
}

impl Local {
    fn start() -> Local {
        let folder = std::env::var_os("KINESIS_LOCAL_DIR").expect("run by `cargo xtask test`");
        let [port, tls] = [free_port(), free_port()];
        let child = Command::new("node")
            .arg("main.js")
            .current_dir(folder)
            .env("KINESIS_MOCK_PLAIN_PORT", port.to_string())
            .env("KINESIS_MOCK_TLS_PORT", tls.to_string())
            .env("SHARD_LIMIT", "100")
            .env("LOG_LEVEL", "ERROR")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("Node is installed");
        let local = Local { child, port };
        let deadline = Instant::now() + Duration::from_secs(60);
        while !local.is_healthy() {
            assert!(Instant::now() < deadline, "kinesis-local does not start");
            std::thread::park_timeout(Duration::from_millis(50));
        }
        local
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn is_healthy(&self) -> bool {
        use std::io::Write;
        let Ok(mut socket) = std::net::TcpStream::connect(("127.0.0.1", self.port)) else { return false };
        let sent = socket.write_all(b"GET /healthcheck HTTP/1.0\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let mut answer = [0; 64];
        sent.is_ok() && socket.read(&mut answer).is_ok_and(|read| answer[..read].windows(4).any(|w| w == b" 200"))
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("the listener is bound").port()
}
