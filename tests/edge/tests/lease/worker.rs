//! A worker that runs one drain after another, as the edge component does: it takes the lease, reads pages, delivers,
//! commits, and gives the lease back.

use kinesis_reader_lease::{Answer, Call, Lease, Outcome, Settings, Step, Value};
use simulation::chance::Chance;

use crate::calendar::Calendar;
use crate::environment::{Environment, Scenario};
use crate::store::{Handle, Quirk};

pub(crate) const SETTINGS: Settings = Settings { duration: 30_000, grace: 2_000, timeout: 5_000, backoff: 100 };

/// How long a delivery may take, in milliseconds. None is started with less of the lease left.
const DELIVERY_TIME: u64 = 5_000;

pub(crate) struct Worker {
    calendar: Calendar,
    /// When the worker takes its next step.
    pub(crate) wake: u64,
    handle: Handle,
    positions: Vec<usize>,
    pages: u64,
    /// The lease was found to end later than any correct clock can have set.
    saw_ahead: bool,
    state: State,
}

enum State {
    Idle,
    /// An operation on the lease.
    Operating {
        lease: Box<Lease>,
        stage: Stage,
        /// A call that is on its way to the store.
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
    /// An operator frees the lease through this host.
    Revoke,
}

impl Worker {
    pub(crate) fn new(skew: i64, wake: u64) -> Worker {
        Worker {
            calendar: Calendar::with_offset(skew),
            wake,
            handle: Handle::Unread,
            positions: Vec::new(),
            pages: 0,
            saw_ahead: false,
            state: State::Idle,
        }
    }

    pub(crate) fn correct_clock(&mut self) {
        self.calendar.correct();
    }

    /// Takes one step, in which things may go wrong.
    #[expect(clippy::too_many_lines, reason = "one step of the drain from top to bottom")]
    pub(crate) fn step(&mut self, environment: &mut Environment, scenario: &Scenario, chance: &mut Chance) {
        if scenario.wrong_clocks && chance.percent(3) {
            environment.count("clock set");
            self.calendar.set(environment.now, chance);
        }
        if let State::Idle = self.state {
            self.calendar.begin(environment.now);
        }
        let now = self.calendar.present(environment.now);
        self.wake = environment.now + chance.magnitude(1, 400);
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Idle => {
                let owner = format!("owner-{}", chance.any());
                let (lease, stage) = match self.saw_ahead || chance.percent(scenario.needless_revoke) {
                    true => (Lease::revoke(owner, SETTINGS, now), Stage::Revoke),
                    false => (Lease::acquire(owner, SETTINGS, now), Stage::Acquire),
                };
                self.saw_ahead = false;
                self.pages = chance.within(1, 5);
                self.advance(lease.into(), stage, now, environment, scenario, chance);
            }
            State::Operating { mut lease, stage, call } => {
                if let Some(call) = call {
                    if chance.percent(scenario.crash) {
                        // The worker dies before the call is carried out, or before it is answered.
                        if chance.percent(50) {
                            self.carry_out(call, environment, scenario, chance, now);
                        }
                        return self.finish(environment, chance);
                    }
                    let answer = self.carry_out(call, environment, scenario, chance, now);
                    lease.handle(answer, now);
                }
                self.advance(lease, stage, now, environment, scenario, chance);
            }
            State::Reading { mut lease } => {
                let page = (self.pages > 0 && lease.remaining(now) >= DELIVERY_TIME)
                    .then(|| environment.page(&self.positions, chance))
                    .flatten();
                match page {
                    Some((shard, page)) => {
                        self.state = State::Delivering { lease, shard, page };
                        self.stall(scenario, chance, u64::MAX, environment);
                    }
                    None => {
                        lease.release(Some(text(&self.positions)), now);
                        self.advance(lease, Stage::Release, now, environment, scenario, chance);
                    }
                }
            }
            State::Delivering { mut lease, shard, page } => {
                if chance.percent(scenario.crash) {
                    if chance.percent(50) {
                        environment.deliver(lease.held(), shard, page);
                    }
                    return self.finish(environment, chance);
                }
                self.pages -= 1;
                let (arrives, confirmed) = match chance.percent(scenario.sink_fails) {
                    true => (chance.percent(50), false),
                    false => (true, true),
                };
                if arrives {
                    environment.deliver(lease.held(), shard, page.clone());
                }
                if confirmed {
                    self.positions[shard] = page.end;
                } else {
                    self.pages = 0;
                }
                match self.pages {
                    0 => {
                        lease.release(Some(text(&self.positions)), now);
                        self.advance(lease, Stage::Release, now, environment, scenario, chance);
                    }
                    _ => {
                        lease.commit(Some(text(&self.positions)), now);
                        self.advance(lease, Stage::Commit, now, environment, scenario, chance);
                    }
                }
            }
        }
    }

    /// Continues an operation up to its next call or its outcome.
    #[expect(clippy::too_many_lines, reason = "one step of the drain from top to bottom")]
    fn advance(
        &mut self,
        mut lease: Box<Lease>,
        stage: Stage,
        now: u64,
        environment: &mut Environment,
        scenario: &Scenario,
        chance: &mut Chance,
    ) {
        let outcome = match lease.poll(now) {
            Step::Call(Call::Pause(until)) => {
                self.wake = environment.now.saturating_add(until.saturating_sub(now));
                lease.handle(Answer::Paused, until);
                self.state = State::Operating { lease, stage, call: None };
                return;
            }
            Step::Call(call) => {
                // On SQLite, the guarantees only hold if a swap takes less than a minute.
                let swap_on_sqlite = scenario.quirk == Quirk::OverwriteAbsent && matches!(call, Call::Swap(_));
                let stall_max = if swap_on_sqlite && !scenario.stalls_in_creation { 40_000 } else { u64::MAX };
                self.state = State::Operating { lease, stage, call: Some(call) };
                self.stall(scenario, chance, stall_max, environment);
                return;
            }
            Step::Done(outcome) => outcome,
        };
        match (stage, outcome) {
            (Stage::Acquire, Outcome::Written) => {
                let value = lease.held().expect("the value was written");
                self.positions = environment.positions(value, scenario);
                environment.record_acquisition(value, &self.positions);
                self.state = State::Reading { lease };
            }
            (Stage::Commit, Outcome::Written) => {
                environment.record_commit(lease.held().expect("the value was written"), &self.positions);
                self.state = State::Reading { lease };
            }
            (Stage::Release, Outcome::Written) => {
                environment.record_commit(lease.held().expect("the value was written"), &self.positions);
                environment.count("given back");
                self.finish(environment, chance);
            }
            (Stage::Revoke, Outcome::Written) => {
                environment.count("revoked");
                self.finish(environment, chance);
            }
            (_, Outcome::Held { retry_after }) => {
                environment.count("held");
                self.wake = environment.now + retry_after.min(chance.magnitude(1, 200_000));
            }
            (_, Outcome::Ahead { .. }) => {
                environment.count("ahead");
                self.finish(environment, chance);
                self.saw_ahead = chance.percent(30);
            }
            (_, Outcome::Free) => {
                environment.count("free");
                self.finish(environment, chance);
            }
            (_, Outcome::Lost) => {
                environment.count("lost");
                self.finish(environment, chance);
            }
            (_, Outcome::Refused(_)) => {
                environment.count("refused");
                self.finish(environment, chance);
            }
            (_, Outcome::Unavailable(_)) => {
                environment.count("unavailable");
                self.finish(environment, chance);
            }
        }
    }

    fn carry_out(
        &mut self,
        call: Call,
        environment: &mut Environment,
        scenario: &Scenario,
        chance: &mut Chance,
        now: u64,
    ) -> Answer {
        let lost = chance.percent(scenario.lost_reply);
        let before = lost && chance.percent(50);
        match call {
            Call::Read => {
                let (handle, value) = environment.store.read(chance, environment.now);
                self.handle = handle;
                Answer::Read(if lost { lost_answer() } else { Ok(value) })
            }
            Call::Increment { .. } if before => Answer::Incremented(lost_answer()),
            Call::Increment { slot, by } => {
                let sum = environment.store.increment(slot, by);
                Answer::Incremented(if lost { lost_answer() } else { Ok(sum) })
            }
            Call::Swap(_) if before => Answer::Swapped(lost_answer()),
            Call::Swap(value) => {
                let swapped = environment.store.swap(&mut self.handle, value, environment.now);
                Answer::Swapped(if lost { lost_answer() } else { swapped })
            }
            Call::Pause(until) => {
                debug_assert!(until >= now);
                Answer::Paused
            }
        }
    }

    fn stall(&mut self, scenario: &Scenario, chance: &mut Chance, max: u64, environment: &mut Environment) {
        if chance.percent(scenario.stall) {
            environment.count("stall");
            self.wake = environment.now + chance.magnitude(1_000, 300_000).min(max);
        }
    }

    fn finish(&mut self, environment: &mut Environment, chance: &mut Chance) {
        self.state = State::Idle;
        self.wake = environment.now + chance.magnitude(1, 100_000);
    }
}

fn lost_answer<T>() -> Result<T, String> {
    Err("no answer".to_owned())
}

fn text(positions: &[usize]) -> String {
    format!("{positions:?}")
}

/// The positions in the checkpoint of a value.
pub(crate) fn parse(value: &Value) -> Option<Vec<usize>> {
    let text = value.checkpoint.as_ref()?;
    Some(serde_json::from_str(text).expect("a worker wrote the checkpoint"))
}
