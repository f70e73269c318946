//! The shards of the reader: who is known, what happens to each, and who is read when.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::sync::Arc;

use super::{Reader, Shard};
use crate::action::{Action, Gap, Notice, Outcome, ShardStatus};
use crate::checkpoint::Position;
use crate::config::{OnGap, Start, Until};
use crate::error::{Cause, ServiceError};
use crate::lineage::ShardKey;
use crate::shard::{Context, Effect, Event, Seek, State};
use crate::tip::{SLACK, Tip};
use crate::wire::{ListedShard, Operation};

/// The maximum number of generations after the first listing, in a read of what the stream held when the reader was
/// opened. The first listing may be some seconds old, so a few generations may be missing from it. A shard that is
/// younger by more than that was created later and is not needed. Without this bound, shards that end at once and name
/// their successors would keep such a read going forever.
const GENERATIONS_MAX: u32 = 16;

/// Consecutive pages without a new record, over generations of shards, after which a shard keeps the pace of its parents.
/// A split or a merge brings a few of them.
const GENERATIONS_FREE: u32 = 8;

impl Reader {
    /// Lets an event happen to a shard, and does what follows from it.
    pub(super) fn step(&mut self, key: ShardKey, event: Event) {
        let Some(shard) = self.shards.get_mut(key.0) else { return };
        let mut cx = Context {
            now: self.clock.now,
            backoff_first: self.plan.limits.backoff_first,
            backoff_max: self.plan.limits.backoff_max,
            failures: self.plan.limits.failures,
            listings: self.discovery.begun,
            paced: shard.paced,
            rng: &mut self.rng,
        };
        match &shard.state {
            State::Seeking { not_before, .. } => self.seeking.remove(&(*not_before, key)),
            State::Ready { not_before, .. } => self.ready.remove(&(*not_before, key)),
            State::Blocked { .. }
            | State::Sought { .. }
            | State::Reading { .. }
            | State::Delivering { .. }
            | State::Ending { .. }
            | State::CaughtUp
            | State::Drained
            | State::Failed => false,
        };
        let was_final = shard.state.is_final();
        let step = core::mem::replace(&mut shard.state, State::Failed).on(event, &mut cx);
        shard.state = step.state;
        match &shard.state {
            State::Seeking { not_before, .. } => self.seeking.insert((*not_before, key)),
            State::Ready { not_before, .. } => self.ready.insert((*not_before, key)),
            State::Blocked { .. }
            | State::Sought { .. }
            | State::Reading { .. }
            | State::Delivering { .. }
            | State::Ending { .. }
            | State::CaughtUp
            | State::Drained
            | State::Failed => false,
        };
        let mut is_held = false;
        match step.effect {
            Effect::Nothing => {}
            Effect::Gap => {
                let gap = Gap::behind(&shard.id, &shard.position);
                is_held = self.lose(gap);
            }
            Effect::List => self.discovery.want(self.clock.now),
        }
        let Some(shard) = self.shards.get_mut(key.0) else { return };
        if let Some(position) = step.position
            && position > shard.position
            && !is_held
        {
            shard.position = position;
            self.note_moved(key);
        }
        let Some(shard) = self.shards.get(key.0) else { return };
        if shard.state.is_final() && !was_final {
            let (drained, caught_up) = (shard.state == State::Drained, shard.state == State::CaughtUp);
            self.unfinished -= 1;
            self.tell_of(key);
            if drained {
                self.on_drained(key);
            }
            if caught_up {
                self.caught_up.push(key);
            }
        }
    }

    /// Tells of a gap. Whether it ends the reader: then the position stays, for the next run to find it.
    pub(super) fn lose(&mut self, gap: Gap) -> bool {
        self.outbox.push_back(Action::Notice(Notice::Gap(gap.clone())));
        match self.plan.on_gap {
            OnGap::Continue => false,
            OnGap::Fail => {
                let error = ServiceError {
                    operation: Operation::ListShards,
                    shard: Some(gap.shard.clone()),
                    cause: Cause::Gap(gap),
                    attempts: 1,
                };
                self.end(Outcome::Failed(error));
                true
            }
        }
    }

    fn on_drained(&mut self, key: ShardKey) {
        self.lineage.drain(key);
        let Some(shard) = self.shards.get(key.0) else { return };
        let children = self.lineage.children(&shard.id).to_vec();
        if children.is_empty() {
            // A shard closes by a split or a merge: its children are to be found.
            self.discovery.want(self.clock.now);
        }
        for child in children {
            if self.unblock(child) {
                self.discovery.want(self.clock.now);
            }
        }
    }

    /// Lets the descendants of the shards that were caught up with rest too: in this run nobody reads what is before
    /// them to its end.
    pub(super) fn rest_descendants(&mut self) {
        while let Some(key) = self.caught_up.pop() {
            let Some(shard) = self.shards.get(key.0) else { continue };
            for child in self.lineage.children(&shard.id).to_vec() {
                self.step(child, Event::Beyond);
            }
        }
    }

    /// Starts reading a shard if its parents allow it. Returns whether only another listing can tell.
    pub(super) fn unblock(&mut self, key: ShardKey) -> bool {
        let is_caught_up = |id: &String| {
            let parent = self.lineage.key(id).and_then(|parent| self.shards.get(parent.0));
            parent.is_some_and(|parent| parent.state == State::CaughtUp)
        };
        if self.lineage.parents(key).iter().any(is_caught_up) {
            self.step(key, Event::Beyond);
        } else if self.lineage.is_free(key, self.discovery.complete) {
            let is_beyond = self.inherit(key) > GENERATIONS_MAX && self.is_until_the_past();
            self.step(key, if is_beyond { Event::Beyond } else { Event::Unblocked });
        } else {
            return self.lineage.missing(key, self.discovery.complete).is_some();
        }
        false
    }

    /// Whether the reader needs nothing that arrives after its opening.
    fn is_until_the_past(&self) -> bool {
        match self.plan.until {
            Until::CaughtUp(_) => true,
            Until::Time(end) => self.clock.opened().earliest > end + SLACK,
            Until::Stopped => false,
        }
    }

    /// Carries the pace of the parents over to a shard if they brought nothing new. Returns the shard's generation.
    fn inherit(&mut self, key: ShardKey) -> u32 {
        let (mut idle, mut paced, mut generation) = (0, self.clock.now, 0);
        for id in self.lineage.parents(key) {
            let parent = self.lineage.key(id).and_then(|parent| self.shards.get(parent.0));
            if let Some(parent) = parent {
                idle = idle.max(parent.idle);
                paced = paced.max(parent.paced);
                generation = generation.max(parent.generation);
            }
        }
        let Some(shard) = self.shards.get_mut(key.0) else { return 0 };
        shard.idle = idle;
        if idle > GENERATIONS_FREE {
            shard.paced = paced;
        }
        shard.generation = if shard.is_late { generation.saturating_add(1) } else { 0 };
        shard.generation
    }

    /// Adds a shard that came to be since the reader first saw the stream, and is read from its first record.
    pub(super) fn insert_new(&mut self, id: &str, heard: u64) -> ShardKey {
        let key = self.insert(id, Position::TrimHorizon, Seek::Position, heard);
        if let Some(shard) = self.shards.get_mut(key.0) {
            shard.is_new = true;
        }
        key
    }

    /// Adds a shard that is not known yet.
    pub(super) fn insert(&mut self, id: &str, position: Position, seek: Seek, heard: u64) -> ShardKey {
        let id: Arc<str> = id.into();
        let drained = position == Position::End;
        let key = self.lineage.insert(id.clone(), heard, drained);
        let state = if drained { State::Drained } else { State::Blocked { seek } };
        self.unfinished += usize::from(!drained);
        let shard = Shard {
            id,
            position,
            moved: 0,
            state,
            closed: None,
            hash_range: None,
            is_new: false,
            is_late: self.discovery.complete > 0,
            paced: self.clock.now,
            tip: Tip::new(),
            idle: 0,
            generation: 0,
            behind: None,
            doubts: 0,
            envelope: None,
        };
        self.shards.push(shard);
        self.note_moved(key);
        if !drained {
            self.tell_of(key);
        }
        key
    }

    fn tell_of(&mut self, key: ShardKey) {
        if let Some(status) = self.status(key) {
            self.outbox.push_back(Action::Notice(Notice::Shard(status)));
        }
    }

    /// A shard as the host is told of it.
    pub(super) fn status(&self, key: ShardKey) -> Option<ShardStatus> {
        let shard = self.shards.get(key.0)?;
        Some(ShardStatus {
            shard: (*shard.id).to_owned(),
            parents: self.lineage.parents(key).to_vec(),
            closed: shard.closed.is_some(),
            state: shard.state.shown(),
            position: shard.position.clone(),
            behind: shard.behind,
        })
    }

    /// A position of the checkpoint, unless it is a time yet to come. Such a time was kept by a run whose clock was ahead:
    /// what came since is not known, and is told as a gap.
    pub(super) fn not_ahead(&mut self, shard: &str, position: Position) -> Position {
        let opened = self.clock.opened();
        match position {
            Position::At(time) if time > opened.latest + SLACK => {
                let is_held = self.lose(Gap { shard: shard.to_owned(), after: None, ahead: Some(time) });
                if is_held { position } else { Position::At(opened.earliest) }
            }
            position => position,
        }
    }

    /// Where a shard begins that was there at the first look.
    pub(super) fn beginning(&self, listed: &ListedShard) -> (Position, Seek) {
        match self.plan.start {
            Start::TrimHorizon => (Position::TrimHorizon, Seek::Position),
            // A time to come is taken as the present, and kept as such: what comes before it is wanted in each run.
            // The service would refuse it: "cannot be greater than the currentTimestampInMillis".
            Start::AtTimestamp(time) if time > self.clock.opened().likely => {
                (Position::At(self.clock.opened().earliest), Seek::Position)
            }
            Start::AtTimestamp(time) => (Position::At(time), Seek::Position),
            // Nothing comes to a closed shard any more.
            Start::Latest if listed.closed => (Position::End, Seek::Position),
            Start::Latest => (Position::At(self.clock.opened().earliest), Seek::Latest),
        }
    }
}
