//! The text of checkpoints, and their join.

use kinesis_reader_machine::{Checkpoint, merge_checkpoints};

/// Parses, writes and joins two texts, which are separated by a zero byte.
pub fn check(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    let (left, right) = text.split_once('\0').unwrap_or((text, text));
    for text in [left, right] {
        let Ok(checkpoint) = Checkpoint::parse(text) else { continue };
        let written = checkpoint.to_text();
        assert_eq!(Checkpoint::parse(&written).as_ref(), Ok(&checkpoint), "{text}");
        assert_eq!(merge_checkpoints(text, text), Ok(written), "joined with itself: {text}");
    }
    let joined = merge_checkpoints(left, right);
    assert_eq!(joined, merge_checkpoints(right, left).or(joined.clone()), "in the other order: {left} and {right}");
    let Ok(joined) = joined else { return };
    assert_eq!(merge_checkpoints(&joined, left).as_ref(), Ok(&joined), "again: {left} and {right}");
    assert_eq!(merge_checkpoints(right, &joined).as_ref(), Ok(&joined), "again: {left} and {right}");
}

/// Returns checkpoints with every kind of position.
pub fn seeds() -> Vec<Vec<u8>> {
    let whole = concat!(
        r#"{"version":1,"stream":{"name":"orders","arn":"arn:aws:kinesis:eu-west-1:123456789012:stream/orders","#,
        r#""created":1763900000000},"shards":{"a":{"at":"end"},"b":{"after":"9"},"c":{"after":"10","sub":3},"#,
        r#""d":{"at":"trim-horizon"},"e":{"at":1763900000000}}}"#
    );
    let other =
        r#"{"version":1,"stream":{"name":"orders"},"shards":{"a":{"after":"7"},"c":{"after":"10"},"é":{"at":1}}}"#;
    let empty = r#"{"version":1,"stream":{"name":"orders"},"shards":{}}"#;
    let two = |left: &str, right: &str| format!("{left}\0{right}").into_bytes();
    vec![two(whole, other), two(other, empty), two(whole, whole), empty.into(), b"{\"version\":2}".to_vec()]
}
