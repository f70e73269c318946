//! The beginning of a drain: the lease is taken, and the reader opened where the last drain ended.
//!
//! What lies in the store is looked at before anything is written: a checkpoint that is damaged or of another stream, or
//! one that is missing where it may not be, ends the drain and stays as it is.

use kinesis_reader_lease::{Lease, Outcome, Value};

use super::{Counts, Drain};
use crate::answer::Answer;
use crate::aws::Correction;
use crate::bounds::Bounds;
use crate::clock;
use crate::deliver::Experience;
use crate::progress::Progress;
use crate::reading::{self, Reader};
use crate::settings::Settings;
use crate::store::{self, Store, random};

/// What to do about a value that is not ours.
pub(crate) const UNREADABLE: &str = "it is left as it is: a later version of this component may have written it, which \
     can read it; if it is damaged, put back what a backup of the store has under this key";

/// What to do about a checkpoint of another stream.
const FOREIGN: &str = "it is left as it is: give each stream a store of its own, by KEY_VALUE_STORE or LEASE_TABLE";

/// What to do where a checkpoint is missing that may not be.
const MISSING: &str = "if the store has lost it, put back what a backup has under this key, as to begin anew may pass \
     over messages; if there never was one, drain once without REQUIRE_CHECKPOINT, which begins at KINESIS_START";

/// What to do about a lease that is held.
const HELD: &str = "try again after the time given; if its holder is gone for good: POST /lease/release";

/// What to do about a lease that is held until a time that no right clock has set.
const AHEAD: &str = "see that the clocks of all hosts that drain this stream are right, then POST /lease/release with \
     the token, which keeps the checkpoint";

/// Pages that are asked for or wait to be delivered: each may take 14 MiB of the instance's memory.
const BATCHES: u32 = 2;

/// Bytes of the lines of a batch, unless fewer are asked for: what a sink is sent at a time. Many take no more than 6 MB in
/// a request.
const BATCH_BYTES: u32 = 4 << 20;

/// Takes the lease and opens the reader, or says why not.
pub(super) fn begin<'a>(settings: &'a Settings, bounds: &'a Bounds, started: u64) -> Result<Drain<'a>, Answer> {
    let mut store = store::open(settings).map_err(|why| unavailable(&why))?;
    let mut lease = Lease::acquire(store::owner(), store::times(settings), clock::present());
    let held = take(&mut store, &mut lease, settings, bounds)?;
    match resume(settings, bounds, &held) {
        Ok((reader, progress)) => Ok(Drain {
            settings,
            bounds,
            end: started.saturating_add(bounds.time),
            store,
            lease,
            epoch: held.epoch,
            begun: is_by_time(settings, &held, &progress).then_some(held.begun),
            reader,
            correction: Correction::default(),
            experience: Experience::default(),
            progress,
            flight: Vec::new(),
            counts: Counts::default(),
            trouble: None,
            lines: Vec::new(),
            uncommitted: None,
        }),
        // Given back with what was there. If that fails, the lease ends by itself.
        Err(answer) => {
            lease.release(held.checkpoint, clock::present());
            let _ = store.settle(&mut lease);
            Err(answer)
        }
    }
}

/// Takes the lease, if what is there can be gone on with.
fn take(store: &mut Store, lease: &mut Lease, settings: &Settings, bounds: &Bounds) -> Result<Value, Answer> {
    let mut refusal = None;
    let outcome = store.settle_if(lease, &mut |bytes| {
        refusal = examine(bytes, settings, bounds).err();
        refusal.is_none()
    });
    if let Some(refusal) = refusal {
        return Err(refusal);
    }
    match outcome {
        Outcome::Written => lease.held().cloned().ok_or_else(|| unavailable("the lease was not read back")),
        Outcome::Held { retry_after } => Err(Answer::error(409, "another drain of this stream is at work", HELD)
            .with("retry-after", retry_after.div_ceil(1000).max(1).to_string())),
        Outcome::Ahead { by } => {
            let error = format!(
                "the lease is held until {} s from now by this host's clock, longer than any lease: the clock of its \
                 holder was wrong, or this one is",
                by.div_ceil(1000)
            );
            Err(Answer::error(409, &error, AHEAD))
        }
        Outcome::Lost | Outcome::Free => Err(unavailable("the lease was lost as it was taken")),
        Outcome::Refused(why) => {
            Err(Answer::error(500, &format!("the value in the store cannot be used: {why}"), UNREADABLE))
        }
        Outcome::Unavailable(why) => Err(unavailable(&why)),
    }
}

/// Whether a drain can go on with what is in the store.
fn examine(bytes: Option<&[u8]>, settings: &Settings, bounds: &Bounds) -> Result<(), Answer> {
    let progress = match bytes.map(Value::parse) {
        None => Progress::default(),
        Some(Ok(value)) => read(value.checkpoint.as_deref())?,
        // The lease says what is wrong with it.
        Some(Err(_)) => return Ok(()),
    };
    for checkpoint in progress.checkpoints() {
        open(settings, bounds, reading::Start::TrimHorizon, Some(checkpoint))?;
    }
    if settings.require_checkpoint && !progress.has_positions() {
        let error = format!("there is no checkpoint in the store under {}", settings.store.key);
        return Err(Answer::error(412, &error, MISSING));
    }
    Ok(())
}

/// Goes on where the value says, with the lines acknowledged that the caller has made safe.
fn resume(settings: &Settings, bounds: &Bounds, held: &Value) -> Result<(Reader, Progress), Answer> {
    let mut progress = read(held.checkpoint.as_deref())?;
    if let Some(ack) = &bounds.ack
        && !progress.acknowledge(ack)
    {
        let error = "no lines of this name wait to be acknowledged";
        return Err(Answer::error(400, error, "drain without `ack`: they come again"));
    }
    let start = match settings.start {
        // Every drain that finds no checkpoint begins at the same time, so nothing falls between two.
        reading::Start::Latest => reading::Start::AtTimestamp(held.begun),
        other => other,
    };
    let reader = open(settings, bounds, start, progress.checkpoint())?;
    Ok((reader, progress))
}

/// Whether reading begins at the time that the first owner noted, and that owner was another.
fn is_by_time(settings: &Settings, held: &Value, progress: &Progress) -> bool {
    matches!(settings.start, reading::Start::Latest) && held.epoch > 1 && !progress.has_positions()
}

fn read(checkpoint: Option<&str>) -> Result<Progress, Answer> {
    Progress::parse(checkpoint).map_err(|why| Answer::error(500, &why, UNREADABLE))
}

fn open(
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
            reading::OpenError::Config(fault) => (format!("{}: {}", fault.field, fault.message), "see the settings"),
            reading::OpenError::Checkpoint(reading::CheckpointError::Malformed(why)) => {
                (format!("the checkpoint in the store cannot be used: {why}"), UNREADABLE)
            }
            reading::OpenError::Checkpoint(reading::CheckpointError::Foreign(stream)) => {
                (format!("the checkpoint is of another stream: {stream}"), FOREIGN)
            }
        };
        Answer::error(500, &error, hint)
    })
}

fn unavailable(why: &str) -> Answer {
    Answer::error(503, &format!("the store of the lease does not answer: {why}"), "try again; nothing was read")
        .with("retry-after", "5")
}
