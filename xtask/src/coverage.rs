//! `cargo xtask coverage`: which lines of the machine the tests do not reach.
//!
//! The compiler counts (`-C instrument-coverage`), and LLVM's tools read what was counted. The flag is added by a
//! wrapper around rustc that cargo calls for this workspace's own crates alone, so that none of the others is built
//! anew: the wrapper is this program. Cargo-llvm-cov, which would build all of them, is not needed for the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::process::{Failure, Result, answers, cargo, output, root, run, step, target_dir, words};
use crate::{native, setup};

/// The tests that drive the machine without a network.
const TESTS: [&str; 6] = ["envelope", "fuzz", "golden", "kpl", "properties", "sim"];

/// What is measured.
const MEASURED: &str = "guest/reader/src";

/// Says that this program was called as the wrapper.
const WRAPPER: &str = "KINESIS_COVERAGE_WRAPPER";

/// Calls rustc as cargo asked for, with the flag; none if this is no such call.
pub(crate) fn wrapped(args: &[String]) -> Option<ExitCode> {
    std::env::var_os(WRAPPER)?;
    let (rustc, args) = args.split_first()?;
    let status = Command::new(rustc).args(args).arg("-Cinstrument-coverage").status();
    Some(status.ok()?.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1).into())
}

/// Runs the tests and prints each file's share and the lines that none of them reaches.
pub(crate) fn measure() -> Result<()> {
    native::prepare()?;
    let tools = Tools::find()?;
    let folder = target_dir()?.join("coverage");
    let _ = std::fs::remove_dir_all(&folder);
    let failed = |e| Failure::Words(format!("cannot write: {}: {e}", folder.display()));
    std::fs::create_dir_all(&folder).map_err(failed)?;
    // What a test that fails has reached counts too; that it fails is told at the end.
    let passed = step("tests, counted", || run(tests(&folder)?.arg("--no-fail-fast")));
    let programs = programs(&folder)?;

    let counted: Vec<PathBuf> = std::fs::read_dir(&folder).map_err(failed)?.flatten().map(|file| file.path()).collect();
    let profile = folder.join("all.profdata");
    run(Command::new(&tools.profdata).args(["merge", "--sparse", "-o"]).arg(&profile).args(&counted))?;
    let mut cov = Command::new(&tools.cov);
    cov.args(["export", "--format=lcov", "--instr-profile"]).arg(&profile);
    // The first stands by itself, before the sources; the others have a flag.
    for (number, program) in programs.iter().enumerate() {
        if number > 0 {
            cov.arg("--object");
        }
        cov.arg(program);
    }
    match output(cov.arg(root().join(MEASURED))) {
        Some(report) => tell(&report),
        None => return words("llvm-cov cannot read what was counted\nhint: its version must be that of rustc's LLVM"),
    }
    passed
}

fn tests(folder: &Path) -> Result<Command> {
    let wrapper = std::env::current_exe().map_err(|e| Failure::Words(format!("cannot find this program: {e}")))?;
    let mut cargo = cargo();
    cargo.args(["test", "--release", "--workspace", "--lib"]).args(TESTS.iter().flat_map(|test| ["--test", test]));
    cargo.env("RUSTC_WORKSPACE_WRAPPER", wrapper).env(WRAPPER, "1");
    cargo.env("LLVM_PROFILE_FILE", folder.join("%p-%m.profraw"));
    Ok(cargo)
}

/// The programs that the tests are in: cargo names them in the messages of a build, which has nothing left to do.
fn programs(folder: &Path) -> Result<BTreeSet<PathBuf>> {
    let messages = output(tests(folder)?.args(["--no-run", "--message-format=json"])).unwrap_or_default();
    let name = |line: &str| Some(PathBuf::from(line.split_once("\"executable\":\"")?.1.split_once('"')?.0));
    Ok(messages.lines().filter_map(name).collect())
}

/// Reads a report in the form of lcov: `SF:` a file, `DA:` a line and how often it was passed.
fn tell(report: &str) {
    let mut files: BTreeMap<String, BTreeMap<usize, u64>> = BTreeMap::new();
    let mut lines = None;
    for entry in report.lines() {
        if let Some(path) = entry.strip_prefix("SF:") {
            let path = Path::new(path).strip_prefix(root()).unwrap_or(Path::new(path)).display().to_string();
            lines = Some(files.entry(path).or_default());
        } else if let (Some((line, count)), Some(lines)) =
            (entry.strip_prefix("DA:").and_then(|entry| entry.split_once(',')), &mut lines)
            && let (Ok(line), Ok(count)) = (line.parse(), count.parse::<u64>())
        {
            // What is compiled into several programs stands in the report several times.
            let passed = lines.entry(line).or_default();
            *passed = count.max(*passed);
        }
    }
    let (mut all, mut reached) = (0, 0);
    for (path, mut lines) in files {
        let text = std::fs::read_to_string(root().join(&path)).unwrap_or_default();
        // Tests stand last in a file, and those in a file of their own are no part of the machine.
        let tests = text.lines().position(|line| line == "#[cfg(test)]").map_or(usize::MAX, |line| line + 1);
        if path.ends_with("/tests.rs") {
            continue;
        }
        lines.retain(|line, _| *line < tests);
        let missed: Vec<usize> = lines.iter().filter(|(_, count)| **count == 0).map(|(line, _)| *line).collect();
        (all, reached) = (all + lines.len(), reached + lines.len() - missed.len());
        println!("{path}: {} of {} lines", lines.len() - missed.len(), lines.len());
        for line in missed {
            println!("{line:>6}  {}", text.lines().nth(line - 1).unwrap_or_default());
        }
    }
    println!("{MEASURED}: {reached} of {all} lines, {:.2} %", 100.0 * reached as f64 / all.max(1) as f64);
}

/// LLVM's tools, of the version that rustc is built with: what is counted has its form.
struct Tools {
    cov: PathBuf,
    profdata: PathBuf,
}

impl Tools {
    fn find() -> Result<Tools> {
        let version = output(Command::new("rustc").arg("-vV")).unwrap_or_default();
        let told = |name| version.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        let (host, major) = (told("host: "), told("LLVM version: ").split('.').next().unwrap_or_default());
        let sysroot = output(Command::new("rustc").args(["--print", "sysroot"])).unwrap_or_default();
        let rustup = PathBuf::from(sysroot).join("lib/rustlib").join(host).join("bin");
        let debian = PathBuf::from(format!("/usr/lib/llvm-{major}/bin"));
        let named = |name| std::env::var_os(name).map(PathBuf::from);
        if let (Some(cov), Some(profdata)) = (named("LLVM_COV"), named("LLVM_PROFDATA")) {
            return Ok(Tools { cov, profdata });
        }
        let at = |folder: &Path| {
            let [cov, profdata] = ["llvm-cov", "llvm-profdata"].map(|name| folder.join(name));
            let there = [&cov, &profdata].iter().all(|tool| answers(Command::new(tool).arg("--version")));
            if there { Some(Tools { cov, profdata }) } else { None }
        };
        let there = || at(&rustup).or_else(|| at(&debian));
        if let Some(tools) = there() {
            return Ok(tools);
        }
        let package = format!("llvm-{major}");
        if (setup::rustup(&["component", "add", "llvm-tools"]) || setup::apt_install(&[&package]))
            && let Some(tools) = there()
        {
            return Ok(tools);
        }
        words(format!(
            "no llvm-cov and llvm-profdata of version {major}\n\
             hint: rustup component add llvm-tools; on Debian: apt-get install {package}; or set LLVM_COV and LLVM_PROFDATA"
        ))
    }
}
