//! Scanning and escaping JSON.
//!
//! A [`Scanner`] checks whether bytes are a single JSON text and collects the few facts needed to put it into an output
//! line. It builds no values, because payloads are passed through verbatim: numbers of any size, escapes, duplicate
//! members.
//!
//! The grammar is RFC 8259's, exactly. `1e400` is a valid number, and `"\ud800"` is a valid string despite its lone
//! surrogate: we pass on what the producer wrote, and consumers that cannot handle it can still see it. Byte order
//! marks, `NaN`, comments and trailing commas are rejected. Nesting is limited only by the length of the payload; it
//! costs one bit per level and no recursion.
//!
//! This is a separate crate because it looks at every byte of every payload and is compiled for speed, while the rest
//! of the component is compiled for size.
//!
//! Most bytes of most payloads are inside strings, so the ends of strings are found with bitmaps: one word per 64 bytes
//! with a bit for each quote (`ends.rs`). Checking that the text is UTF-8 is left to [`is_utf8`]: only strings can
//! contain bytes above 127, and the bitmaps reveal at no extra cost that nearly all payloads have none.

#![no_std]
#![deny(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod ends;
mod map;
mod string;
#[cfg(test)]
mod tests;
mod text;

use alloc::string::{FromUtf8Error, String};
use alloc::vec::Vec;
use core::ops::Range;

use self::ends::Ends;
use self::map::is_ascii;
pub use self::map::plain;
pub use self::string::{escape_from, write_string};
pub use self::text::text;

/// What we need to know about a JSON text to put it into a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Range of the value, without surrounding whitespace.
    pub value: Range<usize>,
    /// The kind of value.
    pub kind: Kind,
    /// Whether the value contains CR or LF, which can only occur between tokens.
    pub breaks: bool,
    /// Whether the whole text is ASCII. If not, the caller must check that it is UTF-8.
    pub ascii: bool,
}

/// The kind of a JSON value, as far as it matters for a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An object without members.
    Empty,
    /// An object whose members have no reserved names.
    Members,
    /// An object with at least one member that has a reserved name.
    Reserved,
    /// Anything but an object.
    Other,
}

/// Members that we add to a line ourselves. Payloads that use these names cannot be merged into it.
const RESERVED: [&[u8]; 2] = [b"_kinesis", b"_kinesis_msg_id"];

/// Scans payloads. Reuse it across payloads to avoid clearing its buffers.
#[derive(Default)]
pub struct Scanner {
    ends: Ends,
}

impl Scanner {
    /// Returns `None` if `bytes` is not a JSON text or is larger than 4 GiB.
    pub fn scan(&mut self, bytes: &[u8]) -> Option<Shape> {
        u32::try_from(bytes.len()).ok()?;
        self.ends.begin();
        scan(bytes, &mut self.ends).filter(|_| self.ends.sound())
    }
}

// Inlined into its caller, this loop would have to share registers.
#[inline(never)]
#[expect(clippy::too_many_lines, reason = "a hot loop over the states of the grammar")]
fn scan(bytes: &[u8], ends: &mut Ends) -> Option<Shape> {
    let mut walk = Walk { bytes, at: 0, string: 0, breaks: false };
    let mut nesting = Nesting::default();
    let (mut members, mut reserved) = (false, false);
    let mut token = walk.token()?;
    let start = walk.at - 1;
    let object = token == b'{';
    let end = 'value: loop {
        // `token` is the first byte of a member or a value.
        if nesting.in_object() {
            let key = walk.key(token, ends)?;
            // Only top-level names can clash with ours.
            if nesting.depth == 1 {
                members = true;
                reserved |= is_reserved(key);
            }
            token = if walk.pair(*b":\"") {
                b'"'
            } else {
                if walk.token()? != b':' {
                    return None;
                }
                walk.token()?
            };
        }
        // Test for the common cases first: these branches predict better than a jump table.
        if token == b'"' {
            walk.string(ends)?;
        } else if token.is_ascii_digit() || token == b'-' {
            walk.number(token)?;
        } else {
            match token {
                b'{' => {
                    token = walk.token()?;
                    if token != b'}' {
                        nesting.enter(true);
                        continue 'value;
                    }
                }
                b'[' => {
                    token = walk.token()?;
                    if token != b']' {
                        nesting.enter(false);
                        continue 'value;
                    }
                }
                b't' => walk.literal(b"rue")?,
                b'f' => walk.literal(b"alse")?,
                b'n' => walk.literal(b"ull")?,
                _ => return None,
            }
        }
        // The value is complete. Close the containers that end here until another value begins.
        if nesting.depth == 0 {
            break 'value walk.at;
        }
        if walk.pair(*b",\"") {
            token = b'"';
            continue 'value;
        }
        let mut closing = walk.token()?;
        while closing != b',' {
            if closing != if nesting.in_object() { b'}' } else { b']' } {
                return None;
            }
            nesting.leave();
            if nesting.depth == 0 {
                break 'value walk.at;
            }
            closing = walk.token()?;
        }
        token = walk.token()?;
    };
    // Line breaks after the value don't count: trailing whitespace is cut off.
    let breaks = walk.breaks;
    if walk.token().is_some() {
        return None;
    }
    let kind = match (object, members, reserved) {
        (false, _, _) => Kind::Other,
        (true, false, _) => Kind::Empty,
        (true, true, false) => Kind::Members,
        (true, true, true) => Kind::Reserved,
    };
    Some(Shape { value: start..end, kind, breaks, ascii: ends.ascii() })
}

/// Returns whether `bytes` is valid UTF-8. Checks for ASCII first, which is much faster and almost always enough.
pub fn is_utf8(bytes: &[u8]) -> bool {
    is_ascii(bytes) || core::str::from_utf8(bytes).is_ok()
}

/// Converts output that was written as text into a `String`.
#[allow(unsafe_code, reason = "in wasm the standard library checks eight bytes at a time, even if all are ASCII")]
pub fn text_of(bytes: Vec<u8>) -> Result<String, FromUtf8Error> {
    if is_ascii(&bytes) {
        // SAFETY: ASCII is UTF-8.
        return Ok(unsafe { String::from_utf8_unchecked(bytes) });
    }
    String::from_utf8(bytes)
}

/// Replaces each CR and LF in a JSON text with a space, which makes it a single line without changing its meaning.
pub fn unbreak(json: &mut [u8]) {
    for byte in json {
        *byte = if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte };
    }
}

/// Which of the containers around the current position are objects, one bit each; the lowest bit is the innermost.
#[derive(Default)]
struct Nesting {
    depth: usize,
    inner: u64,
    /// The outer levels, 64 per word. Empty (and not allocated) unless a payload is nested more than 64 levels deep.
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

/// Returns whether a member's name, given without its quotes, is reserved.
fn is_reserved(spelled: &[u8]) -> bool {
    // Almost no name starts with one of these bytes.
    matches!(spelled, [b'_' | b'\\', ..]) && RESERVED.iter().any(|&name| spells(spelled, name))
}

/// Returns whether a string, given without its quotes, spells `name`, possibly with `\u` escapes. `name` must be ASCII
/// that needs no escaping.
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
            // Short escapes stand for characters that no reserved name contains.
            [b'\\', ..] | [] => return false,
            [byte, rest @ ..] => (u32::from(*byte), rest),
        };
        if found != u32::from(wanted) {
            return false;
        }
    }
    spelled.is_empty()
}

/// Walks over tokens. All methods must be inlined and no other function may borrow the walk; otherwise `at` lives in
/// memory rather than in a register, which halves the speed.
struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Index of the next string in [`Ends`].
    string: usize,
    breaks: bool,
}

impl<'a> Walk<'a> {
    /// Skips whitespace and returns the byte after it.
    #[inline(always)]
    fn token(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        if byte > b' ' {
            return Some(byte);
        }
        let found = skip_whitespace(self.bytes, self.at, byte)?;
        self.at = found.at + 1;
        self.breaks |= found.breaks;
        Some(found.byte)
    }

    /// Skips these two bytes if they come next, with no whitespace in between.
    #[inline(always)]
    fn pair(&mut self, pair: [u8; 2]) -> bool {
        let is_next = self.bytes.get(self.at..).and_then(<[u8]>::first_chunk) == Some(&pair);
        self.at += if is_next { 2 } else { 0 };
        is_next
    }

    /// Skips a member's name whose first byte is `token`, and returns it as spelled.
    #[inline(always)]
    fn key(&mut self, token: u8, ends: &mut Ends) -> Option<&'a [u8]> {
        if token != b'"' {
            return None;
        }
        let start = self.at;
        self.string(ends)?;
        self.bytes.get(start..self.at - 1)
    }

    /// Skips a string whose opening quote was already consumed.
    #[inline(always)]
    fn string(&mut self, ends: &mut Ends) -> Option<()> {
        let (end, next) = ends.next(self.string, self.bytes)?;
        (self.at, self.string) = (end + 1, next);
        Some(())
    }

    /// Skips a number whose first byte was already consumed.
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
        // Numbers vary in length, so the exit of a loop over digits would be mispredicted.
        match self.bytes.get(self.at..).and_then(<[u8]>::first_chunk::<8>) {
            Some(eight) => match leading_digits(u64::from_le_bytes(*eight)) {
                8 => self.at = skip_digits(self.bytes, self.at + 8),
                digits => self.at += digits,
            },
            None => self.at = skip_digits(self.bytes, self.at),
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

/// The first byte after whitespace.
struct Token {
    byte: u8,
    at: usize,
    breaks: bool,
}

/// Skips whitespace whose first byte is `byte`, just before `at`. Kept out of line because most payloads have none.
#[inline(never)]
fn skip_whitespace(bytes: &[u8], mut at: usize, mut byte: u8) -> Option<Token> {
    let mut breaks = false;
    while let b' ' | b'\t' | b'\n' | b'\r' = byte {
        breaks |= matches!(byte, b'\n' | b'\r');
        byte = *bytes.get(at)?;
        at += 1;
    }
    Some(Token { byte, at: at - 1, breaks })
}

/// Returns where the digits that continue at `at` end.
#[inline(never)]
fn skip_digits(bytes: &[u8], at: usize) -> usize {
    at + bytes.get(at..).unwrap_or_default().iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// Counts the digits at the start of eight bytes, which begin with the lowest.
#[inline]
fn leading_digits(bytes: u64) -> usize {
    no_digits(bytes).trailing_zeros() as usize / 8
}

/// Marks non-digits: sets a bit in the upper half of at least the first byte that is not an ASCII digit. Zero if all
/// eight are digits.
///
/// After XOR with "0", a non-digit either has a bit set in its upper half or is above 9, in which case adding 6 carries
/// into the upper half. The carry can spill into the next byte, so only the first mark is reliable.
#[inline(always)]
pub fn no_digits(bytes: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let less = bytes ^ (ONES * u64::from(b'0'));
    (less | less.wrapping_add(ONES * 6)) & (ONES * 0xf0)
}
