//! Begins a drain: takes the lease, and opens the reader where the last drain ended.
//!
//! The value in the store is checked before anything is written. If its checkpoint is damaged or belongs to another
//! stream, or if a required checkpoint is missing, the drain ends and the value stays as it is.

use kinesis_reader_lease::{Lease, Outcome, Value};

use crate::answer::Answer;
use crate::bindings::reading::{self, Reader};
use crate::bounds::Bounds;
use crate::clock;
use crate::progress::Progress;
use crate::settings::Settings;
use crate::store::{self, Store, random};

pub(crate) const UNREADABLE_HINT: &str = "the value was not changed; if a later version of this component wrote it, \
     use that version; if it is damaged, restore what a backup of the store has under this key";

const FOREIGN_HINT: &str = "the value was not changed; give each stream a store of its own with KEY_VALUE_STORE or \
     LEASE_TABLE";

const MISSING_HINT: &str = "if the store has lost it, restore what a backup has under this key, because starting over \
     may skip messages; if there never was one, drain once without REQUIRE_CHECKPOINT, which starts at KINESIS_START";

const HELD_HINT: &str = "try again after the time in Retry-After; if its holder is gone for good, POST /lease/release";

const AHEAD_HINT: &str = "check the clocks of all hosts that drain this stream, then POST /lease/release with the \
     token, which keeps the checkpoint";

/// The number of pages that may be requested or waiting for delivery. Each can take 14 MiB of the instance's memory.
const BATCHES: u32 = 2;

/// The bytes of lines in a batch, which is what a sink gets at a time, unless the caller asks for less. Many sinks
/// accept no more than 6 MB in a request.
const BATCH_BYTES: u32 = 4 << 20;

/// A drain that has the lease and an open reader.
pub(super) struct Begun {
    pub(super) store: Store,
    pub(super) lease: Lease,
    pub(super) epoch: u64,
    /// The time of an earlier first owner, if reading starts there for lack of a checkpoint.
    pub(super) start_time: Option<u64>,
    pub(super) reader: Reader,
    pub(super) progress: Progress,
}

/// Takes the lease and opens the reader, or returns the error to answer with.
pub(super) fn begin(settings: &Settings, bounds: &Bounds) -> Result<Begun, Answer> {
    let mut store = store::open(settings).map_err(|why| unavailable(&why))?;
    let mut lease = Lease::acquire(store::new_owner(), store::lease_settings(settings), clock::present());
    let held = acquire(&mut store, &mut lease, settings, bounds)?;
    match resume(settings, bounds, &held) {
        Ok((reader, progress)) => Ok(Begun {
            store,
            lease,
            epoch: held.epoch,
            start_time: starts_at_first_owner(settings, &held, &progress).then_some(held.begun),
            reader,
            progress,
        }),
        // Gives the lease back with the old checkpoint. If that fails, the lease ends by itself.
        Err(answer) => {
            lease.release(held.checkpoint, clock::present());
            let _ = store.run(&mut lease);
            Err(answer)
        }
    }
}

/// Takes the lease, if we can continue from the value in the store.
fn acquire(store: &mut Store, lease: &mut Lease, settings: &Settings, bounds: &Bounds) -> Result<Value, Answer> {
    let mut refusal = None;
    let outcome = store.run_if(lease, &mut |bytes| {
        refusal = check_value(bytes, settings, bounds).err();
        refusal.is_none()
    });
    if let Some(refusal) = refusal {
        return Err(refusal);
    }
    match outcome {
        Outcome::Written => lease.held().cloned().ok_or_else(|| unavailable("the lease was not read back")),
        Outcome::Held { retry_after } => Err(Answer::error(409, "another drain holds the lease", HELD_HINT)
            .with("retry-after", retry_after.div_ceil(1000).max(1).to_string())),
        Outcome::Ahead { by } => {
            let error = format!(
                "the lease ends in {} s by this host's clock, later than any lease can: its holder's clock was wrong, \
                 or this one is",
                by.div_ceil(1000)
            );
            Err(Answer::error(409, &error, AHEAD_HINT))
        }
        Outcome::Lost | Outcome::Free => Err(unavailable("the lease was lost while taking it")),
        Outcome::Refused(why) => {
            Err(Answer::error(500, &format!("cannot use the value in the store: {why}"), UNREADABLE_HINT))
        }
        Outcome::Unavailable(why) => Err(unavailable(&why)),
    }
}

/// Checks whether a drain can continue from the value in the store.
fn check_value(bytes: Option<&[u8]>, settings: &Settings, bounds: &Bounds) -> Result<(), Answer> {
    let progress = match bytes.map(Value::parse) {
        None => Progress::default(),
        Some(Ok(value)) => parse_progress(value.checkpoint.as_deref())?,
        // The lease reports what is wrong with it.
        Some(Err(_)) => return Ok(()),
    };
    for checkpoint in progress.checkpoints() {
        open_reader(settings, bounds, reading::Start::TrimHorizon, Some(checkpoint))?;
    }
    if settings.require_checkpoint && !progress.has_positions() {
        let error = format!("no checkpoint in the store under this key: {}", settings.store.key);
        return Err(Answer::error(412, &error, MISSING_HINT));
    }
    Ok(())
}

/// Continues where the value says, after acknowledging the lines that the caller names.
fn resume(settings: &Settings, bounds: &Bounds, held: &Value) -> Result<(Reader, Progress), Answer> {
    let mut progress = parse_progress(held.checkpoint.as_deref())?;
    if let Some(ack) = &bounds.ack
        && !progress.acknowledge(ack)
    {
        let error = "no lines with this name are waiting to be acknowledged";
        return Err(Answer::error(400, error, "drain without `ack` to get the lines again"));
    }
    let start = match settings.start {
        // All drains that find no checkpoint start at the same time, so nothing is skipped between them.
        reading::Start::Latest => reading::Start::AtTimestamp(held.begun),
        other => other,
    };
    let reader = open_reader(settings, bounds, start, progress.checkpoint())?;
    Ok((reader, progress))
}

/// Whether reading starts at the time of the first owner, and that owner was not this drain.
fn starts_at_first_owner(settings: &Settings, held: &Value, progress: &Progress) -> bool {
    matches!(settings.start, reading::Start::Latest) && held.epoch > 1 && !progress.has_positions()
}

fn parse_progress(checkpoint: Option<&str>) -> Result<Progress, Answer> {
    Progress::parse(checkpoint).map_err(|why| Answer::error(500, &why, UNREADABLE_HINT))
}

fn open_reader(
    settings: &Settings,
    bounds: &Bounds,
    start: reading::Start,
    checkpoint: Option<&str>,
) -> Result<Reader, Answer> {
    let mut config = reading::defaults(&settings.source);
    config.start = start;
    config.recreated = settings.recreated;
    config.until = reading::Until::CaughtUp(0);
    config.limits.max_messages = Some(bounds.messages);
    config.limits.batches = config.limits.batches.min(BATCHES);
    config.limits.batch_bytes = u32::try_from(bounds.bytes).map_or(BATCH_BYTES, |bytes| bytes.min(BATCH_BYTES));
    if settings.unpaced {
        config.limits.pace = None;
    }
    Reader::open(&config, checkpoint, random(), clock::now(), clock::present()).map_err(|error| {
        let (error, hint) = match error {
            reading::OpenError::Config(error) => (format!("{}: {}", error.field, error.message), "check the settings"),
            reading::OpenError::Checkpoint(reading::CheckpointError::Malformed(why)) => {
                (format!("cannot use the checkpoint in the store: {why}"), UNREADABLE_HINT)
            }
            reading::OpenError::Checkpoint(reading::CheckpointError::Foreign(stream)) => {
                (format!("the checkpoint belongs to another stream: {stream}"), FOREIGN_HINT)
            }
        };
        Answer::error(500, &error, hint)
    })
}

fn unavailable(why: &str) -> Answer {
    Answer::error(503, &format!("cannot use the store: {why}"), "try again; nothing was read").with("retry-after", "5")
}
