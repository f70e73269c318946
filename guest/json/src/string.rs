//! The contents of JSON strings: skipping what needs no escaping, and escaping the rest.
//!
//! Only quotes, backslashes and bytes below the space must be escaped. Everything in between is skipped or copied many
//! bytes at a time.

use alloc::vec::Vec;

use crate::map::{Map, WIDTH, plain};

/// Appends `text` as a JSON string, with quotes.
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    loop {
        let (run, after) = rest.split_at(plain(rest));
        out.extend_from_slice(run);
        let Some((&byte, after)) = after.split_first() else { break };
        let (escape, length) = escape(byte);
        out.extend_from_slice(escape.get(..length).unwrap_or_default());
        rest = after;
    }
    out.push(b'"');
}

/// Escapes `out[start..]`, which must be UTF-8, as the contents of a JSON string.
///
/// At the first byte to escape, the rest is moved up and then copied down piece by piece into the gap, which shrinks
/// with each escape. A gap that is nearly used up is widened in proportion to what is left.
pub fn escape_from(start: usize, out: &mut Vec<u8>) {
    let mut at = start + plain(out.get(start..).unwrap_or_default());
    let mut next = at;
    let mut end = out.len();
    while at < end {
        if at - next < GAP_LEAST {
            let gap = (end - at) / 4 + 2 * GAP_LEAST;
            // Pieces are copied whole, so a copy may read past the end.
            out.resize(end + gap + PIECE, 0);
            out.copy_within(at..end, at + gap);
            (at, end) = (at + gap, end + gap);
        }
        let here = out.get(at..end).unwrap_or_default();
        let length = here.len().min(WIDTH);
        let mut stops = Map::of(here).stops();
        let mut copied = 0;
        loop {
            let run = stops.trailing_zeros() as usize;
            let stop = run.min(length);
            for from in (copied..stop).step_by(PIECE) {
                let piece = out.get(at + from..).and_then(<[u8]>::first_chunk::<PIECE>).copied();
                put(piece.unwrap_or_default(), next + (from - copied), out);
            }
            next += stop - copied;
            if run >= length {
                break;
            }
            let (escape, length) = escape(out.get(at + stop).copied().unwrap_or_default());
            put(escape, next, out);
            next += length;
            copied = stop + 1;
            stops &= stops - 1;
        }
        at += length;
    }
    out.truncate(next);
}

/// Number of bytes copied at a time.
const PIECE: usize = 16;

/// The most that escaping the bytes of one map can add, plus a piece and an escape, which are always written whole.
const GAP_LEAST: usize = WIDTH * 5 + PIECE + 8;

#[inline]
fn put<const N: usize>(bytes: [u8; N], at: usize, out: &mut [u8]) {
    if let Some(place) = out.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
        *place = bytes;
    }
}

/// Returns the shortest escape of a byte that must be escaped, and its length.
#[inline]
fn escape(byte: u8) -> ([u8; 8], usize) {
    let short = |letter| ([b'\\', letter, 0, 0, 0, 0, 0, 0], 2);
    match byte {
        b'"' => short(b'"'),
        b'\\' => short(b'\\'),
        b'\n' => short(b'n'),
        b'\r' => short(b'r'),
        b'\t' => short(b't'),
        0x08 => short(b'b'),
        0x0c => short(b'f'),
        _ => {
            let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' - 10 + nibble };
            ([b'\\', b'u', b'0', b'0', digit(byte >> 4), digit(byte & 15), 0, 0], 6)
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::format;
    use std::string::String;

    use proptest::collection;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn strings_are_escaped_like_serde_json(text in text(), before in text()) {
            let wanted = serde_json::to_string(&text).expect("a string");
            let mut out = before.clone().into_bytes();
            write_string(&text, &mut out);
            prop_assert_eq!(out, format!("{before}{wanted}").into_bytes());
            let mut out = format!("{before}\"{text}").into_bytes();
            escape_from(before.len() + 1, &mut out);
            out.push(b'"');
            prop_assert_eq!(out, format!("{before}{wanted}").into_bytes());
        }
    }

    /// Text with many characters to escape.
    pub(crate) fn text() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            4 => select(&["\"", "\\", "\n", "\r", "\t", "\u{8}", "\u{c}", "\0", "\u{1f}", "\u{7f}", "\u{2028}", "é", "😀"][..])
                .prop_map(String::from),
            2 => "[ -~]{0,40}",
            1 => any::<String>(),
        ];
        collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }
}
