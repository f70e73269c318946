//! How text from outside is made safe to print. The Python and JavaScript packages are tested with the same vectors.

use kinesis_reader_machine::printable;

#[test]
fn text_is_printed_as_the_vectors_say() {
    let vectors: Vec<[String; 2]> =
        serde_json::from_str(include_str!("../golden/printable.json")).expect("pairs of strings");
    assert!(vectors.len() > 20);
    for [text, shown] in vectors {
        assert_eq!(printable(&text), shown, "{text:?}");
    }
}
