//! `kinesis-reader shards`: each shard with its lineage, whether it is open, its position in the checkpoint and its
//! lag.
//!
//! Opens a reader at the saved checkpoint, and drives it until the lag of every shard that can be read is known.
//! Messages are dropped and nothing is saved, so listing changes nothing.

use std::time::Duration;

use comfy_table::{Table, presets};
use indicatif::HumanDuration;

use super::error::{Error, Exit};
use super::plan::{Destination, ShardsPlan, StateAt};
use super::setup;
use crate::bindings::wit;
use crate::component::Action;
use crate::destination::{self, Sqlite, stream_error};
use crate::drive::{self, Clock, Requests};
use crate::state::FileState;
use crate::terminal;
use crate::words::Timestamp;

/// Lists the shards on stdout.
pub(super) fn list(plan: &ShardsPlan) -> Result<Exit, Error> {
    let saved = match (&plan.state, &plan.destination) {
        (StateAt::File(path), _) => FileState::peek(path)?.map(|saved| saved.checkpoint),
        (StateAt::Destination, Destination::Sqlite(path)) => Sqlite::peek(path, plan.source.stream())?,
        (StateAt::Destination | StateAt::Nowhere, _) => None,
    };
    let shards = setup::runtime()?.block_on(query(plan, saved.as_deref()))?;
    match terminal::print(&table(&shards), &mut setup::stdout()?).map_err(stream_error) {
        Ok(()) | Err(destination::Error::ClosedPipe) => Ok(Exit::Reached),
        Err(error) => Err(error.into()),
    }
}

async fn query(plan: &ShardsPlan, saved: Option<&str>) -> Result<Vec<wit::ShardStatus>, Error> {
    let clock = Clock::start();
    let mut loaded = setup::load()?;
    let mut config = loaded.defaults(&setup::source(&plan.source))?;
    // One record of each shard is enough, and there must be room for all of them.
    (config.limits.page_records, config.limits.batches) = (1, 100_000);
    let mut reader = loaded.open(&config, saved, drive::seed(), clock.now(), drive::present())?;
    let kinesis = setup::connect(&plan.aws).await?;
    let mut requests = Requests::new(kinesis.clone(), clock);
    let mut schedule = Schedule::default();
    loop {
        match reader.poll()? {
            Action::Send(request) => requests.start(request),
            Action::Deliver(batch) => reader.release(batch)?,
            Action::Notice(_) => {}
            Action::Finish(wit::Outcome::Failed(error)) => {
                return Err(Error::unreached(&error, &kinesis).unwrap_or_else(|| Error::Service(Box::new(error))));
            }
            Action::Finish(_) => return Ok(reader.shards()?),
            Action::Wait(wait) => {
                if schedule.is_due(requests.answered(), requests.in_flight()) {
                    let shards = reader.shards()?;
                    let unknown = shards.iter().filter(|shard| !is_lag_known(shard)).count();
                    if unknown == 0 && !shards.is_empty() {
                        return Ok(shards);
                    }
                    schedule.listed(requests.answered(), unknown, shards.len());
                }
                requests.wait(&mut reader, wait.until).await?;
            }
        }
    }
}

/// Whether a shard's lag is known, or the shard cannot be read yet.
fn is_lag_known(shard: &wit::ShardStatus) -> bool {
    shard.behind.is_some()
        || matches!(shard.state, wit::ShardState::Blocked | wit::ShardState::CaughtUp | wit::ShardState::Drained)
}

/// Decides when to list the shards. Listing costs time in proportion to their number, so it must not happen after every
/// answer.
#[derive(Debug, Default)]
struct Schedule {
    /// The number of answers at the last listing.
    last: u64,
    /// The number of further answers that make another listing worth its cost.
    worth: u64,
}

impl Schedule {
    /// `answered` counts the requests that have ended, `in_flight` those that have not.
    fn is_due(&self, answered: u64, in_flight: usize) -> bool {
        let new = answered - self.last;
        new >= self.worth || (in_flight == 0 && new > 0)
    }

    /// An answer reveals the lag of at most one of the shards whose lag is `unknown`. If few of these are left, most
    /// answers may come from other shards, so a share of all shards is waited for too.
    fn listed(&mut self, answered: u64, unknown: usize, all: usize) {
        (self.last, self.worth) = (answered, unknown.max(all / 8).max(1) as u64);
    }
}

fn table(shards: &[wit::ShardStatus]) -> String {
    let titles = ["shard", "parents", "state", "position", "behind"].map(str::to_owned);
    let rows = shards.iter().map(|shard| {
        let parents = if shard.parents.is_empty() { "-".to_owned() } else { shard.parents.join(" ") };
        let state = if shard.closed { "closed" } else { "open" };
        let position = match &shard.position {
            wit::Position::TrimHorizon => "not read".to_owned(),
            wit::Position::At(time) => format!("at {}", Timestamp(*time)),
            wit::Position::After(last) => match last.subsequence {
                Some(subsequence) => format!("after {}, message {subsequence}", last.sequence),
                None => format!("after {}", last.sequence),
            },
            wit::Position::End => "read to its end".to_owned(),
        };
        let behind = match (shard.behind, shard.state) {
            (Some(0), _) => "nothing".to_owned(),
            (Some(behind), _) => HumanDuration(Duration::from_millis(behind)).to_string(),
            (None, wit::ShardState::Blocked) => "waits for its parents".to_owned(),
            (None, _) => "-".to_owned(),
        };
        [shard.shard.clone(), parents, state.to_owned(), position, behind].map(terminal::clean)
    });
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(titles).add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts the listings if each shard answers twice, with its iterator and its lag, and up to `requests_max`
    /// requests are in flight.
    fn count_listings(shards: usize, requests_max: usize) -> usize {
        let mut schedule = Schedule::default();
        let mut count = 0;
        for answered in 0..=2 * shards {
            let unknown = shards - answered.saturating_sub(shards);
            let in_flight = (2 * shards - answered).min(requests_max);
            if schedule.is_due(answered as u64, in_flight) {
                count += 1;
                if unknown == 0 {
                    return count;
                }
                schedule.listed(answered as u64, unknown, shards);
            }
        }
        panic!("the lags are never listed");
    }

    #[test]
    fn many_shards_are_listed_as_rarely_as_few() {
        for shards in [1, 10, 1000, 40_000, 1_000_000] {
            let count = count_listings(shards, 32);
            assert!(count <= 16, "{count} listings of {shards} shards");
        }
    }

    #[test]
    fn columns_are_as_wide_as_their_cells() {
        let shard = |id: &str, parents: &[&str]| wit::ShardStatus {
            shard: id.to_owned(),
            parents: parents.iter().map(|parent| (*parent).to_owned()).collect(),
            state: wit::ShardState::Blocked,
            closed: false,
            position: wit::Position::TrimHorizon,
            behind: None,
        };
        let text = table(&[shard("a", &[]), shard("longer", &["a", "\u{1b}[2J"])]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "shard   parents      state  position  behind",
                "a       -            open   not read  waits for its parents",
                "longer  a \\u{1b}[2J  open   not read  waits for its parents",
            ]
        );
    }
}
