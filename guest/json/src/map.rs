//! Bitmaps that classify [`WIDTH`] bytes, one bit per byte.

/// Number of bytes in a map.
pub(crate) const WIDTH: usize = 64;

/// Classifies up to [`WIDTH`] bytes. Missing bytes count as spaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Map {
    pub(crate) quotes: u64,
    pub(crate) backslashes: u64,
    /// Bytes below the space.
    pub(crate) controls: u64,
    /// No byte is above 127.
    pub(crate) ascii: bool,
    /// No byte is above 127 or below the space. Cheaper to compute than `ascii` and `controls`.
    pub(crate) calm: bool,
}

impl Map {
    /// Classifies the start of `bytes`.
    #[inline]
    pub(crate) fn of(bytes: &[u8]) -> Map {
        match bytes.first_chunk() {
            Some(chunk) => wide::map(chunk),
            None => Map::of_end(bytes),
        }
    }

    /// Classifies exactly [`WIDTH`] bytes.
    #[inline(always)]
    pub(crate) fn whole(chunk: &[u8; WIDTH]) -> Map {
        wide::map(chunk)
    }

    /// Classifies the last `length` bytes, fewer than [`WIDTH`]. Loads the bytes before them too, which avoids a copy.
    #[inline]
    pub(crate) fn of_last(bytes: &[u8], length: usize) -> Map {
        let Some(chunk) = bytes.last_chunk() else { return Map::of_end(bytes) };
        let map = wide::map(chunk);
        let cut = |bits: u64| bits >> (WIDTH - length);
        Map { quotes: cut(map.quotes), backslashes: cut(map.backslashes), controls: cut(map.controls), ..map }
    }

    #[inline(never)]
    fn of_end(bytes: &[u8]) -> Map {
        let mut chunk = [b' '; WIDTH];
        // Copy in fixed-size pieces: a copy of variable length compiles to a call or a loop.
        let (sixteens, rest) = bytes.as_chunks::<16>();
        for (place, piece) in chunk.as_chunks_mut::<16>().0.iter_mut().zip(sixteens) {
            *place = *piece;
        }
        if let Some(place) = chunk.get_mut(sixteens.len() * 16..) {
            let (fours, last) = rest.as_chunks::<4>();
            for (place, piece) in place.as_chunks_mut::<4>().0.iter_mut().zip(fours) {
                *place = *piece;
            }
            for (place, byte) in place.iter_mut().skip(fours.len() * 4).zip(last) {
                *place = *byte;
            }
        }
        wide::map(&chunk)
    }

    /// Bytes that must be escaped in a string.
    #[inline]
    pub(crate) fn stops(self) -> u64 {
        self.quotes | self.backslashes | self.controls
    }

    /// Length of the prefix that needs no escaping.
    #[inline]
    fn plain(self) -> usize {
        self.stops().trailing_zeros() as usize
    }

    /// Returns the bytes that are escaped by a backslash, and whether the last backslash escapes the byte after the
    /// map. `first`: the first byte is escaped by a backslash before the map.
    ///
    /// In a run of backslashes every second one is escaped, and so is the byte after the run if the run's length is
    /// odd. Adding a bit at the start of a run carries it to the end of the run; whether it starts and ends at even or
    /// odd positions gives the parity of the length (Langdale and Lemire, "Parsing Gigabytes of JSON per Second",
    /// <https://arxiv.org/abs/1902.08318>).
    #[inline]
    pub(crate) fn escaped(self, first: bool) -> (u64, bool) {
        const EVEN: u64 = 0x5555_5555_5555_5555;
        let first = u64::from(first);
        let backslashes = self.backslashes & !first;
        let after_backslash = backslashes << 1 | first;
        let starts_at_odd = backslashes & !EVEN & !after_backslash;
        let (carried, over) = starts_at_odd.overflowing_add(backslashes);
        ((EVEN ^ carried << 1) & after_backslash, over)
    }
}

/// Length of the prefix of `bytes` that can stand in a string unescaped.
#[inline]
pub fn plain(bytes: &[u8]) -> usize {
    let (chunks, rest) = bytes.as_chunks();
    wide::plain(chunks).unwrap_or_else(|| chunks.len() * WIDTH + Map::of_end(rest).plain().min(rest.len()))
}

/// Returns whether no byte is above 127.
#[inline]
pub(crate) fn is_ascii(bytes: &[u8]) -> bool {
    let (chunks, rest) = bytes.as_chunks();
    wide::is_ascii(chunks) && Map::of_end(rest).ascii
}

/// Four 16-byte vectors per map.
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod wide {
    use core::arch::wasm32::{
        i8x16_lt, i8x16_splat, i64x2, u8x16_bitmask, u8x16_eq, u8x16_min, u8x16_splat, v128, v128_any_true, v128_or,
        v128_xor,
    };

    use super::{Map, WIDTH};

    #[inline]
    pub(super) fn map(chunk: &[u8; WIDTH]) -> Map {
        let vectors = vectors(chunk);
        Map {
            quotes: bits(vectors.map(|bytes| u8x16_eq(bytes, u8x16_splat(b'"')))),
            backslashes: bits(vectors.map(|bytes| u8x16_eq(bytes, u8x16_splat(b'\\')))),
            // x86-64 has no unsigned comparison of vectors, but it has an unsigned minimum.
            controls: bits(vectors.map(|bytes| u8x16_eq(u8x16_min(bytes, u8x16_splat(0x1f)), bytes))),
            ascii: u8x16_bitmask(or(vectors)) == 0,
            // As signed numbers, bytes above 127 are negative.
            calm: u8x16_bitmask(or(vectors.map(|bytes| i8x16_lt(bytes, i8x16_splat(b' ' as i8))))) == 0,
        }
    }

    /// Returns the number of bytes before the first that must be escaped, or `None` if there is no such byte.
    #[inline]
    pub(super) fn plain(chunks: &[[u8; WIDTH]]) -> Option<usize> {
        for (number, chunk) in chunks.iter().enumerate() {
            let stops = vectors(chunk).map(|bytes| {
                // Flipping this bit maps the quote to where the space was and keeps controls below it, so one
                // comparison finds both. An unsigned minimum and an equality take two instructions on x86-64; an
                // unsigned comparison takes four.
                let turned = v128_xor(bytes, u8x16_splat(b'"' ^ b' '));
                let low = u8x16_eq(u8x16_min(turned, u8x16_splat(b' ')), turned);
                v128_or(low, u8x16_eq(bytes, u8x16_splat(b'\\')))
            });
            if v128_any_true(or(stops)) {
                return Some(number * WIDTH + bits(stops).trailing_zeros() as usize);
            }
        }
        None
    }

    #[inline]
    pub(super) fn is_ascii(chunks: &[[u8; WIDTH]]) -> bool {
        let all = chunks.iter().fold(i64x2(0, 0), |all, chunk| v128_or(all, or(vectors(chunk))));
        u8x16_bitmask(all) == 0
    }

    #[inline]
    fn or([a, b, c, d]: [v128; 4]) -> v128 {
        v128_or(v128_or(a, b), v128_or(c, d))
    }

    #[inline]
    fn bits(vectors: [v128; 4]) -> u64 {
        let [a, b, c, d] = vectors.map(|vector| u64::from(u8x16_bitmask(vector)));
        a | b << 16 | c << 32 | d << 48
    }

    #[inline]
    fn vectors(chunk: &[u8; WIDTH]) -> [v128; 4] {
        let [a, b, c, d] = super::quarters(chunk);
        [a, b, c, d].map(|bits| i64x2(bits as i64, (bits >> 64) as i64))
    }
}

/// Four 16-byte vectors per map.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code, reason = "every x86-64 processor has SSE2, but its functions must still be called in unsafe code")]
mod wide {
    use core::arch::x86_64::{
        __m128i, _mm_cmpeq_epi8, _mm_cmplt_epi8, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set_epi64x,
        _mm_set1_epi8,
    };

    use super::{Map, WIDTH};

    #[inline]
    pub(super) fn map(chunk: &[u8; WIDTH]) -> Map {
        // SAFETY: SSE2 is part of x86-64.
        unsafe {
            let vectors = vectors(chunk);
            let [a, b, c, d] = vectors;
            Map {
                quotes: bits([quotes(a), quotes(b), quotes(c), quotes(d)]),
                backslashes: bits([backslashes(a), backslashes(b), backslashes(c), backslashes(d)]),
                controls: bits([controls(a), controls(b), controls(c), controls(d)]),
                ascii: _mm_movemask_epi8(or(vectors)) == 0,
                calm: _mm_movemask_epi8(or([lower(a), lower(b), lower(c), lower(d)])) == 0,
            }
        }
    }

    /// Returns the number of bytes before the first that must be escaped, or `None` if there is no such byte.
    #[inline]
    pub(super) fn plain(chunks: &[[u8; WIDTH]]) -> Option<usize> {
        for (number, chunk) in chunks.iter().enumerate() {
            // SAFETY: SSE2 is part of x86-64.
            let stops = unsafe { stops(chunk) };
            if stops != 0 {
                return Some(number * WIDTH + stops.trailing_zeros() as usize);
            }
        }
        None
    }

    #[inline]
    pub(super) fn is_ascii(chunks: &[[u8; WIDTH]]) -> bool {
        // SAFETY: SSE2 is part of x86-64.
        unsafe {
            let all = chunks.iter().fold(_mm_set1_epi8(0), |all, chunk| _mm_or_si128(all, or(vectors(chunk))));
            _mm_movemask_epi8(all) == 0
        }
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn stops(chunk: &[u8; WIDTH]) -> u64 {
        let [a, b, c, d] = vectors(chunk);
        let stops = |bytes| _mm_or_si128(_mm_or_si128(quotes(bytes), backslashes(bytes)), controls(bytes));
        let stops = [stops(a), stops(b), stops(c), stops(d)];
        if _mm_movemask_epi8(or(stops)) == 0 { 0 } else { bits(stops) }
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn quotes(bytes: __m128i) -> __m128i {
        _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'"' as i8))
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn backslashes(bytes: __m128i) -> __m128i {
        _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'\\' as i8))
    }

    /// Bytes below the space or above 127, which are negative as signed numbers.
    #[inline]
    #[target_feature(enable = "sse2")]
    fn lower(bytes: __m128i) -> __m128i {
        _mm_cmplt_epi8(bytes, _mm_set1_epi8(b' ' as i8))
    }

    /// SSE2 has no unsigned comparison, but it has an unsigned minimum.
    #[inline]
    #[target_feature(enable = "sse2")]
    fn controls(bytes: __m128i) -> __m128i {
        _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1f)), bytes)
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn or([a, b, c, d]: [__m128i; 4]) -> __m128i {
        _mm_or_si128(_mm_or_si128(a, b), _mm_or_si128(c, d))
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn bits([a, b, c, d]: [__m128i; 4]) -> u64 {
        let bits = |vector| u64::from(_mm_movemask_epi8(vector) as u16);
        bits(a) | bits(b) << 16 | bits(c) << 32 | bits(d) << 48
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn vectors(chunk: &[u8; WIDTH]) -> [__m128i; 4] {
        let [a, b, c, d] = super::quarters(chunk);
        let vector = |bits: u128| _mm_set_epi64x((bits >> 64) as i64, bits as i64);
        [vector(a), vector(b), vector(c), vector(d)]
    }
}

/// One byte at a time.
#[cfg(not(any(all(target_arch = "wasm32", target_feature = "simd128"), target_arch = "x86_64")))]
mod wide {
    pub(super) use super::narrow::{is_ascii, map, plain};
}

/// One byte at a time: the fallback for other processors, and the reference for tests.
#[cfg(any(test, not(any(all(target_arch = "wasm32", target_feature = "simd128"), target_arch = "x86_64"))))]
mod narrow {
    use super::{Map, WIDTH};

    pub(super) fn map(chunk: &[u8; WIDTH]) -> Map {
        let bits =
            |of: fn(u8) -> bool| chunk.iter().enumerate().fold(0, |bits, (at, byte)| bits | u64::from(of(*byte)) << at);
        Map {
            quotes: bits(|byte| byte == b'"'),
            backslashes: bits(|byte| byte == b'\\'),
            controls: bits(|byte| byte < b' '),
            ascii: chunk.is_ascii(),
            calm: chunk.iter().all(|byte| (b' '..=0x7f).contains(byte)),
        }
    }

    pub(super) fn plain(chunks: &[[u8; WIDTH]]) -> Option<usize> {
        chunks.as_flattened().iter().position(|byte| matches!(byte, 0..b' ' | b'"' | b'\\'))
    }

    pub(super) fn is_ascii(chunks: &[[u8; WIDTH]]) -> bool {
        chunks.as_flattened().is_ascii()
    }
}

/// Splits a chunk into four 16-byte integers.
#[cfg(any(all(target_arch = "wasm32", target_feature = "simd128"), target_arch = "x86_64"))]
#[inline]
fn quarters(chunk: &[u8; WIDTH]) -> [u128; 4] {
    let mut quarters = [0; 4];
    for (quarter, bytes) in quarters.iter_mut().zip(chunk.as_chunks().0) {
        *quarter = u128::from_le_bytes(*bytes);
    }
    quarters
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::collection;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    #[test]
    fn every_byte_is_classified_at_every_position() {
        for at in 0..WIDTH {
            for byte in 0..=255 {
                let mut chunk = [b'x'; WIDTH];
                chunk[at] = byte;
                assert_eq!(Map::of(&chunk), narrow::map(&chunk), "{byte} at {at}");
                assert_eq!(wide::plain(&[chunk]), narrow::plain(&[chunk]), "{byte} at {at}");
                assert_eq!(wide::is_ascii(&[chunk]), narrow::is_ascii(&[chunk]), "{byte} at {at}");
                let end = Map::of(&chunk[..=at]);
                assert_eq!(end.controls, narrow::map(&chunk).controls & !(!0 << at << 1), "{byte} at the end of {at}");
                assert_eq!(end.ascii, byte < 0x80, "{byte} at the end of {at}");
            }
        }
    }

    #[test]
    fn a_plain_run_ends_at_the_first_byte_to_escape() {
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

    #[test]
    fn a_non_ascii_byte_is_found_at_any_position() {
        let mut text = [b'x'; 3 * WIDTH];
        for length in 0..text.len() {
            assert!(is_ascii(&text[..length]));
            text[length] = 0x80;
            assert!(is_ascii(&text[..length]) && !is_ascii(&text[..=length]));
            text[length] = b'x';
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn escaped_bytes_match_a_byte_by_byte_scan(
            bytes in collection::vec(select(&b"\\\\\\\"x"[..]), 0..5 * WIDTH),
        ) {
            let mut escapes = false;
            let one_by_one: Vec<bool> = bytes.iter().map(|&byte| {
                let escaped = escapes;
                escapes = !escaped && byte == b'\\';
                escaped
            }).collect();
            let mut first = false;
            let mut found = Vec::new();
            for chunk in bytes.chunks(WIDTH) {
                let (escaped, over) = Map::of(chunk).escaped(first);
                found.extend((0..chunk.len()).map(|at| escaped >> at & 1 == 1));
                first = over;
            }
            prop_assert_eq!(found, one_by_one);
        }
    }
}
