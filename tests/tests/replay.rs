//! Replays recordings: those in `golden/recordings`, to both the component and the machine, and those that the program
//! writes. To turn a recording from the wild into a test, put it into that directory.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{self, Command};

use kinesis_reader::component::{Bounds, COMPONENT, Sandbox};
use kinesis_reader::recording::{Delivery, Input, Output};
use kinesis_reader::replay::{InSandbox, Player, complete, play};
use kinesis_reader_component::bindings::exports::kinesis::reader::reading as glue;
use kinesis_reader_machine as machine;
use serde::Serialize;
use serde::de::DeserializeOwned;
use test_support::emulator::{Emulator, REGION};

#[test]
fn every_recording_has_the_same_actions_in_the_component_and_in_the_machine() {
    let sandbox = Sandbox::new(Bounds::default(), None).expect("a sandbox");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/recordings");
    let mut recordings = 0;
    for entry in fs::read_dir(folder).expect("a directory") {
        let path = entry.expect("a readable file").path();
        let recording = || BufReader::new(File::open(&path).expect("a readable file"));
        let loaded = sandbox.load(COMPONENT).expect("the component loads");
        let boxed = play(recording(), &mut InSandbox::new(loaded), &mut |_| {});
        let boxed = boxed.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(boxed.difference, None, "{}: in the component", path.display());
        let native = play(recording(), &mut Native(None), &mut |_| {}).expect("a valid recording");
        assert_eq!(native, boxed, "{}: in the machine", path.display());
        assert!(native.input > 1 && native.output > 1, "{}: {native:?}", path.display());
        recordings += 1;
    }
    assert!(recordings >= 4, "{recordings} recordings");
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "one scenario")]
async fn a_recording_replays_whole_redacted_or_cut_short() {
    let emulator = Emulator::ferrokinesis().await;
    emulator.create("orders", 2).await;
    emulator.put("orders", 0..60).await;
    let shards = emulator.open_shards("orders").await;
    emulator.split("orders", &shards[0]).await;
    emulator.put("orders", 60..90).await;
    let folder = tempfile::tempdir().expect("a temporary directory");
    let read = |to: &str, more: &[&str]| {
        let mut command = program(folder.path());
        command.args(["read", "orders", "--pace", "off", "--page-records", "10", "--to", to, "--region", REGION]);
        stdout(command.args(["--endpoint-url", &emulator.url]).args(more), 0)
    };
    let replay =
        |recording: &str, code: i32| stdout(program(folder.path()).args(["replay", recording, "--quiet"]), code);
    let text = |name: &str| fs::read_to_string(folder.path().join(name)).expect("the file exists");

    read("ndjson:a", &["--recording", "whole.ndjson"]);
    read("ndjson:b", &["--recording", "none.ndjson", "--recording-payload", "none"]);
    // From a checkpoint.
    emulator.put("orders", 90..95).await;
    read("ndjson:a", &["--recording", "more.ndjson"]);
    for recording in ["whole.ndjson", "none.ndjson", "more.ndjson"] {
        let words = replay(recording, 0);
        assert!(words.starts_with("the same: ") && !words.contains("ends before"), "{recording}: {words}");
        assert!(!text(recording).contains(MARK_KEY), "{recording}");
    }
    // The beginning of every payload in base64, and of every partition key.
    let (item, key) = ("eyJpdGVt", "key-");
    assert!(text("whole.ndjson").contains(item) && text("whole.ndjson").contains(key));
    assert!(!text("none.ndjson").contains(item) && !text("none.ndjson").contains(key));

    let list = stdout(program(folder.path()).args(["replay", "whole.ndjson"]), 0);
    for part in ["open with seed", "ListShards", "deliver 0: 10 messages", "delivered 0", "finish: reached", "the same"]
    {
        assert!(list.contains(part), "{part}: {list}");
    }

    // Cut off anywhere, as after a crash.
    let whole = text("whole.ndjson");
    let mut rng = fastrand::Rng::with_seed(3);
    let header = whole.find('\n').expect("lines") + 1;
    for _ in 0..5 {
        let end = rng.usize(header..whole.len() - 1);
        fs::write(folder.path().join("torn.ndjson"), &whole.as_bytes()[..end]).expect("a writable file");
        let words = replay("torn.ndjson", 0);
        assert!(words.contains("ends before the reader does"), "{words}");
        assert_eq!(words.contains("torn"), whole.as_bytes()[end - 1] != b'\n', "{words}");
    }

    // With another reason for one wait.
    let (was, other) = ("\"reason\":\"Response\"", "\"reason\":\"Pace\"");
    let at = whole.rfind(was).expect("the reader waited for a response");
    let changed = whole[..at].to_owned() + &whole[at..].replacen(was, other, 1);
    fs::write(folder.path().join("changed.ndjson"), &changed).expect("a writable file");
    let words = replay("changed.ndjson", 1);
    let line = changed[..at].lines().count();
    assert!(words.starts_with("not the same after ") && words.contains(&format!("line {line}\n")), "{words}");
    assert!(words.contains(was) && words.contains(other), "{words}");

    for (name, text, why) in [
        ("lines.ndjson", text("a"), "line 1"),
        ("empty", String::new(), "line 1"),
        ("later", whole.replacen("\"recording\":1", "\"recording\":2", 1), "version 2"),
        ("damaged", whole.replacen("\"input\"", "\"tolled\"", 1), "line 2"),
    ] {
        fs::write(folder.path().join(name), text).expect("a writable file");
        let output = run(program(folder.path()).args(["replay", name]), 2);
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(words.contains(why) && words.contains("hint: "), "{name}: {words}");
    }
    run(program(folder.path()).args(["replay", "nosuch"]), 2);
}

/// Replays to the machine, through the component's conversions.
struct Native(Option<machine::Reader>);

impl Native {
    fn reader(&mut self) -> Result<&mut machine::Reader, String> {
        self.0.as_mut().ok_or_else(|| "not opened".to_owned())
    }
}

impl Player for Native {
    fn tell(&mut self, input: &Input<'_>) -> Result<(), String> {
        let instant = |now: &u64| machine::Instant(*now);
        let done = match input {
            Input::Open { config, checkpoint, seed, now, present } => {
                let source: glue::Source = via(&config["source"]);
                let defaults: glue::Config = machine::Config::new(source.into()).into();
                let config: glue::Config = via(&complete(via(&defaults), config));
                let present = machine::Timestamp(*present);
                let opened = machine::Reader::open(config.into(), checkpoint.as_deref(), *seed, instant(now), present);
                self.0 = Some(opened.map_err(|error| error.to_string())?);
                Ok(())
            }
            Input::Response { id, response, now } => {
                let response: glue::Response = via(response);
                self.reader()?.handle_response(machine::RequestId(*id), response.into(), instant(now))
            }
            Input::Failure { id, failure, now } => {
                let failure: glue::Failure = via(failure);
                self.reader()?.handle_failure(machine::RequestId(*id), failure.into(), instant(now))
            }
            Input::Delivered { id, now } => self.reader()?.handle_delivered(machine::BatchId(*id), instant(now)),
            Input::Timeout { now } => {
                self.reader()?.handle_timeout(instant(now));
                Ok(())
            }
            Input::Stop { now } => {
                self.reader()?.stop(instant(now));
                Ok(())
            }
        };
        done.map_err(|misuse| misuse.to_string())
    }

    fn poll(&mut self) -> Result<Output<'static>, String> {
        let output = match self.reader()?.poll_action() {
            machine::Action::Send(request) => Output::Send(via(&glue::Request::from(request))),
            machine::Action::Deliver(batch) => Output::Deliver(Delivery {
                id: batch.id().0,
                shard: batch.shard().to_owned(),
                count: batch.count(),
                size: batch.size(),
                checkpoint: batch.checkpoint(),
            }),
            machine::Action::Notice(notice) => Output::Notice(via(&glue::Notice::from(notice))),
            machine::Action::Wait(wait) => Output::Wait(via(&glue::Wait::from(wait))),
            machine::Action::Finish(outcome) => Output::Finish(via(&glue::Outcome::from(outcome))),
        };
        Ok(output)
    }

    fn checkpoint(&mut self) -> Result<String, String> {
        Ok(self.reader()?.checkpoint())
    }
}

/// Converts a value to a type with the same serialized form.
fn via<T: DeserializeOwned>(value: &impl Serialize) -> T {
    serde_json::from_value(serde_json::to_value(value).expect("serializable")).expect("types with the same form")
}

const MARK_KEY: &str = "marked-secret-key-4711";

fn program(folder: &Path) -> Command {
    let program = PathBuf::from(std::env::var_os("KINESIS_READER_BIN").expect("run by `cargo xtask test`"));
    let mut command = Command::new(program);
    command.current_dir(folder).env_clear().env("HOME", folder).env("AWS_EC2_METADATA_DISABLED", "true");
    command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", MARK_KEY);
    command.env("XDG_CACHE_HOME", std::env::temp_dir().join("kinesis-reader-tests"));
    command
}

fn run(command: &mut Command, code: i32) -> process::Output {
    let output = command.output().expect("the program starts");
    let words = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(code), "{command:?}: {words}");
    output
}

/// Runs a command and returns what it prints on stdout.
fn stdout(command: &mut Command, code: i32) -> String {
    String::from_utf8(run(command, code).stdout).expect("text")
}
