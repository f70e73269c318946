//! `cargo xtask sim [--seeds N] [--seed S]`: plays many seeds, or one of them with its history.

use std::process::ExitCode;
use std::time::Instant;

use simulation::{shrink, sim};

const USAGE: &str = "\
usage: cargo xtask sim [--seeds N] [--first S] [--failures MOST] [--brief]
       cargo xtask sim --seed S [--history LINES]
       cargo xtask sim --mutants [--seeds N] [--fault PART-OF-ITS-NAME]

Each failure prints its seed. Unless --brief is given, the first one is then reduced to what it needs and played again,
to print the end of its history.";

/// The default number of lines of history.
const HISTORY: usize = 60;
/// The default number of seeds.
const SEEDS: u64 = 5_000;

fn main() -> ExitCode {
    let (mut first, mut count, mut history) = (0, SEEDS, HISTORY);
    let (mut failures_max, mut brief) = (20, false);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        if argument == "--brief" {
            brief = true;
            continue;
        }
        let number = arguments.next().and_then(|value| value.parse::<u64>().ok());
        match (argument.as_str(), number) {
            ("--seeds", Some(n)) => count = n,
            ("--seed", Some(seed)) => (first, count) = (seed, 1),
            ("--first", Some(seed)) => first = seed,
            ("--history", Some(lines)) => history = lines as usize,
            ("--failures", Some(most)) => failures_max = most as usize,
            _ => {
                eprintln!("{USAGE}");
                return ExitCode::from(2);
            }
        }
    }
    let begun = Instant::now();
    let summary = sim::play(first, count, failures_max);
    for (what, seeds) in &summary.coverage {
        println!("{seeds:>8} of {} seeds: {what}", summary.seeds);
    }
    println!("{} seeds in {:.1} s, {} failed", summary.seeds, begun.elapsed().as_secs_f64(), summary.failures.len());
    let Some(first) = summary.failures.first() else { return ExitCode::SUCCESS };
    for failure in &summary.failures {
        println!("seed {}: {}", failure.seed, failure.why);
    }
    if brief {
        return ExitCode::FAILURE;
    }
    // A seed plays the same each time, so its history can be recorded now.
    let (off, failure) = shrink::shrink(first.clone(), history);
    if count == 1 {
        println!("\n{}", failure.scenario);
    }
    println!("\nthe end of seed {}, without {}:", failure.seed, off.join(", "));
    for line in &failure.history {
        println!("{line}");
    }
    println!("\n{}\nhint: repeat with `cargo xtask sim --seed {}`", failure.why, failure.seed);
    ExitCode::FAILURE
}
