//! Bytes seen as text.

use core::str;

/// Short bytes as text, if they are UTF-8. Nearly always they are ASCII, and that is seen eight bytes at a time.
///
/// The library's check goes byte by byte to the first word's boundary, and behind the last: of a name or a number in the
/// middle of a page that is much of the way.
#[inline]
#[allow(unsafe_code, reason = "the library's check of short texts takes several times as long")]
pub fn text(bytes: &[u8]) -> Option<&str> {
    const ABOVE: u64 = 0x8080_8080_8080_8080;
    let ascii = match bytes.last_chunk() {
        // The last eight again: no rest is left to be looked at byte by byte.
        Some(last) => {
            let eights = bytes.as_chunks().0.iter();
            eights.fold(u64::from_le_bytes(*last), |all, eight| all | u64::from_le_bytes(*eight)) & ABOVE == 0
        }
        None => bytes.iter().all(u8::is_ascii),
    };
    if ascii {
        // SAFETY: ASCII is UTF-8.
        return Some(unsafe { str::from_utf8_unchecked(bytes) });
    }
    str::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use std::vec;

    use super::*;

    #[test]
    fn text_is_what_the_library_takes_for_text() {
        for length in 0..40 {
            for place in 0..length {
                for byte in 0..=255 {
                    let mut bytes = vec![b'x'; length];
                    bytes[place] = byte;
                    assert_eq!(text(&bytes), str::from_utf8(&bytes).ok(), "{byte} at {place} of {length}");
                    if let Some(pair) = bytes.get_mut(place..place + 2) {
                        pair.copy_from_slice("ż".as_bytes());
                        assert_eq!(text(&bytes), str::from_utf8(&bytes).ok(), "a pair at {place} of {length}");
                    }
                }
            }
        }
        assert_eq!(text(b""), Some(""));
    }
}
