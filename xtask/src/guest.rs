//! The component: `guest/component` built for wasm, whichever compiler of this machine can.
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

const TARGET: &str = "wasm32-unknown-unknown";
const PACKAGE: &str = "kinesis-reader-component";
const DEBIAN_CARGO: &str = "/usr/bin/cargo";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_PACKAGES: [&str; 4] = ["rustc-web", "cargo-web", "rust-web-src", "rust-web-llvm"];
/// The project's own promise: small enough to be fetched and started anywhere.
const SIZE_MAX: u64 = 300_000;

/// A compiler that can make the component.
pub(crate) enum Way {
    /// The toolchain in use, with the target installed.
    Target { sysroot: PathBuf },
    /// Debian's, which builds `core` and `alloc` first, and the sysroot whose linkers it uses.
    Debian { linkers: PathBuf },
}

/// Builds the component and puts it where the host embeds it.
pub(crate) fn build() -> Result<Way> {
    let way = Way::find()?;
    run(way.cargo("rustc")?.args(["--profile", "guest", "--lib", "--crate-type", "cdylib"]))?;
    let made = guest_dir()?.join(TARGET).join("guest").join("kinesis_reader_component.wasm");
    let failed = |e| Failure::Words(format!("cannot read the component: {}: {e}", made.display()));
    let bytes = std::fs::read(&made).map_err(failed)?;
    let size = bytes.len() as u64;
    if size >= SIZE_MAX {
        return words(format!("the component is too large: {size} bytes\nhint: it must stay below {SIZE_MAX}"));
    }
    let place = root().join("host/component/kinesis_reader.wasm");
    // An equal file keeps its time, so the host is not rebuilt for nothing.
    if std::fs::read(&place).is_ok_and(|old| old == bytes) {
        return Ok(way);
    }
    let folder = place.parent().map_or_else(|| Ok(()), std::fs::create_dir_all);
    if let Err(e) = folder.and_then(|()| std::fs::write(&place, &bytes)) {
        return words(format!("cannot write: {}: {e}", place.display()));
    }
    eprintln!("component: {}, {size} bytes", place.display());
    Ok(way)
}

impl Way {
    fn find() -> Result<Way> {
        if let Some(way) = Way::target().or_else(Way::debian) {
            return Ok(way);
        }
        if setup::rustup(&["target", "add", TARGET])
            && let Some(way) = Way::target()
        {
            return Ok(way);
        }
        if let Some(way) = Way::debian_installed() {
            return Ok(way);
        }
        words(format!(
            "no compiler for {TARGET} with its linker wasm-component-ld\n\
             hint: with rustup: rustup target add {TARGET}; on Debian, as root: apt-get install {}",
            DEBIAN_PACKAGES.join(" ")
        ))
    }

    fn target() -> Option<Way> {
        let sysroot = sysroot(&rustc())?;
        (sysroot.join("lib/rustlib").join(TARGET).join("lib").is_dir() && linkers(&sysroot).is_some())
            .then_some(Way::Target { sysroot })
    }

    fn debian() -> Option<Way> {
        let own = sysroot(OsStr::new(DEBIAN_RUSTC))?;
        let source = own.join("lib/rustlib/src/rust/library/core/src/lib.rs");
        if !Path::new(DEBIAN_CARGO).is_file() || !source.is_file() {
            return None;
        }
        // A toolchain of rustup's has both linkers; Debian's own may wait for one more package.
        let in_use = sysroot(&rustc());
        in_use.into_iter().chain([own]).find(|s| linkers(s).is_some()).map(|linkers| Way::Debian { linkers })
    }

    fn debian_installed() -> Option<Way> {
        if !setup::apt_install(&DEBIAN_PACKAGES) {
            return None;
        }
        Way::debian().or_else(|| {
            // `rust-lld` is a link to the linker of one version of LLVM, whose package has the same name.
            let linker = std::fs::read_link("/usr/bin/rust-lld").ok()?;
            setup::apt_install(&[linker.file_name()?.to_str()?]).then(Way::debian).flatten()
        })
    }

    /// A cargo command on the component alone, in a target folder and with an environment of its own.
    fn cargo(&self, command: &str) -> Result<Command> {
        let (mut cargo, sysroot) = match self {
            Way::Target { sysroot } => (cargo(), sysroot),
            Way::Debian { linkers } => (Command::new(DEBIAN_CARGO), linkers),
        };
        cargo.current_dir(root());
        for (name, _) in std::env::vars_os() {
            if steers_a_build(&name.to_string_lossy()) {
                cargo.env_remove(name);
            }
        }
        let mut path = linker_path(sysroot)?;
        cargo.args([command, "--locked", "-p", PACKAGE, "--target", TARGET, "--target-dir"]).arg(guest_dir()?);
        match self {
            Way::Target { .. } => {}
            Way::Debian { .. } => {
                path.insert(0, "/usr/bin".into());
                // The outer toolchain's libraries and name are nothing to Debian's compiler.
                cargo.env_remove("RUSTUP_TOOLCHAIN").env_remove("LD_LIBRARY_PATH");
                cargo.env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1").arg("-Zbuild-std=core,alloc");
            }
        }
        cargo.env("PATH", path_with(&path)?);
        cargo.env("RUSTFLAGS", "-C linker=wasm-component-ld -C target-feature=+simd128");
        Ok(cargo)
    }

    /// Lints of the code that only wasm sees; `None` where this compiler has no clippy.
    pub(crate) fn clippy(&self) -> Option<Command> {
        let driver = match self {
            Way::Target { .. } => "clippy-driver",
            Way::Debian { .. } => "/usr/bin/clippy-driver",
        };
        let mut cargo = answers(Command::new(driver).arg("--version")).then(|| self.cargo("clippy").ok())??;
        cargo.args(["--profile", "guest", "--", "-D", "warnings"]);
        Some(cargo)
    }
}

fn guest_dir() -> Result<PathBuf> {
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
    let folder = guest_dir()?.join("tools");
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
