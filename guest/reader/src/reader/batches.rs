//! What of a page is handed out, and what is left of it for the next batch.
//!
//! A batch is bounded by its messages, where the reader is, and by the bytes of its lines. What a page has beyond the
//! first bound is let go: the shard is asked for it again, if at all. What it has beyond the second is kept, with the
//! page, and becomes the next batch as soon as the one before is safe. So nothing is asked for twice, each batch has
//! a place of its own, and however much a page is rendered to, each step of it can be kept.

use alloc::sync::Arc;

use super::answers::{Wrong, no_sequence};
use super::{Made, Reader, Rest};
use crate::action::{Action, BatchId, Outcome};
use crate::batch::{self, Batch};
use crate::checkpoint::{MessagePosition, Position};
use crate::envelope::Envelope;
use crate::lineage::ShardKey;
use crate::messages::{Last, Messages};
use crate::shard::{Event, Then};

impl Reader {
    /// Hands out the first batch of a page's messages, if there is one. Gives it, the shard's position behind it, and how the
    /// shard goes on then.
    pub(super) fn make_batch(
        &mut self,
        key: ShardKey,
        held: u64,
        rest: Rest,
    ) -> Result<(Option<BatchId>, Option<Position>, Then), Wrong> {
        let Rest { mut messages, behind, mut then } = rest;
        let Some(shard) = self.shards.get_mut(key.0) else { return Ok((None, None, then)) };
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
        // If nothing comes of the rest, it is asked for again.
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
        if let Some(left) = &mut self.allowance {
            *left = left.saturating_sub(made.messages);
        }
        let id = BatchId(self.batches_made);
        self.batches_made += 1;
        self.held += held;
        self.batches.insert(id, made);
        let (shard, stream) = (shard.id.clone(), self.stream.clone());
        let batch = Batch { id, shard, stream, envelope, messages, behind, to: to.clone() };
        self.outbox.push_back(Action::Deliver(batch));
        Ok((Some(id), Some(to), then))
    }

    /// A batch is safe. What is left of its page comes next, unless no more is wanted.
    pub(super) fn on_delivered(&mut self, made: Made) {
        let Made { key, held, messages, bytes, dropped, rest } = made;
        self.held -= held;
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

    /// The next batch of a page. None: it cannot be had, and the shard is asked for it again.
    fn next_of_page(&mut self, key: ShardKey, held: u64, mut rest: Rest) -> Option<Event> {
        // Other shards' messages count, too, and came in between.
        if rest.messages.split_off(self.allowed()).is_some() {
            rest.then = Then::Seek;
        }
        let (batch, to, then) = self.make_batch(key, held, rest).ok()?;
        batch.map(|batch| Event::Next { batch, to, then })
    }

    /// How many messages a batch may have.
    pub(super) fn allowed(&self) -> u32 {
        self.allowance.map_or(u32::MAX, |left| u32::try_from(left).unwrap_or(u32::MAX))
    }

    /// Ends once all messages that were wanted are handed out.
    pub(super) fn end_if_limited(&mut self) {
        if self.allowance == Some(0) {
            self.end(Outcome::Limited);
        }
    }
}

/// The position of a shard behind these messages. None: there was no record.
fn position_after(messages: &Messages) -> Result<Option<Position>, Wrong> {
    let Some(Last { sequence, subsequence }) = messages.last() else { return Ok(None) };
    let sequence = sequence.parse().map_err(|_| no_sequence(sequence))?;
    Ok(Some(Position::After(MessagePosition { sequence, subsequence })))
}
