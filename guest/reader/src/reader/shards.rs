//! The shards of the reader: who is known, what happens to each, and what a listing says of them.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::{Reader, Shard};
use crate::action::{Action, Lost, Notice, Outcome, ShardStatus};
use crate::backoff;
use crate::checkpoint::Place;
use crate::config::{OnGap, Start};
use crate::error::{Cause, ServiceError};
use crate::lineage::ShardKey;
use crate::shard::{Context, Effect, Event, Seek, Shown, State, Why};
use crate::tip::{SLACK, Tip};
use crate::wire::{ListedShard, Operation};

/// Listings in a row that may lack what must be there, before the reader goes on with what it has. Kinesis shows a
/// change of shards within seconds; with the pauses between them these take a minute.
const STALE_LISTINGS_MAX: u32 = 12;

impl Reader {
    /// Lets an event happen to a shard, and does what follows from it.
    pub(super) fn step(&mut self, key: ShardKey, event: Event) {
        let Some(shard) = self.shards.get_mut(key.0) else { return };
        let mut cx = Context {
            now: self.clock.now,
            backoff_first: self.plan.limits.backoff_first,
            backoff_max: self.plan.limits.backoff_max,
            failures: self.plan.limits.failures,
            listings: self.survey.begun,
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
            Effect::Lost => {
                let lost = Lost::behind(&shard.id, &shard.place);
                is_held = self.lose(lost);
            }
            Effect::List => self.survey.want(self.clock.now),
        }
        let Some(shard) = self.shards.get_mut(key.0) else { return };
        if let Some(place) = step.place
            && place > shard.place
            && !is_held
        {
            shard.place = place;
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

    /// Tells of a gap. Whether it ends the reader: then the place stays, for the next run to find it.
    pub(super) fn lose(&mut self, lost: Lost) -> bool {
        self.outbox.push_back(Action::Notice(Notice::Lost(lost.clone())));
        match self.plan.on_gap {
            OnGap::Tell => false,
            OnGap::Fail => {
                let error = ServiceError {
                    operation: Operation::ListShards,
                    shard: Some(lost.shard.clone()),
                    cause: Cause::Lost(lost),
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
            self.survey.want(self.clock.now);
        }
        for child in children {
            self.unblock(child);
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

    fn unblock(&mut self, key: ShardKey) {
        let is_caught_up = |id: &String| {
            let parent = self.lineage.key(id).and_then(|parent| self.shards.get(parent.0));
            parent.is_some_and(|parent| parent.state == State::CaughtUp)
        };
        if self.lineage.parents(key).iter().any(is_caught_up) {
            self.step(key, Event::Beyond);
        } else if self.lineage.is_free(key, self.survey.complete) {
            self.step(key, Event::Unblocked);
        } else if self.lineage.waits_for_listing(key) {
            self.survey.want(self.clock.now);
        }
    }

    /// Adds a shard that came to be since the reader first saw the stream, and is read from its first record.
    pub(super) fn insert_new(&mut self, id: &str, heard: u64) -> ShardKey {
        let key = self.insert(id, Place::TrimHorizon, Seek::Place, heard);
        if let Some(shard) = self.shards.get_mut(key.0) {
            shard.is_new = true;
        }
        key
    }

    /// Adds a shard that is not known yet.
    fn insert(&mut self, id: &str, place: Place, seek: Seek, heard: u64) -> ShardKey {
        let id: Arc<str> = id.into();
        let drained = place == Place::End;
        let key = self.lineage.insert(id.clone(), heard, drained);
        let state = if drained { State::Drained } else { State::Blocked { seek } };
        self.unfinished += usize::from(!drained);
        let shard = Shard {
            id,
            place,
            moved: 0,
            state,
            closed: None,
            hash_range: None,
            is_new: false,
            paced: self.clock.now,
            tip: Tip::new(),
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
            place: shard.place.clone(),
            behind: shard.behind,
        })
    }

    /// A listing is complete.
    pub(super) fn on_listing(&mut self, gathered: Vec<ListedShard>) {
        let number = self.survey.begun;
        let first = self.survey.complete == 0;
        let heard = number.saturating_sub(1);
        self.lineage.listed(gathered.iter().map(|listed| listed.id.as_str()));
        // What is but named, as a parent, is none of them.
        let mut shown = BTreeMap::new();
        for listed in &gathered {
            let now = if listed.closed { Shown::Closed } else { Shown::Open };
            shown.insert(listed.id.as_str(), Some(now));
        }
        if first {
            for parent in gathered.iter().flat_map(|listed| &listed.parents) {
                shown.entry(parent).or_insert(None);
            }
            for (id, place) in core::mem::take(&mut self.saved) {
                // A shard that is done and has left the stream is forgotten with the last of its children.
                let known = shown.contains_key(id.as_str());
                if place != Place::End || known || !self.lineage.has_left(&id) {
                    let place = self.not_ahead(&id, place);
                    self.insert(&id, place, Seek::Place, heard);
                } else {
                    self.note_renewed();
                }
            }
        }
        for listed in &gathered {
            let key = match self.lineage.key(&listed.id) {
                Some(key) => key,
                None if self.resumed || !first => self.insert_new(&listed.id, heard),
                None => {
                    let (place, seek) = self.beginning(listed);
                    self.insert(&listed.id, place, seek, heard)
                }
            };
            self.lineage.adopt(key, &listed.parents);
            if let Some(shard) = self.shards.get_mut(key.0) {
                shard.closed = shard.closed.or(listed.closed.then_some(self.clock.now));
                shard.hash_range = shard.hash_range.or(listed.hash_range);
            }
        }
        self.insert_lost(heard);
        let until = self.clock.now + self.plan.limits.list_interval;
        self.survey.rest(self.clock.now, until);
        for index in 0..self.shards.len() {
            let Some(shard) = self.shards.get(index) else { continue };
            match &shard.state {
                State::Blocked { .. } => self.unblock(ShardKey(index)),
                State::Ending { .. } => {
                    // A listing of a moment ago lacks the latest shards: what it does not show may go on.
                    let absent = if self.lineage.has_left(&shard.id) { Shown::Absent } else { Shown::Open };
                    let shown = shown.get(&*shard.id).copied().flatten().unwrap_or(absent);
                    self.on_shown(ShardKey(index), number, shown);
                }
                State::Seeking { .. }
                | State::Sought { .. }
                | State::Ready { .. }
                | State::Reading { .. }
                | State::Delivering { .. }
                | State::CaughtUp
                | State::Drained
                | State::Failed => {}
            }
        }
        self.list_again_if_stale();
    }

    /// Adds the shards that came to be and left the stream while nobody looked: a new shard names them as its parents,
    /// and no listing shows them. That they are gone, and their records lost, turns out as with any shard.
    fn insert_lost(&mut self, heard: u64) {
        let mut lost = Vec::new();
        for (index, _) in self.shards.iter().enumerate().filter(|(_, shard)| shard.is_new) {
            let parents = self.lineage.parents(ShardKey(index)).iter();
            lost.extend(parents.filter(|id| self.lineage.key(id).is_none() && self.lineage.has_left(id)).cloned());
        }
        for id in lost {
            // Two children may have named it.
            if self.lineage.key(&id).is_none() {
                self.insert_new(&id, heard);
            }
        }
    }

    /// Wants another listing, after a pause, where this one cannot be of now: it lacks the parents of a shard, or the
    /// children of one that is closed and was delivered to its end.
    fn list_again_if_stale(&mut self) {
        let waits = |(index, shard): (usize, &Shard)| match &shard.state {
            State::Blocked { .. } => self.lineage.waits_for_listing(ShardKey(index)),
            State::Drained => shard.closed.is_some() && self.lineage.children(&shard.id).is_empty(),
            State::Seeking { .. }
            | State::Sought { .. }
            | State::Ready { .. }
            | State::Reading { .. }
            | State::Delivering { .. }
            | State::Ending { .. }
            | State::CaughtUp
            | State::Failed => false,
        };
        if !self.shards.iter().enumerate().any(waits) {
            self.stale_listings = 0;
            return;
        }
        self.stale_listings += 1;
        let limits = &self.plan.limits;
        if self.stale_listings <= STALE_LISTINGS_MAX {
            let now = self.clock.now;
            let pause = backoff::pause(limits.backoff_first, limits.backoff_max, self.stale_listings, &mut self.rng);
            self.survey.list(now + pause);
        }
    }

    /// A listing shows a shard that has no iterator any more.
    fn on_shown(&mut self, key: ShardKey, number: u64, shown: Shown) {
        let Some(shard) = self.shards.get(key.0) else { return };
        let error = ServiceError {
            operation: Operation::ListShards,
            shard: Some((*shard.id).to_owned()),
            cause: Cause::Unintelligible("the shard has no next iterator, and yet it is listed as going on".to_owned()),
            attempts: shard.state.trouble().attempts(),
        };
        let was_doubtful = !matches!(shard.state, State::Ending { why: Why::Ended, .. });
        self.step(key, Event::Listed { number, shown });
        match self.shards.get(key.0).map(|shard| &shard.state) {
            Some(State::Drained | State::Ending { .. }) | None => {}
            // Its end is as it should be, and is only to be seen once more.
            Some(State::Seeking { .. }) if shown == Shown::Closed && !was_doubtful => {}
            Some(_) => self.settle(key, error),
        }
    }

    /// A position of the checkpoint, unless it is a time yet to come. Such a time was kept by a run whose clock was ahead:
    /// what came since is not known, and is told as a gap.
    fn not_ahead(&mut self, shard: &str, place: Place) -> Place {
        let opened = self.clock.opened();
        match place {
            Place::At(time) if time > opened.latest + SLACK => {
                let is_held = self.lose(Lost { shard: shard.to_owned(), after: None, ahead: Some(time) });
                if is_held { place } else { Place::At(opened.earliest) }
            }
            place => place,
        }
    }

    /// Where a shard begins that was there at the first look.
    fn beginning(&self, listed: &ListedShard) -> (Place, Seek) {
        match self.plan.start {
            Start::TrimHorizon => (Place::TrimHorizon, Seek::Place),
            // A time to come is taken as the present, and kept as such: what comes before it is wanted in each run.
            // The service would refuse it: "cannot be greater than the currentTimestampInMillis".
            Start::AtTimestamp(time) if time > self.clock.opened().likely => {
                (Place::At(self.clock.opened().earliest), Seek::Place)
            }
            Start::AtTimestamp(time) => (Place::At(time), Seek::Place),
            // Nothing comes to a closed shard any more.
            Start::Latest if listed.closed => (Place::End, Seek::Place),
            Start::Latest => (Place::At(self.clock.opened().earliest), Seek::Latest),
        }
    }
}
