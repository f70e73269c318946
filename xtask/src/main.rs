//! `cargo xtask`: everything that is done to this project, by one name each.
//!
//! Top down: `main` chooses a task, `guest` and `edge` make the components, `native` the programs, `js` the JavaScript
//! package, `python` tests the Python package, `dist` makes a release of all, `check` and `fuzz` test all, `coverage`,
//! `bench` and `packages` measure; `setup` finds or installs what they need, `process` starts other programs.

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
  edge             guest, then the components that drain a stream from an HTTP
                   request: guest/edge/component/*.wasm
  edge wasmtime    the same, and a stream drained in `wasmtime serve`, if there
                   is a program `wasmtime`, or WASMTIME names one
  edge --mutants [PART]
                   faults planted in a copy of the drain, those with PART in
                   their name, which its tests must catch
  build            guest, then the program: target/release/kinesis-reader
  dist             what a release is made of, in dist/: components, WIT package,
                   program, wheel, tarball, bills of materials and SHA256SUMS
  demo [ARG ...]   build all, then show a whole read of an emulated stream
  test             everything: formatting, lints, documentation, all tests
  test ARG ...     the tests alone, ARG ... handed to `cargo test`;
                   e.g. `cargo xtask test -p tests --test cli`
  sim [ARG ...]    the simulation; ARG is --seeds N, --seed S, --mutants
  bench [ARG ...]  what the program costs, beside others on the same pages
  soak [ARG ...]   kill the program at random amid faults; ARG is --minutes N,
                   --runs N, --seed S
  fuzz [TARGET ...] [--seconds N]
                   the fuzz targets of tests/fuzz, a minute each unless told;
                   `sandbox`: pages in the component, beside the libraries
  coverage         the lines of the machine that no test reaches
  emulator [PORT]  an emulated Kinesis to try things on, until its input ends
  traces           record the golden traces anew, where the reader is meant to differ
  js [ARG ...]     the JavaScript package: built and tested, also in a browser;
                   ARG ... handed to `node --test`
  python [ARG ...] the Python package: tested, also as a wheel and with dlt;
                   ARG ... handed to pytest
  python --dlt-source DIR [--dlt-tests FILE]
                   the Python package beside dlt's own source, by a checkout of
                   dlt's verified sources and the test file in it, or another
  help             this text

What is missing is installed where that can be done without asking: a target or
component by rustup (not with RUSTUP_AUTO_INSTALL=0), Debian's packages by apt-get
as root, into the user's cache folder the emulator kinesis-local from npm, the Python
packages of the tests from PyPI and cargo-cyclonedx from crates.io, and into its own
folder what the JavaScript package is made of from npm.
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let Some(code) = coverage::wrapped(&args) {
        return code;
    }
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Words(words)) => {
            eprintln!("error: {words}");
            ExitCode::FAILURE
        }
        Err(Failure::Usage(words)) => {
            eprintln!("error: {words}\nhint: `cargo xtask help` lists the tasks");
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
        "guest" => none(task, rest).and_then(|()| guest::build()),
        "edge" => edge::edge(rest),
        "build" => none(task, rest).and_then(|()| native::build()),
        "dist" => none(task, rest).and_then(|()| dist::dist()),
        "demo" => native::demo(rest),
        "sim" => native::sim(rest),
        "bench" => bench::run_all(rest),
        "soak" => native::soak(rest),
        "fuzz" => fuzz::asked(rest),
        "coverage" => none(task, rest).and_then(|()| coverage::measure()),
        "emulator" => native::emulator(rest),
        "traces" => none(task, rest).and_then(|()| native::traces()),
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

fn none(task: &str, rest: &[String]) -> Result<()> {
    match rest.first() {
        None => Ok(()),
        Some(extra) => Err(Failure::Usage(format!("`{task}` takes no argument: {extra}"))),
    }
}
