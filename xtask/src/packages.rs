//! Sets up the environments for benchmarks of the Python and JavaScript packages and their peers.

use std::process::Command;

use crate::process::{Result, root, run, step};
use crate::{js, python};

/// The parts of the benchmark that measure packages.
const PARTS: [&str; 2] = ["python", "js"];

/// Returns whether only packages are measured, which needs no peers in Rust.
pub(crate) fn only_packages(args: &[String]) -> bool {
    let named = named(args);
    !named.is_empty() && named.iter().all(|name| PARTS.contains(&name.as_str()))
}

/// Returns the named parts: arguments of lower-case letters. Option values have other characters.
fn named(args: &[String]) -> Vec<&String> {
    args.iter().filter(|arg| !arg.is_empty() && arg.chars().all(|letter| letter.is_ascii_lowercase())).collect()
}

/// Returns whether a part is measured: it is named, or no part is.
pub(crate) fn includes(args: &[String], part: &str) -> bool {
    let named = named(args);
    named.is_empty() || named.iter().any(|name| *name == part)
}

/// Prepares the chosen parts and passes their paths to the benchmark. Skips parts that cannot be prepared.
pub(crate) fn prepare(args: &[String], bench: &mut Command) {
    let [python, js] = PARTS;
    if includes(args, python)
        && let Ok(interpreter) = step("package: Python", python::environment)
    {
        bench.env("KINESIS_READER_PYTHON_PACKAGE", interpreter);
        bench.env("PYTHONPATH", root().join("bindings/python/src"));
        bench.env("KINESIS_READER_COMPONENT", root().join("host/component/kinesis_reader.wasm"));
    }
    if includes(args, js) && step("package: JavaScript", javascript).is_ok() {
        bench.env("KINESIS_READER_JS_PACKAGE", root().join("bindings/js"));
    }
}

fn javascript() -> Result<()> {
    let package = root().join("bindings/js");
    js::install(&package)?;
    js::install(&root().join("bench/peers/js"))?;
    run(Command::new("node").arg("build.js").current_dir(&package))
}
