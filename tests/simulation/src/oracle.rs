//! Judges what the reader does, from the stream itself and from the reader's inputs and actions.
//!
//! The oracle knows nothing about how the reader works. It follows the position in each shard by the answers that
//! reached the reader and the batches that were reported as delivered, and checks:
//!
//! - **Delivery**: the messages of a shard are its records in order, from where the run had to begin, each exactly
//!   once. Records may be missing only if they have left the stream, and then the reader must have reported a gap,
//!   unless the service skipped them silently.
//! - **Checkpoint**: for each shard seen, it names exactly what was reported as delivered.
//! - **Lineage**: a shard is read only after all its parents that are still in the stream are delivered to their ends.
//! - **Rate limits**: requests, batches, their lines and the pace stay within their bounds, and each wait is for
//!   something that will happen.
//! - **Outcome**: when the reader says that it has reached its end, nothing is missing.

mod ledger;
mod rate_limits;

use std::collections::{BTreeMap, BTreeSet};

use kinesis_reader_machine::{Batch, BatchId, Cause, Gap, Instant, Message, Outcome, Request, Start, Until};
use serde_json::Value;

pub use ledger::Ledger;
use rate_limits::RateLimits;

use crate::kinesis::stream::{Record, Shard};
use crate::kinesis::{Facts, Listed, Page, Refusal, StartingPosition, Stream};

/// What the reader did although it must not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation(pub String);

/// The result of a check.
pub type Check = Result<(), Violation>;

macro_rules! violation {
    ($($words:tt)*) => { Err($crate::oracle::Violation(format!($($words)*))) };
}
use violation;

/// The reader's position in a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Position {
    /// The reader does not know the shard.
    Unknown,
    /// Before the oldest record.
    Oldest,
    /// Before the first record that arrived at some time between `earliest` and `latest`, or later. With LATEST, `tip`
    /// is the shard's tip when the iterator was requested, and the first message may be as late as that.
    From { earliest: u64, latest: u64, tip: Option<usize> },
    /// Everything before this point is delivered.
    Before(Point),
    /// At the end, without having read the shard: it was closed when the run with LATEST began.
    Skipped,
}

/// A point in a shard: before a record, or between the messages of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    pub record: usize,
    /// The number of the record's messages that are before the point. It is less than the number of messages in the
    /// record.
    pub within: usize,
}

impl Point {
    /// The point before a record.
    pub fn at(record: usize) -> Point {
        Point { record, within: 0 }
    }

    /// Returns the point before a message, or `None` if the message does not belong to the shard.
    fn before(message: &Message, shard: &Shard) -> Option<Point> {
        let record = shard.position(&message.sequence)?;
        let within = match message.subsequence {
            Some(wanted) => shard.messages(&shard.records[record]).position(|(number, _)| number == wanted)?,
            None => 0,
        };
        Some(Point { record, within })
    }

    /// Returns the point after the message that follows this point.
    fn next(self, shard: &Shard) -> Point {
        match self.within + 1 {
            within if within < shard.count(&shard.records[self.record]) => Point { within, ..self },
            _ => Point::at(self.record + 1),
        }
    }

    /// Returns the subsequence number of the message before this point, if that belongs to the same record.
    fn subsequence(self, shard: &Shard) -> Option<u32> {
        let before = self.within.checked_sub(1)?;
        shard.messages(shard.records.get(self.record)?).nth(before).map(|(number, _)| number)
    }
}

/// The messages of a shard between two points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub shard: usize,
    pub from: Point,
    pub to: Point,
}

impl Span {
    /// Returns the records that the span touches, and which of their messages are in it.
    fn records(self, shard: &Shard) -> impl Iterator<Item = (&Record, std::ops::Range<usize>)> {
        let last = if self.to.within > 0 { self.to.record + 1 } else { self.to.record };
        (self.from.record..last.max(self.from.record)).map(move |number| {
            let record = &shard.records[number];
            let from = if number == self.from.record { self.from.within } else { 0 };
            let to = if number == self.to.record { self.to.within } else { shard.count(record) };
            (record, from..to)
        })
    }

    /// Returns how many user records of other shards are skipped within the span.
    fn foreign(self, shard: &Shard) -> u64 {
        let skipped =
            |point: Point| point.subsequence(shard).map_or(0, |number| u64::from(number) + 1 - point.within as u64);
        let whole: u64 = shard.records[self.from.record..self.to.record]
            .iter()
            .map(|record| (record.users.len().max(1) - shard.count(record)) as u64)
            .sum();
        whole + skipped(self.to) - skipped(self.from)
    }
}

/// How far the reader is in a shard.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    pub position: Position,
    /// Whether the reader reported a gap and has delivered nothing since.
    pub gap: bool,
    /// The service silently skipped records before this one, because they had left the stream.
    pub skipped_to: usize,
}

/// The maximum number of consecutive unusable listings, or of other invalid answers.
const WRONGS_MAX: u32 = 4;

/// The maximum number of consecutive listings that lack a shard.
const STALE_LISTINGS_MAX: u32 = 12;

/// How far from the signature of its request a `Date` is believed, in milliseconds.
const CLOCK_WINDOW: u64 = 6 * 60_000;

/// The maximum number of consecutive pages of a listing without a new shard.
const BARREN_PAGES_MAX: u32 = 50;

const UNKNOWN: Progress = Progress { position: Position::Unknown, gap: false, skipped_to: 0 };

/// The progress in each shard, by its index in the stream.
pub type ShardProgress = BTreeMap<usize, Progress>;

/// The settings of a run that matter to the oracle.
#[derive(Clone, Debug)]
pub struct Settings {
    pub start: Start,
    pub until: Until,
    pub messages: Option<u64>,
    pub failures: Option<u32>,
    pub requests: usize,
    pub batches: usize,
    pub batch_bytes: u64,
    pub pace: Option<u8>,
    pub idle_interval_ms: u64,
    pub backoff_first_ms: u64,
    pub list_interval_ms: u64,
    /// When the run was opened, by the service's clock.
    pub opened: u64,
    /// How far the reader's estimate of the service's time may be off.
    pub clock_uncertainty_ms: u64,
    /// How old the view of the stream in a listing may be.
    pub stale_ms: u64,
    /// Whether the checkpoint belongs to an earlier stream of the same name.
    pub recreated: bool,
}

/// The oracle's view of a run.
pub struct Run {
    pub settings: Settings,
    pub progress: ShardProgress,
    /// Whether the run began from a checkpoint with positions, so that the start does not matter.
    resumed: bool,
    /// Whether a listing was completed.
    listed: bool,
    /// Whether any answer reached the reader.
    answered: bool,
    /// When the first answer that was not an error reached the reader. LATEST is between the opening and this time.
    first_success: Option<u64>,
    /// The shards in the current listing so far.
    listing: Vec<Listed>,
    /// The number of consecutive pages of the current listing without a new shard.
    barren_pages: u32,
    /// Whether the current listing is unusable.
    unusable: bool,
    /// The number of answers that contradict themselves or earlier ones.
    wrongs: u32,
    /// The number of consecutive listings that were unusable.
    restarts: u32,
    /// The number of listings since one named a parent that none of them shows.
    lacking: Option<u32>,
    pub rate_limits: RateLimits,
    /// The batches that are not yet delivered.
    out: BTreeMap<BatchId, Span>,
    /// The bytes of lines in the last batch of a shard, unless a page came since. The next batch is of the same page,
    /// and its first line must not have fit.
    filled: BTreeMap<usize, u64>,
    /// The number of messages in all batches.
    messages: u64,
    /// The number of user records of other shards that were skipped.
    foreign: u64,
    /// Shards with a message that arrived after the opening, so that the tip at that time is passed.
    past_tip: BTreeSet<usize>,
    /// Shards of which the reader saw an empty last page that names children.
    ended: BTreeSet<usize>,
    /// The gaps that the reader reported.
    gaps: BTreeSet<(usize, Position)>,
    /// The number of failures that may count towards giving up.
    failures: u32,
    fatal: bool,
    /// Whether a signature was refused after some other failure.
    signature_refused: bool,
    pub stopped: bool,
}

impl Run {
    /// Creates a run that begins with the progress of its checkpoint.
    pub fn new(settings: Settings, saved: Option<&ShardProgress>) -> Run {
        let mut progress = saved.cloned().unwrap_or_default();
        progress.retain(|_, shard| shard.position != Position::Unknown);
        Run {
            resumed: !progress.is_empty(),
            rate_limits: RateLimits::new(&settings),
            settings,
            progress,
            listed: false,
            answered: false,
            first_success: None,
            listing: Vec::new(),
            barren_pages: 0,
            unusable: false,
            wrongs: 0,
            restarts: 0,
            lacking: None,
            out: BTreeMap::new(),
            filled: BTreeMap::new(),
            messages: 0,
            foreign: 0,
            past_tip: BTreeSet::new(),
            ended: BTreeSet::new(),
            gaps: BTreeSet::new(),
            failures: 0,
            fatal: false,
            signature_refused: false,
            stopped: false,
        }
    }

    pub fn progress(&self, shard: usize) -> Progress {
        self.progress.get(&shard).copied().unwrap_or(UNKNOWN)
    }

    fn progress_mut(&mut self, shard: usize) -> &mut Progress {
        self.progress.entry(shard).or_insert(UNKNOWN)
    }

    /// An answer reached the reader in time.
    pub fn on_answer(&mut self, facts: &Facts, stream: &Stream, now: u64) -> Check {
        self.answered = true;
        if !matches!(facts, Facts::Invalid | Facts::Refused(_)) {
            self.first_success.get_or_insert(now);
        }
        match facts {
            Facts::Described => {}
            Facts::Listed { shards, first, last, unusable, lacks_parent, repeats: _ } => {
                if *lacks_parent {
                    self.lacking.get_or_insert(0);
                }
                self.on_listing_page(shards, *first, *last, *unusable)?;
                self.check_listing_count(stream, now)?;
            }
            Facts::Invalid => self.wrongs += 1,
            Facts::Iterator { shard, requested, position, clamped } => {
                if !self.settings.recreated {
                    self.check_iterator(*requested, &stream.shards[*shard], self.progress(*shard))?;
                }
                let progress = self.progress_mut(*shard);
                if let Position::From { tip: tip @ None, .. } = &mut progress.position
                    && *requested == StartingPosition::Latest
                {
                    *tip = Some(*position);
                }
                if *clamped {
                    progress.skipped_to = *position;
                }
            }
            Facts::Read(page) => {
                let tip_time = self.first_success.unwrap_or(now) + 2_000 + self.settings.clock_uncertainty_ms;
                let records = stream.shards[page.shard].records.get(page.from..page.to).unwrap_or(&[]);
                let is_late = records.iter().any(|record| record.arrived > tip_time);
                if page.has_next && is_late && !self.repeats(page) {
                    self.past_tip.insert(page.shard);
                }
                self.on_page(page);
            }
            Facts::Refused(refusal) => match refusal {
                Refusal::Fatal => self.fatal = true,
                // The reader retries only once to see whether credentials or clock were corrected.
                Refusal::Credentials | Refusal::Clock if self.failures > 0 => self.signature_refused = true,
                Refusal::ExpiredToken => {
                    self.failures += 1;
                    self.restarts += 1;
                }
                Refusal::Transient | Refusal::Expired | Refusal::NotFound | Refusal::Credentials | Refusal::Clock => {
                    self.failures += 1
                }
                Refusal::Throttled | Refusal::Trimmed | Refusal::Denied => {}
            },
        }
        Ok(())
    }

    /// An iterator must point to the reader's position in the shard, so that no record is repeated or skipped.
    fn check_iterator(&self, requested: StartingPosition, shard: &Shard, progress: Progress) -> Check {
        use StartingPosition::{After, At, Latest, Oldest, Time};
        let fits = match (requested, progress.position) {
            (_, Position::Unknown | Position::Skipped) => false,
            (Oldest, _) if progress.gap => true,
            (Oldest, Position::Oldest | Position::Before(Point { record: 0, within: 0 })) => true,
            (Latest, Position::From { tip, .. }) => !self.resumed && tip.is_none(),
            (Time(time), Position::From { earliest, latest, .. }) => (earliest..=latest).contains(&time),
            (After(next), Position::Before(position)) => Point::at(next) == position,
            // Some of the record's messages are still to come.
            (At(record), Position::Before(position)) => record == position.record && position.within > 0,
            (Oldest | Latest | Time(_) | At(_) | After(_), _) => false,
        };
        if fits { Ok(()) } else { violation!("an iterator of {} at {requested:?}: {progress:?}", shard.id) }
    }

    /// A request failed without an answer.
    pub fn on_failure(&mut self) {
        self.failures += 1;
    }

    /// Whether a page begins before the reader's position. The reader may refuse such a page.
    fn repeats(&self, page: &Page) -> bool {
        matches!(self.progress(page.shard).position, Position::Before(next) if page.from < next.record)
    }

    fn on_page(&mut self, page: &Page) {
        if page.from < page.to && self.repeats(page) {
            self.wrongs += 1;
        }
        self.filled.remove(&page.shard);
        if page.iterator_at < page.from {
            self.progress_mut(page.shard).skipped_to = page.from;
        }
        if page.end && page.from == page.to && !page.children.is_empty() {
            self.ended.insert(page.shard);
        }
        if !page.has_next && page.children.is_empty() {
            self.failures += 1;
        }
        for &child in &page.children {
            let progress = self.progress_mut(child);
            if progress.position == Position::Unknown {
                progress.position = Position::Oldest;
            }
        }
    }

    /// A page of a listing that has further pages reached the reader at this time.
    pub fn on_partial_listing(&mut self, now: Instant) {
        if !self.unusable && self.barren_pages < BARREN_PAGES_MAX {
            self.rate_limits.on_listing_page(self.barren_pages > 0, now);
        }
    }

    /// As long as listings lack a shard, another listing must follow a pause or some other event.
    fn check_listing_count(&self, stream: &Stream, now: u64) -> Check {
        let regular = (now - self.settings.opened) / self.settings.list_interval_ms;
        let most = 2 * STALE_LISTINGS_MAX as usize + stream.shards.len() + self.failures as usize + regular as usize;
        match self.lacking {
            Some(listings) if listings as usize > most => violation!("{listings} listings that lack a shard"),
            Some(_) | None => Ok(()),
        }
    }

    fn on_listing_page(&mut self, shards: &[Listed], first: bool, last: bool, unusable: bool) -> Check {
        if first {
            self.listing.clear();
            (self.barren_pages, self.unusable) = (0, false);
        }
        let is_new = |listed: &Listed| self.listing.iter().all(|known| known.shard != listed.shard);
        self.barren_pages = if shards.iter().any(is_new) { 0 } else { self.barren_pages + 1 };
        if self.barren_pages > BARREN_PAGES_MAX {
            return violation!("a listing continued after {BARREN_PAGES_MAX} pages without a new shard");
        }
        self.listing.extend(shards);
        if unusable && !self.unusable || self.barren_pages >= BARREN_PAGES_MAX {
            self.restarts += 1;
        }
        self.unusable |= unusable;
        if last && !self.unusable {
            self.restarts = 0;
            self.lacking = self.lacking.map(|listings| listings + 1);
            self.complete_listing();
        }
        Ok(())
    }

    fn complete_listing(&mut self) {
        let first = !self.listed && !self.resumed;
        let latest = self.first_success.unwrap_or(self.settings.opened);
        // `Date` headers have whole seconds, and an answer takes some time. The date of an answer that takes longer than a
        // signature may be off is not believed, so the time is known less exactly.
        let is_late = latest.saturating_sub(self.settings.opened) + 2_000 > CLOCK_WINDOW;
        let uncertainty = self.settings.clock_uncertainty_ms + if is_late { CLOCK_WINDOW } else { 0 };
        let earliest = self.settings.opened.saturating_sub(2_000 + uncertainty);
        for listed in &self.listing {
            let progress = self.progress.entry(listed.shard).or_insert(UNKNOWN);
            if progress.position != Position::Unknown {
                continue;
            }
            progress.position = match self.settings.start {
                _ if !first => Position::Oldest,
                Start::TrimHorizon => Position::Oldest,
                // A time in the future counts as the present.
                Start::AtTimestamp(time) => {
                    Position::From { earliest: time.0.min(earliest), latest: time.0.min(latest), tip: None }
                }
                Start::Latest if listed.open => Position::From { earliest, latest, tip: None },
                Start::Latest => Position::Skipped,
            };
        }
        self.listed = true;
    }

    /// The reader asked for a batch to be delivered.
    pub fn on_batch(&mut self, batch: &Batch, stream: &Stream, ledger: &mut Ledger) -> Check {
        let Some(index) = stream.find(batch.shard()).filter(|_| !self.settings.recreated) else {
            return violation!("a batch of an unknown shard: {}", batch.shard());
        };
        let shard = &stream.shards[index];
        if self.stopped {
            return violation!("a batch of {} after the stop", shard.id);
        }
        let messages = batch.messages(0, u32::MAX);
        let ends = (messages.first().zip(messages.last()))
            .and_then(|(first, last)| Some((Point::before(first, shard)?, Point::before(last, shard)?.next(shard))));
        let Some((from, to)) = ends.filter(|(from, to)| from < to) else {
            return violation!("messages of {} that are out of order or of another shard: {messages:?}", shard.id);
        };
        let span = Span { shard: index, from, to };
        let expected: usize = span.records(shard).map(|(_, part)| part.len()).sum();
        if messages.len() as u32 != batch.count() || messages.len() != expected {
            let (got, count) = (messages.len(), batch.count());
            return violation!("{got} messages of {}, with a count of {count}, instead of {expected}", shard.id);
        }
        self.check_first_message(index, from, shard)?;
        let lines = check_lines(batch, &messages)?;
        self.check_batch_size(index, batch, &lines)?;
        if self.out.values().any(|out| out.shard == index) {
            return violation!("two undelivered batches of {}", shard.id);
        }
        let mut rest = messages.iter();
        for (record, part) in span.records(shard) {
            ledger.compare(index, shard, record, part.start, rest.by_ref().take(part.len()))?;
            if let Until::Time(end) = self.settings.until
                && record.arrived >= end.0
            {
                return violation!(
                    "a message of {} that arrived {} ms after the end",
                    shard.id,
                    record.arrived - end.0
                );
            }
        }
        self.messages += messages.len() as u64;
        self.foreign += span.foreign(shard);
        if self.settings.messages.is_some_and(|most| self.messages > most) {
            return violation!("{} messages instead of {:?}", self.messages, self.settings.messages);
        }
        self.out.insert(batch.id(), span);
        self.rate_limits.on_batch(self.out.len())?;
        ledger.skip(index, self.progress(index).position, from.record);
        Ok(())
    }

    /// A batch must stay within its bound, unless it is a single line. If others of its page follow, it must be as full
    /// as possible.
    fn check_batch_size(&mut self, index: usize, batch: &Batch, lines: &[u64]) -> Check {
        let (most, bytes) = (self.settings.batch_bytes, lines.iter().sum());
        if bytes > most && lines.len() > 1 {
            let count = lines.len();
            return violation!("a batch of {} with {count} lines and {bytes} bytes instead of {most}", batch.shard());
        }
        let first = lines.first().copied().unwrap_or(0);
        match self.filled.insert(index, bytes) {
            Some(filled) if filled + first <= most => {
                violation!("the batch before, of {filled} bytes of {most}, had room for a line of {first} bytes")
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Whether the next batch of this shard continues the page of the last one.
    pub fn continues_page(&self, shard: &str, stream: &Stream) -> bool {
        stream.find(shard).is_some_and(|index| self.filled.contains_key(&index))
    }

    /// Checks that the next message of a shard may be the one after this point.
    fn check_first_message(&self, index: usize, point: Point, shard: &Shard) -> Check {
        let progress = self.progress(index);
        let from = point.record;
        let trimmed = from <= shard.gone;
        let fits = match progress.position {
            Position::Before(next) if next == point => true,
            // Only the rest of a record begins within it.
            _ if point.within > 0 => false,
            Position::Unknown | Position::Skipped => false,
            Position::Oldest => trimmed,
            Position::From { earliest, latest, tip } => {
                let last = shard.at(latest).max(tip.unwrap_or(0));
                // Arrival times are not exact, so a record that truly arrived later is fine as well.
                let first = shard.at(earliest).min(shard.put_before(earliest)).min(tip.unwrap_or(usize::MAX));
                first <= from && (from <= last || trimmed)
            }
            Position::Before(next) => next < point && trimmed && (progress.gap || from <= progress.skipped_to),
        };
        if fits {
            return Ok(());
        }
        violation!("{} continues with {point:?}, with {} records gone: {progress:?}", shard.id, shard.gone)
    }

    /// Returns what an undelivered batch holds.
    pub fn span(&self, id: BatchId) -> Option<Span> {
        self.out.get(&id).copied()
    }

    /// Returns the number of messages in all batches.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// Returns the number of user records of other shards that were skipped.
    pub fn foreign(&self) -> u64 {
        self.foreign
    }

    /// A batch was reported as delivered.
    pub fn on_delivered(&mut self, id: BatchId) {
        let Some(Span { shard, to, .. }) = self.out.remove(&id) else { return };
        let progress = self.progress_mut(shard);
        progress.position = Position::Before(to);
        progress.gap = false;
        self.rate_limits.on_delivered();
    }

    /// The reader reported a gap.
    pub fn on_gap(&mut self, gap: &Gap, stream: &Stream) -> Check {
        let Some(index) = stream.find(&gap.shard) else {
            return violation!("a gap in an unknown shard: {}", gap.shard);
        };
        let shard = &stream.shards[index];
        let progress = self.progress(index);
        let (after, trimmed) = match progress.position {
            Position::Before(next) if next > Point::at(0) => {
                let last = if next.within > 0 { next.record } else { next.record - 1 };
                (shard.records.get(last), last < shard.gone)
            }
            Position::Before(_) | Position::Unknown | Position::Oldest | Position::From { .. } | Position::Skipped => {
                (None, false)
            }
        };
        if gap.after.as_deref() != after.map(|record| record.sequence.as_str()) {
            return violation!("a gap in {} after {:?}, but its position is {progress:?}", shard.id, gap.after);
        }
        if !trimmed && shard.expired.is_none() {
            return violation!("a false gap in {}, with {} records gone: {progress:?}", shard.id, shard.gone);
        }
        if !self.gaps.insert((index, progress.position)) && shard.expired.is_none() {
            return violation!("the gap in {} was reported twice", shard.id);
        }
        self.progress_mut(index).gap = true;
        Ok(())
    }

    /// Checks that a checkpoint names, for each shard that the reader knows, what was reported as delivered.
    pub fn check_checkpoint(&self, text: &str, stream: &Stream) -> Check {
        let Ok(text) = serde_json::from_str::<Value>(text) else { return violation!("not JSON: {text}") };
        if self.settings.recreated {
            return Ok(());
        }
        for (&index, progress) in &self.progress {
            let shard = &stream.shards[index];
            let position = &text["shards"][&shard.id];
            let after = position["after"].as_str();
            let done = || !shard.is_open() && self.reaches(index, shard.records.len(), shard);
            let fits = match progress.position {
                _ if position["at"] == "end" => done(),
                _ if self.ended.contains(&index) => false,
                Position::Unknown => position.is_null(),
                Position::Before(next) if next.within > 0 => {
                    after == Some(&shard.records[next.record].sequence)
                        && position["sub"].as_u64() == next.subsequence(shard).map(u64::from)
                }
                Position::Before(next) if next.record > 0 => {
                    after == Some(&shard.records[next.record - 1].sequence) && position["sub"].is_null()
                }
                Position::Before(_) | Position::Oldest => position["at"] == "trim-horizon",
                Position::From { earliest, latest, .. } => {
                    position["at"].as_u64().is_some_and(|position| (earliest..=latest).contains(&position))
                }
                Position::Skipped => false,
            };
            // A checkpoint may forget a shard that was read to its end and has left the stream.
            if !(fits || position.is_null() && shard.expired.is_some() && done()) {
                return violation!("a checkpoint with {} at {position} instead of {progress:?}", shard.id);
            }
        }
        Ok(())
    }

    /// Checks that the parents of a shard are done, before it is read.
    pub fn check_parents(&self, id: &str, stream: &Stream) -> Check {
        let Some(index) = stream.find(id) else { return violation!("an unknown shard: {id}") };
        for &parent in &stream.shards[index].parents {
            let shard = &stream.shards[parent];
            let done = shard.expired.is_some() || !shard.is_open() && self.reaches(parent, shard.records.len(), shard);
            if !done {
                let progress = self.progress(parent);
                return violation!("{id} is read before its parent {}, which is at {progress:?}", shard.id);
            }
        }
        Ok(())
    }

    /// Checks that a run up to the tip does not read a shard any more once it is past the tip at the opening.
    pub fn check_still_needed(&self, request: &Request, stream: &Stream) -> Check {
        let Some(index) = request.shard.as_deref().and_then(|id| stream.find(id)) else { return Ok(()) };
        let past = self.past_tip.contains(&index) && stream.shards[index].is_open();
        match self.settings.until {
            Until::CaughtUp(_) if past => violation!("a request beyond the tip at the opening: {request:?}"),
            Until::CaughtUp(_) | Until::Time(_) | Until::Stopped => Ok(()),
        }
    }

    /// Whether all records of a shard before the index `need` are delivered, not wanted, or in a reported gap.
    fn reaches(&self, index: usize, need: usize, shard: &Shard) -> bool {
        let progress = self.progress(index);
        let skipped = progress.skipped_to.max(if progress.gap { shard.gone } else { 0 });
        let reached = match progress.position {
            Position::Unknown | Position::Oldest => shard.gone,
            Position::From { latest, tip, .. } => tip.unwrap_or(0).max(shard.at(latest)).max(shard.gone),
            Position::Before(next) => next.record.max(skipped),
            Position::Skipped => shard.records.len(),
        };
        // The reader cannot miss a shard that it never knew.
        reached >= need || shard.expired.is_some() && (progress.gap || progress.position == Position::Unknown)
    }

    /// Checks that the reader may finish with this outcome.
    pub fn check_outcome(&self, outcome: &Outcome, stream: &Stream, now: u64) -> Check {
        if !self.out.is_empty() {
            return violation!("finished with {} undelivered batches", self.out.len());
        }
        match outcome {
            Outcome::Reached => {}
            Outcome::Exhausted if stream.open().is_empty() => {}
            Outcome::Exhausted => return violation!("exhausted, but the stream is open"),
            Outcome::Limited if self.settings.messages == Some(self.messages) => return Ok(()),
            Outcome::Limited => {
                return violation!("limited after {} messages of {:?}", self.messages, self.settings.messages);
            }
            Outcome::Stopped if self.stopped => return Ok(()),
            Outcome::Stopped => return violation!("stopped without having been told to"),
            Outcome::Failed(error) => {
                // If nothing ever answered, the reader may give up early.
                let most = self.settings.failures.map(|most| if !self.answered { most.min(4) } else { most });
                let wrongs = self.restarts.max(self.wrongs);
                let too_many = most.is_some_and(|most| self.failures >= most || wrongs >= most.min(WRONGS_MAX));
                return match error.cause {
                    _ if self.fatal || self.signature_refused || too_many => Ok(()),
                    _ if most.is_some() && self.lacking.is_some_and(|listings| listings > STALE_LISTINGS_MAX) => Ok(()),
                    Cause::Recreated(_) if self.settings.recreated => Ok(()),
                    _ => violation!("failed without a reason: {error:?}"),
                };
            }
        }
        if self.fatal || self.settings.recreated {
            return violation!("reached its end in spite of a permanent failure");
        }
        for (index, shard) in stream.shards.iter().enumerate() {
            let need = self.needed(shard, now)?;
            if !self.reaches(index, need, shard) {
                let (id, gone, progress) = (&shard.id, shard.gone, self.progress(index));
                return violation!("{id} must be read up to record {need}, with {gone} gone: {progress:?}");
            }
        }
        Ok(())
    }

    /// Returns how many records of a shard a run that reached its end must have processed.
    fn needed(&self, shard: &Shard, now: u64) -> Result<usize, Violation> {
        let opened = self.settings.opened;
        Ok(match self.settings.until {
            // A stale listing may show its parents as open, and then it is enough to catch up with them.
            Until::CaughtUp(_) if !shard.parents.is_empty() && shard.created + self.settings.stale_ms > opened => 0,
            Until::CaughtUp(behind) => {
                let behind = behind.as_millis() as u64;
                let tip = match shard.records.iter().take_while(|record| record.put < opened).last() {
                    Some(last) if behind > 0 => last.arrived,
                    Some(_) | None => opened,
                };
                shard.put_before(tip.min(opened).saturating_sub(behind))
            }
            Until::Time(end) => {
                if now < end.0 {
                    return violation!("reached its end {} ms early", end.0 - now);
                }
                let past = shard.records.iter().take_while(|record| record.arrived < end.0).count();
                shard.put_before(end.0).min(past)
            }
            Until::Stopped => return violation!("reached its end although the run is unbounded"),
        })
    }
}

/// Renders a batch in pieces, checks each line against its message, and returns the lengths of the lines.
fn check_lines(batch: &Batch, messages: &[Message]) -> Result<Vec<u64>, Violation> {
    let mut done = 0;
    let mut lengths = Vec::new();
    while done < batch.count() {
        let lines = batch.lines(done, 700);
        let texts: Vec<&str> = lines.text.lines().collect();
        if lines.count == 0 || texts.len() != lines.count as usize || !lines.text.ends_with('\n') {
            return violation!("{} lines, but a count of {}", texts.len(), lines.count);
        }
        for (text, message) in texts.into_iter().zip(&messages[done as usize..]) {
            let Ok(line) = serde_json::from_str::<Value>(text) else {
                return violation!("a line that is not JSON: {text}");
            };
            let envelope = &line["_kinesis"];
            let same = envelope["seq_no"] == message.sequence.as_str()
                && envelope["shard_id"] == batch.shard()
                && envelope["partition"].as_str() == message.partition_key.as_deref()
                && envelope["sub_seq"].as_u64() == message.subsequence.map(u64::from)
                && line["_kinesis_msg_id"] == message.id.as_str();
            if !same {
                return violation!("a line that differs from its message: {text}, {message:?}");
            }
        }
        lengths.extend(lines.text.split_inclusive('\n').map(|line| line.len() as u64));
        done += lines.count;
    }
    Ok(lengths)
}
