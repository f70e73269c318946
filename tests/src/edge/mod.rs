//! A host for the edge component: the crates that `wasmtime serve` is made of, a key-value store that errs as real ones
//! do, and a sink that remembers what came.

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

/// Which of the two components.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Build {
    /// Lease and checkpoint in `wasi:keyvalue`, settings from `wasi:config`.
    Kv,
    /// Lease and checkpoint in DynamoDB, settings from the environment.
    Http,
}

impl Build {
    /// The component as it is built.
    pub fn path(self) -> PathBuf {
        self.file("wasm")
    }

    /// The component with the reader within.
    pub fn composed(self) -> PathBuf {
        self.file("composed.wasm")
    }

    fn file(self, suffix: &str) -> PathBuf {
        let name = match self {
            Build::Kv => "edge-kv",
            Build::Http => "edge-http",
        };
        // Named where faults are planted in a copy.
        let named = std::env::var_os("EDGE_COMPONENTS").map(PathBuf::from);
        let own = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../guest/edge/component"));
        named.unwrap_or_else(own).join(format!("{name}.{suffix}"))
    }
}

/// What a host is started with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Options {
    pub build: Build,
    /// What the component is set up with, under the names of environment variables.
    pub settings: BTreeMap<String, String>,
    /// The database of the key-value store.
    pub store: PathBuf,
    pub quirk: store::Quirk,
    /// Of what the store does by chance.
    pub seed: u64,
    /// When the process kills itself.
    pub die: Option<events::Point>,
    /// A file with the milliseconds by which the calendar is ahead.
    pub clock: Option<PathBuf>,
    /// The same for the monotonic clock.
    pub monotonic: Option<PathBuf>,
}

impl Options {
    /// A host of an emulated stream: what nearly every test wants.
    pub fn new(build: Build, store: PathBuf, kinesis: &str, stream: &str) -> Options {
        let options = Options {
            build,
            settings: BTreeMap::new(),
            store,
            quirk: store::Quirk::Strict,
            seed: 0,
            die: None,
            clock: None,
            monotonic: None,
        };
        options
            .set("KINESIS_STREAM", stream)
            .set("KINESIS_ENDPOINT_URL", kinesis)
            .set("KINESIS_PACE", "off")
            .set("AWS_REGION", crate::emulator::REGION)
            .set("AWS_ACCESS_KEY_ID", "test")
            .set("AWS_SECRET_ACCESS_KEY", "test")
            .set("DRAIN_TOKEN", client::TOKEN)
    }

    /// With this setting.
    pub fn set(mut self, name: &str, value: &str) -> Options {
        self.settings.insert(name.to_owned(), value.to_owned());
        self
    }
}
