//! `cargo xtask coverage`: finds the lines of the machine that no test reaches.
//!
//! Uses rustc's `-C instrument-coverage` and LLVM's tools. A wrapper around rustc, which is this program itself, adds
//! the flag to the workspace's own crates only, so their dependencies need no rebuild. cargo-llvm-cov would rebuild
//! everything.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::process::{Failure, Result, cargo, failure, output, root, run, step, succeeds, target_dir};
use crate::{native, setup};

/// The tests that drive the machine without a network.
const TESTS: [&str; 6] = ["envelope", "fuzz", "golden", "kpl", "properties", "sim"];

/// The measured sources.
const MEASURED: &str = "guest/reader/src";

/// Set when this program is called as the wrapper.
const WRAPPER: &str = "KINESIS_COVERAGE_WRAPPER";

/// Runs rustc as cargo asked, plus the coverage flag. Returns `None` if we were not called as the wrapper.
pub(crate) fn wrapped(args: &[String]) -> Option<ExitCode> {
    std::env::var_os(WRAPPER)?;
    let (rustc, args) = args.split_first()?;
    let status = Command::new(rustc).args(args).arg("-Cinstrument-coverage").status();
    Some(status.ok()?.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1).into())
}

/// Runs the tests and prints each file's coverage and the lines that no test reaches.
pub(crate) fn measure() -> Result<()> {
    native::prepare()?;
    let tools = Tools::find()?;
    let folder = target_dir()?.join("coverage");
    let _ = std::fs::remove_dir_all(&folder);
    let failed = |e| Failure::Message(format!("cannot write: {}: {e}", folder.display()));
    std::fs::create_dir_all(&folder).map_err(failed)?;
    // Failing tests count too; the failure is reported at the end.
    let passed = step("tests with coverage", || run(tests(&folder)?.arg("--no-fail-fast")));
    let programs = programs(&folder)?;

    let counted: Vec<PathBuf> = std::fs::read_dir(&folder).map_err(failed)?.flatten().map(|file| file.path()).collect();
    let profile = folder.join("all.profdata");
    run(Command::new(&tools.profdata).args(["merge", "--sparse", "-o"]).arg(&profile).args(&counted))?;
    let mut cov = Command::new(&tools.cov);
    cov.args(["export", "--format=lcov", "--instr-profile"]).arg(&profile);
    // The first program is a positional argument; the others follow `--object`.
    for (number, program) in programs.iter().enumerate() {
        if number > 0 {
            cov.arg("--object");
        }
        cov.arg(program);
    }
    match output(cov.arg(root().join(MEASURED))) {
        Some(report) => print_report(&report),
        None => return failure("llvm-cov cannot read the profile\nhint: its version must match rustc's LLVM"),
    }
    passed
}

fn tests(folder: &Path) -> Result<Command> {
    let wrapper = std::env::current_exe().map_err(|e| Failure::Message(format!("cannot find this program: {e}")))?;
    let mut cargo = cargo();
    cargo.args(["test", "--release", "--workspace", "--lib"]).args(TESTS.iter().flat_map(|test| ["--test", test]));
    cargo.env("RUSTC_WORKSPACE_WRAPPER", wrapper).env(WRAPPER, "1");
    cargo.env("LLVM_PROFILE_FILE", folder.join("%p-%m.profraw"));
    Ok(cargo)
}

/// Returns the test programs. Building them again does nothing but print their paths.
fn programs(folder: &Path) -> Result<BTreeSet<PathBuf>> {
    let messages = output(tests(folder)?.args(["--no-run", "--message-format=json"])).unwrap_or_default();
    let name = |line: &str| Some(PathBuf::from(line.split_once("\"executable\":\"")?.1.split_once('"')?.0));
    Ok(messages.lines().filter_map(name).collect())
}

/// Parses an lcov report: `SF:` starts a file, `DA:` is a line and its execution count.
fn print_report(report: &str) {
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
            // Code that is compiled into several programs is listed several times.
            let passed = lines.entry(line).or_default();
            *passed = count.max(*passed);
        }
    }
    let (mut all, mut reached) = (0, 0);
    for (path, mut lines) in files {
        let text = std::fs::read_to_string(root().join(&path)).unwrap_or_default();
        // Unit tests are at the end of a file or in a file of their own.
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

/// LLVM's tools, in the version that rustc uses, because the profile format depends on it.
struct Tools {
    cov: PathBuf,
    profdata: PathBuf,
}

impl Tools {
    fn find() -> Result<Tools> {
        let version = output(Command::new("rustc").arg("-vV")).unwrap_or_default();
        let field = |name| version.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        let (host, major) = (field("host: "), field("LLVM version: ").split('.').next().unwrap_or_default());
        let sysroot = output(Command::new("rustc").args(["--print", "sysroot"])).unwrap_or_default();
        let rustup = PathBuf::from(sysroot).join("lib/rustlib").join(host).join("bin");
        let debian = PathBuf::from(format!("/usr/lib/llvm-{major}/bin"));
        let named = |name| std::env::var_os(name).map(PathBuf::from);
        if let (Some(cov), Some(profdata)) = (named("LLVM_COV"), named("LLVM_PROFDATA")) {
            return Ok(Tools { cov, profdata });
        }
        let at = |folder: &Path| {
            let [cov, profdata] = ["llvm-cov", "llvm-profdata"].map(|name| folder.join(name));
            let usable = [&cov, &profdata].iter().all(|tool| succeeds(Command::new(tool).arg("--version")));
            if usable { Some(Tools { cov, profdata }) } else { None }
        };
        let search = || at(&rustup).or_else(|| at(&debian));
        if let Some(tools) = search() {
            return Ok(tools);
        }
        let package = format!("llvm-{major}");
        if (setup::rustup(&["component", "add", "llvm-tools"]) || setup::apt_install(&[&package]))
            && let Some(tools) = search()
        {
            return Ok(tools);
        }
        failure(format!(
            "no llvm-cov and llvm-profdata of version {major}\n\
             hint: rustup component add llvm-tools; on Debian: apt-get install {package}; or set LLVM_COV and LLVM_PROFDATA"
        ))
    }
}
