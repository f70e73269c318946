//! `kinesis-reader shards`: each shard with its lineage, whether it is open, its place in the checkpoint and its lag.
//!
//! A reader is opened at the saved checkpoint and driven until each shard that may be read has told its lag. What it
//! brings is not taken, and nothing is kept: to look changes nothing.

use std::io::Write;
use std::time::Duration;

use indicatif::HumanDuration;

use crate::component::{Action, Reader, wit};
use crate::destination::{self, Sqlite, stream_error};
use crate::drive::{self, Clock, Flight};
use crate::error::{Error, Exit, InTime};
use crate::plan::{Destination, ShardsPlan, StateAt};
use crate::run;
use crate::state::FileState;

/// Lists the shards on stdout.
pub fn list(plan: &ShardsPlan) -> Result<Exit, Error> {
    let saved = match (&plan.state, &plan.destination) {
        (StateAt::File(path), _) => FileState::peek(path)?.map(|saved| saved.checkpoint),
        (StateAt::Destination, Destination::Sqlite(path)) => Sqlite::peek(path, plan.source.stream())?,
        (StateAt::Destination | StateAt::Nowhere, _) => None,
    };
    let shards = run::runtime()?.block_on(look(plan, saved.as_deref()))?;
    let text = table(&shards);
    match std::io::stdout().write_all(text.as_bytes()).map_err(stream_error) {
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
                if all_told(&mut reader)? {
                    return Ok(reader.shards()?);
                }
                flight.wait(&mut reader, wait.until).await?;
            }
        }
    }
}

/// Whether every shard that may be read has told its lag.
fn all_told(reader: &mut Reader) -> Result<bool, Error> {
    let shards = reader.shards()?;
    let told = |shard: &wit::ShardStatus| {
        shard.behind.is_some()
            || matches!(shard.state, wit::ShardState::Blocked | wit::ShardState::CaughtUp | wit::ShardState::Drained)
    };
    Ok(!shards.is_empty() && shards.iter().all(told))
}

fn table(shards: &[wit::ShardStatus]) -> String {
    let heads = ["shard", "parents", "state", "place", "behind"].map(str::to_owned);
    let rows = shards.iter().map(|shard| {
        let parents = if shard.parents.is_empty() { "-".to_owned() } else { shard.parents.join(" ") };
        let state = if shard.closed { "closed" } else { "open" };
        let place = match &shard.place {
            wit::Place::TrimHorizon => "not read".to_owned(),
            wit::Place::At(time) => format!("at {}", InTime(*time)),
            wit::Place::After(last) => match last.subsequence {
                Some(subsequence) => format!("after {}, message {subsequence}", last.sequence),
                None => format!("after {}", last.sequence),
            },
            wit::Place::End => "read to its end".to_owned(),
        };
        let behind = match (shard.behind, shard.state) {
            (Some(0), _) => "nothing".to_owned(),
            (Some(behind), _) => HumanDuration(Duration::from_millis(behind)).to_string(),
            (None, wit::ShardState::Blocked) => "waits for its parents".to_owned(),
            (None, _) => "-".to_owned(),
        };
        [shard.shard.clone(), parents, state.to_owned(), place, behind]
    });
    let rows: Vec<[String; 5]> = std::iter::once(heads).chain(rows).collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let width = rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
            line.push_str(&format!("{cell:width$}  "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
