//! The writer: puts records into the stream and reshards it, on a random schedule.

use crate::aggregate::UserRecord;
use crate::chance::Chance;
use crate::kinesis::Kinesis;
use crate::scenario;

/// The writer of one seed.
pub struct Writer {
    plan: scenario::Writer,
    chance: Chance,
    next: u64,
    put: u64,
    pub splits: u64,
    pub merges: u64,
    at_work: bool,
}

/// More shards would only slow a seed down.
const SHARDS_MAX: usize = 40;

impl Writer {
    pub fn new(plan: scenario::Writer, chance: Chance, now: u64) -> Writer {
        Writer { plan, chance, next: now, put: 0, splits: 0, merges: 0, at_work: true }
    }

    /// Returns the time of the next action.
    pub fn next(&self) -> Option<u64> {
        self.at_work.then_some(self.next)
    }

    pub fn stop(&mut self) {
        self.at_work = false;
    }

    /// Takes all actions that are due.
    pub fn work(&mut self, kinesis: &mut Kinesis, now: u64) {
        while self.at_work && self.next <= now {
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
        // Low indexes are more likely, so there are hot shards and idle ones.
        let shard = open[(self.chance.magnitude(1, open.len() as u64) - 1) as usize];
        let arrived = now - self.chance.within(0, kinesis.habits.arrival_jitter_ms).min(now);
        for _ in 0..self.chance.within(1, self.plan.burst) {
            let key = (!self.chance.percent(kinesis.habits.keyless)).then(|| format!("key \"{}\"", self.put % 7));
            if self.chance.percent(self.plan.aggregated) {
                let users = self.users(kinesis.stream.shards[shard].hash);
                kinesis.stream.put_aggregate(shard, key, users, arrived, now);
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
            let mut user = UserRecord::new(&format!("user {}", self.chance.within(0, 3)), self.data());
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
        let shard = if self.chance.percent(self.plan.restless) { newest } else { self.chance.of(&open) };
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
