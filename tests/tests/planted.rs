//! Checks that the planted faults keep up with the sources.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use tests::mutants;

#[test]
fn the_old_text_of_every_fault_occurs_once_in_the_sources() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let (faults, drain_faults) = (mutants::faults(), mutants::edge::faults());
    for (sources, faults) in [("guest/reader/src", &faults), (mutants::edge::SOURCES, &drain_faults)] {
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
    assert!(faults.len() >= 25, "{}", faults.len());
    let all = faults.iter().chain(&drain_faults);
    let names: BTreeSet<&str> = all.map(|fault| fault.name.as_str()).collect();
    assert_eq!(names.len(), faults.len() + drain_faults.len(), "two faults have the same name");
}
