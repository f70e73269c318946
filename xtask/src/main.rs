//! `cargo xtask`: the project's development tasks.
//!
//! `main` picks a task. `guest` and `edge` build components, `native` builds programs, `js` and `python` build and test
//! the packages, `dist` assembles a release, `check` and `fuzz` test everything, `coverage`, `bench` and `packages`
//! measure. `setup` finds or installs the tools they need, and `process` runs other programs.

mod bench;
mod check;
mod coverage;
mod dist;
mod edge;
mod fuzz;
mod guest;
mod js;
mod native;
mod packages;
mod process;
mod python;
mod setup;

use std::process::ExitCode;

use process::{Failure, Result};

const HELP: &str = "\
usage: cargo xtask TASK [ARGUMENT ...]

  guest            build the component: host/component/kinesis_reader.wasm
  edge             guest, then build the components that drain a stream from an
                   HTTP request: guest/edge/component/*.wasm
  edge wasmtime    the same, then drain a stream in `wasmtime serve`; requires
                   the program `wasmtime`, or WASMTIME set to its path
  edge --mutants [PART]
                   plant faults in a copy of the drain, all or those with PART
                   in their names, and check that its tests catch them
  build            guest, then build the program: target/release/kinesis-reader
  dist             build a release in dist/: components, WIT package, program,
                   wheel, tarball, bills of materials and SHA256SUMS
  demo [ARG ...]   build everything, then read an emulated stream
  test             run all checks: formatting, lints, documentation, all tests
  test ARG ...     run tests only, with ARG ... passed to `cargo test`;
                   e.g. `cargo xtask test --test program`
  sim [ARG ...]    run the simulation; ARG is --seeds N, --seed S, --mutants
  bench [ARG ...]  compare the program's cost to that of other readers
  soak [ARG ...]   kill the program at random amid faults; ARG is --minutes N,
                   --runs N, --seed S
  fuzz [TARGET ...] [--seconds N]
                   run the fuzz targets in tests/fuzz, for a minute each by
                   default; `sandbox` compares the component to the libraries
  coverage         list the lines of the machine that no test reaches
  emulator [PORT]  run an emulated Kinesis until its standard input ends
  recordings       record the golden recordings again, after an intended change
  js [ARG ...]     build and test the JavaScript package, also in a browser;
                   ARG ... is passed to `node --test`
  python [ARG ...] test the Python package, also as a wheel and with dlt;
                   ARG ... is passed to pytest
  python --dlt-source DIR [--dlt-tests FILE]
                   test the Python package against dlt's own source, given a
                   checkout of dlt's verified sources; FILE replaces its test
                   file
  help             print this text

Missing tools are installed if that is possible without asking: targets and
components with rustup (not if RUSTUP_AUTO_INSTALL=0), Debian packages with
apt-get (as root only), the dependencies of the JavaScript package from npm into
its own directory, and the emulator kinesis-local from npm, Python packages for
tests from PyPI and cargo-cyclonedx from crates.io into the user's cache.
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some(code) = coverage::wrapped(&args) {
        return code;
    }
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Message(message)) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
        Err(Failure::Usage(message)) => {
            eprintln!("error: {message}\nhint: `cargo xtask help` lists the tasks");
            ExitCode::from(2)
        }
        Err(Failure::Status { what, code }) => {
            eprintln!("error: failed with status {code}: {what}");
            ExitCode::from(code)
        }
    }
}

fn run(args: &[String]) -> Result<()> {
    let Some((task, rest)) = args.split_first() else {
        print!("{HELP}");
        return Ok(());
    };
    match task.as_str() {
        "guest" => no_arguments(task, rest).and_then(|()| guest::build()),
        "edge" => edge::edge(rest),
        "build" => no_arguments(task, rest).and_then(|()| native::build()),
        "dist" => no_arguments(task, rest).and_then(|()| dist::dist()),
        "demo" => native::demo(rest),
        "sim" => native::sim(rest),
        "bench" => bench::run_all(rest),
        "soak" => native::soak(rest),
        "fuzz" => fuzz::main(rest),
        "coverage" => no_arguments(task, rest).and_then(|()| coverage::measure()),
        "emulator" => native::emulator(rest),
        "recordings" => no_arguments(task, rest).and_then(|()| native::recordings()),
        "js" => js::js(rest),
        "python" => python::python(rest),
        "test" if rest.is_empty() => check::everything(),
        "test" => check::tests(rest),
        "help" | "-h" | "--help" => {
            print!("{HELP}");
            Ok(())
        }
        other => Err(Failure::Usage(format!("no such task: {other}"))),
    }
}

fn no_arguments(task: &str, rest: &[String]) -> Result<()> {
    match rest.first() {
        None => Ok(()),
        Some(extra) => Err(Failure::Usage(format!("`{task}` takes no arguments: {extra}"))),
    }
}
