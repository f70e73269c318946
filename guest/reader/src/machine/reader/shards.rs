//! Shards: which are known, what happens to each, and when they are read.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::sync::Arc;

use super::Reader;
use super::arena::Shard;
use crate::action::{Action, Notice, Outcome, ShardStatus};
use crate::checkpoint::Position;
use crate::config::{OnGap, Start, Until};
use crate::error::{Cause, ServiceError};
use crate::gap::Gap;
use crate::machine::lineage::ShardKey;
use crate::machine::shard::{Context, Effect, Event, Seek, State};
use crate::machine::tip::{SLACK, Tip};
use crate::wire::{ListedShard, Operation};

/// The maximum number of generations after the first listing, in a read of what the stream held when the reader was
/// opened. The first listing may be some seconds old, so a few generations may be missing from it. A shard that is
/// younger by more than that was created later and is not needed. Without this bound, shards that end at once and name
/// their successors would keep such a read going forever.
const GENERATIONS_MAX: u32 = 16;

/// Consecutive pages without a new record, over generations of shards, after which a shard keeps the pace of its
/// parents. A split or a merge brings a few of them.
const GENERATIONS_FREE: u32 = 8;

impl Reader {
    /// Lets an event happen to a shard, and does what follows from it.
    pub(super) fn step(&mut self, key: ShardKey, event: Event) {
        let mut cx = Context {
            now: self.clock.now,
            backoff_first: self.plan.limits.backoff_first,
            backoff_max: self.plan.limits.backoff_max,
            failures: self.plan.limits.failures,
            listings: self.discovery.begun,
            paced: self.shards[key].paced,
            rng: &mut self.rng,
        };
        let before = cfg!(debug_assertions).then(|| (self.shards[key].state.shown(), event.clone()));
        let was_final = self.shards[key].state.is_final();
        let (position, effect) = self.shards.step(key, event, &mut cx);
        let mut is_held = false;
        match effect {
            Effect::Nothing => {}
            Effect::Gap => {
                let gap = Gap::behind(&self.shards[key].id, &self.shards[key].position);
                is_held = self.lose(gap);
            }
            Effect::List => self.discovery.want(self.clock.now),
            Effect::Impossible => debug_assert!(false, "an event that cannot happen in this state: {before:?}"),
        }
        if let Some(position) = position
            && position > self.shards[key].position
            && !is_held
        {
            self.shards[key].position = position;
            self.revisions.note_moved(key, &mut self.shards);
        }
        let shard = &self.shards[key];
        if shard.state.is_final() && !was_final {
            let (drained, caught_up) = (shard.state == State::Drained, shard.state == State::CaughtUp);
            self.notify(key);
            if drained {
                self.on_drained(key);
            }
            if caught_up {
                self.caught_up.push(key);
            }
        }
    }

    /// Reports a gap. Returns whether it ends the reader: then the position stays, so that the next run finds the gap
    /// again.
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
        let children = self.lineage.children(&self.shards[key].id).to_vec();
        if children.is_empty() {
            // A shard is closed by a split or a merge, so it has children that are yet to be found.
            self.discovery.want(self.clock.now);
        }
        for child in children {
            if self.unblock(child) {
                self.discovery.want(self.clock.now);
            }
        }
    }

    /// Lets the descendants of shards that caught up rest too: this run does not read their parents to the end.
    pub(super) fn rest_descendants(&mut self) {
        while let Some(key) = self.caught_up.pop() {
            for child in self.lineage.children(&self.shards[key].id).to_vec() {
                if self.is_blocked(child) {
                    self.step(child, Event::Beyond);
                }
            }
        }
    }

    pub(super) fn is_blocked(&self, key: ShardKey) -> bool {
        matches!(self.shards[key].state, State::Blocked { .. })
    }

    /// Starts reading a shard if its parents allow it. Returns whether another listing is needed to tell.
    pub(super) fn unblock(&mut self, key: ShardKey) -> bool {
        if !self.is_blocked(key) {
            return false;
        }
        let listed = self.discovery.complete;
        let is_caught_up =
            |id: &String| self.lineage.key(id).is_some_and(|key| self.shards[key].state == State::CaughtUp);
        let is_drained = |key: ShardKey| self.shards[key].state == State::Drained;
        if self.lineage.parents(key).iter().any(is_caught_up) {
            self.step(key, Event::Beyond);
        } else if self.lineage.is_free(key, listed, is_drained) {
            let is_beyond = self.inherit(key) > GENERATIONS_MAX && self.is_until_the_past();
            self.step(key, if is_beyond { Event::Beyond } else { Event::Unblocked });
        } else {
            return self.lineage.missing(key, listed).is_some();
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
            if let Some(parent) = self.lineage.key(id) {
                let parent = &self.shards[parent];
                idle = idle.max(parent.idle);
                paced = paced.max(parent.paced);
                generation = generation.max(parent.generation);
            }
        }
        let shard = &mut self.shards[key];
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
        self.shards[key].is_new = true;
        key
    }

    /// Adds a shard that is not known yet.
    pub(super) fn insert(&mut self, id: &str, position: Position, seek: Seek, heard: u64) -> ShardKey {
        let id: Arc<str> = id.into();
        let drained = position == Position::End;
        let key = self.lineage.insert(id.clone(), heard);
        let state = if drained { State::Drained } else { State::Blocked { seek } };
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
        let pushed = self.shards.push(shard);
        debug_assert_eq!(pushed, key, "lineage and shards count alike");
        self.revisions.note_moved(key, &mut self.shards);
        if !drained {
            self.notify(key);
        }
        key
    }

    /// Reports the state of a shard.
    fn notify(&mut self, key: ShardKey) {
        let status = self.status(key);
        self.outbox.push_back(Action::Notice(Notice::Shard(status)));
    }

    /// A shard as the host sees it.
    pub(super) fn status(&self, key: ShardKey) -> ShardStatus {
        let shard = &self.shards[key];
        ShardStatus {
            shard: (*shard.id).to_owned(),
            parents: self.lineage.parents(key).to_vec(),
            closed: shard.closed.is_some(),
            state: shard.state.shown(),
            position: shard.position.clone(),
            behind: shard.behind,
        }
    }

    /// A position of the checkpoint, unless it is a time in the future. Such a time was kept by a run whose clock was
    /// ahead: what arrived since is unknown, which is a gap.
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

    /// Where a shard begins that is in the first listing of the first run.
    pub(super) fn beginning(&self, listed: &ListedShard) -> (Position, Seek) {
        match self.plan.start {
            Start::TrimHorizon => (Position::TrimHorizon, Seek::Position),
            // A time in the future is replaced by the present, in the checkpoint too: what arrives before it is wanted
            // in every run. The service would refuse it: "cannot be greater than the currentTimestampInMillis".
            Start::AtTimestamp(time) if time > self.clock.opened().likely => {
                (Position::At(self.clock.opened().earliest), Seek::Position)
            }
            Start::AtTimestamp(time) => (Position::At(time), Seek::Position),
            // No record arrives in a closed shard any more.
            Start::Latest if listed.closed => (Position::End, Seek::Position),
            Start::Latest => (Position::At(self.clock.opened().earliest), Seek::Latest),
        }
    }
}
