//! A stream: its shards with their records, resharding, and retention.
//!
//! This is the truth from which both the service's answers and the oracle's checks are derived.

use super::quirks::Sequences;
use crate::aggregate::{UserRecord, aggregate};

/// A record of the stream.
#[derive(Clone, Debug)]
pub struct Record {
    pub sequence: String,
    /// The arrival time that the service reports.
    pub arrived: u64,
    /// The true arrival time.
    pub put: u64,
    pub key: Option<String>,
    pub data: Vec<u8>,
    /// The user records that its producer aggregated in it. If there are none, the record is one message.
    pub users: Vec<UserRecord>,
}

/// A shard. It remains in [`Stream::shards`] forever, even after it has left the stream.
#[derive(Clone, Debug)]
pub struct Shard {
    pub id: String,
    pub parents: Vec<usize>,
    pub children: Vec<usize>,
    pub hash: (u128, u128),
    pub created: u64,
    pub closed: Option<u64>,
    /// When it left the stream.
    pub expired: Option<u64>,
    pub first_sequence: String,
    pub last_sequence: Option<String>,
    /// Every record ever put.
    pub records: Vec<Record>,
    /// The number of records, from the first on, that have left the stream.
    pub gone: usize,
    counter: Counter,
}

impl Shard {
    /// Returns the index of the record with this sequence number.
    pub fn position(&self, sequence: &str) -> Option<usize> {
        self.records.iter().position(|record| record.sequence == sequence)
    }

    /// Returns the index of the first record with this arrival time or a later one.
    pub fn at(&self, time: u64) -> usize {
        self.records.iter().position(|record| record.arrived >= time).unwrap_or(self.records.len())
    }

    /// Returns how many records truly arrived before a time.
    pub fn put_before(&self, time: u64) -> usize {
        self.records.iter().take_while(|record| record.put < time).count()
    }

    /// Returns the user records of an aggregated record that belong to this shard, with their subsequence numbers. If
    /// the record has no partition key, its shard was not chosen by key, and all of them belong to it.
    pub fn messages<'a>(&self, record: &'a Record) -> impl Iterator<Item = (u32, &'a UserRecord)> {
        let (low, high) = if record.key.is_some() { self.hash } else { (0, HASH_MAX) };
        let is_ours = move |user: &UserRecord| (low..=high).contains(&user.hash_key());
        (0..).zip(&record.users).filter(move |(_, user)| is_ours(user))
    }

    /// Returns how many messages a record holds.
    pub fn count(&self, record: &Record) -> usize {
        if record.users.is_empty() { 1 } else { self.messages(record).count() }
    }

    pub fn is_open(&self) -> bool {
        self.closed.is_none()
    }
}

/// A stream.
#[derive(Clone, Debug)]
pub struct Stream {
    pub name: String,
    pub arn: String,
    pub created: u64,
    /// The number of earlier streams with this name.
    pub incarnation: u32,
    pub shards: Vec<Shard>,
    pub retention_ms: u64,
    sequences: Sequences,
}

/// The hash keys are 128 bits wide.
const HASH_MAX: u128 = u128::MAX;

impl Stream {
    pub fn new(name: &str, incarnation: u32, shards: u32, sequences: Sequences, retention_ms: u64, now: u64) -> Stream {
        let arn = format!("arn:aws:kinesis:eu-west-1:123456789012:stream/{name}");
        let mut stream = Stream {
            name: name.to_owned(),
            arn,
            created: now,
            incarnation,
            shards: Vec::new(),
            retention_ms,
            sequences,
        };
        let width = HASH_MAX / u128::from(shards);
        for i in 0..shards {
            let low = width * u128::from(i);
            let high = if i + 1 == shards { HASH_MAX } else { low + width - 1 };
            stream.add(Vec::new(), (low, high), now);
        }
        stream
    }

    /// Returns the open shards.
    pub fn open(&self) -> Vec<usize> {
        (0..self.shards.len()).filter(|&i| self.shards[i].is_open()).collect()
    }

    /// Returns the shard with this identifier, even if it has left the stream.
    pub fn find(&self, id: &str) -> Option<usize> {
        self.shards.iter().position(|shard| shard.id == id)
    }

    pub fn put(&mut self, shard: usize, key: Option<String>, data: Vec<u8>, arrived: u64, now: u64) {
        let shard = &mut self.shards[shard];
        assert!(shard.is_open(), "a closed shard accepts no records");
        let sequence = shard.counter.next();
        shard.records.push(Record { sequence, arrived, put: now, key, data, users: Vec::new() });
    }

    /// Puts an aggregated record with these user records.
    pub fn put_aggregate(&mut self, shard: usize, key: Option<String>, users: Vec<UserRecord>, arrived: u64, now: u64) {
        self.put(shard, key, aggregate(&users), arrived, now);
        if let Some(record) = self.shards[shard].records.last_mut() {
            record.users = users;
        }
    }

    /// Splits a shard in half.
    pub fn split(&mut self, shard: usize, now: u64) {
        let (low, high) = self.shards[shard].hash;
        if low == high {
            return;
        }
        let middle = low + (high - low) / 2;
        self.close(shard, now);
        self.add(vec![shard], (low, middle), now);
        self.add(vec![shard], (middle + 1, high), now);
    }

    /// Merges an open shard with the open shard whose hash key range follows, if there is one.
    pub fn merge(&mut self, shard: usize, now: u64) {
        let (low, high) = self.shards[shard].hash;
        let next = self.open().into_iter().find(|&i| high < HASH_MAX && self.shards[i].hash.0 == high + 1);
        let Some(other) = next else { return };
        let end = self.shards[other].hash.1;
        self.close(shard, now);
        self.close(other, now);
        self.add(vec![shard, other], (low, end), now);
    }

    /// Closes a shard and adds a single child. Kinesis has no such operation, but a misbehaving service may do it.
    pub fn replace(&mut self, shard: usize, now: u64) {
        let hash = self.shards[shard].hash;
        self.close(shard, now);
        self.add(vec![shard], hash, now);
    }

    /// Removes records and shards that are older than the retention.
    pub fn age(&mut self, now: u64) {
        let oldest = now.saturating_sub(self.retention_ms);
        for shard in self.shards.iter_mut().filter(|shard| shard.expired.is_none()) {
            while shard.records.get(shard.gone).is_some_and(|record| record.put < oldest) {
                shard.gone += 1;
            }
            if shard.closed.is_some_and(|closed| closed < oldest) {
                shard.expired = Some(now);
            }
        }
    }

    fn add(&mut self, parents: Vec<usize>, hash: (u128, u128), now: u64) {
        let index = self.shards.len();
        for &parent in &parents {
            self.shards[parent].children.push(index);
        }
        let mut counter = Counter::new(self.sequences, index, now);
        self.shards.push(Shard {
            id: format!("shardId-{index:012}"),
            parents,
            children: Vec::new(),
            hash,
            created: now,
            closed: None,
            expired: None,
            first_sequence: counter.next(),
            last_sequence: None,
            records: Vec::new(),
            gone: 0,
            counter,
        });
    }

    fn close(&mut self, shard: usize, now: u64) {
        let shard = &mut self.shards[shard];
        assert!(shard.is_open(), "a shard closes only once");
        shard.closed = Some(now);
        // At least the last record's sequence number; in AWS it is usually greater.
        let last = shard.records.last().map(|record| record.sequence.clone());
        shard.last_sequence = match last {
            Some(last) if shard.records.len().is_multiple_of(3) => Some(last),
            _ => Some(shard.counter.next()),
        };
    }
}

/// Generates a shard's sequence numbers, each greater than the one before.
#[derive(Clone, Debug)]
struct Counter {
    style: Sequences,
    shard: usize,
    value: u128,
    zeros: usize,
}

impl Counter {
    fn new(style: Sequences, shard: usize, now: u64) -> Counter {
        let value = match style {
            Sequences::Long => u128::from(now) * 1_000_000_000,
            Sequences::Counted | Sequences::Lengthening => 0,
        };
        Counter { style, shard, value, zeros: 0 }
    }

    fn next(&mut self) -> String {
        match self.style {
            Sequences::Long => {
                self.value += 977;
                format!("49{:06}{:048}", 600_000 + self.shard, self.value)
            }
            Sequences::Counted => {
                self.value += 1;
                self.value.to_string()
            }
            Sequences::Lengthening => {
                self.value += 1;
                if self.value.is_multiple_of(3) && self.zeros < 120 {
                    self.zeros += 1;
                }
                format!("{}{}", self.value, "0".repeat(self.zeros))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(shards: u32) -> Stream {
        Stream::new("orders", 0, shards, Sequences::Counted, 1000, 0)
    }

    #[test]
    fn resharding_leaves_no_hole_in_the_hash_key_range() {
        let mut stream = stream(3);
        stream.split(1, 10);
        stream.merge(0, 20);
        stream.merge(2, 30);
        let mut ranges: Vec<_> = stream.open().into_iter().map(|i| stream.shards[i].hash).collect();
        ranges.sort_unstable();
        assert_eq!((ranges[0].0, ranges[ranges.len() - 1].1), (0, HASH_MAX));
        assert!(ranges.windows(2).all(|pair| pair[0].1 + 1 == pair[1].0));
        assert_eq!(stream.shards[5].parents, [0, 3]);
        assert_eq!(stream.shards[0].children, [5]);
        assert_eq!(stream.shards[2].closed, None, "the last shard of the range has no next one");
    }

    #[test]
    fn records_and_shards_older_than_the_retention_leave_the_stream() {
        let mut stream = stream(1);
        stream.put(0, None, vec![], 0, 0);
        stream.put(0, None, vec![], 500, 500);
        stream.age(1001);
        assert_eq!(stream.shards[0].gone, 1);
        stream.split(0, 1001);
        stream.age(2001);
        assert_eq!((stream.shards[0].gone, stream.shards[0].expired), (2, None));
        stream.age(2002);
        assert_eq!(stream.shards[0].expired, Some(2002));
    }

    #[test]
    fn sequence_numbers_increase_numerically() {
        for style in [Sequences::Long, Sequences::Counted, Sequences::Lengthening] {
            let mut counter = Counter::new(style, 2, 1_763_900_000_000);
            let mut last = counter.next();
            for _ in 0..2000 {
                let next = counter.next();
                assert!((last.len(), &last) < (next.len(), &next), "{last} {next}");
                assert!(next.len() <= 129 && !next.starts_with('0'));
                last = next;
            }
        }
    }
}
