//! The shards of a reader, by key.

use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::{Index, IndexMut};
use core::time::Duration;

use crate::checkpoint::Position;
use crate::machine::lineage::ShardKey;
use crate::machine::shard::{Context, Effect, Event, Queue, State, Step};
use crate::machine::tip::Tip;
use crate::pages::hash_key::HashRange;
use crate::render::envelope::Envelope;
use crate::time::Instant;

/// A shard and what is known of it.
#[derive(Debug)]
pub(super) struct Shard {
    pub(super) id: Arc<str>,
    pub(super) position: Position,
    /// The revision of the checkpoint in which the position last moved.
    pub(super) moved: u64,
    /// Changed by [`Shards::step`] alone, which keeps the queues in step with it.
    pub(super) state: State,
    /// Since when the listing shows it as closed.
    pub(super) closed: Option<Instant>,
    /// Its hash key range, if a listing or a parent named it.
    pub(super) hash_range: Option<HashRange>,
    /// It was created after the reader first saw the stream, so its parents must be read before it.
    pub(super) is_new: bool,
    /// It is not in the first listing.
    pub(super) is_late: bool,
    /// When the pace allows it to be read again.
    pub(super) paced: Instant,
    pub(super) tip: Tip,
    /// Consecutive pages without a new record, including those of its ancestors.
    pub(super) idle: u32,
    /// The number of generations since the first listing.
    pub(super) generation: u32,
    pub(super) behind: Option<Duration>,
    /// Consecutive ends with a lag, since it was listed as closed and without a record between them.
    pub(super) doubts: u32,
    /// Made with its first message.
    pub(super) envelope: Option<Arc<Envelope>>,
}

/// All shards. None is ever removed, and only [`Shards::push`] makes keys.
#[derive(Debug, Default)]
pub(super) struct Shards {
    list: Vec<Shard>,
    /// Shards that need a shard iterator, by when it may be requested.
    seeking: BTreeSet<(Instant, ShardKey)>,
    /// Shards that have a shard iterator, by when it may be used.
    ready: BTreeSet<(Instant, ShardKey)>,
    /// Shards that are not in a final state.
    unfinished: usize,
}

impl Shards {
    /// Adds a shard.
    pub(super) fn push(&mut self, shard: Shard) -> ShardKey {
        let key = ShardKey(self.list.len());
        self.unfinished += usize::from(!shard.state.is_final());
        self.list.push(shard);
        self.enqueue(key);
        key
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ShardKey, &Shard)> {
        self.list.iter().enumerate().map(|(index, shard)| (ShardKey(index), shard))
    }

    /// The keys of all shards that are there now.
    pub(super) fn keys(&self) -> impl Iterator<Item = ShardKey> + use<> {
        (0..self.list.len()).map(ShardKey)
    }

    pub(super) fn unfinished(&self) -> usize {
        self.unfinished
    }

    /// The first shard of a queue, and the time it waits for.
    pub(super) fn first(&self, queue: Queue) -> Option<(Instant, ShardKey)> {
        match queue {
            Queue::Seeking => self.seeking.first().copied(),
            Queue::Ready => self.ready.first().copied(),
        }
    }

    /// Moves a shard to its next state. Returns where its position moves, and what the change asks of the reader.
    pub(super) fn step(&mut self, key: ShardKey, event: Event, cx: &mut Context<'_>) -> (Option<Position>, Effect) {
        self.dequeue(key);
        let shard = &mut self[key];
        let was_final = shard.state.is_final();
        let state = core::mem::replace(&mut shard.state, State::Failed);
        let Step { state, position, effect } = state.on(event, cx);
        let is_final = state.is_final();
        shard.state = state;
        self.unfinished -= usize::from(is_final && !was_final);
        self.enqueue(key);
        (position, effect)
    }

    fn enqueue(&mut self, key: ShardKey) {
        match self[key].state.queue() {
            Some((Queue::Seeking, at)) => self.seeking.insert((at, key)),
            Some((Queue::Ready, at)) => self.ready.insert((at, key)),
            None => false,
        };
    }

    fn dequeue(&mut self, key: ShardKey) {
        match self[key].state.queue() {
            Some((Queue::Seeking, at)) => self.seeking.remove(&(at, key)),
            Some((Queue::Ready, at)) => self.ready.remove(&(at, key)),
            None => false,
        };
    }
}

impl Index<ShardKey> for Shards {
    type Output = Shard;

    #[expect(clippy::indexing_slicing, reason = "only `push` makes keys, and no shard is ever removed")]
    fn index(&self, key: ShardKey) -> &Shard {
        &self.list[key.0]
    }
}

impl IndexMut<ShardKey> for Shards {
    #[expect(clippy::indexing_slicing, reason = "only `push` makes keys, and no shard is ever removed")]
    fn index_mut(&mut self, key: ShardKey) -> &mut Shard {
        &mut self.list[key.0]
    }
}
