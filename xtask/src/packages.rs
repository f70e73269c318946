//! What the benchmark of the packages for Python and JavaScript needs: their environments, and the peers'.

use std::process::Command;

use crate::process::{Result, root, run, step};
use crate::{js, python};

/// The parts of the benchmark that measure packages.
const PARTS: [&str; 2] = ["python", "js"];

/// Whether nothing but packages is measured, for which no peer in Rust is needed.
pub(crate) fn alone(args: &[String]) -> bool {
    let named = named(args);
    !named.is_empty() && named.iter().all(|name| PARTS.contains(&name.as_str()))
}

/// The parts that are named. An option's value is no part, but nor is it a word of letters.
fn named(args: &[String]) -> Vec<&String> {
    args.iter().filter(|arg| !arg.is_empty() && arg.chars().all(|letter| letter.is_ascii_lowercase())).collect()
}

/// Whether a part is measured: it is named, or none is.
pub(crate) fn chosen(args: &[String], part: &str) -> bool {
    let named = named(args);
    named.is_empty() || named.iter().any(|name| *name == part)
}

/// Makes what the chosen parts need, and tells the benchmark of it. A part whose needs cannot be had is left out.
pub(crate) fn prepare(args: &[String], bench: &mut Command) {
    let [python, js] = PARTS;
    if chosen(args, python)
        && let Ok(interpreter) = step("package: Python", python::environment)
    {
        bench.env("KINESIS_READER_PYTHON_PACKAGE", interpreter);
        bench.env("PYTHONPATH", root().join("bindings/python/src"));
        bench.env("KINESIS_READER_COMPONENT", root().join("host/component/kinesis_reader.wasm"));
    }
    if chosen(args, js) && step("package: JavaScript", javascript).is_ok() {
        bench.env("KINESIS_READER_JS_PACKAGE", root().join("bindings/js"));
    }
}

fn javascript() -> Result<()> {
    let package = root().join("bindings/js");
    js::install(&package)?;
    js::install(&root().join("tests/peers/js"))?;
    run(Command::new("node").arg("build.js").current_dir(&package))
}
