//! Does the simulation bite? Faults are planted in the reader, one at a time, and seeds are played until one shows.
//!
//! A fault is a small substitution of text, kept in `tests/mutants/faults.txt` and not in the reader. It is made in a
//! copy of the sources: the reader and the simulation alone, in a workspace and a target folder of their own.
//!
//! Those of the drain are in `edge`.

pub mod edge;

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

/// The faults, as they are kept.
const FAULTS: &str = include_str!("../mutants/faults.txt");

/// The modules of this crate that the simulation is made of.
const ROOMS: [&str; 9] =
    ["aggregate", "chance", "kinesis", "oracle", "scenario", "shrink", "sim", "environment", "writer"];

/// Seeds that a fault may take to show, if it does not in those that are counted.
const SEEDS_MAX: u64 = 40_000;

/// A reader that a fault keeps busy for ever is as good as caught.
const PATIENCE: Duration = Duration::from_secs(400);

/// A fault to plant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub name: String,
    pub breaks: String,
    /// The test that must catch it, where it is no simulation.
    pub tests: String,
    pub edits: Vec<Edit>,
}

/// Some lines of a file, and what takes their place. One line may stand anywhere in a line of the file; of several each
/// is a whole line of it, but for the space at its ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edit {
    /// Below the folder of the sources: `guest/reader/src`, or the drain's.
    pub file: String,
    pub old: Vec<String>,
    pub new: Vec<String>,
}

/// The faults that are kept.
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
                let edit = fault.edits.last_mut().expect("a file goes before its lines");
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
    /// The text with the substitution made, which must have one place in it.
    pub fn apply(&self, text: &str) -> Result<String, String> {
        let places = match self.old.as_slice() {
            [only] => text.match_indices(only.as_str()).map(|(at, _)| (at, at + only.len())).collect(),
            lines => whole_lines(text, lines),
        };
        match places.as_slice() {
            &[(from, to)] => Ok([&text[..from], &self.new.join("\n"), &text[to..]].concat()),
            places => Err(format!("{} places in {} for {:?}", places.len(), self.file, self.old)),
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

/// Makes the edits in a fresh copy of the project's sources in a folder.
fn plant(sources: &str, copied: &Path, edits: &[Edit]) -> io::Result<()> {
    copy(&project().join(sources), copied)?;
    for edit in edits {
        let file = copied.join(&edit.file);
        let planted = edit.apply(&fs::read_to_string(&file)?).map_err(io::Error::other)?;
        write(&file, &planted)?;
    }
    Ok(())
}

/// How a fault showed.
pub struct Caught {
    /// Seeds that showed it, of those that were counted.
    pub by: u64,
    /// The first one.
    pub first: Option<u64>,
    pub why: String,
}

/// Plants those faults whose name holds `only`, plays so many seeds of each, and prints a table. False: one did not
/// show.
pub fn run(seeds: u64, only: Option<&str>) -> io::Result<bool> {
    let scratch = Scratch::make()?;
    let begun = Instant::now();
    println!("| fault | what it breaks | seeds of {seeds} that catch it | first |\n|---|---|---:|---:|");
    let mut shown = Vec::new();
    for fault in faults().iter().filter(|fault| only.is_none_or(|only| fault.name.contains(only))) {
        let caught = if scratch.plant(fault)? {
            scratch.play(seeds)?
        } else {
            Caught { by: 0, first: None, why: "it does not compile".to_owned() }
        };
        let first = caught.first.map_or("-".to_owned(), |seed| seed.to_string());
        println!("| {} | {} | {} | {first} |", fault.name, fault.breaks, caught.by);
        eprintln!("   {}", caught.why);
        shown.push(caught.first.is_some());
    }
    let (all, caught) = (shown.len(), shown.iter().filter(|shown| **shown).count());
    println!("\n{caught} of {all} faults caught, in {:.0} s", begun.elapsed().as_secs_f64());
    Ok(caught == all && all > 0)
}

/// The copy in which faults are planted.
struct Scratch {
    root: PathBuf,
}

impl Scratch {
    fn make() -> io::Result<Scratch> {
        let project = project();
        // This program lies in the target folder of its build.
        let program = env::current_exe()?;
        let target = program.ancestors().nth(2).ok_or_else(|| io::Error::other("no target folder"))?;
        let root = target.join("mutants");
        for room in ROOMS {
            let (from, to) = (project.join("tests/src"), root.join("sim/src"));
            copy(&from.join(room), &to.join(room))?;
            copy(&from.join(room).with_extension("rs"), &to.join(room).with_extension("rs"))?;
        }
        copy(&project.join("tests/src/bin/sim.rs"), &root.join("sim/src/main.rs"))?;
        copy(&project.join("guest/reader/src"), &root.join("reader/src"))?;
        copy(&project.join("guest/reader/Cargo.toml"), &root.join("reader/Cargo.toml"))?;
        copy(&project.join("guest/json"), &root.join("guest/json"))?;
        copy(&project.join("Cargo.lock"), &root.join("Cargo.lock"))?;
        let rooms: Vec<String> = ROOMS.iter().map(|room| format!("pub mod {room};\n")).collect();
        write(&root.join("sim/src/lib.rs"), &rooms.concat())?;
        write(&root.join("sim/Cargo.toml"), SIMULATION)?;
        write(&root.join("Cargo.toml"), &workspace(&fs::read_to_string(project.join("Cargo.toml"))?))?;
        Ok(Scratch { root })
    }

    /// Plants a fault where the last one was. False: it does not compile.
    fn plant(&self, fault: &Fault) -> io::Result<bool> {
        plant("guest/reader/src", &self.root.join("reader/src"), &fault.edits)?;
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["build", "--quiet", "--offline", "--profile", "planted", "--bin", "sim"]).current_dir(&self.root);
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
        let mut sim = Command::new(self.root.join("target/planted/sim"));
        sim.args(arguments).arg("--brief").stdout(Stdio::piped()).stderr(Stdio::null()).env("RUST_BACKTRACE", "0");
        let Some(said) = within(PATIENCE, sim.spawn()?)? else {
            return Ok(Caught { by: 1, first: Some(0), why: "the reader never comes back".to_owned() });
        };
        let failures: Vec<&str> = said.lines().filter_map(|line| line.strip_prefix("seed ")).collect();
        let first = failures.first().and_then(|line| line.split_once(": "));
        let why = first.map_or("no seed shows it", |(_, why)| why).to_owned();
        Ok(Caught { by: failures.len() as u64, first: first.and_then(|(seed, _)| seed.parse().ok()), why })
    }
}

/// What a program prints, unless it takes longer.
fn within(time: Duration, mut program: Child) -> io::Result<Option<String>> {
    let mut out = program.stdout.take().ok_or_else(|| io::Error::other("no output"))?;
    let (told, tell) = mpsc::channel();
    thread::spawn(move || {
        let mut said = String::new();
        let read = out.read_to_string(&mut said).map(|_| said);
        // Nobody listens once the time is over.
        let _ = told.send(read);
    });
    let said = tell.recv_timeout(time).ok();
    if said.is_none() {
        program.kill()?;
    }
    program.wait()?;
    said.transpose()
}

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(1).map(Path::to_owned).unwrap_or_default()
}

/// Copies a file or a folder, if it is there. What is the same already keeps its time, so that little is built anew.
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

/// The project's workspace with these two members, and a profile that builds soon.
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
name = "tests"
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
