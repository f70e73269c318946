//! Batches: how the messages of a page are handed out.
//!
//! A batch is bounded by the number of its messages, if the reader is, and by the bytes of its lines. Messages beyond the
//! first bound are dropped: the shard is read again for them, if at all. Messages beyond the second bound stay with the
//! page and become the next batch once this one is delivered. So no record is requested twice, every batch has its own
//! position, and a host can keep each batch, however large the lines of the page are.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use core::time::Duration;

use super::Reader;
use super::pages::{Wrong, no_sequence};
use crate::action::{Action, BatchId, Outcome};
use crate::batch::{self, Batch};
use crate::checkpoint::{MessagePosition, Position};
use crate::envelope::Envelope;
use crate::lineage::ShardKey;
use crate::messages::{Last, Messages};
use crate::shard::{Event, Then};

/// The size of a page that is assumed before the first one came: about half of the largest, which is 10 MiB of data in
/// base64. So six shards are read at once from the start.
const PAGE_BYTES_GUESS: u64 = 8 << 20;

/// The bytes of pages that may be in flight, at their expected size, or not yet delivered: three to four full ones, enough
/// to read one while others are on their way. A host has each of them in its own memory for a while, too.
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
    key: ShardKey,
    /// The bytes of its page.
    held: u64,
    messages: u64,
    bytes: u64,
    dropped: u64,
    /// What did not fit.
    rest: Option<Rest>,
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

    fn add(&mut self, made: Made) -> BatchId {
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
    fn is_exhausted(&self) -> bool {
        self.allowance == Some(0)
    }
}

impl Reader {
    /// Hands out the first batch of a page's messages, if it has any. Returns the batch, the position after it, and how the
    /// shard goes on then.
    pub(super) fn make_batch(
        &mut self,
        key: ShardKey,
        held: u64,
        rest: Rest,
    ) -> Result<(Option<BatchId>, Option<Position>, Then), Wrong> {
        let Rest { mut messages, behind, mut then } = rest;
        let shard = &mut self.shards[key];
        if messages.count() == 0 {
            let to = position_after(&messages)?;
            self.totals.dropped += messages.dropped();
            return Ok((None, to, then));
        }
        let plan = &self.plan;
        let envelope = || Arc::new(Envelope::new(&shard.id, &plan.name, plan.payload, plan.message_id));
        let envelope = shard.envelope.get_or_insert_with(envelope).clone();
        let fitting = batch::fitting(&messages, &envelope, plan.limits.batch_bytes.into());
        let rest = messages.split_off(fitting);
        // If the rest cannot be handed out, it is requested again.
        let rest = rest.map(|messages| Rest { messages, behind, then: core::mem::replace(&mut then, Then::Seek) });
        let Some(to) = position_after(&messages)? else { return Ok((None, None, then)) };
        let made = Made {
            key,
            held,
            messages: messages.count().into(),
            bytes: messages.size(),
            dropped: messages.dropped(),
            rest,
        };
        let id = self.batches.add(made);
        let (shard, stream) = (shard.id.clone(), self.stream.clone());
        let batch = Batch { id, shard, stream, envelope, messages, behind, to: to.clone() };
        self.outbox.push_back(Action::Deliver(batch));
        Ok((Some(id), Some(to), then))
    }

    /// A batch was delivered. The rest of its page comes next, unless no more is wanted.
    pub(super) fn on_delivered(&mut self, made: Made) {
        let Made { key, held, messages, bytes, dropped, rest } = made;
        self.totals.messages += messages;
        self.totals.bytes += bytes;
        self.totals.dropped += dropped;
        let event = match rest.filter(|_| self.ending.is_none()).and_then(|rest| self.next_of_page(key, held, rest)) {
            Some(next) => next,
            None => Event::Delivered,
        };
        self.step(key, event);
        self.end_if_limited();
    }

    /// The next batch of a page. None: it cannot be made, and the shard is read again for it.
    fn next_of_page(&mut self, key: ShardKey, held: u64, mut rest: Rest) -> Option<Event> {
        // Messages of other shards were handed out in between, and count too.
        if rest.messages.split_off(self.batches.allowed()).is_some() {
            rest.then = Then::Seek;
        }
        let (batch, to, then) = self.make_batch(key, held, rest).ok()?;
        batch.map(|batch| Event::Next { batch, to, then })
    }

    /// Ends the reader once all messages that were wanted are handed out.
    pub(super) fn end_if_limited(&mut self) {
        if self.batches.is_exhausted() {
            self.end(Outcome::Limited);
        }
    }
}

/// The position after these messages. None: there is no record.
fn position_after(messages: &Messages) -> Result<Option<Position>, Wrong> {
    let Some(Last { sequence, subsequence }) = messages.last() else { return Ok(None) };
    let sequence = sequence.parse().map_err(|_| no_sequence(sequence))?;
    Ok(Some(Position::After(MessagePosition { sequence, subsequence })))
}
