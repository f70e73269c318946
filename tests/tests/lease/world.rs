//! The log, the store, the sink and the time, and what must hold of them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use kinesis_reader_lease::{Fault, Value};
use tests::chance::Chance;

use crate::store::{QUIRKS, Quirk, Store};
use crate::worker::{SETTINGS, Worker, parse};

/// A mistake of who uses the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mistake {
    /// The checkpoint moves before the page is delivered.
    CommitFirst,
    /// A delivery that failed counts as made.
    CountFailed,
}

/// What a seed sets. Each seed turns some faults off and makes others common.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) quirk: Quirk,
    pub(crate) workers: u64,
    /// The first run begins with what arrives from its time on.
    pub(crate) latest: bool,
    pub(crate) crash: u8,
    pub(crate) stall: u8,
    pub(crate) lost_reply: u8,
    pub(crate) sink_fails: u8,
    /// On SQLite, a process may be stopped for minutes within the very call that creates the value.
    pub(crate) stalls_in_creation: bool,
    /// Clocks are set to any time at any moment. An operator frees a lease that is held until a time that is too far away.
    pub(crate) wrong_clocks: bool,
    /// An operator frees a lease without having been told anything, also one that is at work.
    pub(crate) meddling: u8,
    pub(crate) fault: Option<Fault>,
    pub(crate) mistake: Option<Mistake>,
}

impl Scenario {
    /// Whether two may create the value, the later over the earlier: on SQLite, where what keeps them apart is the time.
    fn may_create_twice(&self) -> bool {
        self.stalls_in_creation || (self.wrong_clocks && self.quirk == Quirk::OverwriteAbsent)
    }

    pub(crate) fn of(seed: u64) -> Scenario {
        let mut chance = Chance::new(seed, 1);
        let mut often = |most: u8| [0, 1, most][chance.within(0, 2) as usize];
        let (crash, stall, sink_fails, lost) = (often(10), often(15), often(20), often(30));
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
            meddling: 0,
            fault: None,
            mistake: None,
        }
    }
}

pub(crate) struct World {
    pub(crate) now: u64,
    pub(crate) store: Store,
    /// Of each shard, when its messages arrive.
    log: Vec<Vec<u64>>,
    delivered: Vec<Delivery>,
    /// Of each epoch, the furthest positions that it was told are kept.
    kept: BTreeMap<u64, Vec<usize>>,
    /// What an owner began with, and what it should have.
    wrong: Option<String>,
    pub(crate) seen: BTreeMap<&'static str, u64>,
}

struct Delivery {
    epoch: u64,
    owner: String,
    shard: usize,
    index: usize,
}

impl World {
    fn new(scenario: &Scenario, chance: &mut Chance, first: Option<Vec<u8>>) -> World {
        // Near the end of a guard's minute, or anywhere in it.
        let start = 1_763_900_000_000 / 60_000 * 60_000 + 60_000 - chance.magnitude(1, 60_000);
        let log = (0..chance.within(1, 3)).map(|_| {
            let mut times: Vec<u64> =
                (0..chance.within(0, 25)).map(|_| (start - 20_000) + chance.magnitude(1, 600_000)).collect();
            times.sort_unstable();
            times
        });
        World {
            now: start,
            store: Store::new(scenario.quirk, first),
            log: log.collect(),
            delivered: Vec::new(),
            kept: BTreeMap::new(),
            wrong: None,
            seen: BTreeMap::new(),
        }
    }

    pub(crate) fn count(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    /// Some messages of a shard that has any.
    pub(crate) fn page(&self, positions: &[usize], chance: &mut Chance) -> Option<(usize, Range<usize>)> {
        let mut shards: Vec<usize> = (0..self.log.len()).collect();
        chance.shuffle(&mut shards);
        shards.into_iter().find_map(|shard| {
            let there = self.log[shard].iter().filter(|time| **time <= self.now).count();
            let end = there.min(positions[shard] + chance.within(1, 4) as usize);
            (positions[shard] < end).then(|| (shard, positions[shard]..end))
        })
    }

    /// Where an owner goes on.
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

    /// An owner has the lease and begins there.
    pub(crate) fn took(&mut self, value: &Value, positions: &[usize]) {
        self.count("taken");
        for (epoch, kept) in self.kept.range(..value.epoch) {
            if kept.iter().zip(positions).any(|(kept, position)| kept > position) {
                self.wrong.get_or_insert(format!("epoch {} begins before what {epoch} has kept", value.epoch));
            }
        }
    }

    /// An owner was told that its positions are kept.
    pub(crate) fn confirmed(&mut self, value: &Value, positions: &[usize]) {
        self.kept.insert(value.epoch, positions.to_vec());
    }

    /// Whether everything has arrived and is kept.
    fn is_done(&self) -> bool {
        let kept = self.store.value().and_then(|bytes| parse(&Value::parse(bytes).ok()?));
        kept.is_some_and(|positions| positions.iter().zip(&self.log).all(|(position, times)| *position == times.len()))
    }

    /// What must hold in the end.
    fn judge(&mut self, scenario: &Scenario) -> Result<(), String> {
        if let (Some(wrong), false) = (&self.wrong, scenario.may_create_twice()) {
            return Err(wrong.clone());
        }
        let values: Vec<(u64, Value)> =
            self.store.history.iter().filter_map(|(at, bytes)| Some((*at, Value::parse(bytes).ok()?))).collect();
        self.judge_history(&values, scenario)?;

        // Within an epoch, each shard without a gap, in order, and nothing twice.
        let mut last: BTreeMap<(u64, &str, usize), usize> = BTreeMap::new();
        for Delivery { epoch, owner, shard, index } in &self.delivered {
            // Where a first value may come late, two owners may have one epoch.
            let owner = if scenario.may_create_twice() { owner } else { "" };
            if let Some(before) = last.insert((*epoch, owner, *shard), *index)
                && *index != before + 1
            {
                return Err(format!("epoch {epoch}, shard {shard}: {index} after {before}"));
            }
        }
        // Of each shard, all that the first owner promised; and a sink that goes by the greatest has each once.
        let begun = values.first().map(|(_, value)| value.begun).ok_or("nobody ever began")?;
        let mut positions: Vec<usize> = self.log.iter().map(|_| 0).collect();
        if scenario.latest {
            positions = self.log.iter().map(|times| times.partition_point(|time| *time < begun)).collect();
        }
        let mut distinct = BTreeSet::new();
        for Delivery { shard, index, .. } in &self.delivered {
            distinct.insert((*shard, *index));
            match positions[*shard] {
                position if *index > position => {
                    return Err(format!("shard {shard}: a gap at {position} before {index}"));
                }
                position if *index == position => positions[*shard] += 1,
                _ => {}
            }
        }
        for (shard, times) in self.log.iter().enumerate() {
            if positions[shard] != times.len() {
                return Err(format!("shard {shard}: {} of {} were delivered", positions[shard], times.len()));
            }
        }
        let twice = self.delivered.len() - distinct.len();
        if twice > 0 {
            self.count("messages twice");
        }
        Ok(())
    }

    fn judge_history(&self, values: &[(u64, Value)], scenario: &Scenario) -> Result<(), String> {
        for pair in values.windows(2) {
            let [(_, old), (at, new)] = pair else { continue };
            if scenario.may_create_twice() {
                continue;
            }
            if (new.epoch, new.revision) <= (old.epoch, old.revision) || new.revision <= old.revision {
                return Err(format!("{new:?} after {old:?}"));
            }
            // By whose clock, where they differ?
            if !scenario.wrong_clocks && new.epoch != old.epoch && old.until > at + SETTINGS.grace / 2 {
                return Err(format!("{new:?} was taken {} ms too early", old.until - at));
            }
        }
        Ok(())
    }
}

/// Plays a scenario to its end, first with faults and then without, and judges it.
pub(crate) fn play(seed: u64, scenario: &Scenario) -> Result<BTreeMap<&'static str, u64>, String> {
    let mut chance = Chance::new(seed, 2);
    let mut world = World::new(scenario, &mut chance, None);
    let mut workers = workers(&world, scenario, &mut chance);
    for _ in 0..400 {
        turn(&mut workers, &mut world, scenario, &mut chance);
    }
    // Nothing fails any more: once everything has arrived, it must come to its end.
    let calm = Scenario {
        crash: 0,
        stall: 0,
        lost_reply: 0,
        sink_fails: 0,
        wrong_clocks: false,
        meddling: 0,
        ..scenario.clone()
    };
    if scenario.wrong_clocks {
        workers.iter_mut().for_each(Worker::correct_clock);
    }
    for turns in 0..20_000 {
        if turns % 50 == 0 && world.is_done() {
            break;
        }
        turn(&mut workers, &mut world, &calm, &mut chance);
    }
    world.judge(scenario)?;
    Ok(world.seen)
}

/// Plays on a store that holds something else. It must stay.
pub(crate) fn play_unreadable(seed: u64, scenario: &Scenario, there: &[u8]) -> Result<(), String> {
    let mut chance = Chance::new(seed, 2);
    let mut world = World::new(scenario, &mut chance, Some(there.to_vec()));
    let mut workers = workers(&world, scenario, &mut chance);
    for _ in 0..100 {
        turn(&mut workers, &mut world, scenario, &mut chance);
    }
    match (world.store.value().map(Vec::as_slice) == Some(there), world.delivered.is_empty()) {
        (true, true) if world.seen.contains_key("refused") => Ok(()),
        (untouched, undelivered) => Err(format!("untouched: {untouched}, nothing delivered: {undelivered}")),
    }
}

fn workers(world: &World, scenario: &Scenario, chance: &mut Chance) -> Vec<Worker> {
    let skew_max = SETTINGS.grace / 2;
    let mut skew = || chance.within(0, skew_max) as i64 - (skew_max / 2) as i64;
    let skews: Vec<i64> = (0..scenario.workers).map(|_| skew()).collect();
    skews.into_iter().map(|skew| Worker::new(skew, world.now + chance.magnitude(1, 20_000))).collect()
}

/// The next worker takes its step.
fn turn(workers: &mut [Worker], world: &mut World, scenario: &Scenario, chance: &mut Chance) {
    let next = workers.iter_mut().min_by_key(|worker| worker.wake).expect("there is a worker");
    world.now = world.now.max(next.wake);
    next.step(world, scenario, chance);
}
