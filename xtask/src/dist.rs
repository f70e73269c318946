//! `cargo xtask dist`: builds the artifacts of a release in `dist` and checks them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{Failure, Result, failure, output, root, run, step, target_dir};
use crate::{edge, guest, js, native, python, setup};

/// Bills of materials: the crate's directory, its target, and the artifact.
const BILLS: [(&str, Option<&str>, &str); 4] = [
    ("host", None, "kinesis-reader"),
    ("guest/component", Some("wasm32-unknown-unknown"), "kinesis_reader.wasm"),
    ("guest/edge/http", Some("wasm32-wasip2"), "edge-http.wasm"),
    ("guest/edge/kv", Some("wasm32-wasip2"), "edge-kv.wasm"),
];

/// The base name of the files that cargo-cyclonedx writes next to each manifest.
const BILL: &str = "made-by-dist.cdx";

/// Builds the components and everything else.
pub(crate) fn dist() -> Result<()> {
    edge::prepare()?;
    make()
}

/// Builds the artifacts, given the components.
pub(crate) fn make() -> Result<()> {
    let dist = root().join("dist");
    if dist.exists() {
        fs::remove_dir_all(&dist).map_err(|e| failed("remove", &dist, &e))?;
    }
    fs::create_dir_all(&dist).map_err(|e| failed("create", &dist, &e))?;
    let program = native::program();
    step("programs", || native::compile(&[program, "release"]))?;
    let parts = [guest::reader(), root().join("wit/reader.wit"), native::built(program)?];
    for part in parts.into_iter().chain(edge::components()) {
        let to = dist.join(part.file_name().unwrap_or_default());
        fs::copy(&part, &to).map_err(|e| failed("copy", &part, &e))?;
    }
    let release = native::built("release")?;
    step("WIT package", || {
        run(Command::new(&release).arg("wit").arg(root().join("wit")).arg(dist.join("reader.wit.wasm")))
    })?;
    let python = step("Python environment", python::environment)?;
    step("wheel", || {
        let mut build = Command::new(&python);
        build.args(["-m", "build", "--no-isolation", "--wheel", "--outdir"]).arg(&dist).arg("bindings/python");
        run(build.current_dir(root()))
    })?;
    let package = js::package()?;
    step("tarball", || {
        let mut npm = Command::new("npm");
        npm.args(["pack", "--silent", "--pack-destination"]).arg(&dist).current_dir(&package);
        run(&mut npm)
    })?;
    step("bills of materials", || bills(&dist))?;
    run(Command::new(&release).arg("seal").arg(&dist))?;
    step("check", || check(&dist, &release, &python))?;
    eprintln!("release: {}", dist.display());
    Ok(())
}

/// Writes the bill of materials of each Rust artifact, using `cargo cyclonedx`.
fn bills(dist: &Path) -> Result<()> {
    let tool = setup::cyclonedx()?;
    let result = BILLS.iter().try_for_each(|(folder, target, artifact)| {
        let manifest = root().join(folder).join("Cargo.toml");
        let mut cargo = Command::new(&tool);
        cargo.args(["cyclonedx", "--quiet", "--format", "json", "--spec-version", "1.5", "--override-filename", BILL]);
        cargo.arg("--manifest-path").arg(&manifest).current_dir(root());
        if let Some(target) = target {
            cargo.args(["--target", target]);
        }
        // Use the time of the last commit, so that the same source gives the same bill.
        if let Some(time) = output(Command::new("git").args(["log", "-1", "--format=%ct"]).current_dir(root())) {
            cargo.env("SOURCE_DATE_EPOCH", time);
        }
        run(&mut cargo)?;
        let bill = manifest.with_file_name(format!("{BILL}.json"));
        let text = fs::read_to_string(&bill).map_err(|e| failed("read", &bill, &e))?;
        // Don't leak the location of the checkout.
        let text = text.replace(&format!("file://{}", root().display()), "file:///kinesis-reader");
        let to = dist.join(format!("{artifact}.cdx.json"));
        fs::write(&to, text).map_err(|e| failed("write", &to, &e))
    });
    // It writes one for every crate of the workspace.
    for folder in ["bench", "guest", "host", "tests", "xtask"] {
        sweep(&root().join(folder), 2);
    }
    result
}

/// Removes bills from a directory and its subdirectories, down to `depth` levels.
fn sweep(folder: &Path, depth: u32) {
    let _ = fs::remove_file(folder.join(format!("{BILL}.json")));
    if depth > 0 {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir()) {
            sweep(&entry.path(), depth - 1);
        }
    }
}

/// Unpacks the packages and checks the whole release.
fn check(dist: &Path, release: &Path, python: &Path) -> Result<()> {
    let unpacked = target_dir()?.join("dist-unpacked");
    let _ = fs::remove_dir_all(&unpacked);
    for (module, kind, folder) in [("zipfile", "whl", "wheel"), ("tarfile", "tgz", "npm")] {
        let package = only(dist, kind)?;
        run(Command::new(python).args(["-m", module, "-e"]).arg(package).arg(unpacked.join(folder)))?;
    }
    let version = version()?;
    run(Command::new(release).arg("check").arg(dist).arg(version).arg(&unpacked))
}

/// Returns the only file with this extension.
fn only(folder: &Path, kind: &str) -> Result<PathBuf> {
    let files = fs::read_dir(folder).map_err(|e| failed("list", folder, &e))?.flatten().map(|file| file.path());
    let mut files = files.filter(|path| path.extension().is_some_and(|own| own == kind));
    match (files.next(), files.next()) {
        (Some(file), None) => Ok(file),
        (_, _) => failure(format!("expected exactly one .{kind} file: {}", folder.display())),
    }
}

/// Returns the workspace's version.
fn version() -> Result<String> {
    let manifest = root().join("Cargo.toml");
    let text = fs::read_to_string(&manifest).map_err(|e| failed("read", &manifest, &e))?;
    let version = text.lines().find_map(|line| line.strip_prefix("version = \"")?.strip_suffix('"'));
    version.map(str::to_owned).ok_or_else(|| Failure::Message(format!("no version: {}", manifest.display())))
}

fn failed(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::Message(format!("cannot {what}: {}: {error}", path.display()))
}
