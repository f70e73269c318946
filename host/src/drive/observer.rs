//! Observers of a run.

use crate::bindings::wit;
use crate::destination::Written;
use crate::terminal::clean;

/// Observes a run.
pub trait Observer {
    /// The operator should know this.
    fn notice(&mut self, notice: &wit::Notice);

    /// The progress so far. Called from time to time if [`wants_progress`](Self::wants_progress) returns true.
    fn progress(&mut self, _progress: &Progress) {}

    /// Whether to call [`progress`](Self::progress), as collecting progress costs a little.
    fn wants_progress(&self) -> bool {
        false
    }
}

/// An observer that reports notices to `tracing`: gaps as warnings, retries and shards as information.
#[derive(Clone, Copy, Debug, Default)]
pub struct Log;

impl Observer for Log {
    fn notice(&mut self, notice: &wit::Notice) {
        match notice {
            wit::Notice::Gap(gap) => tracing::warn!("{gap}"),
            wit::Notice::Retry(error) => tracing::info!("retrying: {error}"),
            wit::Notice::Shard(shard) => {
                let (id, parents) = (clean(&shard.shard), shard.parents.iter().map(clean).collect::<Vec<_>>());
                tracing::info!(shard = %id, ?parents, "{}", shard.state);
            }
        }
    }
}

/// The progress of a run.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Messages and bytes written.
    pub written: Written,
    /// All known shards.
    pub shards: Vec<wit::ShardStatus>,
}
