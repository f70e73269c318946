//! Native programs: the reader, the demo, the simulation and the test tools.

use std::path::PathBuf;
use std::process::Command;

use crate::process::{Failure, Result, cargo, root, run, step, target_dir};
use crate::{guest, setup};

const PROGRAM: &str = "kinesis-reader";

/// Builds the component and the program, and puts the program where the README says it is.
pub(crate) fn build() -> Result<()> {
    prepare()?;
    step("program", || run(cargo().args(["build", "--release", "-p", PROGRAM])))?;
    let program = built(PROGRAM)?;
    let documented = root().join("target/release").join(file_name(PROGRAM));
    if program != documented {
        copy(&program, &documented)?;
    }
    eprintln!("program: {}", documented.display());
    Ok(())
}

/// Builds everything and runs the demo.
pub(crate) fn demo(args: &[String]) -> Result<()> {
    prepare()?;
    step("demo and program", || compile(&["demo", PROGRAM]))?;
    run(Command::new(built("demo")?).args(args).env("KINESIS_READER_BIN", built(PROGRAM)?))
}

/// Runs the simulation, or checks that it catches planted faults.
pub(crate) fn sim(args: &[String]) -> Result<()> {
    prepare()?;
    let program = if args.iter().any(|arg| arg == "--mutants") { "mutants" } else { "sim" };
    step("simulation", || compile(&[program]))?;
    run(Command::new(built(program)?).args(args.iter().filter(|arg| *arg != "--mutants")))
}

/// Runs the soak test.
pub(crate) fn soak(args: &[String]) -> Result<()> {
    prepare()?;
    step("soak and program", || compile(&["soak", PROGRAM]))?;
    run(Command::new(built("soak")?).args(args).env("KINESIS_READER_BIN", built(PROGRAM)?))
}

/// Runs an emulator.
pub(crate) fn emulator(args: &[String]) -> Result<()> {
    prepare_emulator()?;
    run(Command::new(built("emulator")?).args(args))
}

/// Builds the component and the emulator, for tests in other languages.
pub(crate) fn prepare_emulator() -> Result<()> {
    prepare()?;
    step("emulator", || compile(&["emulator"]))
}

/// Records the golden recordings again.
pub(crate) fn recordings() -> Result<()> {
    prepare()?;
    let local = step("emulator", setup::emulator)?;
    step("recorder and program", || compile(&["recordings", PROGRAM]))?;
    run(Command::new(built("recordings")?).env("KINESIS_READER_BIN", built(PROGRAM)?).env("KINESIS_LOCAL_DIR", local))
}

/// Builds programs with the features of the whole workspace. Selecting individual packages would select other features
/// and rebuild heavy dependencies.
pub(crate) fn compile(programs: &[&str]) -> Result<()> {
    let mut cargo = cargo();
    cargo.args(["build", "--release", "--workspace"]);
    for program in programs {
        cargo.args(["--bin", program]);
    }
    run(&mut cargo)
}

/// Returns the path of a built program.
pub(crate) fn built(program: &str) -> Result<PathBuf> {
    Ok(target_dir()?.join("release").join(file_name(program)))
}

/// Returns the name of the reader's program.
pub(crate) fn program() -> &'static str {
    PROGRAM
}

/// Builds the component, which everything else needs.
pub(crate) fn prepare() -> Result<()> {
    setup::c_compiler()?;
    step("component", guest::build)
}

fn file_name(program: &str) -> String {
    format!("{program}{}", std::env::consts::EXE_SUFFIX)
}

/// Writes a temporary file and renames it, so that a running copy is not overwritten.
fn copy(from: &PathBuf, to: &PathBuf) -> Result<()> {
    let failed = |e| Failure::Message(format!("cannot write: {}: {e}", to.display()));
    let temporary = to.with_extension("new");
    if let Some(folder) = to.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    std::fs::copy(from, &temporary).and_then(|_| std::fs::rename(&temporary, to)).map_err(failed)
}
