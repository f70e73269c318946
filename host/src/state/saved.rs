//! What a state stores.

use serde::{Deserialize, Serialize};

use super::error::Error;

/// Stores a checkpoint.
pub trait State: Send {
    /// Returns what was saved last, if anything.
    fn load(&mut self) -> Result<Option<Saved>, Error>;

    /// Replaces what was saved last. On success, `saved` is durable. On failure, the old value is still there.
    fn save(&mut self, saved: &Saved) -> Result<(), Error>;
}

/// A checkpoint, and the output that it covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// The reader's checkpoint, as JSON text.
    pub checkpoint: String,
    /// The file with the messages up to the checkpoint, if the destination is a file.
    pub output: Option<Output>,
}

/// An output file, and how much of it the checkpoint covers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Output {
    /// The file's absolute path.
    pub path: String,
    /// The number of bytes that the checkpoint covers. Anything after them is not committed.
    pub length: u64,
}
