//! When to commit.

use std::time::{Duration, Instant};

use super::clock::Clock;
use super::error::Error;
use crate::component::{self, BatchHandle, Reader};
use crate::destination::{Destination, Written};

/// How long accepted messages may wait for a commit, and so how much reading a crash may cost.
const UNCOMMITTED_TIME_MAX: Duration = Duration::from_secs(1);

/// The number of written bytes that triggers a commit. One more batch may be written first, which is at most
/// `limits.batch-bytes` of lines. Bytes are counted as written, not as stored in the stream, so that a transaction is
/// bounded whatever the messages expand to.
const UNCOMMITTED_BYTES_MAX: u64 = 32 << 20;

/// A checkpoint of this size, which is that of a few hundred shards, is written only when a commit is due. A smaller
/// one is also written whenever the reader is idle, which is often if messages arrive slowly.
const LARGE_CHECKPOINT: usize = 64 << 10;

/// Keeps track of what was written and is not committed yet.
pub(super) struct Ledger {
    pub(super) written: Written,
    /// Bytes written since the last commit.
    uncommitted_bytes: u64,
    /// When the first uncommitted change was made. `None` if there is nothing to commit.
    uncommitted_since: Option<Instant>,
    /// The revision of the checkpoint that was saved last.
    saved_revision: u64,
    /// Whether the positions from which this run reads have been saved.
    has_begun: bool,
    /// Whether the last commit wrote a large checkpoint as a whole.
    wrote_large_checkpoint: bool,
}

impl Ledger {
    pub(super) fn new(revision: u64) -> Ledger {
        Ledger {
            written: Written::default(),
            uncommitted_bytes: 0,
            uncommitted_since: None,
            saved_revision: revision,
            has_begun: false,
            wrote_large_checkpoint: false,
        }
    }

    /// Hands a batch to the destination, and reports it to the reader as delivered.
    pub(super) fn deliver(
        &mut self,
        reader: &mut Reader,
        handle: BatchHandle,
        destination: &mut dyn Destination,
        clock: Clock,
    ) -> Result<(), Error> {
        if !self.has_begun {
            // If the first messages are lost in a crash, the next run must begin at the same positions.
            self.uncommitted_since.get_or_insert_with(Instant::now);
            self.commit(reader, destination)?;
            self.has_begun = true;
        }
        let mut batch = reader.batch(&handle)?;
        let id = batch.id;
        let written = destination.write(&mut batch).map_err(Error::from_write)?;
        reader.release(handle)?;
        reader.handle_delivered(id, clock.now())?;
        self.written.messages += written.messages;
        self.written.bytes += written.bytes;
        self.written.invalid += written.invalid;
        self.written.new += written.new;
        self.uncommitted_bytes += written.bytes;
        self.uncommitted_since.get_or_insert_with(Instant::now);
        Ok(())
    }

    /// Checks whether the checkpoint has changed, which also happens without a delivery.
    pub(super) fn check_revision(&mut self, reader: &mut Reader) -> Result<(), component::Error> {
        if reader.revision()? != self.saved_revision {
            self.uncommitted_since.get_or_insert_with(Instant::now);
        }
        Ok(())
    }

    pub(super) fn due(&self, clock: Clock) -> Option<u64> {
        self.uncommitted_since.map(|since| clock.of(since + UNCOMMITTED_TIME_MAX))
    }

    pub(super) fn commit_if_due(
        &mut self,
        reader: &mut Reader,
        destination: &mut dyn Destination,
    ) -> Result<(), Error> {
        let is_due = self.uncommitted_since.is_some_and(|since| since.elapsed() >= UNCOMMITTED_TIME_MAX);
        if is_due || self.uncommitted_bytes >= UNCOMMITTED_BYTES_MAX {
            self.commit(reader, destination)?;
        }
        Ok(())
    }

    /// Commits because the reader is idle, unless that is expensive.
    pub(super) fn commit_if_cheap(
        &mut self,
        reader: &mut Reader,
        destination: &mut dyn Destination,
    ) -> Result<(), Error> {
        if self.wrote_large_checkpoint { Ok(()) } else { self.commit(reader, destination) }
    }

    pub(super) fn commit(&mut self, reader: &mut Reader, destination: &mut dyn Destination) -> Result<(), Error> {
        if self.uncommitted_since.take().is_some() {
            let before = std::mem::replace(&mut self.saved_revision, reader.revision()?);
            let changes = reader.changes(before)?;
            let done = changes.map_or(Ok(false), |changes| destination.commit_changes(&changes));
            self.wrote_large_checkpoint = false;
            if !done.map_err(Error::Destination)? {
                let checkpoint = reader.checkpoint()?;
                destination.commit(&checkpoint).map_err(Error::Destination)?;
                self.wrote_large_checkpoint = checkpoint.len() >= LARGE_CHECKPOINT;
            }
            self.uncommitted_bytes = 0;
        }
        Ok(())
    }
}
