//! What the destination holds, over all runs.

use std::collections::BTreeMap;

use kinesis_reader_machine::Message;

use super::{Judged, Position, Span, Tracks, violation};
use crate::kinesis::Stream;
use crate::kinesis::stream::{Record, Shard};

/// What the destination holds, and what it need not.
#[derive(Default)]
pub struct Ledger {
    /// How often each message was written, by shard and record.
    copies: BTreeMap<usize, Vec<Vec<u32>>>,
    /// Records that were passed over with good reason, by shard.
    missing: BTreeMap<usize, Vec<(usize, usize)>>,
    /// The identifier that each message was given.
    ids: BTreeMap<(usize, String, Option<u32>), String>,
    pub written: u64,
    pub again: u64,
}

impl Ledger {
    /// Messages must be those of their record, from number `first` of them on, and be called the same each time.
    pub(super) fn compare<'a>(
        &mut self,
        index: usize,
        shard: &Shard,
        record: &Record,
        first: usize,
        messages: impl Iterator<Item = &'a Message>,
    ) -> Judged {
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
                return violation!("a message that is not its record: {message:?}, {record:?}");
            }
            let name = (index, record.sequence.clone(), subsequence);
            let id = self.ids.entry(name).or_insert_with(|| message.id.clone());
            if *id != message.id {
                return violation!("a message of two names: {id} and {}", message.id);
            }
        }
        Ok(())
    }

    /// Delivery goes on at a record, from a place before it.
    pub(super) fn passed(&mut self, shard: usize, position: Position, from: usize) {
        let missing = match position {
            Position::Before(next) => (next.record, from),
            Position::Unheard | Position::Oldest | Position::From { .. } | Position::Passed => (0, from),
        };
        if missing.0 < missing.1 {
            self.missing.entry(shard).or_default().push(missing);
        }
    }

    /// Messages of a shard are in the destination for good.
    pub fn write(&mut self, span: Span, stream: &Stream) {
        let shard = &stream.shards[span.shard];
        let copies = self.copies.entry(span.shard).or_default();
        for (number, (record, part)) in (span.from.record..).zip(span.records(shard)) {
            if copies.len() <= number {
                copies.resize(number + 1, Vec::new());
            }
            copies[number].resize(shard.count(record), 0);
            for copy in &mut copies[number][part] {
                self.again += u64::from(*copy > 0);
                *copy += 1;
                self.written += 1;
            }
        }
    }

    /// With faults off and the last run at its end: every record is there, or is known to be missing.
    pub fn complete(&self, stream: &Stream, tracks: &Tracks, exactly_once: bool) -> Judged {
        if exactly_once && self.again > 0 {
            return violation!("{} messages are there twice", self.again);
        }
        for (index, shard) in stream.shards.iter().enumerate() {
            let (position, over) = match tracks.get(&index) {
                Some(track) => (track.position, if track.lost { shard.gone } else { track.passed_over }),
                None => (Position::Unheard, 0),
            };
            // What comes after the last message that was delivered was judged when the run ended.
            let end = match position {
                Position::Before(next) => next.record,
                Position::Unheard | Position::Oldest | Position::From { .. } | Position::Passed => 0,
            };
            for record in 0..end {
                let copies = self.copies.get(&index).and_then(|copies| copies.get(record));
                let is_whole = shard.count(&shard.records[record]) == copies.map_or(0, Vec::len)
                    && copies.into_iter().flatten().all(|copies| *copies > 0);
                let excused = || {
                    let spans = self.missing.get(&index).map_or(&[][..], Vec::as_slice);
                    record < over || spans.iter().any(|&(from, to)| (from..to).contains(&record))
                };
                if !is_whole && !excused() {
                    return violation!("record {record} of {} is nowhere, and nothing told of it", shard.id);
                }
            }
        }
        Ok(())
    }
}
