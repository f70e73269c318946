//! The edge component, run: what it imports, what it answers, and that it loses nothing whatever dies when.

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

use tempfile::TempDir;
use tests::edge::client::status;
use tests::edge::host::{Host, engine};
use tests::edge::sink::Sink;
use tests::edge::{Build, Options};
use tests::emulator::Emulator;
use wasmtime::Engine;

/// The stream that is drained.
const STREAM: &str = "orders";

/// The name of its value in a store.
const KEY: &str = "kinesis-reader/orders";

static ENGINE: LazyLock<Engine> = LazyLock::new(engine);

/// An emulated stream of two shards, a sink, and a place for a store.
struct World {
    emulator: Emulator,
    sink: Sink,
    folder: TempDir,
}

impl World {
    async fn new() -> World {
        let emulator = Emulator::ferrokinesis().await;
        emulator.create(STREAM, 2).await;
        World { emulator, sink: Sink::start().await, folder: tempfile::tempdir().expect("a folder") }
    }

    fn store(&self) -> PathBuf {
        self.folder.path().join("store.db")
    }

    /// What a host needs to drain the stream, without a sink.
    fn pull(&self) -> Options {
        Options::new(Build::Kv, self.store(), &self.emulator.url, STREAM)
    }

    /// The same into the sink.
    fn push(&self) -> Options {
        self.pull().set("SINK_URL", &self.sink.url)
    }
}

/// A host in this process, and its URL.
async fn host(options: Options) -> (Arc<Host>, String) {
    let host = Arc::new(Host::new(&ENGINE, options));
    let url = host.serve().await;
    (host, url)
}

/// Moves the calendar.
fn ahead(clock: &Path, milliseconds: i64) {
    static WRITTEN: AtomicUsize = AtomicUsize::new(0);
    // Of a name of its own, as two may move it at once.
    let beside = clock.with_extension(WRITTEN.fetch_add(1, Ordering::SeqCst).to_string());
    std::fs::write(&beside, milliseconds.to_string()).expect("it can be written");
    std::fs::rename(beside, clock).expect("it can be moved");
}

/// How far the stream is drained, as its status shows it.
async fn positions(url: &str) -> Vec<(String, String)> {
    let status = status(url).await;
    let shards = status["shards"].as_object().cloned().unwrap_or_default();
    shards.iter().map(|(shard, known)| (shard.clone(), known["position"].to_string())).collect()
}
