//! The faults that are planted to see whether the simulation bites: the list keeps up with the sources.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use tests::mutants;

#[test]
fn each_fault_has_one_place_in_the_sources() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../guest/reader/src");
    let faults = mutants::faults();
    for fault in &faults {
        assert!(!fault.edits.is_empty() && !fault.breaks.is_empty(), "{fault:?}");
        for edit in &fault.edits {
            let text = fs::read_to_string(sources.join(&edit.file)).expect("a file of the reader");
            let planted = edit.apply(&text).unwrap_or_else(|why| panic!("{}: {why}", fault.name));
            assert_ne!(planted, text, "{}", fault.name);
        }
    }
    let names: BTreeSet<&str> = faults.iter().map(|fault| fault.name.as_str()).collect();
    assert_eq!(names.len(), faults.len(), "two of one name");
    assert!(names.len() >= 25, "{}", names.len());
}
