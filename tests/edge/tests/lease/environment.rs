//! What the workers share: the messages of the stream, the store, what was delivered, and the time. At the end of a
//! run, it checks that the guarantees were kept.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use kinesis_reader_lease::Value;
use simulation::chance::Chance;

use crate::store::{QUIRKS, Quirk, Store};
use crate::worker::{SETTINGS, Worker, parse};

/// The settings of a run, drawn from a seed. Each seed turns some faults off and makes others common.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) quirk: Quirk,
    pub(crate) workers: u64,
    /// Reading starts at `latest`, not at the oldest message.
    pub(crate) latest: bool,
    pub(crate) crash: u8,
    pub(crate) stall: u8,
    pub(crate) lost_reply: u8,
    pub(crate) sink_fails: u8,
    /// On SQLite, a process may be suspended for minutes in the very call that creates the value.
    pub(crate) stalls_in_creation: bool,
    /// Clocks are set to any time at any moment. An operator frees leases that end too far in the future.
    pub(crate) wrong_clocks: bool,
    /// An operator frees leases without a reason, even ones that are in use.
    pub(crate) needless_revoke: u8,
}

impl Scenario {
    /// Whether two workers may create the value, so that the later one overwrites the earlier. This can happen on
    /// SQLite, where only time keeps them apart.
    fn may_create_twice(&self) -> bool {
        self.stalls_in_creation || (self.wrong_clocks && self.quirk == Quirk::OverwriteAbsent)
    }

    pub(crate) fn of(seed: u64) -> Scenario {
        let mut chance = Chance::new(seed, 1);
        let mut percent = |max: u8| [0, 1, max][chance.within(0, 2) as usize];
        let (crash, stall, sink_fails, lost) = (percent(10), percent(15), percent(20), percent(30));
        let quirk = QUIRKS[(seed % QUIRKS.len() as u64) as usize];
        Scenario {
            quirk,
            workers: chance.within(1, 8),
            latest: chance.percent(50),
            crash,
            stall,
            lost_reply: if quirk == Quirk::LostReply { lost.max(5) } else { lost / 10 },
            sink_fails,
            stalls_in_creation: false,
            wrong_clocks: false,
            needless_revoke: 0,
        }
    }
}

pub(crate) struct Environment {
    pub(crate) now: u64,
    pub(crate) store: Store,
    /// For each shard, when its messages arrive.
    log: Vec<Vec<u64>>,
    delivered: Vec<Delivery>,
    /// For each epoch, the furthest positions whose commit was confirmed.
    committed: BTreeMap<u64, Vec<usize>>,
    /// The first time that an owner started before what was committed.
    violation: Option<String>,
    /// How often each event happened.
    pub(crate) events: BTreeMap<&'static str, u64>,
}

struct Delivery {
    epoch: u64,
    owner: String,
    shard: usize,
    index: usize,
}

impl Environment {
    fn new(scenario: &Scenario, chance: &mut Chance, first: Option<Vec<u8>>) -> Environment {
        // Anywhere in the minute of a counter, but often near its end.
        let start = 1_763_900_000_000 / 60_000 * 60_000 + 60_000 - chance.magnitude(1, 60_000);
        let log = (0..chance.within(1, 3)).map(|_| {
            let mut times: Vec<u64> =
                (0..chance.within(0, 25)).map(|_| (start - 20_000) + chance.magnitude(1, 600_000)).collect();
            times.sort_unstable();
            times
        });
        Environment {
            now: start,
            store: Store::new(scenario.quirk, first),
            log: log.collect(),
            delivered: Vec::new(),
            committed: BTreeMap::new(),
            violation: None,
            events: BTreeMap::new(),
        }
    }

    pub(crate) fn count(&mut self, what: &'static str) {
        *self.events.entry(what).or_default() += 1;
    }

    /// Some new messages of a random shard, if there are any.
    pub(crate) fn page(&self, positions: &[usize], chance: &mut Chance) -> Option<(usize, Range<usize>)> {
        let mut shards: Vec<usize> = (0..self.log.len()).collect();
        chance.shuffle(&mut shards);
        shards.into_iter().find_map(|shard| {
            let arrived = self.log[shard].iter().filter(|time| **time <= self.now).count();
            let end = arrived.min(positions[shard] + chance.within(1, 4) as usize);
            (positions[shard] < end).then(|| (shard, positions[shard]..end))
        })
    }

    /// Where an owner continues.
    pub(crate) fn positions(&self, value: &Value, scenario: &Scenario) -> Vec<usize> {
        parse(value).unwrap_or_else(|| match scenario.latest {
            true => self.log.iter().map(|times| times.partition_point(|time| *time < value.begun)).collect(),
            false => vec![0; self.log.len()],
        })
    }

    pub(crate) fn deliver(&mut self, held: Option<&Value>, shard: usize, page: Range<usize>) {
        let Value { epoch, owner, .. } = held.expect("only an owner delivers");
        let delivery = |index| Delivery { epoch: *epoch, owner: owner.clone(), shard, index };
        self.delivered.extend(page.map(delivery));
    }

    /// Records that an owner acquired the lease and starts at these positions.
    pub(crate) fn record_acquisition(&mut self, value: &Value, positions: &[usize]) {
        self.count("acquired");
        for (epoch, committed) in self.committed.range(..value.epoch) {
            if committed.iter().zip(positions).any(|(committed, position)| committed > position) {
                self.violation
                    .get_or_insert(format!("epoch {} starts before what epoch {epoch} committed", value.epoch));
            }
        }
    }

    /// Records that an owner's commit was confirmed.
    pub(crate) fn record_commit(&mut self, value: &Value, positions: &[usize]) {
        self.committed.insert(value.epoch, positions.to_vec());
    }

    /// Whether everything has arrived and is committed.
    fn is_done(&self) -> bool {
        let committed = self.store.value().and_then(|bytes| parse(&Value::parse(bytes).ok()?));
        committed
            .is_some_and(|positions| positions.iter().zip(&self.log).all(|(position, times)| *position == times.len()))
    }

    /// Checks the guarantees at the end of a run.
    fn check(&mut self, scenario: &Scenario) -> Result<(), String> {
        if let (Some(violation), false) = (&self.violation, scenario.may_create_twice()) {
            return Err(violation.clone());
        }
        let values: Vec<(u64, Value)> =
            self.store.history.iter().filter_map(|(at, bytes)| Some((*at, Value::parse(bytes).ok()?))).collect();
        self.check_history(&values, scenario)?;

        // Within an epoch, each shard is delivered without gaps, in order and once.
        let mut last: BTreeMap<(u64, &str, usize), usize> = BTreeMap::new();
        for Delivery { epoch, owner, shard, index } in &self.delivered {
            // If the value may be created twice, two owners may share an epoch.
            let owner = if scenario.may_create_twice() { owner } else { "" };
            if let Some(before) = last.insert((*epoch, owner, *shard), *index)
                && *index != before + 1
            {
                return Err(format!("epoch {epoch}, shard {shard}: {index} after {before}"));
            }
        }
        // All messages from the start of the first owner are delivered, and a sink that keeps the highest number of
        // each shard gets each message once.
        let begun = values.first().map(|(_, value)| value.begun).ok_or("no value was ever written")?;
        let mut positions: Vec<usize> = self.log.iter().map(|_| 0).collect();
        if scenario.latest {
            positions = self.log.iter().map(|times| times.partition_point(|time| *time < begun)).collect();
        }
        let mut distinct = BTreeSet::new();
        for Delivery { shard, index, .. } in &self.delivered {
            distinct.insert((*shard, *index));
            match positions[*shard] {
                position if *index > position => {
                    return Err(format!("shard {shard}: gap from {position} to {index}"));
                }
                position if *index == position => positions[*shard] += 1,
                _ => {}
            }
        }
        for (shard, times) in self.log.iter().enumerate() {
            if positions[shard] != times.len() {
                return Err(format!("shard {shard}: {} of {} messages delivered", positions[shard], times.len()));
            }
        }
        let twice = self.delivered.len() - distinct.len();
        if twice > 0 {
            self.count("messages twice");
        }
        Ok(())
    }

    fn check_history(&self, values: &[(u64, Value)], scenario: &Scenario) -> Result<(), String> {
        for pair in values.windows(2) {
            let [(_, old), (at, new)] = pair else { continue };
            if scenario.may_create_twice() {
                continue;
            }
            if (new.epoch, new.revision) <= (old.epoch, old.revision) || new.revision <= old.revision {
                return Err(format!("{new:?} after {old:?}"));
            }
            // With wrong clocks, there is no right time to take a lease.
            if !scenario.wrong_clocks && new.epoch != old.epoch && old.until > at + SETTINGS.grace / 2 {
                return Err(format!("{new:?} was written {} ms too early", old.until - at));
            }
        }
        Ok(())
    }
}

/// Runs a scenario to its end, first with faults and then without, and checks the guarantees. Returns how often each
/// event happened.
pub(crate) fn run(seed: u64, scenario: &Scenario) -> Result<BTreeMap<&'static str, u64>, String> {
    let mut chance = Chance::new(seed, 2);
    let mut environment = Environment::new(scenario, &mut chance, None);
    let mut workers = workers(&environment, scenario, &mut chance);
    for _ in 0..400 {
        step(&mut workers, &mut environment, scenario, &mut chance);
    }
    // Without faults, the run must end once all messages have arrived.
    let without_faults = Scenario {
        crash: 0,
        stall: 0,
        lost_reply: 0,
        sink_fails: 0,
        wrong_clocks: false,
        needless_revoke: 0,
        ..scenario.clone()
    };
    if scenario.wrong_clocks {
        workers.iter_mut().for_each(Worker::correct_clock);
    }
    for steps in 0..20_000 {
        if steps % 50 == 0 && environment.is_done() {
            break;
        }
        step(&mut workers, &mut environment, &without_faults, &mut chance);
    }
    environment.check(scenario)?;
    Ok(environment.events)
}

/// Runs a scenario on a store with a value that cannot be used, which must not change.
pub(crate) fn run_unreadable(seed: u64, scenario: &Scenario, stored: &[u8]) -> Result<(), String> {
    let mut chance = Chance::new(seed, 2);
    let mut environment = Environment::new(scenario, &mut chance, Some(stored.to_vec()));
    let mut workers = workers(&environment, scenario, &mut chance);
    for _ in 0..100 {
        step(&mut workers, &mut environment, scenario, &mut chance);
    }
    match (environment.store.value().map(Vec::as_slice) == Some(stored), environment.delivered.is_empty()) {
        (true, true) if environment.events.contains_key("refused") => Ok(()),
        (unchanged, nothing_delivered) => {
            Err(format!("unchanged: {unchanged}, nothing delivered: {nothing_delivered}"))
        }
    }
}

fn workers(environment: &Environment, scenario: &Scenario, chance: &mut Chance) -> Vec<Worker> {
    let skew_max = SETTINGS.grace / 2;
    let mut skew = || chance.within(0, skew_max) as i64 - (skew_max / 2) as i64;
    let skews: Vec<i64> = (0..scenario.workers).map(|_| skew()).collect();
    skews.into_iter().map(|skew| Worker::new(skew, environment.now + chance.magnitude(1, 20_000))).collect()
}

/// Lets the worker that wakes next take a step.
fn step(workers: &mut [Worker], environment: &mut Environment, scenario: &Scenario, chance: &mut Chance) {
    let next = workers.iter_mut().min_by_key(|worker| worker.wake).expect("there is a worker");
    environment.now = environment.now.max(next.wake);
    next.step(environment, scenario, chance);
}
