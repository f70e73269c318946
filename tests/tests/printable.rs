//! Text from outside, as it is printed: the vectors that the packages for Python and JavaScript are held to as well.

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
