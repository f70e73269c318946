//! Plants faults in the reader, one at a time, to check that the simulation catches them.
//!
//! A fault is a small text substitution, listed in `tests/mutants/faults.txt` rather than in the reader's sources. It
//! is made in a copy of the reader and the simulation, which has its own workspace and target directory.
//!
//! `lease` does the same for the lease and its simulation, and `edge` for the drain.

pub mod edge;
pub mod lease;

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

const FAULTS: &str = include_str!("../mutants/faults.txt");

/// The modules that make up the simulation.
const MODULES: [&str; 9] =
    ["aggregate", "chance", "kinesis", "oracle", "scenario", "shrink", "sim", "environment", "writer"];

/// How many seeds to try if none of those that are counted catches a fault.
const SEEDS_MAX: u64 = 40_000;

/// The time limit of a simulation. A fault that keeps the reader busy forever counts as caught.
const TIMEOUT: Duration = Duration::from_secs(400);

/// A fault to plant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub name: String,
    /// What it breaks.
    pub breaks: String,
    /// The test that must catch it, unless the simulation does.
    pub tests: String,
    pub edits: Vec<Edit>,
}

/// Replaces some text in a file. A single old line may be any part of a line in the file. Several old lines must each
/// be a whole line, except for the whitespace around it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edit {
    /// The path within the source directory: `guest/reader/src`, the drain's, or for the lease the project's.
    pub file: String,
    pub old: Vec<String>,
    pub new: Vec<String>,
}

/// Returns the faults to plant in the reader.
pub fn faults() -> Vec<Fault> {
    parse(FAULTS)
}

fn parse(text: &str) -> Vec<Fault> {
    let mut faults: Vec<Fault> = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("== ") {
            let name = name.to_owned();
            faults.push(Fault { name, breaks: String::new(), tests: String::new(), edits: Vec::new() });
        }
        let Some(fault) = faults.last_mut() else { continue };
        match line.split_at_checked(2) {
            Some(("@ ", file)) => fault.edits.push(Edit { file: file.to_owned(), ..Edit::default() }),
            Some((mark @ ("- " | "+ "), text)) => {
                let edit = fault.edits.last_mut().expect("a line with a file before these");
                if mark == "- " { &mut edit.old } else { &mut edit.new }.push(text.to_owned());
            }
            Some(("? ", tests)) => tests.clone_into(&mut fault.tests),
            Some(("==", _)) | None => {}
            Some(_) => fault.breaks.push_str(line),
        }
    }
    faults
}

impl Edit {
    /// Makes the substitution in a text, in which the old lines must occur exactly once.
    pub fn apply(&self, text: &str) -> Result<String, String> {
        let matches = match self.old.as_slice() {
            [only] => text.match_indices(only.as_str()).map(|(at, _)| (at, at + only.len())).collect(),
            lines => whole_lines(text, lines),
        };
        match matches.as_slice() {
            &[(from, to)] => Ok([&text[..from], &self.new.join("\n"), &text[to..]].concat()),
            matches => Err(format!("{} matches in {} of {:?}", matches.len(), self.file, self.old)),
        }
    }
}

fn whole_lines(text: &str, wanted: &[String]) -> Vec<(usize, usize)> {
    let mut at = 0;
    let lines: Vec<(usize, &str)> = text
        .split_inclusive('\n')
        .map(|line| {
            at += line.len();
            (at - line.len(), line)
        })
        .collect();
    let same =
        |window: &&[(usize, &str)]| window.iter().zip(wanted).all(|((_, line), want)| line.trim() == want.trim());
    let span =
        |window: &[(usize, &str)]| Some((window.first()?.0, window.last()?.0 + window.last()?.1.trim_end().len()));
    lines.windows(wanted.len()).filter(same).filter_map(span).collect()
}

/// Makes a fresh copy of a source directory and applies the edits to it.
fn plant(sources: &str, copied: &Path, edits: &[Edit]) -> io::Result<()> {
    copy(&project().join(sources), copied)?;
    apply(copied, edits)
}

/// Applies edits to files below a directory.
fn apply(copied: &Path, edits: &[Edit]) -> io::Result<()> {
    for edit in edits {
        let file = copied.join(&edit.file);
        let planted = edit.apply(&fs::read_to_string(&file)?).map_err(io::Error::other)?;
        write(&file, &planted)?;
    }
    Ok(())
}

/// How a fault was caught.
pub struct Caught {
    /// The number of seeds that caught it, of those that are counted.
    pub by: u64,
    /// The first seed that caught it.
    pub first: Option<u64>,
    /// The violation that the simulation reported.
    pub why: String,
}

/// Plants each fault of the reader and of the lease whose name contains `only`, plays this many seeds against it, and
/// prints a table for each of the two. Returns whether all faults were caught.
pub fn run(seeds: u64, only: Option<&str>) -> io::Result<bool> {
    let begun = Instant::now();
    let mut results = Vec::new();
    for (scratch, mut faults) in [(Scratch::make()?, faults()), (lease::scratch()?, lease::faults())] {
        faults.retain(|fault| only.is_none_or(|only| fault.name.contains(only)));
        if !faults.is_empty() {
            println!("| fault | what it breaks | seeds of {seeds} that catch it | first |\n|---|---|---:|---:|");
            results.extend(scratch.try_faults(&faults, seeds)?);
            println!();
        }
    }
    let (all, caught) = (results.len(), results.iter().filter(|is_caught| **is_caught).count());
    println!("{caught} of {all} faults caught, in {:.0} s", begun.elapsed().as_secs_f64());
    Ok(caught == all && all > 0)
}

/// A copy of the sources in which faults are planted.
struct Scratch {
    root: PathBuf,
    /// The name of the program that plays seeds.
    program: &'static str,
    /// Replaces the sources below the root by fresh ones, with these edits.
    plant: fn(&Path, &[Edit]) -> io::Result<()>,
}

impl Scratch {
    fn make() -> io::Result<Scratch> {
        let project = project();
        let root = target()?.join("mutants");
        for module in MODULES {
            let (from, to) = (project.join("tests/simulation/src"), root.join("sim/src"));
            copy(&from.join(module), &to.join(module))?;
            copy(&from.join(module).with_extension("rs"), &to.join(module).with_extension("rs"))?;
        }
        copy(&project.join("tests/simulation/src/bin/sim.rs"), &root.join("sim/src/main.rs"))?;
        copy(&project.join("guest/reader/src"), &root.join("reader/src"))?;
        copy(&project.join("guest/reader/Cargo.toml"), &root.join("reader/Cargo.toml"))?;
        copy(&project.join("guest/json"), &root.join("guest/json"))?;
        copy(&project.join("Cargo.lock"), &root.join("Cargo.lock"))?;
        let modules: Vec<String> = MODULES.iter().map(|module| format!("pub mod {module};\n")).collect();
        write(&root.join("sim/src/lib.rs"), &modules.concat())?;
        write(&root.join("sim/Cargo.toml"), SIMULATION)?;
        write(&root.join("Cargo.toml"), &workspace(&fs::read_to_string(project.join("Cargo.toml"))?))?;
        let plant = |root: &Path, edits: &[Edit]| plant("guest/reader/src", &root.join("reader/src"), edits);
        Ok(Scratch { root, program: "sim", plant })
    }

    /// Plants faults, plays seeds against each, and prints the rows of a table. Returns which of them were caught.
    fn try_faults(&self, faults: &[Fault], seeds: u64) -> io::Result<Vec<bool>> {
        let mut results = Vec::new();
        for fault in faults {
            let caught = if self.plant(fault)? {
                self.play(seeds)?
            } else {
                Caught { by: 0, first: None, why: "it does not compile".to_owned() }
            };
            let first = caught.first.map_or("-".to_owned(), |seed| seed.to_string());
            println!("| {} | {} | {} | {first} |", fault.name, fault.breaks, caught.by);
            eprintln!("   {}", caught.why);
            results.push(caught.first.is_some());
        }
        Ok(results)
    }

    /// Replaces the previous fault with this one and builds the simulation. Returns whether it compiles.
    fn plant(&self, fault: &Fault) -> io::Result<bool> {
        (self.plant)(&self.root, &fault.edits)?;
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["build", "--quiet", "--offline", "--profile", "planted", "--bin", self.program]);
        cargo.current_dir(&self.root);
        cargo.env("CARGO_TARGET_DIR", self.root.join("target")).env_remove("CARGO_MANIFEST_DIR");
        cargo.env("RUSTFLAGS", "-Awarnings");
        Ok(cargo.status()?.success())
    }

    fn play(&self, seeds: u64) -> io::Result<Caught> {
        let counted = self.sim(&["--seeds", &seeds.to_string(), "--failures", "1000000"])?;
        if counted.first.is_some() {
            return Ok(counted);
        }
        let more = SEEDS_MAX.saturating_sub(seeds).to_string();
        let later = self.sim(&["--first", &seeds.to_string(), "--seeds", &more, "--failures", "1"])?;
        Ok(Caught { by: 0, ..later })
    }

    fn sim(&self, arguments: &[&str]) -> io::Result<Caught> {
        let mut sim = Command::new(self.root.join("target/planted").join(self.program));
        sim.args(arguments).arg("--brief").stdout(Stdio::piped()).stderr(Stdio::null()).env("RUST_BACKTRACE", "0");
        let Some(output) = within(TIMEOUT, sim.spawn()?)? else {
            return Ok(Caught { by: 1, first: Some(0), why: "it never returns".to_owned() });
        };
        let failures: Vec<&str> = output.lines().filter_map(|line| line.strip_prefix("seed ")).collect();
        let first = failures.first().and_then(|line| line.split_once(": "));
        let why = first.map_or("no seed catches it", |(_, why)| why).to_owned();
        Ok(Caught { by: failures.len() as u64, first: first.and_then(|(seed, _)| seed.parse().ok()), why })
    }
}

/// Returns what a program prints, or kills it if it takes too long.
fn within(time: Duration, mut program: Child) -> io::Result<Option<String>> {
    let mut stdout = program.stdout.take().ok_or_else(|| io::Error::other("stdout is not piped"))?;
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut text = String::new();
        let output = stdout.read_to_string(&mut text).map(|_| text);
        // This fails after the timeout, when the receiver is gone.
        let _ = sender.send(output);
    });
    let output = receiver.recv_timeout(time).ok();
    if output.is_none() {
        program.kill()?;
    }
    program.wait()?;
    output.transpose()
}

/// Returns the target directory that this program was built in.
fn target() -> io::Result<PathBuf> {
    let program = env::current_exe()?;
    let target = program.ancestors().nth(2).map(Path::to_owned);
    target.ok_or_else(|| io::Error::other("not in a target directory"))
}

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(1).map(Path::to_owned).unwrap_or_default()
}

/// Copies a file or a directory, if it exists. Files that are already the same are left alone, so that little is
/// rebuilt.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    if from.is_dir() {
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
    } else if from.is_file() {
        write(to, &fs::read_to_string(from)?)?;
    }
    Ok(())
}

fn write(to: &Path, text: &str) -> io::Result<()> {
    if fs::read_to_string(to).is_ok_and(|old| old == text) {
        return Ok(());
    }
    to.parent().map_or(Ok(()), fs::create_dir_all)?;
    fs::write(to, text)
}

/// Returns the project's workspace with only these two members, and a profile that builds quickly.
fn workspace(project: &str) -> String {
    let kept = project.lines().filter(|line| {
        !["members", "default-members", "kinesis-reader =", "kinesis-reader-lease ="]
            .iter()
            .any(|unwanted| line.starts_with(unwanted))
    });
    let kept: Vec<&str> = kept.collect();
    let kept = kept.join("\n").replace("guest/reader", "reader");
    kept.replacen("[workspace]", "[workspace]\nmembers = [\"reader\", \"sim\"]", 1) + PROFILE
}

const PROFILE: &str = r#"
[profile.planted]
inherits = "release"
opt-level = 1
incremental = true
"#;

const SIMULATION: &str = r#"
[package]
name = "simulation"
version = "0.1.0"
edition = "2024"

[dependencies]
base64 = { version = "0.23", default-features = false, features = ["alloc"] }
fastrand = { version = "2", default-features = false }
kinesis-reader-machine.workspace = true
md-5.workspace = true
minicbor.workspace = true
serde.workspace = true
serde_json.workspace = true

[[bin]]
name = "sim"
path = "src/main.rs"
"#;
