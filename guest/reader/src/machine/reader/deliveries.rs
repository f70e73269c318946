//! Batches: how the messages of a page are handed out.
//!
//! A batch is bounded by the number of its messages, if the reader is, and by the bytes of its lines. Messages beyond
//! the first bound are dropped: the shard is read again for them, if at all. Messages beyond the second bound stay with
//! the page and become the next batch once this one is delivered. So no record is requested twice, every batch has its
//! own position, and a host can keep each batch, however large the lines of the page are.

use alloc::sync::Arc;

use super::Reader;
use super::batches::{Made, Rest};
use super::wrong::Wrong;
use crate::action::{Action, Outcome};
use crate::checkpoint::{MessagePosition, Position};
use crate::ids::BatchId;
use crate::machine::lineage::ShardKey;
use crate::machine::shard::{Event, Then};
use crate::pages::messages::{Last, Messages};
use crate::render::batch::{self, Batch};
use crate::render::envelope::Envelope;

impl Reader {
    /// Hands out the first batch of a page's messages, if it has any. Returns the batch, the position after it, and how
    /// the shard goes on then.
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
    let sequence = sequence.parse().map_err(|_| Wrong::not_a_sequence_number(sequence))?;
    Ok(Some(Position::After(MessagePosition { sequence, subsequence })))
}
