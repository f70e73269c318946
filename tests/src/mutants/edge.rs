//! Checks that the tests of the drain detect faults. Each fault in `tests/mutants/edge.txt` is planted in a copy of the
//! drain, and the test that the fault names must fail.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, io};

use super::{Fault, copy, parse, plant, project, target, within, write};

const FAULTS: &str = include_str!("../../mutants/edge.txt");

/// The sources in which faults are planted.
pub const SOURCES: &str = "guest/edge/src";

/// The files and folders to copy.
const COPIED: [&str; 9] = [
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

/// How long a test may take. A fault that makes a drain hang counts as caught.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Returns all faults.
pub fn faults() -> Vec<Fault> {
    parse(FAULTS)
}

/// Plants the faults whose names contain `only`, and prints a table. `build` is the program that builds the components
/// of a copy, and `tests` is the test program. Returns whether all faults were caught.
pub fn run(build: &Path, tests: &Path, only: Option<&str>) -> io::Result<bool> {
    let root = target()?.join("mutants-edge");
    for path in COPIED {
        copy(&project().join(path), &root.join(path))?;
    }
    let members = ["guest/json", "guest/lease", "guest/reader"];
    write(&root.join("Cargo.toml"), &workspace(&fs::read_to_string(project().join("Cargo.toml"))?, &members))?;
    let build = |root: &Path| Command::new(build).args(["edge", "planted"]).arg(root).status();
    let (faults, start) = (faults(), Instant::now());
    println!("| fault | what it breaks | caught by |\n|---|---|---|");
    // Without a planted fault, every test must pass.
    plant(SOURCES, &root.join(SOURCES), &[])?;
    if !build(&root)?.success() {
        return Err(io::Error::other("cannot build the drain"));
    }
    let names: BTreeSet<&str> = faults.iter().map(|fault| fault.tests.as_str()).collect();
    for test in names {
        if !passes(tests, &root, test)? {
            return Err(io::Error::other(format!("test does not exist, or fails without a planted fault: {test}")));
        }
    }
    let (mut all, mut caught) = (0, 0);
    for fault in faults.iter().filter(|fault| only.is_none_or(|only| fault.name.contains(only))) {
        plant(SOURCES, &root.join(SOURCES), &fault.edits)?;
        let is_caught = build(&root)?.success() && !passes(tests, &root, &fault.tests)?;
        let test = fault.tests.rsplit(':').next().unwrap_or_default();
        let by = if is_caught { format!("`{test}`") } else { "nothing".to_owned() };
        println!("| {} | {} | {by} |", fault.name, fault.breaks);
        all += 1;
        caught += usize::from(is_caught);
    }
    println!("\n{caught} of {all} faults caught, in {:.0} s", start.elapsed().as_secs_f64());
    Ok(caught == all && all > 0)
}

/// Returns the manifest of the project's workspace with only these members.
pub(super) fn workspace(project: &str, members: &[&str]) -> String {
    let is_kept = |line: &&str| !["members", "default-members"].iter().any(|key| line.starts_with(key));
    let lines: Vec<&str> = project.lines().filter(is_kept).collect();
    lines.join("\n").replacen("[workspace]", &format!("[workspace]\nmembers = {members:?}"), 1)
}

fn passes(tests: &Path, root: &Path, test: &str) -> io::Result<bool> {
    let mut command = Command::new(tests);
    command.args(["--exact", test]).env("EDGE_COMPONENTS", root.join("component"));
    let output = within(TIMEOUT, command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?)?;
    // If there is no test of this name, the program succeeds too.
    Ok(output.is_some_and(|output| output.contains("test result: ok. 1 passed")))
}
