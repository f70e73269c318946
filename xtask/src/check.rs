//! `cargo xtask test`: everything that must pass before a change is merged.

use std::process::Command;

use crate::process::{Result, cargo, failure, output, run, step, succeeds};
use crate::{dist, edge, fuzz, guest, js, native, python, setup};

/// Checks formatting, lints and documentation and runs all tests. Stops at the first failure.
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
    step("crates", crates)?;
    step("release", dist::make)?;
    step("fuzzing", || fuzz::all(FUZZ_SECONDS))
}

/// The manifests of all workspaces.
const WORKSPACES: [&str; 5] = [
    "Cargo.toml",
    "guest/edge/Cargo.toml",
    "tests/fuzz/Cargo.toml",
    "bench/peers/native/Cargo.toml",
    "bench/peers/sdk/Cargo.toml",
];

/// Checks licences, bans and sources of all dependencies against `deny.toml`, if cargo-deny is installed.
/// cargo-deny takes minutes to build, so installing it is left to CI and to those who change dependencies.
fn dependencies() -> Result<()> {
    if !succeeds(cargo().args(["deny", "--version"])) {
        eprintln!("skipping: cargo-deny is not installed\nhint: cargo install --locked cargo-deny");
        return Ok(());
    }
    WORKSPACES.into_iter().try_for_each(|manifest| {
        run(cargo().args(["deny", "--manifest-path", manifest, "check", "licenses", "bans", "sources"]))
    })
}

/// The crates that are published, each after those that it depends on.
const CRATES: [&str; 4] = ["kinesis-reader-json", "kinesis-reader-machine", "kinesis-reader-lease", "kinesis-reader"];

/// Packages the crates that are published. Those without wasmtime are also built from their packages; the host's takes
/// minutes and is left to the release.
fn crates() -> Result<()> {
    let package = |names: &[&str]| {
        let mut cargo = cargo();
        cargo.args(["package", "--quiet", "--allow-dirty"]);
        for name in names {
            cargo.args(["-p", name]);
        }
        cargo
    };
    run(&mut package(&CRATES[..3]))?;
    run(package(&CRATES).arg("--no-verify"))?;
    let list = output(package(&CRATES[3..]).arg("--list")).unwrap_or_default();
    match ["component/kinesis_reader.wasm", "component/reader.wit"].iter().find(|file| !list.contains(*file)) {
        Some(file) => failure(format!("the package of {} lacks {file}", CRATES[3])),
        None => Ok(()),
    }
}

/// Seconds per fuzz target: enough for the seeds and small changes to them.
const FUZZ_SECONDS: u32 = 4;

/// Runs the tests only, with these arguments for `cargo test`.
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

/// Installs the stand-ins for Kinesis and DynamoDB.
fn emulators() -> Result<()> {
    setup::emulator()?;
    python::moto().map(drop)
}

/// Returns a `cargo test` command that knows where the program and the emulators are.
fn tests_command() -> Result<Command> {
    let mut cargo = cargo();
    cargo.env("KINESIS_READER_BIN", native::built(native::program())?).env("KINESIS_LOCAL_DIR", setup::emulator()?);
    cargo.env("MOTO_SERVER", python::moto()?);
    cargo.args(["test", "--release"]);
    Ok(cargo)
}
