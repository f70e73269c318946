//! Checks that the simulation of the lease catches faults. Each fault in `tests/mutants/lease.txt` is planted in a copy
//! of the lease, or of the drain in its simulation.

use std::path::Path;
use std::{fs, io};

use super::{Edit, Fault, PROFILE, Scratch, apply, copy, edge, parse, project, target, write};

const FAULTS: &str = include_str!("../../mutants/lease.txt");

/// The folder that the files of the faults are relative to: the project.
pub const SOURCES: &str = "";

/// The files and folders to copy, besides those in which faults are planted.
const COPIED: [&str; 3] = ["Cargo.lock", "guest/lease/Cargo.toml", "tests/simulation/src/chance.rs"];

/// The folders in which faults are planted.
const PLANTED: [&str; 2] = ["guest/lease/src", "tests/edge/tests/lease"];

/// Returns all faults.
pub fn faults() -> Vec<Fault> {
    parse(FAULTS)
}

/// Copies the lease and its simulation.
pub(super) fn scratch() -> io::Result<Scratch> {
    let root = target()?.join("mutants-lease");
    for path in COPIED {
        copy(&project().join(path), &root.join(path))?;
    }
    let workspace = edge::workspace(
        &fs::read_to_string(project().join("Cargo.toml"))?,
        &["guest/lease", "tests/edge", "tests/simulation"],
    );
    write(&root.join("Cargo.toml"), &(workspace + PROFILE))?;
    write(&root.join("tests/edge/Cargo.toml"), PROGRAM)?;
    write(&root.join("tests/simulation/Cargo.toml"), SIMULATION)?;
    write(&root.join("tests/simulation/src/lib.rs"), "pub mod chance;\n")?;
    Ok(Scratch { root, program: "lease", plant })
}

fn plant(root: &Path, edits: &[Edit]) -> io::Result<()> {
    for path in PLANTED {
        copy(&project().join(path), &root.join(path))?;
    }
    apply(root, edits)
}

const PROGRAM: &str = r#"
[package]
name = "edge-tests"
version = "0.1.0"
edition = "2024"
autotests = false

[dependencies]
kinesis-reader-lease.workspace = true
serde_json.workspace = true
simulation = { path = "../simulation" }

[[bin]]
name = "lease"
path = "tests/lease/main.rs"
"#;

const SIMULATION: &str = r#"
[package]
name = "simulation"
version = "0.1.0"
edition = "2024"

[dependencies]
fastrand = { version = "2", default-features = false }
"#;
