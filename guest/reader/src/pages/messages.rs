//! The messages of a page: its records, with each aggregated record replaced by its user records.
//!
//! Messages are numbered within their page. Finding a message takes little memory besides the page: for each aggregated
//! record, its body (if the page has it as base64), four bytes for each key in its tables, and a mark at every
//! [`STRIDE`]th of its user records, which are parsed again each time they are rendered. A page of 10 MiB, the
//! service's maximum, takes 14 MiB in base64, and 24 MiB if it is full of aggregated records. The number of user
//! records, which is at most 1.7 million with a length and an index each, does not matter. (Tables of nothing but empty
//! keys, which no producer writes, would take another 20 MiB.)
//!
//! A user record whose hash key does not belong to the shard is dropped, as by the Kinesis Client Library: a producer
//! that did not know of a split yet put it into an aggregate for a shard that was already closed, notices that it
//! arrived in the wrong shard, and puts it again. All user records are kept if the shard's hash key range is not known,
//! or if the record has no partition key, because then the stream distributes records by itself. (The client library
//! drops the *whole* aggregate if one of its user records belongs to another shard. The producer only puts that one
//! again, so the others would be lost.)

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use base64_simd::STANDARD;

use crate::pages::hash_key::{self, HashRange};
use crate::pages::kpl::{self, Malformed, Part, Parts, UserRecord};
use crate::pages::page::{Data, Page, Record};
use crate::render::envelope::Message;

/// The number of user records from one mark to the next.
const STRIDE: u32 = 256;

/// Consecutive messages of a page that are to be delivered.
pub(crate) struct Messages {
    page: Arc<IndexedPage>,
    /// The numbers of the messages.
    window: Range<u32>,
    /// The number of user records before the window that belong to other shards.
    foreign_before: u64,
}

/// A page, and an index of the messages in it. Batches that are parts of the same page share it.
struct IndexedPage {
    page: Page,
    /// The index of the record that holds message 0.
    first_record: usize,
    index: Index,
    /// The number of messages.
    count: u32,
    /// The number of user records that belong to other shards.
    foreign: u64,
}

/// What is known of the aggregates of a page.
#[derive(Default)]
struct Index {
    /// In order.
    aggregates: Vec<Aggregate>,
    /// The decoded bodies of all aggregates.
    bodies: Vec<u8>,
    /// The tables of all aggregates.
    partition_keys: Vec<Key>,
    explicit_hash_keys: Vec<Key>,
    marks: Vec<Mark>,
}

/// An aggregate in the page.
struct Aggregate {
    record: usize,
    /// The number of messages before its own.
    messages_before: u32,
    /// The number of user records before its own that belong to other shards.
    foreign_before: u64,
    /// The number of user records that are messages.
    kept: u32,
    /// The number of all user records.
    user_records: u32,
    body: Body,
    /// Where its tables start in the index.
    partition_keys: usize,
    explicit_hash_keys: usize,
    /// Where its marks start in the index.
    marks: usize,
}

/// Where the body of an aggregate is.
enum Body {
    /// In [`Index::bodies`].
    Decoded(Range<usize>),
    /// In the data of its record, which the page holds as raw bytes.
    Raw(Range<usize>),
}

/// An entry of an aggregate's tables: where it starts in the body and, in the highest bit, whether it belongs to the
/// shard.
#[derive(Clone, Copy)]
struct Key(u32);

impl Key {
    const OURS: u32 = 1 << 31;

    /// Bodies are limited to far less than 2 GiB.
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

/// Where a user record starts in its body, and its index there.
#[derive(Clone, Copy)]
struct Mark {
    start: u32,
    subsequence: u32,
}

impl IndexedPage {
    /// Indexes the messages of the records from `skip` on. `range` is the hash key range of the shard.
    fn deaggregated(page: Page, skip: usize, range: Option<HashRange>) -> IndexedPage {
        let mut this = IndexedPage { page, first_record: skip, index: Index::default(), count: 0, foreign: 0 };
        let mut next = skip;
        for candidate in 0..this.page.aggregates().len() {
            let Some(record) = this.page.aggregates().get(candidate).map(|record| *record as usize) else { break };
            if record >= skip
                && let Some(aggregate) = this.index_aggregate(record, (record - next) as u32, range)
            {
                this.count = aggregate.messages_before + aggregate.kept;
                this.foreign += u64::from(aggregate.user_records - aggregate.kept);
                this.index.aggregates.push(aggregate);
                next = record + 1;
            }
        }
        this.count += this.page.len().saturating_sub(next) as u32;
        this
    }

    /// Indexes an aggregate that follows `plain` ordinary records. Returns `None` if it deviates from the format and is
    /// an ordinary record, too.
    fn index_aggregate(&mut self, record: usize, plain: u32, range: Option<HashRange>) -> Option<Aggregate> {
        let IndexedPage { page, index, count, foreign, .. } = self;
        let Index { bodies, partition_keys, explicit_hash_keys, marks, .. } = index;
        let lengths = (bodies.len(), partition_keys.len(), explicit_hash_keys.len(), marks.len());
        let Record { data, partition_key, .. } = page.record(record)?;
        let range = range.filter(|_| partition_key.is_some());
        let mut parse = || {
            let (bytes, body) = match data {
                Data::Raw(data) => {
                    let range = kpl::body(data)?;
                    (data.get(range.clone())?, Body::Raw(range))
                }
                Data::Base64(text) => {
                    STANDARD.decode_append(text, bodies).ok()?;
                    let range = kpl::body(bodies.get(lengths.0..)?)?;
                    let range = lengths.0 + range.start..lengths.0 + range.end;
                    (bodies.get(range.clone())?, Body::Decoded(range))
                }
            };
            read_tables(bytes, range, partition_keys, explicit_hash_keys).ok()?;
            let tables = Tables {
                partition_keys: partition_keys.get(lengths.1..)?,
                explicit_hash_keys: explicit_hash_keys.get(lengths.2..)?,
            };
            let (kept, user_records) = read_user_records(bytes, &tables, marks).ok()?;
            let aggregate = Aggregate {
                record,
                messages_before: *count + plain,
                foreign_before: *foreign,
                kept,
                user_records,
                body,
                partition_keys: lengths.1,
                explicit_hash_keys: lengths.2,
                marks: lengths.3,
            };
            (user_records > 0).then_some(aggregate)
        };
        let aggregate = parse();
        if aggregate.is_none() {
            bodies.truncate(lengths.0);
            partition_keys.truncate(lengths.1);
            explicit_hash_keys.truncate(lengths.2);
            marks.truncate(lengths.3);
        }
        aggregate
    }

    /// Returns how many user records that belong to other shards come before the position after the first `end`
    /// messages.
    fn foreign_until(&self, end: u32) -> u64 {
        if end == self.count {
            return self.foreign;
        }
        let after = self.index.aggregates.partition_point(|aggregate| aggregate.messages_before < end);
        let Some(last) = after.checked_sub(1).and_then(|last| self.index.aggregates.get(last)) else { return 0 };
        let kept = end - last.messages_before;
        let user_records = match kept.checked_sub(1) {
            Some(before) if kept < last.kept => self.user_records(last, before).next().map_or(kept, |(sub, _)| sub + 1),
            Some(_) | None => last.user_records,
        };
        last.foreign_before + u64::from(user_records - kept.min(last.kept))
    }

    /// Returns the messages from this number on.
    fn messages_from(&self, number: u32) -> Iter<'_> {
        let aggregates = &self.index.aggregates;
        let next = aggregates.partition_point(|aggregate| aggregate.messages_before + aggregate.kept <= number);
        let (record, messages_before) = match next.checked_sub(1).and_then(|before| aggregates.get(before)) {
            Some(aggregate) => (aggregate.record + 1, aggregate.messages_before + aggregate.kept),
            None => (self.first_record, 0),
        };
        let plain = number - messages_before;
        match aggregates.get(next) {
            Some(aggregate) if number >= aggregate.messages_before => Iter {
                page: self,
                record: aggregate.record + 1,
                next: next + 1,
                current: self.enter(aggregate, number - aggregate.messages_before),
            },
            Some(_) | None => Iter { page: self, record: record + plain as usize, next, current: None },
        }
    }

    fn enter<'a>(&'a self, aggregate: &'a Aggregate, skip: u32) -> Option<(Record<'a>, UserRecords<'a>)> {
        Some((self.page.record(aggregate.record)?, self.user_records(aggregate, skip)))
    }

    /// Returns the messages of an aggregate, except the first `skip`.
    fn user_records<'a>(&'a self, aggregate: &'a Aggregate, skip: u32) -> UserRecords<'a> {
        let body = match &aggregate.body {
            Body::Decoded(range) => self.index.bodies.get(range.clone()),
            Body::Raw(range) => match self.page.record(aggregate.record).map(|record| record.data) {
                Some(Data::Raw(data)) => data.get(range.clone()),
                Some(Data::Base64(_)) | None => None,
            },
        };
        let body = body.unwrap_or_default();
        let mark = self.index.marks.get(aggregate.marks + (skip / STRIDE) as usize).copied();
        let mark = mark.filter(|_| skip < aggregate.kept).unwrap_or(Mark { start: u32::MAX, subsequence: 0 });
        let tables = Tables {
            partition_keys: self.index.partition_keys.get(aggregate.partition_keys..).unwrap_or_default(),
            explicit_hash_keys: self.index.explicit_hash_keys.get(aggregate.explicit_hash_keys..).unwrap_or_default(),
        };
        let mut user_records = UserRecords {
            body,
            parts: Parts::new(body, mark.start as usize),
            tables,
            subsequence: mark.subsequence,
            left: aggregate.kept.saturating_sub(skip / STRIDE * STRIDE),
        };
        for _ in 0..skip % STRIDE {
            user_records.next();
        }
        user_records
    }
}

impl Messages {
    /// Returns the messages of the records from `skip` on, without deaggregation.
    pub(crate) fn of_records(page: Page, skip: usize) -> Messages {
        let count = page.len().saturating_sub(skip) as u32;
        let page = IndexedPage { page, first_record: skip, index: Index::default(), count, foreign: 0 };
        Messages { page: Arc::new(page), window: 0..count, foreign_before: 0 }
    }

    /// Returns the messages of the records from `skip` on, with deaggregation. `range` is the hash key range of the
    /// shard. If the first record is an aggregate, its user records up to index `delivered` are skipped.
    pub(crate) fn deaggregated(page: Page, skip: usize, range: Option<HashRange>, delivered: Option<u32>) -> Messages {
        if page.aggregates().is_empty() {
            return Messages::of_records(page, skip);
        }
        let page = IndexedPage::deaggregated(page, skip, range);
        let mut messages = Messages { window: 0..page.count, page: Arc::new(page), foreign_before: 0 };
        if let Some(delivered) = delivered {
            messages.skip_delivered(delivered);
        }
        messages
    }

    fn skip_delivered(&mut self, delivered: u32) {
        let IndexedPage { index, first_record, .. } = &*self.page;
        let Some(first) = index.aggregates.first().filter(|first| first.record == *first_record) else { return };
        let user_records = self.page.user_records(first, 0);
        let skipped = user_records.take_while(|(subsequence, _)| *subsequence <= delivered).count() as u32;
        self.foreign_before = u64::from(first.user_records.min(delivered.saturating_add(1)) - skipped);
        self.window.start = skipped;
    }

    /// Keeps the first `count` messages and returns the others, if there are any.
    pub(crate) fn split_off(&mut self, count: u32) -> Option<Messages> {
        if self.count() <= count {
            return None;
        }
        let end = self.window.start + count;
        let foreign_before = self.page.foreign_until(end);
        let rest = Messages { page: self.page.clone(), window: end..self.window.end, foreign_before };
        self.window.end = end;
        Some(rest)
    }

    /// Returns the number of messages.
    pub(crate) fn count(&self) -> u32 {
        self.window.end - self.window.start
    }

    /// Returns the number of user records that were dropped because they belong to other shards.
    pub(crate) fn dropped(&self) -> u64 {
        self.page.foreign_until(self.window.end) - self.foreign_before
    }

    /// Returns the page that the messages come from.
    pub(crate) fn page(&self) -> &Page {
        &self.page.page
    }

    /// Returns the size of the messages' data in bytes.
    pub(crate) fn size(&self) -> u64 {
        let IndexedPage { page, index, .. } = &*self.page;
        if index.aggregates.is_empty() && self.count() as usize == page.len() {
            return page.data_size();
        }
        self.from(0).map(|message| message.data.size()).sum()
    }

    /// Returns an upper bound on the number of bytes that the sequence numbers, partition keys and data of the messages
    /// take in the page. Returns `None` if there are aggregates, in which many messages can share a key.
    pub(crate) fn plain_size(&self) -> Option<u64> {
        let IndexedPage { page, index, .. } = &*self.page;
        index.aggregates.is_empty().then(|| page.body_size())
    }

    /// Returns how far the shard is read with these messages, or `None` if the page is empty.
    pub(crate) fn last(&self) -> Option<Last<'_>> {
        let IndexedPage { page, index, count, .. } = &*self.page;
        if self.window.end < *count {
            let last = self.window.end.checked_sub(1)?;
            let message = self.page.messages_from(last).next()?;
            let ends_by = |aggregate: &Aggregate| aggregate.messages_before + aggregate.kept <= last;
            let aggregate = index.aggregates.get(index.aggregates.partition_point(ends_by));
            let is_complete =
                aggregate.is_none_or(|aggregate| aggregate.messages_before + aggregate.kept == self.window.end);
            let subsequence = message.subsequence.filter(|_| !is_complete);
            return Some(Last { sequence: message.sequence, subsequence });
        }
        // Not the record of the last message: the page may end with dropped user records.
        let record = page.record(page.len().checked_sub(1)?)?;
        Some(Last { sequence: record.sequence, subsequence: None })
    }

    /// Returns the messages from index `skip` on.
    pub(crate) fn from(&self, skip: u32) -> impl Iterator<Item = Message<'_>> {
        let start = self.window.start.saturating_add(skip).min(self.window.end);
        self.page.messages_from(start).take((self.window.end - start) as usize)
    }
}

impl fmt::Debug for Messages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Messages")
            .field("window", &self.window)
            .field("count", &self.page.count)
            .finish_non_exhaustive()
    }
}

/// The record in which the messages of a batch end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Last<'a> {
    pub(crate) sequence: &'a str,
    /// The index of the last message in that record, if the record has more messages.
    pub(crate) subsequence: Option<u32>,
}

/// The tables of an aggregate. They may extend into those of the next aggregates.
struct Tables<'a> {
    partition_keys: &'a [Key],
    explicit_hash_keys: &'a [Key],
}

impl Tables<'_> {
    /// Whether a user record belongs to the shard. The error means that it refers to a missing entry.
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

/// Returns the number of user records that are messages, and of all user records. Marks every [`STRIDE`]th of the
/// former.
fn read_user_records(body: &[u8], tables: &Tables<'_>, marks: &mut Vec<Mark>) -> Result<(u32, u32), Malformed> {
    let (mut kept, mut all) = (0, 0);
    let mut parts = Parts::new(body, 0);
    while let Some(part) = parts.next()? {
        let Part::UserRecord(record) = part else { continue };
        if tables.keeps(&record)? {
            if kept % STRIDE == 0 {
                marks.push(Mark { start: parts.last() as u32, subsequence: all });
            }
            kept += 1;
        }
        all += 1;
    }
    Ok((kept, all))
}

/// Iterates over the messages of a page.
struct Iter<'a> {
    page: &'a IndexedPage,
    /// The next record to visit, after the current aggregate.
    record: usize,
    /// The index of the next aggregate.
    next: usize,
    /// The current aggregate.
    current: Option<(Record<'a>, UserRecords<'a>)>,
}

impl<'a> Iterator for Iter<'a> {
    type Item = Message<'a>;

    fn next(&mut self) -> Option<Message<'a>> {
        loop {
            if let Some((record, user_records)) = &mut self.current {
                match user_records.next() {
                    Some((subsequence, user)) => return Some(user_records.message(record, subsequence, &user)),
                    None => self.current = None,
                }
            }
            let record = self.record;
            self.record += 1;
            match self.page.index.aggregates.get(self.next) {
                Some(aggregate) if aggregate.record == record => {
                    self.next += 1;
                    self.current = self.page.enter(aggregate, 0);
                }
                Some(_) | None => return self.page.page.record(record).map(plain_message),
            }
        }
    }
}

/// Iterates over those user records of an aggregate that are messages, with their indexes.
struct UserRecords<'a> {
    body: &'a [u8],
    parts: Parts<'a>,
    tables: Tables<'a>,
    subsequence: u32,
    left: u32,
}

impl<'a> Iterator for UserRecords<'a> {
    type Item = (u32, UserRecord<'a>);

    fn next(&mut self) -> Option<(u32, UserRecord<'a>)> {
        // The whole body was parsed when the page arrived, so there are no errors.
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

impl<'a> UserRecords<'a> {
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

fn plain_message(record: Record<'_>) -> Message<'_> {
    Message {
        sequence: record.sequence,
        subsequence: None,
        partition_key: record.partition_key,
        plain_key: record.plain_key,
        arrived: record.arrived,
        data: record.data,
    }
}
