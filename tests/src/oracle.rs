//! What must hold, judged from the stream itself and from what the reader was told and asked for.
//!
//! The oracle knows nothing of how the reader works. It follows each shard's position by the answers that reached the
//! reader and the batches reported as delivered, and compares:
//!
//! - **Delivery**: the messages of a shard are its records in order, from where the run had to begin, none left out
//!   and none twice. Only records that have left the stream may be missing, and then the reader told so - or could not
//!   know, because the service passed over them in silence.
//! - **Checkpoint**: it names for each shard seen exactly what was reported as delivered.
//! - **Lineage**: a shard is read only once all its parents that are still there are delivered to their ends.
//! - **RateLimits**: requests, batches, their lines and the pace stay in their bounds, each wait is for something that is
//!   due.
//! - **Ends**: when the reader says that it has reached its end, nothing is missing.

mod ledger;
mod rate_limits;

use std::collections::{BTreeMap, BTreeSet};

use kinesis_reader_machine::{Batch, BatchId, Cause, Gap, Instant, Message, Outcome, Request, Start, Until};
use serde_json::Value;

pub use ledger::Ledger;
use rate_limits::RateLimits;

use crate::kinesis::stream::{Record, Shard};
use crate::kinesis::{Asked, Facts, Listed, Page, Refusal, Stream};

/// What the reader did and may not do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation(pub String);

/// A judgement.
pub type Judged = Result<(), Violation>;

macro_rules! violation {
    ($($words:tt)*) => { Err($crate::oracle::Violation(format!($($words)*))) };
}
use violation;

/// Where the reader is in a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Position {
    /// It has not heard of the shard.
    Unheard,
    /// Before the oldest record.
    Oldest,
    /// Before the first record that arrived between `earliest` and `latest` or later. With LATEST, `tip` is where the
    /// shard's tip was when the reader asked for it, and the first message may be as late as that one.
    From { earliest: u64, latest: u64, tip: Option<usize> },
    /// All before this point is delivered.
    Before(Spot),
    /// After all, without having read it: it was closed when LATEST was asked for.
    Passed,
}

/// A point in a shard: before a record, or behind some of the messages of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spot {
    pub record: usize,
    /// The messages of the record that are before the point: fewer than it has.
    pub within: usize,
}

impl Spot {
    /// Before a record.
    pub fn at(record: usize) -> Spot {
        Spot { record, within: 0 }
    }

    /// Where a message begins. None: it is not of the shard.
    fn before(message: &Message, shard: &Shard) -> Option<Spot> {
        let record = shard.position(&message.sequence)?;
        let within = match message.subsequence {
            Some(wanted) => shard.messages(&shard.records[record]).position(|(number, _)| number == wanted)?,
            None => 0,
        };
        Some(Spot { record, within })
    }

    /// Behind the message that begins here.
    fn next(self, shard: &Shard) -> Spot {
        match self.within + 1 {
            within if within < shard.count(&shard.records[self.record]) => Spot { within, ..self },
            _ => Spot::at(self.record + 1),
        }
    }

    /// The number in its record of the message before this point, if that is of the same record.
    fn subsequence(self, shard: &Shard) -> Option<u32> {
        let before = self.within.checked_sub(1)?;
        shard.messages(shard.records.get(self.record)?).nth(before).map(|(number, _)| number)
    }
}

/// The messages of a shard between two points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub shard: usize,
    pub from: Spot,
    pub to: Spot,
}

impl Span {
    /// Of each record that has a part in it, which of its messages.
    fn records(self, shard: &Shard) -> impl Iterator<Item = (&Record, std::ops::Range<usize>)> {
        let last = if self.to.within > 0 { self.to.record + 1 } else { self.to.record };
        (self.from.record..last.max(self.from.record)).map(move |number| {
            let record = &shard.records[number];
            let from = if number == self.from.record { self.from.within } else { 0 };
            let to = if number == self.to.record { self.to.within } else { shard.count(record) };
            (record, from..to)
        })
    }

    /// How many user records of other shards are passed over in it.
    fn foreign(self, shard: &Shard) -> u64 {
        let passed =
            |spot: Spot| spot.subsequence(shard).map_or(0, |number| u64::from(number) + 1 - spot.within as u64);
        let whole: u64 = shard.records[self.from.record..self.to.record]
            .iter()
            .map(|record| (record.users.len().max(1) - shard.count(record)) as u64)
            .sum();
        whole + passed(self.to) - passed(self.from)
    }
}

/// A shard as the reader should see it.
#[derive(Clone, Copy, Debug)]
pub struct Track {
    pub position: Position,
    /// The reader told that records are lost, and has delivered nothing since.
    pub lost: bool,
    /// The service passed over records before this one in silence, because they had left the stream.
    pub passed_over: usize,
}

/// The maximum number of consecutive listings that cannot be used, and of other wrong responses.
const WRONGS_MAX: u32 = 4;

/// The number of consecutive listings that may lack a shard.
const STALE_LISTINGS_MAX: u32 = 12;

/// The maximum number of consecutive pages of a listing without a new shard.
const BARREN_PAGES_MAX: u32 = 50;

const UNHEARD: Track = Track { position: Position::Unheard, lost: false, passed_over: 0 };

/// What a checkpoint stands for: the tracks at the time when it was taken.
pub type Tracks = BTreeMap<usize, Track>;

/// How a run is set up, as far as it matters to its judgement.
#[derive(Clone, Debug)]
pub struct Terms {
    pub start: Start,
    pub until: Until,
    pub messages: Option<u64>,
    pub failures: Option<u32>,
    pub requests: usize,
    pub batches: usize,
    pub batch_bytes: u64,
    pub pace: Option<u8>,
    pub backoff_first_ms: u64,
    pub list_interval_ms: u64,
    /// When the run was opened, by the service's clock.
    pub opened: u64,
    /// How far from the service's time the reader may hold it to be.
    pub doubt_ms: u64,
    /// How long ago a listing's stream may be.
    pub stale_ms: u64,
    /// The checkpoint is of an earlier stream of the same name.
    pub recreated: bool,
}

/// A run under judgement.
pub struct Run {
    pub terms: Terms,
    pub tracks: Tracks,
    /// There was a checkpoint with positions: the start does not count.
    resumed: bool,
    listed: bool,
    /// An answer reached the reader, of whatever kind.
    answered: bool,
    /// When the first answer that was no refusal reached the reader: LATEST is between the opening and then.
    heard: Option<u64>,
    /// The shards of the listing that is under way.
    listing: Vec<Listed>,
    /// Consecutive pages of it without a new shard.
    barren: u32,
    /// It cannot be used.
    wrong: bool,
    /// Responses that contradict themselves or earlier ones.
    wrongs: u32,
    /// Consecutive listings that could not be used.
    restarts: u32,
    /// The number of listings since one named a parent that none shows.
    lacking: Option<u32>,
    pub rate_limits: RateLimits,
    out: BTreeMap<BatchId, Span>,
    /// The bytes of lines in the last batch of a shard, where no page came since: what follows is of the same page, and
    /// did not fit.
    filled: BTreeMap<usize, u64>,
    handed: u64,
    /// User records of other shards that were passed over.
    foreign: u64,
    /// Shards of which a message came that arrived after the opening: the tip of that time is passed.
    past: BTreeSet<usize>,
    /// Shards of which the reader saw an empty last page that names what follows.
    ended: BTreeSet<usize>,
    /// Gaps that were told of.
    told: BTreeSet<(usize, Position)>,
    /// How much went wrong that may count towards giving up.
    troubles: u32,
    fatal: bool,
    /// Credentials were refused after something else went wrong.
    unsigned: bool,
    pub stopped: bool,
}

impl Run {
    /// A run that begins where the tracks of its checkpoint say.
    pub fn new(terms: Terms, saved: Option<&Tracks>) -> Run {
        let mut tracks = saved.cloned().unwrap_or_default();
        tracks.retain(|_, track| track.position != Position::Unheard);
        Run {
            resumed: !tracks.is_empty(),
            rate_limits: RateLimits::new(&terms),
            terms,
            tracks,
            listed: false,
            answered: false,
            heard: None,
            listing: Vec::new(),
            barren: 0,
            wrong: false,
            wrongs: 0,
            restarts: 0,
            lacking: None,
            out: BTreeMap::new(),
            filled: BTreeMap::new(),
            handed: 0,
            foreign: 0,
            past: BTreeSet::new(),
            ended: BTreeSet::new(),
            told: BTreeSet::new(),
            troubles: 0,
            fatal: false,
            unsigned: false,
            stopped: false,
        }
    }

    pub fn track(&self, shard: usize) -> Track {
        self.tracks.get(&shard).copied().unwrap_or(UNHEARD)
    }

    /// An answer reached the reader in time.
    pub fn answered(&mut self, facts: &Facts, stream: &Stream, now: u64) -> Judged {
        self.answered = true;
        if !matches!(facts, Facts::Garbled | Facts::Refused(_)) {
            self.heard.get_or_insert(now);
        }
        match facts {
            Facts::Described => {}
            Facts::Listed { shards, first, last, wrong, lacks, again: _ } => {
                if *lacks {
                    self.lacking.get_or_insert(0);
                }
                self.page_of_listing(shards, *first, *last, *wrong)?;
                self.waits_for_listings(stream, now)?;
            }
            Facts::Garbled => self.wrongs += 1,
            Facts::Sought { shard, asked, position, clamped } => {
                if !self.terms.recreated {
                    self.seeks_its_position(*asked, &stream.shards[*shard], self.track(*shard))?;
                }
                let track = self.tracks.entry(*shard).or_insert(UNHEARD);
                if let Position::From { tip: tip @ None, .. } = &mut track.position
                    && *asked == Asked::Latest
                {
                    *tip = Some(*position);
                }
                if *clamped {
                    track.passed_over = *position;
                }
            }
            Facts::Read(page) => {
                let passed = self.heard.unwrap_or(now) + 2_000 + self.terms.doubt_ms;
                let records = stream.shards[page.shard].records.get(page.from..page.to).unwrap_or(&[]);
                let is_late = records.iter().any(|record| record.arrived > passed);
                if page.goes_on && is_late && !self.repeats(page) {
                    self.past.insert(page.shard);
                }
                self.read(page);
            }
            Facts::Refused(refusal) => match refusal {
                Refusal::Fatal => self.fatal = true,
                // One more try is enough to see that they were set right.
                Refusal::Credentials | Refusal::Clock if self.troubles > 0 => self.unsigned = true,
                Refusal::ExpiredToken => {
                    self.troubles += 1;
                    self.restarts += 1;
                }
                Refusal::Transient | Refusal::Expired | Refusal::NotFound | Refusal::Credentials | Refusal::Clock => {
                    self.troubles += 1
                }
                Refusal::Throttled | Refusal::Trimmed | Refusal::Denied => {}
            },
        }
        Ok(())
    }

    /// An iterator points to where the reader is in the shard: no record is asked for again, and none passed over.
    fn seeks_its_position(&self, asked: Asked, shard: &Shard, track: Track) -> Judged {
        let fits = match (asked, track.position) {
            (_, Position::Unheard | Position::Passed) => false,
            (Asked::Oldest, _) if track.lost => true,
            (Asked::Oldest, Position::Oldest | Position::Before(Spot { record: 0, within: 0 })) => true,
            (Asked::Latest, Position::From { tip, .. }) => !self.resumed && tip.is_none(),
            (Asked::Time(time), Position::From { earliest, latest, .. }) => (earliest..=latest).contains(&time),
            (Asked::After(next), Position::Before(position)) => Spot::at(next) == position,
            // Some of its messages are still to come.
            (Asked::At(record), Position::Before(position)) => record == position.record && position.within > 0,
            (Asked::Oldest | Asked::Latest | Asked::Time(_) | Asked::At(_) | Asked::After(_), _) => false,
        };
        if fits { Ok(()) } else { violation!("an iterator of {} is asked for at {asked:?}: {track:?}", shard.id) }
    }

    /// A request came to nothing.
    pub fn troubled(&mut self) {
        self.troubles += 1;
    }

    /// Whether a page begins before the reader's position. The reader may refuse such a page.
    fn repeats(&self, page: &Page) -> bool {
        matches!(self.track(page.shard).position, Position::Before(next) if page.from < next.record)
    }

    fn read(&mut self, page: &Page) {
        if page.from < page.to && self.repeats(page) {
            self.wrongs += 1;
        }
        self.filled.remove(&page.shard);
        if page.asked < page.from {
            self.tracks.entry(page.shard).or_insert(UNHEARD).passed_over = page.from;
        }
        if page.end && page.from == page.to && !page.children.is_empty() {
            self.ended.insert(page.shard);
        }
        if !page.goes_on && page.children.is_empty() {
            self.troubles += 1;
        }
        for &child in &page.children {
            let track = self.tracks.entry(child).or_insert(UNHEARD);
            if track.position == Position::Unheard {
                track.position = Position::Oldest;
            }
        }
    }

    /// A page of a listing that has further pages reached the reader, which was told this time.
    pub fn listing_goes_on(&mut self, told: Instant) {
        if !self.wrong && self.barren < BARREN_PAGES_MAX {
            self.rate_limits.listed(self.barren > 0, told);
        }
    }

    /// While listings lack a shard, the next one must follow after a pause, or because of another event.
    fn waits_for_listings(&self, stream: &Stream, now: u64) -> Judged {
        let usual = (now - self.terms.opened) / self.terms.list_interval_ms;
        let most = 2 * STALE_LISTINGS_MAX as usize + stream.shards.len() + self.troubles as usize + usual as usize;
        match self.lacking {
            Some(listings) if listings as usize > most => violation!("{listings} listings, and one shard is lacking"),
            Some(_) | None => Ok(()),
        }
    }

    fn page_of_listing(&mut self, shards: &[Listed], first: bool, last: bool, wrong: bool) -> Judged {
        if first {
            self.listing.clear();
            (self.barren, self.wrong) = (0, false);
        }
        let is_new = |listed: &Listed| self.listing.iter().all(|known| known.shard != listed.shard);
        self.barren = if shards.iter().any(is_new) { 0 } else { self.barren + 1 };
        if self.barren > BARREN_PAGES_MAX {
            return violation!("a listing is gone on with after {BARREN_PAGES_MAX} pages that brought nothing");
        }
        self.listing.extend(shards);
        if wrong && !self.wrong || self.barren >= BARREN_PAGES_MAX {
            self.restarts += 1;
        }
        self.wrong |= wrong;
        if last && !self.wrong {
            self.restarts = 0;
            self.lacking = self.lacking.map(|listings| listings + 1);
            self.complete_listing();
        }
        Ok(())
    }

    fn complete_listing(&mut self) {
        let first = !self.listed && !self.resumed;
        // The service tells whole seconds, and an answer takes its time.
        let earliest = self.terms.opened.saturating_sub(2_000 + self.terms.doubt_ms);
        let latest = self.heard.unwrap_or(self.terms.opened);
        for listed in &self.listing {
            let track = self.tracks.entry(listed.shard).or_insert(UNHEARD);
            if track.position != Position::Unheard {
                continue;
            }
            track.position = match self.terms.start {
                _ if !first => Position::Oldest,
                Start::TrimHorizon => Position::Oldest,
                // A time to come is taken as the present.
                Start::AtTimestamp(time) => {
                    Position::From { earliest: time.0.min(earliest), latest: time.0.min(latest), tip: None }
                }
                Start::Latest if listed.open => Position::From { earliest, latest, tip: None },
                Start::Latest => Position::Passed,
            };
        }
        self.listed = true;
    }

    /// The reader gave out a batch.
    pub fn delivers(&mut self, batch: &Batch, stream: &Stream, ledger: &mut Ledger) -> Judged {
        let Some(index) = stream.find(batch.shard()).filter(|_| !self.terms.recreated) else {
            return violation!("a batch of a shard that is not: {}", batch.shard());
        };
        let shard = &stream.shards[index];
        if self.stopped {
            return violation!("a batch of {} after the stop", shard.id);
        }
        let messages = batch.messages(0, u32::MAX);
        let ends = (messages.first().zip(messages.last()))
            .and_then(|(first, last)| Some((Spot::before(first, shard)?, Spot::before(last, shard)?.next(shard))));
        let Some((from, to)) = ends.filter(|(from, to)| from < to) else {
            return violation!("messages of {} that go back, or are not its: {messages:?}", shard.id);
        };
        let span = Span { shard: index, from, to };
        let count: usize = span.records(shard).map(|(_, part)| part.len()).sum();
        if messages.len() as u32 != batch.count() || messages.len() != count {
            let (got, told) = (messages.len(), batch.count());
            return violation!("{got} messages of {}, a count of {told}, and {count} are there", shard.id);
        }
        self.may_begin(index, from, shard)?;
        let lines = lines_agree(batch, &messages)?;
        self.fits(index, batch, &lines)?;
        if self.out.values().any(|out| out.shard == index) {
            return violation!("two batches of {} are out", shard.id);
        }
        let mut rest = messages.iter();
        for (record, part) in span.records(shard) {
            ledger.compare(index, shard, record, part.start, rest.by_ref().take(part.len()))?;
            if let Until::Time(end) = self.terms.until
                && record.arrived >= end.0
            {
                return violation!(
                    "a message of {} that arrived {} ms after the end",
                    shard.id,
                    record.arrived - end.0
                );
            }
        }
        self.handed += messages.len() as u64;
        self.foreign += span.foreign(shard);
        if self.terms.messages.is_some_and(|most| self.handed > most) {
            return violation!("{} messages, and {:?} were asked for", self.handed, self.terms.messages);
        }
        self.out.insert(batch.id(), span);
        self.rate_limits.batches(self.out.len())?;
        ledger.passed(index, self.track(index).position, from.record);
        Ok(())
    }

    /// A batch has no more lines than its bound, or one alone; and no fewer than fit, where others of its page follow.
    fn fits(&mut self, index: usize, batch: &Batch, lines: &[u64]) -> Judged {
        let (most, bytes) = (self.terms.batch_bytes, lines.iter().sum());
        if bytes > most && lines.len() > 1 {
            return violation!("{} lines of {bytes} bytes in a batch of {}, of {most}", lines.len(), batch.shard());
        }
        let first = lines.first().copied().unwrap_or(0);
        match self.filled.insert(index, bytes) {
            Some(filled) if filled + first <= most => {
                violation!("a line of {first} bytes had room in the batch before, of {filled} of {most}")
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Whether a batch of this shard is of the same page as the one before.
    pub fn goes_on_in_page(&self, shard: &str, stream: &Stream) -> bool {
        stream.find(shard).is_some_and(|index| self.filled.contains_key(&index))
    }

    /// Whether the next message of a shard may be this one.
    fn may_begin(&self, index: usize, spot: Spot, shard: &Shard) -> Judged {
        let track = self.track(index);
        let from = spot.record;
        let left = from <= shard.gone;
        let fits = match track.position {
            Position::Before(next) if next == spot => true,
            // Only what is left of a record begins within it.
            _ if spot.within > 0 => false,
            Position::Unheard | Position::Passed => false,
            Position::Oldest => left,
            Position::From { earliest, latest, tip } => {
                let last = shard.at(latest).max(tip.unwrap_or(0));
                // Times of arrival are not exact: what truly came later will do, too.
                let first = shard.at(earliest).min(shard.put_before(earliest)).min(tip.unwrap_or(usize::MAX));
                first <= from && (from <= last || left)
            }
            Position::Before(next) => next < spot && left && (track.lost || from <= track.passed_over),
        };
        if fits {
            return Ok(());
        }
        violation!("{} goes on with {spot:?} of which {} are gone, at {track:?}", shard.id, shard.gone)
    }

    /// What a batch holds that is out.
    pub fn span(&self, id: BatchId) -> Option<Span> {
        self.out.get(&id).copied()
    }

    /// How many messages were handed out.
    pub fn handed(&self) -> u64 {
        self.handed
    }

    /// How many messages of other shards were in what was handed out.
    pub fn foreign(&self) -> u64 {
        self.foreign
    }

    /// A batch was reported as delivered.
    pub fn delivered(&mut self, id: BatchId) {
        let Some(Span { shard, to, .. }) = self.out.remove(&id) else { return };
        let track = self.tracks.entry(shard).or_insert(UNHEARD);
        track.position = Position::Before(to);
        track.lost = false;
        self.rate_limits.delivered();
    }

    /// The reader told of a gap.
    pub fn lost(&mut self, lost: &Gap, stream: &Stream) -> Judged {
        let Some(index) = stream.find(&lost.shard) else {
            return violation!("a gap in a shard that is not: {}", lost.shard);
        };
        let shard = &stream.shards[index];
        let track = self.track(index);
        let (after, trimmed) = match track.position {
            Position::Before(next) if next > Spot::at(0) => {
                let last = if next.within > 0 { next.record } else { next.record - 1 };
                (shard.records.get(last), last < shard.gone)
            }
            Position::Before(_) | Position::Unheard | Position::Oldest | Position::From { .. } | Position::Passed => {
                (None, false)
            }
        };
        if lost.after.as_deref() != after.map(|record| record.sequence.as_str()) {
            return violation!("a gap in {} after {:?}, and its position is {track:?}", shard.id, lost.after);
        }
        if !trimmed && shard.expired.is_none() {
            return violation!("a gap in {} where there is none: {track:?}, {} are gone", shard.id, shard.gone);
        }
        if !self.told.insert((index, track.position)) && shard.expired.is_none() {
            return violation!("the gap in {} is told twice", shard.id);
        }
        self.tracks.entry(index).or_insert(UNHEARD).lost = true;
        Ok(())
    }

    /// A checkpoint was taken: it names what was reported as delivered, in each shard that the reader was told of.
    pub fn checkpoint(&self, text: &str, stream: &Stream) -> Judged {
        let Ok(text) = serde_json::from_str::<Value>(text) else { return violation!("no JSON: {text}") };
        if self.terms.recreated {
            return Ok(());
        }
        for (&index, track) in &self.tracks {
            let shard = &stream.shards[index];
            let position = &text["shards"][&shard.id];
            let after = position["after"].as_str();
            let done = || !shard.is_open() && self.reaches(index, shard.records.len(), shard);
            let fits = match track.position {
                _ if position["at"] == "end" => done(),
                _ if self.ended.contains(&index) => false,
                Position::Unheard => position.is_null(),
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
                Position::Passed => false,
            };
            // A shard that was read to its end and has left the stream may be forgotten.
            if !(fits || position.is_null() && shard.expired.is_some() && done()) {
                return violation!("a checkpoint with {} at {position}, and it is at {track:?}", shard.id);
            }
        }
        Ok(())
    }

    /// A shard is about to be read, so its parents must be done.
    pub fn parents_done(&self, id: &str, stream: &Stream) -> Judged {
        let Some(index) = stream.find(id) else { return violation!("a shard that is not: {id}") };
        for &parent in &stream.shards[index].parents {
            let shard = &stream.shards[parent];
            let done = shard.expired.is_some() || !shard.is_open() && self.reaches(parent, shard.records.len(), shard);
            if !done {
                return violation!("{id} is read before its parent {}, which is at {:?}", shard.id, self.track(parent));
            }
        }
        Ok(())
    }

    /// A run to the tip reads no shard on once it is past where the tip was at the opening.
    pub fn has_more_to_read(&self, request: &Request, stream: &Stream) -> Judged {
        let Some(index) = request.shard.as_deref().and_then(|id| stream.find(id)) else { return Ok(()) };
        let past = self.past.contains(&index) && stream.shards[index].is_open();
        match self.terms.until {
            Until::CaughtUp(_) if past => violation!("read on past the tip of the opening: {request:?}"),
            Until::CaughtUp(_) | Until::Time(_) | Until::Stopped => Ok(()),
        }
    }

    /// Whether the records of a shard before this one are delivered, not asked for, or lost and told.
    fn reaches(&self, index: usize, need: usize, shard: &Shard) -> bool {
        let track = self.track(index);
        let over = track.passed_over.max(if track.lost { shard.gone } else { 0 });
        let reached = match track.position {
            Position::Unheard | Position::Oldest => shard.gone,
            Position::From { latest, tip, .. } => tip.unwrap_or(0).max(shard.at(latest)).max(shard.gone),
            Position::Before(next) => next.record.max(over),
            Position::Passed => shard.records.len(),
        };
        // A shard that was never heard of cannot be missed.
        reached >= need || shard.expired.is_some() && (track.lost || track.position == Position::Unheard)
    }

    /// The reader said that it is done.
    pub fn finished(&self, outcome: &Outcome, stream: &Stream, now: u64) -> Judged {
        if !self.out.is_empty() {
            return violation!("done with {} batches out", self.out.len());
        }
        match outcome {
            Outcome::Reached => {}
            Outcome::Exhausted if stream.open().is_empty() => {}
            Outcome::Exhausted => return violation!("exhausted, and the stream is open"),
            Outcome::Limited if self.terms.messages == Some(self.handed) => return Ok(()),
            Outcome::Limited => {
                return violation!("limited after {} messages of {:?}", self.handed, self.terms.messages);
            }
            Outcome::Stopped if self.stopped => return Ok(()),
            Outcome::Stopped => return violation!("stopped, and nobody asked for it"),
            Outcome::Failed(error) => {
                // Nobody ever answered: then it need not be tried for long.
                let most = self.terms.failures.map(|most| if !self.answered { most.min(4) } else { most });
                let wrongs = self.restarts.max(self.wrongs);
                let worn = most.is_some_and(|most| self.troubles >= most || wrongs >= most.min(WRONGS_MAX));
                return match error.cause {
                    _ if self.fatal || self.unsigned || worn => Ok(()),
                    _ if most.is_some() && self.lacking.is_some_and(|listings| listings > STALE_LISTINGS_MAX) => Ok(()),
                    Cause::Recreated(_) if self.terms.recreated => Ok(()),
                    _ => violation!("failed without a reason: {error:?}"),
                };
            }
        }
        if self.fatal || self.terms.recreated {
            return violation!("reached its end after a refusal for good");
        }
        for (index, shard) in stream.shards.iter().enumerate() {
            let need = self.asked_for(shard, now)?;
            if !self.reaches(index, need, shard) {
                let track = self.track(index);
                return violation!("{} is wanted up to {need}, of which {} are gone: {track:?}", shard.id, shard.gone);
            }
        }
        Ok(())
    }

    /// How many records of a shard a run that reached its end must have been through.
    fn asked_for(&self, shard: &Shard, now: u64) -> Result<usize, Violation> {
        let opened = self.terms.opened;
        Ok(match self.terms.until {
            // A listing of before its birth shows its parents as open, and they may be caught up with as such.
            Until::CaughtUp(_) if !shard.parents.is_empty() && shard.born + self.terms.stale_ms > opened => 0,
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
                    return violation!("reached its end {} ms before it", end.0 - now);
                }
                let past = shard.records.iter().take_while(|record| record.arrived < end.0).count();
                shard.put_before(end.0).min(past)
            }
            Until::Stopped => return violation!("reached the end of what has none"),
        })
    }
}

/// The lines of a batch, asked for in pieces, are its messages. Gives the length of each.
fn lines_agree(batch: &Batch, messages: &[Message]) -> Result<Vec<u64>, Violation> {
    let mut told = 0;
    let mut lengths = Vec::new();
    while told < batch.count() {
        let lines = batch.lines(told, 700);
        let texts: Vec<&str> = lines.text.lines().collect();
        if lines.count == 0 || texts.len() != lines.count as usize || !lines.text.ends_with('\n') {
            return violation!("{} lines, and a count of {}", texts.len(), lines.count);
        }
        for (text, message) in texts.into_iter().zip(&messages[told as usize..]) {
            let Ok(line) = serde_json::from_str::<Value>(text) else {
                return violation!("a line that is no JSON: {text}");
            };
            let envelope = &line["_kinesis"];
            let same = envelope["seq_no"] == message.sequence.as_str()
                && envelope["shard_id"] == batch.shard()
                && envelope["partition"].as_str() == message.partition_key.as_deref()
                && envelope["sub_seq"].as_u64() == message.subsequence.map(u64::from)
                && line["_kinesis_msg_id"] == message.id.as_str();
            if !same {
                return violation!("a line that is not its message: {text}, {message:?}");
            }
        }
        lengths.extend(lines.text.split_inclusive('\n').map(|line| line.len() as u64));
        told += lines.count;
    }
    Ok(lengths)
}
