//! One drain: takes the lease, reads, delivers and commits.
//!
//! What is delivered is committed within a second or 4 MiB, and at the end together with giving the lease back. After a
//! crash, the next owner delivers again what was not committed. No request is sent and no batch is delivered that could
//! outlast the caller's time or the lease.

mod begin;
mod delivery;
mod end;
mod report;

use begin::Begun;
pub(crate) use begin::UNREADABLE_HINT;
use end::{Counts, End};
use kinesis_reader_lease::{Lease, Outcome};

use crate::answer::Answer;
use crate::aws::{ClockOffset, Post};
use crate::bindings::reading::{self, Action, Body, Operation, Reader};
use crate::bounds::Bounds;
use crate::clock;
use crate::deliver::DeliveryTimes;
use crate::fetch::{self, Exchange, Failure, Limit, Response};
use crate::progress::Progress;
use crate::settings::Settings;
use crate::store::{Store, random};

/// The bytes of delivered lines that may wait for a commit.
const UNCOMMITTED_BYTES_MAX: u64 = 4 << 20;

/// How long delivered lines may wait for a commit, in milliseconds.
const UNCOMMITTED_TIME_MAX: u64 = 1_000;

/// The number of gaps kept for the report. Further ones are only counted.
const GAPS_KEPT: usize = 10_000;

pub(crate) fn drain(settings: &Settings, bounds: &Bounds, started: u64) -> Answer {
    match begin::begin(settings, bounds) {
        Ok(begun) => {
            let mut drain = Drain::new(settings, bounds, started, begun);
            let end = drain.run();
            drain.finish(end)
        }
        Err(answer) => answer,
    }
}

struct Drain<'a> {
    settings: &'a Settings,
    bounds: &'a Bounds,
    /// When the caller's time is up, on the monotonic clock.
    deadline: u64,
    store: Store,
    lease: Lease,
    epoch: u64,
    /// The time of an earlier first owner, if reading starts there for lack of a checkpoint.
    start_time: Option<u64>,
    reader: Reader,
    clock_offset: ClockOffset,
    delivery_times: DeliveryTimes,
    progress: Progress,
    in_flight: Vec<InFlight>,
    counts: Counts,
    /// Why the last request failed. Cleared when one succeeds.
    last_failure: Option<String>,
    /// The lines to answer with, if there is no sink.
    lines: Vec<u8>,
    /// Since when delivered lines wait for a commit, and how many bytes.
    uncommitted: Option<(u64, u64)>,
}

struct InFlight {
    id: u64,
    /// The calendar time of the signature.
    signed: u64,
    exchange: Exchange,
}

impl<'a> Drain<'a> {
    fn new(settings: &'a Settings, bounds: &'a Bounds, started: u64, begun: Begun) -> Drain<'a> {
        let Begun { store, lease, epoch, start_time, reader, progress } = begun;
        Drain {
            settings,
            bounds,
            deadline: started.saturating_add(bounds.time),
            store,
            lease,
            epoch,
            start_time,
            reader,
            clock_offset: ClockOffset::default(),
            delivery_times: DeliveryTimes::default(),
            progress,
            in_flight: Vec::new(),
            counts: Counts::default(),
            last_failure: None,
            lines: Vec::new(),
            uncommitted: None,
        }
    }
}

impl Drain<'_> {
    /// Reads and delivers until there is a reason to end.
    fn run(&mut self) -> End {
        let mut out_of_requests = false;
        loop {
            if clock::now() >= self.deadline {
                return self.time_is_up();
            }
            if let Err(end) = self.keep_lease() {
                return end;
            }
            match self.reader.poll() {
                Action::Send(_) if self.counts.requests >= self.bounds.requests => out_of_requests = true,
                Action::Send(request) => self.send(request),
                Action::Deliver(batch) => {
                    if let Err(end) = self.deliver(&batch) {
                        return end;
                    }
                }
                Action::Notice(notice) => self.handle_notice(notice),
                // The answers to earlier requests are still delivered.
                Action::Wait(_) if out_of_requests && self.in_flight.is_empty() => return End::Requests,
                Action::Wait(wait) => self.wait(wait.until),
                Action::Finish(reading::Outcome::Reached) => return End::CaughtUp,
                Action::Finish(reading::Outcome::Exhausted) => return End::Exhausted,
                Action::Finish(reading::Outcome::Limited) => return End::Messages,
                Action::Finish(reading::Outcome::Stopped) => return End::Time(None),
                Action::Finish(reading::Outcome::Failed(error)) => return End::Failed(report::describe(&error)),
            }
        }
    }

    /// Ends the drain because the time is up. If a batch was ready but none was delivered, drains of this length would
    /// never deliver anything, which is an error.
    fn time_is_up(&mut self) -> End {
        if self.counts.batches > 0 {
            return End::Time(None);
        }
        // Requests that have expired say what took the time.
        self.reader.handle_timeout(clock::now());
        loop {
            match self.reader.poll() {
                Action::Deliver(_) => return End::TooShort,
                Action::Notice(notice) => self.handle_notice(notice),
                Action::Send(_) => {}
                Action::Wait(_) | Action::Finish(_) => return End::Time(self.last_failure.take()),
            }
        }
    }

    fn handle_notice(&mut self, notice: reading::Notice) {
        match notice {
            reading::Notice::Gap(gap) => {
                self.counts.gaps_total += 1;
                if self.counts.gaps.len() < GAPS_KEPT {
                    self.counts.gaps.push(gap);
                }
            }
            reading::Notice::Retry(error) => {
                self.counts.retries += 1;
                self.last_failure = Some(report::describe(&error));
            }
            reading::Notice::Shard(_) => {}
        }
    }

    fn send(&mut self, request: reading::Request) {
        self.counts.requests += 1;
        let deadline = request.deadline.min(self.deadline).min(self.lease_end());
        let (content_type, body) = match request.body {
            Body::Json(text) => (JSON, text.into_bytes()),
            Body::Cbor(bytes) => (CBOR, bytes),
        };
        let Settings { kinesis, credentials, .. } = self.settings;
        let signed = self.clock_offset.signing_time();
        let limit = Limit::Whole(answer_max(request.operation));
        let post = Post { target: &request.target, content_type, body, signed, deadline, limit };
        match kinesis.post(credentials, post) {
            Ok(exchange) => self.in_flight.push(InFlight { id: request.id, signed, exchange }),
            Err(failure) => self.handle_result(request.id, signed, Err(failure)),
        }
    }

    /// Waits for an answer, but no longer than the reader, the caller or the lease allows.
    fn wait(&mut self, until: Option<u64>) {
        if self.take_answers() {
            return;
        }
        let renewal = self.lease.remaining(clock::present()).saturating_sub(self.settings.lease_duration / 2);
        let renewal = clock::now().saturating_add(renewal);
        let until = until.unwrap_or(u64::MAX).min(self.deadline).min(renewal);
        fetch::wait(self.in_flight.iter().map(|request| &request.exchange), until);
        self.reader.handle_timeout(clock::now());
    }

    /// Passes the answers that have arrived to the reader. Returns whether there were any.
    fn take_answers(&mut self) -> bool {
        let mut results = Vec::new();
        self.in_flight.retain_mut(|request| match request.exchange.advance() {
            Some(result) => {
                results.push((request.id, request.signed, result));
                false
            }
            None => true,
        });
        let any = !results.is_empty();
        for (id, signed, result) in results {
            self.handle_result(id, signed, result);
        }
        any
    }

    fn handle_result(&mut self, id: u64, signed: u64, result: Result<Response, Failure>) {
        let now = clock::now();
        let handled = match result {
            Ok(response) => {
                self.clock_offset.learn(&response, signed);
                if response.status == 200 {
                    self.last_failure = None;
                }
                self.reader.handle_response(id, &to_reading(response, signed), now)
            }
            Err(Failure::Transient(why)) => self.reader.handle_failure(id, &reading::Failure::Transient(why), now),
            Err(Failure::Permanent(why)) => self.reader.handle_failure(id, &reading::Failure::Permanent(why), now),
        };
        debug_assert!(handled.is_ok(), "the reader gave out this request id");
    }

    /// When the lease ends, on the monotonic clock. Others wait a little longer, because clocks may differ.
    fn lease_end(&self) -> u64 {
        clock::now().saturating_add(self.lease.remaining(clock::present()))
    }

    /// Commits if that is due, which also renews the lease, or renews the lease when half of it is over.
    fn keep_lease(&mut self) -> Result<(), End> {
        let due = self.uncommitted.is_some_and(|(since, bytes)| {
            self.settings.sink.is_some()
                && (bytes >= UNCOMMITTED_BYTES_MAX || clock::now() >= since.saturating_add(UNCOMMITTED_TIME_MAX))
        });
        if due || self.lease.remaining(clock::present()) <= self.settings.lease_duration / 2 {
            return self.commit();
        }
        Ok(())
    }

    /// Writes the checkpoint and renews the lease.
    fn commit(&mut self) -> Result<(), End> {
        if self.settings.sink.is_some() {
            self.progress.keep(self.reader.checkpoint());
            self.uncommitted = None;
        }
        self.lease.commit(self.progress.to_text(), clock::present());
        match self.store.run(&mut self.lease) {
            Outcome::Written => Ok(()),
            Outcome::Lost | Outcome::Held { .. } | Outcome::Ahead { .. } | Outcome::Free => Err(End::LeaseLost),
            Outcome::Refused(why) | Outcome::Unavailable(why) => Err(End::StoreFailed(why)),
        }
    }

    /// Writes the checkpoint, gives the lease back and returns the answer.
    fn finish(mut self, end: End) -> Answer {
        let shards = self.reader.shards();
        self.progress.record_lag(&shards, clock::present());
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
            // The value is no longer ours to write.
            End::LeaseLost => End::LeaseLost,
            end => {
                self.lease.release(self.progress.to_text(), clock::present());
                match (self.store.run(&mut self.lease), end) {
                    (Outcome::Written, end) => end,
                    (Outcome::Lost | Outcome::Held { .. } | Outcome::Ahead { .. } | Outcome::Free, _) => End::LeaseLost,
                    (Outcome::Refused(why) | Outcome::Unavailable(why), _) => End::StoreFailed(why),
                }
            }
        };
        let handed = ack.map(|ack| (ack, std::mem::take(&mut self.lines)));
        let warning = self.skip_warning();
        report::answer(&end, &self.counts, self.epoch, &shards, warning, handed)
    }

    /// Warns if reading started at the time of the first owner and that time is still in the future. Then that owner's
    /// clock was wrong, and what arrived between its drain and this one was not read.
    fn skip_warning(&self) -> Option<String> {
        let present = self.clock_offset.signing_time();
        let ahead = self.start_time?.checked_sub(present).filter(|ahead| *ahead > CLOCK_DIFFERENCE_MAX)?;
        Some(format!(
            "messages may have been skipped: the first drain of this stream saved no checkpoint, and its clock was \
             {} s ahead",
            ahead / 1000
        ))
    }
}

/// How far apart clocks may be without a warning, in milliseconds.
const CLOCK_DIFFERENCE_MAX: u64 = 60_000;

const JSON: &str = "application/x-amz-json-1.1";
const CBOR: &str = "application/x-amz-cbor-1.1";

/// The longest answer to accept, in bytes. A page is up to 10 MiB, and a third more as base64.
fn answer_max(operation: Operation) -> usize {
    match operation {
        Operation::GetRecords => 32 << 20,
        Operation::ListShards => 16 << 20,
        Operation::DescribeStreamSummary | Operation::GetShardIterator => 64 << 10,
    }
}

fn to_reading(response: Response, signed: u64) -> reading::Response {
    let content_type = response.header("content-type").unwrap_or_default();
    let is_cbor = content_type.split(';').next().unwrap_or_default().trim() == CBOR;
    reading::Response {
        status: response.status,
        aws_request_id: response.header("x-amzn-requestid").map(ToOwned::to_owned),
        date: response.date(),
        signed: Some(signed),
        body: match is_cbor {
            true => Body::Cbor(response.body),
            false => Body::Json(
                String::from_utf8(response.body)
                    .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
            ),
        },
    }
}
