//! The reader: passes each input to the shard that it is about, and says what to do next.
//!
//! **The loop.** Call one input (`handle_*`, `stop`), then call [`Reader::poll_action`] until it returns
//! [`Action::Wait`] or [`Action::Finish`]. All decisions are made in these calls; between them, the reader is plain
//! data.

use alloc::borrow::ToOwned;
use alloc::collections::{BTreeMap, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::action::{Action, Outcome, Response, ShardStatus, Totals, Wait, WaitReason};
use crate::checkpoint::CheckpointError;
use crate::checkpoint::{self, Checkpoint, Identity, Position};
use crate::config::{Config, Plan};
use crate::error::{Failure, Misuse, OpenError};
use crate::ids::{BatchId, RequestId};
use crate::machine::clock::Clock;
use crate::machine::discovery::Discovery;
use crate::machine::lineage::{Lineage, ShardKey};
use crate::machine::rng::Rng;
use crate::machine::shard::State;
use crate::time::{Instant, Timestamp};

mod answers;
mod arena;
mod batches;
mod deliveries;
mod in_flight;
mod listings;
mod pages;
mod requests;
mod revisions;
mod shards;
mod stale;
mod wrong;

use arena::Shards;
use batches::Batches;
use in_flight::InFlight;
use revisions::Revisions;
use stale::Stale;

/// The reader of one stream.
#[derive(Debug)]
pub struct Reader {
    plan: Plan,
    rng: Rng,
    clock: Clock,
    /// What is known of the stream.
    stream: Arc<Identity>,
    /// The positions of the last run, until the first listing is complete.
    saved: BTreeMap<String, Position>,
    /// There was a last run, so a shard that it did not see is new and is read from its first record.
    resumed: bool,

    discovery: Discovery,
    lineage: Lineage,
    shards: Shards,
    /// Shards that caught up and whose descendants have yet to follow.
    caught_up: Vec<ShardKey>,

    /// Whether any response was received, of whatever kind.
    heard: bool,
    /// Set while listings lack a shard that must be there.
    stale: Option<Stale>,

    in_flight: InFlight,
    batches: Batches,

    outbox: VecDeque<Action>,
    ending: Option<Outcome>,
    revisions: Revisions,
    totals: Totals,
}

impl Reader {
    /// Opens a reader. Nothing is sent before the first [`Reader::poll_action`].
    ///
    /// - `saved`: what [`Reader::checkpoint`] returned in the last run, if there was one.
    /// - `seed`: any number, from which the jitter of pauses is drawn. Readers should have different ones.
    /// - `now` and `present`: the time by the host's monotonic clock, and by the calendar.
    pub fn open(
        config: Config,
        saved: Option<&str>,
        seed: u64,
        now: Instant,
        present: Timestamp,
    ) -> Result<Reader, OpenError> {
        let plan = Plan::new(config).map_err(OpenError::Config)?;
        let mut stream = Identity { name: plan.name.clone(), arn: plan.arn().map(ToOwned::to_owned), created: None };
        let mut positions = BTreeMap::new();
        if let Some(text) = saved {
            let checkpoint = Checkpoint::parse(text).map_err(OpenError::Checkpoint)?;
            if !stream.agrees(&checkpoint.stream) {
                let foreign = CheckpointError::Foreign(checkpoint.stream.describe());
                return Err(OpenError::Checkpoint(foreign));
            }
            stream = stream.join(checkpoint.stream);
            positions = checkpoint.shards;
        }
        Ok(Reader {
            batches: Batches::new(plan.limits.max_messages),
            plan,
            rng: Rng::new(seed),
            clock: Clock::new(now, present),
            stream: Arc::new(stream),
            resumed: !positions.is_empty(),
            saved: positions,
            discovery: Discovery::new(now),
            lineage: Lineage::default(),
            shards: Shards::default(),
            caught_up: Vec::new(),
            heard: false,
            stale: None,
            in_flight: InFlight::default(),
            outbox: VecDeque::new(),
            ending: None,
            revisions: Revisions::default(),
            totals: Totals::default(),
        })
    }

    /// Returns the next thing to do. Time does not advance.
    pub fn poll_action(&mut self) -> Action {
        if let Some(action) = self.outbox.pop_front() {
            return action;
        }
        if self.ending.is_none() {
            if let Some(request) = self.next_request() {
                return Action::Send(request);
            }
            self.rest_descendants();
            // Dropping a stale shard iterator may have queued a notice.
            if let Some(action) = self.outbox.pop_front() {
                return action;
            }
            self.ending = self.is_done();
        }
        match &self.ending {
            Some(outcome) if self.batches.is_empty() => Action::Finish(outcome.clone()),
            Some(_) => Action::Wait(Wait { until: None, reason: WaitReason::Delivery }),
            None => Action::Wait(self.wait()),
        }
    }

    /// Handles the response to a request. If the request was given up or answered before, nothing changes.
    pub fn handle_response(&mut self, id: RequestId, response: Response, now: Instant) -> Result<(), Misuse> {
        self.check(id)?;
        self.advance(now);
        self.heard = true;
        if let Some(sent) = self.in_flight.take(id) {
            self.on_response(id, sent, response);
        }
        self.expire_requests();
        Ok(())
    }

    /// Handles the failure of a request that got no response.
    pub fn handle_failure(&mut self, id: RequestId, failure: Failure, now: Instant) -> Result<(), Misuse> {
        self.check(id)?;
        self.advance(now);
        if let Some(sent) = self.in_flight.take(id) {
            self.on_failure(id, sent, failure);
        }
        self.expire_requests();
        Ok(())
    }

    /// Notes that the messages of a batch were delivered.
    pub fn handle_delivered(&mut self, id: BatchId, now: Instant) -> Result<(), Misuse> {
        let made = self.batches.take(id).ok_or(Misuse::UnknownBatch(id))?;
        self.advance(now);
        self.on_delivered(made);
        self.expire_requests();
        Ok(())
    }

    /// Notes that time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
        self.expire_requests();
    }

    /// Stops requesting pages, and drops those in flight. Batches that are out may still be reported as delivered.
    pub fn stop(&mut self, now: Instant) {
        self.advance(now);
        self.end(Outcome::Stopped);
    }

    /// The position reached in every shard, to be kept for the next run.
    pub fn checkpoint(&self) -> String {
        let known = self.lineage.keys().map(|(id, key)| (id, &self.shards[key].position));
        let saved = self.saved.iter().map(|(id, position)| (id.as_str(), position));
        checkpoint::write(&self.stream, &mut known.chain(saved))
    }

    /// Counts the changes of the checkpoint.
    pub fn revision(&self) -> u64 {
        self.revisions.current()
    }

    /// The positions that changed after revision `since`, as a checkpoint that has these alone. Joined with the
    /// checkpoint of that revision, it gives the current one. None: more than positions changed, so the whole
    /// checkpoint is needed.
    ///
    /// The cost grows with the number of positions that changed, not with the number of shards.
    pub fn changes(&self, since: u64) -> Option<String> {
        let mut changed = self.revisions.since(since, &self.shards)?.map(|shard| (&*shard.id, &shard.position));
        Some(checkpoint::write(&self.stream, &mut changed))
    }

    /// Every shard known, in the order of their identifiers.
    pub fn shards(&self) -> Vec<ShardStatus> {
        self.lineage.keys().map(|(_, key)| self.status(key)).collect()
    }

    /// Counts of what was done since the reader was opened.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    fn check(&self, id: RequestId) -> Result<(), Misuse> {
        if self.in_flight.was_made(id) { Ok(()) } else { Err(Misuse::UnknownRequest(id)) }
    }

    fn advance(&mut self, now: Instant) {
        self.clock.now = self.clock.now.max(now);
    }

    /// Ends the reader once the batches that are out are delivered. The first reason counts.
    fn end(&mut self, outcome: Outcome) {
        self.in_flight.clear();
        self.ending.get_or_insert(outcome);
    }

    /// How the run ended, if every shard was read as far as requested and no other can appear.
    fn is_done(&self) -> Option<Outcome> {
        if self.shards.unfinished() > 0 || self.discovery.complete == 0 || !self.discovery.is_resting() {
            return None;
        }
        let drained = self.shards.iter().all(|(_, shard)| shard.state == State::Drained);
        Some(if drained { Outcome::Exhausted } else { Outcome::Reached })
    }
}
