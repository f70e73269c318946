//! The inside of JSON strings: how far it goes as it is, and how text becomes it.
//!
//! Three kinds of bytes cannot stand in a string as they are: the quote, the backslash and those below the space. What
//! is between them is passed over, or copied, sixteen bytes at a time.

use alloc::vec::Vec;

/// Appends `text` as a JSON string with its quotes.
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    loop {
        let (run, behind) = rest.split_at(plain(rest));
        out.extend_from_slice(run);
        let Some((&byte, behind)) = behind.split_first() else { break };
        let (escape, length) = escape(byte);
        out.extend_from_slice(escape.get(..length).unwrap_or_default());
        rest = behind;
    }
    out.push(b'"');
}

/// Makes what stands in `out` from `start` on, which is UTF-8, the inside of a JSON string.
///
/// At the first byte that needs an escape the rest is moved up, and is then copied down into the gap, which the escapes
/// narrow. When it is all but filled it is opened anew, in proportion to what is left.
pub fn escape_from(start: usize, out: &mut Vec<u8>) {
    // An escape and a chunk are written whole, whatever is used of them, so the gap has room for both.
    const GAP_LEAST: usize = 8 + 16;
    let mut at = start + plain(out.get(start..).unwrap_or_default());
    let mut next = at;
    while let Some(&byte) = out.get(at) {
        if at - next < GAP_LEAST {
            let end = out.len();
            let gap = (end - at) / 4 + 64;
            out.resize(end + gap, 0);
            out.copy_within(at..end, at + gap);
            at += gap;
        }
        let (escape, length) = escape(byte);
        put(escape, next, out);
        at += 1;
        next += length;
        loop {
            let rest = out.get(at..).unwrap_or_default();
            let (chunk, run) = match rest.first_chunk::<16>() {
                Some(chunk) => (*chunk, wide::plain(chunk)),
                None => {
                    let mut chunk = [0; 16];
                    for (place, byte) in chunk.iter_mut().zip(rest) {
                        *place = *byte;
                    }
                    (chunk, plain(rest))
                }
            };
            put(chunk, next, out);
            at += run;
            next += run;
            if run < 16 {
                break;
            }
        }
    }
    out.truncate(next);
}

#[inline]
fn put<const N: usize>(bytes: [u8; N], at: usize, out: &mut [u8]) {
    if let Some(place) = out.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
        *place = bytes;
    }
}

/// The escape of a byte that may not stand in a string, and its length. The shortest there is.
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

/// The length of the run at the head of `bytes` that may stand in a string as it is.
#[inline]
pub fn plain(bytes: &[u8]) -> usize {
    let mut at = 0;
    let mut rest = bytes;
    while let Some((chunk, behind)) = rest.split_first_chunk::<16>() {
        let run = wide::plain(chunk);
        at += run;
        if run < 16 {
            return at;
        }
        rest = behind;
    }
    at + rest.iter().take_while(|byte| !matches!(byte, 0..b' ' | b'"' | b'\\')).count()
}

/// Sixteen bytes at a time.
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod wide {
    use core::arch::wasm32::{i64x2, u8x16_bitmask, u8x16_eq, u8x16_lt, u8x16_splat, v128_or};

    /// The length of the run at the head of a chunk that may stand in a string as it is.
    #[inline]
    pub(super) fn plain(chunk: &[u8; 16]) -> usize {
        let bits = u128::from_le_bytes(*chunk);
        let bytes = i64x2(bits as i64, (bits >> 64) as i64);
        let quote = u8x16_eq(bytes, u8x16_splat(b'"'));
        let backslash = u8x16_eq(bytes, u8x16_splat(b'\\'));
        let control = u8x16_lt(bytes, u8x16_splat(b' '));
        let stops = u8x16_bitmask(v128_or(v128_or(quote, backslash), control));
        (u32::from(stops) | 1 << 16).trailing_zeros() as usize
    }
}

/// Sixteen bytes at a time, without vectors.
#[cfg(not(all(target_arch = "wasm32", target_feature = "simd128")))]
mod wide {
    const ONES: u64 = 0x0101_0101_0101_0101;

    /// The length of the run at the head of a chunk that may stand in a string as it is.
    #[inline]
    pub(super) fn plain(chunk: &[u8; 16]) -> usize {
        let bits = u128::from_le_bytes(*chunk);
        let low = stops(bits as u64);
        if low != 0 {
            return low.trailing_zeros() as usize / 8;
        }
        match stops((bits >> 64) as u64) {
            0 => 16,
            high => 8 + high.trailing_zeros() as usize / 8,
        }
    }

    /// The high bit of each byte of `word` that is a quote, a backslash or below the space.
    ///
    /// A borrow goes from a byte that is to be marked into the ones above it, so only the lowest mark is sure.
    #[inline]
    fn stops(word: u64) -> u64 {
        let below = |word: u64, bound: u8| word.wrapping_sub(ONES * u64::from(bound)) & !word;
        let quote = word ^ (ONES * u64::from(b'"'));
        let backslash = word ^ (ONES * u64::from(b'\\'));
        (below(word, b' ') | below(quote, 1) | below(backslash, 1)) & (ONES << 7)
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

    #[test]
    fn a_run_ends_at_the_first_byte_that_stops_it() {
        for length in 0..70 {
            for at in 0..length {
                for byte in 0..=255 {
                    let mut bytes = std::vec![b'x'; length];
                    bytes[at] = byte;
                    let stops = byte < b' ' || byte == b'"' || byte == b'\\';
                    assert_eq!(plain(&bytes), if stops { at } else { length }, "{byte} at {at} of {length}");
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn strings_are_written_as_serde_json_does(text in text(), before in text()) {
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

    /// Text with much to escape.
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
