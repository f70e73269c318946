use std::format;
use std::string::{String, ToString};
use std::vec;

use proptest::collection;
use proptest::prelude::*;
use proptest::sample::select;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::string::tests::text;
use super::*;

fn scan(bytes: &[u8]) -> Option<Shape> {
    Scanner::default().scan(bytes)
}

#[test]
#[expect(clippy::too_many_lines, reason = "a plain twin of the scanner")]
fn only_rfc_8259_json_is_accepted() {
    for text in [
        "{}",
        "[]",
        "0",
        "-0",
        "-0.0e-0",
        "10",
        "1E+9",
        "1e400",
        "123456789012345678901234567890",
        "\"\"",
        "null",
        "true",
        "false",
        " \t\r\n{\n\"a\" :\r[ 1 , 2 ]\t} \n",
        r#""\" \\ \/ \b \f \n \r \t \u00e9""#,
        r#""\ud800""#,
        r#""\udc00\ud800""#,
        "\"\u{7f}\u{80}\u{2028}\u{10ffff}\"",
        r#"{"a":1,"a":2}"#,
        r#"{"":{"":[{}]}}"#,
        "[[],[[]],{}]",
    ] {
        assert!(is_json(text.as_bytes()), "{text:?} is JSON");
    }
    for text in [
        "",
        " ",
        "\u{feff}{}",
        "{",
        "}",
        "[",
        "]",
        "{]",
        "[}",
        "[1}",
        "{\"a\":1]",
        "nul",
        "nulll",
        "True",
        "NaN",
        "Infinity",
        "-Infinity",
        "-",
        "+1",
        "01",
        "-01",
        "1.",
        ".1",
        "1e",
        "1e+",
        "1.e1",
        "0x1",
        "1 2",
        "{}{}",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{,}",
        "{1:2}",
        "{a:1}",
        "{\"a\"1}",
        "{\"a\"::1}",
        "{\"a\":1 \"b\":2}",
        "'a'",
        "\"",
        "\"\\\"",
        "\"\n\"",
        "\"\t\"",
        "\"\0\"",
        r#""\x""#,
        r#""\u12""#,
        r#""\u12g4""#,
        r#""\U0041""#,
        "// x\n1",
        "1/* x */",
        "\u{a0}1",
        "\u{b}1",
        ",",
        ":",
        "é",
    ] {
        assert!(!is_json(text.as_bytes()), "{text:?} is not JSON");
    }
    assert!(!is_json(b"\"\xff\""), "JSON is UTF-8");
}

#[test]
fn digits_are_counted_up_to_the_first_non_digit() {
    for at in 0..8 {
        for byte in 0..=255_u8 {
            for behind in [b'0', b'9', b'/', b':', 0, 0xff] {
                let mut bytes = [b'7'; 8];
                bytes[at] = byte;
                bytes[at + 1..].fill(behind);
                let count = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
                assert_eq!(leading_digits(u64::from_le_bytes(bytes)), count, "{bytes:?}");
            }
        }
    }
}

#[test]
fn nesting_is_unbounded_and_brackets_must_match() {
    for depth in [1, 2, 63, 64, 65, 66, 127, 128, 129, 200, 300_000] {
        let objects = |level: usize| level.is_multiple_of(3) || level.is_multiple_of(64);
        let open: String = (0..depth).map(|level| if objects(level) { "{\"\":" } else { "[" }).collect();
        let close: String = (0..depth).rev().map(|level| if objects(level) { '}' } else { ']' }).collect();
        assert!(is_json(format!("{open}1{close}").as_bytes()));
        assert!(!is_json(format!("{open}1{}", &close[1..]).as_bytes()));
        assert!(!is_json(format!("{open}1{close}]").as_bytes()));
        for level in (0..depth).take(200) {
            let mut close = close.clone().into_bytes();
            close[level] = if close[level] == b'}' { b']' } else { b'}' };
            assert_eq!(scan(&[open.as_bytes(), b"1", &close].concat()), None, "level {level} of {depth}");
        }
    }
}

#[test]
fn the_end_of_a_string_is_found_at_any_position() {
    for length in 0..70 {
        for at in 0..length {
            let with = |byte: u8, behind: &[u8]| {
                let mut text = vec![b'x'; length];
                text[at] = byte;
                is_json(&[b"\"", &*text, behind].concat())
            };
            assert_eq!(with(b'"', b""), at + 1 == length, "a quote at {at} of {length}");
            assert!(with(b' ', b"\"") && !with(b' ', b""), "a space at {at} of {length}");
            for byte in [b'"', b'\\', 0, 0x1f, 0x80, 0xff] {
                assert!(!with(byte, b"\""), "{byte} at {at} of {length}");
            }
        }
    }
}

#[test]
fn strings_may_span_windows() {
    for behind in [
        "\"]",
        "\\\"\"]",
        "\\\\\"]",
        "\\u00e9\"]",
        "\\x\"]",
        "\n\"]",
        "\u{e9}\"]",
        "\",\"\",1,\"a\"]",
        "\" \"]",
        "\",\n\"\"]",
        "",
    ] {
        for length in (0..140).chain(960..1100).chain(1990..2120) {
            for before in ["[\"", "[\"\\\\\",\""] {
                let text = format!("{before}{}{behind}", "x".repeat(length));
                let wanted = serde_json::from_str::<IgnoredAny>(&text).is_ok();
                assert_eq!(is_json(text.as_bytes()), wanted, "{before}, {length} times x, {behind}");
            }
        }
    }
    for count in [1, 300, 511, 512, 513, 5000] {
        for string in ["\"\"", "\"\\\"\"", "\"\\\\\\\\\""] {
            let text = format!("[{}]", vec![string; count].join(","));
            assert!(is_json(text.as_bytes()), "{count} times {string}");
            assert!(!is_json(text.replacen("\",\"", "\"\"", 1).as_bytes()) || count == 1, "{count} times {string}");
        }
    }
}

#[test]
fn reserved_names_are_found_at_the_top_level_however_they_are_spelled() {
    let kind = |text: &str| scan(text.as_bytes()).expect("JSON").kind;
    for text in [
        r#"{"_kinesis":1}"#,
        r#"{ "_kinesis" : {} }"#,
        r#"{"a":1,"_kinesis_msg_id":null}"#,
        r#"{"_kin\u0065sis":1}"#,
        r#"{"\u005F\u006b\u0069\u006E\u0065\u0073\u0069\u0073":1}"#,
        r#"{"a":{"b":[]},"_kinesis\u005fmsg_id":1}"#,
    ] {
        assert_eq!(kind(text), Kind::Reserved, "{text}");
    }
    for text in [
        r#"{"a":{"_kinesis":1}}"#,
        r#"{"a":[{"_kinesis_msg_id":1}]}"#,
        r#"{"a":"_kinesis"}"#,
        r#"{"_kinesis_":1}"#,
        r#"{"_kinesi":1}"#,
        r#"{"_Kinesis":1}"#,
        r#"{"_kin\u0165sis":1}"#,
        r#"{"_kin\\u0065sis":1}"#,
        r#"{"_kinesis\n":1}"#,
        r#"{"_kinesi\u0073\u0000":1}"#,
        r#"{"data":1}"#,
        r#"{"":1}"#,
    ] {
        assert_eq!(kind(text), Kind::Members, "{text}");
    }
    for text in ["{}", " { } ", "{\n}"] {
        assert_eq!(kind(text), Kind::Empty, "{text}");
    }
    for text in ["[]", "1", "null", r#""_kinesis""#, r#"[{"_kinesis":1}]"#] {
        assert_eq!(kind(text), Kind::Other, "{text}");
    }
}

#[test]
fn the_range_and_line_breaks_of_the_value_are_found() {
    let shape = scan(b" \n{\"a\":1}\r\n").expect("JSON");
    assert_eq!((shape.value, shape.breaks), (2..9, true));
    let shape = scan(b"{\"a\":\"\\n\"}\r\n").expect("JSON");
    assert_eq!((shape.value, shape.breaks), (0..10, false));
    let mut text = *b"{\r\n\"a\\n\" :\n1\t}";
    assert!(scan(&text).expect("JSON").breaks);
    unbreak(&mut text);
    assert_eq!(&text, b"{  \"a\\n\" : 1\t}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_serde_json_on_fragments(pieces in collection::vec(select(PIECES), 0..14)) {
        judged_alike(pieces.concat().as_bytes())?;
    }

    #[test]
    fn agrees_with_serde_json_on_damaged_json(
        value in value(),
        pretty: bool,
        damage in collection::vec((any::<prop::sample::Index>(), select(DAMAGE)), 0..3),
    ) {
        let text = if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) };
        let mut text = text.expect("a value");
        judged_alike(&text)?;
        prop_assert!(scan(&text).is_some());
        for (at, byte) in damage {
            let at = at.index(text.len());
            match byte {
                None => {
                    text.remove(at);
                    if text.is_empty() {
                        break;
                    }
                }
                Some(byte) => text[at] = byte,
            }
        }
        judged_alike(&text)?;
    }

    #[test]
    fn agrees_with_serde_json_on_arbitrary_bytes(bytes: Vec<u8>) {
        judged_alike(&bytes)?;
        judged_alike(&[b"\"", &*bytes, b"\""].concat())?;
    }

    #[test]
    fn the_shape_describes_the_value(value in value(), before in select(SPACES), after in select(SPACES)) {
        let text = format!("{before}{value}{after}");
        let shape = scan(text.as_bytes()).expect("JSON");
        prop_assert_eq!(&text[shape.value], value.to_string());
        let kind = match &value {
            Value::Object(members) if members.is_empty() => Kind::Empty,
            Value::Object(members) if members.keys().any(|key| RESERVED.contains(&key.as_bytes())) => Kind::Reserved,
            Value::Object(_) => Kind::Members,
            _ => Kind::Other,
        };
        prop_assert_eq!(shape.kind, kind);
    }

}

fn is_json(bytes: &[u8]) -> bool {
    scan(bytes).is_some() && core::str::from_utf8(bytes).is_ok()
}

/// When serde_json skips a value, it checks the grammar alone, as we do: it bounds neither depth nor exponents, accepts
/// lone surrogates and ignores UTF-8.
fn judged_alike(bytes: &[u8]) -> Result<(), TestCaseError> {
    let theirs = serde_json::from_slice::<IgnoredAny>(bytes).is_ok();
    prop_assert_eq!(scan(bytes).is_some(), theirs, "{:?}", String::from_utf8_lossy(bytes));
    Ok(())
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    let key = prop_oneof![
        8 => text(),
        4 => "[a-z_]{1,20}",
        1 => Just("_kinesis".to_string()),
        1 => Just("_kinesis_msg_id".to_string()),
    ];
    leaf.prop_recursive(5, 60, 8, move |inner| {
        prop_oneof![
            collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            collection::vec((key.clone(), inner), 0..8)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

const SPACES: &[&str] = &["", " ", "\n", "\r\n", "\t  "];

const PIECES: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\"a\"",
    "\"_kinesis\":",
    "\"a\":1",
    "\"\\u00e9\"",
    "\"\\ud800\"",
    "\\",
    "1",
    "-",
    "0",
    ".5",
    "e+1",
    "12e400",
    "true",
    "false",
    "null",
    " ",
    "\n",
    "\t",
    "[]",
    "{}",
    "é",
    "\u{1}",
    "\"long enough to be skipped wide\"",
];

const DAMAGE: &[Option<u8>] = &[
    None,
    Some(b'"'),
    Some(b'\\'),
    Some(b'{'),
    Some(b'}'),
    Some(b'['),
    Some(b']'),
    Some(b','),
    Some(b':'),
    Some(b'0'),
    Some(b'-'),
    Some(b'e'),
    Some(b'.'),
    Some(b'u'),
    Some(b' '),
    Some(b'\n'),
    Some(0),
    Some(0x1f),
    Some(0x80),
    Some(0xff),
];
