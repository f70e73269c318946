//! The bounds of a reader: requests, batches, pace, and what it may wait for.

use std::collections::{BTreeMap, BTreeSet};

use kinesis_reader_machine::wire::Operation;
use kinesis_reader_machine::{Instant, Request, RequestId, Wait, WaitReason};

use super::{Judged, Terms, violation};
use crate::kinesis::Refusal;

/// "Five read transactions per second", and "five transactions per second per account per open shard" for iterators.
const CALLS_PER_SECOND: u64 = 5;
/// "2 MB per second."
const BYTES_PER_SECOND: u64 = 2 * 1024 * 1024;

/// The bounds, and how much of them is used. Times are those that the reader is told.
pub struct RateLimits {
    requests: usize,
    batches: usize,
    pace: Option<u8>,
    /// Its first pause after a failure keeps five tries out of a second.
    patient: bool,
    /// The shortest pause after a failure: "equal jitter" leaves half of the first one.
    pause_ms: u64,
    /// When a shard, or the listing, may be asked about again.
    not_before: BTreeMap<Option<String>, u64>,
    out: BTreeMap<RequestId, Out>,
    made: u64,
    batches_out: usize,
    reads: BTreeMap<String, Read>,
    seeks: BTreeMap<String, Vec<u64>>,
    /// Bodies with an iterator or a token of which the reader was told that it has expired.
    expired: BTreeSet<Vec<u8>>,
    /// Nothing more may be sent.
    ended: bool,
}

struct Out {
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
}

impl RateLimits {
    pub(super) fn new(terms: &Terms) -> RateLimits {
        RateLimits {
            requests: terms.requests,
            batches: terms.batches,
            pace: terms.pace,
            patient: terms.backoff_first_ms >= 250,
            pause_ms: terms.backoff_first_ms / 2,
            not_before: BTreeMap::new(),
            out: BTreeMap::new(),
            made: 0,
            batches_out: 0,
            reads: BTreeMap::new(),
            seeks: BTreeMap::new(),
            expired: BTreeSet::new(),
            ended: false,
        }
    }

    pub fn sends(&mut self, request: &Request, now: Instant) -> Judged {
        if self.ended {
            return violation!("a request after the end: {request:?}");
        }
        if request.id.0 != self.made {
            return violation!("request {} follows {} others", request.id.0, self.made);
        }
        self.made += 1;
        if request.deadline <= now {
            return violation!("a deadline that has passed: {request:?}");
        }
        let sent = now.0;
        if self.out.values().any(|out| out.shard == request.shard) {
            return violation!("two requests at a time about {:?}", request.shard);
        }
        if self.not_before.get(&request.shard).is_some_and(|&time| sent < time) {
            return violation!("tried again without a pause: {request:?}");
        }
        let body = request.body.as_bytes().to_vec();
        if self.expired.contains(&body) {
            return violation!("asked again with what has expired: {request:?}");
        }
        let (shard, operation) = (request.shard.clone(), request.operation);
        self.out.insert(request.id, Out { shard, operation, sent, deadline: request.deadline.0, body });
        if self.out.len() > self.requests {
            return violation!("{} requests are out", self.out.len());
        }
        match (request.operation, &request.shard) {
            (Operation::GetRecords, Some(shard)) => {
                self.pace(shard, sent)?;
                self.reads.insert(shard.clone(), Read { sent, bytes: 0 });
                self.room()
            }
            (Operation::GetShardIterator, Some(shard)) => {
                let seeks = self.seeks.entry(shard.clone()).or_default();
                seeks.retain(|&seek| seek + 1000 > sent);
                seeks.push(sent);
                if seeks.len() as u64 > CALLS_PER_SECOND && self.patient {
                    return violation!("{} iterators of {shard} in a second", seeks.len());
                }
                Ok(())
            }
            (Operation::DescribeStreamSummary | Operation::ListShards, None) => Ok(()),
            (_, shard) => violation!("a request about {shard:?}: {:?}", request.operation),
        }
    }

    fn pace(&self, shard: &str, now: u64) -> Judged {
        let (Some(share), Some(last)) = (self.pace, self.reads.get(shard)) else { return Ok(()) };
        let full = (1000 / CALLS_PER_SECOND).max((last.bytes * 1000).div_ceil(BYTES_PER_SECOND));
        let due = last.sent + full * 100 / u64::from(share);
        if now < due {
            return violation!("{shard} is read {} ms too early, after {} bytes", due - now, last.bytes);
        }
        Ok(())
    }

    /// Whether the reader still waits for this answer.
    pub fn waits_for(&self, id: RequestId) -> bool {
        self.out.contains_key(&id)
    }

    /// How many requests were made.
    pub fn made(&self) -> u64 {
        self.made
    }

    /// An answer reached the reader. `bytes`: of the page that it is; `refusal`: what it is else.
    pub fn answered(&mut self, id: RequestId, bytes: u64, refusal: Option<Refusal>, now: Instant) {
        let Some(out) = self.out.remove(&id) else { return };
        match refusal {
            Some(
                Refusal::Throttled
                | Refusal::Transient
                | Refusal::Expired
                | Refusal::ExpiredToken
                | Refusal::Credentials
                | Refusal::Clock,
            ) => {
                self.not_before.insert(out.shard.clone(), now.0 + self.pause_ms);
            }
            Some(Refusal::Trimmed | Refusal::NotFound | Refusal::Fatal | Refusal::Denied) | None => {}
        }
        if let Some(Refusal::Expired | Refusal::ExpiredToken) = refusal {
            self.expired.insert(out.body);
        }
        if let (Operation::GetRecords, Some(shard)) = (out.operation, out.shard) {
            self.reads.insert(shard, Read { sent: out.sent, bytes });
        }
    }

    /// A page of a listing that has further pages reached the reader. "This operation has a limit of 1000 transactions per
    /// second per data stream": a reader takes a tenth of that, and less for pages without a new shard.
    pub fn listed(&mut self, is_barren: bool, now: Instant) {
        self.not_before.insert(None, now.0 + if is_barren { 50 } else { 10 });
    }

    /// The reader was told the time. Gives how many requests it gave up.
    pub fn told(&mut self, now: Instant) -> u32 {
        let given_up = self.out.extract_if(.., |_, out| out.deadline <= now.0);
        let shards: Vec<Option<String>> = given_up.map(|(_, out)| out.shard).collect();
        let count = shards.len() as u32;
        self.not_before.extend(shards.into_iter().map(|shard| (shard, now.0 + self.pause_ms)));
        count
    }

    /// The reader ends: it waits for no answer any more.
    pub fn ends(&mut self) {
        self.out.clear();
        self.ended = true;
    }

    pub(super) fn batches(&mut self, out: usize) -> Judged {
        self.batches_out = out;
        self.room()
    }

    pub fn delivered(&mut self) {
        self.batches_out -= 1;
    }

    fn room(&self) -> Judged {
        let reading = self.out.values().filter(|out| out.operation == Operation::GetRecords).count();
        if reading + self.batches_out > self.batches {
            return violation!("{reading} pages are asked for and {} batches are out", self.batches_out);
        }
        Ok(())
    }

    /// A wait must be for something that will come.
    pub fn waits(&mut self, wait: Wait, now: Instant) -> Judged {
        if wait.until.is_none() && self.batches_out > 0 {
            // No answer counts any more: only these batches are left to be reported, and nothing more may be sent.
            self.ends();
        }
        let earliest = self.out.values().map(|out| out.deadline).min();
        let sound = match wait.until {
            Some(until) if until <= now => false,
            Some(until) => earliest.is_none_or(|deadline| until.0 <= deadline),
            None => self.batches_out > 0 && self.out.is_empty(),
        };
        let due = match wait.reason {
            WaitReason::Response => !self.out.is_empty(),
            WaitReason::Delivery => self.batches_out > 0,
            WaitReason::Pace | WaitReason::Backoff | WaitReason::Listing => true,
        };
        if sound && due {
            return Ok(());
        }
        let out = self.out.len();
        violation!("{wait:?} at {now:?}, with {out} requests and {} batches out", self.batches_out)
    }
}
