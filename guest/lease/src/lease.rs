//! The state machine. It carries out one operation on the value at a time, by asking for calls to a store and taking
//! their answers.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::value::{Unreadable, Value};

/// Durations, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long the lease is ours after each write. At most [`DURATION_MAX`].
    pub duration: u64,
    /// How far apart the clocks of two owners may be. Others wait this much longer than the lease says.
    pub grace: u64,
    /// How long one operation may keep trying.
    pub timeout: u64,
    /// The first pause before a retry. Pauses double.
    pub backoff: u64,
}

/// The longest lease, in milliseconds, and so the longest that a crash can delay the others.
pub const DURATION_MAX: u64 = 3_600_000;

/// How far ahead the end of a lease may be, in milliseconds: the longest lease, and a minute by which clocks may
/// differ. Beyond that a clock is wrong and waiting may not help, so the outcome is [`Outcome::Ahead`].
pub const AHEAD_MAX: u64 = DURATION_MAX + 60_000;

/// The number of calls that one operation may make. With a timeout of eight seconds it makes about thirty. The bound is
/// for stores whose value changes with each read and for clocks that stand still.
const CALLS_MAX: u32 = 100;

/// The time that one counter covers, in milliseconds.
const SLOT_DURATION: u64 = 60_000;

/// The increments to make before creating the value, in this order. Each must return just what it added.
///
/// The previous slot is checked first, so that a process that is turned away leaves no trace. Once our own slot is
/// taken, both neighbours are checked: if two processes take neighbouring slots, the one that checks last sees the
/// other.
const GUARDS: [Guard; 4] =
    [Guard { slot: -1, by: 0 }, Guard { slot: 0, by: 1 }, Guard { slot: -1, by: 0 }, Guard { slot: 1, by: 0 }];

struct Guard {
    slot: i64,
    by: i64,
}

/// How old the read that found no value may be when the first value is written, in milliseconds. It is far shorter than
/// [`SLOT_DURATION`], which keeps the next creator away.
const CREATION_TIME_MAX: u64 = 10_000;

/// When to try again if another process is creating the value, in milliseconds. If that process died meanwhile,
/// attempts fail until one is made in a slot that follows an unused one.
const CREATION_RETRY: u64 = 5_000;

/// A call to make to the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// Create a new handle on the value's key and return its `current`.
    Read,
    /// Add to a counter, which starts at 0, and return the sum.
    Increment {
        /// Identifies the counter, together with the value's key.
        slot: u64,
        /// What to add: 0 or 1.
        by: i64,
    },
    /// Swap the handle that the last `Read` created.
    Swap(Vec<u8>),
    /// Wait until this time.
    Pause(u64),
}

/// The result of a call. Errors are texts for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To `Read`: the bytes, if there is a value.
    Read(Result<Option<Vec<u8>>, String>),
    /// To `Increment`: the sum.
    Incremented(Result<i64, String>),
    /// To `Swap`. The machine verifies it either way.
    Swapped(Result<(), String>),
    /// To `Pause`: the time has come.
    Paused,
}

/// The next step for the caller of [`Lease::poll`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Make this call and pass its answer to [`Lease::handle`].
    Call(Call),
    /// The operation is over.
    Done(Outcome),
}

/// How an operation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The value was written, and reading it confirmed that it is ours.
    Written,
    /// Of `acquire`: another owner holds the lease, or is creating the value.
    Held {
        /// When to try again, in milliseconds from now.
        retry_after: u64,
    },
    /// Of `acquire`: the lease ends later than any correct clock can have set, more than [`AHEAD_MAX`] from now. Its
    /// owner's clock is wrong, or ours is. [`Lease::revoke`] frees it.
    Ahead {
        /// How far away its end is, in milliseconds.
        by: u64,
    },
    /// Of `revoke`: the lease is free, or another owner has taken it meanwhile. Nothing was changed.
    Free,
    /// Of `commit` and `release`: another owner has taken the lease. What was delivered since the last commit comes
    /// again.
    Lost,
    /// The value must not be touched, for this reason.
    Refused(String),
    /// The store did not give a usable answer, for this reason. The write may have been made.
    Unavailable(String),
}

/// The lease on one stream, as seen by a process that wants or holds it.
#[derive(Clone, Debug)]
pub struct Lease {
    settings: Settings,
    owner: String,
    /// Our value, as last read from the store.
    held: Option<Value>,
    /// The epoch and revision of the newest value that was read.
    newest: Option<(u64, u64)>,
    /// The highest revision that we have tried to write.
    attempted: u64,
    operation: Operation,
}

#[derive(Clone, Debug)]
struct Operation {
    goal: Goal,
    /// The first revision that this operation may write.
    first_revision: u64,
    deadline: u64,
    /// The next pause before a retry.
    backoff: u64,
    /// The number of calls answered so far.
    calls: u32,
    /// Why the last swap failed, in case the next read shows that it did. Then it is retried after a pause.
    swap_error: Option<String>,
    state: State,
}

#[derive(Clone, Debug)]
enum Goal {
    Acquire,
    Commit(Option<String>),
    Release(Option<String>),
    Revoke {
        /// The epoch of the owner to revoke. Unknown until a value has been read.
        epoch: Option<u64>,
    },
}

#[derive(Clone, Debug)]
enum State {
    Reading,
    /// There is no value, and the counters decide whether we may create it.
    Guarding {
        /// When the read that found no value was answered.
        read_at: u64,
        /// The index of the next guard in [`GUARDS`].
        guard: usize,
    },
    Swapping {
        value: Value,
        /// When the read that found no value was answered, if this creates the value.
        read_at: Option<u64>,
    },
    Pausing {
        until: u64,
    },
    Done(Outcome),
}

impl Lease {
    /// Starts acquiring the lease. `owner` must be a new random name.
    pub fn acquire(owner: String, settings: Settings, now: u64) -> Lease {
        Lease::new(Goal::Acquire, owner, settings, now)
    }

    /// Starts taking the lease from its current owner, whenever it ends, and giving it back at once. The checkpoint is
    /// kept.
    ///
    /// `owner` must be a new random name. The lease gets a new owner and epoch, so the old owner is fenced off even if
    /// it is still working, and its next commit ends with [`Outcome::Lost`].
    pub fn revoke(owner: String, settings: Settings, now: u64) -> Lease {
        Lease::new(Goal::Revoke { epoch: None }, owner, settings, now)
    }

    fn new(goal: Goal, owner: String, settings: Settings, now: u64) -> Lease {
        let settings = Settings { duration: settings.duration.min(DURATION_MAX), ..settings };
        let operation = Operation::new(goal, 1, &settings, now);
        Lease { settings, owner, held: None, newest: None, attempted: 0, operation }
    }

    /// Starts writing this checkpoint, which also renews the lease.
    pub fn commit(&mut self, checkpoint: Option<String>, now: u64) {
        self.begin(Goal::Commit(checkpoint), now);
    }

    /// Starts giving the lease back, with this checkpoint.
    pub fn release(&mut self, checkpoint: Option<String>, now: u64) {
        self.begin(Goal::Release(checkpoint), now);
    }

    /// Returns our value as last read from the store, or `None` if the lease was never acquired.
    pub fn held(&self) -> Option<&Value> {
        self.held.as_ref()
    }

    /// Returns how long the lease is still ours, in milliseconds. Start no delivery that could take longer.
    pub fn remaining(&self, now: u64) -> u64 {
        self.held.as_ref().map_or(0, |held| held.until.saturating_sub(now))
    }

    /// Returns the next step, which stays the same until it is answered.
    pub fn poll(&mut self, now: u64) -> Step {
        match &self.operation.state {
            State::Reading => Step::Call(Call::Read),
            State::Guarding { read_at, guard } => {
                let guard = &GUARDS[*guard];
                let slot = (read_at / SLOT_DURATION).wrapping_add_signed(guard.slot);
                Step::Call(Call::Increment { slot, by: guard.by })
            }
            State::Swapping { read_at: Some(read_at), .. } if now.saturating_sub(*read_at) > CREATION_TIME_MAX => {
                self.operation.state = State::Reading;
                Step::Call(Call::Read)
            }
            State::Swapping { value, .. } => match value.to_bytes() {
                Some(bytes) => Step::Call(Call::Swap(bytes)),
                None => self.finish(Outcome::Refused("the new checkpoint is not valid JSON".to_owned())),
            },
            State::Pausing { until } => Step::Call(Call::Pause(*until)),
            State::Done(outcome) => Step::Done(outcome.clone()),
        }
    }

    /// Takes the answer to the call that `poll` returned. Answers to other calls are ignored.
    pub fn handle(&mut self, answer: Answer, now: u64) {
        self.operation.calls += 1;
        if self.operation.calls > CALLS_MAX && !matches!(self.operation.state, State::Done(_)) {
            self.finish(Outcome::Unavailable(format!("no result after {CALLS_MAX} calls")));
            return;
        }
        match (&self.operation.state, answer) {
            (State::Reading, Answer::Read(Ok(bytes))) => self.on_read(bytes.as_deref(), now),
            (State::Reading, Answer::Read(Err(why))) => self.retry(why, now),
            (State::Guarding { read_at, guard }, Answer::Incremented(Ok(sum))) => {
                let (read_at, guard) = (*read_at, *guard);
                if sum != GUARDS[guard].by {
                    self.finish(Outcome::Held { retry_after: CREATION_RETRY });
                } else if guard + 1 < GUARDS.len() {
                    self.operation.state = State::Guarding { read_at, guard: guard + 1 };
                } else {
                    self.create(read_at, now);
                }
            }
            (State::Guarding { .. }, Answer::Incremented(Err(why))) => self.retry(why, now),
            (State::Swapping { .. }, Answer::Swapped(answer)) => {
                let why = answer.err().unwrap_or_else(|| "the value is not there after it was written".to_owned());
                self.operation.swap_error = Some(why);
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

    /// Decides what to do with what was read. It may be the value that we wrote, or the one to replace.
    fn on_read(&mut self, bytes: Option<&[u8]>, now: u64) {
        let Some(bytes) = bytes else {
            return match (self.newest, self.operation.swap_error.take()) {
                (Some(_), _) => self.retry("the value has disappeared from the store".to_owned(), now),
                (None, Some(why)) => self.retry(why, now),
                (None, None) if matches!(self.operation.goal, Goal::Revoke { .. }) => drop(self.finish(Outcome::Free)),
                (None, None) => self.operation.state = State::Guarding { read_at: now, guard: 0 },
            };
        };
        let value = match Value::parse(bytes) {
            Ok(value) => value,
            Err(Unreadable(why)) => {
                self.finish(Outcome::Refused(why));
                return;
            }
        };
        let stamp = (value.epoch, value.revision);
        if self.newest > Some(stamp) {
            self.retry("the store returned an old value".to_owned(), now);
            return;
        }
        let before = self.newest.replace(stamp);
        let ours = value.owner == self.owner;
        if ours && (self.operation.first_revision..=self.attempted).contains(&value.revision) {
            self.held = Some(value);
            self.finish(Outcome::Written);
            return;
        }
        if let Some(why) = self.operation.swap_error.take()
            && self.newest == before
        {
            // No one else has written either, so the store rejects the value, or is failing.
            return self.retry(why, now);
        }
        if self.attempted >= self.operation.first_revision && self.newest != before && now >= self.operation.deadline {
            self.finish(Outcome::Unavailable("other processes keep changing the value".to_owned()));
            return;
        }
        let until = now.saturating_add(self.settings.duration);
        match self.operation.goal.clone() {
            Goal::Acquire => {
                if value.until > now.saturating_add(AHEAD_MAX) {
                    self.finish(Outcome::Ahead { by: value.until - now });
                    return;
                }
                let free = value.until.saturating_add(self.settings.grace);
                if value.until > 0 && now < free {
                    self.finish(Outcome::Held { retry_after: free - now });
                    return;
                }
                self.attempt(Value { epoch: value.epoch + 1, owner: self.owner.clone(), until, ..value });
            }
            Goal::Commit(checkpoint) => self.write_if_ours(value, ours, checkpoint, until),
            Goal::Release(checkpoint) => self.write_if_ours(value, ours, checkpoint, 0),
            Goal::Revoke { epoch } => self.free(value, epoch),
        }
    }

    /// Prepares a swap that frees the lease, if it still belongs to the owner that was found first.
    fn free(&mut self, value: Value, epoch: Option<u64>) {
        if value.until == 0 || epoch.is_some_and(|epoch| epoch != value.epoch) {
            self.finish(Outcome::Free);
            return;
        }
        self.operation.goal = Goal::Revoke { epoch: Some(value.epoch) };
        self.attempt(Value { epoch: value.epoch + 1, owner: self.owner.clone(), until: 0, ..value });
    }

    /// Prepares the swap that creates the value, which was absent at `read_at`.
    fn create(&mut self, read_at: u64, now: u64) {
        self.attempted += 1;
        let value = Value {
            epoch: 1,
            revision: self.attempted,
            owner: self.owner.clone(),
            until: now.saturating_add(self.settings.duration),
            begun: read_at,
            checkpoint: None,
        };
        self.operation.state = State::Swapping { value, read_at: Some(read_at) };
    }

    /// Prepares a swap that updates the value, if it is ours.
    fn write_if_ours(&mut self, value: Value, ours: bool, checkpoint: Option<String>, until: u64) {
        if ours {
            self.attempt(Value { until, checkpoint, ..value });
        } else {
            self.finish(Outcome::Lost);
        }
    }

    /// Prepares a swap to this value, with a revision that was never written before.
    fn attempt(&mut self, value: Value) {
        self.attempted = self.attempted.max(value.revision) + 1;
        let value = Value { revision: self.attempted, ..value };
        self.operation.state = State::Swapping { value, read_at: None };
    }

    /// Reads again after a pause, unless the time is up.
    fn retry(&mut self, why: String, now: u64) {
        let Operation { deadline, backoff, .. } = self.operation;
        if now >= deadline {
            self.finish(Outcome::Unavailable(why));
            return;
        }
        self.operation.backoff = backoff.saturating_mul(2);
        self.operation.state = State::Pausing { until: deadline.min(now.saturating_add(backoff)) };
    }

    fn finish(&mut self, outcome: Outcome) -> Step {
        self.operation.state = State::Done(outcome.clone());
        Step::Done(outcome)
    }
}

impl Operation {
    fn new(goal: Goal, first_revision: u64, settings: &Settings, now: u64) -> Operation {
        let deadline = now.saturating_add(settings.timeout);
        let (backoff, state) = (settings.backoff.max(1), State::Reading);
        Operation { goal, first_revision, deadline, backoff, calls: 0, swap_error: None, state }
    }
}
