//! What must hold of a release: it is complete, its sums and versions agree, it says what it is made of, and whatever
//! carries the component carries the very one that lies beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use wit_parser::decoding::{DecodedWasm, decode};

use crate::{Result, SUMS, files, sum};

const COMPONENT: &str = "kinesis_reader.wasm";

/// Each that there is a bill of materials for, and a library that it is known to be made of.
const BILLS: [(&str, &str); 4] = [
    ("kinesis-reader", "wasmtime"),
    (COMPONENT, "sha2"),
    ("edge-kv.wasm", "aws-sigv4"),
    ("edge-http.wasm", "aws-sigv4"),
];

type Files = BTreeMap<String, Vec<u8>>;

/// Looks at a release of this version. `unpacked` holds the wheel's files in `wheel`, and the tarball's in `npm`.
pub(crate) fn all(dist: &Path, version: &str, unpacked: &Path) -> Result<()> {
    let files = files(dist)?;
    complete(&files, version)?;
    sums(&files, &std::fs::read_to_string(dist.join(SUMS))?)?;
    versions(&files, dist, version)?;
    for (name, part) in BILLS {
        bill(&files[&format!("{name}.cdx.json")], part, version).map_err(|why| format!("{name}.cdx.json: {why}"))?;
    }
    carried(&files, unpacked)
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
    let wanted: BTreeSet<String> = parts.into_iter().map(str::to_owned).chain(packages).chain(bills).collect();
    let there: BTreeSet<String> = files.keys().cloned().collect();
    if wanted != there {
        let missing: Vec<_> = wanted.difference(&there).collect();
        let foreign: Vec<_> = there.difference(&wanted).collect();
        return Err(format!("not a whole release: missing {missing:?}, and too much {foreign:?}").into());
    }
    match files.iter().find(|(_, bytes)| bytes.is_empty()) {
        Some((name, _)) => Err(format!("empty: {name}").into()),
        None => Ok(()),
    }
}

fn sums(files: &Files, text: &str) -> Result<()> {
    let told: BTreeMap<&str, &str> =
        text.lines().filter_map(|line| line.split_once("  ")).map(|(sum, name)| (name, sum)).collect();
    for (name, bytes) in files {
        if told.get(name.as_str()) != Some(&sum(bytes).as_str()) {
            return Err(format!("{SUMS} does not have the sum of {name}").into());
        }
    }
    match told.len() == files.len() {
        true => Ok(()),
        false => Err(format!("{SUMS} names what is not there").into()),
    }
}

/// The names of wheel and tarball have it too.
fn versions(files: &Files, dist: &Path, version: &str) -> Result<()> {
    let told = Command::new(dist.join(program())).arg("--version").output()?;
    let told = String::from_utf8(told.stdout)?;
    if told.split_whitespace().last() != Some(version) {
        return Err(format!("the program says that it is of version {told}").into());
    }
    let package = format!("kinesis:reader@{version}");
    if !std::str::from_utf8(&files["reader.wit"])?.contains(&format!("package {package};")) {
        return Err(format!("reader.wit is not {package}").into());
    }
    match decode(&files["reader.wit.wasm"])? {
        DecodedWasm::WitPackage(resolve, id) if resolve.packages[id].name.to_string() == package => Ok(()),
        DecodedWasm::WitPackage(..) | DecodedWasm::Component(..) => {
            Err(format!("reader.wit.wasm is not the package {package}").into())
        }
    }
}

/// A bill in the form of CycloneDX: <https://cyclonedx.org/docs/1.5/json/>.
fn bill(text: &[u8], part: &str, version: &str) -> Result<()> {
    let bill: Value = serde_json::from_slice(text)?;
    if bill["bomFormat"] != "CycloneDX" || bill["metadata"]["component"]["version"] != version {
        return Err(format!("it is of {}", bill["metadata"]["component"]).into());
    }
    let parts = bill["components"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !parts.iter().any(|one| one["name"] == part && one["version"].is_string()) {
        return Err(format!("{part} is not among its {} parts", parts.len()).into());
    }
    match std::str::from_utf8(text)?.contains("file:///kinesis-reader") {
        true => Ok(()),
        false => Err("it does not name the project's own parts by their places in it".into()),
    }
}

fn carried(files: &Files, unpacked: &Path) -> Result<()> {
    let component = &files[COMPONENT];
    let wheel = std::fs::read(unpacked.join("wheel/kinesis_reader").join(COMPONENT))?;
    if wheel != *component {
        return Err("the wheel carries another component".into());
    }
    // In JavaScript it is taken apart, and its core modules are there as they were.
    let mut modules = 0;
    for entry in std::fs::read_dir(unpacked.join("npm/package/component"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|kind| kind == "wasm") {
            modules += 1;
            if !holds(component, &std::fs::read(&path)?) {
                return Err(format!("the tarball carries the module of another component: {}", path.display()).into());
            }
        }
    }
    if modules == 0 {
        return Err("the tarball carries no module".into());
    }
    for name in ["edge-http.composed.wasm", "edge-kv.composed.wasm", &program()] {
        if !holds(&files[name], component) {
            return Err(format!("{name} carries another component").into());
        }
    }
    Ok(())
}

fn holds(all: &[u8], part: &[u8]) -> bool {
    !part.is_empty() && all.windows(part.len()).any(|window| window == part)
}

fn program() -> String {
    format!("kinesis-reader{}", std::env::consts::EXE_SUFFIX)
}
