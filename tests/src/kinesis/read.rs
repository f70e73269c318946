//! `GetShardIterator` and `GetRecords`.

use serde_json::Value;

use super::body::Writer;
use super::quirks::{IdleLag, Lag, Trimmed};
use super::rejection::{Refusal, Rejection};
use super::request::{self, Forbidden, IteratorType};
use super::stream::{Record, Shard};
use super::wrong::Wrong;
use super::{Asked, Facts, Kinesis, Operation, Page, Served};

/// "GetRecords can return up to 10 MB of data […] or up to 10,000 records."
const PAGE_BYTES: u64 = 10 * 1024 * 1024;
const PAGE_RECORDS: usize = 10_000;
/// The maximum number of shards in a chase, so that a reader which follows all of them fails in time.
const CHASE_SHARDS: usize = 2_000;

/// An iterator that was given out.
#[derive(Clone)]
pub(super) struct Iterator {
    incarnation: u32,
    born: u64,
    shard: usize,
    /// The record that is next.
    position: usize,
    /// Pages that will be empty though there is more.
    voids: u64,
    /// Pages that were empty at the tip.
    idle: u64,
}

impl Kinesis {
    pub(super) fn seek(&mut self, asked: Value, now: u64, writer: &mut Writer) -> Result<Served, Forbidden> {
        let asked: request::GetShardIterator = request::parse(asked)?;
        self.names(asked.stream_name.as_deref(), asked.stream_arn.as_deref())?;
        let by_sequence =
            matches!(asked.shard_iterator_type, IteratorType::AtSequenceNumber | IteratorType::AfterSequenceNumber);
        if by_sequence != asked.starting_sequence_number.is_some() {
            return Err(format!("StartingSequenceNumber does not go with {:?}", asked.shard_iterator_type));
        }
        if (asked.shard_iterator_type == IteratorType::AtTimestamp) != asked.timestamp.is_some() {
            return Err(format!("Timestamp does not go with {:?}", asked.shard_iterator_type));
        }
        let Some(shard) = self.stream.find(&asked.shard_id) else {
            return Err(format!("a shard that never was: {}", asked.shard_id));
        };
        if let Some(rejection) = self.groundless(Operation::GetShardIterator) {
            return Ok(Err(rejection));
        }
        let there = &self.stream.shards[shard];
        if there.expired.is_some() {
            let message =
                format!("Shard {} in stream {} under account 123456789012 does not exist", there.id, self.stream.name);
            return Ok(Err(Rejection::new(Refusal::NotFound, "ResourceNotFoundException", message)));
        }
        if self.quirks.limits && !self.quotas.entry(shard).or_default().admit_seek(now) {
            let message = "Rate exceeded for shard";
            return Ok(Err(Rejection::new(Refusal::Throttled, "ProvisionedThroughputExceededException", message)));
        }
        let mut clamped = false;
        let (position, point) = match asked.shard_iterator_type {
            IteratorType::TrimHorizon => (there.gone, Asked::Oldest),
            IteratorType::Latest => (there.records.len(), Asked::Latest),
            IteratorType::AtTimestamp => {
                let time = (asked.timestamp.unwrap_or_default() * 1000.0).round() as u64;
                if time > now {
                    return Err(format!("a Timestamp in the future: {} ms", time - now));
                }
                (there.at(time).max(there.gone), Asked::Time(time))
            }
            IteratorType::AtSequenceNumber | IteratorType::AfterSequenceNumber => {
                let sequence = asked.starting_sequence_number.as_deref().unwrap_or_default();
                match there.position(sequence) {
                    None if sequence == there.first_sequence => (there.gone, Asked::Oldest),
                    None => return Err(format!("a sequence number that is not of {}: {sequence}", there.id)),
                    Some(position) if position < there.gone && self.quirks.trimmed == Trimmed::Refused => {
                        let message = format!(
                            "StartingSequenceNumber {sequence} used in GetShardIterator on shard {} in stream {} \
                             under account 123456789012 is invalid.",
                            there.id, self.stream.name
                        );
                        return Ok(Err(Rejection::new(Refusal::Trimmed, "InvalidArgumentException", message)));
                    }
                    Some(position) => {
                        clamped = position < there.gone;
                        let (at, point) = match asked.shard_iterator_type {
                            IteratorType::AfterSequenceNumber => (position + 1, Asked::After(position + 1)),
                            _ => (position, Asked::At(position)),
                        };
                        // Some give the record itself too where they are asked for what is after it.
                        let at = if self.quirks.after_is_at { position } else { at };
                        (at.max(there.gone), point)
                    }
                }
            }
        };
        let by_sequence = matches!(point, Asked::At(_) | Asked::After(_));
        let gone = there.gone;
        let leads = if by_sequence && self.errs(Wrong::IteratorToOldest) { gone } else { position };
        let iterator = self.give(shard, leads, now, 0);
        writer.object(|answer| answer.text("ShardIterator", &iterator));
        Ok(Ok(Facts::Sought { shard, asked: point, position, clamped }))
    }

    pub(super) fn read(&mut self, asked: Value, now: u64, writer: &mut Writer) -> Result<Served, Forbidden> {
        let asked: request::GetRecords = request::parse(asked)?;
        request::within("Limit", asked.limit, 1, PAGE_RECORDS as u64)?;
        request::same(&self.stream, None, asked.stream_arn.as_deref())?;
        if self.quirks.arn_only && asked.stream_arn.is_none() {
            return Err("no StreamARN, and the stream is of another account".to_owned());
        }
        let iterator = self.iterator(&asked.shard_iterator)?.clone();
        if iterator.incarnation != self.stream.incarnation || self.stream.shards[iterator.shard].expired.is_some() {
            let message = "The shard of this iterator does not exist";
            return Ok(Err(Rejection::new(Refusal::NotFound, "ResourceNotFoundException", message)));
        }
        if now - iterator.born > self.quirks.iterator_life_ms {
            let message = "Iterator expired. The iterator was created at another time";
            return Ok(Err(Rejection::new(Refusal::Expired, "ExpiredIteratorException", message)));
        }
        let neighbours = if self.chance.percent(self.quirks.neighbours) { self.chance.within(1, 4) } else { 0 };
        let quota = self.quotas.entry(iterator.shard).or_default();
        if self.quirks.limits && !quota.admit(now, neighbours as usize, self.quirks.penalties) {
            let message = "Rate exceeded for shard";
            return Ok(Err(Rejection::new(Refusal::Throttled, "ProvisionedThroughputExceededException", message)));
        }
        if self.errs(Wrong::ExpiredAtOnce) {
            return Ok(Err(Rejection::new(Refusal::Expired, "ExpiredIteratorException", "Iterator expired")));
        }
        if let Some(rejection) = self.groundless(Operation::GetRecords) {
            return Ok(Err(rejection));
        }
        let limit = asked.limit.map_or(PAGE_RECORDS, |limit| limit as usize);
        Ok(Ok(self.page(iterator, limit, now, writer)))
    }

    fn page(&mut self, iterator: Iterator, limit: usize, now: u64, writer: &mut Writer) -> Facts {
        let there = &self.stream.shards[iterator.shard];
        if there.is_open()
            && iterator.position == there.records.len()
            && self.stream.shards.len() < CHASE_SHARDS
            && self.errs(Wrong::Chase)
        {
            self.stream.succeed(iterator.shard, now);
        }
        let shard = &self.stream.shards[iterator.shard];
        let from = iterator.position.max(shard.gone);
        let tip = shard.records.len();
        let voids = if from == tip { 0 } else { iterator.voids };
        let to = if voids > 0 { from } else { from + self.fill(iterator.shard, from, limit) };
        let shard = &self.stream.shards[iterator.shard];
        let records = &shard.records[from..to];
        let bytes = records.iter().map(|record| record.data.len() as u64).sum();
        let end = !shard.is_open() && to == tip && voids == 0 && (from == to || !self.quirks.separate_end);
        let is_open = shard.is_open();
        let false_end = is_open && (self.chance.percent(self.quirks.false_ends) || self.errs(Wrong::NoIterator));
        let shard = &self.stream.shards[iterator.shard];

        let lag = match (self.quirks.lag, shard.records[from..to].last()) {
            _ if end => self.quirks.end_lag,
            // It falls from page to page, as the iterator moves through times without records.
            _ if voids > 0 => now.saturating_sub(shard.records[from].arrived).max(1) + voids * 60_000,
            (Lag::Age, last) if to < tip => {
                let place = last.or(shard.records.get(to)).map_or(now, |record| record.arrived);
                now.saturating_sub(place).max(1)
            }
            // A closed shard has no tip to be at; where a listing may still show it as open, the lag tells.
            (Lag::Age, Some(last)) if !shard.is_open() && self.quirks.stale_ms > 0 => {
                now.saturating_sub(last.arrived).max(1)
            }
            (Lag::Age, _) => match self.quirks.idle_lag {
                IdleLag::Zero => 0,
                IdleLag::Constant(lag) => lag,
                IdleLag::Growing => 1000 + iterator.idle * 200,
                IdleLag::Falling(lag) => lag - iterator.idle,
            },
            (Lag::ZeroOnRecords, Some(_)) => 0,
            (Lag::BehindTipRecord, Some(last)) => shard.records[tip - 1].arrived.saturating_sub(last.arrived),
            (Lag::ZeroOnRecords | Lag::BehindTipRecord, None) => 0,
        };
        // Some are named before the end too, beside a next iterator: "not valid", says KCL.
        let early = self.quirks.early_children && !shard.is_open() && to == tip;
        let names = self.quirks.names_children && (end || early);
        let children = if names { shard.children.clone() } else { Vec::new() };
        let next = if end || false_end {
            None
        } else {
            let idle = if from == tip { iterator.idle + 1 } else { 0 };
            let leads = if self.errs(Wrong::IteratorToItself) { from } else { to };
            let next = self.give(iterator.shard, leads, now, idle);
            if from == to
                && let Some(given) = self.iterators.last_mut()
            {
                given.voids = voids.saturating_sub(1);
            }
            Some(next)
        };
        let disorder = to - from > 1 && self.errs(Wrong::Disorder);
        let own_child = end && self.errs(Wrong::OwnChild);
        let shard = &self.stream.shards[iterator.shard];
        let mut records: Vec<&Record> = shard.records[from..to].iter().collect();
        if disorder {
            records.reverse();
        }
        writer.object(|answer| {
            answer.array("Records", &records, |writer, record| {
                writer.object(|member| {
                    member.text("SequenceNumber", &record.sequence);
                    member.time("ApproximateArrivalTimestamp", record.arrived);
                    member.data("Data", &record.data);
                    member.maybe("PartitionKey", record.key.as_deref());
                });
            });
            answer.maybe("NextShardIterator", next.as_deref());
            answer.number("MillisBehindLatest", lag);
            if own_child {
                answer.array("ChildShards", &[shard], |writer, shard| {
                    writer.object(|writer| {
                        writer.text("ShardId", &shard.id);
                        writer.array("ParentShards", &[shard], |writer, shard| writer.string(&shard.id));
                    });
                });
            } else if !children.is_empty() {
                answer.array("ChildShards", &children, |writer, &child| self.child(child, writer));
            }
        });
        self.quotas.entry(iterator.shard).or_default().brought(bytes, now);
        if disorder || own_child {
            return Facts::Garbled;
        }
        let (asked, goes_on) = (iterator.position, next.is_some());
        Facts::Read(Page { shard: iterator.shard, asked, from, to, bytes, goes_on, end, children })
    }

    /// How many of these records go on a page: at least one if there is one.
    fn fill(&mut self, shard: usize, from: usize, limit: usize) -> usize {
        let records = self.stream.shards[shard].records.get(from..).unwrap_or(&[]);
        let mut bytes = 0;
        let fits = |record: &&Record| {
            bytes += record.data.len() as u64;
            bytes <= PAGE_BYTES
        };
        let most = records.iter().take(limit).take_while(fits).count().max(records.len().min(1));
        if most > 1 && self.chance.percent(self.quirks.short_pages) {
            return self.chance.within(1, most as u64) as usize;
        }
        most
    }

    fn child(&self, child: usize, writer: &mut Writer) {
        let child = &self.stream.shards[child];
        writer.object(|writer| {
            writer.text("ShardId", &child.id);
            writer.array("ParentShards", &child.parents, |writer, &parent| {
                writer.string(&self.stream.shards[parent].id);
            });
            hash_range(child, writer);
        });
    }

    fn give(&mut self, shard: usize, position: usize, now: u64, idle: u64) -> String {
        let incarnation = self.stream.incarnation;
        let voids = if self.chance.percent(self.quirks.voids) { self.chance.within(1, 15) } else { 0 };
        self.iterators.push(Iterator { incarnation, born: now, shard, position, voids, idle });
        let end = if self.quirks.odd_iterators { "\n" } else { "" };
        format!("AAAAAAAAAA/{}+=={end}", self.iterators.len() - 1)
    }

    fn iterator(&self, iterator: &str) -> Result<&Iterator, Forbidden> {
        let number =
            iterator.trim_end_matches('\n').strip_prefix("AAAAAAAAAA/").and_then(|rest| rest.strip_suffix("+=="));
        number
            .and_then(|number| self.iterators.get(number.parse::<usize>().ok()?))
            .ok_or_else(|| format!("an iterator that was not given out: {iterator}"))
    }
}

pub(super) fn hash_range(shard: &Shard, writer: &mut Writer) {
    writer.member("HashKeyRange", |range| {
        range.text("StartingHashKey", &shard.hash.0.to_string());
        range.text("EndingHashKey", &shard.hash.1.to_string());
    });
}
