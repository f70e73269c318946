//! The loop: poll the reader, start what it asks for, await, and tell it what happened.
//!
//! Requests run beside each other on the runtime, while the reader and the destination work here, one call at a time.
//! A batch counts as delivered once the destination has taken it, so that the shard's next page is asked for at once;
//! what makes both safe is [`Destination::commit`], which keeps messages and checkpoint together. No checkpoint is kept
//! but there, so none names a message that is not safe.
//!
//! [`drive`] is given all that it brings together: a reader that was opened at the destination's checkpoint, a
//! transport, a destination, somebody who is told, and what interrupts it. The crate's first page has it in full.

use std::collections::hash_map::RandomState;
use std::fmt::Write as _;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::component::{self, Action, BatchHandle, Reader, wit};
use crate::destination::{self, Destination, Written};
use crate::error::{Gap, InWords};
use crate::report::state_word;
use crate::terminal::{Clean, clean};
use crate::transport::{self, Transport};

/// How long what was taken may wait for its commit: what a crash may cost to read again.
const UNSAFE_TIME_MAX: Duration = Duration::from_secs(1);

/// How many bytes written may wait for their commit, before one batch more is taken, which is at most
/// `limits.batch-bytes` of lines. So a transaction is bounded by what comes of the messages, whatever they were in the
/// stream.
const UNSAFE_BYTES_MAX: u64 = 32 << 20;

/// A checkpoint of this size, some hundreds of shards, that is written whole is written when it is due, and not whenever
/// there is time: where messages trickle in there always is.
const LARGE_CHECKPOINT: usize = 64 << 10;

/// A body of this size is a page that is delivered before the reader is handed another: its memory, which never shrinks,
/// then holds few of them.
const LARGE: usize = 1 << 20;

/// How often progress is told.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// Who is told what happens.
pub trait Observer {
    /// Something that an operator should know.
    fn notice(&mut self, notice: &wit::Notice);

    /// How far the reader is. Told now and then, to those who want it.
    fn progress(&mut self, _progress: &Progress) {}

    /// Whether progress is wanted: it costs a little to find out.
    fn wants_progress(&self) -> bool {
        false
    }
}

/// An observer that hands what it is told to `tracing`: gaps as warnings, retries and shards as information.
#[derive(Clone, Copy, Debug, Default)]
pub struct Log;

impl Observer for Log {
    fn notice(&mut self, notice: &wit::Notice) {
        match notice {
            wit::Notice::Gap(gap) => tracing::warn!("{}", Gap(gap)),
            wit::Notice::Retry(error) => tracing::info!("trying again: {}", InWords(error)),
            wit::Notice::Shard(shard) => {
                let (id, parents) = (clean(&shard.shard), shard.parents.iter().map(clean).collect::<Vec<_>>());
                tracing::info!(shard = %id, ?parents, "{}", state_word(shard.state));
            }
        }
    }
}

/// How far a reader is.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Messages and bytes written.
    pub written: Written,
    /// The shards known.
    pub shards: Vec<wit::ShardStatus>,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Why it ended.
    pub outcome: wit::Outcome,
    /// What was done.
    pub totals: wit::Totals,
    /// What was written and is safe.
    pub written: Written,
    /// Every shard known.
    pub shards: Vec<wit::ShardStatus>,
}

impl Summary {
    /// An error where reading failed: the words, and a hint, for what [`Outcome::Failed`](wit::Outcome::Failed) holds.
    pub fn ok(&self) -> Result<(), crate::error::Error> {
        match &self.outcome {
            wit::Outcome::Failed(error) => Err(crate::error::Error::Service(Box::new(error.clone()))),
            wit::Outcome::Reached | wit::Outcome::Exhausted | wit::Outcome::Limited | wit::Outcome::Stopped => Ok(()),
        }
    }
}

/// Why a run did not come to an end of its own.
#[derive(Debug)]
pub enum Error {
    /// The component failed.
    Component(component::Error),
    /// The destination failed.
    Destination(destination::Error),
}

/// What a driver needs to know of time: the monotonic clock that a reader is told of.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// A clock that begins here.
    pub fn start() -> Clock {
        Clock(Instant::now())
    }

    /// Milliseconds since it began.
    pub fn now(self) -> u64 {
        self.0.elapsed().as_millis() as u64
    }

    fn of(self, instant: Instant) -> u64 {
        // Rounded up, so that at this time it is due.
        instant.saturating_duration_since(self.0).as_millis() as u64 + 1
    }

    fn at(self, instant: u64) -> tokio::time::Instant {
        tokio::time::Instant::from_std(self.0 + Duration::from_millis(instant))
    }
}

/// The time in the calendar as [`Loaded::open`](component::Loaded::open) takes it: milliseconds since the Unix epoch.
pub fn present() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

/// A number that differs from run to run, so that readers that are throttled together come back apart: the standard
/// library draws the keys of its hashers at random.
pub fn seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Drives `reader` to its end, or until `interrupt` comes, and leaves everything safe that was taken.
///
/// `clock` is the one by which the reader was opened. The interrupt is awaited once: when it comes, no more pages are
/// asked for, and what is out is made safe. Must be called within a tokio runtime with its I/O and time enabled.
///
/// # Errors
///
/// Where the component or the destination fails. What Kinesis refuses, and what does not answer, is no error here but
/// an [`Outcome::Failed`](wit::Outcome::Failed) of the summary, for what was read before it is safe.
pub async fn drive<T: Transport>(
    mut reader: Reader,
    transport: Arc<T>,
    destination: &mut dyn Destination,
    observer: &mut dyn Observer,
    clock: Clock,
    interrupt: impl Future<Output = ()>,
) -> Result<Summary, Error> {
    let mut flight = Flight::new(transport, clock);
    let mut ledger = Ledger::new(reader.revision()?);
    let mut interrupt = std::pin::pin!(interrupt);
    let mut interrupted = false;
    let mut told = Instant::now();

    let outcome = loop {
        let wait = match reader.poll()? {
            Action::Send(request) => {
                flight.launch(request);
                continue;
            }
            Action::Deliver(batch) => {
                ledger.take(&mut reader, batch, destination, clock)?;
                ledger.commit_if_due(&mut reader, destination)?;
                tell(&mut reader, observer, &ledger, &mut told)?;
                continue;
            }
            Action::Notice(notice) => {
                observer.notice(&notice);
                continue;
            }
            Action::Finish(outcome) => break outcome,
            Action::Wait(wait) => wait,
        };
        // With nothing on its way there is time to make safe what was taken.
        if wait.reason != wit::WaitReason::Response {
            ledger.commit_at_leisure(&mut reader, destination)?;
        }
        let until = [wait.until, ledger.due(clock)].into_iter().flatten().min();
        tokio::select! {
            told = flight.wait(&mut reader, until) => told?,
            () = &mut interrupt, if !interrupted => {
                interrupted = true;
                reader.stop(clock.now())?;
            }
        }
        ledger.watch(&mut reader)?;
        ledger.commit_if_due(&mut reader, destination)?;
        tell(&mut reader, observer, &ledger, &mut told)?;
    };
    ledger.watch(&mut reader)?;
    ledger.commit(&mut reader, destination)?;
    Ok(Summary { outcome, totals: reader.totals()?, written: ledger.written, shards: reader.shards()? })
}

fn tell(
    reader: &mut Reader,
    observer: &mut dyn Observer,
    ledger: &Ledger,
    told: &mut Instant,
) -> Result<(), component::Error> {
    if observer.wants_progress() && told.elapsed() >= PROGRESS_INTERVAL {
        *told = Instant::now();
        observer.progress(&Progress { written: ledger.written, shards: reader.shards()? });
    }
    Ok(())
}

/// What is taken and not yet safe.
struct Ledger {
    written: Written,
    /// Bytes taken since the last commit.
    unsafe_bytes: u64,
    /// Since when there is something to commit.
    since: Option<Instant>,
    /// The checkpoint that is kept, by its revision.
    kept: u64,
    /// The positions from which this run reads are kept.
    begun: bool,
    /// The last commit wrote a large checkpoint whole.
    wrote_much: bool,
}

impl Ledger {
    fn new(revision: u64) -> Ledger {
        Ledger {
            written: Written::default(),
            unsafe_bytes: 0,
            since: None,
            kept: revision,
            begun: false,
            wrote_much: false,
        }
    }

    /// Hands a batch to the destination, and tells the reader.
    fn take(
        &mut self,
        reader: &mut Reader,
        handle: BatchHandle,
        destination: &mut dyn Destination,
        clock: Clock,
    ) -> Result<(), Error> {
        if !self.begun {
            // So that what a crash leaves of the first messages is known as theirs, and the next run begins where
            // this one did.
            self.since.get_or_insert_with(Instant::now);
            self.commit(reader, destination)?;
            self.begun = true;
        }
        let mut batch = reader.batch(&handle)?;
        let id = batch.id;
        let written = destination.write(&mut batch).map_err(Error::of_write)?;
        reader.release(handle)?;
        reader.handle_delivered(id, clock.now())?;
        self.written.messages += written.messages;
        self.written.bytes += written.bytes;
        self.written.invalid += written.invalid;
        self.written.new += written.new;
        self.unsafe_bytes += written.bytes;
        self.since.get_or_insert_with(Instant::now);
        Ok(())
    }

    /// Sees whether the checkpoint moved, which it does without messages too.
    fn watch(&mut self, reader: &mut Reader) -> Result<(), component::Error> {
        if reader.revision()? != self.kept {
            self.since.get_or_insert_with(Instant::now);
        }
        Ok(())
    }

    fn due(&self, clock: Clock) -> Option<u64> {
        self.since.map(|since| clock.of(since + UNSAFE_TIME_MAX))
    }

    fn commit_if_due(&mut self, reader: &mut Reader, destination: &mut dyn Destination) -> Result<(), Error> {
        let late = self.since.is_some_and(|since| since.elapsed() >= UNSAFE_TIME_MAX);
        if late || self.unsafe_bytes >= UNSAFE_BYTES_MAX {
            self.commit(reader, destination)?;
        }
        Ok(())
    }

    /// Commits where there is time and it costs little.
    fn commit_at_leisure(&mut self, reader: &mut Reader, destination: &mut dyn Destination) -> Result<(), Error> {
        if self.wrote_much { Ok(()) } else { self.commit(reader, destination) }
    }

    fn commit(&mut self, reader: &mut Reader, destination: &mut dyn Destination) -> Result<(), Error> {
        if self.since.take().is_some() {
            let before = std::mem::replace(&mut self.kept, reader.revision()?);
            let changes = reader.changes(before)?;
            let done = changes.map_or(Ok(false), |changes| destination.commit_changes(&changes));
            self.wrote_much = false;
            if !done.map_err(Error::Destination)? {
                let checkpoint = reader.checkpoint()?;
                destination.commit(&checkpoint).map_err(Error::Destination)?;
                self.wrote_much = checkpoint.len() >= LARGE_CHECKPOINT;
            }
            self.unsafe_bytes = 0;
        }
        Ok(())
    }
}

/// Requests on their way.
pub(crate) struct Flight<T> {
    transport: Arc<T>,
    clock: Clock,
    launched: u64,
    answered: u64,
    landing: mpsc::UnboundedSender<Answer>,
    answers: UnboundedReceiver<Answer>,
}

struct Answer {
    id: u64,
    result: Result<wit::Response, wit::Failure>,
}

/// Reports how a request ended, even if its task panics.
struct Landing {
    id: u64,
    /// None once reported.
    answers: Option<mpsc::UnboundedSender<Answer>>,
}

impl Landing {
    fn land(mut self, result: Result<wit::Response, wit::Failure>) {
        self.send(result);
    }

    fn send(&mut self, result: Result<wit::Response, wit::Failure>) {
        if let Some(answers) = self.answers.take() {
            // Nobody listens any more once the run has ended.
            let _ = answers.send(Answer { id: self.id, result });
        }
    }
}

impl Drop for Landing {
    /// A panic is a bug in the transport and would happen again, so the reader should neither wait nor retry.
    fn drop(&mut self) {
        self.send(Err(wit::Failure::Permanent("a bug in the transport ended the request".to_owned())));
    }
}

impl<T: Transport> Flight<T> {
    pub(crate) fn new(transport: Arc<T>, clock: Clock) -> Flight<T> {
        // The reader bounds the requests that are out, and with them what may wait here.
        let (landing, answers) = mpsc::unbounded_channel();
        Flight { transport, clock, launched: 0, answered: 0, landing, answers }
    }

    /// The number of requests in flight.
    pub(crate) fn out(&self) -> usize {
        (self.launched - self.answered) as usize
    }

    /// The number of requests that have ended.
    pub(crate) fn answered(&self) -> u64 {
        self.answered
    }

    pub(crate) fn launch(&mut self, request: wit::Request) {
        self.launched += 1;
        let transport = self.transport.clone();
        let landing = Landing { id: request.id, answers: Some(self.landing.clone()) };
        let timeout = Duration::from_millis(request.deadline.saturating_sub(self.clock.now()));
        tracing::trace!(id = request.id, target = %request.target, shard = request.shard, "sending");
        tokio::spawn(async move {
            let body = match request.body {
                wit::Body::Json(text) => transport::Body::Json(text),
                wit::Body::Cbor(bytes) => transport::Body::Cbor(bytes),
            };
            let asked = transport::Request { target: request.target, body, timeout };
            let result = match transport.send(asked).await {
                Ok(response) => Ok(lift(response)),
                Err(transport::Failure::Transient(why)) => Err(wit::Failure::Transient(why)),
                Err(transport::Failure::Permanent(why)) => Err(wit::Failure::Permanent(why)),
            };
            landing.land(result);
        });
    }

    /// Waits for an answer, and for those that came with it unless it is large, or until `until`; and tells the reader.
    pub(crate) async fn wait(&mut self, reader: &mut Reader, until: Option<u64>) -> Result<(), component::Error> {
        let come = async {
            match until {
                Some(until) => tokio::time::sleep_until(self.clock.at(until)).await,
                None => std::future::pending().await,
            }
        };
        let mut landed = tokio::select! {
            // It holds a sender itself, so the channel does not close.
            landed = self.answers.recv() => landed,
            () = come => {
                return reader.handle_timeout(self.clock.now());
            }
        };
        while let Some(Answer { id, result }) = landed {
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
            if size >= LARGE {
                break;
            }
            landed = self.answers.try_recv().ok();
        }
        Ok(())
    }
}

fn lift(response: transport::Response) -> wit::Response {
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
        let lift = |message: wit::Message| destination::Message {
            id: message.id,
            sequence: message.sequence,
            subsequence: message.subsequence,
            partition_key: message.partition_key,
            arrived: message.arrived,
            data: message.data,
        };
        Ok(messages.into_iter().map(lift).collect())
    }
}

impl Error {
    /// A batch that the component could not render is no fault of the destination's, through which it passes.
    fn of_write(error: destination::Error) -> Error {
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
            panic!("this transport does")
        }
    }

    #[tokio::test]
    async fn a_request_whose_task_dies_is_an_error_at_once() {
        let mut flight = Flight::new(Arc::new(Panics), Clock::start());
        flight.launch(wit::Request {
            id: 7,
            operation: wit::Operation::GetRecords,
            shard: None,
            target: "Kinesis_20131202.GetRecords".to_owned(),
            body: wit::Body::Json("{}".to_owned()),
            deadline: 30_000,
        });
        let Answer { id, result } = flight.answers.recv().await.expect("the flight holds a sender");
        assert_eq!(id, 7);
        let Err(wit::Failure::Permanent(why)) = result else { panic!("{result:?}") };
        assert!(why.contains("a bug in the transport"), "{why}");
        assert_eq!((flight.out(), flight.answered()), (1, 0), "an answer counts once the reader has it");
    }
}
