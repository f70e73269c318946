//! What the components import, and whether Spin's manifest and the WIT packages agree with that.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use edge_tests::Build;
use toml::{Table, Value};
use wasmtime::component::Component;

use super::ENGINE;

const READER: &str = "kinesis:reader/reading@0.2.0";

/// What Spin offers besides wasi:http, unlike most hosts.
const STORES: [&str; 3] = [
    "wasi:config/store@0.2.0-draft-2024-09-27",
    "wasi:keyvalue/atomics@0.2.0-draft2",
    "wasi:keyvalue/store@0.2.0-draft2",
];

/// What hosts of wasi:http and wasi:cli offer. Half of it is imported by the standard library, although there are no
/// files that it could open.
const WASI: [&str; 16] = [
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stderr",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:filesystem/preopens",
    "wasi:filesystem/types",
    "wasi:http/outgoing-handler",
    "wasi:http/types",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/insecure-seed",
    "wasi:random/random",
];

fn names(path: &Path, exported: bool) -> BTreeSet<String> {
    let component = Component::from_file(&ENGINE, path).unwrap_or_else(|error| panic!("{}: {error:#}", path.display()));
    let kind = component.component_type();
    match exported {
        true => kind.exports(&ENGINE).map(|(name, _)| name.to_owned()).collect(),
        false => kind.imports(&ENGINE).map(|(name, _)| name.to_owned()).collect(),
    }
}

fn imports(path: &Path) -> BTreeSet<String> {
    names(path, false)
}

#[test]
fn each_build_imports_only_what_its_hosts_offer() {
    for build in [Build::Kv, Build::Http] {
        let stores: &[&str] = if build == Build::Kv { &STORES } else { &[] };
        for (path, reader) in [(build.path(), Some(READER)), (build.composed(), None)] {
            let (wasi, others): (BTreeSet<String>, BTreeSet<String>) =
                imports(&path).into_iter().partition(|name| name.starts_with("wasi:") && !name.contains("-draft"));
            let expected: BTreeSet<String> = stores.iter().copied().chain(reader).map(str::to_owned).collect();
            assert_eq!(others, expected, "{}", path.display());
            let wasi: BTreeSet<&str> = wasi.iter().filter_map(|name| Some(name.split_once('@')?.0)).collect();
            assert_eq!(wasi, WASI.into(), "{}", path.display());
            let handlers = names(&path, true);
            assert!(
                handlers.len() == 1 && handlers.iter().all(|name| name.starts_with("wasi:http/incoming-handler@0.2."))
            );
        }
    }
}

/// Checks the manifest against version 2 in <https://spinframework.dev/manifest-reference>.
#[test]
fn the_spin_manifest_is_valid_and_complete() {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../guest/edge"));
    let text = std::fs::read_to_string(folder.join("spin.toml")).expect("the manifest exists");
    let manifest: Table = text.parse().expect("the manifest is TOML");
    check_keys(&manifest, &["spin_manifest_version", "application", "variables", "trigger", "component"]);
    assert_eq!(manifest["spin_manifest_version"].as_integer(), Some(2));
    check_keys(
        table(&manifest["application"]),
        &["name", "version", "description", "authors", "targets", "trigger", "tool"],
    );
    assert!(manifest["application"]["name"].is_str());

    let components = table(&manifest["component"]);
    for trigger in manifest["trigger"]["http"].as_array().expect("triggers are an array") {
        check_keys(table(trigger), &["id", "component", "route", "executor"]);
        assert!(components.contains_key(trigger["component"].as_str().expect("a trigger has a component")));
        assert!(trigger["route"].as_str().is_some_and(|route| route.starts_with('/')));
    }

    let edge = table(&components["edge"]);
    check_keys(
        edge,
        &["source", "description", "variables", "allowed_outbound_hosts", "key_value_stores", "dependencies"],
    );
    let source = folder.join(edge["source"].as_str().expect("the source is a path"));
    assert_eq!(source.canonicalize().ok(), Build::Kv.path().canonicalize().ok());
    assert_eq!(strings(&edge["key_value_stores"]), ["default"]);

    // Each variable that is used is declared, and is either required or has a default.
    let declared = table(&manifest["variables"]);
    for (name, variable) in declared {
        check_keys(table(variable), &["required", "default", "secret"]);
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'), "{name}");
        assert_ne!(variable.get("default").is_some(), variable.get("required").and_then(Value::as_bool) == Some(true));
        let secret = ["secret", "token", "authorization"].iter().any(|word| name.contains(word));
        assert_eq!(secret, variable.get("secret").and_then(Value::as_bool) == Some(true), "{name}");
        assert!(!secret || variable.get("default").is_none_or(|value| value.as_str() == Some("")), "{name}");
    }
    let variables = table(&edge["variables"]);
    let used = variables.values().map(|value| value.as_str().expect("a variable is a string").to_owned());
    for text in used.chain(strings(&edge["allowed_outbound_hosts"])) {
        for name in text.split("{{").skip(1).map(|rest| rest.split("}}").next().unwrap_or_default().trim()) {
            assert!(declared.contains_key(name), "{text}");
        }
    }
    // Every setting is available in Spin.
    let settings = std::fs::read_to_string(folder.join("src/settings.rs")).expect("the source exists");
    let known: BTreeSet<String> = settings
        .split(['"'])
        .filter(|word| word.contains('_') && word.bytes().all(|b| b.is_ascii_uppercase() || b == b'_'))
        .filter(|word| !["LEASE_TABLE", "DYNAMODB_ENDPOINT_URL"].contains(word))
        .map(str::to_ascii_lowercase)
        .collect();
    assert_eq!(variables.keys().cloned().collect::<BTreeSet<String>>(), known);

    // One entry for the whole package, so that there is one instance of it.
    let dependencies = table(&edge["dependencies"]);
    assert_eq!(dependencies.keys().collect::<Vec<_>>(), ["kinesis:reader@0.2.0"]);
    let dependency = table(&dependencies["kinesis:reader@0.2.0"]);
    check_keys(dependency, &["path"]);
    let exports = names(&folder.join(dependency["path"].as_str().expect("a path")), true);
    let wanted: BTreeSet<String> =
        imports(&source).into_iter().filter(|name| name.starts_with("kinesis:reader/")).collect();
    assert!(!wanted.is_empty() && wanted.is_subset(&exports), "{wanted:?} of {exports:?}");
}

/// Checks the files of `wkg`, which is documented at <https://github.com/bytecodealliance/wasm-pkg-tools>.
#[test]
fn the_wit_packages_have_metadata_and_need_no_registry() {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let read = |path: &str| {
        let text = std::fs::read_to_string(root.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
        text.parse::<Table>().unwrap_or_else(|error| panic!("{path}: {error}"))
    };
    let package = read("Cargo.toml")["workspace"]["package"].clone();
    for folder in ["", "guest/edge/"] {
        let manifest = read(&format!("{folder}wkg.toml"));
        check_keys(&manifest, &["metadata", "overrides"]);
        let metadata = table(&manifest["metadata"]);
        check_keys(metadata, &["authors", "description", "licenses", "source", "homepage", "revision"]);
        assert!(metadata["description"].as_str().is_some_and(|text| !text.is_empty()));
        assert_eq!((&metadata["licenses"], &metadata["source"]), (&package["license"], &package["repository"]));

        // Each dependency is where the manifest says, with the right name and version.
        let text = wit(&root.join(folder).join("wit"));
        let overrides = manifest.get("overrides").map(table).cloned().unwrap_or_default();
        let mut imported = BTreeSet::new();
        for import in text.lines().filter_map(|line| line.trim().strip_prefix("import ")) {
            let (name, version) = import.trim_end_matches(';').split_once('@').expect("an import has a version");
            let name = name.split('/').next().expect("an import names its package");
            let path = table(&overrides[name])["path"].as_str().expect("an override has a path");
            let found = wit(&root.join(folder).join(path));
            assert!(found.lines().any(|line| line == format!("package {name}@{version};")), "{import} in {path}");
            imported.insert(name.to_owned());
        }
        assert_eq!(overrides.keys().cloned().collect::<BTreeSet<String>>(), imported);
        let lock = read(&format!("{folder}wkg.lock"));
        assert_eq!((lock["version"].as_integer(), lock["packages"].as_array().map(Vec::len)), (Some(1), Some(0)));
    }
}

/// Reads the WIT package in a folder.
fn wit(folder: &Path) -> String {
    let files = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = files.map(|file| file.expect("the folder can be listed").path());
    let sources = paths.filter(|path| path.extension().is_some_and(|extension| extension == "wit"));
    sources.map(|path| std::fs::read_to_string(path).expect("the file is text")).collect()
}

fn table(value: &Value) -> &Table {
    value.as_table().expect("the value is a table")
}

fn strings(value: &Value) -> Vec<String> {
    let values = value.as_array().expect("the value is an array").iter();
    values.map(|value| value.as_str().expect("the items are strings").to_owned()).collect()
}

/// Checks that a table has no unknown keys, which are errors in Spin.
fn check_keys(table: &Table, known: &[&str]) {
    let unknown: Vec<&String> = table.keys().filter(|key| !known.contains(&key.as_str())).collect();
    assert!(unknown.is_empty(), "unknown keys: {unknown:?}");
}
