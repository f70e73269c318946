//! The machine: one operation on the value at a time, as calls to a store and their answers.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::fault::Fault;
use crate::value::{Unreadable, Value};

/// How long things take. All in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long the lease is ours from each write on. At most [`TIME_MAX`].
    pub time: u64,
    /// How far the clocks of two owners may be apart: another waits this much longer than the lease says.
    pub grace: u64,
    /// How long one operation may go on trying.
    pub patience: u64,
    /// The first pause before the store is asked again. Pauses double.
    pub pause: u64,
}

/// The longest that a lease may be, and so the longest that a crash can hold up the others.
pub const TIME_MAX: u64 = 3_600_000;

/// How far ahead the end of a lease may be, in milliseconds: the longest lease, and a minute by which clocks may differ.
/// Beyond that a clock is wrong, and waiting may not help: [`Outcome::Ahead`].
pub const AHEAD_MAX: u64 = TIME_MAX + 60_000;

/// Calls that one operation may make. With patience for eight seconds an operation makes some thirty; a store whose
/// value changes with each reading, or a clock that stands still, must not keep it for ever.
const CALLS_MAX: u32 = 100;

/// The time that one guard is for, in milliseconds.
const SLOT: u64 = 60_000;

/// What the counters of slots are asked, one after the other, by who finds nothing, and each must answer with what was
/// added. The slot before is looked at first, so that who is sent away leaves no trace; and again, with the slot to
/// come, once ours is taken: of two who take neighbouring slots, the later to look sees the other.
const GUARDS: [Guard; 4] =
    [Guard { slot: -1, by: 0 }, Guard { slot: 0, by: 1 }, Guard { slot: -1, by: 0 }, Guard { slot: 1, by: 0 }];

struct Guard {
    slot: i64,
    by: i64,
}

/// How old the reading may be on which a first value is written, in milliseconds: far less than [`SLOT`], which keeps
/// the next who creates away.
const CREATE_WITHIN: u64 = 10_000;

/// When to come again if another is creating the value, in milliseconds. It may have died in it: then some who come are
/// sent away, until there is a slot before which nobody tried.
const CREATION_RETRY: u64 = 5_000;

/// What is wanted of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// Make a new handle on the value's key, and give its `current`.
    Read,
    /// Add to the counter of this name, which begins at 0, and give the sum.
    Increment {
        /// Names the counter, beside the value's key.
        slot: u64,
        /// What to add: 0 or 1.
        by: i64,
    },
    /// Swap the handle that the last `Read` made.
    Swap(Vec<u8>),
    /// Nothing until this time.
    Pause(u64),
}

/// What came of a call. A failure is in words, for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To `Read`: what is there.
    Read(Result<Option<Vec<u8>>, String>),
    /// To `Increment`: the sum.
    Incremented(Result<i64, String>),
    /// To `Swap`. It is not believed either way.
    Swapped(Result<(), String>),
    /// To `Pause`: the time has come.
    Paused,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make this call, and tell what came of it.
    Call(Call),
    /// The operation is over.
    Done(Outcome),
}

/// How an operation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The value was written and read back as ours.
    Written,
    /// To `acquire`: another owner has it, or is about to make it.
    Held {
        /// When to come again, in milliseconds from now.
        retry_after: u64,
    },
    /// To `acquire`: it is held until a time that no right clock can have set, as it is further away than [`AHEAD_MAX`].
    /// The clock of its owner is wrong, or ours is. [`Lease::revoke`] frees it.
    Ahead {
        /// How far away that is, in milliseconds.
        by: u64,
    },
    /// To `revoke`: nobody holds it, or not the owner that was found first. Nothing was changed.
    Free,
    /// To `commit` and `release`: another has taken it since. What was delivered since the last commit comes again.
    Lost,
    /// There is a value that is not to be touched, and why.
    Refused(String),
    /// The store gave no answer to go by, and why. The write may have been made.
    Unavailable(String),
}

/// The lease of one stream, from the side of one who wants it.
#[derive(Clone, Debug)]
pub struct Lease {
    settings: Settings,
    owner: String,
    /// What is ours, as it was last read back.
    held: Option<Value>,
    /// The newest that was read, by epoch and revision.
    seen: Option<(u64, u64)>,
    /// The highest revision that we tried to write.
    attempted: u64,
    operation: Operation,
    #[cfg(feature = "faults")]
    fault: Option<Fault>,
}

#[derive(Clone, Debug)]
struct Operation {
    goal: Goal,
    /// The first revision that it may write.
    first: u64,
    deadline: u64,
    pause: u64,
    /// Calls that were answered.
    calls: u32,
    /// Why the last swap was not made, if reading shows that it was not. Then another is made after a pause.
    trouble: Option<String>,
    state: State,
}

#[derive(Clone, Debug)]
enum Goal {
    Acquire,
    Commit(Option<String>),
    Release(Option<String>),
    /// `epoch`: of the owner that is to lose it, once a value was read.
    Revoke {
        epoch: Option<u64>,
    },
}

#[derive(Clone, Debug)]
enum State {
    Reading,
    /// Nothing was there at `since`. Asks the counters, by [`GUARDS`], whether we are the one to create it.
    Guarding {
        since: u64,
        asked: usize,
    },
    /// `since`: on a reading of which time a first value is to be written.
    Swapping {
        value: Value,
        since: Option<u64>,
    },
    Pausing {
        until: u64,
    },
    Done(Outcome),
}

impl Lease {
    /// Begins to acquire the lease. `owner` must be new: a random name.
    pub fn acquire(owner: String, settings: Settings, now: u64) -> Lease {
        Lease::new(Goal::Acquire, owner, settings, now)
    }

    /// Begins to take the lease from whoever holds it, until whatever time, and to give it back at once. The checkpoint
    /// stays. `owner` must be new: the lease passes through a new owner's hands, so that one who still works under it is
    /// fenced off, and its next commit is [`Outcome::Lost`].
    pub fn revoke(owner: String, settings: Settings, now: u64) -> Lease {
        Lease::new(Goal::Revoke { epoch: None }, owner, settings, now)
    }

    fn new(goal: Goal, owner: String, settings: Settings, now: u64) -> Lease {
        let settings = Settings { time: settings.time.min(TIME_MAX), ..settings };
        let operation = Operation::new(goal, 1, &settings, now);
        Lease {
            settings,
            owner,
            held: None,
            seen: None,
            attempted: 0,
            operation,
            #[cfg(feature = "faults")]
            fault: None,
        }
    }

    /// Begins to keep this checkpoint, which also renews the lease.
    pub fn commit(&mut self, checkpoint: Option<String>, now: u64) {
        self.begin(Goal::Commit(checkpoint), now);
    }

    /// Begins to give the lease back, with this checkpoint.
    pub fn release(&mut self, checkpoint: Option<String>, now: u64) {
        self.begin(Goal::Release(checkpoint), now);
    }

    /// What is ours, as it was last seen in the store. None: nothing was acquired yet.
    pub fn held(&self) -> Option<&Value> {
        self.held.as_ref()
    }

    /// For how long it is ours, in milliseconds: nothing may be delivered that could take longer.
    pub fn left(&self, now: u64) -> u64 {
        self.held.as_ref().map_or(0, |held| held.until.saturating_sub(now))
    }

    /// Gives what to do next: the same until it is answered.
    pub fn poll(&mut self, now: u64) -> Step {
        match &self.operation.state {
            State::Reading => Step::Call(Call::Read),
            State::Guarding { since, asked } => {
                let guard = &GUARDS[*asked];
                Step::Call(Call::Increment { slot: (since / SLOT).wrapping_add_signed(guard.slot), by: guard.by })
            }
            State::Swapping { since: Some(since), .. } if now.saturating_sub(*since) > CREATE_WITHIN => {
                self.operation.state = State::Reading;
                Step::Call(Call::Read)
            }
            State::Swapping { value, .. } => match value.to_bytes() {
                Some(bytes) => Step::Call(Call::Swap(bytes)),
                None => self.end(Outcome::Refused("the checkpoint to be kept is not JSON".to_owned())),
            },
            State::Pausing { until } => Step::Call(Call::Pause(*until)),
            State::Done(outcome) => Step::Done(outcome.clone()),
        }
    }

    /// Takes the answer to the call that `poll` gave. One to another call changes nothing.
    pub fn handle(&mut self, answer: Answer, now: u64) {
        self.operation.calls += 1;
        if self.operation.calls > CALLS_MAX && !matches!(self.operation.state, State::Done(_)) {
            self.end(Outcome::Unavailable(format!("the value did not come to rest in {CALLS_MAX} calls")));
            return;
        }
        match (&self.operation.state, answer) {
            (State::Reading, Answer::Read(Ok(bytes))) => self.read(bytes.as_deref(), now),
            (State::Reading, Answer::Read(Err(why))) => self.again(why, now),
            (State::Guarding { since, asked }, Answer::Incremented(Ok(sum))) => {
                let (since, asked, by) = (*since, *asked, GUARDS[*asked].by);
                let forgiven = self.has(Fault::NoGuard) || (self.has(Fault::HastyGuard) && by == 0);
                if sum != by && !forgiven {
                    self.end(Outcome::Held { retry_after: CREATION_RETRY });
                } else if asked + 1 < GUARDS.len() {
                    self.operation.state = State::Guarding { since, asked: asked + 1 };
                } else {
                    self.create(since, now);
                }
            }
            (State::Guarding { .. }, Answer::Incremented(Err(why))) => self.again(why, now),
            (State::Swapping { value, .. }, Answer::Swapped(Ok(()))) if self.has(Fault::TrustSuccess) => {
                self.held = Some(value.clone());
                self.end(Outcome::Written);
            }
            (State::Swapping { .. }, Answer::Swapped(Err(why))) if self.has(Fault::TrustFailure) => {
                self.end(Outcome::Unavailable(why));
            }
            (State::Swapping { .. }, Answer::Swapped(Err(_))) if self.has(Fault::SwapAgain) => {}
            (State::Swapping { .. }, Answer::Swapped(answer)) => {
                let why = answer.err().unwrap_or_else(|| "what was written is not there".to_owned());
                self.operation.trouble = Some(why);
                self.operation.state = State::Reading;
            }
            (State::Pausing { .. }, Answer::Paused) => self.operation.state = State::Reading,
            (
                State::Reading
                | State::Guarding { .. }
                | State::Swapping { .. }
                | State::Pausing { .. }
                | State::Done(_),
                Answer::Read(_) | Answer::Incremented(_) | Answer::Swapped(_) | Answer::Paused,
            ) => {}
        }
    }

    fn begin(&mut self, goal: Goal, now: u64) {
        self.operation = Operation::new(goal, self.attempted + 1, &self.settings, now);
    }

    /// Goes by what was read: it may be what we wrote, or what to write upon.
    fn read(&mut self, bytes: Option<&[u8]>, now: u64) {
        let Some(bytes) = bytes else {
            return match (self.seen, self.operation.trouble.take()) {
                (Some(_), _) => self.again("the store answers that there is no value any more".to_owned(), now),
                (None, Some(why)) => self.again(why, now),
                (None, None) if matches!(self.operation.goal, Goal::Revoke { .. }) => drop(self.end(Outcome::Free)),
                (None, None) => self.operation.state = State::Guarding { since: now, asked: 0 },
            };
        };
        let value = match Value::parse(bytes) {
            Ok(value) => value,
            Err(_) if self.has(Fault::OverwriteUnreadable) => {
                self.create(now, now);
                return;
            }
            Err(Unreadable(why)) => {
                self.end(Outcome::Refused(why));
                return;
            }
        };
        let place = (value.epoch, value.revision);
        if self.seen > Some(place) && !self.has(Fault::IgnoreOwner) {
            self.again("the store answers with a value of before".to_owned(), now);
            return;
        }
        let before = self.seen.replace(place);
        let ours = value.owner == self.owner;
        if ours && (self.operation.first..=self.attempted).contains(&value.revision) {
            self.held = Some(value);
            self.end(Outcome::Written);
            return;
        }
        if let Some(why) = self.operation.trouble.take()
            && self.seen == before
        {
            // Nobody else has written either: the store will not have it, or not now.
            return self.again(why, now);
        }
        if self.attempted >= self.operation.first && self.seen != before && now >= self.operation.deadline {
            self.end(Outcome::Unavailable("others write the value again and again".to_owned()));
            return;
        }
        let until = now.saturating_add(self.settings.time);
        match self.operation.goal.clone() {
            Goal::Acquire => {
                if value.until > now.saturating_add(AHEAD_MAX) && !self.has(Fault::BelieveAhead) {
                    self.end(Outcome::Ahead { by: value.until - now });
                    return;
                }
                let free = value.until.saturating_add(self.settings.grace);
                if value.until > 0 && now < free && !self.has(Fault::IgnoreTime) {
                    self.end(Outcome::Held { retry_after: free - now });
                    return;
                }
                let epoch = value.epoch + u64::from(!self.has(Fault::KeepEpoch));
                let late = self.has(Fault::BeginLate) && value.checkpoint.is_none();
                let begun = if late { now } else { value.begun };
                let checkpoint = value.checkpoint.filter(|_| !self.has(Fault::DropCheckpoint));
                let revision = value.revision;
                self.attempt(Value { epoch, revision, owner: self.owner.clone(), until, begun, checkpoint });
            }
            Goal::Commit(checkpoint) => self.follow(value, ours, checkpoint, until),
            Goal::Release(checkpoint) => self.follow(value, ours, checkpoint, 0),
            Goal::Revoke { epoch } => self.take_from(value, epoch),
        }
    }

    /// Is to free the value, if it is still of the owner that was found first.
    fn take_from(&mut self, value: Value, epoch: Option<u64>) {
        if value.until == 0 || epoch.is_some_and(|epoch| epoch != value.epoch) {
            self.end(Outcome::Free);
            return;
        }
        self.operation.goal = Goal::Revoke { epoch: Some(value.epoch) };
        let (mut epoch, mut owner) = (value.epoch + 1, self.owner.clone());
        if self.has(Fault::RevokeUnfenced) {
            (epoch, owner) = (value.epoch, value.owner.clone());
            self.owner.clone_from(&owner);
        }
        let checkpoint = value.checkpoint.clone().filter(|_| !self.has(Fault::RevokeAll));
        self.attempt(Value { epoch, owner, until: 0, checkpoint, ..value });
    }

    /// Is to swap in the first value, where nothing was at `since`.
    fn create(&mut self, since: u64, now: u64) {
        self.attempted += 1;
        let value = Value {
            epoch: 1,
            revision: self.attempted,
            owner: self.owner.clone(),
            until: now.saturating_add(self.settings.time),
            begun: since,
            checkpoint: None,
        };
        self.operation.state = State::Swapping { value, since: Some(since) };
    }

    /// Writes upon a value of ours.
    fn follow(&mut self, value: Value, ours: bool, checkpoint: Option<String>, until: u64) {
        if self.has(Fault::IgnoreOwner)
            && let Some(held) = self.held.clone()
        {
            return self.attempt(Value { until, checkpoint, ..held });
        }
        if ours {
            self.attempt(Value { until, checkpoint, ..value });
        } else {
            self.end(Outcome::Lost);
        }
    }

    /// Is to swap in this value, as a revision that was never written.
    fn attempt(&mut self, value: Value) {
        self.attempted = self.attempted.max(value.revision) + 1;
        let value = Value { revision: self.attempted, ..value };
        self.operation.state = State::Swapping { value, since: None };
    }

    /// Reads again after a pause, if there is time.
    fn again(&mut self, why: String, now: u64) {
        let Operation { deadline, pause, .. } = self.operation;
        if now >= deadline {
            self.end(Outcome::Unavailable(why));
            return;
        }
        self.operation.pause = pause.saturating_mul(2);
        self.operation.state = State::Pausing { until: deadline.min(now.saturating_add(pause)) };
    }

    fn end(&mut self, outcome: Outcome) -> Step {
        self.operation.state = State::Done(outcome.clone());
        Step::Done(outcome)
    }

    #[cfg(not(feature = "faults"))]
    fn has(&self, _: Fault) -> bool {
        false
    }

    #[cfg(feature = "faults")]
    fn has(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    /// Makes this mistake from here on.
    #[cfg(feature = "faults")]
    pub fn plant(&mut self, fault: Option<Fault>) {
        self.fault = fault;
    }
}

impl Operation {
    fn new(goal: Goal, first: u64, settings: &Settings, now: u64) -> Operation {
        let deadline = now.saturating_add(settings.patience);
        let (pause, state) = (settings.pause.max(1), State::Reading);
        Operation { goal, first, deadline, pause, calls: 0, trouble: None, state }
    }
}
