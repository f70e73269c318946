//! What is built for wasm, whichever compiler of this machine can: the reader's component of `guest/component`, and
//! `guest/edge`, whose components `edge` makes.
//!
//! Three ways, and what is there already goes before what must be installed:
//! 1. the toolchain in use has the target, or rustup can add it;
//! 2. Debian's rustc comes with the library's source, so the library is built along.
//!
//! Either way the linker `wasm-component-ld` makes a component of the core module as it links.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{Failure, Result, answers, cargo, output, path_with, root, run, target_dir, words};
use crate::setup;

const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_PACKAGES: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "rust-web-llvm"];
/// The project's own promise: small enough to be fetched and started anywhere.
const SIZE_MAX: u64 = 300_000;

/// A crate that becomes a component.
pub(crate) struct Guest {
    target: &'static str,
    /// Chooses the crate, and its profile.
    choice: &'static [&'static str],
    flags: &'static str,
    /// What of the library Debian's compiler builds first.
    library: &'static str,
    /// The C library that is linked then, by its package and its folder.
    libc: Option<(&'static str, &'static str)>,
}

const READER: Guest = Guest {
    target: "wasm32-unknown-unknown",
    choice: &["-p", "kinesis-reader-component", "--profile", "guest"],
    // The bound on what is inlined is about half the usual one: the reader is to stay small.
    flags: "-C linker=wasm-component-ld -C target-feature=+simd128 -C llvm-args=-inline-threshold=120",
    library: "core,alloc",
    libc: None,
};

/// Drains with lease and checkpoint in a key-value store.
pub(crate) const EDGE_KV: Guest = edge(&["--manifest-path", EDGE, "--release", "-p", "kinesis-reader-edge-kv"]);

/// Drains with lease and checkpoint in DynamoDB.
pub(crate) const EDGE_HTTP: Guest = edge(&["--manifest-path", EDGE, "--release", "-p", "kinesis-reader-edge-http"]);

const EDGE: &str = "guest/edge/Cargo.toml";

/// It needs the standard library, for the environment and for what signs requests.
const fn edge(choice: &'static [&'static str]) -> Guest {
    Guest {
        target: "wasm32-wasip2",
        choice,
        flags: "-C linker=wasm-component-ld",
        library: "std,panic_abort",
        libc: Some(("wasi-libc", "/usr/lib/wasm32-wasi")),
    }
}

/// A compiler that can make a component.
pub(crate) enum Way {
    /// The toolchain in use, with the target installed.
    Target { sysroot: PathBuf },
    /// Debian's, which builds the library first, and the sysroot whose linkers it uses.
    Debian { linkers: PathBuf },
}

/// Builds the reader's component and puts it where the host embeds it.
pub(crate) fn build() -> Result<()> {
    let way = Way::find(&READER)?;
    run(way.cargo(&READER, "rustc")?.args(["--lib", "--crate-type", "cdylib"]))?;
    let made = target()?.join(READER.target).join("guest/kinesis_reader_component.wasm");
    place(&made, &reader(), SIZE_MAX)
}

/// Where the reader's component lies.
pub(crate) fn reader() -> PathBuf {
    root().join("host/component/kinesis_reader.wasm")
}

/// Puts a component where it is looked for, if it is not too large.
pub(crate) fn place(made: &Path, place: &Path, size_max: u64) -> Result<()> {
    let failed = |e| Failure::Words(format!("cannot read the component: {}: {e}", made.display()));
    let bytes = std::fs::read(made).map_err(failed)?;
    let size = bytes.len() as u64;
    if size >= size_max {
        return words(format!("the component is too large: {size} bytes\nhint: it must stay below {size_max}"));
    }
    // An equal file keeps its time, so what embeds it is not rebuilt for nothing.
    if std::fs::read(place).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    let folder = place.parent().map_or_else(|| Ok(()), std::fs::create_dir_all);
    if let Err(e) = folder.and_then(|()| std::fs::write(place, &bytes)) {
        return words(format!("cannot write: {}: {e}", place.display()));
    }
    eprintln!("component: {}, {size} bytes", place.display());
    Ok(())
}

/// Lints of the code that only wasm sees.
pub(crate) fn lints() -> Result<()> {
    for guest in [&READER, &EDGE_KV, &EDGE_HTTP] {
        match Way::find(guest)?.clippy(guest) {
            Some(mut clippy) => run(&mut clippy)?,
            None => eprintln!("not run for {}: no clippy for its compiler", guest.target),
        }
    }
    Ok(())
}

impl Way {
    pub(crate) fn find(guest: &Guest) -> Result<Way> {
        if let Some(way) = Way::target(guest).or_else(|| Way::debian(guest)) {
            return Ok(way);
        }
        if setup::rustup(&["target", "add", guest.target])
            && let Some(way) = Way::target(guest)
        {
            return Ok(way);
        }
        if let Some(way) = Way::debian_installed(guest) {
            return Ok(way);
        }
        words(format!(
            "no compiler for {0} with its linker wasm-component-ld\n\
             hint: with rustup: rustup target add {0}; on Debian, as root: apt-get install {1}",
            guest.target,
            guest.debian_packages().join(" ")
        ))
    }

    fn target(guest: &Guest) -> Option<Way> {
        let sysroot = sysroot(&rustc())?;
        (sysroot.join("lib/rustlib").join(guest.target).join("lib").is_dir() && linkers(&sysroot).is_some())
            .then_some(Way::Target { sysroot })
    }

    fn debian(guest: &Guest) -> Option<Way> {
        let own = sysroot(OsStr::new(DEBIAN_RUSTC))?;
        let source = own.join("lib/rustlib/src/rust/library/core/src/lib.rs");
        let has_libc = guest.libc.is_none_or(|(_, folder)| Path::new(folder).join("libc.a").is_file());
        if !Path::new(DEBIAN_CARGO).is_file() || !source.is_file() || !has_libc {
            return None;
        }
        // A toolchain of rustup's has both linkers; Debian's own may wait for one more package.
        let in_use = sysroot(&rustc());
        in_use.into_iter().chain([own]).find(|s| linkers(s).is_some()).map(|linkers| Way::Debian { linkers })
    }

    fn debian_installed(guest: &Guest) -> Option<Way> {
        if !setup::apt_install(&guest.debian_packages()) {
            return None;
        }
        Way::debian(guest).or_else(|| {
            // `rust-lld` is a link to the linker of one version of LLVM, whose package has the same name.
            let linker = std::fs::read_link("/usr/bin/rust-lld").ok()?;
            setup::apt_install(&[linker.file_name()?.to_str()?]).then(|| Way::debian(guest)).flatten()
        })
    }

    /// A cargo command on the guest alone, in a target folder and with an environment of its own.
    pub(crate) fn cargo(&self, guest: &Guest, command: &str) -> Result<Command> {
        self.cargo_in(guest, command, &root(), &target()?)
    }

    /// The same on a copy of the sources.
    pub(crate) fn cargo_in(&self, guest: &Guest, command: &str, sources: &Path, target: &Path) -> Result<Command> {
        let (mut cargo, sysroot) = match self {
            Way::Target { sysroot } => (cargo(), sysroot),
            Way::Debian { linkers } => (Command::new(DEBIAN_CARGO), linkers),
        };
        cargo.current_dir(sources);
        for (name, _) in std::env::vars_os() {
            if steers_a_build(&name.to_string_lossy()) {
                cargo.env_remove(name);
            }
        }
        let mut path = linker_path(sysroot)?;
        let mut flags = guest.flags.to_owned();
        cargo.args([command, "--locked", "--target", guest.target, "--target-dir"]).arg(target);
        match self {
            Way::Target { .. } => {}
            Way::Debian { .. } => {
                path.insert(0, "/usr/bin".into());
                // The outer toolchain's libraries and name are nothing to Debian's compiler.
                cargo.env_remove("RUSTUP_TOOLCHAIN").env_remove("LD_LIBRARY_PATH");
                cargo.env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1");
                cargo.arg(format!("-Zbuild-std={}", guest.library));
                if let Some((_, folder)) = guest.libc {
                    flags.push_str(&format!(" -L native={folder}"));
                }
            }
        }
        cargo.args(guest.choice).env("PATH", path_with(&path)?).env("RUSTFLAGS", flags);
        Ok(cargo)
    }

    /// Lints of the code that only wasm sees; `None` where this compiler has no clippy.
    fn clippy(&self, guest: &Guest) -> Option<Command> {
        let driver = match self {
            Way::Target { .. } => "clippy-driver",
            Way::Debian { .. } => "/usr/bin/clippy-driver",
        };
        let mut cargo = answers(Command::new(driver).arg("--version")).then(|| self.cargo(guest, "clippy").ok())??;
        cargo.args(["--", "-D", "warnings"]);
        Some(cargo)
    }
}

impl Guest {
    /// Where its build leaves it in a target folder, under the name of its library.
    pub(crate) fn made(&self, target: &Path, library: &str) -> PathBuf {
        target.join(self.target).join("release").join(library)
    }

    fn debian_packages(&self) -> Vec<&'static str> {
        DEBIAN_PACKAGES.into_iter().chain(self.libc.map(|(package, _)| package)).collect()
    }
}

/// The target folder of what is built for wasm.
pub(crate) fn target() -> Result<PathBuf> {
    Ok(target_dir()?.join("guest"))
}

fn rustc() -> OsString {
    std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())
}

fn sysroot(rustc: &OsStr) -> Option<PathBuf> {
    output(Command::new(rustc).args(["--print", "sysroot"])).map(PathBuf::from)
}

/// The folder of `wasm-component-ld`, and the linker it drives: `wasm-ld` or LLVM's linker under another name.
fn linkers(sysroot: &Path) -> Option<(PathBuf, PathBuf)> {
    let all = std::fs::read_dir(sysroot.join("lib/rustlib")).ok()?;
    let bin = all.flatten().map(|e| e.path().join("bin")).find(|b| b.join("wasm-component-ld").is_file())?;
    let linker = [bin.join("gcc-ld/wasm-ld"), bin.join("rust-lld"), sysroot.join("bin/rust-lld")];
    Some((bin.clone(), linker.into_iter().find(|l| l.is_file())?))
}

/// The folders in which the linkers are found under the names they are asked for.
fn linker_path(sysroot: &Path) -> Result<Vec<PathBuf>> {
    let Some((bin, linker)) = linkers(sysroot) else {
        return words(format!("no wasm-component-ld: {}", sysroot.display()));
    };
    if let (true, Some(folder)) = (linker.ends_with("wasm-ld"), linker.parent()) {
        return Ok(vec![bin, folder.to_owned()]);
    }
    // LLVM's linker goes by the name it is called with; Debian gives it only the name `rust-lld`.
    let folder = target()?.join("tools");
    let link = folder.join("wasm-ld");
    #[cfg(unix)]
    if std::fs::read_link(&link).ok().as_ref() != Some(&linker) {
        let _ = std::fs::remove_file(&link);
        let made = std::fs::create_dir_all(&folder).and_then(|()| std::os::unix::fs::symlink(&linker, &link));
        made.map_err(|e| Failure::Words(format!("cannot link: {}: {e}", link.display())))?;
    }
    Ok(vec![bin, folder])
}

/// Whether a variable would change what is built or how; those for the network and the terminal may stay.
fn steers_a_build(name: &str) -> bool {
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
