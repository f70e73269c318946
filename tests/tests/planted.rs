//! Checks that the planted faults keep up with the sources.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use tests::mutants;

#[test]
fn the_old_text_of_every_fault_occurs_once_in_the_sources() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let (faults, lease_faults, drain_faults) = (mutants::faults(), mutants::lease::faults(), mutants::edge::faults());
    let sources = ["guest/reader/src", mutants::lease::SOURCES, mutants::edge::SOURCES];
    for (sources, faults) in sources.into_iter().zip([&faults, &lease_faults, &drain_faults]) {
        for fault in faults {
            assert!(!fault.edits.is_empty() && !fault.breaks.is_empty(), "{fault:?}");
            for edit in &fault.edits {
                let text = fs::read_to_string(project.join(sources).join(&edit.file)).expect("a source file");
                let planted = edit.apply(&text).unwrap_or_else(|why| panic!("{}: {why}", fault.name));
                assert_ne!(planted, text, "{}", fault.name);
            }
        }
    }
    assert!(drain_faults.len() >= 12 && drain_faults.iter().all(|fault| fault.tests.contains("::")));
    assert!(faults.len() >= 25 && lease_faults.len() >= 12, "{}, {}", faults.len(), lease_faults.len());
    let all = faults.iter().chain(&lease_faults).chain(&drain_faults);
    let names: BTreeSet<&str> = all.clone().map(|fault| fault.name.as_str()).collect();
    assert_eq!(names.len(), all.count(), "two faults have the same name");
}
