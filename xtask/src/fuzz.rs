//! `cargo xtask fuzz`: runs libFuzzer on all code that handles untrusted bytes, with AddressSanitizer if the compiler
//! supports it.
//!
//! The targets in `tests/fuzz` are a separate workspace in cargo-fuzz's layout. We don't need cargo-fuzz itself: the
//! compiler flags that it would add are below. `RUSTC_BOOTSTRAP` makes a stable compiler accept the unstable one.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::process::{Failure, Result, cargo, failure, output, root, run, target_dir};
use crate::{native, setup};

/// The instrumentation that libFuzzer needs: executed edges and compared values.
const COVERAGE: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

/// Default number of seconds per target.
const SECONDS: u32 = 60;

/// Maximum input length in bytes. Most bugs with long inputs also show with shorter ones.
const LENGTH_MAX: u32 = 8192;

/// A call that takes longer than this many seconds counts as hanging.
const CALL_MAX: u32 = 25;

/// A pseudo-target that does not use libFuzzer: pages through the compiled component, compared to the libraries.
const SANDBOX: &str = "sandbox";

/// Runs `cargo xtask fuzz` with these arguments: targets, and seconds for each.
pub(crate) fn main(args: &[String]) -> Result<()> {
    let (mut chosen, mut seconds) = (Vec::new(), SECONDS);
    let mut known = targets()?;
    known.push(SANDBOX.to_owned());
    let mut args = args.iter();
    while let Some(arg) = args.next() {
        if arg == "--seconds" {
            let Some(number) = args.next().and_then(|number| number.parse().ok()) else {
                return Err(Failure::Usage("`--seconds` takes a number".to_owned()));
            };
            seconds = number;
        } else if known.contains(arg) {
            chosen.push(arg.clone());
        } else {
            return Err(Failure::Usage(format!("no such fuzz target: {arg}; choose from {}", known.join(", "))));
        }
    }
    let mut targets = if chosen.is_empty() { known } else { chosen };
    let sandbox = targets.iter().any(|target| target == SANDBOX);
    targets.retain(|target| target != SANDBOX);
    if !targets.is_empty() {
        fuzz(&targets, seconds)?;
    }
    if sandbox { in_sandbox(seconds) } else { Ok(()) }
}

/// Runs the test that compares the component to the libraries, for this many seconds and also on the corpus of the
/// target `page`.
fn in_sandbox(seconds: u32) -> Result<()> {
    native::prepare()?;
    let mut test = cargo();
    test.args(["test", "--release", "--workspace", "--test", "differential", "--", "--nocapture"]);
    test.env("KINESIS_FUZZ_SECONDS", seconds.to_string());
    run(test.env("KINESIS_FUZZ_CORPUS", target_dir()?.join("fuzz/corpus/page")))
}

/// Fuzzes every target for this many seconds.
pub(crate) fn all(seconds: u32) -> Result<()> {
    fuzz(&targets()?, seconds)
}

fn fuzz(targets: &[String], seconds: u32) -> Result<()> {
    setup::cpp_compiler()?;
    let host = host()?;
    let folder = target_dir()?.join("fuzz");
    let sanitizer = if has_sanitizer(&host) { " -Zsanitizer=address" } else { "" };
    if sanitizer.is_empty() {
        eprintln!("fuzzing without AddressSanitizer: not supported by this compiler");
    }
    let mut build = cargo();
    build.args(["build", "--release", "--target", &host, "--manifest-path", "tests/fuzz/Cargo.toml"]);
    build.arg("--target-dir").arg(&folder).env_remove("CARGO_ENCODED_RUSTFLAGS").env_remove("CARGO_TARGET_DIR");
    run(build.env("RUSTFLAGS", format!("{COVERAGE}{sanitizer}")).env("RUSTC_BOOTSTRAP", "1"))?;
    targets.iter().try_for_each(|target| fuzz_one(target, &folder, &folder.join(&host).join("release"), seconds))
}

/// Runs one target. Prints its output only if it fails.
fn fuzz_one(target: &str, folder: &Path, programs: &Path, seconds: u32) -> Result<()> {
    let [corpus, found] = ["corpus", "found"].map(|kind| folder.join(kind).join(target));
    let log = folder.join(format!("{target}.log"));
    let failed = |e: std::io::Error| Failure::Message(format!("cannot write: {}: {e}", folder.display()));
    std::fs::create_dir_all(&corpus).and_then(|()| std::fs::create_dir_all(&found)).map_err(failed)?;
    let mut fuzzer = Command::new(programs.join(target));
    fuzzer.env("KINESIS_FUZZ_SEEDS", &corpus).arg(&corpus).arg(format!("-artifact_prefix={}/", found.display()));
    fuzzer.arg(format!("-max_total_time={seconds}")).arg(format!("-max_len={LENGTH_MAX}"));
    fuzzer.arg(format!("-timeout={CALL_MAX}")).stderr(Stdio::from(File::create(&log).map_err(failed)?));
    let result = run(&mut fuzzer);
    let text = String::from_utf8_lossy(&std::fs::read(&log).unwrap_or_default()).into_owned();
    if result.is_err() {
        let lines: Vec<&str> = text.lines().filter(|line| !line.contains("NEW_FUNC")).collect();
        eprintln!("{}", lines[lines.len().saturating_sub(60)..].join("\n"));
        eprintln!(
            "{target}: failed; the input is in {}\nonce the bug is fixed, keep it in tests/fuzz/regressions/{target}",
            found.display()
        );
        return result;
    }
    let runs = text.lines().rev().find_map(|line| line.strip_prefix("Done ")).unwrap_or("runs unknown");
    eprintln!("{target}: {runs}");
    Ok(())
}

/// Returns the names of the targets.
fn targets() -> Result<Vec<String>> {
    let folder: PathBuf = root().join("tests/fuzz/fuzz_targets");
    let Ok(files) = std::fs::read_dir(&folder) else {
        return failure(format!("no fuzz targets: {}", folder.display()));
    };
    let stem = |file: std::fs::DirEntry| Some(file.path().file_stem()?.to_str()?.to_owned());
    let mut names: Vec<String> = files.flatten().filter_map(stem).collect();
    names.sort();
    Ok(names)
}

fn rustc(argument: &[&str]) -> Option<String> {
    output(Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())).args(argument))
}

/// Returns the host's target triple. Passing `--target` keeps the flags away from build scripts.
fn host() -> Result<String> {
    let version = rustc(&["-vV"]).unwrap_or_default();
    match version.lines().find_map(|line| line.strip_prefix("host: ")) {
        Some(host) => Ok(host.to_owned()),
        None => failure("cannot determine rustc's host triple\nhint: run `rustc -vV`"),
    }
}

/// Returns whether the compiler ships the sanitizer's runtime, as rustup's toolchains do.
fn has_sanitizer(host: &str) -> bool {
    let Some(sysroot) = rustc(&["--print", "sysroot"]) else { return false };
    let folder = Path::new(&sysroot).join("lib/rustlib").join(host).join("lib");
    let is_runtime = |file: std::fs::DirEntry| file.file_name().to_string_lossy().ends_with("_rt.asan.a");
    std::fs::read_dir(folder).is_ok_and(|files| files.flatten().any(is_runtime))
}
