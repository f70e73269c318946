//! Where lease and checkpoint are, and the calls that the lease's machine asks for.

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

/// How long one call may take where the store is asked through HTTP, in milliseconds.
const CALL_TIME: u64 = 5_000;

/// How far the clocks of two hosts may be apart, in milliseconds.
const CLOCK_GRACE: u64 = 2_000;

/// How long the store may take over one operation, in milliseconds.
const PATIENCE: u64 = 8_000;

/// The largest value that is read, in bytes: more than any store of Spin's or DynamoDB holds, and little enough to be
/// taken apart in an instance's memory.
const VALUE_MAX: usize = 16 << 20;

pub(crate) fn open(settings: &Settings) -> Result<Store, String> {
    Store::open(settings)
}

/// A name for an owner of the lease, which none had before.
pub(crate) fn owner() -> String {
    format!("{:016x}{:016x}", random(), random())
}

/// How long things take.
pub(crate) fn times(settings: &Settings) -> kinesis_reader_lease::Settings {
    kinesis_reader_lease::Settings { time: settings.lease, grace: CLOCK_GRACE, patience: PATIENCE, pause: 50 }
}

pub(crate) fn random() -> u64 {
    wasip2::random::random::get_random_u64()
}

impl Store {
    /// What is there, without any intention to write.
    pub(crate) fn look(&mut self, deadline: u64) -> Result<Option<Vec<u8>>, String> {
        match self.read(deadline)? {
            Some(bytes) if bytes.len() > VALUE_MAX => {
                Err(format!("the value has {} bytes, and may have {VALUE_MAX}", bytes.len()))
            }
            other => Ok(other),
        }
    }

    /// Carries the lease's operation to its end.
    pub(crate) fn settle(&mut self, lease: &mut Lease) -> Outcome {
        self.settle_if(lease, &mut |_| true)
    }

    /// The same, if what is read, whenever it is, passes a test. Where it does not, nothing is written upon it.
    pub(crate) fn settle_if(&mut self, lease: &mut Lease, test: &mut dyn FnMut(Option<&[u8]>) -> bool) -> Outcome {
        loop {
            let call = match lease.poll(clock::present()) {
                Step::Done(outcome) => return outcome,
                Step::Call(call) => call,
            };
            let deadline = clock::now().saturating_add(CALL_TIME);
            let answer = match call {
                Call::Read => {
                    let read = self.look(deadline);
                    if let Ok(value) = &read
                        && !test(value.as_deref())
                    {
                        return Outcome::Refused("what is there is not to be written upon".to_owned());
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
