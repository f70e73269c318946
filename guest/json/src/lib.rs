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
//! Most bytes of most payloads lie in strings, so strings are crossed by a map: of each 64 bytes a word that has
//! a bit for each byte at which a string may not go on as it is. A byte is looked at once, however short the strings.
//! UTF-8, which JSON text has to be, is left to [`is_utf8`]: only strings can hold bytes above 127, and the maps tell
//! in passing that nearly all payloads have none.

#![no_std]
#![deny(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod map;
mod string;

use alloc::string::{FromUtf8Error, String};
use alloc::vec::Vec;
use core::ops::Range;

use self::map::{Map, WIDTH};
pub use self::map::{is_ascii, plain};
pub use self::string::{escape_from, write_string};

/// What there is to know of a JSON text before it is put into a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Where the value lies, without the whitespace around it.
    pub value: Range<usize>,
    /// What the value is.
    pub kind: Kind,
    /// There are CR or LF in it, which can only be between tokens.
    pub breaks: bool,
    /// All of the text is ASCII. If not, it may be no UTF-8, and then it is no JSON text.
    pub ascii: bool,
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
// Within another function it has not the registers for itself alone.
#[inline(never)]
pub fn scan(bytes: &[u8]) -> Option<Shape> {
    let mut scanner = Scanner::new(bytes);
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
                reserved |= is_reserved(key);
            }
            token = scanner.token()?;
        }
        // What is usual comes first, by branches that are guessed better than a table of many ways.
        if token == b'"' {
            scanner.string()?;
        } else if token.is_ascii_digit() || token == b'-' {
            scanner.number(token)?;
        } else {
            match token {
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
                b't' => scanner.literal(b"rue")?,
                b'f' => scanner.literal(b"alse")?,
                b'n' => scanner.literal(b"ull")?,
                _ => return None,
            }
        }
        // A value is behind: close what it ends, until another one begins.
        if nesting.depth == 0 {
            break 'value scanner.at;
        }
        let mut closing = scanner.token()?;
        while closing != b',' {
            if closing != if nesting.in_object() { b'}' } else { b']' } {
                return None;
            }
            nesting.leave();
            if nesting.depth == 0 {
                break 'value scanner.at;
            }
            closing = scanner.token()?;
        }
        token = scanner.token()?;
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
    Some(Shape { value: start..end, kind, breaks, ascii: scanner.maps.ascii })
}

/// Whether `bytes` are UTF-8. Nearly always they are ASCII, and to see that takes a small part of the time.
pub fn is_utf8(bytes: &[u8]) -> bool {
    is_ascii(bytes) || core::str::from_utf8(bytes).is_ok()
}

/// What was written as text, seen as such.
#[allow(unsafe_code, reason = "the library's own check takes five times as long")]
pub fn text_of(bytes: Vec<u8>) -> Result<String, FromUtf8Error> {
    if is_ascii(&bytes) {
        // SAFETY: ASCII is UTF-8.
        return Ok(unsafe { String::from_utf8_unchecked(bytes) });
    }
    String::from_utf8(bytes)
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
    #[inline(always)]
    fn in_object(&self) -> bool {
        self.inner & 1 == 1
    }

    #[inline(always)]
    fn enter(&mut self, object: bool) {
        if self.depth != 0 && self.depth.is_multiple_of(64) {
            push(&mut self.outer, self.inner);
        }
        self.inner = self.inner << 1 | u64::from(object);
        self.depth += 1;
    }

    #[inline(always)]
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

#[cold]
fn push(outer: &mut Vec<u64>, inner: u64) {
    outer.push(inner);
}

/// Whether the inside of a member's name means one of the reserved names.
fn is_reserved(spelled: &[u8]) -> bool {
    // Almost no name begins like one.
    matches!(spelled, [b'_' | b'\\', ..]) && RESERVED.iter().any(|&name| spells(spelled, name))
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

/// What is carried from one stretch of [`WIDTH`] bytes to the next.
struct Maps {
    /// The number of the last one.
    number: usize,
    /// A backslash at its end escapes the byte behind it.
    escaping: bool,
    /// None of the bytes so far was above 127.
    ascii: bool,
}

impl Maps {
    /// Where strings end in a stretch: a bit for each quote that is not escaped, and for each byte that makes a string
    /// none: a control character, and what follows a backslash and makes no escape with it. Behind the end all are set.
    ///
    /// Apart, as it takes registers that are needed for what is between the strings.
    #[inline(never)]
    fn stops(&mut self, number: usize, bytes: &[u8]) -> u64 {
        let start = number * WIDTH;
        let map = Map::of(bytes.get(start..).unwrap_or_default());
        // Stretches are left out only where no string is, and outside of strings there is no backslash in JSON.
        let first = self.escaping && number == self.number.wrapping_add(1);
        self.number = number;
        self.ascii &= map.ascii;
        let (escaped, over) = map.escaped(first);
        self.escaping = over;
        let (mut left, mut none) = (escaped, 0);
        while left != 0 {
            let place = left.trailing_zeros();
            none |= u64::from(!is_escape(bytes, start + place as usize)) << place;
            left &= left - 1;
        }
        map.quotes & !escaped | map.controls | none
    }
}

/// Its methods are inlined without exception, or `at` goes through memory with every byte: half the speed.
struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    breaks: bool,
    /// Which stretch of bytes `stops` is of.
    number: usize,
    stops: u64,
    maps: Maps,
}

impl<'a> Scanner<'a> {
    #[inline(always)]
    fn new(bytes: &'a [u8]) -> Scanner<'a> {
        let none = usize::MAX;
        let maps = Maps { number: none, escaping: false, ascii: true };
        Scanner { bytes, at: 0, breaks: false, number: none, stops: 0, maps }
    }

    /// Steps over whitespace and the byte behind it.
    #[inline(always)]
    fn token(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        if byte > b' ' {
            return Some(byte);
        }
        let found = behind_whitespace(self.bytes, self.at, byte)?;
        self.at = found.at + 1;
        self.breaks |= found.breaks;
        Some(found.byte)
    }

    /// Steps over a member's name, whose first byte is `token`, and its colon. Gives the name as it is spelled.
    #[inline(always)]
    fn key(&mut self, token: u8) -> Option<&'a [u8]> {
        if token != b'"' {
            return None;
        }
        let start = self.at;
        self.string()?;
        let spelled = self.bytes.get(start..self.at - 1)?;
        if self.token()? == b':' { Some(spelled) } else { None }
    }

    /// Steps over a string that was opened.
    #[inline(always)]
    fn string(&mut self) -> Option<()> {
        let mut ahead = self.stops_ahead();
        while ahead == 0 {
            self.at = (self.number + 1) * WIDTH;
            ahead = self.stops_ahead();
        }
        let stop = self.at + ahead.trailing_zeros() as usize;
        self.at = stop + 1;
        if self.bytes.get(stop) == Some(&b'"') { Some(()) } else { None }
    }

    /// The stops from here on in this stretch of bytes.
    #[inline(always)]
    fn stops_ahead(&mut self) -> u64 {
        let number = self.at / WIDTH;
        if number != self.number {
            self.stops = self.maps.stops(number, self.bytes);
            self.number = number;
        }
        self.stops >> (self.at % WIDTH)
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
        // Numbers are of all lengths, so that the end of a loop over their digits would be guessed wrong.
        match self.bytes.get(self.at..).and_then(<[u8]>::first_chunk::<8>) {
            Some(eight) => match leading_digits(u64::from_le_bytes(*eight)) {
                8 => self.at = behind_digits(self.bytes, self.at + 8),
                digits => self.at += digits,
            },
            None => self.at = behind_digits(self.bytes, self.at),
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

/// What is behind whitespace.
struct Behind {
    byte: u8,
    at: usize,
    breaks: bool,
}

/// Steps over whitespace, whose first byte is `byte` before `at`. Apart, as most payloads have none.
#[inline(never)]
fn behind_whitespace(bytes: &[u8], mut at: usize, mut byte: u8) -> Option<Behind> {
    let mut breaks = false;
    while let b' ' | b'\t' | b'\n' | b'\r' = byte {
        breaks |= matches!(byte, b'\n' | b'\r');
        byte = *bytes.get(at)?;
        at += 1;
    }
    Some(Behind { byte, at: at - 1, breaks })
}

/// Where digits end that go on at `at`.
#[inline(never)]
fn behind_digits(bytes: &[u8], at: usize) -> usize {
    at + bytes.get(at..).unwrap_or_default().iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// How many of eight bytes, from the lowest on, are digits.
///
/// What is no digit, less "0", has a bit in its upper half or is above 9, which six more carries there. It may carry
/// beyond its byte too, so that only the first such byte is sure.
#[inline]
fn leading_digits(bytes: u64) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let less = bytes ^ (ONES * u64::from(b'0'));
    let others = (less | less.wrapping_add(ONES * 6)) & (ONES * 0xf0);
    others.trailing_zeros() as usize / 8
}

/// Whether what stands at `at`, behind a backslash, makes an escape with it.
#[inline(always)]
fn is_escape(bytes: &[u8], at: usize) -> bool {
    match bytes.get(at).and_then(|byte| ESCAPES.get(usize::from(*byte))) {
        Some(Escape::Short) => true,
        Some(Escape::Digits) => {
            let digits = bytes.get(at + 1..).and_then(<[u8]>::first_chunk::<4>);
            digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
        }
        Some(Escape::None) | None => false,
    }
}

/// What a byte makes with a backslash before it.
#[derive(Clone, Copy)]
enum Escape {
    None,
    Short,
    /// With four digits behind it.
    Digits,
}

static ESCAPES: [Escape; 128] = {
    let mut escapes = [Escape::None; 128];
    let short = *b"\"\\/bfnrt";
    let mut at = 0;
    while at < short.len() {
        escapes[short[at] as usize] = Escape::Short;
        at += 1;
    }
    escapes[b'u' as usize] = Escape::Digits;
    escapes
};

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
    fn digits_are_counted_up_to_what_is_none() {
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
