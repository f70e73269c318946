//! The reader: routes what it is told to the shard it is about, and says what to do next.
//!
//! **The loop.** Feed one input (`handle_*`, `stop`), then call [`Reader::poll_action`] until it answers
//! [`Action::Wait`] or [`Action::Finish`]. Everything that the reader does is decided in these calls; between them it is
//! a value.

use alloc::borrow::ToOwned;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use crate::action::{Action, BatchId, Outcome, RequestId, Response, ShardStatus, Totals, Wait, WaitReason};
use crate::checkpoint::{self, Checkpoint, Identity, Position};
use crate::clock::Clock;
use crate::config::{Config, Plan};
use crate::discovery::Discovery;
use crate::envelope::Envelope;
use crate::error::{CheckpointError, Failure, Misuse, OpenError};
use crate::hash_key::HashRange;
use crate::lineage::{Lineage, ShardKey};
use crate::messages::Messages;
use crate::rng::Rng;
use crate::shard::{State, Then};
use crate::time::{Instant, Timestamp};
use crate::tip::Tip;
use crate::wire::Operation;

mod answers;
mod batches;
mod listings;
mod requests;
mod shards;

use listings::Stale;

/// The bytes that a page is taken to have before one came: some half of what one can have, which is 10 MiB of data in
/// base64. So six shards are asked at once from the start.
const PAGE_BYTES_GUESS: u64 = 8 << 20;

/// Moves that are kept before those that count no more are looked for.
const MOVES_MIN: usize = 64;

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
    /// Whether there was a last run: then a shard that it did not see is new, and read from its first record.
    resumed: bool,

    discovery: Discovery,
    lineage: Lineage,
    /// By key.
    shards: Vec<Shard>,
    /// Shards that were caught up with, and whose descendants have yet to hear of it.
    caught_up: Vec<ShardKey>,
    /// Shards that are not in a final state.
    unfinished: usize,
    /// Shards that need an iterator, by when it may be asked for.
    seeking: BTreeSet<(Instant, ShardKey)>,
    /// Shards that have an iterator, by when it may be used.
    ready: BTreeSet<(Instant, ShardKey)>,

    /// Whether any response has come, of whatever kind.
    heard: bool,
    /// Set while listings lack a shard that must be there.
    stale: Option<Stale>,

    /// Requests that are out. All have the same time to live, so that the first one is the first to expire.
    requests: BTreeMap<RequestId, Sent>,
    requests_made: u64,
    /// Pages asked for.
    reading: usize,
    /// The bytes that a page is taken to have until it comes: a guess, and then as many as the latest had.
    expected: u64,
    /// The bytes of the pages whose batches are not yet reported as delivered.
    held: u64,
    /// Batches made and not yet reported as delivered.
    batches: BTreeMap<BatchId, Made>,
    batches_made: u64,
    /// Messages that may still be delivered.
    allowance: Option<u64>,

    outbox: VecDeque<Action>,
    ending: Option<Outcome>,
    revision: u64,
    /// The moves of positions in the order of their revisions, so that what changed is found without a look at all shards.
    /// Of a shard the last one counts.
    moves: Vec<(u64, ShardKey)>,
    /// The revision of the last change that is not one of positions alone.
    renewed: u64,
    totals: Totals,
}

/// A shard and what is known of it.
#[derive(Debug)]
struct Shard {
    id: Arc<str>,
    position: Position,
    /// The revision of the checkpoint that the place is of.
    moved: u64,
    state: State,
    /// Since when the listing shows it as closed.
    closed: Option<Instant>,
    /// Its hash keys, where a listing or a parent told them.
    hash_range: Option<HashRange>,
    /// It came to be since the reader first saw the stream, so that its parents were to be read before.
    is_new: bool,
    /// It is not in the first listing.
    is_late: bool,
    /// When the pace allows it to be read again.
    paced: Instant,
    tip: Tip,
    /// Consecutive pages without a new record, including those of its ancestors.
    idle: u32,
    /// The number of generations since the first listing.
    generation: u32,
    behind: Option<Duration>,
    /// Ends told of it since it was listed as closed and that may be none, with no record between them.
    doubts: u32,
    /// Made with its first message.
    envelope: Option<Arc<Envelope>>,
}

/// A request that is out.
#[derive(Debug)]
struct Sent {
    about: About,
    sent: Instant,
    deadline: Instant,
}

/// Whose request it is.
#[derive(Clone, Copy, Debug)]
enum About {
    Discovery(Operation),
    ShardIterator(ShardKey),
    /// `limit`: the records asked for.
    Page(ShardKey, u32),
}

/// A batch that was made.
#[derive(Debug)]
struct Made {
    key: ShardKey,
    /// The bytes of its page.
    held: u64,
    messages: u64,
    bytes: u64,
    dropped: u64,
    /// What of the page did not fit.
    rest: Option<Rest>,
}

/// What of a page is left for further batches, and how the shard goes on behind them.
#[derive(Debug)]
struct Rest {
    messages: Messages,
    behind: Duration,
    then: Then,
}

impl Reader {
    /// Opens a reader. Nothing is sent before the first [`Reader::poll_action`].
    ///
    /// - `saved`: what [`Reader::checkpoint`] gave in the last run, if there was one.
    /// - `seed`: any number, for the spread of pauses; let it differ between readers.
    /// - `now` and `present`: the time on the host's monotonic clock, and in the calendar.
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
            allowance: plan.limits.max_messages,
            plan,
            rng: Rng::new(seed),
            clock: Clock::new(now, present),
            stream: Arc::new(stream),
            resumed: !positions.is_empty(),
            saved: positions,
            discovery: Discovery::new(now),
            lineage: Lineage::default(),
            shards: Vec::new(),
            caught_up: Vec::new(),
            unfinished: 0,
            heard: false,
            stale: None,
            seeking: BTreeSet::new(),
            ready: BTreeSet::new(),
            requests: BTreeMap::new(),
            requests_made: 0,
            reading: 0,
            expected: PAGE_BYTES_GUESS,
            held: 0,
            batches: BTreeMap::new(),
            batches_made: 0,
            outbox: VecDeque::new(),
            ending: None,
            revision: 0,
            moves: Vec::new(),
            renewed: 0,
            totals: Totals::default(),
        })
    }

    /// Gives the next thing to do. Does not advance time.
    pub fn poll_action(&mut self) -> Action {
        if let Some(action) = self.outbox.pop_front() {
            return action;
        }
        if self.ending.is_none() {
            if let Some(request) = self.next_request() {
                return Action::Send(request);
            }
            self.rest_descendants();
            // Letting a stale iterator go may have told something.
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

    /// Tells of the response to a request. One that was given up meanwhile, or answered before, changes nothing.
    pub fn handle_response(&mut self, id: RequestId, response: Response, now: Instant) -> Result<(), Misuse> {
        self.check(id)?;
        self.advance(now);
        self.heard = true;
        if let Some(sent) = self.take_request(id) {
            self.on_response(id, sent, response);
        }
        self.expire_requests();
        Ok(())
    }

    /// Tells that a request got no response.
    pub fn handle_failure(&mut self, id: RequestId, failure: Failure, now: Instant) -> Result<(), Misuse> {
        self.check(id)?;
        self.advance(now);
        if let Some(sent) = self.take_request(id) {
            self.on_failure(id, sent, failure);
        }
        self.expire_requests();
        Ok(())
    }

    /// Tells that the messages of a batch are safe.
    pub fn handle_delivered(&mut self, id: BatchId, now: Instant) -> Result<(), Misuse> {
        let made = self.batches.remove(&id).ok_or(Misuse::UnknownBatch(id))?;
        self.advance(now);
        self.on_delivered(made);
        self.expire_requests();
        Ok(())
    }

    /// Tells that time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
        self.expire_requests();
    }

    /// Asks for no more pages; one on its way is let go. Batches that are out may still be reported.
    pub fn stop(&mut self, now: Instant) {
        self.advance(now);
        self.end(Outcome::Stopped);
    }

    /// The position reached in every shard, to be kept for the next run.
    pub fn checkpoint(&self) -> String {
        let known = self.lineage.keys().filter_map(|(id, key)| Some((id, &self.shards.get(key.0)?.position)));
        let saved = self.saved.iter().map(|(id, position)| (id.as_str(), position));
        checkpoint::write(&self.stream, &mut known.chain(saved))
    }

    /// Counts the changes of the checkpoint.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Of the checkpoint the positions that changed after a revision: joined with the checkpoint of that revision it gives
    /// the checkpoint. None: other things changed too, and it must be taken whole.
    ///
    /// What this costs goes by the positions that changed, not by the shards there are.
    pub fn changes(&self, since: u64) -> Option<String> {
        if since < self.renewed {
            return None;
        }
        let moves = self.moves.iter().rev().take_while(|(revision, _)| *revision > since);
        let moved = moves.filter_map(|(revision, key)| self.shards.get(key.0).filter(|shard| shard.moved == *revision));
        Some(checkpoint::write(&self.stream, &mut moved.map(|shard| (&*shard.id, &shard.position))))
    }

    /// Every shard known, in the order of their identifiers.
    pub fn shards(&self) -> Vec<ShardStatus> {
        self.lineage.keys().filter_map(|(_, key)| self.status(key)).collect()
    }

    /// What was done since the opening.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// The position of a shard is another than in the revision before.
    fn note_moved(&mut self, key: ShardKey) {
        self.revision += 1;
        if let Some(shard) = self.shards.get_mut(key.0) {
            shard.moved = self.revision;
            self.moves.push((self.revision, key));
        }
        if self.moves.len() > 2 * self.shards.len() + MOVES_MIN {
            self.moves.retain(|(revision, key)| self.shards.get(key.0).is_some_and(|shard| shard.moved == *revision));
        }
    }

    /// More of the checkpoint is other than in the revision before than positions that moved.
    fn note_renewed(&mut self) {
        self.revision += 1;
        self.renewed = self.revision;
    }

    fn check(&self, id: RequestId) -> Result<(), Misuse> {
        if id.0 < self.requests_made { Ok(()) } else { Err(Misuse::UnknownRequest(id)) }
    }

    fn advance(&mut self, now: Instant) {
        self.clock.now = self.clock.now.max(now);
    }

    /// Ends the reader once what is out is reported. The first reason counts.
    fn end(&mut self, outcome: Outcome) {
        self.requests.clear();
        self.reading = 0;
        self.ending.get_or_insert(outcome);
    }

    /// How it ended, if every shard has come as far as it was asked to and no other can appear.
    fn is_done(&self) -> Option<Outcome> {
        if self.unfinished > 0 || self.discovery.complete == 0 || !self.discovery.is_resting() {
            return None;
        }
        let drained = self.shards.iter().all(|shard| shard.state == State::Drained);
        Some(if drained { Outcome::Exhausted } else { Outcome::Reached })
    }
}
