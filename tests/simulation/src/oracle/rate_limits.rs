//! The bounds of a reader: requests, batches and pace, and what it may wait for.

use std::collections::{BTreeMap, BTreeSet};

use kinesis_reader_machine::wire::Operation;
use kinesis_reader_machine::{Instant, Request, RequestId, Wait, WaitReason};

use super::{Check, Settings, violation};
use crate::kinesis::{Facts, Refusal};

/// "Five read transactions per second", and "five transactions per second per account per open shard" for iterators.
const CALLS_PER_SECOND: u64 = 5;
/// "2 MB per second."
const BYTES_PER_SECOND: u64 = 2 * 1024 * 1024;

/// The longest pause between two pages of a listing.
const LISTING_PAUSE_MAX_MS: u64 = 50;

/// The longest pause without a pace, other than at the tip.
const UNPACED_MAX_MS: u64 = 200;

/// The bounds, and how much of them is used. Times are those of the reader's inputs.
pub struct RateLimits {
    requests_max: usize,
    batches_max: usize,
    pace: Option<u8>,
    idle_interval_ms: u64,
    /// Whether backoff alone must keep a reader below five iterators per second, because the first pause is long
    /// enough.
    limits_seeks: bool,
    /// The shortest pause after a failure: "equal jitter" leaves at least half of the first backoff.
    pause_ms: u64,
    /// When the next request about a shard, or for a listing, is allowed.
    not_before: BTreeMap<Option<String>, u64>,
    pending: BTreeMap<RequestId, Pending>,
    requests_made: u64,
    batches_out: usize,
    reads: BTreeMap<String, Read>,
    seeks: BTreeMap<String, Vec<u64>>,
    /// Bodies with an iterator or a token that the reader knows to have expired.
    expired: BTreeSet<Vec<u8>>,
    /// Whether no more requests may be sent.
    ended: bool,
}

/// A request that the reader has sent and still waits for.
struct Pending {
    shard: Option<String>,
    operation: Operation,
    sent: u64,
    deadline: u64,
    body: Vec<u8>,
}

/// The last page of a shard.
struct Read {
    sent: u64,
    bytes: u64,
    /// It showed the shard at its tip.
    tip: bool,
}

impl RateLimits {
    pub(super) fn new(settings: &Settings) -> RateLimits {
        RateLimits {
            requests_max: settings.requests,
            batches_max: settings.batches,
            pace: settings.pace,
            idle_interval_ms: settings.idle_interval_ms,
            limits_seeks: settings.backoff_first_ms >= 250,
            pause_ms: settings.backoff_first_ms / 2,
            not_before: BTreeMap::new(),
            pending: BTreeMap::new(),
            requests_made: 0,
            batches_out: 0,
            reads: BTreeMap::new(),
            seeks: BTreeMap::new(),
            expired: BTreeSet::new(),
            ended: false,
        }
    }

    pub fn on_send(&mut self, request: &Request, now: Instant) -> Check {
        if self.ended {
            return violation!("a request after the end: {request:?}");
        }
        if request.id.0 != self.requests_made {
            return violation!("request {} follows {} others", request.id.0, self.requests_made);
        }
        self.requests_made += 1;
        if request.deadline <= now {
            return violation!("a deadline in the past: {request:?}");
        }
        let sent = now.0;
        if self.pending.values().any(|pending| pending.shard == request.shard) {
            return violation!("two simultaneous requests about {:?}", request.shard);
        }
        if self.not_before.get(&request.shard).is_some_and(|&time| sent < time) {
            return violation!("a retry without a pause: {request:?}");
        }
        let body = request.body.as_bytes().to_vec();
        if self.expired.contains(&body) {
            return violation!("an expired iterator or token was used again: {request:?}");
        }
        let (shard, operation) = (request.shard.clone(), request.operation);
        self.pending.insert(request.id, Pending { shard, operation, sent, deadline: request.deadline.0, body });
        if self.pending.len() > self.requests_max {
            return violation!("{} simultaneous requests", self.pending.len());
        }
        match (request.operation, &request.shard) {
            (Operation::GetRecords, Some(shard)) => {
                self.check_pace(shard, sent)?;
                self.reads.insert(shard.clone(), Read { sent, bytes: 0, tip: false });
                self.check_room()
            }
            (Operation::GetShardIterator, Some(shard)) => {
                let seeks = self.seeks.entry(shard.clone()).or_default();
                seeks.retain(|&seek| seek + 1000 > sent);
                seeks.push(sent);
                if seeks.len() as u64 > CALLS_PER_SECOND && self.limits_seeks {
                    return violation!("{} iterators of {shard} in a second", seeks.len());
                }
                Ok(())
            }
            (Operation::DescribeStreamSummary | Operation::ListShards, None) => Ok(()),
            (_, shard) => violation!("a request about {shard:?}: {:?}", request.operation),
        }
    }

    fn check_pace(&self, shard: &str, now: u64) -> Check {
        let Some(last) = self.reads.get(shard) else { return Ok(()) };
        let due = last.sent + self.paced_ms(last).max(self.idle_ms(last));
        if now < due {
            return violation!("{shard} is read {} ms too early, after {} bytes", due - now, last.bytes);
        }
        Ok(())
    }

    /// How long after the last page of a shard the pace allows the next.
    fn paced_ms(&self, last: &Read) -> u64 {
        let full = (1000 / CALLS_PER_SECOND).max((last.bytes * 1000).div_ceil(BYTES_PER_SECOND));
        self.pace.map_or(0, |share| (full * 100).div_ceil(u64::from(share)))
    }

    fn idle_ms(&self, last: &Read) -> u64 {
        if last.tip { self.idle_interval_ms } else { 0 }
    }

    /// Whether the reader still waits for the answer to this request.
    pub fn is_pending(&self, id: RequestId) -> bool {
        self.pending.contains_key(&id)
    }

    /// Returns the number of requests that the reader made.
    pub fn requests_made(&self) -> u64 {
        self.requests_made
    }

    /// An answer reached the reader.
    pub fn on_answer(&mut self, id: RequestId, facts: Option<&Facts>, now: Instant) {
        let Some(request) = self.pending.remove(&id) else { return };
        let refusal = match facts {
            Some(Facts::Refused(refusal)) => Some(*refusal),
            Some(Facts::Described | Facts::Listed { .. } | Facts::Iterator { .. } | Facts::Read(_)) => None,
            Some(Facts::Invalid) | None => Some(Refusal::Transient),
        };
        match refusal {
            Some(
                Refusal::Throttled
                | Refusal::Transient
                | Refusal::Expired
                | Refusal::ExpiredToken
                | Refusal::Credentials
                | Refusal::Clock,
            ) => {
                self.not_before.insert(request.shard.clone(), now.0 + self.pause_ms);
            }
            Some(Refusal::Trimmed | Refusal::NotFound | Refusal::Fatal | Refusal::Denied) | None => {}
        }
        if let Some(Refusal::Expired | Refusal::ExpiredToken) = refusal {
            self.expired.insert(request.body);
        }
        if let (Operation::GetRecords, Some(shard)) = (request.operation, request.shard) {
            let (bytes, tip) = match facts {
                Some(Facts::Read(page)) => (page.bytes, page.tip),
                Some(_) | None => (0, false),
            };
            self.reads.insert(shard, Read { sent: request.sent, bytes, tip });
        }
    }

    /// A page of a listing that has further pages reached the reader. "This operation has a limit of 1000 transactions
    /// per second per data stream", of which a reader may use a tenth, and less for pages without a new shard.
    pub fn on_listing_page(&mut self, is_barren: bool, now: Instant) {
        self.not_before.insert(None, now.0 + if is_barren { LISTING_PAUSE_MAX_MS } else { 10 });
    }

    /// The reader received an input at this time. Returns the number of requests whose deadlines have passed.
    pub fn on_time(&mut self, now: Instant) -> u32 {
        let timed_out = self.pending.extract_if(.., |_, request| request.deadline <= now.0);
        let shards: Vec<Option<String>> = timed_out.map(|(_, request)| request.shard).collect();
        let count = shards.len() as u32;
        self.not_before.extend(shards.into_iter().map(|shard| (shard, now.0 + self.pause_ms)));
        count
    }

    /// The reader is about to finish, and no longer waits for answers.
    pub fn on_end(&mut self) {
        self.pending.clear();
        self.ended = true;
    }

    pub(super) fn on_batch(&mut self, out: usize) -> Check {
        self.batches_out = out;
        self.check_room()
    }

    pub fn on_delivered(&mut self) {
        self.batches_out -= 1;
    }

    fn check_room(&self) -> Check {
        let reading = self.pending.values().filter(|request| request.operation == Operation::GetRecords).count();
        if reading + self.batches_out > self.batches_max {
            return violation!("{reading} requested pages and {} undelivered batches", self.batches_out);
        }
        Ok(())
    }

    /// Returns the latest time for which the pace is a reason to wait.
    fn paced_until(&self, now: Instant) -> u64 {
        let due = |last: &Read| {
            // Some pages in a row that bring nothing new are followed by a pause even without a pace.
            last.sent + self.paced_ms(last).max(UNPACED_MAX_MS).max(self.idle_ms(last))
        };
        self.reads.values().map(due).max().unwrap_or(0).max(now.0 + LISTING_PAUSE_MAX_MS)
    }

    /// Checks that the reader waits for something that will happen.
    pub fn on_wait(&mut self, wait: Wait, now: Instant) -> Check {
        if wait.until.is_none() && self.batches_out > 0 {
            // Answers no longer count. Only these batches remain to be reported, and nothing more may be sent.
            self.on_end();
        }
        let deadline = self.pending.values().map(|request| request.deadline).min();
        let ends = match wait.until {
            Some(until) if until <= now => false,
            Some(until) if wait.reason == WaitReason::Pace && until.0 > self.paced_until(now) => false,
            Some(until) => deadline.is_none_or(|deadline| until.0 <= deadline),
            None => self.batches_out > 0 && self.pending.is_empty(),
        };
        let has_reason = match wait.reason {
            WaitReason::Response => !self.pending.is_empty(),
            WaitReason::Delivery => self.batches_out > 0,
            WaitReason::Pace | WaitReason::Backoff | WaitReason::Listing => true,
        };
        if ends && has_reason {
            return Ok(());
        }
        let (pending, out) = (self.pending.len(), self.batches_out);
        violation!("{wait:?} at {now:?}, with {pending} pending requests and {out} undelivered batches")
    }
}
