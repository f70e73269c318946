//! Finds the tools that tasks need, installs them if that is possible without asking, or explains how to.

use std::path::PathBuf;
use std::process::Command;

use crate::process::{Result, cargo, failure, output, run, succeeds};

const EMULATOR: &str = "kinesis-local";
const EMULATOR_VERSION: &str = "0.6.2";

const CYCLONEDX: &str = "cargo-cyclonedx";
const CYCLONEDX_VERSION: &str = "0.5.9";

/// Packages for the benchmark's readers in Python; the last is only for dlt's source.
const PYTHON_PACKAGES: [&str; 3] = ["boto3==1.44.5", "orjson==3.13.0", "dlt==1.31.0"];

/// Installs Debian packages without removing any. Returns `false` if this is not Debian or we are not root.
pub(crate) fn apt_install(packages: &[&str]) -> bool {
    let root = output(Command::new("id").arg("-u")).as_deref() == Some("0");
    if !root || !succeeds(Command::new("apt-get").arg("--version")) {
        return false;
    }
    let install = || {
        eprintln!("installing with apt-get: {}", packages.join(" "));
        let mut apt = Command::new("apt-get");
        apt.env("DEBIAN_FRONTEND", "noninteractive").args(["-qq", "-y", "--no-remove", "install"]).args(packages);
        run(&mut apt).is_ok()
    };
    // Retry after an update: the package lists may be missing, or another apt may be running.
    install() || (run(Command::new("apt-get").args(["-qq", "update"])).is_ok() && install())
}

/// Runs `rustup ARGS` for the current toolchain. Returns `false` if rustup is not used or must not install anything.
pub(crate) fn rustup(args: &[&str]) -> bool {
    let Some(toolchain) = std::env::var_os("RUSTUP_TOOLCHAIN") else {
        return false;
    };
    if std::env::var_os("RUSTUP_AUTO_INSTALL").is_some_and(|v| v == "0") {
        eprintln!("skipping rustup: RUSTUP_AUTO_INSTALL is 0");
        return false;
    }
    run(Command::new("rustup").args(args).arg("--toolchain").arg(toolchain)).is_ok()
}

/// Requires a C compiler with headers, for the bundled SQLite and cryptography.
pub(crate) fn c_compiler() -> Result<()> {
    let cc = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let probe = || {
        succeeds(Command::new("sh").args(["-c", "echo '#include <stdlib.h>' | \"$0\" -fsyntax-only -x c -"]).arg(&cc))
    };
    if probe() || (apt_install(&["gcc", "libc6-dev"]) && probe()) {
        return Ok(());
    }
    failure(format!(
        "no working C compiler with headers: {}\nhint: on Debian: apt-get install gcc libc6-dev",
        cc.to_string_lossy()
    ))
}

/// Requires a C++ compiler with headers, for libFuzzer.
pub(crate) fn cpp_compiler() -> Result<()> {
    let cpp = std::env::var_os("CXX").unwrap_or_else(|| "c++".into());
    let probe = || {
        succeeds(Command::new("sh").args(["-c", "echo '#include <vector>' | \"$0\" -fsyntax-only -x c++ -"]).arg(&cpp))
    };
    if probe() || (apt_install(&["g++"]) && probe()) {
        return Ok(());
    }
    failure(format!(
        "no working C++ compiler with headers: {}\nhint: on Debian: apt-get install g++",
        cpp.to_string_lossy()
    ))
}

/// Requires `cargo fmt` and `cargo clippy`.
pub(crate) fn linters() -> Result<()> {
    let usable = || succeeds(cargo().args(["fmt", "--version"])) && succeeds(cargo().args(["clippy", "--version"]));
    let add = || rustup(&["component", "add", "rustfmt", "clippy"]) || apt_install(&["rustfmt-web", "rust-web-clippy"]);
    if usable() || (add() && usable()) {
        return Ok(());
    }
    failure(
        "no rustfmt or clippy\nhint: rustup component add rustfmt clippy; on Debian: apt-get install rustfmt-web rust-web-clippy",
    )
}

/// Installs `cargo-cyclonedx`, which writes bills of materials.
pub(crate) fn cyclonedx() -> Result<PathBuf> {
    let home = cache_dir()?.join(format!("{CYCLONEDX}-{CYCLONEDX_VERSION}"));
    let program = home.join("bin").join(format!("{CYCLONEDX}{}", std::env::consts::EXE_SUFFIX));
    let usable = || succeeds(Command::new(&program).args(["cyclonedx", "--version"]));
    if usable() {
        return Ok(program);
    }
    // Not optimized: that would take minutes to build, and it only runs for a second.
    let mut install = cargo();
    install.args(["install", CYCLONEDX, "--version", CYCLONEDX_VERSION, "--locked", "--quiet", "--debug", "--root"]);
    install.arg(&home).env("CARGO_TARGET_DIR", home.join("build")).env("CARGO_PROFILE_DEV_DEBUG", "false");
    run(&mut install)?;
    let _ = std::fs::remove_dir_all(home.join("build"));
    match usable() {
        true => Ok(program),
        false => failure(format!("no such program: {}", program.display())),
    }
}

/// Installs the npm package kinesis-local. Returns its directory, which it must be started in.
pub(crate) fn emulator() -> Result<PathBuf> {
    let cache = cache_dir()?;
    let home = cache.join(format!("{EMULATOR}-{EMULATOR_VERSION}"));
    let package = home.join("node_modules").join(EMULATOR);
    node()?;
    if package.join("main.js").is_file() {
        return Ok(package);
    }
    // Install to a temporary directory and rename it, so that an interrupted install is never mistaken for a complete
    // one.
    let temporary = cache.join(format!("{EMULATOR}-{EMULATOR_VERSION}.{}", std::process::id()));
    let result = install_emulator(&temporary).and_then(|()| {
        std::fs::remove_dir_all(&home)
            .or_else(|e| if home.exists() { Err(e) } else { Ok(()) })
            .and_then(|()| std::fs::rename(&temporary, &home))
            .or_else(|e| {
                // Another run may have installed it in the meantime.
                if package.join("main.js").is_file() {
                    Ok(())
                } else {
                    failure(format!("cannot write: {}: {e}", home.display()))
                }
            })
    });
    let _ = std::fs::remove_dir_all(&temporary);
    result?;
    match package.join("main.js").is_file() {
        true => Ok(package),
        false => failure(format!("no main.js in the npm package: {}", package.display())),
    }
}

/// Returns the interpreter of an environment with boto3, orjson and, on request, dlt.
pub(crate) fn python_peers(dlt: bool) -> Result<PathBuf> {
    let cache = cache_dir()?;
    let (name, packages) = if dlt { ("bench-dlt", &PYTHON_PACKAGES[..]) } else { ("bench", &PYTHON_PACKAGES[..2]) };
    let home = cache.join(format!("{name}-{}", packages.concat().replace('=', "-")));
    let python = home.join("bin/python");
    if succeeds(Command::new(&python).args(["-c", "import boto3, orjson"])) {
        return Ok(python);
    }
    let create = || succeeds(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&home));
    if !(create() || apt_install(&["python3", "python3-venv"]) && create()) {
        return failure("no python3 with venv\nhint: on Debian: apt-get install python3 python3-venv");
    }
    run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(packages))?;
    Ok(python)
}

fn install_emulator(to: &PathBuf) -> Result<()> {
    if let Err(e) = std::fs::create_dir_all(to) {
        return failure(format!("cannot create directory: {}: {e}", to.display()));
    }
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-audit", "--no-fund", "--loglevel=error", "--prefix"]).arg(to);
    run(npm.arg(format!("{EMULATOR}@{EMULATOR_VERSION}")))
}

/// Returns the path of a Chromium for browser tests.
pub(crate) fn chromium() -> Result<PathBuf> {
    // Its callers do not search PATH.
    let found = || {
        let named = std::env::var_os("CHROMIUM_BIN").map(PathBuf::from);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let names = ["chromium", "chromium-browser", "google-chrome"];
        let all = std::env::split_paths(&path).flat_map(|folder| names.map(|name| folder.join(name)));
        named.into_iter().chain(all).find(|program| succeeds(Command::new(program).arg("--version")))
    };
    match found().or_else(|| apt_install(&["chromium", "fonts-liberation"]).then(found).flatten()) {
        Some(program) => Ok(program),
        None => failure(
            "no Chromium, which the browser tests need\nhint: on Debian: apt-get install chromium; elsewhere set CHROMIUM_BIN",
        ),
    }
}

/// Requires Node and npm.
pub(crate) fn node() -> Result<()> {
    let usable = || succeeds(Command::new("node").arg("--version")) && succeeds(Command::new("npm").arg("--version"));
    if usable() || (apt_install(&["nodejs", "npm"]) && usable()) {
        return Ok(());
    }
    failure(
        "no node or npm, which the emulator kinesis-local and the JavaScript package need\nhint: on Debian: apt-get install nodejs npm",
    )
}

/// Returns the project's directory in the user's cache.
pub(crate) fn cache_dir() -> Result<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    match set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache"))) {
        Some(cache) => Ok(cache.join("kinesis-reader")),
        None => failure("no cache directory\nhint: set HOME or XDG_CACHE_HOME"),
    }
}
