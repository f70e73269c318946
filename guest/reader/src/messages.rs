//! The messages of a page: its records, and in the place of each aggregate the user records that it holds.
//!
//! A message has a number in its page. What is kept beside the page to find it is small: of each aggregate its body, if
//! the page holds it as base64, four bytes for each key in its tables, and a mark at every [`STRIDE`]th of its user
//! records, which are read anew each time they are rendered. So a page of 10 MiB, the most that the service gives, which
//! takes 14 MiB as base64, takes 24 MiB if it is full of aggregates, whatever the number of their user records: at most
//! 1.7 million, a length and an index each. (Tables of nothing but empty keys, which no producer writes, would take
//! another 20 MiB.)
//!
//! A user record whose hash key is not of the shard is passed over, as the Kinesis Client Library does: a producer that
//! did not know of a split yet put it into an aggregate for a shard that is no more, sees that it arrived in the wrong
//! one, and puts it again. Where the shard's range is not known every user record is kept, and so it is where the
//! record names no partition key, for then the stream distributes records by itself. (The client library passes over
//! the *whole* aggregate where one of its user records is of another shard. The producer, which puts only that one
//! again, would lose the others by that.)

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use base64_simd::STANDARD;

use crate::envelope::Message;
use crate::hash_key::{self, HashRange};
use crate::kpl::{self, Malformed, Part, Parts, UserRecord};
use crate::page::{Data, Page, Record};

/// User records between two marks.
const STRIDE: u32 = 256;

/// What of a page is to be delivered: consecutive messages.
pub(crate) struct Messages {
    whole: Arc<Whole>,
    /// Those of the page's messages that are to be delivered.
    window: Range<u32>,
    /// User records of other shards before those to be delivered.
    foreign: u64,
}

/// A page and what is kept beside it. Batches that are parts of one page share it.
struct Whole {
    page: Page,
    /// The record that holds message 0.
    skip: usize,
    apart: Apart,
    /// How many messages there are, and how many user records of other shards.
    all: u32,
    foreign: u64,
}

/// What is kept of the page's aggregates.
#[derive(Default)]
struct Apart {
    /// In order.
    aggregates: Vec<Aggregate>,
    /// Their bodies, decoded.
    bodies: Vec<u8>,
    partition_keys: Vec<Key>,
    explicit_hash_keys: Vec<Key>,
    marks: Vec<Mark>,
}

/// An aggregate in the page.
struct Aggregate {
    record: usize,
    /// Messages before its own, and user records of other shards.
    before: u32,
    foreign: u64,
    /// User records that are messages.
    kept: u32,
    /// User records, those of other shards with them.
    there: u32,
    body: Body,
    /// Where its tables begin.
    partition_keys: usize,
    explicit_hash_keys: usize,
    /// Its first mark, if it has messages.
    marks: usize,
}

/// Where the body of an aggregate lies.
enum Body {
    /// In `bodies`.
    Decoded(Range<usize>),
    /// In the data of its record, which the page holds as they are.
    AsItCame(Range<usize>),
}

/// An entry of an aggregate's tables: where it begins in the body, and in the highest bit whether it is of the shard.
#[derive(Clone, Copy)]
struct Key(u32);

impl Key {
    const OURS: u32 = 1 << 31;

    /// Bodies are bounded far below 2 GiB.
    fn new(start: usize, is_ours: bool) -> Key {
        Key(start as u32 | if is_ours { Key::OURS } else { 0 })
    }

    fn start(self) -> usize {
        (self.0 & !Key::OURS) as usize
    }

    fn is_ours(self) -> bool {
        self.0 & Key::OURS != 0
    }
}

/// Where in its body a user record begins, and its number there.
#[derive(Clone, Copy)]
struct Mark {
    start: u32,
    subsequence: u32,
}

impl Whole {
    /// The messages of the records from `skip` on, those out of aggregates being of a shard of this `range`.
    fn deaggregated(page: Page, skip: usize, range: Option<HashRange>) -> Whole {
        let mut whole = Whole { page, skip, apart: Apart::default(), all: 0, foreign: 0 };
        let mut next = skip;
        for index in 0..whole.page.aggregates().len() {
            let Some(record) = whole.page.aggregates().get(index).map(|record| *record as usize) else { break };
            if record >= skip
                && let Some(aggregate) = whole.open(record, (record - next) as u32, range)
            {
                whole.all = aggregate.before + aggregate.kept;
                whole.foreign += u64::from(aggregate.there - aggregate.kept);
                whole.apart.aggregates.push(aggregate);
                next = record + 1;
            }
        }
        whole.all += whole.page.len().saturating_sub(next) as u32;
        whole
    }

    /// Learns what is in an aggregate that `gap` plain records precede. None: it is none.
    fn open(&mut self, record: usize, gap: u32, range: Option<HashRange>) -> Option<Aggregate> {
        let Whole { page, apart, all, foreign, .. } = self;
        let Apart { bodies, partition_keys, explicit_hash_keys, marks, .. } = apart;
        let lengths = (bodies.len(), partition_keys.len(), explicit_hash_keys.len(), marks.len());
        let Record { data, partition_key, .. } = page.record(record)?;
        let range = range.filter(|_| partition_key.is_some());
        let mut open = || {
            let (body, lies) = match data {
                Data::Raw(data) => {
                    let at = kpl::body(data)?;
                    (data.get(at.clone())?, Body::AsItCame(at))
                }
                Data::Base64(text) => {
                    STANDARD.decode_append(text, bodies).ok()?;
                    let at = kpl::body(bodies.get(lengths.0..)?)?;
                    let at = lengths.0 + at.start..lengths.0 + at.end;
                    (bodies.get(at.clone())?, Body::Decoded(at))
                }
            };
            read_tables(body, range, partition_keys, explicit_hash_keys).ok()?;
            let tables = Tables {
                partition_keys: partition_keys.get(lengths.1..)?,
                explicit_hash_keys: explicit_hash_keys.get(lengths.2..)?,
            };
            let (kept, there) = read_user_records(body, &tables, marks).ok()?;
            let (before, foreign) = (*all + gap, *foreign);
            let (partition_keys, explicit_hash_keys, marks) = (lengths.1, lengths.2, lengths.3);
            let aggregate = Aggregate {
                record,
                before,
                foreign,
                kept,
                there,
                body: lies,
                partition_keys,
                explicit_hash_keys,
                marks,
            };
            (there > 0).then_some(aggregate)
        };
        let opened = open();
        if opened.is_none() {
            bodies.truncate(lengths.0);
            partition_keys.truncate(lengths.1);
            explicit_hash_keys.truncate(lengths.2);
            marks.truncate(lengths.3);
        }
        opened
    }

    /// The user records of other shards before the position behind the messages up to number `end`.
    fn foreign_until(&self, end: u32) -> u64 {
        if end == self.all {
            return self.foreign;
        }
        let after = self.apart.aggregates.partition_point(|aggregate| aggregate.before < end);
        let Some(last) = after.checked_sub(1).and_then(|last| self.apart.aggregates.get(last)) else { return 0 };
        let kept = end - last.before;
        let there = match kept.checked_sub(1) {
            Some(before) if kept < last.kept => self.inside(last, before).next().map_or(kept, |(sub, _)| sub + 1),
            Some(_) | None => last.there,
        };
        last.foreign + u64::from(there - kept.min(last.kept))
    }

    fn at(&self, number: u32) -> Iter<'_> {
        let next = self.apart.aggregates.partition_point(|aggregate| aggregate.before + aggregate.kept <= number);
        let before = next.checked_sub(1).and_then(|before| self.apart.aggregates.get(before));
        let (record, passed) = match before {
            Some(aggregate) => (aggregate.record + 1, aggregate.before + aggregate.kept),
            None => (self.skip, 0),
        };
        let plain = number - passed;
        match self.apart.aggregates.get(next) {
            Some(aggregate) if number >= aggregate.before => Iter {
                whole: self,
                record: aggregate.record + 1,
                next: next + 1,
                inside: self.enter(aggregate, number - aggregate.before),
            },
            Some(_) | None => Iter { whole: self, record: record + plain as usize, next, inside: None },
        }
    }

    fn enter<'a>(&'a self, aggregate: &'a Aggregate, skip: u32) -> Option<(Record<'a>, Inside<'a>)> {
        Some((self.page.record(aggregate.record)?, self.inside(aggregate, skip)))
    }

    /// The messages of an aggregate from number `skip` on.
    fn inside<'a>(&'a self, aggregate: &'a Aggregate, skip: u32) -> Inside<'a> {
        let body = match &aggregate.body {
            Body::Decoded(range) => self.apart.bodies.get(range.clone()),
            Body::AsItCame(range) => match self.page.record(aggregate.record).map(|record| record.data) {
                Some(Data::Raw(data)) => data.get(range.clone()),
                Some(Data::Base64(_)) | None => None,
            },
        };
        let body = body.unwrap_or_default();
        let mark = self.apart.marks.get(aggregate.marks + (skip / STRIDE) as usize).copied();
        let mark = mark.filter(|_| skip < aggregate.kept).unwrap_or(Mark { start: u32::MAX, subsequence: 0 });
        let tables = Tables {
            partition_keys: self.apart.partition_keys.get(aggregate.partition_keys..).unwrap_or_default(),
            explicit_hash_keys: self.apart.explicit_hash_keys.get(aggregate.explicit_hash_keys..).unwrap_or_default(),
        };
        let mut inside = Inside {
            body,
            parts: Parts::new(body, mark.start as usize),
            tables,
            subsequence: mark.subsequence,
            left: aggregate.kept.saturating_sub(skip / STRIDE * STRIDE),
        };
        for _ in 0..skip % STRIDE {
            inside.next();
        }
        inside
    }
}

impl Messages {
    /// The messages of the records from `skip` on, each record being one.
    pub(crate) fn of_records(page: Page, skip: usize) -> Messages {
        let all = page.len().saturating_sub(skip) as u32;
        let whole = Whole { page, skip, apart: Apart::default(), all, foreign: 0 };
        Messages { whole: Arc::new(whole), window: 0..all, foreign: 0 }
    }

    /// The messages of the records from `skip` on, those out of aggregates being of a shard of this `range`. Those of
    /// the first record up to number `delivered` are passed over.
    pub(crate) fn deaggregated(page: Page, skip: usize, range: Option<HashRange>, delivered: Option<u32>) -> Messages {
        if page.aggregates().is_empty() {
            return Messages::of_records(page, skip);
        }
        let whole = Whole::deaggregated(page, skip, range);
        let mut messages = Messages { window: 0..whole.all, whole: Arc::new(whole), foreign: 0 };
        if let Some(delivered) = delivered {
            messages.pass_over(delivered);
        }
        messages
    }

    fn pass_over(&mut self, delivered: u32) {
        let Whole { apart, skip, .. } = &*self.whole;
        let Some(first) = apart.aggregates.first().filter(|first| first.record == *skip) else { return };
        let passed =
            self.whole.inside(first, 0).take_while(|(subsequence, _)| *subsequence <= delivered).count() as u32;
        self.foreign = u64::from(first.there.min(delivered.saturating_add(1)) - passed);
        self.window.start = passed;
    }

    /// Keeps the first `count` messages of those to be delivered, and gives the others. None: there are no others.
    pub(crate) fn split_off(&mut self, count: u32) -> Option<Messages> {
        if self.count() <= count {
            return None;
        }
        let end = self.window.start + count;
        let foreign = self.whole.foreign_until(end);
        let rest = Messages { whole: self.whole.clone(), window: end..self.window.end, foreign };
        self.window.end = end;
        Some(rest)
    }

    /// The number of messages.
    pub(crate) fn count(&self) -> u32 {
        self.window.end - self.window.start
    }

    /// The user records that were passed over, being of other shards.
    pub(crate) fn dropped(&self) -> u64 {
        self.whole.foreign_until(self.window.end) - self.foreign
    }

    /// The records that they are of.
    pub(crate) fn page(&self) -> &Page {
        &self.whole.page
    }

    /// The bytes of data in the messages.
    pub(crate) fn size(&self) -> u64 {
        let Whole { page, apart, .. } = &*self.whole;
        if apart.aggregates.is_empty() && self.count() as usize == page.len() {
            return page.data_size();
        }
        self.from(0).map(|message| message.data.size()).sum()
    }

    /// The most bytes that the sequence numbers, partition keys and data of the messages take in the page. None: some are
    /// of aggregates, where many can share a key.
    pub(crate) fn plain_size(&self) -> Option<u64> {
        let Whole { page, apart, .. } = &*self.whole;
        apart.aggregates.is_empty().then(|| page.body_size())
    }

    /// How far the shard is read with these messages. None: the page is empty.
    pub(crate) fn last(&self) -> Option<Last<'_>> {
        let Whole { page, apart, all, .. } = &*self.whole;
        if self.window.end < *all {
            let last = self.window.end.checked_sub(1)?;
            let message = self.whole.at(last).next()?;
            let holder = apart.aggregates.partition_point(|aggregate| aggregate.before + aggregate.kept <= last);
            let holder = apart.aggregates.get(holder);
            let whole = holder.is_none_or(|holder| holder.before + holder.kept == self.window.end);
            let subsequence = message.subsequence.filter(|_| !whole);
            return Some(Last { sequence: message.sequence, subsequence });
        }
        let record = page.record(page.len().checked_sub(1)?)?;
        Some(Last { sequence: record.sequence, subsequence: None })
    }

    /// The messages from number `skip` on.
    pub(crate) fn from(&self, skip: u32) -> impl Iterator<Item = Message<'_>> {
        let start = self.window.start.saturating_add(skip).min(self.window.end);
        self.whole.at(start).take((self.window.end - start) as usize)
    }
}

impl fmt::Debug for Messages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Messages").field("window", &self.window).field("all", &self.whole.all).finish_non_exhaustive()
    }
}

/// Where the messages of a batch end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Last<'a> {
    pub(crate) sequence: &'a str,
    /// Of a record of which more is left.
    pub(crate) subsequence: Option<u32>,
}

/// The tables of an aggregate, and what follows them.
struct Tables<'a> {
    partition_keys: &'a [Key],
    explicit_hash_keys: &'a [Key],
}

impl Tables<'_> {
    fn keeps(&self, record: &UserRecord<'_>) -> Result<bool, Malformed> {
        let partition_key = self.partition_keys.get(record.partition_key).ok_or(Malformed)?;
        Ok(match record.explicit_hash_key {
            Some(key) => self.explicit_hash_keys.get(key).ok_or(Malformed)?.is_ours(),
            None => partition_key.is_ours(),
        })
    }
}

fn read_tables(
    body: &[u8],
    range: Option<HashRange>,
    partition_keys: &mut Vec<Key>,
    explicit_hash_keys: &mut Vec<Key>,
) -> Result<(), Malformed> {
    let is_ours = |hash_key: &dyn Fn() -> u128| range.is_none_or(|range| range.contains(hash_key()));
    let mut parts = Parts::new(body, 0);
    while let Some(part) = parts.next()? {
        match part {
            Part::PartitionKey(key) => {
                let ours = is_ours(&|| hash_key::of_partition_key(key));
                partition_keys.push(Key::new(parts.last(), ours));
            }
            Part::ExplicitHashKey(key) => explicit_hash_keys.push(Key::new(parts.last(), is_ours(&|| key))),
            Part::UserRecord(_) => {}
        }
    }
    Ok(())
}

/// Counts the user records that are messages, marking each [`STRIDE`]th, and all.
fn read_user_records(body: &[u8], tables: &Tables<'_>, marks: &mut Vec<Mark>) -> Result<(u32, u32), Malformed> {
    let (mut kept, mut there) = (0, 0);
    let mut parts = Parts::new(body, 0);
    while let Some(part) = parts.next()? {
        let Part::UserRecord(record) = part else { continue };
        if tables.keeps(&record)? {
            if kept % STRIDE == 0 {
                marks.push(Mark { start: parts.last() as u32, subsequence: there });
            }
            kept += 1;
        }
        there += 1;
    }
    Ok((kept, there))
}

/// The messages of a page, from one of them on.
struct Iter<'a> {
    whole: &'a Whole,
    /// The next record, once there is nothing inside.
    record: usize,
    /// The next aggregate.
    next: usize,
    inside: Option<(Record<'a>, Inside<'a>)>,
}

impl<'a> Iterator for Iter<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        loop {
            if let Some((record, inside)) = &mut self.inside {
                match inside.next() {
                    Some((subsequence, user)) => return Some(inside.message(record, subsequence, &user)),
                    None => self.inside = None,
                }
            }
            let record = self.record;
            self.record += 1;
            match self.whole.apart.aggregates.get(self.next) {
                Some(aggregate) if aggregate.record == record => {
                    self.next += 1;
                    self.inside = self.whole.enter(aggregate, 0);
                }
                Some(_) | None => return self.whole.page.record(record).map(plain),
            }
        }
    }
}

/// The messages of an aggregate, with their numbers in it.
struct Inside<'a> {
    body: &'a [u8],
    parts: Parts<'a>,
    tables: Tables<'a>,
    subsequence: u32,
    left: u32,
}

impl<'a> Iterator for Inside<'a> {
    type Item = (u32, UserRecord<'a>);

    fn next(&mut self) -> Option<(u32, UserRecord<'a>)> {
        // What is not of the form was found when the page came, so no error is left.
        while self.left > 0
            && let Ok(Some(part)) = self.parts.next()
        {
            let Part::UserRecord(user) = part else { continue };
            let subsequence = self.subsequence;
            self.subsequence += 1;
            if self.tables.keeps(&user) == Ok(true) {
                self.left -= 1;
                return Some((subsequence, user));
            }
        }
        None
    }
}

impl<'a> Inside<'a> {
    fn message(&self, record: &Record<'a>, subsequence: u32, user: &UserRecord<'a>) -> Message<'a> {
        let key = self.tables.partition_keys.get(user.partition_key);
        let partition_key = key.and_then(|key| match Parts::new(self.body, key.start()).next() {
            Ok(Some(Part::PartitionKey(text))) => Some(text),
            Ok(Some(Part::ExplicitHashKey(_) | Part::UserRecord(_)) | None) | Err(Malformed) => None,
        });
        Message {
            sequence: record.sequence,
            subsequence: Some(subsequence),
            partition_key,
            plain_key: false,
            arrived: record.arrived,
            data: Data::Raw(user.data),
        }
    }
}

fn plain(record: Record<'_>) -> Message<'_> {
    Message {
        sequence: record.sequence,
        subsequence: None,
        partition_key: record.partition_key,
        plain_key: record.plain_key,
        arrived: record.arrived,
        data: record.data,
    }
}
