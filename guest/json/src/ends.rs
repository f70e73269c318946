//! Finds where the strings of a payload end.
//!
//! Closing quotes are found ahead of the token walk, one window at a time, by nearly branch-free arithmetic on bitmaps.
//! The walk therefore never searches for the end of a string, and the processor never mispredicts one. Langdale and
//! Lemire, "Parsing Gigabytes of JSON per Second" (<https://arxiv.org/abs/1902.08318>), treat all tokens this way. The
//! same pass checks that strings contain nothing invalid: no control characters and no malformed escapes.

use crate::map::{Map, WIDTH};

/// Bytes scanned at a time.
const WINDOW: usize = 16 * WIDTH;

/// Positions are written this many at a time, even if fewer are needed.
const MANY: usize = 8;
const FEW: usize = 2;

/// Where strings end, in the part of the payload scanned so far.
pub(crate) struct Ends {
    /// The closing quotes in the last window; the first `count` are valid.
    positions: [u32; WINDOW / 2 + MANY],
    count: usize,
    /// Bytes that follow a backslash in that window.
    escaped: [u32; WINDOW / 2 + FEW],
    /// Number of bytes scanned.
    seen: usize,
    so_far: SoFar,
}

/// What is known about the bytes scanned so far.
#[derive(Clone, Copy)]
struct SoFar {
    /// They end inside a string.
    inside: bool,
    /// They end with a backslash that escapes the next byte.
    escaping: bool,
    /// None is above 127.
    ascii: bool,
    /// All strings are valid so far.
    sound: bool,
}

const NOTHING: SoFar = SoFar { inside: false, escaping: false, ascii: true, sound: true };

impl Default for Ends {
    fn default() -> Ends {
        let (positions, escaped) = ([0; WINDOW / 2 + MANY], [0; WINDOW / 2 + FEW]);
        Ends { positions, count: 0, escaped, seen: 0, so_far: NOTHING }
    }
}

impl Ends {
    /// Starts a new payload.
    #[inline]
    pub(crate) fn begin(&mut self) {
        (self.count, self.seen, self.so_far) = (0, 0, NOTHING);
    }

    /// Whether all bytes in strings are ASCII. Only meaningful after a complete walk.
    #[inline]
    pub(crate) fn ascii(&self) -> bool {
        self.so_far.ascii
    }

    /// Whether all strings are valid. Only meaningful after a complete walk.
    #[inline]
    pub(crate) fn sound(&self) -> bool {
        self.so_far.sound
    }

    /// Returns where the next string ends, given its index in the window, and the index of the string after it.
    #[inline(always)]
    pub(crate) fn next(&mut self, next: usize, bytes: &[u8]) -> Option<(usize, usize)> {
        if next < self.count
            && let Some(end) = self.positions.get(next)
        {
            return Some((*end as usize, next + 1));
        }
        self.next_in_later_window(next, bytes)
    }

    /// Like `next`, for a string that ends after the current window.
    #[cold]
    #[inline(never)]
    fn next_in_later_window(&mut self, mut next: usize, bytes: &[u8]) -> Option<(usize, usize)> {
        while next >= self.count {
            if !self.scan_window(bytes) {
                return None;
            }
            next = 0;
        }
        self.positions.get(next).map(|end| (*end as usize, next + 1))
    }

    /// Scans the next window. Returns `false` at the end of the payload.
    fn scan_window(&mut self, bytes: &[u8]) -> bool {
        let rest = bytes.get(self.seen..).unwrap_or_default();
        let (window, _) = rest.split_at(rest.len().min(WINDOW));
        let (chunks, last) = window.as_chunks();
        // Local copies stay in registers.
        let (mut count, mut escapes, mut so_far) = (0, 0, self.so_far);
        let mut at = self.seen as u32;
        let last = (!last.is_empty()).then(|| Map::of_last(bytes, last.len()));
        for map in chunks.iter().map(Map::whole).chain(last) {
            let (ends, escaped) = so_far.advance(&map);
            count = push_positions::<MANY>(ends, at, &mut self.positions, count);
            escapes = push_positions::<FEW>(escaped, at, &mut self.escaped, escapes);
            at += WIDTH as u32;
        }
        for &position in self.escaped.get(..escapes).unwrap_or_default() {
            so_far.sound &= is_escape(bytes, position as usize);
        }
        (self.count, self.so_far) = (count, so_far);
        self.seen += window.len();
        !window.is_empty()
    }
}

impl SoFar {
    /// Advances by one bitmap. Returns the closing quotes and the escaped bytes.
    #[inline(always)]
    fn advance(&mut self, map: &Map) -> (u64, u64) {
        let (escaped, over) = map.escaped(self.escaping);
        let quotes = map.quotes & !escaped;
        let within = within(quotes, self.inside);
        if !map.calm {
            self.ascii &= map.ascii;
            self.sound &= map.controls & within == 0;
        }
        self.inside = within >> 63 == 1;
        self.escaping = over;
        (quotes & !within, escaped)
    }
}

/// Appends the positions of the set bits to the first `count` entries. `N` entries are written unconditionally.
#[inline(always)]
fn push_positions<const N: usize>(mut bits: u64, at: u32, positions: &mut [u32], count: usize) -> usize {
    let found = bits.count_ones() as usize;
    if let Some(few) = positions.get_mut(count..).and_then(<[u32]>::first_chunk_mut::<N>) {
        for position in few {
            *position = at + bits.trailing_zeros();
            bits &= bits.wrapping_sub(1);
        }
    }
    if bits != 0 {
        push_more(bits, at, positions.get_mut(count + N..).unwrap_or_default());
    }
    count + found
}

#[cold]
#[inline(never)]
fn push_more(mut bits: u64, at: u32, positions: &mut [u32]) {
    for position in positions {
        if bits == 0 {
            break;
        }
        *position = at + bits.trailing_zeros();
        bits &= bits.wrapping_sub(1);
    }
}

/// Marks the bytes inside strings, from each opening quote up to, but not including, the closing one. `inside`: a
/// string is already open.
#[inline]
fn within(quotes: u64, inside: bool) -> u64 {
    let mut bits = quotes;
    for shift in [1, 2, 4, 8, 16, 32] {
        bits ^= bits << shift;
    }
    if inside { !bits } else { bits }
}

/// Returns whether the byte at `at`, which follows a backslash, starts a valid escape.
#[inline]
fn is_escape(bytes: &[u8], at: usize) -> bool {
    let byte = bytes.get(at).copied().unwrap_or_default();
    if byte == b'u' {
        let digits = bytes.get(at + 1..).and_then(<[u8]>::first_chunk::<4>);
        return digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
    }
    // One word each: `"/` as offsets from the quote, `\bfnrt` as offsets from the backslash.
    const FIRST: u64 = 1 | 1 << (b'/' - b'"');
    const OTHERS: u64 = 1 | 1 << 6 | 1 << 10 | 1 << 18 | 1 << 22 | 1 << 24;
    let bit = |from: u8, set: u64| byte >= from && byte - from < 64 && set >> (byte - from) & 1 == 1;
    bit(b'"', FIRST) || bit(b'\\', OTHERS)
}
