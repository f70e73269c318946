//! One drain: lease, reading, delivery, checkpoint.
//!
//! What is delivered is committed a second or 4 MiB later, and at the end together with giving the lease back. What a
//! crash leaves uncommitted comes again, to the next owner. No request is sent, and no batch delivered, that could
//! outlast the time that is left or the lease.

mod report;

use kinesis_reader_lease::{Lease, Outcome};

use crate::answer::Answer;
use crate::bounds::Bounds;
use crate::clock;
use crate::deliver::{Delivery, Label, pieces, push};
use crate::fetch::{self, Exchange, Failure, Response};
use crate::progress::Progress;
use crate::reading::{self, Action, Batch, Body, Reader};
use crate::settings::{Settings, Sink};
use crate::store::{self, Store};

/// What to do about a value that is not ours.
pub(crate) const UNREADABLE: &str =
    "it may be of a later version of this component; if it is of nobody, delete the key, and reading begins anew";

/// Bytes that may wait for their commit.
const UNCOMMITTED_BYTES_MAX: u64 = 4 << 20;

/// How long what was delivered may wait for its commit, in milliseconds.
const UNCOMMITTED_TIME_MAX: u64 = 1_000;

/// How far the clocks of two hosts may be apart, in milliseconds.
const CLOCK_GRACE: u64 = 2_000;

/// How long the store may take over one operation, in milliseconds.
const STORE_PATIENCE: u64 = 8_000;

/// Pages that are asked for or wait to be delivered: each may take 14 MiB of the instance's memory.
const BATCHES: u32 = 2;

/// Why a drain ended.
pub(crate) enum End {
    /// Every shard is read to its tip.
    CaughtUp,
    /// Every shard is closed and read to its end.
    Exhausted,
    Messages,
    Bytes,
    Requests,
    Time,
    /// The sink refuses a batch, and there is no other place for it.
    Blocked(String),
    /// The sink or the dead letters do not take it now.
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
    bytes: u64,
    batches: u64,
    requests: u64,
    dead_letters: u64,
    lost: Vec<reading::Lost>,
    retries: u64,
}

pub(crate) fn drain(settings: &Settings, bounds: &Bounds, started: u64) -> Answer {
    let mut store = match store::open(settings) {
        Ok(store) => store,
        Err(why) => return unavailable(&why),
    };
    let owner = format!("{:016x}{:016x}", random(), random());
    let times = kinesis_reader_lease::Settings {
        time: settings.lease,
        grace: CLOCK_GRACE,
        patience: STORE_PATIENCE,
        pause: 50,
    };
    let mut lease = Lease::acquire(owner, times, clock::present());
    match store.settle(&mut lease) {
        Outcome::Written => {}
        Outcome::Held { retry_after } => {
            return Answer::error(409, "another drain of this stream is at work", "try again after the time given")
                .with("retry-after", retry_after.div_ceil(1000).max(1).to_string());
        }
        Outcome::Lost => return unavailable("the lease was lost as it was taken"),
        Outcome::Refused(why) => {
            return Answer::error(500, &format!("the value in the store is not to be touched: {why}"), UNREADABLE);
        }
        Outcome::Unavailable(why) => return unavailable(&why),
    }
    let Some(held) = lease.held().cloned() else { return unavailable("the lease was not read back") };
    let mut progress = match Progress::parse(held.checkpoint.as_deref()) {
        Ok(progress) => progress,
        Err(why) => return give_back(&mut store, &mut lease, held.checkpoint, Answer::error(500, &why, UNREADABLE)),
    };
    if let Some(ack) = &bounds.ack
        && !progress.acknowledge(ack)
    {
        let answer =
            Answer::error(400, "no lines of this name wait to be acknowledged", "drain without `ack`: they come again");
        return give_back(&mut store, &mut lease, held.checkpoint, answer);
    }
    let start = match settings.start {
        // Every drain that finds no checkpoint begins at the same time, so nothing falls between two.
        reading::Start::Latest => reading::Start::AtTimestamp(held.begun),
        other => other,
    };
    let reader = match open(settings, bounds, start, progress.checkpoint()) {
        Ok(reader) => reader,
        Err((status, why, hint)) => {
            let answer = Answer::error(status, &why, hint);
            return give_back(&mut store, &mut lease, progress.to_text(), answer);
        }
    };
    let mut drain = Drain {
        settings,
        bounds,
        end: started + bounds.time,
        store,
        lease,
        epoch: held.epoch,
        reader,
        progress,
        flight: Vec::new(),
        counts: Counts::default(),
        lines: Vec::new(),
        uncommitted: None,
    };
    let end = drain.run();
    drain.finish(end)
}

fn open(
    settings: &Settings,
    bounds: &Bounds,
    start: reading::Start,
    checkpoint: Option<&str>,
) -> Result<Reader, (u16, String, &'static str)> {
    let mut config = reading::defaults(&settings.source);
    config.start = start;
    config.until = reading::Until::CaughtUp(0);
    config.limits.messages = Some(bounds.messages);
    config.limits.batches = config.limits.batches.min(BATCHES);
    if settings.unpaced {
        config.limits.pace = None;
    }
    Reader::open(&config, checkpoint, random(), clock::now(), clock::present()).map_err(|error| match error {
        reading::OpenError::Config(fault) => (500, format!("{}: {}", fault.field, fault.message), "see the settings"),
        reading::OpenError::Checkpoint(reading::CheckpointError::Malformed(why)) => (500, why, UNREADABLE),
        reading::OpenError::Checkpoint(reading::CheckpointError::Foreign(stream)) => (
            500,
            format!("the checkpoint is of another stream: {stream}"),
            "it was deleted and made again under its name? Then delete the key, and reading begins anew",
        ),
    })
}

/// Gives the lease back with nothing done. If that fails, it ends by itself.
fn give_back(store: &mut Store, lease: &mut Lease, checkpoint: Option<String>, answer: Answer) -> Answer {
    lease.release(checkpoint, clock::present());
    let _ = store.settle(lease);
    answer
}

fn unavailable(why: &str) -> Answer {
    Answer::error(503, &format!("the store of the lease does not answer: {why}"), "try again; nothing was read")
        .with("retry-after", "5")
}

fn random() -> u64 {
    wasip2::random::random::get_random_u64()
}

struct Drain<'a> {
    settings: &'a Settings,
    bounds: &'a Bounds,
    /// When the caller's time is over, on the monotonic clock.
    end: u64,
    store: Store,
    lease: Lease,
    epoch: u64,
    reader: Reader,
    progress: Progress,
    flight: Vec<Flying>,
    counts: Counts,
    /// What is to be the answer, where there is no sink.
    lines: Vec<u8>,
    /// Since when, and how many bytes, what is delivered waits for its commit.
    uncommitted: Option<(u64, u64)>,
}

struct Flying {
    id: u64,
    exchange: Exchange,
}

impl Drain<'_> {
    /// Reads and delivers until there is a reason to end.
    fn run(&mut self) -> End {
        let mut unsent = false;
        loop {
            if clock::now() >= self.end {
                return End::Time;
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
                Action::Notice(reading::Notice::Lost(lost)) => self.counts.lost.push(lost),
                Action::Notice(reading::Notice::Retry(_)) => self.counts.retries += 1,
                Action::Notice(reading::Notice::Shard(_)) => {}
                // What was asked for before is still taken.
                Action::Wait(_) if unsent && self.flight.is_empty() => return End::Requests,
                Action::Wait(wait) => self.wait(wait.until),
                Action::Finish(reading::Outcome::Reached) => return End::CaughtUp,
                Action::Finish(reading::Outcome::Exhausted) => return End::Exhausted,
                Action::Finish(reading::Outcome::Limited) => return End::Messages,
                Action::Finish(reading::Outcome::Stopped) => return End::Time,
                Action::Finish(reading::Outcome::Failed(error)) => return End::Failed(report::words(&error)),
            }
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
        match kinesis.post(credentials, &request.target, kind, body, deadline) {
            Ok(exchange) => self.flight.push(Flying { id: request.id, exchange }),
            Err(failure) => self.tell(request.id, Err(failure)),
        }
    }

    /// Waits until an answer comes, or until a time of the reader's, the caller's or the lease's.
    fn wait(&mut self, until: Option<u64>) {
        let mut came = Vec::new();
        self.flight.retain_mut(|flying| match flying.exchange.advance() {
            Some(result) => {
                came.push((flying.id, result));
                false
            }
            None => true,
        });
        if came.is_empty() {
            let now = clock::now();
            let renewal = now + self.lease.left(clock::present()).saturating_sub(self.settings.lease / 2);
            let until = until.unwrap_or(u64::MAX).min(self.end).min(renewal);
            fetch::wait(self.flight.iter().map(|flying| &flying.exchange), until);
            self.reader.handle_timeout(clock::now());
        }
        for (id, result) in came {
            self.tell(id, result);
        }
    }

    fn tell(&mut self, id: u64, result: Result<Response, Failure>) {
        let now = clock::now();
        let told = match result {
            Ok(response) => self.reader.handle_response(id, &lift(response), now),
            Err(Failure::Transient(why)) => self.reader.handle_failure(id, &reading::Failure::Transient(why), now),
            Err(Failure::Permanent(why)) => self.reader.handle_failure(id, &reading::Failure::Permanent(why), now),
        };
        debug_assert!(told.is_ok(), "the identifier is the reader's own");
    }

    fn deliver(&mut self, batch: &Batch) -> Result<(), End> {
        match &self.settings.sink {
            None => pieces(batch).for_each(|piece| self.lines.extend_from_slice(&piece)),
            Some(sink) => self.push(batch, sink)?,
        }
        self.counts.messages += u64::from(batch.count());
        self.counts.bytes += batch.size();
        self.counts.batches += 1;
        let (since, bytes) = self.uncommitted.unwrap_or((clock::now(), 0));
        self.uncommitted = Some((since, bytes + batch.size()));
        let told = self.reader.handle_delivered(batch.id(), clock::now());
        debug_assert!(told.is_ok(), "the batch is the reader's own");
        if self.counts.bytes >= self.bounds.bytes {
            return Err(End::Bytes);
        }
        Ok(())
    }

    fn push(&mut self, batch: &Batch, sink: &Sink) -> Result<(), End> {
        let label = Label { stream: &self.settings.stream, epoch: self.epoch, reason: None };
        // The host may have stopped us for as long as the lease was.
        self.keep_lease()?;
        let deadline = self.delivery_deadline();
        if clock::now() >= self.end {
            return Err(End::Time);
        }
        let refused = match push(batch, sink, &label, deadline) {
            Delivery::Safe => return Ok(()),
            Delivery::Failed(_) if clock::now() >= self.end => return Err(End::Time),
            Delivery::Failed(why) => return Err(End::SinkFailed(why)),
            Delivery::Refused(why) => why,
        };
        let Some(dead_letters) = &self.settings.dead_letters else { return Err(End::Blocked(refused)) };
        let label = Label { reason: Some(&refused), ..label };
        match push(batch, dead_letters, &label, self.delivery_deadline()) {
            Delivery::Safe => {
                self.counts.dead_letters += u64::from(batch.count());
                Ok(())
            }
            Delivery::Failed(why) | Delivery::Refused(why) => Err(End::SinkFailed(format!("dead letters: {why}"))),
        }
    }

    /// By when a delivery must be over: what is left of the sink's time, of the caller's and of the lease.
    fn delivery_deadline(&self) -> u64 {
        (clock::now() + self.settings.sink_timeout).min(self.end).min(self.lease_end())
    }

    /// When the lease ends, on the monotonic clock. Others wait for as long as clocks may be apart beyond that.
    fn lease_end(&self) -> u64 {
        clock::now() + self.lease.left(clock::present())
    }

    /// Commits where it is due, and renews the lease where half of it is over.
    fn keep_lease(&mut self) -> Result<(), End> {
        let due = self.uncommitted.is_some_and(|(since, bytes)| {
            self.settings.sink.is_some()
                && (bytes >= UNCOMMITTED_BYTES_MAX || clock::now() >= since + UNCOMMITTED_TIME_MAX)
        });
        if !due && self.lease.left(clock::present()) > self.settings.lease / 2 {
            return Ok(());
        }
        if self.settings.sink.is_some() {
            self.progress.keep(self.reader.checkpoint());
            self.uncommitted = None;
        }
        self.lease.commit(self.progress.to_text(), clock::present());
        match self.store.settle(&mut self.lease) {
            Outcome::Written => Ok(()),
            Outcome::Lost | Outcome::Held { .. } => Err(End::LeaseLost),
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
                    (Outcome::Lost | Outcome::Held { .. }, _) => End::LeaseLost,
                    (Outcome::Refused(why) | Outcome::Unavailable(why), _) => End::StoreFailed(why),
                }
            }
        };
        report::answer(&end, &self.counts, self.epoch, &shards, ack.map(|ack| (ack, self.lines)))
    }
}

const JSON: &str = "application/x-amz-json-1.1";
const CBOR: &str = "application/x-amz-cbor-1.1";

fn lift(response: Response) -> reading::Response {
    let kind = response.header("content-type").unwrap_or_default();
    let cbor = kind.split(';').next().unwrap_or_default().trim() == CBOR;
    let date = response.header("date").and_then(|date| httpdate::parse_http_date(date).ok());
    let date = date.and_then(|date| date.duration_since(std::time::UNIX_EPOCH).ok());
    reading::Response {
        status: response.status,
        trace: response.header("x-amzn-requestid").map(ToOwned::to_owned),
        date: date.and_then(|date| u64::try_from(date.as_millis()).ok()),
        signed: None,
        body: match cbor {
            true => Body::Cbor(response.body),
            false => Body::Json(
                String::from_utf8(response.body)
                    .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()),
            ),
        },
    }
}
