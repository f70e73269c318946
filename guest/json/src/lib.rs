//! JSON as payloads hold it and as lines are written.
//!
//! [`scan`] tells whether bytes are one JSON text, and the little that a line must know of it. It builds nothing and
//! keeps nothing, because a payload comes through to the letter: numbers of any size, escapes, duplicate members.
//!
//! What counts as JSON is the grammar of RFC 8259 and nothing else. So `1e400` is a number, and `"\ud800"` is a string
//! though no text has that surrogate alone: both are the payload's own words, and a reader who cannot take them can
//! still see them. A byte order mark, `NaN`, a comment or a trailing comma is no JSON. Nesting has no bound but the
//! length of the payload, and takes a bit a level, no recursion.
//!
//! It is a crate of its own because the component is built for size, and this, which looks at every byte of every
//! payload, for speed.
//!
//! The scan looks at strings sixteen bytes at a time, as most bytes of most payloads lie in strings. It leaves UTF-8,
//! which JSON text has to be, to its caller: only strings can hold bytes above 127, and nearly all payloads have none.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod string;

use alloc::vec::Vec;
use core::ops::Range;

pub use self::string::{escape_from, plain, write_string};

/// What there is to know of a JSON text before it is put into a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Where the value lies, without the whitespace around it.
    pub value: Range<usize>,
    /// What the value is.
    pub kind: Kind,
    /// There are CR or LF in it, which can only be between tokens.
    pub breaks: bool,
}

/// What a value is, as far as a line must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An object without members.
    Empty,
    /// An object with members, none of them of a reserved name.
    Members,
    /// An object with a member of a reserved name.
    Reserved,
    /// A value that is no object.
    Other,
}

/// The members of a line that a payload's members may not stand beside.
const RESERVED: [&[u8]; 2] = [b"_kinesis", b"_kinesis_msg_id"];

/// Looks `bytes` over; none if they are no JSON text.
pub fn scan(bytes: &[u8]) -> Option<Shape> {
    let mut scanner = Scanner { bytes, at: 0, breaks: false };
    let mut nesting = Nesting::default();
    let (mut members, mut reserved) = (false, false);
    let mut token = scanner.token()?;
    let start = scanner.at - 1;
    let object = token == b'{';
    let end = 'value: loop {
        // `token` begins a member or a value.
        if nesting.in_object() {
            let key = scanner.key(token)?;
            // Only the outermost object lies beside the envelope: deeper names are free.
            if nesting.depth == 1 {
                members = true;
                reserved |= key.is_reserved();
            }
            token = scanner.token()?;
        }
        match token {
            b'"' => {
                scanner.string()?;
            }
            b'{' => {
                token = scanner.token()?;
                if token != b'}' {
                    nesting.enter(true);
                    continue 'value;
                }
            }
            b'[' => {
                token = scanner.token()?;
                if token != b']' {
                    nesting.enter(false);
                    continue 'value;
                }
            }
            b'-' | b'0'..=b'9' => scanner.number(token)?,
            b't' => scanner.literal(b"rue")?,
            b'f' => scanner.literal(b"alse")?,
            b'n' => scanner.literal(b"ull")?,
            _ => return None,
        }
        // A value is behind: close what it ends, until another one begins.
        loop {
            if nesting.depth == 0 {
                break 'value scanner.at;
            }
            match scanner.token()? {
                b',' => {
                    token = scanner.token()?;
                    continue 'value;
                }
                b'}' if nesting.in_object() => nesting.leave(),
                b']' if !nesting.in_object() => nesting.leave(),
                _ => return None,
            }
        }
    };
    // Breaks behind the value are cut off with the whitespace there.
    let breaks = scanner.breaks;
    if scanner.token().is_some() {
        return None;
    }
    let kind = match (object, members, reserved) {
        (false, _, _) => Kind::Other,
        (true, false, _) => Kind::Empty,
        (true, true, false) => Kind::Members,
        (true, true, true) => Kind::Reserved,
    };
    Some(Shape { value: start..end, kind, breaks })
}

/// Puts a space for each CR and LF of a JSON text, which keeps its meaning and makes it one line.
pub fn unbreak(json: &mut [u8]) {
    for byte in json {
        *byte = if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte };
    }
}

/// Which of the containers around a place are objects: a bit for each, the innermost the lowest.
#[derive(Default)]
struct Nesting {
    depth: usize,
    inner: u64,
    /// The outer levels, 64 to a word. Payloads that go deeper than 64 levels pay for it; others allocate nothing.
    outer: Vec<u64>,
}

impl Nesting {
    fn in_object(&self) -> bool {
        self.inner & 1 == 1
    }

    fn enter(&mut self, object: bool) {
        if self.depth != 0 && self.depth.is_multiple_of(64) {
            self.outer.push(self.inner);
        }
        self.inner = self.inner << 1 | u64::from(object);
        self.depth += 1;
    }

    fn leave(&mut self) {
        self.depth -= 1;
        self.inner >>= 1;
        if self.depth.is_multiple_of(64)
            && let Some(inner) = self.outer.pop()
        {
            self.inner = inner;
        }
    }
}

/// The inside of a member's name, as it is spelled.
struct Key<'a> {
    spelled: &'a [u8],
    escapes: bool,
}

impl Key<'_> {
    fn is_reserved(&self) -> bool {
        RESERVED.iter().any(|&name| if self.escapes { spells(self.spelled, name) } else { self.spelled == name })
    }
}

/// Whether the inside of a string means `name`, which is ASCII, needs no escapes, and may be spelled with `\u`.
fn spells(mut spelled: &[u8], name: &[u8]) -> bool {
    for &wanted in name {
        let found;
        (found, spelled) = match spelled {
            [b'\\', b'u', digits @ ..] => {
                let Some((digits, rest)) = digits.split_first_chunk::<4>() else { return false };
                let code =
                    digits.iter().fold(0, |code, &digit| code << 4 | char::from(digit).to_digit(16).unwrap_or(0));
                (code, rest)
            }
            // The short escapes stand for characters that no reserved name has.
            [b'\\', ..] | [] => return false,
            [byte, rest @ ..] => (u32::from(*byte), rest),
        };
        if found != u32::from(wanted) {
            return false;
        }
    }
    spelled.is_empty()
}

/// Its methods are inlined without exception, or `at` goes through memory with every byte: half the speed.
struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    breaks: bool,
}

impl<'a> Scanner<'a> {
    /// Steps over whitespace and the byte behind it.
    #[inline(always)]
    fn token(&mut self) -> Option<u8> {
        loop {
            let byte = *self.bytes.get(self.at)?;
            self.at += 1;
            match byte {
                b' ' | b'\t' => {}
                b'\n' | b'\r' => self.breaks = true,
                _ => return Some(byte),
            }
        }
    }

    /// Steps over a member's name, whose first byte is `token`, and its colon.
    #[inline(always)]
    fn key(&mut self, token: u8) -> Option<Key<'a>> {
        if token != b'"' {
            return None;
        }
        let start = self.at;
        let escapes = self.string()?;
        let spelled = self.bytes.get(start..self.at - 1)?;
        if self.token()? == b':' { Some(Key { spelled, escapes }) } else { None }
    }

    /// Steps over a string that was opened, and tells whether it has escapes.
    #[inline(always)]
    fn string(&mut self) -> Option<bool> {
        let mut escapes = false;
        loop {
            self.at += plain(self.bytes.get(self.at..)?);
            match *self.bytes.get(self.at)? {
                b'"' => break,
                b'\\' => self.at += escaped(self.bytes.get(self.at + 1..)?)? + 1,
                _ => return None,
            }
            escapes = true;
        }
        self.at += 1;
        Some(escapes)
    }

    /// Steps over a number whose first byte was stepped over.
    #[inline(always)]
    fn number(&mut self, mut first: u8) -> Option<()> {
        if first == b'-' {
            first = *self.bytes.get(self.at)?;
            self.at += 1;
        }
        match first {
            b'0' => {}
            b'1'..=b'9' => self.digits(),
            _ => return None,
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.some_digits()?;
        }
        if matches!(self.bytes.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.bytes.get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.some_digits()?;
        }
        Some(())
    }

    #[inline(always)]
    fn some_digits(&mut self) -> Option<()> {
        if !self.bytes.get(self.at)?.is_ascii_digit() {
            return None;
        }
        self.digits();
        Some(())
    }

    #[inline(always)]
    fn digits(&mut self) {
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
    }

    #[inline(always)]
    fn literal(&mut self, rest: &[u8]) -> Option<()> {
        if !self.bytes.get(self.at..)?.starts_with(rest) {
            return None;
        }
        self.at += rest.len();
        Some(())
    }
}

/// The length of what follows a backslash and makes an escape with it.
#[inline]
fn escaped(bytes: &[u8]) -> Option<usize> {
    match bytes {
        [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => Some(1),
        [b'u', digits @ ..] if digits.first_chunk::<4>()?.iter().all(u8::is_ascii_hexdigit) => Some(5),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn json_is_what_the_grammar_says() {
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
            assert!(!is_json(text.as_bytes()), "{text:?} is no JSON");
        }
        assert!(!is_json(b"\"\xff\""), "JSON is UTF-8");
    }

    #[test]
    fn nesting_has_no_bound_and_each_level_closes_as_it_opened() {
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
    fn a_string_ends_where_it_ends_wherever_that_is() {
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
    fn reserved_names_are_known_however_they_are_spelled_and_only_at_the_top() {
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
    fn the_value_is_found_and_its_breaks_are_told() {
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
        fn pieces_of_json_are_judged_as_serde_json_does(pieces in collection::vec(select(PIECES), 0..14)) {
            judged_alike(pieces.concat().as_bytes())?;
        }

        #[test]
        fn damaged_json_is_judged_as_serde_json_does(
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
        fn any_bytes_are_judged_as_serde_json_does(bytes: Vec<u8>) {
            judged_alike(&bytes)?;
            judged_alike(&[b"\"", &*bytes, b"\""].concat())?;
        }

        #[test]
        fn the_shape_is_that_of_the_value(value in value(), before in select(SPACES), after in select(SPACES)) {
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

    /// serde_json, where it skips a value, has neither a bound on depth nor on exponents, takes lone surrogates, and does
    /// not look at UTF-8: the grammar, as here.
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
}
