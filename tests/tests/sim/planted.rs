//! The faults that are planted to see whether the simulation bites: the list keeps up with the sources.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use tests::mutants;

#[test]
fn each_fault_has_one_place_in_the_sources() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let (faults, of_the_drain) = (mutants::faults(), mutants::edge::faults());
    for (sources, faults) in [("guest/reader/src", &faults), (mutants::edge::SOURCES, &of_the_drain)] {
        for fault in faults {
            assert!(!fault.edits.is_empty() && !fault.breaks.is_empty(), "{fault:?}");
            for edit in &fault.edits {
                let text = fs::read_to_string(project.join(sources).join(&edit.file)).expect("a file of the sources");
                let planted = edit.apply(&text).unwrap_or_else(|why| panic!("{}: {why}", fault.name));
                assert_ne!(planted, text, "{}", fault.name);
            }
        }
    }
    assert!(of_the_drain.len() >= 12 && of_the_drain.iter().all(|fault| fault.tests.contains("::")));
    assert!(faults.len() >= 25, "{}", faults.len());
    let all = faults.iter().chain(&of_the_drain);
    let names: BTreeSet<&str> = all.map(|fault| fault.name.as_str()).collect();
    assert_eq!(names.len(), faults.len() + of_the_drain.len(), "two of one name");
}
