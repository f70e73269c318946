//! `cargo xtask edge`: the components that drain a stream from an HTTP request, each alone and with the reader within.
//! `cargo xtask edge wasmtime`: the one for any host of wasi:http, run in the program `wasmtime`.
//! `cargo xtask edge --mutants`: faults planted in a copy of them, which their tests must catch.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::guest::{self, EDGE_HTTP, EDGE_KV, Way};
use crate::process::{Failure, Result, answers, cargo, output, root, run, step, words};
use crate::{native, python};

/// Below half a megabyte each, so that a host fetches and starts them as it does the reader.
const SIZE_MAX: u64 = 450_000;

/// The same with the reader within.
const COMPOSED_SIZE_MAX: u64 = 750_000;

/// The version that the components are tried in, and what of the program they need: it takes ten minutes to build.
const WASMTIME: &str = "cargo install wasmtime-cli --version 48.0.8 --locked --no-default-features \
     --features run,serve,cranelift,parallel-compilation,pooling-allocator,cache,component-model-async";

/// Makes all, and tries the one for any host of wasi:http if that is asked for.
pub(crate) fn edge(args: &[String]) -> Result<()> {
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => prepare(),
        ["wasmtime"] => wasmtime(),
        ["--mutants", only @ ..] => mutants(only),
        // What `mutants` calls for each fault.
        ["planted", copy] => planted(Path::new(copy)),
        [other, ..] => Err(Failure::Usage(format!("`edge` takes no argument, `wasmtime` or `--mutants`: {other}"))),
    }
}

/// Drains a stream in `wasmtime serve`. The tests do without it, as the program is in no package of Debian's.
fn wasmtime() -> Result<()> {
    let program = std::env::var_os("WASMTIME").unwrap_or_else(|| "wasmtime".into());
    if !answers(Command::new(&program).arg("--version")) {
        let program = program.to_string_lossy();
        return words(format!("no such program: {program}\nhint: name it in WASMTIME, or: {WASMTIME}"));
    }
    prepare()?;
    let moto = step("emulator", python::moto)?;
    step("host", || native::compile(&["edge"]))?;
    let mut edge = Command::new(native::built("edge")?);
    step("wasmtime serve", || run(edge.arg("wasmtime").arg(program).env("MOTO_SERVER", moto)))
}

/// Plants the faults whose names hold this, or all.
fn mutants(only: &[&str]) -> Result<()> {
    prepare()?;
    step("tests", || {
        native::compile(&["edge", "mutants"])?;
        run(cargo().args(TESTS).arg("--no-run"))
    })?;
    // Cargo names the program in the messages of a build that has nothing left to do, and with it those that it starts.
    let messages = output(cargo().args(TESTS).args(["--no-run", "--message-format=json"])).unwrap_or_default();
    let name = |line: &str| Some(line.split_once("\"executable\":\"")?.1.split_once('"')?.0.to_owned());
    let mut tests = messages.lines().filter(|line| line.contains("\"kind\":[\"test\"]"));
    let Some(tests) = tests.find_map(name) else { return words("cargo names no program of the tests") };
    let own = std::env::current_exe().map_err(|e| Failure::Words(format!("cannot find this program: {e}")))?;
    run(Command::new(native::built("mutants")?).arg("edge").arg(own).arg(tests).args(only))
}

const TESTS: [&str; 5] = ["test", "--release", "--workspace", "--test", "edge"];

/// Makes the component of a copy of the drain, in the copy, where it is soon built: the faults are in what both share.
fn planted(copy: &Path) -> Result<()> {
    let target = copy.join("target");
    let mut cargo = Way::find(&EDGE_KV)?.cargo_in(&EDGE_KV, "build", copy, &target)?;
    run(cargo.arg("--quiet").env("CARGO_PROFILE_RELEASE_LTO", "off"))?;
    let folder = copy.join("component");
    std::fs::create_dir_all(&folder)
        .map_err(|e| Failure::Words(format!("cannot make a folder: {}: {e}", folder.display())))?;
    let (made, composed) = (EDGE_KV.made(&target, "edge_kv.wasm"), folder.join("edge-kv.composed.wasm"));
    run(Command::new(native::built("compose")?).arg(made).arg(guest::reader()).arg(composed))
}

/// Makes the reader's component and all of these.
pub(crate) fn prepare() -> Result<()> {
    native::prepare()?;
    step("edge components", build)
}

/// Makes all of these, where the reader's component is built.
pub(crate) fn build() -> Result<()> {
    run(cargo().args(["build", "--release", "--workspace", "--bin", "compose"]))?;
    for (name, guest) in [("edge-kv", &EDGE_KV), ("edge-http", &EDGE_HTTP)] {
        run(&mut Way::find(guest)?.cargo(guest, "build")?)?;
        let made = guest.made(&guest::target()?, &format!("{}.wasm", name.replace('-', "_")));
        guest::place(&made, &folder().join(format!("{name}.wasm")), SIZE_MAX)?;
        let composed = made.with_file_name(format!("{name}.composed.wasm"));
        run(Command::new(native::built("compose")?).arg(&made).arg(guest::reader()).arg(&composed))?;
        guest::place(&composed, &folder().join(format!("{name}.composed.wasm")), COMPOSED_SIZE_MAX)?;
    }
    Ok(())
}

/// Where each of them lies.
pub(crate) fn components() -> [PathBuf; 4] {
    ["edge-http.composed.wasm", "edge-http.wasm", "edge-kv.composed.wasm", "edge-kv.wasm"]
        .map(|name| folder().join(name))
}

/// Where the components lie.
fn folder() -> PathBuf {
    root().join("guest/edge/component")
}
