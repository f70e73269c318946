//! Puts records into the stream and reshards it, on a random schedule.

use crate::aggregate::{UserRecord, aggregate};
use crate::chance::Chance;
use crate::kinesis::Kinesis;
use crate::scenario;

/// The writer of one seed.
pub struct Writer {
    plan: scenario::Writer,
    chance: Chance,
    /// The time of the next action.
    next: u64,
    /// The number of records put so far.
    put: u64,
    pub splits: u64,
    pub merges: u64,
    /// The number of aggregated records with a partition key that is too long, so that they count as plain records.
    pub overlong: u64,
    stopped: bool,
}

/// The maximum number of shards. More would only slow a seed down.
const SHARDS_MAX: usize = 40;

/// "Partition keys are Unicode strings with a maximum length limit of 256 characters for each key."
const KEY_CHARS_MAX: usize = 256;

impl Writer {
    pub fn new(plan: scenario::Writer, chance: Chance, now: u64) -> Writer {
        Writer { plan, chance, next: now, put: 0, splits: 0, merges: 0, overlong: 0, stopped: false }
    }

    pub fn stop(&mut self) {
        self.stopped = true;
    }

    /// Takes all actions that are due.
    pub fn work(&mut self, kinesis: &mut Kinesis, now: u64) {
        while !self.stopped && self.next <= now {
            let at = self.next;
            self.act(kinesis, at);
            self.next = at + self.chance.within(1, 2 * self.plan.pause_ms);
        }
    }

    fn act(&mut self, kinesis: &mut Kinesis, now: u64) {
        kinesis.stream.age(now);
        let open = kinesis.stream.open();
        if self.chance.percent(self.plan.reshards) && kinesis.stream.shards.len() < SHARDS_MAX {
            for _ in 0..=self.chance.within(0, self.plan.cascade) {
                self.reshard(kinesis, now);
            }
            return;
        }
        if self.put >= self.plan.records {
            return;
        }
        // Low indexes are more likely, so some shards are hot and others idle.
        let shard = open[(self.chance.magnitude(1, open.len() as u64) - 1) as usize];
        let arrived = now - self.chance.within(0, kinesis.quirks.arrival_jitter_ms).min(now);
        for _ in 0..self.chance.within(1, self.plan.burst) {
            let key = (!self.chance.percent(kinesis.quirks.keyless)).then(|| format!("key \"{}\"", self.put % 7));
            if self.chance.percent(self.plan.aggregated) {
                let mut users = self.users(kinesis.stream.shards[shard].hash);
                if self.chance.percent(5) {
                    // A key that is too long makes the whole record a single message with all its data.
                    users[0].partition_key = "ż".repeat(KEY_CHARS_MAX + 1);
                    kinesis.stream.put(shard, key, aggregate(&users), arrived, now);
                    self.overlong += 1;
                } else {
                    kinesis.stream.put_aggregate(shard, key, users, arrived, now);
                }
            } else {
                let data = self.data();
                kinesis.stream.put(shard, key, data, arrived, now);
            }
            self.put += 1;
        }
    }

    /// Returns user records, at least one of which belongs to the shard with this hash key range.
    fn users(&mut self, (low, high): (u128, u128)) -> Vec<UserRecord> {
        let count = self.chance.magnitude(1, 40);
        let ours = self.chance.within(1, count);
        let mut users = Vec::new();
        for n in 1..=count {
            let name = match self.chance.percent(2) {
                true => "ż".repeat(KEY_CHARS_MAX),
                false => format!("user {}", self.chance.within(0, 3)),
            };
            let mut user = UserRecord::new(&name, self.data());
            if n == ours || self.chance.percent(50) {
                user.explicit_hash_key = Some(low + u128::from(self.chance.any()) % ((high - low).max(1)));
            }
            users.push(user);
        }
        users
    }

    fn reshard(&mut self, kinesis: &mut Kinesis, now: u64) {
        let open = kinesis.stream.open();
        let newest = open[open.len() - 1];
        let shard = if self.chance.percent(self.plan.reshard_newest) { newest } else { self.chance.of(&open) };
        let before = kinesis.stream.shards.len();
        if self.chance.percent(50) {
            kinesis.stream.merge(shard, now);
            self.merges += u64::from(kinesis.stream.shards.len() > before);
        } else {
            kinesis.stream.split(shard, now);
            self.splits += 1;
        }
    }

    fn data(&mut self) -> Vec<u8> {
        let n = self.put;
        if self.plan.record_bytes > 1000 {
            let most = self.plan.record_bytes;
            let size = if self.chance.percent(20) { most } else { self.chance.magnitude(1, most) } as usize;
            return vec![b'a' + (n % 26) as u8; size];
        }
        match self.chance.within(0, 9) {
            0 => Vec::new(),
            1 => vec![0xff, 0x00, (n % 256) as u8],
            2 => format!("[{n}]").into_bytes(),
            3 => format!("{{\"_kinesis\":{n}}}").into_bytes(),
            4 => format!("text, line {n}\n").into_bytes(),
            _ => format!("{{\"n\":{n},\"at\":1.0e2}}").into_bytes(),
        }
    }
}
