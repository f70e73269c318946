//! `kinesis-reader shards`: each shard with its lineage, whether it is open, its position in the checkpoint and its lag.
//!
//! A reader is opened at the saved checkpoint and driven until each shard that may be read has told its lag. What it
//! brings is not taken, and nothing is kept: to look changes nothing.

use std::time::Duration;

use indicatif::HumanDuration;

use crate::component::{Action, wit};
use crate::destination::{self, Sqlite, stream_error};
use crate::drive::{self, Clock, Flight};
use crate::error::{Error, Exit, InTime};
use crate::plan::{Destination, ShardsPlan, StateAt};
use crate::state::FileState;
use crate::{run, terminal};

/// Lists the shards on stdout.
pub fn list(plan: &ShardsPlan) -> Result<Exit, Error> {
    let saved = match (&plan.state, &plan.destination) {
        (StateAt::File(path), _) => FileState::peek(path)?.map(|saved| saved.checkpoint),
        (StateAt::Destination, Destination::Sqlite(path)) => Sqlite::peek(path, plan.source.stream())?,
        (StateAt::Destination | StateAt::Nowhere, _) => None,
    };
    let shards = run::runtime()?.block_on(look(plan, saved.as_deref()))?;
    match terminal::print(&table(&shards), &mut run::stdout()?).map_err(stream_error) {
        Ok(()) | Err(destination::Error::ClosedPipe) => Ok(Exit::Reached),
        Err(error) => Err(error.into()),
    }
}

async fn look(plan: &ShardsPlan, saved: Option<&str>) -> Result<Vec<wit::ShardStatus>, Error> {
    let clock = Clock::start();
    let mut loaded = run::load()?;
    let mut config = loaded.defaults(&run::source(&plan.source))?;
    // Room for the one record of each shard.
    (config.limits.page_records, config.limits.batches) = (1, 100_000);
    let mut reader = loaded.open(&config, saved, drive::seed(), clock.now(), drive::present())?;
    let kinesis = run::connect(&plan.aws).await?;
    let mut flight = Flight::new(kinesis.clone(), clock);
    let mut looks = Looks::default();
    loop {
        match reader.poll()? {
            Action::Send(request) => flight.launch(request),
            Action::Deliver(batch) => reader.release(batch)?,
            Action::Notice(_) => {}
            Action::Finish(wit::Outcome::Failed(error)) => {
                return Err(Error::unreached(&error, &kinesis).unwrap_or_else(|| Error::Service(Box::new(error))));
            }
            Action::Finish(_) => return Ok(reader.shards()?),
            Action::Wait(wait) => {
                if looks.are_due(flight.answered(), flight.out()) {
                    let shards = reader.shards()?;
                    let untold = shards.iter().filter(|shard| !has_told(shard)).count();
                    if untold == 0 && !shards.is_empty() {
                        return Ok(shards);
                    }
                    looks.looked(flight.answered(), untold, shards.len());
                }
                flight.wait(&mut reader, wait.until).await?;
            }
        }
    }
}

/// Whether a shard's lag is known, or the shard cannot be read yet.
fn has_told(shard: &wit::ShardStatus) -> bool {
    shard.behind.is_some()
        || matches!(shard.state, wit::ShardState::Blocked | wit::ShardState::CaughtUp | wit::ShardState::Drained)
}

/// Decides when to list the shards. Listing costs time in proportion to their number, so it must not happen after every
/// answer.
#[derive(Debug, Default)]
struct Looks {
    /// The number of answers at the last look.
    last: u64,
    /// The number of further answers after which the next look is worth its cost.
    worth: u64,
}

impl Looks {
    /// `answered` counts the requests that have ended, `out` those in flight.
    fn are_due(&self, answered: u64, out: usize) -> bool {
        let new = answered - self.last;
        new >= self.worth || (out == 0 && new > 0)
    }

    /// An answer tells the lag of at most one of the `untold` shards. If only few of these are left, most answers may be
    /// from other shards, so a share of all shards counts too.
    fn looked(&mut self, answered: u64, untold: usize, known: usize) {
        (self.last, self.worth) = (answered, untold.max(known / 8).max(1) as u64);
    }
}

fn table(shards: &[wit::ShardStatus]) -> String {
    let heads = ["shard", "parents", "state", "position", "behind"].map(str::to_owned);
    let rows = shards.iter().map(|shard| {
        let parents = if shard.parents.is_empty() { "-".to_owned() } else { shard.parents.join(" ") };
        let state = if shard.closed { "closed" } else { "open" };
        let position = match &shard.position {
            wit::Position::TrimHorizon => "not read".to_owned(),
            wit::Position::At(time) => format!("at {}", InTime(*time)),
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
    let rows: Vec<[String; 5]> = std::iter::once(heads).chain(rows).collect();
    let mut widths = [0; 5];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for row in &rows {
        let cells: String = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}  ")).collect();
        text.push_str(cells.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts the looks if each shard answers twice, with its iterator and its lag, and `most` requests are in flight.
    fn looks_at(shards: usize, most: usize) -> usize {
        let mut looks = Looks::default();
        let mut count = 0;
        for answered in 0..=2 * shards {
            let untold = shards - answered.saturating_sub(shards);
            let out = (2 * shards - answered).min(most);
            if looks.are_due(answered as u64, out) {
                count += 1;
                if untold == 0 {
                    return count;
                }
                looks.looked(answered as u64, untold, shards);
            }
        }
        panic!("it does not see that all have told");
    }

    #[test]
    fn many_shards_are_looked_at_as_rarely_as_few() {
        for shards in [1, 10, 1000, 40_000, 1_000_000] {
            let count = looks_at(shards, 32);
            assert!(count <= 16, "{count} looks at {shards} shards");
        }
    }

    #[test]
    fn the_columns_are_as_wide_as_their_cells() {
        let shard = |id: &str, parents: &[&str]| wit::ShardStatus {
            shard: id.to_owned(),
            parents: parents.iter().map(|parent| (*parent).to_owned()).collect(),
            state: wit::ShardState::Blocked,
            closed: false,
            position: wit::Position::TrimHorizon,
            behind: None,
        };
        let told = table(&[shard("a", &[]), shard("longer", &["a", "\u{1b}[2J"])]);
        let lines: Vec<&str> = told.lines().collect();
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
