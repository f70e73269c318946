//! Plants faults in copies of our own code, which the tests must catch.
//!
//! - `cargo xtask sim --mutants [--seeds N] [--fault NAME]` plants them in the reader and then in the lease, for their
//!   simulations.
//! - `cargo xtask edge --mutants [PART]` plants them in the drain, for its tests. It runs
//!   `mutants edge BUILD TESTS [PART]`.

use std::path::Path;
use std::process::ExitCode;

use tests::mutants;

/// The default number of seeds per fault.
const SEEDS: u64 = 2_000;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [edge, build, tests, only @ ..] = arguments.as_slice()
        && edge == "edge"
    {
        return exit_code(mutants::edge::run(Path::new(build), Path::new(tests), only.first().map(String::as_str)));
    }
    let (mut seeds, mut only) = (SEEDS, None);
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let value = arguments.next();
        match (argument.as_str(), value.as_ref().and_then(|value| value.parse().ok()), value) {
            ("--seeds", Some(n), _) => seeds = n,
            ("--fault", _, Some(name)) => only = Some(name),
            _ => {
                eprintln!("usage: cargo xtask sim --mutants [--seeds N] [--fault PART-OF-ITS-NAME]");
                return ExitCode::from(2);
            }
        }
    }
    exit_code(mutants::run(seeds, only.as_deref()))
}

fn exit_code(all_caught: std::io::Result<bool>) -> ExitCode {
    match all_caught {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
