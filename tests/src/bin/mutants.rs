//! `cargo xtask sim --mutants [--seeds N] [--fault NAME]`: plants faults in a copy of the reader, and shows that the
//! simulation catches them.
//! `cargo xtask edge --mutants [PART]`: the same in the drain, for its tests; as `mutants edge BUILD TESTS [PART]`.

use std::path::Path;
use std::process::ExitCode;

use tests::mutants;

/// Seeds that are played of each fault if none are asked for.
const SEEDS: u64 = 2_000;

fn main() -> ExitCode {
    let given: Vec<String> = std::env::args().skip(1).collect();
    if let [edge, build, tests, only @ ..] = given.as_slice()
        && edge == "edge"
    {
        return told(mutants::edge::run(Path::new(build), Path::new(tests), only.first().map(String::as_str)));
    }
    let (mut seeds, mut only) = (SEEDS, None);
    let mut arguments = given.into_iter();
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
    told(mutants::run(seeds, only.as_deref()))
}

fn told(caught: std::io::Result<bool>) -> ExitCode {
    match caught {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
