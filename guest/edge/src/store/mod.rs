//! The store of the lease and the checkpoint, and the loop that makes the calls that the lease asks for.

#[cfg(feature = "dynamodb")]
mod dynamodb;
#[cfg(feature = "keyvalue")]
mod keyvalue;

#[cfg(feature = "dynamodb")]
pub(crate) use dynamodb::Store;
#[cfg(feature = "keyvalue")]
pub(crate) use keyvalue::Store;
use kinesis_reader_lease::{Answer, Call, Lease, Outcome, Step};

use crate::clock;
use crate::settings::Settings;

/// How long one call may take, in milliseconds, if it is made over HTTP.
const CALL_TIMEOUT: u64 = 5_000;

/// How far apart the clocks of two hosts may be, in milliseconds.
const CLOCK_GRACE: u64 = 2_000;

/// How long one operation of the lease may take, in milliseconds.
const OPERATION_TIMEOUT: u64 = 8_000;

/// The first pause before a retry, in milliseconds.
const BACKOFF: u64 = 50;

/// The largest value to read, in bytes: more than DynamoDB or any of Spin's stores can hold, and small enough to be
/// parsed in an instance's memory.
const VALUE_MAX: usize = 16 << 20;

pub(crate) fn open(settings: &Settings) -> Result<Store, String> {
    Store::open(settings)
}

/// Returns a new random name for an owner of the lease.
pub(crate) fn new_owner() -> String {
    format!("{:016x}{:016x}", random(), random())
}

pub(crate) fn lease_settings(settings: &Settings) -> kinesis_reader_lease::Settings {
    kinesis_reader_lease::Settings {
        duration: settings.lease_duration,
        grace: CLOCK_GRACE,
        timeout: OPERATION_TIMEOUT,
        backoff: BACKOFF,
    }
}

pub(crate) fn random() -> u64 {
    wasip2::random::random::get_random_u64()
}

impl Store {
    /// Reads the value.
    pub(crate) fn get(&mut self, deadline: u64) -> Result<Option<Vec<u8>>, String> {
        match self.read(deadline)? {
            Some(bytes) if bytes.len() > VALUE_MAX => {
                Err(format!("the value is larger than {VALUE_MAX} bytes: {}", bytes.len()))
            }
            other => Ok(other),
        }
    }

    /// Runs the lease's operation to its end.
    pub(crate) fn run(&mut self, lease: &mut Lease) -> Outcome {
        self.run_if(lease, &mut |_| true)
    }

    /// Runs the lease's operation, and stops as soon as a value that was read fails the test. Such a value is never
    /// replaced.
    pub(crate) fn run_if(&mut self, lease: &mut Lease, test: &mut dyn FnMut(Option<&[u8]>) -> bool) -> Outcome {
        loop {
            let call = match lease.poll(clock::present()) {
                Step::Done(outcome) => return outcome,
                Step::Call(call) => call,
            };
            let deadline = clock::now().saturating_add(CALL_TIMEOUT);
            let answer = match call {
                Call::Read => {
                    let read = self.get(deadline);
                    if let Ok(value) = &read
                        && !test(value.as_deref())
                    {
                        return Outcome::Refused("the value must not be replaced".to_owned());
                    }
                    Answer::Read(read)
                }
                Call::Increment { slot, by } => Answer::Incremented(self.increment(slot, by)),
                Call::Swap(value) => Answer::Swapped(self.swap(value, deadline)),
                Call::Pause(until) => {
                    clock::sleep_until(clock::now().saturating_add(until.saturating_sub(clock::present())));
                    Answer::Paused
                }
            };
            lease.handle(answer, clock::present());
        }
    }
}
