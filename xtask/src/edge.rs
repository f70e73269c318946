//! The components that drain a stream from an HTTP request, each on its own and composed with the reader.
//!
//! - `cargo xtask edge` builds them.
//! - `cargo xtask edge wasmtime` also runs the one for generic wasi:http hosts in the `wasmtime` program.
//! - `cargo xtask edge --mutants` plants faults in a copy of their source, which their tests must catch.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::guest::{self, Compiler, EDGE_HTTP, EDGE_KV};
use crate::process::{Failure, Result, cargo, failure, output, root, run, step, succeeds};
use crate::{native, python};

/// Below half a megabyte, so that a host can fetch and start them as quickly as the reader.
const SIZE_MAX: u64 = 490_000;

/// The limit for components composed with the reader, which has a limit of its own.
const COMPOSED_SIZE_MAX: u64 = 870_000;

/// Installs the tested version of wasmtime with the features we need. Building it takes ten minutes.
const WASMTIME: &str = "cargo install wasmtime-cli --version 48.0.8 --locked --no-default-features \
     --features run,serve,cranelift,parallel-compilation,pooling-allocator,cache,component-model-async";

/// Runs `cargo xtask edge` with these arguments.
pub(crate) fn edge(args: &[String]) -> Result<()> {
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => prepare(),
        ["wasmtime"] => wasmtime(),
        ["--mutants", only @ ..] => mutants(only),
        // Used by `mutants`, once per fault.
        ["planted", copy] => planted(Path::new(copy)),
        [other, ..] => Err(Failure::Usage(format!("`edge` takes no argument, `wasmtime` or `--mutants`: {other}"))),
    }
}

/// Drains a stream in `wasmtime serve`. Not part of the tests, because Debian does not package the program.
fn wasmtime() -> Result<()> {
    let program = std::env::var_os("WASMTIME").unwrap_or_else(|| "wasmtime".into());
    if !succeeds(Command::new(&program).arg("--version")) {
        let program = program.to_string_lossy();
        return failure(format!("no such program: {program}\nhint: set WASMTIME to its path, or run: {WASMTIME}"));
    }
    prepare()?;
    let moto = step("emulator", python::moto)?;
    step("host", || native::compile(&["edge"]))?;
    let mut edge = Command::new(native::built("edge")?);
    step("wasmtime serve", || run(edge.arg("wasmtime").arg(program).env("MOTO_SERVER", moto)))
}

/// Plants all faults, or those whose names contain one of these strings.
fn mutants(only: &[&str]) -> Result<()> {
    prepare()?;
    step("tests", || {
        native::compile(&["edge", "mutants"])?;
        run(cargo().args(TESTS).arg("--no-run"))
    })?;
    // Nothing is rebuilt, but cargo prints the paths of the test program and of the programs that it starts.
    let messages = output(cargo().args(TESTS).args(["--no-run", "--message-format=json"])).unwrap_or_default();
    let name = |line: &str| Some(line.split_once("\"executable\":\"")?.1.split_once('"')?.0.to_owned());
    let mut tests = messages.lines().filter(|line| line.contains("\"kind\":[\"test\"]"));
    let Some(tests) = tests.find_map(name) else { return failure("cannot find the test program in cargo's output") };
    let own = std::env::current_exe().map_err(|e| Failure::Message(format!("cannot find this program: {e}")))?;
    run(Command::new(native::built("mutants")?).arg("edge").arg(own).arg(tests).args(only))
}

const TESTS: [&str; 5] = ["test", "--release", "--workspace", "--test", "edge"];

/// Builds one component from a copy of the drain, inside the copy. One is enough, as the faults are in shared code, and
/// it builds faster.
fn planted(copy: &Path) -> Result<()> {
    let target = copy.join("target");
    let mut cargo = Compiler::find(&EDGE_KV)?.cargo_in(&EDGE_KV, "build", copy, &target)?;
    run(cargo.arg("--quiet").env("CARGO_PROFILE_RELEASE_LTO", "off"))?;
    let folder = copy.join("component");
    std::fs::create_dir_all(&folder)
        .map_err(|e| Failure::Message(format!("cannot create directory: {}: {e}", folder.display())))?;
    let (made, composed) = (EDGE_KV.artifact(&target, "edge_kv.wasm"), folder.join("edge-kv.composed.wasm"));
    run(Command::new(native::built("compose")?).arg(made).arg(guest::reader()).arg(composed))
}

/// Builds the reader's component and all edge components.
pub(crate) fn prepare() -> Result<()> {
    native::prepare()?;
    step("edge components", build)
}

/// Builds all edge components, given the reader's component.
pub(crate) fn build() -> Result<()> {
    run(cargo().args(["build", "--release", "--workspace", "--bin", "compose"]))?;
    for (name, guest) in [("edge-kv", &EDGE_KV), ("edge-http", &EDGE_HTTP)] {
        run(&mut Compiler::find(guest)?.cargo(guest, "build")?)?;
        let made = guest.artifact(&guest::target()?, &format!("{}.wasm", name.replace('-', "_")));
        guest::install(&made, &folder().join(format!("{name}.wasm")), SIZE_MAX)?;
        let composed = made.with_file_name(format!("{name}.composed.wasm"));
        run(Command::new(native::built("compose")?).arg(&made).arg(guest::reader()).arg(&composed))?;
        guest::install(&composed, &folder().join(format!("{name}.composed.wasm")), COMPOSED_SIZE_MAX)?;
    }
    Ok(())
}

/// Returns the paths of all edge components.
pub(crate) fn components() -> [PathBuf; 4] {
    ["edge-http.composed.wasm", "edge-http.wasm", "edge-kv.composed.wasm", "edge-kv.wasm"]
        .map(|name| folder().join(name))
}

/// Returns the directory of the edge components.
fn folder() -> PathBuf {
    root().join("guest/edge/component")
}
