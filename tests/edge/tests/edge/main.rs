//! Runs the edge component: what it imports, what it answers, and that no messages are lost when processes die.

mod answers;
mod clocks;
mod dynamodb;
mod hostile;
mod leases;
mod limits;
mod parts;
mod pull;
mod sinks;
mod slow;
mod stored;
mod takeover;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use edge_tests::client::status;
use edge_tests::host::{Host, engine};
use edge_tests::sink::Sink;
use edge_tests::{Build, Options};
use tempfile::TempDir;
use test_support::emulator::Emulator;
use wasmtime::Engine;

/// The name of the stream.
const STREAM: &str = "orders";

/// The key of its value in the store.
const KEY: &str = "kinesis-reader/orders";

static ENGINE: LazyLock<Engine> = LazyLock::new(engine);

/// An emulated stream with two shards, a sink, and a folder for the store.
struct Fixture {
    emulator: Emulator,
    sink: Sink,
    folder: TempDir,
}

impl Fixture {
    async fn new() -> Fixture {
        let emulator = Emulator::ferrokinesis().await;
        emulator.create(STREAM, 2).await;
        let folder = tempfile::tempdir().expect("a temporary folder can be created");
        Fixture { emulator, sink: Sink::start().await, folder }
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("store.db")
    }

    /// The options of a host that drains the stream without a sink.
    fn pull(&self) -> Options {
        Options::new(Build::Kv, self.store(), &self.emulator.url, STREAM)
    }

    /// The options of a host that drains the stream into the sink.
    fn push(&self) -> Options {
        self.pull().set("SINK_URL", &self.sink.url)
    }
}

/// Starts a host in this process, and returns it with its URL.
async fn host(options: Options) -> (Arc<Host>, String) {
    let host = Arc::new(Host::new(&ENGINE, options));
    let url = host.serve().await;
    (host, url)
}

/// Sets how far a host's clock is ahead.
fn set_clock(clock: &Path, milliseconds: i64) {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    // The name is unique, because two threads may set the clock at once.
    let new = clock.with_extension(COUNT.fetch_add(1, Ordering::SeqCst).to_string());
    std::fs::write(&new, milliseconds.to_string()).expect("the file can be written");
    std::fs::rename(new, clock).expect("the file can be replaced");
}

/// Returns the positions of all shards, as the status shows them.
async fn positions(url: &str) -> Vec<(String, String)> {
    let status = status(url).await;
    let shards = status["shards"].as_object().cloned().unwrap_or_default();
    shards.iter().map(|(shard, status)| (shard.clone(), status["position"].to_string())).collect()
}
