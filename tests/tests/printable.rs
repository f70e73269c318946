//! How text from outside is made safe to print. The Python and JavaScript packages are tested with the same vectors.

use kinesis_reader::transport::Error;
use kinesis_reader::transport::endpoint::{Endpoint, Known};
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

#[test]
fn an_invalid_endpoint_is_shown_without_a_possible_password() {
    let vectors: Vec<[String; 2]> =
        serde_json::from_str(include_str!("../golden/endpoints.json")).expect("pairs of strings");
    assert!(vectors.len() > 40);
    for [url, shown] in vectors {
        let known = Known { region: Some("us-east-1".to_owned()), url: Some(url.clone()), ..Known::default() };
        let error = Endpoint::resolve(known).expect_err(&url);
        let text = format!("{error} {error:?}");
        // What is displayed passes another function that hides passwords, and may hide more.
        let Error::BadEndpoint { url: found, .. } = &error else { panic!("{url}: {error}") };
        assert_eq!(printable(found), shown, "{url}");
        assert!(!text.contains("SEC") && !text.contains("RET"), "{url}: {text}");
    }
}
