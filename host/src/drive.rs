//! The driver: polls the reader, does what it asks, and reports back.
//!
//! Requests run concurrently on the runtime. The reader and the destination are called here, one at a time. A batch
//! counts as delivered once the destination has accepted it, so the reader requests the shard's next page at once.
//! [`Destination::commit`] later makes the messages durable together with the checkpoint. No checkpoint is saved in any
//! other way, so a checkpoint never covers a message that is not durable.
//!
//! [`drive`] is given everything it connects: a reader opened at the destination's checkpoint, a transport, a
//! destination, an observer, and a future that interrupts it. The crate's front page has an example.

use std::collections::hash_map::RandomState;
use std::fmt::Write as _;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::cli::error::{Gap, InWords};
use crate::cli::report::state_word;
use crate::component::{self, Action, BatchHandle, Reader, wit};
use crate::destination::{self, Destination, Written};
use crate::terminal::{Clean, clean};
use crate::transport::{self, Transport};

/// How long accepted messages may wait for a commit, and so how much reading a crash may cost.
const UNCOMMITTED_TIME_MAX: Duration = Duration::from_secs(1);

/// The number of written bytes that triggers a commit. One more batch may be written first, which is at most
/// `limits.batch-bytes` of lines. Bytes are counted as written, not as stored in the stream, so that a transaction is
/// bounded whatever the messages expand to.
const UNCOMMITTED_BYTES_MAX: u64 = 32 << 20;

/// A checkpoint of this size, which is that of a few hundred shards, is written only when a commit is due. A smaller
/// one is also written whenever the reader is idle, which is often if messages arrive slowly.
const LARGE_CHECKPOINT: usize = 64 << 10;

/// A body of this size is a page, and is delivered before the reader is given another body. The reader's memory never
/// shrinks, so it should not hold many of them at once.
const LARGE_BODY: usize = 1 << 20;

/// How often progress is reported.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// Observes a run.
pub trait Observer {
    /// The operator should know this.
    fn notice(&mut self, notice: &wit::Notice);

    /// The progress so far. Called from time to time if [`wants_progress`](Self::wants_progress) returns true.
    fn progress(&mut self, _progress: &Progress) {}

    /// Whether to call [`progress`](Self::progress), as collecting progress costs a little.
    fn wants_progress(&self) -> bool {
        false
    }
}

/// An observer that reports notices to `tracing`: gaps as warnings, retries and shards as information.
#[derive(Clone, Copy, Debug, Default)]
pub struct Log;

impl Observer for Log {
    fn notice(&mut self, notice: &wit::Notice) {
        match notice {
            wit::Notice::Gap(gap) => tracing::warn!("{}", Gap(gap)),
            wit::Notice::Retry(error) => tracing::info!("retrying: {}", InWords(error)),
            wit::Notice::Shard(shard) => {
                let (id, parents) = (clean(&shard.shard), shard.parents.iter().map(clean).collect::<Vec<_>>());
                tracing::info!(shard = %id, ?parents, "{}", state_word(shard.state));
            }
        }
    }
}

/// The progress of a run.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Messages and bytes written.
    pub written: Written,
    /// All known shards.
    pub shards: Vec<wit::ShardStatus>,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Why it ended.
    pub outcome: wit::Outcome,
    /// Counts of what the reader did.
    pub totals: wit::Totals,
    /// What was written and committed.
    pub written: Written,
    /// All known shards.
    pub shards: Vec<wit::ShardStatus>,
}

impl Summary {
    /// Returns an error, with a hint, if the run ended in [`Outcome::Failed`](wit::Outcome::Failed).
    pub fn ok(&self) -> Result<(), crate::cli::error::Error> {
        match &self.outcome {
            wit::Outcome::Failed(error) => Err(crate::cli::error::Error::Service(Box::new(error.clone()))),
            wit::Outcome::Reached | wit::Outcome::Exhausted | wit::Outcome::Limited | wit::Outcome::Stopped => Ok(()),
        }
    }
}

/// Why a run was aborted.
#[derive(Debug)]
pub enum Error {
    /// The component failed.
    Component(component::Error),
    /// The destination failed.
    Destination(destination::Error),
}

/// The monotonic clock of a reader and its driver.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// Starts a clock at zero.
    pub fn start() -> Clock {
        Clock(Instant::now())
    }

    /// Milliseconds since the start.
    pub fn now(self) -> u64 {
        self.0.elapsed().as_millis() as u64
    }

    fn of(self, instant: Instant) -> u64 {
        // Rounded up, so that whatever is due at the instant is due at the returned time.
        instant.saturating_duration_since(self.0).as_millis() as u64 + 1
    }

    fn at(self, instant: u64) -> tokio::time::Instant {
        tokio::time::Instant::from_std(self.0 + Duration::from_millis(instant))
    }
}

/// The current time in milliseconds since the Unix epoch, as [`Loaded::open`](component::Loaded::open) takes it.
pub fn present() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

/// A random seed. Readers with different seeds that are throttled together do not retry at the same time. The standard
/// library chooses the keys of its hashers at random.
pub fn seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Drives `reader` until it finishes or `interrupt` completes, and commits everything that was delivered.
///
/// `clock` must be the clock by which the reader was opened. Once `interrupt` completes, no more pages are requested,
/// pages in flight are delivered, and everything is committed. Must be called within a tokio runtime that has I/O and
/// time enabled.
///
/// # Errors
///
/// If the component or the destination fails. If Kinesis refuses a request or does not answer, the summary has the
/// outcome [`Outcome::Failed`](wit::Outcome::Failed) instead, as what was read before is committed.
pub async fn drive<T: Transport>(
    mut reader: Reader,
    transport: Arc<T>,
    destination: &mut dyn Destination,
    observer: &mut dyn Observer,
    clock: Clock,
    interrupt: impl Future<Output = ()>,
) -> Result<Summary, Error> {
    let mut requests = Requests::new(transport, clock);
    let mut ledger = Ledger::new(reader.revision()?);
    let mut interrupt = std::pin::pin!(interrupt);
    let mut interrupted = false;
    let mut reported = Instant::now();

    let outcome = loop {
        let wait = match reader.poll()? {
            Action::Send(request) => {
                requests.start(request);
                continue;
            }
            Action::Deliver(batch) => {
                ledger.deliver(&mut reader, batch, destination, clock)?;
                ledger.commit_if_due(&mut reader, destination)?;
                report_progress(&mut reader, observer, &ledger, &mut reported)?;
                continue;
            }
            Action::Notice(notice) => {
                observer.notice(&notice);
                continue;
            }
            Action::Finish(outcome) => break outcome,
            Action::Wait(wait) => wait,
        };
        // Unless a response is about to arrive, this is a good time to commit.
        if wait.reason != wit::WaitReason::Response {
            ledger.commit_if_cheap(&mut reader, destination)?;
        }
        let until = [wait.until, ledger.due(clock)].into_iter().flatten().min();
        tokio::select! {
            result = requests.wait(&mut reader, until) => result?,
            () = &mut interrupt, if !interrupted => {
                interrupted = true;
                reader.stop(clock.now())?;
            }
        }
        ledger.check_revision(&mut reader)?;
        ledger.commit_if_due(&mut reader, destination)?;
        report_progress(&mut reader, observer, &ledger, &mut reported)?;
    };
    ledger.check_revision(&mut reader)?;
    ledger.commit(&mut reader, destination)?;
    Ok(Summary { outcome, totals: reader.totals()?, written: ledger.written, shards: reader.shards()? })
}

fn report_progress(
    reader: &mut Reader,
    observer: &mut dyn Observer,
    ledger: &Ledger,
    reported: &mut Instant,
) -> Result<(), component::Error> {
    if observer.wants_progress() && reported.elapsed() >= PROGRESS_INTERVAL {
        *reported = Instant::now();
        observer.progress(&Progress { written: ledger.written, shards: reader.shards()? });
    }
    Ok(())
}

/// Keeps track of what was written and is not committed yet.
struct Ledger {
    written: Written,
    /// Bytes written since the last commit.
    uncommitted_bytes: u64,
    /// When the first uncommitted change was made. `None` if there is nothing to commit.
    uncommitted_since: Option<Instant>,
    /// The revision of the checkpoint that was saved last.
    saved_revision: u64,
    /// Whether the positions from which this run reads have been saved.
    has_begun: bool,
    /// Whether the last commit wrote a large checkpoint as a whole.
    wrote_large_checkpoint: bool,
}

impl Ledger {
    fn new(revision: u64) -> Ledger {
        Ledger {
            written: Written::default(),
            uncommitted_bytes: 0,
            uncommitted_since: None,
            saved_revision: revision,
            has_begun: false,
            wrote_large_checkpoint: false,
        }
    }

    /// Hands a batch to the destination, and reports it to the reader as delivered.
    fn deliver(
        &mut self,
        reader: &mut Reader,
        handle: BatchHandle,
        destination: &mut dyn Destination,
        clock: Clock,
    ) -> Result<(), Error> {
        if !self.has_begun {
            // If the first messages are lost in a crash, the next run must begin at the same positions.
            self.uncommitted_since.get_or_insert_with(Instant::now);
            self.commit(reader, destination)?;
            self.has_begun = true;
        }
        let mut batch = reader.batch(&handle)?;
        let id = batch.id;
        let written = destination.write(&mut batch).map_err(Error::from_write)?;
        reader.release(handle)?;
        reader.handle_delivered(id, clock.now())?;
        self.written.messages += written.messages;
        self.written.bytes += written.bytes;
        self.written.invalid += written.invalid;
        self.written.new += written.new;
        self.uncommitted_bytes += written.bytes;
        self.uncommitted_since.get_or_insert_with(Instant::now);
        Ok(())
    }

    /// Checks whether the checkpoint has changed, which also happens without a delivery.
    fn check_revision(&mut self, reader: &mut Reader) -> Result<(), component::Error> {
        if reader.revision()? != self.saved_revision {
            self.uncommitted_since.get_or_insert_with(Instant::now);
        }
        Ok(())
    }

    fn due(&self, clock: Clock) -> Option<u64> {
        self.uncommitted_since.map(|since| clock.of(since + UNCOMMITTED_TIME_MAX))
    }

    fn commit_if_due(&mut self, reader: &mut Reader, destination: &mut dyn Destination) -> Result<(), Error> {
        let is_due = self.uncommitted_since.is_some_and(|since| since.elapsed() >= UNCOMMITTED_TIME_MAX);
        if is_due || self.uncommitted_bytes >= UNCOMMITTED_BYTES_MAX {
            self.commit(reader, destination)?;
        }
        Ok(())
    }

    /// Commits because the reader is idle, unless that is expensive.
    fn commit_if_cheap(&mut self, reader: &mut Reader, destination: &mut dyn Destination) -> Result<(), Error> {
        if self.wrote_large_checkpoint { Ok(()) } else { self.commit(reader, destination) }
    }

    fn commit(&mut self, reader: &mut Reader, destination: &mut dyn Destination) -> Result<(), Error> {
        if self.uncommitted_since.take().is_some() {
            let before = std::mem::replace(&mut self.saved_revision, reader.revision()?);
            let changes = reader.changes(before)?;
            let done = changes.map_or(Ok(false), |changes| destination.commit_changes(&changes));
            self.wrote_large_checkpoint = false;
            if !done.map_err(Error::Destination)? {
                let checkpoint = reader.checkpoint()?;
                destination.commit(&checkpoint).map_err(Error::Destination)?;
                self.wrote_large_checkpoint = checkpoint.len() >= LARGE_CHECKPOINT;
            }
            self.uncommitted_bytes = 0;
        }
        Ok(())
    }
}

/// The requests in flight.
pub(crate) struct Requests<T> {
    transport: Arc<T>,
    clock: Clock,
    started: u64,
    answered: u64,
    sender: mpsc::UnboundedSender<Ended>,
    receiver: UnboundedReceiver<Ended>,
}

struct Ended {
    id: u64,
    result: Result<wit::Response, wit::Failure>,
}

/// Reports how a request ended, even if its task panics.
struct Reporter {
    id: u64,
    /// `None` once reported.
    sender: Option<mpsc::UnboundedSender<Ended>>,
}

impl Reporter {
    fn report(mut self, result: Result<wit::Response, wit::Failure>) {
        self.send(result);
    }

    fn send(&mut self, result: Result<wit::Response, wit::Failure>) {
        if let Some(sender) = self.sender.take() {
            // The receiver is gone once the run has ended.
            let _ = sender.send(Ended { id: self.id, result });
        }
    }
}

impl Drop for Reporter {
    /// A panic is a bug in the transport and would happen again, so the reader should neither wait nor retry.
    fn drop(&mut self) {
        self.send(Err(wit::Failure::Permanent("a bug in the transport ended the request".to_owned())));
    }
}

impl<T: Transport> Requests<T> {
    pub(crate) fn new(transport: Arc<T>, clock: Clock) -> Requests<T> {
        // Unbounded, because the reader limits the number of requests in flight.
        let (sender, receiver) = mpsc::unbounded_channel();
        Requests { transport, clock, started: 0, answered: 0, sender, receiver }
    }

    /// The number of requests in flight.
    pub(crate) fn in_flight(&self) -> usize {
        (self.started - self.answered) as usize
    }

    /// The number of requests whose result the reader has received.
    pub(crate) fn answered(&self) -> u64 {
        self.answered
    }

    pub(crate) fn start(&mut self, request: wit::Request) {
        self.started += 1;
        let transport = self.transport.clone();
        let reporter = Reporter { id: request.id, sender: Some(self.sender.clone()) };
        let timeout = Duration::from_millis(request.deadline.saturating_sub(self.clock.now()));
        tracing::trace!(id = request.id, target = %request.target, shard = request.shard, "sending");
        tokio::spawn(async move {
            let body = match request.body {
                wit::Body::Json(text) => transport::Body::Json(text),
                wit::Body::Cbor(bytes) => transport::Body::Cbor(bytes),
            };
            let request = transport::Request { target: request.target, body, timeout };
            let result = match transport.send(request).await {
                Ok(response) => Ok(to_wit(response)),
                Err(transport::Failure::Transient(why)) => Err(wit::Failure::Transient(why)),
                Err(transport::Failure::Permanent(why)) => Err(wit::Failure::Permanent(why)),
            };
            reporter.report(result);
        });
    }

    /// Waits for a response or until `until`, and passes it to the reader. Responses that are already there are passed
    /// on too, up to the first large one.
    pub(crate) async fn wait(&mut self, reader: &mut Reader, until: Option<u64>) -> Result<(), component::Error> {
        let timer = async {
            match until {
                Some(until) => tokio::time::sleep_until(self.clock.at(until)).await,
                None => std::future::pending().await,
            }
        };
        let mut received = tokio::select! {
            // `self` holds a sender, so the channel never closes.
            received = self.receiver.recv() => received,
            () = timer => {
                return reader.handle_timeout(self.clock.now());
            }
        };
        while let Some(Ended { id, result }) = received {
            self.answered += 1;
            let mut size = 0;
            match result {
                Ok(response) => {
                    size = match &response.body {
                        wit::Body::Json(text) => text.len(),
                        wit::Body::Cbor(bytes) => bytes.len(),
                    };
                    reader.handle_response(id, &response, self.clock.now())?;
                }
                Err(failure) => reader.handle_failure(id, &failure, self.clock.now())?,
            }
            if size >= LARGE_BODY {
                break;
            }
            received = self.receiver.try_recv().ok();
        }
        Ok(())
    }
}

fn to_wit(response: transport::Response) -> wit::Response {
    let transport::Response { status, body, aws_request_id, date, signed } = response;
    let body = match body {
        transport::Body::Json(text) => wit::Body::Json(text),
        transport::Body::Cbor(bytes) => wit::Body::Cbor(bytes),
    };
    wit::Response { status, body, aws_request_id, date, signed }
}

impl destination::Batch for component::Batch<'_> {
    fn shard(&self) -> &str {
        &self.shard
    }

    fn count(&self) -> u32 {
        self.count
    }

    fn lines(&mut self, skip: u32, size: u32) -> Result<destination::Lines, destination::BatchError> {
        let wit::Lines { text, count, invalid } = component::Batch::lines(self, skip, size)?;
        Ok(destination::Lines { text, count, invalid })
    }

    fn invalid_lines(&mut self, skip: u32, size: u32) -> Result<destination::InvalidLines, destination::BatchError> {
        let wit::InvalidLines { text, count, next } = component::Batch::invalid_lines(self, skip, size)?;
        Ok(destination::InvalidLines { text, count, next })
    }

    fn messages(&mut self, skip: u32, size: u32) -> Result<Vec<destination::Message>, destination::BatchError> {
        let messages = component::Batch::messages(self, skip, size)?;
        let convert = |message: wit::Message| destination::Message {
            id: message.id,
            sequence: message.sequence,
            subsequence: message.subsequence,
            partition_key: message.partition_key,
            arrived: message.arrived,
            data: message.data,
        };
        Ok(messages.into_iter().map(convert).collect())
    }
}

impl Error {
    /// A batch that could not be rendered is the component's failure, although it passes through the destination.
    fn from_write(error: destination::Error) -> Error {
        match error {
            destination::Error::Batch(error) => match error.downcast() {
                Ok(error) => Error::Component(*error),
                Err(error) => Error::Destination(destination::Error::Batch(error)),
            },
            error => Error::Destination(error),
        }
    }
}

impl From<component::Error> for Error {
    fn from(error: component::Error) -> Error {
        Error::Component(error)
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::Component(error) => write!(Clean(f), "{error}"),
            Error::Destination(error) => write!(Clean(f), "{error}"),
        }
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    struct Panics;

    impl Transport for Panics {
        async fn send(&self, _: transport::Request) -> Result<transport::Response, transport::Failure> {
            panic!("a bug")
        }
    }

    #[tokio::test]
    async fn a_panic_in_the_transport_is_reported_as_a_failure() {
        let mut requests = Requests::new(Arc::new(Panics), Clock::start());
        requests.start(wit::Request {
            id: 7,
            operation: wit::Operation::GetRecords,
            shard: None,
            target: "Kinesis_20131202.GetRecords".to_owned(),
            body: wit::Body::Json("{}".to_owned()),
            deadline: 30_000,
        });
        let Ended { id, result } = requests.receiver.recv().await.expect("`requests` holds a sender");
        assert_eq!(id, 7);
        let Err(wit::Failure::Permanent(why)) = result else { panic!("{result:?}") };
        assert!(why.contains("a bug in the transport"), "{why}");
        assert_eq!(
            (requests.in_flight(), requests.answered()),
            (1, 0),
            "an answer counts once the reader has received it"
        );
    }
}
