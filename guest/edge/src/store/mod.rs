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

pub(crate) fn open(settings: &Settings) -> Result<Store, String> {
    Store::open(settings)
}

impl Store {
    /// What is there, without any intention to write.
    pub(crate) fn look(&mut self, deadline: u64) -> Result<Option<Vec<u8>>, String> {
        self.read(deadline)
    }

    /// Carries the lease's operation to its end.
    pub(crate) fn settle(&mut self, lease: &mut Lease) -> Outcome {
        loop {
            let call = match lease.poll(clock::present()) {
                Step::Done(outcome) => return outcome,
                Step::Call(call) => call,
            };
            let deadline = clock::now() + CALL_TIME;
            let answer = match call {
                Call::Read => Answer::Read(self.read(deadline)),
                Call::Increment { slot, by } => Answer::Incremented(self.increment(slot, by)),
                Call::Swap(value) => Answer::Swapped(self.swap(value, deadline)),
                Call::Pause(until) => {
                    clock::sleep_until(clock::now() + until.saturating_sub(clock::present()));
                    Answer::Paused
                }
            };
            lease.handle(answer, clock::present());
        }
    }
}
