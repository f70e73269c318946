//! What the destination holds after all runs so far.

use std::collections::BTreeMap;

use kinesis_reader_machine::Message;

use super::{Check, Position, ShardProgress, Span, violation};
use crate::kinesis::Stream;
use crate::kinesis::stream::{Record, Shard};

/// What the destination holds, and what it may lack.
#[derive(Default)]
pub struct Ledger {
    /// How often each message was written, by shard and record.
    copies: BTreeMap<usize, Vec<Vec<u32>>>,
    /// Ranges of records that were skipped legitimately, by shard.
    skipped: BTreeMap<usize, Vec<(usize, usize)>>,
    /// The message id of each message.
    ids: BTreeMap<(usize, String, Option<u32>), String>,
    /// How many messages were written once more than before.
    repeated: u64,
}

impl Ledger {
    /// Compares messages with those of their record from index `first` on. Their message ids must be the same each
    /// time.
    pub(super) fn compare<'a>(
        &mut self,
        index: usize,
        shard: &Shard,
        record: &Record,
        first: usize,
        messages: impl Iterator<Item = &'a Message>,
    ) -> Check {
        let mut users = shard.messages(record).skip(first);
        for message in messages {
            let (subsequence, key, data) = match users.next() {
                Some((number, user)) => (Some(number), Some(&user.partition_key), &user.data),
                None => (None, record.key.as_ref(), &record.data),
            };
            let same = record.sequence == message.sequence
                && record.arrived == message.arrived.0
                && key == message.partition_key.as_ref()
                && *data == message.data
                && message.subsequence == subsequence;
            if !same {
                return violation!("a message that differs from its record: {message:?}, {record:?}");
            }
            let key = (index, record.sequence.clone(), subsequence);
            let id = self.ids.entry(key).or_insert_with(|| message.id.clone());
            if *id != message.id {
                return violation!("a message with two ids: {id} and {}", message.id);
            }
        }
        Ok(())
    }

    /// Notes that delivery continues at the record `from`, and so skips those between the position and that record.
    pub(super) fn skip(&mut self, shard: usize, position: Position, from: usize) {
        let skipped = match position {
            Position::Before(next) => (next.record, from),
            Position::Unknown | Position::Oldest | Position::From { .. } | Position::Skipped => (0, from),
        };
        if skipped.0 < skipped.1 {
            self.skipped.entry(shard).or_default().push(skipped);
        }
    }

    /// Notes that the messages of a batch are durable.
    pub fn write(&mut self, span: Span, stream: &Stream) {
        let shard = &stream.shards[span.shard];
        let copies = self.copies.entry(span.shard).or_default();
        for (number, (record, part)) in (span.from.record..).zip(span.records(shard)) {
            if copies.len() <= number {
                copies.resize(number + 1, Vec::new());
            }
            copies[number].resize(shard.count(record), 0);
            for copy in &mut copies[number][part] {
                self.repeated += u64::from(*copy > 0);
                *copy += 1;
            }
        }
    }

    /// Checks, after a run without faults has reached its end, that each record was written or skipped legitimately.
    pub fn check_complete(&self, stream: &Stream, progress: &ShardProgress, exactly_once: bool) -> Check {
        if exactly_once && self.repeated > 0 {
            return violation!("{} messages were written twice", self.repeated);
        }
        for (index, shard) in stream.shards.iter().enumerate() {
            let (position, skipped_to) = match progress.get(&index) {
                Some(progress) => (progress.position, if progress.gap { shard.gone } else { progress.skipped_to }),
                None => (Position::Unknown, 0),
            };
            // The records after the last delivered message were checked when the run ended.
            let end = match position {
                Position::Before(next) => next.record,
                Position::Unknown | Position::Oldest | Position::From { .. } | Position::Skipped => 0,
            };
            for record in 0..end {
                let copies = self.copies.get(&index).and_then(|copies| copies.get(record));
                let is_whole = shard.count(&shard.records[record]) == copies.map_or(0, Vec::len)
                    && copies.into_iter().flatten().all(|copies| *copies > 0);
                let is_skipped = || {
                    let ranges = self.skipped.get(&index).map_or(&[][..], Vec::as_slice);
                    record < skipped_to || ranges.iter().any(|&(from, to)| (from..to).contains(&record))
                };
                if !is_whole && !is_skipped() {
                    return violation!("record {record} of {} was lost silently", shard.id);
                }
            }
        }
        Ok(())
    }
}
