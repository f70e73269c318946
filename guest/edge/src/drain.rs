//! One drain: lease, reading, delivery, checkpoint.
//!
//! What is delivered is committed a second or 4 MiB later, and at the end together with giving the lease back. What a
//! crash leaves uncommitted comes again, to the next owner. No request is sent, and no batch delivered, that could
//! outlast the time that is left or the lease.

mod begin;
mod handing;
mod report;

pub(crate) use begin::UNREADABLE;
use kinesis_reader_lease::{Lease, Outcome};

use crate::answer::Answer;
use crate::aws::{Correction, Post};
use crate::bounds::Bounds;
use crate::clock;
use crate::deliver::Experience;
use crate::fetch::{self, Exchange, Failure, Limit, Response};
use crate::progress::Progress;
use crate::reading::{self, Action, Body, Operation, Reader};
use crate::settings::Settings;
use crate::store::{Store, random};

/// Bytes that may wait for their commit.
const UNCOMMITTED_BYTES_MAX: u64 = 4 << 20;

/// How long what was delivered may wait for its commit, in milliseconds.
const UNCOMMITTED_TIME_MAX: u64 = 1_000;

/// Gaps of which the shard is kept. The others are counted.
const GAPS_KEPT: usize = 10_000;

/// Why a drain ended.
pub(crate) enum End {
    /// Every shard is read to its tip.
    CaughtUp,
    /// Every shard is closed and read to its end.
    Exhausted,
    Messages,
    Bytes,
    Requests,
    /// The time is over. The words: what was in the way, where nothing was delivered.
    Time(Option<String>),
    /// The time was over before there was any to deliver what was read.
    TooShort,
    /// The sink refuses a batch, and there is no other place for it.
    Blocked(String),
    /// The sink or the dead letters do not take it now, or not in time.
    SinkFailed(String),
    /// Kinesis cannot be read on.
    Failed(String),
    /// Another has taken the lease.
    LeaseLost,
    /// The store does not answer, or not as it should.
    StoreFailed(String),
}

/// What was done.
#[derive(Default)]
struct Counts {
    messages: u64,
    /// Of lines.
    bytes: u64,
    batches: u64,
    requests: u64,
    dead_letters: u64,
    gaps: Vec<reading::Gap>,
    gaps_total: u64,
    retries: u64,
}

pub(crate) fn drain(settings: &Settings, bounds: &Bounds, started: u64) -> Answer {
    match begin::begin(settings, bounds, started) {
        Ok(mut drain) => {
            let end = drain.run();
            drain.finish(end)
        }
        Err(answer) => answer,
    }
}

struct Drain<'a> {
    settings: &'a Settings,
    bounds: &'a Bounds,
    /// When the caller's time is over, on the monotonic clock.
    end: u64,
    store: Store,
    lease: Lease,
    epoch: u64,
    /// When the first owner began, if reading goes by that for want of a checkpoint.
    begun: Option<u64>,
    reader: Reader,
    /// Of the time to sign by.
    correction: Correction,
    experience: Experience,
    progress: Progress,
    flight: Vec<Flying>,
    counts: Counts,
    /// Why the last request that failed did, until one succeeds.
    trouble: Option<String>,
    /// What is to be the answer, where there is no sink.
    lines: Vec<u8>,
    /// Since when, and how many bytes, what is delivered waits for its commit.
    uncommitted: Option<(u64, u64)>,
}

struct Flying {
    id: u64,
    /// The calendar time that it was signed with.
    signed: u64,
    exchange: Exchange,
}

impl Drain<'_> {
    /// Reads and delivers until there is a reason to end.
    fn run(&mut self) -> End {
        let mut unsent = false;
        loop {
            if clock::now() >= self.end {
                return self.end_of_time();
            }
            if let Err(end) = self.keep_lease() {
                return end;
            }
            match self.reader.poll() {
                Action::Send(_) if self.counts.requests >= self.bounds.requests => unsent = true,
                Action::Send(request) => self.send(request),
                Action::Deliver(batch) => {
                    if let Err(end) = self.deliver(&batch) {
                        return end;
                    }
                }
                Action::Notice(notice) => self.note(notice),
                // What was asked for before is still taken.
                Action::Wait(_) if unsent && self.flight.is_empty() => return End::Requests,
                Action::Wait(wait) => self.wait(wait.until),
                Action::Finish(reading::Outcome::Reached) => return End::CaughtUp,
                Action::Finish(reading::Outcome::Exhausted) => return End::Exhausted,
                Action::Finish(reading::Outcome::Limited) => return End::Messages,
                Action::Finish(reading::Outcome::Stopped) => return End::Time(None),
                Action::Finish(reading::Outcome::Failed(error)) => return End::Failed(report::words(&error)),
            }
        }
    }

    /// The time is over. Where nothing was delivered though there was something, no drain of this length ever will.
    fn end_of_time(&mut self) -> End {
        if self.counts.batches > 0 {
            return End::Time(None);
        }
        loop {
            match self.reader.poll() {
                Action::Deliver(_) => return End::TooShort,
                Action::Notice(notice) => self.note(notice),
                Action::Send(_) => {}
                Action::Wait(_) | Action::Finish(_) => return End::Time(self.trouble.take()),
            }
        }
    }

    fn note(&mut self, notice: reading::Notice) {
        match notice {
            reading::Notice::Gap(gap) => {
                self.counts.gaps_total += 1;
                if self.counts.gaps.len() < GAPS_KEPT {
                    self.counts.gaps.push(gap);
                }
            }
            reading::Notice::Retry(error) => {
                self.counts.retries += 1;
                self.trouble = Some(report::words(&error));
            }
            reading::Notice::Shard(_) => {}
        }
    }

    fn send(&mut self, request: reading::Request) {
        self.counts.requests += 1;
        let deadline = request.deadline.min(self.end).min(self.lease_end());
        let (kind, body) = match request.body {
            Body::Json(text) => (JSON, text.into_bytes()),
            Body::Cbor(bytes) => (CBOR, bytes),
        };
        let Settings { kinesis, credentials, .. } = self.settings;
        let signed = self.correction.present();
        let limit = Limit::Whole(answer_max(request.operation));
        match kinesis.post(credentials, Post { target: &request.target, kind, body, at: signed, deadline, limit }) {
            Ok(exchange) => self.flight.push(Flying { id: request.id, signed, exchange }),
            Err(failure) => self.tell(request.id, signed, Err(failure)),
        }
    }

    /// Waits until an answer comes, or until a time of the reader's, the caller's or the lease's.
    fn wait(&mut self, until: Option<u64>) {
        if self.take_answers() {
            return;
        }
        let renewal = self.lease.left(clock::present()).saturating_sub(self.settings.lease / 2);
        let renewal = clock::now().saturating_add(renewal);
        let until = until.unwrap_or(u64::MAX).min(self.end).min(renewal);
        fetch::wait(self.flight.iter().map(|flying| &flying.exchange), until);
        self.reader.handle_timeout(clock::now());
    }

    /// Tells the reader of the answers that are there. False: none is.
    fn take_answers(&mut self) -> bool {
        let mut came = Vec::new();
        self.flight.retain_mut(|flying| match flying.exchange.advance() {
            Some(result) => {
                came.push((flying.id, flying.signed, result));
                false
            }
            None => true,
        });
        let any = !came.is_empty();
        for (id, signed, result) in came {
            self.tell(id, signed, result);
        }
        any
    }

    fn tell(&mut self, id: u64, signed: u64, result: Result<Response, Failure>) {
        let now = clock::now();
        let told = match result {
            Ok(response) => {
                self.correction.learn(&response, signed);
                if response.status == 200 {
                    self.trouble = None;
                }
                self.reader.handle_response(id, &lift(response, signed), now)
            }
            Err(Failure::Transient(why)) => self.reader.handle_failure(id, &reading::Failure::Transient(why), now),
            Err(Failure::Permanent(why)) => self.reader.handle_failure(id, &reading::Failure::Permanent(why), now),
        };
        debug_assert!(told.is_ok(), "the identifier is the reader's own");
    }

    /// When the lease ends, on the monotonic clock. Others wait for as long as clocks may be apart beyond that.
    fn lease_end(&self) -> u64 {
        clock::now().saturating_add(self.lease.left(clock::present()))
    }

    /// Commits where it is due, and renews the lease where half of it is over.
    fn keep_lease(&mut self) -> Result<(), End> {
        let due = self.uncommitted.is_some_and(|(since, bytes)| {
            self.settings.sink.is_some()
                && (bytes >= UNCOMMITTED_BYTES_MAX || clock::now() >= since.saturating_add(UNCOMMITTED_TIME_MAX))
        });
        if due || self.lease.left(clock::present()) <= self.settings.lease / 2 {
            return self.commit();
        }
        Ok(())
    }

    /// Keeps how far it came, and renews the lease.
    fn commit(&mut self) -> Result<(), End> {
        if self.settings.sink.is_some() {
            self.progress.keep(self.reader.checkpoint());
            self.uncommitted = None;
        }
        self.lease.commit(self.progress.to_text(), clock::present());
        match self.store.settle(&mut self.lease) {
            Outcome::Written => Ok(()),
            Outcome::Lost | Outcome::Held { .. } | Outcome::Ahead { .. } | Outcome::Free => Err(End::LeaseLost),
            Outcome::Refused(why) | Outcome::Unavailable(why) => Err(End::StoreFailed(why)),
        }
    }

    /// Keeps how far it came, gives the lease back, and answers.
    fn finish(mut self, end: End) -> Answer {
        let shards = self.reader.shards();
        self.progress.look(&shards, clock::present());
        let mut ack = None;
        match &self.settings.sink {
            Some(_) => self.progress.keep(self.reader.checkpoint()),
            None => {
                let name = format!("{:016x}", random());
                self.progress.hand(name.clone(), self.reader.checkpoint());
                ack = Some(name);
            }
        }
        let end = match end {
            // It is not ours to write any more.
            End::LeaseLost => End::LeaseLost,
            end => {
                self.lease.release(self.progress.to_text(), clock::present());
                match (self.store.settle(&mut self.lease), end) {
                    (Outcome::Written, end) => end,
                    (Outcome::Lost | Outcome::Held { .. } | Outcome::Ahead { .. } | Outcome::Free, _) => End::LeaseLost,
                    (Outcome::Refused(why) | Outcome::Unavailable(why), _) => End::StoreFailed(why),
                }
            }
        };
        let handed = ack.map(|ack| (ack, std::mem::take(&mut self.lines)));
        let warning = self.passed_over();
        report::answer(&end, &self.counts, self.epoch, &shards, warning, handed)
    }

    /// Reading goes by the time at which the first owner began, and by what is known now, that time was yet to come: its
    /// clock was wrong. What arrived between that drain and this one was not read.
    fn passed_over(&self) -> Option<String> {
        let present = self.correction.present();
        let ahead = self.begun?.checked_sub(present).filter(|ahead| *ahead > CLOCKS_APART_MAX)?;
        Some(format!(
            "messages may have been passed over: the first drain of this stream kept no checkpoint, and its clock was \
             {} s ahead",
            ahead / 1000
        ))
    }
}

/// How far clocks may be apart without a word, in milliseconds.
const CLOCKS_APART_MAX: u64 = 60_000;

const JSON: &str = "application/x-amz-json-1.1";
const CBOR: &str = "application/x-amz-cbor-1.1";

/// The longest answer that is taken, in bytes. A page is up to 10 MiB, and a third more as base64.
fn answer_max(operation: Operation) -> usize {
    match operation {
        Operation::GetRecords => 32 << 20,
        Operation::ListShards => 16 << 20,
        Operation::DescribeStreamSummary | Operation::GetShardIterator => 64 << 10,
    }
}

fn lift(response: Response, signed: u64) -> reading::Response {
    let kind = response.header("content-type").unwrap_or_default();
    let cbor = kind.split(';').next().unwrap_or_default().trim() == CBOR;
    reading::Response {
        status: response.status,
        aws_request_id: response.header("x-amzn-requestid").map(ToOwned::to_owned),
        date: response.date(),
        signed: Some(signed),
        body: match cbor {
            true => Body::Cbor(response.body),
            false => Body::Json(
                String::from_utf8(response.body)
                    .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
            ),
        },
    }
}
