//! Checks a release: it is complete, checksums and versions match, the bills of materials are plausible, and every
//! artifact that contains the component contains exactly this one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use wasmparser::{Parser, Payload};
use wit_parser::decoding::{DecodedWasm, decode};

use crate::{Result, SUMS, files, sum};

const COMPONENT: &str = "kinesis_reader.wasm";

/// The artifacts with a bill of materials, and a library that each is known to contain.
const BILLS: [(&str, &str); 4] = [
    ("kinesis-reader", "wasmtime"),
    (COMPONENT, "sha2"),
    ("edge-kv.wasm", "aws-sigv4"),
    ("edge-http.wasm", "aws-sigv4"),
];

type Files = BTreeMap<String, Vec<u8>>;

/// Checks the release of `version`. `unpacked` contains the wheel's files in `wheel` and the tarball's in `npm`.
pub(crate) fn all(dist: &Path, version: &str, unpacked: &Path) -> Result<()> {
    let files = files(dist)?;
    complete(&files, version)?;
    sums(&files, &std::fs::read_to_string(dist.join(SUMS))?)?;
    versions(&files, dist, version)?;
    for (name, part) in BILLS {
        bill(&files[&format!("{name}.cdx.json")], part, version).map_err(|why| format!("{name}.cdx.json: {why}"))?;
    }
    same_component(&files, unpacked)
}

fn complete(files: &Files, version: &str) -> Result<()> {
    let parts = [
        COMPONENT,
        "edge-http.composed.wasm",
        "edge-http.wasm",
        "edge-kv.composed.wasm",
        "edge-kv.wasm",
        "reader.wit",
        "reader.wit.wasm",
        &program(),
    ];
    let packages = [format!("kinesis_reader-{version}-py3-none-any.whl"), format!("kinesis-reader-{version}.tgz")];
    let bills = BILLS.map(|(name, _)| format!("{name}.cdx.json"));
    let expected: BTreeSet<String> = parts.into_iter().map(str::to_owned).chain(packages).chain(bills).collect();
    let present: BTreeSet<String> = files.keys().cloned().collect();
    if expected != present {
        let missing: Vec<_> = expected.difference(&present).collect();
        let foreign: Vec<_> = present.difference(&expected).collect();
        return Err(format!("incomplete release: missing {missing:?}, unexpected {foreign:?}").into());
    }
    match files.iter().find(|(_, bytes)| bytes.is_empty()) {
        Some((name, _)) => Err(format!("empty: {name}").into()),
        None => Ok(()),
    }
}

fn sums(files: &Files, text: &str) -> Result<()> {
    let listed: BTreeMap<&str, &str> =
        text.lines().filter_map(|line| line.split_once("  ")).map(|(sum, name)| (name, sum)).collect();
    for (name, bytes) in files {
        if listed.get(name.as_str()) != Some(&sum(bytes).as_str()) {
            return Err(format!("wrong or missing checksum in {SUMS}: {name}").into());
        }
    }
    match listed.len() == files.len() {
        true => Ok(()),
        false => Err(format!("{SUMS} lists files that do not exist").into()),
    }
}

/// The names of wheel and tarball contain the version too.
fn versions(files: &Files, dist: &Path, version: &str) -> Result<()> {
    let output = Command::new(dist.join(program())).arg("--version").output()?;
    let printed = String::from_utf8(output.stdout)?;
    if printed.split_whitespace().last() != Some(version) {
        return Err(format!("wrong version of the program: {printed}").into());
    }
    // The interface has a version of its own, which only changes with it.
    let wit = std::str::from_utf8(&files["reader.wit"])?;
    let package = wit.lines().find_map(|line| line.strip_prefix("package ")?.strip_suffix(';'));
    let package =
        package.filter(|package| package.starts_with("kinesis:reader@")).ok_or("reader.wit names no package")?;
    match decode(&files["reader.wit.wasm"])? {
        DecodedWasm::WitPackage(resolve, id) if resolve.packages[id].name.to_string() == package => Ok(()),
        DecodedWasm::WitPackage(..) | DecodedWasm::Component(..) => {
            Err(format!("reader.wit.wasm is not the package {package}").into())
        }
    }
}

/// Checks a bill of materials in CycloneDX format: <https://cyclonedx.org/docs/1.5/json/>.
fn bill(text: &[u8], part: &str, version: &str) -> Result<()> {
    let bill: Value = serde_json::from_slice(text)?;
    if bill["bomFormat"] != "CycloneDX" || bill["metadata"]["component"]["version"] != version {
        return Err(format!("wrong component: {}", bill["metadata"]["component"]).into());
    }
    let parts = bill["components"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !parts.iter().any(|one| one["name"] == part && one["version"].is_string()) {
        return Err(format!("{part} is not among the {} components", parts.len()).into());
    }
    match std::str::from_utf8(text)?.contains("file:///kinesis-reader") {
        true => Ok(()),
        false => Err("the paths of the project's own crates do not start with file:///kinesis-reader".into()),
    }
}

fn same_component(files: &Files, unpacked: &Path) -> Result<()> {
    let component = &files[COMPONENT];
    let wheel = std::fs::read(unpacked.join("wheel/kinesis_reader").join(COMPONENT))?;
    if wheel != *component {
        return Err("the wheel contains a different component".into());
    }
    // jco splits the component, but keeps its core modules as they are. The package only limits their memory.
    let mut modules = 0;
    for entry in std::fs::read_dir(unpacked.join("npm/package/component"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|kind| kind == "wasm") {
            modules += 1;
            if !contains(component, after_memory(&std::fs::read(&path)?)?) {
                return Err(format!("the tarball's module is of a different component: {}", path.display()).into());
            }
        }
    }
    if modules == 0 {
        return Err("the tarball contains no modules".into());
    }
    for name in ["edge-http.composed.wasm", "edge-kv.composed.wasm", &program()] {
        if !contains(&files[name], component) {
            return Err(format!("{name} contains a different component").into());
        }
    }
    Ok(())
}

/// The code and data of a core module: what follows its memory, or all of it.
fn after_memory(module: &[u8]) -> Result<&[u8]> {
    for payload in Parser::new(0).parse_all(module) {
        if let Payload::MemorySection(memory) = payload? {
            let end = usize::try_from(memory.range().end)?;
            return Ok(&module[end..]);
        }
    }
    Ok(module)
}

fn contains(all: &[u8], part: &[u8]) -> bool {
    !part.is_empty() && all.windows(part.len()).any(|window| window == part)
}

fn program() -> String {
    format!("kinesis-reader{}", std::env::consts::EXE_SUFFIX)
}
