//! Frees the lease at the operator's request, for when the clock of its holder was wrong and it does not end by itself.

use kinesis_reader_lease::{Lease, Outcome};
use serde_json::json;

use crate::answer::Answer;
use crate::clock;
use crate::drain;
use crate::settings::Settings;
use crate::store;

/// Frees the lease and keeps the checkpoint. A drain that is still running loses the lease as if another drain had
/// taken it, and what it delivered but had not committed comes again.
pub(crate) fn release(settings: &Settings) -> Answer {
    let mut store = match store::open(settings) {
        Ok(store) => store,
        Err(why) => return unavailable(&why),
    };
    let mut lease = Lease::revoke(store::new_owner(), store::lease_settings(settings), clock::present());
    match store.run(&mut lease) {
        Outcome::Written => {
            let epoch = lease.held().map(|held| held.epoch);
            Answer::json(200, json!({"stream": settings.stream, "released": true, "epoch": epoch}))
        }
        Outcome::Free => Answer::json(200, json!({"stream": settings.stream, "released": false})),
        Outcome::Refused(why) => {
            Answer::error(500, &format!("cannot use the value in the store: {why}"), drain::UNREADABLE_HINT)
        }
        Outcome::Unavailable(why) => unavailable(&why),
        Outcome::Lost | Outcome::Held { .. } | Outcome::Ahead { .. } => {
            unavailable("another process has changed the value")
        }
    }
}

fn unavailable(why: &str) -> Answer {
    Answer::error(503, &format!("cannot use the store: {why}"), "try again").with("retry-after", "5")
}
