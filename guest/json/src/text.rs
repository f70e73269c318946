//! Converting bytes to text.

use core::str;

/// Converts short `bytes` to text if they are UTF-8. Nearly always they are ASCII, which is checked eight bytes at a
/// time.
///
/// The standard library's check goes byte by byte up to the first word boundary and after the last one, which is much
/// of a name or number in the middle of a page.
#[inline]
#[allow(unsafe_code, reason = "the standard library's check takes several times as long on short texts")]
pub fn text(bytes: &[u8]) -> Option<&str> {
    const ABOVE: u64 = 0x8080_8080_8080_8080;
    let ascii = match bytes.last_chunk() {
        // The last eight bytes may overlap the words before them, which leaves no remainder.
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
    fn text_agrees_with_the_standard_library() {
        for length in 0..40 {
            for at in 0..length {
                for byte in 0..=255 {
                    let mut bytes = vec![b'x'; length];
                    bytes[at] = byte;
                    assert_eq!(text(&bytes), str::from_utf8(&bytes).ok(), "{byte} at {at} of {length}");
                    if let Some(pair) = bytes.get_mut(at..at + 2) {
                        pair.copy_from_slice("ż".as_bytes());
                        assert_eq!(text(&bytes), str::from_utf8(&bytes).ok(), "a pair at {at} of {length}");
                    }
                }
            }
        }
        assert_eq!(text(b""), Some(""));
    }
}
