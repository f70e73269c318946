//! Do the tests of the drain bite? Each fault of `tests/mutants/edge.txt` is planted in a copy of it, and the test that
//! the fault names must fail.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, io};

use super::{Fault, copy, parse, plant, project, within, write};

const FAULTS: &str = include_str!("../../mutants/edge.txt");

/// What the faults are planted in.
pub const SOURCES: &str = "guest/edge/src";

/// What the copy is made of.
const ROOMS: [&str; 9] = [
    "guest/edge/Cargo.toml",
    "guest/edge/Cargo.lock",
    "guest/edge/http",
    "guest/edge/kv",
    "guest/edge/wit",
    "guest/json",
    "guest/lease",
    "guest/reader",
    "wit",
];

/// A drain that never comes back is as good as caught.
const PATIENCE: Duration = Duration::from_secs(120);

/// The faults that are kept.
pub fn faults() -> Vec<Fault> {
    parse(FAULTS)
}

/// Plants those faults whose name holds `only`, and prints a table. `build` makes the components of the copy whose root
/// it is given; `tests` is the program of the tests. False: one did not show.
pub fn run(build: &Path, tests: &Path, only: Option<&str>) -> io::Result<bool> {
    let program = env::current_exe()?;
    let target = program.ancestors().nth(2).ok_or_else(|| io::Error::other("no target folder"))?;
    let root = target.join("mutants-edge");
    for room in ROOMS {
        copy(&project().join(room), &root.join(room))?;
    }
    write(&root.join("Cargo.toml"), &workspace(&fs::read_to_string(project().join("Cargo.toml"))?))?;
    let make = |root: &Path| Command::new(build).args(["edge", "planted"]).arg(root).status();
    let (faults, begun) = (faults(), Instant::now());
    println!("| fault | what it breaks | caught by |\n|---|---|---|");
    // Where nothing is planted, each test passes.
    plant(SOURCES, &root.join(SOURCES), &[])?;
    if !make(&root)?.success() {
        return Err(io::Error::other("the drain cannot be built"));
    }
    let names: BTreeSet<&str> = faults.iter().map(|fault| fault.tests.as_str()).collect();
    for test in names {
        if !passes(tests, &root, test)? {
            return Err(io::Error::other(format!("it fails with no fault planted, or is no test: {test}")));
        }
    }
    let (mut all, mut caught) = (0, 0);
    for fault in faults.iter().filter(|fault| only.is_none_or(|only| fault.name.contains(only))) {
        plant(SOURCES, &root.join(SOURCES), &fault.edits)?;
        let bitten = make(&root)?.success() && !passes(tests, &root, &fault.tests)?;
        let test = fault.tests.rsplit(':').next().unwrap_or_default();
        let by = if bitten { format!("`{test}`") } else { "nothing".to_owned() };
        println!("| {} | {} | {by} |", fault.name, fault.breaks);
        all += 1;
        caught += usize::from(bitten);
    }
    println!("\n{caught} of {all} faults caught, in {:.0} s", begun.elapsed().as_secs_f64());
    Ok(caught == all && all > 0)
}

/// The project's workspace with those members alone that the drain is built with.
fn workspace(project: &str) -> String {
    let kept = project.lines().filter(|line| !["members", "default-members"].iter().any(|own| line.starts_with(own)));
    let kept: Vec<&str> = kept.collect();
    kept.join("\n").replacen(
        "[workspace]",
        "[workspace]\nmembers = [\"guest/json\", \"guest/lease\", \"guest/reader\"]",
        1,
    )
}

fn passes(tests: &Path, root: &Path, test: &str) -> io::Result<bool> {
    let mut command = Command::new(tests);
    command.args(["--exact", test]).env("EDGE_COMPONENTS", root.join("component"));
    let said = within(PATIENCE, command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?)?;
    // A name that no test has would pass as well.
    Ok(said.is_some_and(|said| said.contains("test result: ok. 1 passed")))
}
