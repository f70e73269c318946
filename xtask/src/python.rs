//! Tests the Python package in an environment of pinned packages, which is created once. Also sets up the DynamoDB
//! emulator, a Python program with an environment of its own.

use std::ffi::OsString;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{Failure, Result, failure, output, root, run, step};
use crate::{native, setup};

/// The oldest Python version that the package supports.
const PYTHON_MIN: (u32, u32) = (3, 10);

/// Builds everything from the component on and runs the tests. Arguments go to pytest, unless they name dlt's own
/// source.
pub(crate) fn python(args: &[String]) -> Result<()> {
    let original = Original::parse(args)?;
    native::prepare_emulator()?;
    match original {
        None => tests(args),
        Some(original) => {
            let mut pytest = pytest()?;
            pytest.env("KINESIS_DLT_ORIGINAL", original.folder).env("KINESIS_DLT_ORIGINAL_TESTS", original.tests);
            step("Python tests against dlt's own source", || run(pytest.args(["-v", "tests/dlt_original.py"])))
        }
    }
}

/// dlt's own Kinesis source, which is not part of this repository.
struct Original {
    /// The directory that contains the package `sources.kinesis`.
    folder: PathBuf,
    /// Its test file.
    tests: PathBuf,
}

impl Original {
    /// Parses `--dlt-source DIR [--dlt-tests FILE]` and checks that the files exist.
    fn parse(args: &[String]) -> Result<Option<Original>> {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let (folder, tests) = match args.as_slice() {
            ["--dlt-source", folder] => (folder, None),
            ["--dlt-source", folder, "--dlt-tests", tests] => (folder, Some(tests)),
            [first, ..] if first.starts_with("--dlt-") => {
                return Err(Failure::Usage("`python` takes --dlt-source DIR [--dlt-tests FILE]".to_owned()));
            }
            _ => return Ok(None),
        };
        // Absolute, because pytest runs in another directory.
        let folder = std::path::absolute(folder).map_err(|e| failed("find", Path::new(folder), &e))?;
        let tests = match tests {
            None => folder.join("tests/kinesis/test_kinesis.py"),
            Some(tests) => std::path::absolute(tests).map_err(|e| failed("find", Path::new(tests), &e))?,
        };
        let package = folder.join("sources/kinesis/__init__.py");
        for (file, hint) in [
            (&package, "give --dlt-source a checkout of dlt's verified sources"),
            (&tests, "give --dlt-tests the file test_kinesis.py of dlt's verified sources"),
        ] {
            if !file.is_file() {
                return failure(format!("no such file: {}\nhint: {hint}", file.display()));
            }
        }
        Ok(Some(Original { folder, tests }))
    }
}

/// Runs the tests, given the component and the emulator.
pub(crate) fn tests(args: &[String]) -> Result<()> {
    let mut pytest = pytest()?;
    step("Python tests", || run(pytest.args(args)))
}

/// Returns a pytest command for the package that knows where the component and the emulator are.
fn pytest() -> Result<Command> {
    let python = step("Python environment", environment)?;
    let package = root().join("bindings/python");
    let mut pytest = Command::new(python);
    pytest.current_dir(&package).args(["-m", "pytest", "-q", "-p", "no:cacheprovider"]);
    pytest.env("PYTHONPATH", package.join("src")).env("PYTHONDONTWRITEBYTECODE", "1");
    pytest.env("KINESIS_READER_COMPONENT", root().join("host/component/kinesis_reader.wasm"));
    pytest.env("KINESIS_EMULATOR_BIN", native::built("emulator")?);
    Ok(pytest)
}

/// Returns the interpreter for the package's tests.
pub(crate) fn environment() -> Result<PathBuf> {
    environment_for("bindings/python/tests/requirements.txt")
}

/// Returns the moto server, which stands in for DynamoDB in the tests of the edge components.
pub(crate) fn moto() -> Result<PathBuf> {
    let python = environment_for("tests/edge/requirements.txt")?;
    Ok(python.with_file_name(format!("moto_server{}", std::env::consts::EXE_SUFFIX)))
}

/// Creates a virtual environment for a requirements file and returns its interpreter.
///
/// Its name is a hash of the requirements and the Python version, so changing either creates a new one.
fn environment_for(requirements: &str) -> Result<PathBuf> {
    let requirements = root().join(requirements);
    let text = fs::read_to_string(&requirements).map_err(|e| failed("read", &requirements, &e))?;
    let (base, version) = interpreter()?;
    let mut hash = DefaultHasher::new();
    (&text, &version).hash(&mut hash);
    let home = setup::cache_dir()?.join(format!("python-{:016x}", hash.finish()));
    let python = home.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    let complete = home.join("whole");

    fs::create_dir_all(&home).map_err(|e| failed("create", &home, &e))?;
    // One process at a time. The lock is released when a process dies, so nothing is left behind.
    let lock = fs::File::create(home.with_extension("lock")).map_err(|e| failed("create", &home, &e))?;
    lock.lock().map_err(|e| failed("lock", &home, &e))?;
    if !complete.is_file() {
        run(Command::new(base).args(["-m", "venv", "--clear"]).arg(&home))?;
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"];
        run(Command::new(&python).args(pip).arg(&requirements))?;
        fs::write(&complete, &text).map_err(|e| failed("write", &complete, &e))?;
    }
    Ok(python)
}

/// Finds a Python with venv, installing it if possible, and returns it with its version.
fn interpreter() -> Result<(OsString, String)> {
    let found = || {
        let names = std::env::var_os("PYTHON").map_or_else(|| vec!["python3".into(), "python".into()], |p| vec![p]);
        names.into_iter().find_map(|name| Some((name.clone(), version(&name)?)))
    };
    if let Some(found) = found() {
        return Ok(found);
    }
    if setup::apt_install(&["python3", "python3-venv"])
        && let Some(found) = found()
    {
        return Ok(found);
    }
    let (major, minor) = PYTHON_MIN;
    failure(format!(
        "no Python {major}.{minor} or later with venv\nhint: on Debian: apt-get install python3 python3-venv; elsewhere set PYTHON"
    ))
}

/// Returns the version of a Python that is recent enough and has venv and ensurepip.
fn version(python: &OsString) -> Option<String> {
    let (major, minor) = PYTHON_MIN;
    let probe = format!(
        "import sys, venv, ensurepip; assert sys.version_info >= ({major}, {minor}); print(sys.version, sys.executable)"
    );
    output(Command::new(python).arg("-c").arg(probe))
}

fn failed(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::Message(format!("cannot {what}: {}: {error}", path.display()))
}
