//! Checks that every test and planted fault named in `docs/CORRECTNESS.md` exists.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use tests::mutants;

#[test]
fn every_test_that_the_document_names_exists() {
    let sources: Vec<String> = ["guest", "host", "tests", "bindings/python/tests"]
        .iter()
        .flat_map(|folder| files(&project().join(folder)))
        .filter(|path| path.extension().is_some_and(|end| end == "rs" || end == "py"))
        .map(|path| fs::read_to_string(path).expect("sources are UTF-8"))
        .collect();
    let document = document();
    let is_name = |word: &&str| {
        word.starts_with(|first: char| first.is_ascii_lowercase())
            && word.contains('_')
            && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    };
    let named: BTreeSet<&str> = document.split('`').skip(1).step_by(2).filter(is_name).collect();
    let exists = |name: &&&str| {
        let (rust, python) = (format!("fn {name}("), format!("def {name}("));
        sources.iter().any(|source| source.contains(&rust) || source.contains(&python))
    };
    let missing: Vec<&&str> = named.iter().filter(|name| !exists(name)).collect();
    assert!(missing.is_empty(), "no such test: {missing:?}");
    assert!(named.len() > 30, "{named:?}");
}

#[test]
fn every_planted_fault_is_in_the_document() {
    let document = document();
    let faults = mutants::faults();
    let has_row = |name: &str| document.lines().any(|line| line.starts_with(&format!("| {name} |")));
    let (lease_faults, drain_faults) = (mutants::lease::faults(), mutants::edge::faults());
    let all = faults.iter().chain(&lease_faults).chain(&drain_faults).map(|fault| fault.name.as_str());
    let missing: Vec<&str> = all.filter(|name| !has_row(name)).collect();
    assert!(missing.is_empty(), "not in the tables of planted faults: {missing:?}");

    // The tables of what other readers get wrong quote the names of faults.
    let (_, tables) = document.split_once("\n## What other readers get wrong").expect("the section exists");
    let rows = tables.lines().filter(|line| line.starts_with('|'));
    let quoted: BTreeSet<&str> = rows.flat_map(|row| row.split('"').skip(1).step_by(2)).collect();
    let unknown: Vec<&&str> =
        quoted.iter().filter(|quoted| !faults.iter().any(|fault| fault.name == **quoted)).collect();
    assert!(unknown.is_empty(), "no such fault: {unknown:?}");
    assert!(quoted.len() > 20, "{quoted:?}");
}

fn document() -> String {
    fs::read_to_string(project().join("docs/CORRECTNESS.md")).expect("the document exists")
}

fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are within the project")
}

/// Returns the files in a directory and below, except for build outputs and dependencies.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let (folders, files): (Vec<PathBuf>, Vec<PathBuf>) =
        entries.map(|entry| entry.path()).partition(|path| path.is_dir());
    let is_ours = |path: &PathBuf| !["target", "node_modules"].iter().any(|other| path.ends_with(other));
    files.into_iter().chain(folders.into_iter().filter(is_ours).flat_map(|folder| self::files(&folder))).collect()
}
