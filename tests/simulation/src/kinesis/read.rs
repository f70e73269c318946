//! `GetShardIterator` and `GetRecords`.

use serde_json::Value;

use super::body::Writer;
use super::misbehavior::Misbehavior;
use super::quirks::{IdleLag, Lag, Trimmed};
use super::rejection::{Refusal, Rejection};
use super::request::{self, Forbidden, IteratorType};
use super::stream::{Record, Shard};
use super::{Facts, Handled, Kinesis, Operation, Page, StartingPosition};

/// "GetRecords can return up to 10 MB of data […] or up to 10,000 records."
const PAGE_BYTES: u64 = 10 * 1024 * 1024;
const PAGE_RECORDS: usize = 10_000;
/// The maximum number of shards in a chase, so that even a reader that follows all of them finishes within the time
/// limit.
const CHASE_SHARDS: usize = 2_000;

/// A shard iterator that the service has returned.
#[derive(Clone)]
pub(super) struct ShardIterator {
    incarnation: u32,
    created: u64,
    shard: usize,
    /// The index of the next record.
    position: usize,
    /// The number of empty pages still to come before the next record.
    empty_pages: u64,
    /// The number of consecutive empty pages at the tip.
    idle_pages: u64,
}

impl Kinesis {
    #[expect(clippy::too_many_lines, reason = "follows the operation's documentation from top to bottom")]
    pub(super) fn seek(&mut self, request: Value, now: u64, writer: &mut Writer) -> Result<Handled, Forbidden> {
        let request: request::GetShardIterator = request::parse(request)?;
        self.check_stream(request.stream_name.as_deref(), request.stream_arn.as_deref())?;
        let by_sequence =
            matches!(request.shard_iterator_type, IteratorType::AtSequenceNumber | IteratorType::AfterSequenceNumber);
        if by_sequence != request.starting_sequence_number.is_some() {
            return Err(format!("StartingSequenceNumber does not go with {:?}", request.shard_iterator_type));
        }
        if (request.shard_iterator_type == IteratorType::AtTimestamp) != request.timestamp.is_some() {
            return Err(format!("Timestamp does not go with {:?}", request.shard_iterator_type));
        }
        let Some(shard) = self.stream.find(&request.shard_id) else {
            return Err(format!("a shard that never existed: {}", request.shard_id));
        };
        if let Some(rejection) = self.spurious_error(Operation::GetShardIterator) {
            return Ok(Err(rejection));
        }
        let found = &self.stream.shards[shard];
        if found.expired.is_some() {
            let message =
                format!("Shard {} in stream {} under account 123456789012 does not exist", found.id, self.stream.name);
            return Ok(Err(Rejection::new(Refusal::NotFound, "ResourceNotFoundException", message)));
        }
        if self.quirks.limits && !self.quotas.entry(shard).or_default().admit_seek(now) {
            let message = "Rate exceeded for shard";
            return Ok(Err(Rejection::new(Refusal::Throttled, "ProvisionedThroughputExceededException", message)));
        }
        let mut clamped = false;
        let (position, requested) = match request.shard_iterator_type {
            IteratorType::TrimHorizon => (found.gone, StartingPosition::Oldest),
            IteratorType::Latest => (found.records.len(), StartingPosition::Latest),
            IteratorType::AtTimestamp => {
                let time = (request.timestamp.unwrap_or_default() * 1000.0).round() as u64;
                if time > now {
                    return Err(format!("a Timestamp in the future: {} ms", time - now));
                }
                (found.at(time).max(found.gone), StartingPosition::Time(time))
            }
            IteratorType::AtSequenceNumber | IteratorType::AfterSequenceNumber => {
                let sequence = request.starting_sequence_number.as_deref().unwrap_or_default();
                match found.position(sequence) {
                    None if sequence == found.first_sequence => (found.gone, StartingPosition::Oldest),
                    None => return Err(format!("a sequence number that does not belong to {}: {sequence}", found.id)),
                    Some(position) if position < found.gone && self.quirks.trimmed == Trimmed::Refused => {
                        let message = format!(
                            "StartingSequenceNumber {sequence} used in GetShardIterator on shard {} in stream {} \
                             under account 123456789012 is invalid.",
                            found.id, self.stream.name
                        );
                        return Ok(Err(Rejection::new(Refusal::Trimmed, "InvalidArgumentException", message)));
                    }
                    Some(position) => {
                        clamped = position < found.gone;
                        let (at, requested) = match request.shard_iterator_type {
                            IteratorType::AfterSequenceNumber => (position + 1, StartingPosition::After(position + 1)),
                            _ => (position, StartingPosition::At(position)),
                        };
                        let at = if self.quirks.after_is_at { position } else { at };
                        (at.max(found.gone), requested)
                    }
                }
            }
        };
        let by_sequence = matches!(requested, StartingPosition::At(_) | StartingPosition::After(_));
        let gone = found.gone;
        let target = if by_sequence && self.misbehaves(Misbehavior::IteratorToOldest) { gone } else { position };
        let iterator = self.new_iterator(shard, target, now, 0);
        writer.object(|answer| answer.text("ShardIterator", &iterator));
        Ok(Ok(Facts::Iterator { shard, requested, position, clamped }))
    }

    pub(super) fn read(&mut self, request: Value, now: u64, writer: &mut Writer) -> Result<Handled, Forbidden> {
        let request: request::GetRecords = request::parse(request)?;
        request::check_range("Limit", request.limit, 1, PAGE_RECORDS as u64)?;
        request::check_stream(&self.stream, None, request.stream_arn.as_deref())?;
        if self.quirks.arn_only && request.stream_arn.is_none() {
            return Err("no StreamARN for a stream of another account".to_owned());
        }
        let iterator = self.iterator(&request.shard_iterator)?.clone();
        if iterator.incarnation != self.stream.incarnation || self.stream.shards[iterator.shard].expired.is_some() {
            let message = "The shard of this iterator does not exist";
            return Ok(Err(Rejection::new(Refusal::NotFound, "ResourceNotFoundException", message)));
        }
        if now - iterator.created > self.quirks.iterator_life_ms {
            let message = "Iterator expired. The iterator was created at another time";
            return Ok(Err(Rejection::new(Refusal::Expired, "ExpiredIteratorException", message)));
        }
        let others = if self.chance.percent(self.quirks.other_readers) { self.chance.within(1, 4) } else { 0 };
        let quota = self.quotas.entry(iterator.shard).or_default();
        if self.quirks.limits && !quota.admit(now, others as usize, self.quirks.penalties) {
            let message = "Rate exceeded for shard";
            return Ok(Err(Rejection::new(Refusal::Throttled, "ProvisionedThroughputExceededException", message)));
        }
        if self.misbehaves(Misbehavior::ExpiredAtOnce) {
            return Ok(Err(Rejection::new(Refusal::Expired, "ExpiredIteratorException", "Iterator expired")));
        }
        if let Some(rejection) = self.spurious_error(Operation::GetRecords) {
            return Ok(Err(rejection));
        }
        let limit = request.limit.map_or(PAGE_RECORDS, |limit| limit as usize);
        Ok(Ok(self.page(iterator, limit, now, writer)))
    }

    #[expect(clippy::too_many_lines, reason = "follows the operation's documentation from top to bottom")]
    fn page(&mut self, iterator: ShardIterator, limit: usize, now: u64, writer: &mut Writer) -> Facts {
        let found = &self.stream.shards[iterator.shard];
        if found.is_open()
            && iterator.position == found.records.len()
            && self.stream.shards.len() < CHASE_SHARDS
            && self.misbehaves(Misbehavior::Chase)
        {
            self.stream.replace(iterator.shard, now);
        }
        let shard = &self.stream.shards[iterator.shard];
        let from = iterator.position.max(shard.gone);
        let tip = shard.records.len();
        let empty_pages = if from == tip { 0 } else { iterator.empty_pages };
        let to = if empty_pages > 0 { from } else { from + self.fill(iterator.shard, from, limit) };
        let shard = &self.stream.shards[iterator.shard];
        let records = &shard.records[from..to];
        let bytes = records.iter().map(|record| record.data.len() as u64).sum();
        let end = !shard.is_open() && to == tip && empty_pages == 0 && (from == to || !self.quirks.separate_end);
        let is_open = shard.is_open();
        let false_end =
            is_open && (self.chance.percent(self.quirks.false_ends) || self.misbehaves(Misbehavior::NoIterator));
        let shard = &self.stream.shards[iterator.shard];

        let lag = match (self.quirks.lag, shard.records[from..to].last()) {
            _ if end => self.quirks.end_lag,
            // It falls from page to page, as the iterator moves through a time without records.
            _ if empty_pages > 0 => now.saturating_sub(shard.records[from].arrived).max(1) + empty_pages * 60_000,
            (Lag::Age, last) if to < tip => {
                let arrived = last.or(shard.records.get(to)).map_or(now, |record| record.arrived);
                now.saturating_sub(arrived).max(1)
            }
            // A stale listing may still show a closed shard as open. Its lag must not suggest that it is at its tip.
            (Lag::Age, Some(last)) if !shard.is_open() && self.quirks.stale_ms > 0 => {
                now.saturating_sub(last.arrived).max(1)
            }
            (Lag::Age, _) => match self.quirks.idle_lag {
                IdleLag::Zero => 0,
                IdleLag::Constant(lag) => lag,
                IdleLag::Growing => 1000 + iterator.idle_pages * 200,
                IdleLag::Falling(lag) => lag - iterator.idle_pages,
            },
            (Lag::ZeroOnRecords, Some(_)) => 0,
            (Lag::BehindTipRecord, Some(last)) => shard.records[tip - 1].arrived.saturating_sub(last.arrived),
            (Lag::ZeroOnRecords | Lag::BehindTipRecord, None) => 0,
        };
        let early = self.quirks.early_children && !shard.is_open() && to == tip;
        let names = self.quirks.names_children && (end || early);
        let children = if names { shard.children.clone() } else { Vec::new() };
        let next = if end || false_end {
            None
        } else {
            let idle = if from == tip { iterator.idle_pages + 1 } else { 0 };
            let target = if self.misbehaves(Misbehavior::IteratorToItself) { from } else { to };
            let next = self.new_iterator(iterator.shard, target, now, idle);
            if from == to
                && let Some(created) = self.iterators.last_mut()
            {
                created.empty_pages = empty_pages.saturating_sub(1);
            }
            Some(next)
        };
        let disorder = to - from > 1 && self.misbehaves(Misbehavior::Disorder);
        let own_child = end && self.misbehaves(Misbehavior::OwnChild);
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
                    member.optional_text("PartitionKey", record.key.as_deref());
                });
            });
            answer.optional_text("NextShardIterator", next.as_deref());
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
        self.quotas.entry(iterator.shard).or_default().count_bytes(bytes, now);
        if disorder || own_child {
            return Facts::Invalid;
        }
        let (iterator_at, has_next) = (iterator.position, next.is_some());
        let tip = is_open && has_next && from == to && lag == 0;
        Facts::Read(Page { shard: iterator.shard, iterator_at, from, to, bytes, has_next, tip, end, children })
    }

    /// Draws how many of the records from an index on make up a page: at least one, if there is one.
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

    fn new_iterator(&mut self, shard: usize, position: usize, now: u64, idle_pages: u64) -> String {
        let incarnation = self.stream.incarnation;
        let empty_pages = if self.chance.percent(self.quirks.empty_pages) { self.chance.within(1, 15) } else { 0 };
        self.iterators.push(ShardIterator { incarnation, created: now, shard, position, empty_pages, idle_pages });
        let end = if self.quirks.odd_iterators { "\n" } else { "" };
        format!("AAAAAAAAAA/{}+=={end}", self.iterators.len() - 1)
    }

    fn iterator(&self, iterator: &str) -> Result<&ShardIterator, Forbidden> {
        let number =
            iterator.trim_end_matches('\n').strip_prefix("AAAAAAAAAA/").and_then(|rest| rest.strip_suffix("+=="));
        number
            .and_then(|number| self.iterators.get(number.parse::<usize>().ok()?))
            .ok_or_else(|| format!("unknown iterator: {iterator}"))
    }
}

pub(super) fn hash_range(shard: &Shard, writer: &mut Writer) {
    writer.member("HashKeyRange", |range| {
        range.text("StartingHashKey", &shard.hash.0.to_string());
        range.text("EndingHashKey", &shard.hash.1.to_string());
    });
}
