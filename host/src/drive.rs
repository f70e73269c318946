//! The driver: polls the reader, does what it asks, and reports back.
//!
//! Requests run concurrently on the runtime. The reader and the destination are called here, one at a time. A batch
//! counts as delivered once the destination has accepted it, so the reader requests the shard's next page at once.
//! [`Destination::commit`] later makes the messages durable together with the checkpoint. No checkpoint is saved in any
//! other way, so a checkpoint never covers a message that is not durable.
//!
//! [`drive`] is given everything it connects: a reader opened at the destination's checkpoint, a transport, a
//! destination, an observer, and a future that interrupts it. The crate's front page has an example.

mod batch;
mod clock;
mod error;
mod ledger;
mod observer;
mod requests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::bindings::wit;
use crate::component::{self, Action, Reader};
use crate::destination::{Destination, Written};
use crate::random::random;
use crate::transport::Transport;

use ledger::Ledger;

pub use clock::{Clock, present};
pub use error::Error;
pub use observer::{Log, Observer, Progress};
pub(crate) use requests::Requests;

/// How often progress is reported.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

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
    /// Returns the error if the run ended in [`Outcome::Failed`](wit::Outcome::Failed).
    pub fn ok(&self) -> Result<(), Box<wit::ServiceError>> {
        match &self.outcome {
            wit::Outcome::Failed(error) => Err(Box::new(error.clone())),
            wit::Outcome::Reached | wit::Outcome::Exhausted | wit::Outcome::Limited | wit::Outcome::Stopped => Ok(()),
        }
    }
}

/// A random seed. Readers with different seeds that are throttled together do not retry at the same time.
pub fn seed() -> u64 {
    random()
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
