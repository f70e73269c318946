//! The listings of the stream's shards: what follows from them, and when they are started again or given up.

use alloc::borrow::ToOwned;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use super::Reader;
use super::arena::Shard;
use super::stale::Stale;
use crate::action::{Action, Notice, Outcome};
use crate::checkpoint::Position;
use crate::error::{Cause, ServiceError};
use crate::ids::RequestId;
use crate::machine::backoff;
use crate::machine::discovery::{Phase, Step};
use crate::machine::lineage::ShardKey;
use crate::machine::listing::{Flaw, Listing, Progress, SHARDS_MAX};
use crate::machine::shard::{Event, Seek, Shown, State, Trouble, Verdict, WRONGS_MAX, Why};
use crate::wire::{self, Class, ListedShard, Operation};

/// The number of attempts at the very first request, as long as no response of any kind has come. An unreachable
/// endpoint is usually misconfigured rather than down, and AWS's own tools give up after three
/// (<https://docs.aws.amazon.com/sdkref/latest/guide/feature-retry-behavior.html>).
const FIRST_TRIES_MAX: u32 = 4;

/// The number of consecutive listings that may lack a shard, while each follows the one before after a short pause.
/// Kinesis shows a new shard within seconds, and with the pauses between them these listings take a minute.
const STALE_LISTINGS_MAX: u32 = 12;

/// The minimum time for which listings must have lacked a shard before the reader gives up.
const STALE_MAX: Duration = Duration::from_secs(60);

impl Reader {
    pub(super) fn on_listing_page(&mut self, id: RequestId, page: wire::Listing) {
        let now = self.clock.now;
        let Some((step, _)) = self.discovery.answered(id, now) else { return };
        let listing = match step {
            Step::Describe => Listing::default(),
            Step::List(listing) => listing,
        };
        match listing.add(page) {
            Ok(Progress::More { listing, pause }) => {
                let (step, trouble) = (Step::List(listing), Trouble::default());
                self.discovery.phase = Phase::Due { step, not_before: now + pause, trouble };
            }
            Ok(Progress::Complete(shards)) => match self.check_listing(&shards) {
                Ok(()) => self.on_listing(shards),
                Err(flaw) => self.list_anew(flaw),
            },
            Err(flaw) => self.list_anew(flaw),
        }
    }

    /// Checks a complete listing against itself and against what is known.
    fn check_listing(&self, shards: &[ListedShard]) -> Result<(), Flaw> {
        let lineages = shards.iter().map(|shard| (shard.id.as_str(), shard.parents.as_slice()));
        self.lineage.check(lineages).map_err(Flaw::Contradiction)?;
        let mut new: BTreeSet<&str> = BTreeSet::new();
        new.extend(shards.iter().map(|shard| shard.id.as_str()).filter(|id| self.lineage.key(id).is_none()));
        if self.lineage.len() + new.len() > SHARDS_MAX {
            return Err(Flaw::TooManyShards);
        }
        Ok(())
    }

    /// Starts the listing again after a pause, because this one cannot be used.
    fn list_anew(&mut self, flaw: Flaw) {
        self.totals.retried += 1;
        self.discovery.restarts = self.discovery.restarts.saturating_add(1);
        let attempts = self.discovery.restarts;
        let cause = Cause::Unintelligible(flaw.to_string());
        let error = ServiceError { operation: Operation::ListShards, shard: None, cause, attempts };
        match flaw {
            // There will not be fewer the next time.
            Flaw::TooManyShards | Flaw::TooManyPages => self.end(Outcome::Failed(error)),
            Flaw::Endless(_) | Flaw::Contradiction(_) | Flaw::Empty => {
                self.discover_again(Step::first_page(), Trouble::default(), error);
            }
        }
    }

    pub(super) fn on_discovery_trouble(&mut self, id: RequestId, error: ServiceError, verdict: Verdict) {
        let now = self.clock.now;
        let Some((step, trouble)) = self.discovery.answered(id, now) else { return };
        let denied = match &error.cause {
            Cause::Rejected { rejection, .. } => wire::classify(error.operation, rejection) == Class::Fatal,
            Cause::Unintelligible(_) | Cause::Failure(_) | Cause::Timeout | Cause::Recreated(_) | Cause::Gap(_) => {
                false
            }
        };
        if let Step::Describe = step
            && denied
        {
            // A grant to read a stream need not include the one to describe it.
            return self.discovery.list(now);
        }
        let (step, trouble) = match verdict {
            Verdict::Throttled => (step, trouble.delayed()),
            Verdict::Transient => (step, trouble.failed()),
            Verdict::Wrong | Verdict::Astray => (step, trouble.wronged()),
            // Without its token a listing cannot go on, so it begins again.
            Verdict::Expired => {
                self.discovery.restarts = self.discovery.restarts.saturating_add(1);
                (Step::first_page(), trouble.failed())
            }
            Verdict::Trimmed | Verdict::Gone | Verdict::Fatal => return self.end(Outcome::Failed(error)),
        };
        self.discover_again(step, trouble, error);
    }

    /// Takes a step again after a pause, or gives up after too many attempts.
    fn discover_again(&mut self, step: Step, trouble: Trouble, error: ServiceError) {
        let limits = &self.plan.limits;
        let restarts = self.discovery.restarts;
        let most = if self.heard { limits.failures } else { limits.failures.map(|most| most.min(FIRST_TRIES_MAX)) };
        if trouble.is_too_much(most) || most.is_some_and(|most| restarts >= most.min(WRONGS_MAX)) {
            return self.end(Outcome::Failed(error));
        }
        let tries = trouble.attempts().max(restarts);
        let pause = backoff::pause(limits.backoff_first, limits.backoff_max, tries, &mut self.rng);
        self.discovery.phase = Phase::Due { step, not_before: self.clock.now + pause, trouble };
        self.outbox.push_back(Action::Notice(Notice::Retry(error)));
    }

    /// A listing is complete.
    fn on_listing(&mut self, shards: Vec<ListedShard>) {
        let number = self.discovery.begun;
        let heard = number.saturating_sub(1);
        self.lineage.listed(shards.iter().map(|listed| listed.id.as_str()));
        let is_first = self.discovery.complete == 0;
        if is_first {
            self.restore(&shards, heard);
        }
        for listed in &shards {
            let key = match self.lineage.key(&listed.id) {
                Some(key) => key,
                None if self.resumed || !is_first => self.insert_new(&listed.id, heard),
                None => {
                    let (position, seek) = self.beginning(listed);
                    self.insert(&listed.id, position, seek, heard)
                }
            };
            self.lineage.adopt(key, &listed.parents);
            let shard = &mut self.shards[key];
            shard.closed = shard.closed.or(listed.closed.then_some(self.clock.now));
            shard.hash_range = shard.hash_range.or(listed.hash_range);
        }
        self.insert_gone(heard);
        let until = self.clock.now + self.plan.limits.list_interval;
        self.discovery.rest(self.clock.now, until);
        self.apply_listing(&shards, number);
        self.list_again_if_stale();
    }

    /// Takes over the positions of the last run, at the first listing.
    fn restore(&mut self, shards: &[ListedShard], heard: u64) {
        let ids = shards.iter().flat_map(|listed| listed.parents.iter().chain([&listed.id]));
        // Collecting would sort first, which takes five kilobytes of code for each type of key.
        let mut named = BTreeSet::new();
        named.extend(ids.map(String::as_str));
        for (id, position) in core::mem::take(&mut self.saved) {
            // A shard that is drained and has left the stream is forgotten with the last of its children.
            if position != Position::End || named.contains(id.as_str()) || !self.lineage.has_left(&id) {
                let position = self.not_ahead(&id, position);
                self.insert(&id, position, Seek::Position, heard);
            } else {
                self.revisions.note_renewed();
            }
        }
    }

    /// Lets the shards that wait for a listing go on.
    fn apply_listing(&mut self, shards: &[ListedShard], number: u64) {
        // Shards mentioned only as parents are not listed.
        let mut shown = BTreeMap::new();
        for listed in shards {
            shown.insert(listed.id.as_str(), if listed.closed { Shown::Closed } else { Shown::Open });
        }
        for key in self.shards.keys() {
            let shard = &self.shards[key];
            match &shard.state {
                // Whether another listing is needed is decided later, with a pause.
                State::Blocked { .. } => drop(self.unblock(key)),
                State::Ending { .. } => {
                    // A stale listing lacks the latest shards, so a shard that it does not show may go on.
                    let absent = if self.lineage.has_left(&shard.id) { Shown::Absent } else { Shown::Open };
                    let shown = shown.get(&*shard.id).copied().unwrap_or(absent);
                    self.on_shown(key, number, shown);
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
    }

    /// Adds the shards that were created and left the stream between two listings: a new shard names them as its
    /// parents, and no listing shows them. That they are gone, and their records with them, turns out as with any
    /// shard.
    fn insert_gone(&mut self, heard: u64) {
        let mut gone = Vec::new();
        for (key, _) in self.shards.iter().filter(|(_, shard)| shard.is_new) {
            let parents = self.lineage.parents(key).iter();
            gone.extend(parents.filter(|id| self.lineage.key(id).is_none() && self.lineage.has_left(id)).cloned());
        }
        for id in gone {
            // Two children may name it.
            if self.lineage.key(&id).is_none() {
                self.insert_new(&id, heard);
            }
        }
    }

    /// Lists again after a pause if this listing is out of date: it lacks the parents of a shard, or the children of a
    /// shard that is closed and was read to its end. Gives up if a shard that another one waits for never appears.
    fn list_again_if_stale(&mut self) {
        let listed = self.discovery.complete;
        let blocked = |(key, _): &(ShardKey, &Shard)| self.is_blocked(*key);
        let missing =
            |(key, shard): (ShardKey, &Shard)| Some((shard.id.clone(), self.lineage.missing(key, listed)?.to_owned()));
        let missing = self.shards.iter().filter(blocked).find_map(missing);
        let is_childless = |(_, shard): (ShardKey, &Shard)| {
            shard.state == State::Drained && shard.closed.is_some() && self.lineage.children(&shard.id).is_empty()
        };
        if missing.is_none() && !self.shards.iter().any(is_childless) {
            self.stale = None;
            return;
        }
        let now = self.clock.now;
        let stale = self.stale.get_or_insert(Stale { listings: 0, since: now });
        stale.listings = stale.listings.saturating_add(1);
        let Stale { listings, since } = *stale;
        let limits = &self.plan.limits;
        if listings <= STALE_LISTINGS_MAX {
            let pause = backoff::pause(limits.backoff_first, limits.backoff_max, listings, &mut self.rng);
            self.discovery.list(now + pause);
        } else if let Some((shard, missing)) = missing
            && limits.failures.is_some()
            && now.since(since) >= STALE_MAX
        {
            let why = format!("no listing shows shard {missing}, which must be read first");
            self.end(Outcome::Failed(ServiceError {
                operation: Operation::ListShards,
                shard: Some((*shard).to_owned()),
                cause: Cause::Unintelligible(why),
                attempts: listings,
            }));
        }
    }

    /// A listing shows a shard that has no shard iterator any more.
    fn on_shown(&mut self, key: ShardKey, number: u64, shown: Shown) {
        let shard = &self.shards[key];
        let error = ServiceError {
            operation: Operation::ListShards,
            shard: Some((*shard.id).to_owned()),
            cause: Cause::Unintelligible("the shard has no next iterator, and yet it is listed as going on".to_owned()),
            attempts: shard.state.trouble().attempts(),
        };
        let was_doubtful = !matches!(shard.state, State::Ending { why: Why::Ended, .. });
        self.step(key, Event::Listed { number, shown });
        match &self.shards[key].state {
            State::Drained | State::Ending { .. } => {}
            // The end is as it should be and only has to be confirmed.
            State::Seeking { .. } if shown == Shown::Closed && !was_doubtful => {}
            State::Blocked { .. }
            | State::Seeking { .. }
            | State::Sought { .. }
            | State::Ready { .. }
            | State::Reading { .. }
            | State::Delivering { .. }
            | State::CaughtUp
            | State::Failed => self.settle(key, error),
        }
    }
}
