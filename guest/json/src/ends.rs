//! Where the strings of a payload end.
//!
//! The quotes that close them are found ahead of the walk over the tokens, a window at a time, by arithmetic on maps
//! that has next to no branches. So the walk need not search for the end of a string, and a processor that guesses its
//! branches does not guess where strings end (Langdale and Lemire, "Parsing Gigabytes of JSON per Second",
//! <https://arxiv.org/abs/1902.08318>, do so with all tokens). On the way it is seen whether what must not stand in
//! a string does: control characters, and backslashes that make no escape with what is behind them.

use crate::map::{Map, WIDTH};

/// Bytes that are looked over at a time.
const WINDOW: usize = 16 * WIDTH;

/// Places are written so many at a time, whatever their number.
const PLACES: usize = 8;
const FEW_PLACES: usize = 2;

/// Where strings end, as far as the payload was looked over.
pub(crate) struct Ends {
    /// The quotes that close strings, in the window that was looked over last: `count` of them.
    places: [u32; WINDOW / 2 + PLACES],
    count: usize,
    /// What stands behind backslashes there.
    escaped: [u32; WINDOW / 2 + FEW_PLACES],
    /// How many bytes were looked over.
    seen: usize,
    so_far: SoFar,
}

/// What is known of the bytes that were looked over.
#[derive(Clone, Copy)]
struct SoFar {
    /// They end within a string.
    inside: bool,
    /// They end with a backslash that escapes the byte behind it.
    escaping: bool,
    /// None of them is above 127.
    ascii: bool,
    /// Nothing was seen in a string that must not stand in one.
    sound: bool,
}

const NOTHING: SoFar = SoFar { inside: false, escaping: false, ascii: true, sound: true };

impl Default for Ends {
    fn default() -> Ends {
        let (places, escaped) = ([0; WINDOW / 2 + PLACES], [0; WINDOW / 2 + FEW_PLACES]);
        Ends { places, count: 0, escaped, seen: 0, so_far: NOTHING }
    }
}

impl Ends {
    /// Forgets the payload before.
    #[inline]
    pub(crate) fn begin(&mut self) {
        (self.count, self.seen, self.so_far) = (0, 0, NOTHING);
    }

    /// Whether none of the bytes in strings is above 127, if a walk came through to the end.
    #[inline]
    pub(crate) fn ascii(&self) -> bool {
        self.so_far.ascii
    }

    /// Whether nothing stands in a string that must not, if a walk came through to the end.
    #[inline]
    pub(crate) fn sound(&self) -> bool {
        self.so_far.sound
    }

    /// Where the next string ends, whose number in the window is `next`, and the number of the one after it.
    #[inline(always)]
    pub(crate) fn next(&mut self, next: usize, bytes: &[u8]) -> Option<(usize, usize)> {
        if next < self.count
            && let Some(end) = self.places.get(next)
        {
            return Some((*end as usize, next + 1));
        }
        self.next_beyond(next, bytes)
    }

    /// The same, where it ends beyond the window.
    #[cold]
    #[inline(never)]
    fn next_beyond(&mut self, mut next: usize, bytes: &[u8]) -> Option<(usize, usize)> {
        while next >= self.count {
            if !self.look_on(bytes) {
                return None;
            }
            next = 0;
        }
        self.places.get(next).map(|end| (*end as usize, next + 1))
    }

    /// Looks over the next window. False: there is none.
    fn look_on(&mut self, bytes: &[u8]) -> bool {
        let rest = bytes.get(self.seen..).unwrap_or_default();
        let (window, _) = rest.split_at(rest.len().min(WINDOW));
        let (chunks, last) = window.as_chunks();
        // Apart from the arrays, so that they stay in registers.
        let (mut count, mut escapes, mut so_far) = (0, 0, self.so_far);
        let mut at = self.seen as u32;
        let last = (!last.is_empty()).then(|| Map::of_last(bytes, last.len()));
        for map in chunks.iter().map(Map::whole).chain(last) {
            let (ends, escaped) = so_far.look_at(&map);
            count = note::<PLACES>(ends, at, &mut self.places, count);
            escapes = note::<FEW_PLACES>(escaped, at, &mut self.escaped, escapes);
            at += WIDTH as u32;
        }
        for &place in self.escaped.get(..escapes).unwrap_or_default() {
            so_far.sound &= is_escape(bytes, place as usize);
        }
        (self.count, self.so_far) = (count, so_far);
        self.seen += window.len();
        !window.is_empty()
    }
}

impl SoFar {
    /// Goes on by the bytes of a map. Gives those of them that close strings, and those that are escaped.
    #[inline(always)]
    fn look_at(&mut self, map: &Map) -> (u64, u64) {
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

/// Notes the places of bits behind `count` others, `N` of them without a look at how many there are.
#[inline(always)]
fn note<const N: usize>(mut bits: u64, at: u32, places: &mut [u32], count: usize) -> usize {
    let found = bits.count_ones() as usize;
    if let Some(few) = places.get_mut(count..).and_then(<[u32]>::first_chunk_mut::<N>) {
        for place in few {
            *place = at + bits.trailing_zeros();
            bits &= bits.wrapping_sub(1);
        }
    }
    if bits != 0 {
        note_more(bits, at, places.get_mut(count + N..).unwrap_or_default());
    }
    count + found
}

#[cold]
#[inline(never)]
fn note_more(mut bits: u64, at: u32, places: &mut [u32]) {
    for place in places {
        if bits == 0 {
            break;
        }
        *place = at + bits.trailing_zeros();
        bits &= bits.wrapping_sub(1);
    }
}

/// The bytes of strings, from the quote that opens each to before the one that closes it. `inside`: one was open.
#[inline]
fn within(quotes: u64, inside: bool) -> u64 {
    let mut bits = quotes;
    for shift in [1, 2, 4, 8, 16, 32] {
        bits ^= bits << shift;
    }
    if inside { !bits } else { bits }
}

/// Whether what stands at `at`, behind a backslash, makes an escape with it.
#[inline]
fn is_escape(bytes: &[u8], at: usize) -> bool {
    let byte = bytes.get(at).copied().unwrap_or_default();
    if byte == b'u' {
        let digits = bytes.get(at + 1..).and_then(<[u8]>::first_chunk::<4>);
        return digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
    }
    // From the quote on, in one word each: `"/`, and from the backslash on `\bfnrt`.
    const FIRST: u64 = 1 | 1 << (b'/' - b'"');
    const OTHERS: u64 = 1 | 1 << 6 | 1 << 10 | 1 << 18 | 1 << 22 | 1 << 24;
    let bit = |from: u8, set: u64| byte >= from && byte - from < 64 && set >> (byte - from) & 1 == 1;
    bit(b'"', FIRST) || bit(b'\\', OTHERS)
}
