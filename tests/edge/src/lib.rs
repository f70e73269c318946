//! A host for the edge component, made of the same crates as `wasmtime serve`, with a key-value store that has the
//! quirks of real ones, and a sink that records what it accepts.
#![allow(missing_docs, reason = "only the project's own tests read this crate")]

pub mod calls;
pub mod client;
pub mod events;
pub mod host;
pub mod moto;
pub mod sink;
pub mod store;
pub mod stub;
pub mod wasmtime;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The token that the hosts accept.
pub const TOKEN: &str = "a long secret";

/// A build of the component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Build {
    /// Keeps lease and checkpoint in `wasi:keyvalue`, and takes settings from `wasi:config`.
    Kv,
    /// Keeps lease and checkpoint in DynamoDB, and takes settings from the environment.
    Http,
}

impl Build {
    /// The path of the component, which imports the reader.
    pub fn path(self) -> PathBuf {
        self.file("wasm")
    }

    /// The path of the component that includes the reader.
    pub fn composed(self) -> PathBuf {
        self.file("composed.wasm")
    }

    fn file(self, suffix: &str) -> PathBuf {
        let name = match self {
            Build::Kv => "edge-kv",
            Build::Http => "edge-http",
        };
        // Set when faults are planted in a copy.
        let copy = std::env::var_os("EDGE_COMPONENTS").map(PathBuf::from);
        let own = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../guest/edge/component"));
        copy.unwrap_or_else(own).join(format!("{name}.{suffix}"))
    }
}

/// The options of a host.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Options {
    pub build: Build,
    /// The settings of the component, under the names of environment variables.
    pub settings: BTreeMap<String, String>,
    /// The path of the database of the key-value store.
    pub store: PathBuf,
    pub quirk: store::Quirk,
    /// The seed for what the store does at random.
    pub seed: u64,
    /// When the process kills itself.
    pub die_at: Option<events::Point>,
    /// A file that says how many milliseconds the calendar clock is ahead.
    pub clock: Option<PathBuf>,
    /// A file that says how many milliseconds the monotonic clock is ahead.
    pub monotonic: Option<PathBuf>,
}

impl Options {
    /// The options that most tests need, with an emulated stream.
    pub fn new(build: Build, store: PathBuf, kinesis: &str, stream: &str) -> Options {
        let options = Options {
            build,
            settings: BTreeMap::new(),
            store,
            quirk: store::Quirk::Strict,
            seed: 0,
            die_at: None,
            clock: None,
            monotonic: None,
        };
        options
            .set("KINESIS_STREAM", stream)
            .set("KINESIS_ENDPOINT_URL", kinesis)
            .set("KINESIS_PACE", "off")
            .set("AWS_REGION", test_support::emulator::REGION)
            .set("AWS_ACCESS_KEY_ID", "test")
            .set("AWS_SECRET_ACCESS_KEY", "test")
            .set("DRAIN_TOKEN", TOKEN)
    }

    /// Adds a setting.
    pub fn set(mut self, name: &str, value: &str) -> Options {
        self.settings.insert(name.to_owned(), value.to_owned());
        self
    }
}
