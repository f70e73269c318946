//! Reads JSON values and writes the members of a single object.
//!
//! The grammar is RFC 8259's, exactly: we accept what serde_json accepts, and the tests compare the two. The one
//! exception is an escaped lone surrogate, which encodes no character. We read it as U+FFFD so that no odd partition
//! key can block a shard.
//!
//! Most of a page is record data in strings without escapes. These are skipped many bytes at a time and borrowed.

use alloc::borrow::Cow;
use alloc::string::String;
use core::fmt::Write as _;

use kinesis_reader_json::plain as plain_prefix;

use super::decode::{DEPTH_MAX, Fault, Rest, SentData, Source, TIME_MAX};
use super::usual;
use crate::pages::page::Layout;

/// Reads one JSON value.
pub(super) struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// Returns the next byte that is not whitespace, without consuming it.
    #[inline]
    fn peek(&mut self) -> Option<u8> {
        match self.byte() {
            // Kinesis sends no whitespace.
            Some(b' ' | b'\n' | b'\r' | b'\t') => self.peek_past_whitespace(),
            byte => byte,
        }
    }

    #[cold]
    fn peek_past_whitespace(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.byte() {
            self.at += 1;
        }
        self.byte()
    }

    #[inline]
    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    #[inline]
    fn take(&mut self, expected: u8) -> bool {
        let found = self.peek() == Some(expected);
        self.at += usize::from(found);
        found
    }

    #[cold]
    fn fault(&self, what: &str) -> Fault {
        Fault::at_byte(what, self.at)
    }

    /// Consumes `null`, if it comes next.
    fn null(&mut self) -> Result<bool, Fault> {
        if self.peek() == Some(b'n') {
            self.word("null")?;
            return Ok(true);
        }
        Ok(false)
    }

    fn word(&mut self, word: &str) -> Result<(), Fault> {
        match self.text.as_bytes().get(self.at..) {
            Some(rest) if rest.starts_with(word.as_bytes()) => {
                self.at += word.len();
                Ok(())
            }
            _ => Err(self.fault("invalid JSON value")),
        }
    }

    /// Enters an object or array, or consumes `null`.
    fn open(&mut self, bracket: u8, what: &str) -> Result<Option<Rest>, Fault> {
        if self.take(bracket) {
            Ok(Some(Rest { first: true, left: None }))
        } else if self.null()? {
            Ok(None)
        } else {
            Err(self.fault(what))
        }
    }

    /// Advances to the next element or member. Returns `false` after consuming the closing bracket.
    #[inline]
    fn next(&mut self, rest: &mut Rest, bracket: u8) -> Result<bool, Fault> {
        let first = core::mem::replace(&mut rest.first, false);
        match self.peek() {
            Some(byte) if byte == bracket => {
                self.at += 1;
                Ok(false)
            }
            Some(b',') if !first => {
                self.at += 1;
                Ok(true)
            }
            Some(_) if first => Ok(true),
            _ => Err(self.fault("expected a comma or a closing bracket")),
        }
    }

    /// Reads a string. Never inlined: one copy serves every string of a page.
    #[inline(never)]
    fn string(&mut self) -> Result<Cow<'a, str>, Fault> {
        if !self.take(b'"') {
            return Err(self.fault("expected a string"));
        }
        let start = self.at;
        self.at = special(self.text.as_bytes(), start);
        match self.byte() {
            Some(b'"') => {
                let text = self.text.get(start..self.at).unwrap_or_default();
                self.at += 1;
                Ok(Cow::Borrowed(text))
            }
            Some(b'\\') => self.unescaped(start).map(Cow::Owned),
            Some(_) => Err(self.fault("control character in a string")),
            None => Err(self.fault("unterminated string")),
        }
    }

    /// Reads the rest of a string that started at `start`, from its first escape on.
    #[cold]
    fn unescaped(&mut self, mut start: usize) -> Result<String, Fault> {
        let mut text = String::new();
        loop {
            text.push_str(self.text.get(start..self.at).unwrap_or_default());
            match self.byte() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => {
                    self.at += 1;
                    text.push(self.escape()?);
                }
                Some(_) => return Err(self.fault("control character in a string")),
                None => return Err(self.fault("unterminated string")),
            }
            start = self.at;
            self.at = special(self.text.as_bytes(), start);
        }
    }

    fn escape(&mut self) -> Result<char, Fault> {
        let character = match self.byte() {
            Some(byte @ (b'"' | b'\\' | b'/')) => char::from(byte),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                return self.code_point();
            }
            _ => return Err(self.fault("unknown escape in a string")),
        };
        self.at += 1;
        Ok(character)
    }

    /// Reads the digits of `\uXXXX`, and a second escape if the two form a surrogate pair.
    fn code_point(&mut self) -> Result<char, Fault> {
        let unit = self.hex4()?;
        if let Some(character) = char::from_u32(unit) {
            return Ok(character);
        }
        let after = self.at;
        if self.text.as_bytes().get(after..after + 2) == Some(br"\u") {
            self.at += 2;
            if let low @ 0xDC00..=0xDFFF = self.hex4()?
                && unit < 0xDC00
            {
                let code = 0x1_0000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
                return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.at = after;
        }
        Ok(char::REPLACEMENT_CHARACTER)
    }

    fn hex4(&mut self) -> Result<u32, Fault> {
        let digits = self.text.as_bytes().get(self.at..self.at + 4).unwrap_or_default();
        let mut value = 0;
        for digit in digits {
            let digit = char::from(*digit).to_digit(16).ok_or_else(|| self.fault("unknown escape in a string"))?;
            value = value << 4 | digit;
        }
        if digits.is_empty() {
            return Err(self.fault("unterminated string"));
        }
        self.at += 4;
        Ok(value)
    }

    /// Reads a number and returns its text.
    fn number(&mut self) -> Result<&'a str, Fault> {
        self.peek();
        let start = self.at;
        self.at += usize::from(self.byte() == Some(b'-'));
        match self.byte() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits()?,
            _ => return Err(self.fault("expected a number")),
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.byte() {
            self.at += 1;
            self.at += usize::from(matches!(self.byte(), Some(b'+' | b'-')));
            self.digits()?;
        }
        Ok(self.text.get(start..self.at).unwrap_or_default())
    }

    /// Consumes one or more digits.
    fn digits(&mut self) -> Result<(), Fault> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.byte() {
            self.at += 1;
        }
        if self.at == start { Err(self.fault("expected a digit")) } else { Ok(()) }
    }

    /// Reads a number multiplied by ten to the power of `scale`, rounded.
    fn scaled(&mut self, scale: u32) -> Result<Option<u64>, Fault> {
        if self.null()? {
            return Ok(None);
        }
        let number = self.number()?;
        match scaled(number, scale) {
            Some(value) => Ok(Some(value)),
            None => Err(Fault::new("number out of range", number)),
        }
    }

    fn skip_value(&mut self, depth: u32) -> Result<(), Fault> {
        if depth > DEPTH_MAX {
            return Err(self.fault("nested too deeply"));
        }
        match self.peek() {
            Some(b'{') => {
                let mut rest = self.open(b'{', "expected an object")?;
                while let Some(rest) = &mut rest
                    && self.member(rest)?.is_some()
                {
                    self.skip_value(depth + 1)?;
                }
                Ok(())
            }
            Some(b'[') => {
                let mut rest = self.open(b'[', "expected an array")?;
                while let Some(rest) = &mut rest
                    && self.element(rest)?
                {
                    self.skip_value(depth + 1)?;
                }
                Ok(())
            }
            Some(b'"') => self.string().map(drop),
            Some(b'n') => self.word("null"),
            Some(b't') => self.word("true"),
            Some(b'f') => self.word("false"),
            _ => self.number().map(drop),
        }
    }
}

impl<'a> Source<'a> for Reader<'a> {
    fn object(&mut self) -> Result<Option<Rest>, Fault> {
        self.open(b'{', "expected an object")
    }

    #[inline]
    fn member(&mut self, rest: &mut Rest) -> Result<Option<Cow<'a, str>>, Fault> {
        if !self.next(rest, b'}')? {
            return Ok(None);
        }
        let key = self.string()?;
        if self.take(b':') { Ok(Some(key)) } else { Err(self.fault("expected a colon")) }
    }

    fn array(&mut self) -> Result<Option<Rest>, Fault> {
        self.open(b'[', "expected an array")
    }

    #[inline]
    fn element(&mut self, rest: &mut Rest) -> Result<bool, Fault> {
        self.next(rest, b']')
    }

    #[inline]
    fn text(&mut self) -> Result<Option<Cow<'a, str>>, Fault> {
        if self.null()? { Ok(None) } else { self.string().map(Some) }
    }

    fn data(&mut self) -> Result<Option<SentData<'a>>, Fault> {
        Ok(self.text()?.map(SentData::Base64))
    }

    /// Times are in seconds, with a fraction.
    fn time(&mut self) -> Result<Option<u64>, Fault> {
        match self.scaled(3)? {
            Some(time_ms) if time_ms > TIME_MAX => Err(self.fault("time out of range")),
            time_ms => Ok(time_ms),
        }
    }

    fn count(&mut self) -> Result<Option<u64>, Fault> {
        self.scaled(0)
    }

    fn usual_record(&mut self, layout: &mut Layout) -> bool {
        let end = usual::json(self.text, self.at, layout);
        self.at = end.unwrap_or(self.at);
        end.is_some()
    }

    fn skip(&mut self) -> Result<(), Fault> {
        self.skip_value(0)
    }

    fn end(&mut self) -> Result<(), Fault> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.fault("more than one JSON value")),
        }
    }
}

/// Finds the first byte from `start` on that ends or escapes the string or is a control character. Returns the length
/// of `text` if there is none.
#[inline(never)]
fn special(text: &[u8], start: usize) -> usize {
    start + plain_prefix(text.get(start..).unwrap_or_default())
}

/// Multiplies a JSON number by ten to the power of `scale` and rounds half away from zero. Negative numbers become 0;
/// `None` means the result does not fit into `u64`.
///
/// Computed on the decimal digits: as a binary fraction, 1763900000.1235 would be off by a millisecond.
fn scaled(number: &str, scale: u32) -> Option<u64> {
    let (mantissa, exponent) = match number.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, power(exponent)),
        None => (number, 0),
    };
    if mantissa.starts_with('-') {
        return Some(0);
    }
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    // The number of digits before the decimal point of the result.
    let point = exponent + i64::from(scale) + whole.len() as i64;

    let mut digits = whole.bytes().chain(fraction.bytes()).map(|digit| u64::from(digit - b'0'));
    let mut value: u64 = 0;
    let mut position = 0;
    while position < point {
        match digits.next() {
            Some(digit) => value = value.checked_mul(10)?.checked_add(digit)?,
            // Only zeros are left to append, and the value is zero already.
            None if value == 0 => return Some(0),
            None => value = value.checked_mul(10)?,
        }
        position += 1;
    }
    // If `point` is negative, the digit that decides is a zero that is not written out.
    let round_up = point >= 0 && digits.next().is_some_and(|digit| digit >= 5);
    value.checked_add(u64::from(round_up))
}

/// Parses an exponent. Bodies are too short to contain enough digits to offset an exponent at the bound.
fn power(exponent: &str) -> i64 {
    const BOUND: i64 = 1 << 40;
    let digits = exponent.trim_start_matches(['+', '-']);
    let value = digits.bytes().fold(0, |value: i64, digit| (value * 10 + i64::from(digit - b'0')).min(BOUND));
    if exponent.starts_with('-') { -value } else { value }
}

/// Writes a single JSON object.
#[derive(Default)]
pub(super) struct Writer {
    members: String,
}

impl Writer {
    pub(super) fn finish(mut self) -> String {
        if self.members.is_empty() {
            self.members.push('{');
        }
        self.members.push('}');
        self.members
    }

    fn key(&mut self, key: &str) {
        self.members.push(if self.members.is_empty() { '{' } else { ',' });
        self.string(key);
        self.members.push(':');
    }

    fn string(&mut self, text: &str) {
        self.members.push('"');
        for character in text.chars() {
            match character {
                '"' | '\\' => self.members.extend(['\\', character]),
                // Writing to a `String` cannot fail.
                ..' ' => drop(write!(self.members, "\\u{:04x}", u32::from(character))),
                _ => self.members.push(character),
            }
        }
        self.members.push('"');
    }
}

impl super::request::Write for Writer {
    fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        self.string(value);
    }

    fn count(&mut self, key: &str, value: u32) {
        self.key(key);
        let _ = write!(self.members, "{value}");
    }

    /// Times are in seconds, without an exponent, which some servers do not understand.
    fn time(&mut self, key: &str, value_ms: u64) {
        self.key(key);
        let _ = write!(self.members, "{}.{:03}", value_ms / 1000, value_ms % 1000);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn numbers_are_scaled_and_rounded_in_decimal() {
        for (number, value) in [
            ("0", Some(0)),
            ("-0.0", Some(0)),
            ("-5", Some(0)),
            ("1763900000", Some(1_763_900_000_000)),
            ("1763900000.1239998", Some(1_763_900_000_124)),
            ("1763900000.1235", Some(1_763_900_000_124)),
            ("1763900000.12349999999999999999999999", Some(1_763_900_000_123)),
            ("1763900000.9995", Some(1_763_900_001_000)),
            ("1795446517.12", Some(1_795_446_517_120)),
            ("1.7639E9", Some(1_763_900_000_000)),
            ("1.763900000123e+9", Some(1_763_900_000_123)),
            ("17639000001234e-4", Some(1_763_900_000_123)),
            ("0.0005", Some(1)),
            ("0.0004", Some(0)),
            ("0.00009", Some(0)),
            ("5e-4", Some(1)),
            ("9e-5", Some(0)),
            ("0e999999999999999999999", Some(0)),
            ("1e-999999999999999999999", Some(0)),
            ("1e999999999999999999999", None),
            ("18446744073709551.615", Some(u64::MAX)),
            ("18446744073709551.616", None),
            ("18446744073709551.6155", None),
        ] {
            assert_eq!(scaled(number, 3), value, "{number}");
        }
        assert_eq!(scaled("9.5", 0), Some(10));
        assert_eq!(scaled("9.4", 0), Some(9));
    }

    #[test]
    fn special_bytes_are_found_at_any_position() {
        for length in 0..300 {
            for byte in [b'"', b'\\', 0, 0x1f] {
                for before in [b' ', b'!', b'#', b'a', 0x7f, 0xa2, 0xff] {
                    let mut text = alloc::vec![before; length];
                    text.push(byte);
                    text.extend([b'"'; 9]);
                    assert_eq!(special(&text, 0), length, "{byte} after {length} times {before}");
                }
            }
            assert_eq!(special(&alloc::vec![b'a'; length], 0), length);
        }
    }

    #[test]
    fn strings_are_unescaped() {
        for (text, value) in [
            (r#""""#, ""),
            (r#""pk-ż""#, "pk-ż"),
            (r#""a\/b\"\\\b\f\n\r\t""#, "a/b\"\\\u{8}\u{c}\n\r\t"),
            (r#""\u0041\u00e9\uD83D\ude00""#, "Aé😀"),
            (r#""\ud800""#, "\u{fffd}"),
            (r#""\udc00\ud800\u0041\ud800x""#, "\u{fffd}\u{fffd}A\u{fffd}x"),
        ] {
            assert_eq!(Reader::new(text).text().unwrap().unwrap(), value, "{text}");
        }
        for text in ["\"", "\"a", "\"a\\", "\"\\u12", "\"\\u12\"", "\"\\x\"", "\"\n\"", "\"\\ud800\\u12\"", "a", "1"] {
            assert!(Reader::new(text).text().is_err(), "{text}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(Reader::new(&nested(DEPTH_MAX as usize)).skip().is_ok());
        assert!(Reader::new(&nested(1_000_000)).skip().is_err());
    }

    #[test]
    fn written_strings_are_escaped() {
        let mut writer = Writer::default();
        super::super::request::Write::text(&mut writer, "k", "a\"\\\n\u{1}ż");
        assert_eq!(writer.finish(), "{\"k\":\"a\\\"\\\\\\u000a\\u0001ż\"}");
        assert_eq!(Writer::default().finish(), "{}");
    }
}
