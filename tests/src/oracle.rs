//! What must hold, judged from the stream itself and from what the reader was told and asked for.
//!
//! The oracle knows nothing of how the reader works. It follows each shard's place by the answers that reached the
//! reader and the batches reported as delivered, and compares:
//!
//! - **Delivery**: the messages of a shard are its records in order, from where the run had to begin, none left out
//!   and none twice. Only records that have left the stream may be missing, and then the reader told so - or could not
//!   know, because the service passed over them in silence.
//! - **Checkpoint**: it names for each shard seen exactly what was reported as delivered.
//! - **Lineage**: a shard is read only once all its parents that are still there are delivered to their ends.
//! - **Manners**: requests, batches and pace stay in their bounds, each wait is for something that is due.
//! - **Ends**: when the reader says that it has reached its end, nothing is missing.

mod ledger;
mod manners;

use std::collections::{BTreeMap, BTreeSet};

use kinesis_reader_machine::{Batch, BatchId, Cause, Lost, Message, Outcome, Request, Start, Until};
use serde_json::Value;

pub use ledger::Ledger;
use manners::Manners;

use crate::kinesis::stream::Shard;
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
pub enum Place {
    /// It has not heard of the shard.
    Unheard,
    /// Before the oldest record.
    Oldest,
    /// Before the first record that arrived between `earliest` and `latest` or later. With LATEST, `tip` is where the
    /// shard's tip was when the reader asked for it, and the first message may be as late as that one.
    From { earliest: u64, latest: u64, tip: Option<usize> },
    /// Before this record; all before it are delivered.
    Before(usize),
    /// After all, without having read it: it was closed when LATEST was asked for.
    Passed,
}

/// A shard as the reader should see it.
#[derive(Clone, Copy, Debug)]
pub struct Track {
    pub place: Place,
    /// The reader told that records are lost, and has delivered nothing since.
    pub lost: bool,
    /// The service passed over records before this one in silence, because they had left the stream.
    pub passed_over: usize,
}

const UNHEARD: Track = Track { place: Place::Unheard, lost: false, passed_over: 0 };

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
    pub pace: Option<u8>,
    pub backoff_first_ms: u64,
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
    /// There was a checkpoint with places: the start does not count.
    resumed: bool,
    listed: bool,
    /// An answer reached the reader, of whatever kind.
    answered: bool,
    /// When the first answer that was no refusal reached the reader: LATEST is between the opening and then.
    heard: Option<u64>,
    /// The shards of the listing that is under way.
    listing: Vec<Listed>,
    pub manners: Manners,
    /// Shard, first record, and the record after the last.
    out: BTreeMap<BatchId, (usize, usize, usize)>,
    handed: u64,
    /// User records of other shards that were passed over.
    foreign: u64,
    /// Shards of which a message came that arrived after the opening: the tip of that time is passed.
    past: BTreeSet<usize>,
    /// Shards of which the reader saw an empty last page that names what follows.
    ended: BTreeSet<usize>,
    /// Gaps that were told of.
    told: BTreeSet<(usize, Place)>,
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
        tracks.retain(|_, track| track.place != Place::Unheard);
        Run {
            resumed: !tracks.is_empty(),
            manners: Manners::new(&terms),
            terms,
            tracks,
            listed: false,
            answered: false,
            heard: None,
            listing: Vec::new(),
            out: BTreeMap::new(),
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
        if !matches!(facts, Facts::Refused(_)) {
            self.heard.get_or_insert(now);
        }
        match facts {
            Facts::Described => {}
            Facts::Listed { shards, first, last, again: _ } => {
                if *first {
                    self.listing.clear();
                }
                self.listing.extend(shards);
                if *last {
                    self.complete_listing();
                }
            }
            Facts::Sought { shard, asked, position, clamped } => {
                if !self.terms.recreated {
                    self.seeks_its_place(*asked, &stream.shards[*shard], self.track(*shard))?;
                }
                let track = self.tracks.entry(*shard).or_insert(UNHEARD);
                if let Place::From { tip: tip @ None, .. } = &mut track.place
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
                if page.goes_on && records.iter().any(|record| record.arrived > passed) {
                    self.past.insert(page.shard);
                }
                self.read(page);
            }
            Facts::Refused(refusal) => match refusal {
                Refusal::Fatal => self.fatal = true,
                // One more try is enough to see that they were set right.
                Refusal::Credentials | Refusal::Clock if self.troubles > 0 => self.unsigned = true,
                Refusal::Transient | Refusal::Expired | Refusal::NotFound | Refusal::Credentials | Refusal::Clock => {
                    self.troubles += 1
                }
                Refusal::Throttled | Refusal::Trimmed | Refusal::Denied => {}
            },
        }
        Ok(())
    }

    /// An iterator points to where the reader is in the shard: no record is asked for again, and none passed over.
    fn seeks_its_place(&self, asked: Asked, shard: &Shard, track: Track) -> Judged {
        let fits = match (asked, track.place) {
            (_, Place::Unheard | Place::Passed) => false,
            (Asked::Oldest, _) if track.lost => true,
            (Asked::Oldest, Place::Oldest | Place::Before(0)) => true,
            (Asked::Latest, Place::From { tip, .. }) => !self.resumed && tip.is_none(),
            (Asked::Time(time), Place::From { earliest, latest, .. }) => (earliest..=latest).contains(&time),
            (Asked::After(next), Place::Before(place)) => next == place,
            (Asked::Oldest | Asked::Latest | Asked::Time(_) | Asked::At(_) | Asked::After(_), _) => false,
        };
        if fits { Ok(()) } else { violation!("an iterator of {} is asked for at {asked:?}: {track:?}", shard.id) }
    }

    /// A request came to nothing.
    pub fn troubled(&mut self) {
        self.troubles += 1;
    }

    fn read(&mut self, page: &Page) {
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
            if track.place == Place::Unheard {
                track.place = Place::Oldest;
            }
        }
    }

    fn complete_listing(&mut self) {
        let first = !self.listed && !self.resumed;
        // The service tells whole seconds, and an answer takes its time.
        let earliest = self.terms.opened.saturating_sub(2_000 + self.terms.doubt_ms);
        let latest = self.heard.unwrap_or(self.terms.opened);
        for listed in &self.listing {
            let track = self.tracks.entry(listed.shard).or_insert(UNHEARD);
            if track.place != Place::Unheard {
                continue;
            }
            track.place = match self.terms.start {
                _ if !first => Place::Oldest,
                Start::TrimHorizon => Place::Oldest,
                // A time to come is taken as the present.
                Start::AtTimestamp(time) => {
                    Place::From { earliest: time.0.min(earliest), latest: time.0.min(latest), tip: None }
                }
                Start::Latest if listed.open => Place::From { earliest, latest, tip: None },
                Start::Latest => Place::Passed,
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
        let messages = batch.messages(0, batch.count());
        let Some(first) = messages.first() else { return violation!("an empty batch of {}", shard.id) };
        let Some(from) = shard.position(&first.sequence) else {
            return violation!("a message that is not of {}: {}", shard.id, first.sequence);
        };
        let last = messages.last().and_then(|last| shard.position(&last.sequence));
        let Some(to) = last.filter(|last| *last >= from).map(|last| last + 1) else {
            return violation!("messages of {} that go back", shard.id);
        };
        let count: usize = shard.records[from..to].iter().map(|record| shard.count(record)).sum();
        if messages.len() as u32 != batch.count() || messages.len() != count {
            let (got, told) = (messages.len(), batch.count());
            return violation!("{got} messages of {}, a count of {told}, and {count} are there", shard.id);
        }
        self.may_begin(index, from, shard)?;
        lines_agree(batch, &messages)?;
        if self.out.values().any(|&(other, _, _)| other == index) {
            return violation!("two batches of {} are out", shard.id);
        }
        let mut rest = messages.iter();
        for record in &shard.records[from..to] {
            ledger.compare(index, shard, record, rest.by_ref().take(shard.count(record)))?;
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
        let there: usize = shard.records[from..to].iter().map(|record| record.users.len().max(1)).sum();
        self.foreign += (there - count) as u64;
        if self.terms.messages.is_some_and(|most| self.handed > most) {
            return violation!("{} messages, and {:?} were asked for", self.handed, self.terms.messages);
        }
        self.out.insert(batch.id(), (index, from, to));
        self.manners.batches(self.out.len())?;
        ledger.passed(index, self.track(index).place, from);
        Ok(())
    }

    /// Whether the next message of a shard may be this one.
    fn may_begin(&self, index: usize, from: usize, shard: &Shard) -> Judged {
        let track = self.track(index);
        let left = from <= shard.gone;
        let fits = match track.place {
            Place::Unheard | Place::Passed => false,
            Place::Oldest => left,
            Place::From { earliest, latest, tip } => {
                let last = shard.at(latest).max(tip.unwrap_or(0));
                // Times of arrival are not exact: what truly came later will do, too.
                let first = shard.at(earliest).min(shard.put_before(earliest)).min(tip.unwrap_or(usize::MAX));
                first <= from && (from <= last || left)
            }
            Place::Before(next) => next == from || next < from && left && (track.lost || from <= track.passed_over),
        };
        if fits {
            return Ok(());
        }
        violation!("{} goes on with record {from} of which {} are gone, at {track:?}", shard.id, shard.gone)
    }

    /// The shard of a batch that is out, its first record, and the record after its last.
    pub fn span(&self, id: BatchId) -> Option<(usize, usize, usize)> {
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
        let Some((shard, _, to)) = self.out.remove(&id) else { return };
        let track = self.tracks.entry(shard).or_insert(UNHEARD);
        track.place = Place::Before(to);
        track.lost = false;
        self.manners.delivered();
    }

    /// The reader told of a gap.
    pub fn lost(&mut self, lost: &Lost, stream: &Stream) -> Judged {
        let Some(index) = stream.find(&lost.shard) else {
            return violation!("a gap in a shard that is not: {}", lost.shard);
        };
        let shard = &stream.shards[index];
        let track = self.track(index);
        let (after, trimmed) = match track.place {
            Place::Before(next) if next > 0 => (shard.records.get(next - 1), next <= shard.gone),
            Place::Before(_) | Place::Unheard | Place::Oldest | Place::From { .. } | Place::Passed => (None, false),
        };
        if lost.after.as_deref() != after.map(|record| record.sequence.as_str()) {
            return violation!("a gap in {} after {:?}, and its place is {track:?}", shard.id, lost.after);
        }
        if !trimmed && shard.expired.is_none() {
            return violation!("a gap in {} where there is none: {track:?}, {} are gone", shard.id, shard.gone);
        }
        if !self.told.insert((index, track.place)) && shard.expired.is_none() {
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
            let place = &text["shards"][&shard.id];
            let after = place["after"].as_str();
            let done = || !shard.is_open() && self.reaches(index, shard.records.len(), shard);
            let fits = match track.place {
                _ if place["at"] == "end" => done(),
                _ if self.ended.contains(&index) => false,
                Place::Unheard => place.is_null(),
                Place::Before(next) if next > 0 => after == Some(&shard.records[next - 1].sequence),
                Place::Before(_) | Place::Oldest => place["at"] == "trim-horizon",
                Place::From { earliest, latest, .. } => {
                    place["at"].as_u64().is_some_and(|place| (earliest..=latest).contains(&place))
                }
                Place::Passed => false,
            };
            // A shard that was read to its end and has left the stream may be forgotten.
            if !(fits || place.is_null() && shard.expired.is_some() && done()) {
                return violation!("a checkpoint with {} at {place}, and it is at {track:?}", shard.id);
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
        let reached = match track.place {
            Place::Unheard | Place::Oldest => shard.gone,
            Place::From { latest, tip, .. } => tip.unwrap_or(0).max(shard.at(latest)).max(shard.gone),
            Place::Before(next) => next.max(over),
            Place::Passed => shard.records.len(),
        };
        // A shard that was never heard of cannot be missed.
        reached >= need || shard.expired.is_some() && (track.lost || track.place == Place::Unheard)
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
                let worn = most.is_some_and(|most| self.troubles >= most);
                return match error.cause {
                    _ if self.fatal || self.unsigned || worn => Ok(()),
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

/// The lines of a batch, asked for in pieces, are its messages.
fn lines_agree(batch: &Batch, messages: &[Message]) -> Judged {
    let mut told = 0;
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
        told += lines.count;
    }
    Ok(())
}
