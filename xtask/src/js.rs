//! Builds and tests the JavaScript package, `bindings/js`, in Node and a headless browser.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{Failure, Result, failure, output, root, run, step, target_dir};
use crate::{native, setup};

/// The oldest Node version that the package supports.
const NODE_MIN: (u32, u32) = (20, 3);

/// Builds everything from the component on and runs the tests. Arguments are test files or options of `node --test`.
pub(crate) fn js(args: &[String]) -> Result<()> {
    native::prepare_emulator()?;
    tests(args)
}

/// Runs the tests, given the component and the emulator.
pub(crate) fn tests(args: &[String]) -> Result<()> {
    let package = package()?;
    let chromium = setup::chromium()?;
    let screenshots = target_dir()?.join("js");
    fs::create_dir_all(&screenshots)
        .map_err(|e| Failure::Message(format!("cannot create directory: {}: {e}", screenshots.display())))?;
    let mut node = Command::new("node");
    node.current_dir(&package).args(["--test", "--test-reporter=spec", "--test-timeout=120000"]);
    node.env("KINESIS_EMULATOR_BIN", native::built("emulator")?)
        .env("CHROMIUM_BIN", chromium)
        .env("SCREENSHOTS", &screenshots);
    match args.is_empty() {
        true => node.args(test_files(&package)?),
        false => node.args(args),
    };
    step("JavaScript tests", || run(&mut node))?;
    eprintln!("screenshots: {}", screenshots.display());
    Ok(())
}

/// Builds the package, given the component, and returns its directory.
pub(crate) fn package() -> Result<PathBuf> {
    let package = root().join("bindings/js");
    step("JavaScript packages", || install(&package))?;
    step("JavaScript package", || run(Command::new("node").arg("build.js").current_dir(&package)))?;
    Ok(package)
}

/// Installs the packages in `package-lock.json`, once per version of that file. Skips their install scripts: none is
/// needed, and the lock file does not cover what they download.
pub(crate) fn install(package: &Path) -> Result<()> {
    setup::node()?;
    check_version()?;
    let lock = fs::read(package.join("package-lock.json"));
    let lock = lock.map_err(|e| Failure::Message(format!("cannot read package-lock.json: {e}")))?;
    let stamp = package.join("node_modules/.installed-lock.json");
    if fs::read(&stamp).is_ok_and(|installed| installed == lock) {
        return Ok(());
    }
    let mut npm = Command::new("npm");
    npm.current_dir(package).args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]);
    run(&mut npm)?;
    fs::write(&stamp, lock).map_err(|e| Failure::Message(format!("cannot write: {}: {e}", stamp.display())))
}

fn check_version() -> Result<()> {
    let version = output(Command::new("node").arg("--version")).unwrap_or_default();
    let mut numbers = version.trim_start_matches('v').split('.').map_while(|part| part.parse().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) if (major, minor) >= NODE_MIN => Ok(()),
        _ => failure(format!(
            "Node is too old for the JavaScript package: {version}\nhint: install Node {}.{} or later",
            NODE_MIN.0, NODE_MIN.1
        )),
    }
}

fn test_files(package: &Path) -> Result<Vec<OsString>> {
    let listed =
        fs::read_dir(package.join("test")).map_err(|e| Failure::Message(format!("cannot list the tests: {e}")))?;
    let paths = listed.flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = paths.filter(|path| path.to_string_lossy().ends_with(".test.js")).collect();
    files.sort();
    match files.is_empty() {
        true => failure("no tests found for the JavaScript package"),
        false => Ok(files.into_iter().map(PathBuf::into_os_string).collect()),
    }
}
