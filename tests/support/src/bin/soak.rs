//! `cargo xtask soak [--minutes N | --runs N] [--seed S]`: runs the kill loop on SQLite and on files, with faults and
//! reshards.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use test_support::program::Flaws;
use test_support::soak::{Tally, kill_loop};

/// The number of runs after which the loop starts again with an empty stream and output.
const RUNS_IN_LOOP: u64 = 20;

#[tokio::main]
async fn main() -> ExitCode {
    let Some((minutes, runs, seed)) = arguments() else {
        eprintln!("usage: cargo xtask soak [--minutes N | --runs N] [--seed S]");
        return ExitCode::from(2);
    };
    let begun = Instant::now();
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("seed {seed}");
    let mut tallies = [("sqlite:out.db", Tally::default()), ("ndjson:out.ndjson", Tally::default())];
    for round in 0.. {
        let enough = match runs {
            Some(runs) => tallies.iter().all(|(_, tally)| tally.runs >= runs),
            None => begun.elapsed() >= Duration::from_secs(60 * minutes),
        };
        if enough {
            break;
        }
        for (to, tally) in &mut tallies {
            let left = runs.map_or(RUNS_IN_LOOP, |runs| runs.saturating_sub(tally.runs).min(RUNS_IN_LOOP));
            match kill_loop(seed.wrapping_add(round), to, left.max(2)).await {
                Ok(more) => *tally = tally.and(more),
                Err(why) => {
                    eprintln!(
                        "error: {to}: {why}\nhint: cargo xtask soak --runs {RUNS_IN_LOOP} --seed {}",
                        seed.wrapping_add(round)
                    );
                    return ExitCode::FAILURE;
                }
            }
            if tally.flaws != Flaws::default() {
                break;
            }
        }
        if tallies.iter().any(|(_, tally)| tally.flaws != Flaws::default()) {
            break;
        }
    }
    for (to, Tally { runs, kills, faults, reshards, messages, flaws }) in &tallies {
        let Flaws { lost, repeated, out_of_order } = flaws;
        println!(
            "{to}: {runs} runs, {kills} kills, {faults} faults injected, {reshards} reshards, {messages} messages, \
             {lost} lost, {repeated} repeated, {out_of_order} out of order"
        );
    }
    println!("{:.1} s", begun.elapsed().as_secs_f64());
    if tallies.iter().all(|(_, tally)| tally.flaws == Flaws::default()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Returns minutes, runs and seed.
fn arguments() -> Option<(u64, Option<u64>, Option<u64>)> {
    let (mut minutes, mut runs, mut seed) = (1, None, None);
    let mut arguments = std::env::args().skip(1);
    while let Some(flag) = arguments.next() {
        let value = arguments.next()?.parse().ok()?;
        match flag.as_str() {
            "--minutes" => minutes = value,
            "--runs" => runs = Some(value),
            "--seed" => seed = Some(value),
            _ => return None,
        }
    }
    Some((minutes, runs, seed))
}
