//! JSON as payloads hold it and as lines are written.
//!
//! A [`Scanner`] tells whether bytes are one JSON text, and the little that a line must know of it. It builds nothing
//! and keeps nothing, because a payload comes through to the letter: numbers of any size, escapes, duplicate members.
//!
//! What counts as JSON is the grammar of RFC 8259 and nothing else. So `1e400` is a number, and `"\ud800"` is a string
//! though no text has that surrogate alone: both are the payload's own words, and a reader who cannot take them can
//! still see them. A byte order mark, `NaN`, a comment or a trailing comma is no JSON. Nesting has no bound but the
//! length of the payload, and takes a bit a level, no recursion.
//!
//! It is a crate of its own because the component is built for size, and this, which looks at every byte of every
//! payload, for speed.
//!
//! Most bytes of most payloads lie in strings, so where these end is found by maps: of each 64 bytes a word that has
//! a bit for each quote (`ends.rs`). UTF-8, which JSON text has to be, is left to [`is_utf8`]: only strings can hold
//! bytes above 127, and the maps tell in passing that nearly all payloads have none.

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

/// Looks payloads over. It is kept from one to the next for its memory only.
#[derive(Default)]
pub struct Scanner {
    ends: Ends,
}

impl Scanner {
    /// Looks `bytes` over; none if they are no JSON text, or larger than 4 GiB.
    pub fn scan(&mut self, bytes: &[u8]) -> Option<Shape> {
        u32::try_from(bytes.len()).ok()?;
        self.ends.begin();
        scan(bytes, &mut self.ends).filter(|_| self.ends.sound())
    }
}

// Within another function it has not the registers for itself alone.
#[inline(never)]
fn scan(bytes: &[u8], ends: &mut Ends) -> Option<Shape> {
    let mut walk = Walk { bytes, at: 0, string: 0, breaks: false };
    let mut nesting = Nesting::default();
    let (mut members, mut reserved) = (false, false);
    let mut token = walk.token()?;
    let start = walk.at - 1;
    let object = token == b'{';
    let end = 'value: loop {
        // `token` begins a member or a value.
        if nesting.in_object() {
            let key = walk.key(token, ends)?;
            // Only the outermost object lies beside the envelope: deeper names are free.
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
        // What is usual comes first, by branches that are guessed better than a table of many ways.
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
        // A value is behind: close what it ends, until another one begins.
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
    // Breaks behind the value are cut off with the whitespace there.
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

/// Whether `bytes` are UTF-8. Nearly always they are ASCII, and to see that takes a small part of the time.
pub fn is_utf8(bytes: &[u8]) -> bool {
    is_ascii(bytes) || core::str::from_utf8(bytes).is_ok()
}

/// What was written as text, seen as such.
#[allow(unsafe_code, reason = "in wasm the library's own check goes eight bytes at a time, even where all are ASCII")]
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

/// A walk over tokens. Its methods are inlined without exception, and nothing else sees it, or `at` goes through memory
/// with every byte: half the speed.
struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    /// The number of the next string, as [`Ends`] counts them.
    string: usize,
    breaks: bool,
}

impl<'a> Walk<'a> {
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

    /// Steps over two bytes if they are these, which no whitespace parts.
    #[inline(always)]
    fn pair(&mut self, pair: [u8; 2]) -> bool {
        let is_next = self.bytes.get(self.at..).and_then(<[u8]>::first_chunk) == Some(&pair);
        self.at += if is_next { 2 } else { 0 };
        is_next
    }

    /// Steps over a member's name, whose first byte is `token`. Gives the name as it is spelled.
    #[inline(always)]
    fn key(&mut self, token: u8, ends: &mut Ends) -> Option<&'a [u8]> {
        if token != b'"' {
            return None;
        }
        let start = self.at;
        self.string(ends)?;
        self.bytes.get(start..self.at - 1)
    }

    /// Steps over a string that was opened.
    #[inline(always)]
    fn string(&mut self, ends: &mut Ends) -> Option<()> {
        let (end, next) = ends.next(self.string, self.bytes)?;
        (self.at, self.string) = (end + 1, next);
        Some(())
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
#[inline]
fn leading_digits(bytes: u64) -> usize {
    no_digits(bytes).trailing_zeros() as usize / 8
}

/// A word with a bit in the upper half of each byte that is no digit, the first of them at least; zero if all eight are.
///
/// What is no digit, less "0", has a bit in its upper half or is above 9, which six more carries there. It may carry
/// beyond its byte too, so that only the first such byte is sure.
#[inline(always)]
pub fn no_digits(bytes: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let less = bytes ^ (ONES * u64::from(b'0'));
    (less | less.wrapping_add(ONES * 6)) & (ONES * 0xf0)
}
