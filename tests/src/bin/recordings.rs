//! `cargo xtask recordings`: updates `golden/recordings` after an intended change to what the reader does.
//!
//! The program reads small streams of two emulators, so that the recordings include a split and a merge, a run from a
//! checkpoint, a limit, a start at the tip, and a stream that does not exist. Other files in the directory are kept.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use test_support::emulator::{Emulator, REGION};

const STREAM: &str = "orders";

#[tokio::main]
async fn main() {
    let ferrokinesis = Recorder::new(Emulator::ferrokinesis().await, "ferrokinesis");
    ferrokinesis.reshard().await;
    ferrokinesis.read(STREAM, "limited", &["--to", "ndjson:b", "--max-messages", "7", "--page-records", "5"]);
    ferrokinesis.read(STREAM, "latest", &["--to", "ndjson:c", "--start", "latest"]);

    let folder = std::env::var_os("KINESIS_LOCAL_DIR").expect("run by `cargo xtask recordings`");
    let (port, tls) = (free_port(), free_port());
    let mut node = Command::new("node");
    node.arg("main.js").current_dir(folder).env("SHARD_LIMIT", "100").env("LOG_LEVEL", "ERROR");
    node.env("KINESIS_MOCK_PLAIN_PORT", port.to_string()).env("KINESIS_MOCK_TLS_PORT", tls.to_string());
    let mut node = node.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("Node is installed");
    while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let kinesis_local = Recorder::new(Emulator::at(format!("http://127.0.0.1:{port}")), "kinesis_local");
    kinesis_local.reshard().await;
    kinesis_local.emulator.put(STREAM, 32..40).await;
    let more = ["--to", "ndjson:a", "--page-records", "4", "--recording-payload", "none"];
    kinesis_local.read(STREAM, "resumed", &more);
    kinesis_local.read("nosuch", "nosuch", &["--to", "ndjson:d"]);
    node.kill().expect("Node is still running");
    node.wait().expect("Node is our child");
}

struct Recorder {
    emulator: Emulator,
    name: &'static str,
    folder: tempfile::TempDir,
}

impl Recorder {
    fn new(emulator: Emulator, name: &'static str) -> Recorder {
        Recorder { emulator, name, folder: tempfile::tempdir().expect("a temporary directory") }
    }

    /// Creates a stream with a split and a merge, and reads it in small pages.
    async fn reshard(&self) {
        self.emulator.create(STREAM, 3).await;
        self.emulator.put(STREAM, 0..12).await;
        let shards = self.emulator.open_shards(STREAM).await;
        self.emulator.split(STREAM, &shards[0]).await;
        self.emulator.put(STREAM, 12..24).await;
        self.emulator.merge(STREAM, &shards[1], &shards[2]).await;
        self.emulator.put(STREAM, 24..32).await;
        self.read(STREAM, "reshard", &["--to", "ndjson:a", "--page-records", "4"]);
    }

    fn read(&self, stream: &str, recording: &str, arguments: &[&str]) {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/recordings");
        let path = golden.join(format!("{recording}_{}.ndjson", self.name));
        let program = PathBuf::from(std::env::var_os("KINESIS_READER_BIN").expect("run by `cargo xtask recordings`"));
        let mut command = Command::new(program);
        command.current_dir(&self.folder).env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
        command
            .args(["read", stream, "--region", REGION, "--endpoint-url", &self.emulator.url, "--recording"])
            .arg(&path);
        let status = command.args(arguments).status().expect("the program starts");
        println!("{}: {status}", path.display());
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("the listener is bound").port()
}
