//! `cargo xtask test`: what must hold before anything lands.

use std::process::Command;

use crate::process::{Result, answers, cargo, run, step};
use crate::{dist, edge, fuzz, guest, js, native, python, setup};

/// Formatting, lints, documentation and all tests; the first that fails ends it.
pub(crate) fn everything() -> Result<()> {
    setup::c_compiler()?;
    setup::linters()?;
    step("component", guest::build)?;
    step("edge components", edge::build)?;
    step("emulators", emulators)?;
    step("formatting", || {
        run(cargo().args(["fmt", "--all", "--check"]))?;
        run(cargo().args(["fmt", "--all", "--manifest-path", "guest/edge/Cargo.toml", "--check"]))
    })?;
    step("lints", || {
        run(cargo().args(["clippy", "--workspace", "--all-targets", "--release", "--", "-D", "warnings"]))
    })?;
    step("lints of the components", guest::lints)?;
    step("dependencies", dependencies)?;
    step("documentation", || {
        run(cargo().env("RUSTDOCFLAGS", "-Dwarnings").args(["doc", "--workspace", "--no-deps", "--release"]))
    })?;
    step("programs", || run(cargo().args(["build", "--release", "--workspace", "--bins", "--examples"])))?;
    step("tests", || run(tests_command()?.arg("--workspace")))?;
    step("JavaScript", || js::tests(&[]))?;
    step("Python", || python::tests(&[]))?;
    step("release", dist::make)?;
    step("fuzzing", || fuzz::all(FUZZ_SECONDS))
}

/// The manifest of each workspace.
const WORKSPACES: [&str; 5] = [
    "Cargo.toml",
    "guest/edge/Cargo.toml",
    "tests/fuzz/Cargo.toml",
    "tests/peers/native/Cargo.toml",
    "tests/peers/sdk/Cargo.toml",
];

/// Checks licences, bans and sources of all dependencies against `deny.toml`, if cargo-deny is installed.
/// It takes minutes to build, so installing it is left to CI and to those who change dependencies.
fn dependencies() -> Result<()> {
    if !answers(cargo().args(["deny", "--version"])) {
        eprintln!("not checked: cargo-deny is not installed\nhint: cargo install --locked cargo-deny");
        return Ok(());
    }
    WORKSPACES.into_iter().try_for_each(|manifest| {
        run(cargo().args(["deny", "--manifest-path", manifest, "check", "licenses", "bans", "sources"]))
    })
}

/// Seconds for each fuzz target: the seeds, and a look around them.
const FUZZ_SECONDS: u32 = 4;

/// The tests alone, with arguments for `cargo test`.
pub(crate) fn tests(args: &[String]) -> Result<()> {
    edge::prepare()?;
    step("emulators", emulators)?;
    step("programs", || run(cargo().args(["build", "--release", "--workspace", "--bins", "--examples"])))?;
    let chosen = args.iter().take_while(|a| *a != "--").any(|a| a.starts_with("-p") || a.starts_with("--package"));
    let mut cargo = tests_command()?;
    if !chosen {
        cargo.arg("--workspace");
    }
    step("tests", || run(cargo.args(args)))
}

/// What stands in for Kinesis and DynamoDB.
fn emulators() -> Result<()> {
    setup::emulator()?;
    python::moto().map(drop)
}

/// `cargo test`, told where the program and the emulators are.
fn tests_command() -> Result<Command> {
    let mut cargo = cargo();
    cargo.env("KINESIS_READER_BIN", native::built(native::program())?).env("KINESIS_LOCAL_DIR", setup::emulator()?);
    cargo.env("MOTO_SERVER", python::moto()?);
    cargo.args(["test", "--release"]);
    Ok(cargo)
}
