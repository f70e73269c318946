//! `cargo xtask bench`: compares the CPU cost of our program to that of other readers on the same pages.
//!
//! All readers run in turn, on prepared pages from a server in a process of its own. We measure the CPU time of each
//! process, user and system, as accounted by the operating system. Ratios are of consecutive runs. Each reader's output
//! must have the right number of lines.

mod cost;
mod edge;
mod idle;
mod lines;
mod machine;
mod packages;
mod parts;
mod shards;
mod sqlite;
mod start;

use std::path::PathBuf;
use std::process::ExitCode;

const HELP: &str = "\
usage: cargo xtask bench [PART ...] [OPTION ...]

parts: lines, parts, sqlite, machine, shards, idle, start, edge, python, js (default: all)

  --rounds N         number of runs of each reader (default: 5)
  --sizes A,B        payload sizes in bytes, for `lines` and `parts`
                     (default: 100,500,2000,20000)
  --dlt-source DIR   also run dlt's Kinesis source; DIR contains its `sources`
";

/// The environment and the options.
struct Setting {
    program: PathBuf,
    /// The directory of compiled peers.
    peers: PathBuf,
    /// The directory of peers that are scripts.
    scripts: PathBuf,
    python: Option<PathBuf>,
    rounds: usize,
    sizes: Vec<usize>,
    dlt: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        // Measurements that need a process of their own.
        ["--insert", from, to] => sqlite::insert(from, to),
        ["--pages", wire, size, folder] => parts::pages(wire, size, folder),
        ["--sandbox", wire, folder] => parts::in_sandbox(wire, folder),
        ["--machine", shards] => machine::alone(shards),
        ["--instantiate"] => start::instantiate(),
        _ => match bench(&arguments) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("error: {error}");
                ExitCode::FAILURE
            }
        },
    }
}

fn bench(arguments: &[String]) -> Result<(), String> {
    let path = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let needed = |name: &str| path(name).ok_or(format!("{name} is not set\nhint: run `cargo xtask bench`"));
    let mut setting = Setting {
        program: needed("KINESIS_READER_BIN")?,
        peers: needed("KINESIS_READER_PEERS")?,
        scripts: needed("KINESIS_READER_SCRIPTS")?,
        python: path("KINESIS_READER_PYTHON"),
        rounds: 5,
        sizes: vec![100, 500, 2000, 20_000],
        dlt: None,
    };
    let mut chosen = Vec::new();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value\n\n{HELP}"));
        match argument.as_str() {
            "--rounds" => setting.rounds = value()?.parse().map_err(|_| format!("not a number\n\n{HELP}"))?,
            "--sizes" => {
                let sizes: Result<_, _> = value()?.split(',').map(str::parse).collect();
                setting.sizes = sizes.map_err(|_| format!("not a list of numbers\n\n{HELP}"))?;
            }
            "--dlt-source" => setting.dlt = Some(value()?.into()),
            part if PARTS.iter().any(|(name, _)| *name == part) => chosen.push(part.to_owned()),
            _ => return Err(format!("unknown part or option: {argument}\n\n{HELP}")),
        }
    }
    println!("{}\n", machine());
    for (name, part) in PARTS {
        if chosen.is_empty() || chosen.iter().any(|chosen| chosen == name) {
            part(&setting)?;
        }
    }
    Ok(())
}

type Part = fn(&Setting) -> Result<(), String>;

const PARTS: [(&str, Part); 10] = [
    ("lines", lines::bench),
    ("parts", parts::bench),
    ("sqlite", sqlite::bench),
    ("machine", machine::bench),
    ("shards", shards::bench),
    ("idle", idle::bench),
    ("start", start::bench),
    ("edge", edge::bench),
    ("python", packages::python),
    ("js", packages::js),
];

/// Describes this machine.
fn machine() -> String {
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, model)| model));
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{}, {cpus} CPUs, {} {}", model.unwrap_or("unknown CPU"), std::env::consts::OS, kernel.trim())
}
