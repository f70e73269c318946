//! The batches that the host has not reported as delivered, and the room for more.

use alloc::collections::BTreeMap;
use core::time::Duration;

use crate::ids::BatchId;
use crate::machine::lineage::ShardKey;
use crate::machine::shard::Then;
use crate::pages::messages::Messages;

/// The size of a page that is assumed before the first one came: about half of the largest, which is 10 MiB of data in
/// base64. So six shards are read at once from the start.
const PAGE_BYTES_GUESS: u64 = 8 << 20;

/// The bytes of pages that may be in flight, at their expected size, or not yet delivered: three to four full ones,
/// enough to read one while others are on their way. A host has each of them in its own memory for a while, too.
const HELD_MAX: u64 = 48 << 20;

/// The batches that the host has not reported as delivered.
#[derive(Debug)]
pub(super) struct Batches {
    out: BTreeMap<BatchId, Made>,
    made: u64,
    /// The bytes of their pages.
    held: u64,
    /// The expected size of a page: a guess, and then that of recent pages.
    expected: u64,
    /// The number of messages that may still be handed out.
    allowance: Option<u64>,
}

/// A batch that was made.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) key: ShardKey,
    /// The bytes of its page.
    pub(super) held: u64,
    pub(super) messages: u64,
    pub(super) bytes: u64,
    pub(super) dropped: u64,
    /// What did not fit.
    pub(super) rest: Option<Rest>,
}

/// What is left of a page for further batches, and how the shard goes on after them.
#[derive(Debug)]
pub(super) struct Rest {
    pub(super) messages: Messages,
    pub(super) behind: Duration,
    pub(super) then: Then,
}

impl Batches {
    pub(super) fn new(allowance: Option<u64>) -> Batches {
        Batches { out: BTreeMap::new(), made: 0, held: 0, expected: PAGE_BYTES_GUESS, allowance }
    }

    pub(super) fn add(&mut self, made: Made) -> BatchId {
        if let Some(left) = &mut self.allowance {
            *left = left.saturating_sub(made.messages);
        }
        let id = BatchId(self.made);
        self.made += 1;
        self.held += made.held;
        self.out.insert(id, made);
        id
    }

    /// Takes a batch that was delivered.
    pub(super) fn take(&mut self, id: BatchId) -> Option<Made> {
        let made = self.out.remove(&id)?;
        self.held -= made.held;
        Some(made)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.out.len()
    }

    /// Learns of the size of a page. One large page is enough to expect more of them; small ones count gradually.
    pub(super) fn note_size(&mut self, bytes: u64) {
        self.expected = bytes.max(self.expected / 2);
    }

    /// Whether another page may be requested while `pages` are in flight, of `most` that may be in flight or out. One
    /// always may.
    pub(super) fn has_room(&self, pages: usize, most: u32) -> bool {
        let out = pages + self.len();
        let bytes = self.held + self.expected * (pages as u64 + 1);
        out < most as usize && (out == 0 || bytes <= HELD_MAX)
    }

    /// The number of records to request, of `most` that fit in a page.
    pub(super) fn records_wanted(&self, most: u32) -> u32 {
        most.min(self.allowed().max(1))
    }

    /// The number of messages that the next batch may have.
    pub(super) fn allowed(&self) -> u32 {
        self.allowance.map_or(u32::MAX, |left| u32::try_from(left).unwrap_or(u32::MAX))
    }

    /// Whether all messages that were wanted are handed out.
    pub(super) fn is_exhausted(&self) -> bool {
        self.allowance == Some(0)
    }
}
