//! Runs other programs: sets up their environment and reports their failures.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Instant;

/// Why a task failed.
pub(crate) enum Failure {
    /// Something is missing or wrong. The text says what, and how to fix it.
    Message(String),
    /// Usage error.
    Usage(String),
    /// A program that we ran failed. It has already printed its own error; `code` is its exit status.
    Status { what: String, code: u8 },
}

pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// Returns a [`Failure::Message`].
pub(crate) fn failure<T>(text: impl Into<String>) -> Result<T> {
    Err(Failure::Message(text.into()))
}

/// Runs a step. Prints its name before and its duration after.
pub(crate) fn step<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    eprintln!("== {name}");
    let start = Instant::now();
    let done = work();
    let verdict = if done.is_ok() { "ok" } else { "failed" };
    eprintln!("== {name}: {verdict}, {:.1} s", start.elapsed().as_secs_f64());
    done
}

/// Runs a program to completion. A non-zero exit status becomes our own.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let what = shown(command);
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::Status { what, code: code(status) }),
        Err(e) => failure(format!("cannot start: {what}: {e}")),
    }
}

/// Runs a program, discarding its output, and returns whether it succeeded.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
}

/// Returns a program's output without the trailing newline, or `None` if it cannot be started or fails.
pub(crate) fn output(command: &mut Command) -> Option<String> {
    let out = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(out.stdout).ok()?;
    out.status.success().then(|| text.trim_end().to_owned())
}

/// Returns a command for the cargo that runs this task, in the root of the checkout and with a clean environment.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    for (name, _) in std::env::vars_os() {
        if is_of_this_package(&name) {
            command.env_remove(name);
        }
    }
    command
}

/// Returns the root of the checkout.
pub(crate) fn root() -> PathBuf {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&here).parent().map(Path::to_owned).unwrap_or_default()
}

/// Returns Cargo's target directory, as configured by the environment or a config file.
pub(crate) fn target_dir() -> Result<PathBuf> {
    let metadata = output(cargo().args(["metadata", "--no-deps", "--offline", "--format-version", "1"]));
    let found = metadata.as_deref().and_then(|text| {
        let (_, rest) = text.split_once("\"target_directory\":\"")?;
        let (path, _) = rest.split_once('"')?;
        Some(PathBuf::from(path.replace("\\\\", "\\")))
    });
    match found {
        Some(path) => Ok(path),
        None => failure("cannot read the workspace\nhint: `cargo metadata --no-deps` says why"),
    }
}

/// Returns `PATH` with these directories prepended.
pub(crate) fn path_with(first: &[PathBuf]) -> Result<OsString> {
    let old = std::env::var_os("PATH").unwrap_or_default();
    let all = first.iter().cloned().chain(std::env::split_paths(&old));
    std::env::join_paths(all).map_err(|e| Failure::Message(format!("cannot extend PATH: {e}")))
}

/// Matches the variables by which `cargo run` describes the running program's package. A nested cargo that inherited
/// them would rebuild crates that a cargo run by hand would not.
fn is_of_this_package(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name.starts_with("CARGO_PKG_")
        || ["CARGO", "CARGO_MANIFEST_DIR", "CARGO_MANIFEST_PATH", "CARGO_PRIMARY_PACKAGE", "CARGO_BIN_NAME"]
            .contains(&name.as_ref())
}

fn shown(command: &Command) -> String {
    let mut text = command.get_program().to_string_lossy().into_owned();
    for arg in command.get_args() {
        text.push(' ');
        text.push_str(&arg.to_string_lossy());
    }
    text
}

/// Like a shell, reports a signal as 128 plus its number.
fn code(status: ExitStatus) -> u8 {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return u8::try_from(128 + signal).unwrap_or(1);
    }
    status.code().and_then(|c| u8::try_from(c).ok()).filter(|c| *c != 0).unwrap_or(1)
}
