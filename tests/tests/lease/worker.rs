//! One drain at a time: takes the lease, reads pages, delivers, commits, gives the lease back, as the edge app does.

use kinesis_reader_lease::{Answer, Call, Lease, Outcome, Settings, Step, Value};
use tests::chance::Chance;

use crate::calendar::Calendar;
use crate::store::{Handle, Quirk};
use crate::world::{Mistake, Scenario, World};

pub(crate) const SETTINGS: Settings = Settings { time: 30_000, grace: 2_000, patience: 5_000, pause: 100 };

/// How long a delivery may take, in milliseconds: none begins with less of the lease left.
const DELIVERY_TIME: u64 = 5_000;

pub(crate) struct Worker {
    calendar: Calendar,
    /// When it goes on.
    pub(crate) wake: u64,
    handle: Handle,
    positions: Vec<usize>,
    pages: u64,
    /// It was told that the lease is held until a time that no right clock has set.
    told_ahead: bool,
    state: State,
}

enum State {
    Idle,
    /// An operation on the lease; `call`: what is on its way to the store.
    Operating {
        lease: Box<Lease>,
        stage: Stage,
        call: Option<Call>,
    },
    Reading {
        lease: Box<Lease>,
    },
    Delivering {
        lease: Box<Lease>,
        shard: usize,
        page: std::ops::Range<usize>,
    },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Acquire,
    Commit,
    Release,
    /// An operator frees the lease by way of this host.
    Revoke,
}

impl Worker {
    pub(crate) fn new(skew: i64, wake: u64) -> Worker {
        Worker {
            calendar: Calendar::beside(skew),
            wake,
            handle: Handle::Unread,
            positions: Vec::new(),
            pages: 0,
            told_ahead: false,
            state: State::Idle,
        }
    }

    /// Its clock is set right, if it is one that can be wrong.
    pub(crate) fn correct_clock(&mut self) {
        self.calendar.correct();
    }

    /// One step, and what may go wrong in it.
    pub(crate) fn step(&mut self, world: &mut World, scenario: &Scenario, chance: &mut Chance) {
        if scenario.wrong_clocks && chance.percent(3) {
            world.count("clock set");
            self.calendar.set(world.now, chance);
        }
        if let State::Idle = self.state {
            self.calendar.begin(world.now);
        }
        let now = self.calendar.present(world.now);
        self.wake = world.now + chance.magnitude(1, 400);
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Idle => {
                let owner = format!("owner-{}", chance.any());
                let (mut lease, stage) = match self.told_ahead || chance.percent(scenario.meddling) {
                    true => (Lease::revoke(owner, SETTINGS, now), Stage::Revoke),
                    false => (Lease::acquire(owner, SETTINGS, now), Stage::Acquire),
                };
                self.told_ahead = false;
                lease.plant(scenario.fault);
                self.pages = chance.within(1, 5);
                self.operate(lease.into(), stage, now, world, scenario, chance);
            }
            State::Operating { mut lease, stage, call } => {
                if let Some(call) = call {
                    if chance.percent(scenario.crash) {
                        // It dies before the call is carried out, or before the answer.
                        if chance.percent(50) {
                            self.make(call, world, scenario, chance, now);
                        }
                        return self.end(world, chance);
                    }
                    let answer = self.make(call, world, scenario, chance, now);
                    lease.handle(answer, now);
                }
                self.operate(lease, stage, now, world, scenario, chance);
            }
            State::Reading { mut lease } => {
                let page = (self.pages > 0 && lease.left(now) >= DELIVERY_TIME)
                    .then(|| world.page(&self.positions, chance))
                    .flatten();
                match page {
                    Some((shard, page)) => {
                        if scenario.mistake == Some(Mistake::CommitFirst) {
                            self.positions[shard] = page.end;
                        }
                        self.state = State::Delivering { lease, shard, page };
                        self.stall(scenario, chance, u64::MAX, world);
                    }
                    None => {
                        lease.release(Some(text(&self.positions)), now);
                        self.operate(lease, Stage::Release, now, world, scenario, chance);
                    }
                }
            }
            State::Delivering { mut lease, shard, page } => {
                if chance.percent(scenario.crash) {
                    if chance.percent(50) {
                        world.deliver(lease.held(), shard, page);
                    }
                    return self.end(world, chance);
                }
                self.pages -= 1;
                let (arrives, told) = match chance.percent(scenario.sink_fails) {
                    true => (chance.percent(50), false),
                    false => (true, true),
                };
                if arrives {
                    world.deliver(lease.held(), shard, page.clone());
                }
                if told || scenario.mistake == Some(Mistake::CountFailed) {
                    self.positions[shard] = page.end;
                } else {
                    self.pages = 0;
                }
                match self.pages {
                    0 => {
                        lease.release(Some(text(&self.positions)), now);
                        self.operate(lease, Stage::Release, now, world, scenario, chance);
                    }
                    _ => {
                        lease.commit(Some(text(&self.positions)), now);
                        self.operate(lease, Stage::Commit, now, world, scenario, chance);
                    }
                }
            }
        }
    }

    /// Goes on with the operation, up to the next call or its outcome.
    fn operate(
        &mut self,
        mut lease: Box<Lease>,
        stage: Stage,
        now: u64,
        world: &mut World,
        scenario: &Scenario,
        chance: &mut Chance,
    ) {
        let outcome = match lease.poll(now) {
            Step::Call(Call::Pause(until)) => {
                self.wake = world.now.saturating_add(until.saturating_sub(now));
                lease.handle(Answer::Paused, until);
                self.state = State::Operating { lease, stage, call: None };
                return;
            }
            Step::Call(call) => {
                // A swap that is older than a minute is more than SQLite's promise bears.
                let swap_on_sqlite = scenario.quirk == Quirk::OverwriteAbsent && matches!(call, Call::Swap(_));
                let stall_max = if swap_on_sqlite && !scenario.stalls_in_creation { 40_000 } else { u64::MAX };
                self.state = State::Operating { lease, stage, call: Some(call) };
                self.stall(scenario, chance, stall_max, world);
                return;
            }
            Step::Done(outcome) => outcome,
        };
        match (stage, outcome) {
            (Stage::Acquire, Outcome::Written) => {
                let value = lease.held().expect("it was written");
                self.positions = world.positions(value, scenario);
                world.took(value, &self.positions);
                self.state = State::Reading { lease };
            }
            (Stage::Commit, Outcome::Written) => {
                world.confirmed(lease.held().expect("it was written"), &self.positions);
                self.state = State::Reading { lease };
            }
            (Stage::Release, Outcome::Written) => {
                world.confirmed(lease.held().expect("it was written"), &self.positions);
                world.count("given back");
                self.end(world, chance);
            }
            (Stage::Revoke, Outcome::Written) => {
                world.count("revoked");
                self.end(world, chance);
            }
            (_, Outcome::Held { retry_after }) => {
                world.count("held");
                self.wake = world.now + retry_after.min(chance.magnitude(1, 200_000));
            }
            (_, Outcome::Ahead { .. }) => {
                world.count("ahead");
                self.end(world, chance);
                self.told_ahead = chance.percent(30);
            }
            (_, Outcome::Free) => {
                world.count("free");
                self.end(world, chance);
            }
            (_, Outcome::Lost) => {
                world.count("lost");
                self.end(world, chance);
            }
            (_, Outcome::Refused(_)) => {
                world.count("refused");
                self.end(world, chance);
            }
            (_, Outcome::Unavailable(_)) => {
                world.count("unavailable");
                self.end(world, chance);
            }
        }
    }

    fn make(&mut self, call: Call, world: &mut World, scenario: &Scenario, chance: &mut Chance, now: u64) -> Answer {
        let lost = chance.percent(scenario.lost_reply);
        let before = lost && chance.percent(50);
        match call {
            Call::Read => {
                let (handle, value) = world.store.read(chance, world.now);
                self.handle = handle;
                Answer::Read(if lost { gone() } else { Ok(value) })
            }
            Call::Increment { .. } if before => Answer::Incremented(gone()),
            Call::Increment { slot, by } => {
                let sum = world.store.increment(slot, by);
                Answer::Incremented(if lost { gone() } else { Ok(sum) })
            }
            Call::Swap(_) if before => Answer::Swapped(gone()),
            Call::Swap(value) => {
                let told = world.store.swap(&mut self.handle, value, world.now);
                Answer::Swapped(if lost { gone() } else { told })
            }
            Call::Pause(until) => {
                debug_assert!(until >= now);
                Answer::Paused
            }
        }
    }

    fn stall(&mut self, scenario: &Scenario, chance: &mut Chance, most: u64, world: &mut World) {
        if chance.percent(scenario.stall) {
            world.count("stall");
            self.wake = world.now + chance.magnitude(1_000, 300_000).min(most);
        }
    }

    fn end(&mut self, world: &mut World, chance: &mut Chance) {
        self.state = State::Idle;
        self.wake = world.now + chance.magnitude(1, 100_000);
    }
}

fn gone<T>() -> Result<T, String> {
    Err("no answer".to_owned())
}

fn text(positions: &[usize]) -> String {
    format!("{positions:?}")
}

/// The positions that a checkpoint holds.
pub(crate) fn parse(value: &Value) -> Option<Vec<usize>> {
    let text = value.checkpoint.as_ref()?;
    Some(serde_json::from_str(text).expect("we wrote it"))
}
