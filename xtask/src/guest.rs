//! Builds for wasm: the reader's component in `guest/component`, and `guest/edge` for the `edge` module.
//!
//! Uses whatever compiler is available, preferably one that is already installed:
//!
//! 1. The current toolchain, if it has the target or rustup can add it.
//! 2. Debian's rustc, which ships the standard library's source, so that we can build the library too.
//!
//! Either way, the linker `wasm-component-ld` turns the core module into a component.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{Failure, Result, cargo, failure, output, path_with, root, run, succeeds, target_dir};
use crate::setup;

const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_PACKAGES: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "rust-web-llvm"];
/// The reader must be small enough to be fetched and started anywhere.
const SIZE_MAX: u64 = 380_000;

/// A crate that is built as a component.
pub(crate) struct Guest {
    target: &'static str,
    /// Selects the crate and its profile.
    selection: &'static [&'static str],
    flags: &'static str,
    /// The parts of the standard library that Debian's compiler has to build first.
    library: &'static str,
    /// The C library to link in that case: its package and its directory.
    libc: Option<(&'static str, &'static str)>,
}

const READER: Guest = Guest {
    target: "wasm32-unknown-unknown",
    selection: &["-p", "kinesis-reader-component", "--profile", "guest"],
    // This inlining threshold is about half the default and keeps the reader small.
    flags: "-C linker=wasm-component-ld -C target-feature=+simd128 -C llvm-args=-inline-threshold=120",
    library: "core,alloc",
    libc: None,
};

/// The edge component that keeps lease and checkpoint in a key-value store.
pub(crate) const EDGE_KV: Guest = edge(&["--manifest-path", EDGE, "--release", "-p", "kinesis-reader-edge-kv"]);

/// The edge component that keeps lease and checkpoint in DynamoDB.
pub(crate) const EDGE_HTTP: Guest = edge(&["--manifest-path", EDGE, "--release", "-p", "kinesis-reader-edge-http"]);

const EDGE: &str = "guest/edge/Cargo.toml";

/// The edge components need the standard library for environment variables and for signing requests.
const fn edge(selection: &'static [&'static str]) -> Guest {
    Guest {
        target: "wasm32-wasip2",
        selection,
        flags: "-C linker=wasm-component-ld",
        library: "std,panic_abort",
        libc: Some(("wasi-libc", "/usr/lib/wasm32-wasi")),
    }
}

/// A compiler that can build components.
pub(crate) enum Compiler {
    /// The current toolchain, with the target installed.
    Target { sysroot: PathBuf },
    /// Debian's compiler, which builds the library first, and the sysroot that provides the linkers.
    Debian { linkers: PathBuf },
}

/// Builds the reader's component and copies it, and its WIT, to where the host embeds them.
pub(crate) fn build() -> Result<()> {
    let compiler = Compiler::find(&READER)?;
    run(compiler.cargo(&READER, "rustc")?.args(["--lib", "--crate-type", "cdylib"]))?;
    let built = target()?.join(READER.target).join("guest/kinesis_reader_component.wasm");
    install(&built, &reader(), SIZE_MAX)?;
    copy_if_changed(&root().join("wit/reader.wit"), &reader().with_file_name("reader.wit")).map(drop)
}

/// Returns the path of the reader's component.
pub(crate) fn reader() -> PathBuf {
    root().join("host/component/kinesis_reader.wasm")
}

/// Copies a component to its destination without the names of its functions, unless it is too large.
pub(crate) fn install(built: &Path, destination: &Path, size_max: u64) -> Result<()> {
    let component = read(built)?;
    let Some(component) = without_names(&component) else {
        return failure(format!("not a component: {}", built.display()));
    };
    let size = component.len() as u64;
    if size >= size_max {
        return failure(format!("the component is too large: {size} bytes\nhint: it must stay below {size_max}"));
    }
    if write_if_changed(&component, destination)? {
        eprintln!("component: {}, {size} bytes", destination.display());
    }
    Ok(())
}

/// Leaves out the custom section with the names of a component's functions, which only a debugger would show. Stripping
/// symbols only removes such names from the core module within. `None` if the sections are malformed.
fn without_names(component: &[u8]) -> Option<Vec<u8>> {
    const HEADER: usize = 8;
    const CUSTOM: u8 = 0;
    const NAMES: &[u8] = b"component-name";
    let (header, mut rest) = component.split_at_checked(HEADER)?;
    let mut kept = header.to_owned();
    while let [id, sized @ ..] = rest {
        let (size, contents) = leb128(sized)?;
        let (contents, after) = contents.split_at_checked(size)?;
        let is_names = *id == CUSTOM && leb128(contents).is_some_and(|(_, name)| name.starts_with(NAMES));
        if !is_names {
            kept.extend_from_slice(&rest[..rest.len() - after.len()]);
        }
        rest = after;
    }
    Some(kept)
}

/// Reads a number in the encoding of WebAssembly, and returns what follows it.
fn leb128(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let end = bytes.iter().take(5).position(|byte| byte & 0x80 == 0)? + 1;
    let (number, rest) = bytes.split_at(end);
    let number = number.iter().rev().fold(0, |number, byte| number << 7 | usize::from(byte & 0x7f));
    Some((number, rest))
}

/// Copies a file, unless the destination is identical.
fn copy_if_changed(from: &Path, to: &Path) -> Result<bool> {
    write_if_changed(&read(from)?, to)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|e| Failure::Message(format!("cannot read: {}: {e}", path.display())))
}

/// Writes a file, unless it already has these contents: its timestamp stays, so whatever embeds it is not rebuilt. Returns
/// whether it was written.
fn write_if_changed(bytes: &[u8], to: &Path) -> Result<bool> {
    if std::fs::read(to).is_ok_and(|old| old == bytes) {
        return Ok(false);
    }
    let folder = to.parent().map_or_else(|| Ok(()), std::fs::create_dir_all);
    match folder.and_then(|()| std::fs::write(to, bytes)) {
        Ok(()) => Ok(true),
        Err(e) => failure(format!("cannot write: {}: {e}", to.display())),
    }
}

/// Lints code that is only compiled for wasm.
pub(crate) fn lints() -> Result<()> {
    for guest in [&READER, &EDGE_KV, &EDGE_HTTP] {
        match Compiler::find(guest)?.clippy(guest) {
            Some(mut clippy) => run(&mut clippy)?,
            None => eprintln!("skipping lints for {}: no clippy for its compiler", guest.target),
        }
    }
    Ok(())
}

impl Compiler {
    pub(crate) fn find(guest: &Guest) -> Result<Compiler> {
        if let Some(compiler) = Compiler::target(guest).or_else(|| Compiler::debian(guest)) {
            return Ok(compiler);
        }
        if setup::rustup(&["target", "add", guest.target])
            && let Some(compiler) = Compiler::target(guest)
        {
            return Ok(compiler);
        }
        if let Some(compiler) = Compiler::debian_installed(guest) {
            return Ok(compiler);
        }
        failure(format!(
            "no compiler for {0} with its linker wasm-component-ld\n\
             hint: with rustup: rustup target add {0}; on Debian, as root: apt-get install {1}",
            guest.target,
            guest.debian_packages().join(" ")
        ))
    }

    fn target(guest: &Guest) -> Option<Compiler> {
        let sysroot = sysroot(&rustc())?;
        (sysroot.join("lib/rustlib").join(guest.target).join("lib").is_dir() && linkers(&sysroot).is_some())
            .then_some(Compiler::Target { sysroot })
    }

    fn debian(guest: &Guest) -> Option<Compiler> {
        let own = sysroot(OsStr::new(DEBIAN_RUSTC))?;
        let source = own.join("lib/rustlib/src/rust/library/core/src/lib.rs");
        let has_libc = guest.libc.is_none_or(|(_, folder)| Path::new(folder).join("libc.a").is_file());
        if !Path::new(DEBIAN_CARGO).is_file() || !source.is_file() || !has_libc {
            return None;
        }
        // A rustup toolchain has both linkers; Debian's own may need another package.
        let in_use = sysroot(&rustc());
        in_use.into_iter().chain([own]).find(|s| linkers(s).is_some()).map(|linkers| Compiler::Debian { linkers })
    }

    fn debian_installed(guest: &Guest) -> Option<Compiler> {
        if !setup::apt_install(&guest.debian_packages()) {
            return None;
        }
        Compiler::debian(guest).or_else(|| {
            // `rust-lld` links to the linker of a particular LLVM version, whose package has the same name.
            let linker = std::fs::read_link("/usr/bin/rust-lld").ok()?;
            setup::apt_install(&[linker.file_name()?.to_str()?]).then(|| Compiler::debian(guest)).flatten()
        })
    }

    /// Returns a cargo command for this guest only, with its own target directory and environment.
    pub(crate) fn cargo(&self, guest: &Guest, command: &str) -> Result<Command> {
        self.cargo_in(guest, command, &root(), &target()?)
    }

    /// Like `cargo`, for a copy of the sources.
    pub(crate) fn cargo_in(&self, guest: &Guest, command: &str, sources: &Path, target: &Path) -> Result<Command> {
        let (mut cargo, sysroot) = match self {
            Compiler::Target { sysroot } => (cargo(), sysroot),
            Compiler::Debian { linkers } => (Command::new(DEBIAN_CARGO), linkers),
        };
        cargo.current_dir(sources);
        for (name, _) in std::env::vars_os() {
            if affects_build(&name.to_string_lossy()) {
                cargo.env_remove(name);
            }
        }
        let mut path = linker_path(sysroot)?;
        let mut flags = guest.flags.to_owned();
        cargo.args([command, "--locked", "--target", guest.target, "--target-dir"]).arg(target);
        match self {
            Compiler::Target { .. } => {}
            Compiler::Debian { .. } => {
                path.insert(0, "/usr/bin".into());
                // Hide the current toolchain's libraries and name from Debian's compiler.
                cargo.env_remove("RUSTUP_TOOLCHAIN").env_remove("LD_LIBRARY_PATH");
                cargo.env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1");
                cargo.arg(format!("-Zbuild-std={}", guest.library));
                if let Some((_, folder)) = guest.libc {
                    flags.push_str(&format!(" -L native={folder}"));
                }
            }
        }
        cargo.args(guest.selection).env("PATH", path_with(&path)?).env("RUSTFLAGS", flags);
        Ok(cargo)
    }

    /// Returns a command that lints code only compiled for wasm, or `None` if this compiler has no clippy.
    fn clippy(&self, guest: &Guest) -> Option<Command> {
        let driver = match self {
            Compiler::Target { .. } => "clippy-driver",
            Compiler::Debian { .. } => "/usr/bin/clippy-driver",
        };
        let mut cargo = succeeds(Command::new(driver).arg("--version")).then(|| self.cargo(guest, "clippy").ok())??;
        cargo.args(["--", "-D", "warnings"]);
        Some(cargo)
    }
}

impl Guest {
    /// Returns the path of the built library in a target directory.
    pub(crate) fn artifact(&self, target: &Path, library: &str) -> PathBuf {
        target.join(self.target).join("release").join(library)
    }

    fn debian_packages(&self) -> Vec<&'static str> {
        DEBIAN_PACKAGES.into_iter().chain(self.libc.map(|(package, _)| package)).collect()
    }
}

/// Returns the target directory of wasm builds.
pub(crate) fn target() -> Result<PathBuf> {
    Ok(target_dir()?.join("guest"))
}

fn rustc() -> OsString {
    std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())
}

fn sysroot(rustc: &OsStr) -> Option<PathBuf> {
    output(Command::new(rustc).args(["--print", "sysroot"])).map(PathBuf::from)
}

/// Returns the directory of `wasm-component-ld`, and the linker that it runs: `wasm-ld`, or `lld` under another name.
fn linkers(sysroot: &Path) -> Option<(PathBuf, PathBuf)> {
    let all = std::fs::read_dir(sysroot.join("lib/rustlib")).ok()?;
    let bin = all.flatten().map(|e| e.path().join("bin")).find(|b| b.join("wasm-component-ld").is_file())?;
    let linker = [bin.join("gcc-ld/wasm-ld"), bin.join("rust-lld"), sysroot.join("bin/rust-lld")];
    Some((bin.clone(), linker.into_iter().find(|l| l.is_file())?))
}

/// Returns the directories that contain the linkers under the names they are called by.
fn linker_path(sysroot: &Path) -> Result<Vec<PathBuf>> {
    let Some((bin, linker)) = linkers(sysroot) else {
        return failure(format!("no wasm-component-ld: {}", sysroot.display()));
    };
    if let (true, Some(folder)) = (linker.ends_with("wasm-ld"), linker.parent()) {
        return Ok(vec![bin, folder.to_owned()]);
    }
    // lld behaves according to the name it is called by; Debian only installs it as `rust-lld`.
    let folder = target()?.join("tools");
    let link = folder.join("wasm-ld");
    #[cfg(unix)]
    if std::fs::read_link(&link).ok().as_ref() != Some(&linker) {
        let _ = std::fs::remove_file(&link);
        let made = std::fs::create_dir_all(&folder).and_then(|()| std::os::unix::fs::symlink(&linker, &link));
        made.map_err(|e| Failure::Message(format!("cannot link: {}: {e}", link.display())))?;
    }
    Ok(vec![bin, folder])
}

/// Returns whether a variable affects the build. Variables for the network and the terminal do not.
fn affects_build(name: &str) -> bool {
    let kept = [
        "CARGO_HOME",
        "CARGO_NET_",
        "CARGO_HTTP_",
        "CARGO_REGISTR",
        "CARGO_SOURCE_",
        "CARGO_TERM_",
        "CARGO_BUILD_JOBS",
    ];
    let build =
        name == "CARGO" || name.starts_with("CARGO_") || name.starts_with("RUSTC") || name.starts_with("RUSTDOC");
    (build && !kept.iter().any(|k| name.starts_with(k))) || name == "RUSTFLAGS"
}
