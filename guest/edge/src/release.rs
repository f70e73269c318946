//! Frees the lease on the word of an operator, as where the clock of its holder was wrong, and it does not end.

use kinesis_reader_lease::{Lease, Outcome};
use serde_json::json;

use crate::answer::Answer;
use crate::clock;
use crate::drain;
use crate::settings::Settings;
use crate::store;

/// The checkpoint stays. A drain that is still at work loses the lease as if another had taken it: what it delivered and
/// had not kept comes again.
pub(crate) fn release(settings: &Settings) -> Answer {
    let mut store = match store::open(settings) {
        Ok(store) => store,
        Err(why) => return unavailable(&why),
    };
    let mut lease = Lease::revoke(store::owner(), store::times(settings), clock::present());
    match store.settle(&mut lease) {
        Outcome::Written => {
            let epoch = lease.held().map(|held| held.epoch);
            Answer::json(200, json!({"stream": settings.stream, "released": true, "epoch": epoch}))
        }
        Outcome::Free => Answer::json(200, json!({"stream": settings.stream, "released": false})),
        Outcome::Refused(why) => {
            Answer::error(500, &format!("the value in the store cannot be used: {why}"), drain::UNREADABLE)
        }
        Outcome::Unavailable(why) => unavailable(&why),
        Outcome::Lost | Outcome::Held { .. } | Outcome::Ahead { .. } => unavailable("another has written it"),
    }
}

fn unavailable(why: &str) -> Answer {
    Answer::error(503, &format!("the store of the lease does not answer: {why}"), "try again").with("retry-after", "5")
}
