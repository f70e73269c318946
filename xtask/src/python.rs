//! The Python package: its tests, in an environment of pinned packages that is made once. The server that stands in for
//! DynamoDB is a Python program too, and has another.

use std::ffi::OsString;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{Failure, Result, output, root, run, step, words};
use crate::{native, setup};

/// The oldest Python that the package is for.
const PYTHON_MIN: (u32, u32) = (3, 10);

/// Everything from the component on, then the tests; ARGs are for pytest, unless dlt's own source is given.
pub(crate) fn python(args: &[String]) -> Result<()> {
    let original = Original::asked(args)?;
    native::prepare_emulator()?;
    match original {
        None => tests(args),
        Some(original) => {
            let mut pytest = pytest()?;
            pytest.env("KINESIS_DLT_ORIGINAL", original.folder).env("KINESIS_DLT_ORIGINAL_TESTS", original.tests);
            step("python tests beside dlt's own source", || run(pytest.args(["-v", "tests/dlt_original.py"])))
        }
    }
}

/// dlt's own Kinesis source, which is not in this repository.
struct Original {
    /// Where the package `sources.kinesis` is.
    folder: PathBuf,
    /// The test file that belongs to it.
    tests: PathBuf,
}

impl Original {
    /// What `--dlt-source DIR [--dlt-tests FILE]` names, if it is all there.
    fn asked(args: &[String]) -> Result<Option<Original>> {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let (folder, tests) = match args.as_slice() {
            ["--dlt-source", folder] => (folder, None),
            ["--dlt-source", folder, "--dlt-tests", tests] => (folder, Some(tests)),
            [first, ..] if first.starts_with("--dlt-") => {
                return Err(Failure::Usage("`python` takes --dlt-source DIR [--dlt-tests FILE]".to_owned()));
            }
            _ => return Ok(None),
        };
        // pytest runs elsewhere.
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
                return words(format!("no such file: {}\nhint: {hint}", file.display()));
            }
        }
        Ok(Some(Original { folder, tests }))
    }
}

/// The tests, where component and emulator are built.
pub(crate) fn tests(args: &[String]) -> Result<()> {
    let mut pytest = pytest()?;
    step("python tests", || run(pytest.args(args)))
}

/// pytest in the package's folder, told where component and emulator are.
fn pytest() -> Result<Command> {
    let python = step("python environment", environment)?;
    let package = root().join("bindings/python");
    let mut pytest = Command::new(python);
    pytest.current_dir(&package).args(["-m", "pytest", "-q", "-p", "no:cacheprovider"]);
    pytest.env("PYTHONPATH", package.join("src")).env("PYTHONDONTWRITEBYTECODE", "1");
    pytest.env("KINESIS_READER_COMPONENT", root().join("host/component/kinesis_reader.wasm"));
    pytest.env("KINESIS_EMULATOR_BIN", native::built("emulator")?);
    Ok(pytest)
}

/// The interpreter that the package is tested with.
pub(crate) fn environment() -> Result<PathBuf> {
    made_of("bindings/python/tests/requirements.txt")
}

/// The program of moto's server, which the tests of the edge components take for DynamoDB.
pub(crate) fn moto() -> Result<PathBuf> {
    Ok(made_of("tests/requirements.txt")?.with_file_name(format!("moto_server{}", std::env::consts::EXE_SUFFIX)))
}

/// The interpreter of a virtual environment with the packages of a file of requirements.
///
/// It is named after them and after the Python that it is of, so that a change of either makes a new one.
fn made_of(requirements: &str) -> Result<PathBuf> {
    let requirements = root().join(requirements);
    let text = fs::read_to_string(&requirements).map_err(|e| failed("read", &requirements, &e))?;
    let (base, version) = interpreter()?;
    let mut hash = DefaultHasher::new();
    (&text, &version).hash(&mut hash);
    let home = setup::cache_dir()?.join(format!("python-{:016x}", hash.finish()));
    let python = home.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" });
    let whole = home.join("whole");

    fs::create_dir_all(&home).map_err(|e| failed("make", &home, &e))?;
    // One maker at a time. The lock goes with the process, so a maker that dies leaves nothing in the way.
    let lock = fs::File::create(home.with_extension("lock")).map_err(|e| failed("make", &home, &e))?;
    lock.lock().map_err(|e| failed("lock", &home, &e))?;
    if !whole.is_file() {
        run(Command::new(base).args(["-m", "venv", "--clear"]).arg(&home))?;
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"];
        run(Command::new(&python).args(pip).arg(&requirements))?;
        fs::write(&whole, &text).map_err(|e| failed("write", &whole, &e))?;
    }
    Ok(python)
}

/// A Python that can make environments, and its version; installed where that needs no question.
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
    words(format!(
        "no Python from {major}.{minor} on with venv\nhint: on Debian: apt-get install python3 python3-venv; or name one in PYTHON"
    ))
}

/// The version of a Python that is new enough and has what environments are made of.
fn version(python: &OsString) -> Option<String> {
    let (major, minor) = PYTHON_MIN;
    let probe = format!(
        "import sys, venv, ensurepip; assert sys.version_info >= ({major}, {minor}); print(sys.version, sys.executable)"
    );
    output(Command::new(python).arg("-c").arg(probe))
}

fn failed(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::Words(format!("cannot {what}: {}: {error}", path.display()))
}
