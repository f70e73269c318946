//! Parses decimal digits, eight at a time.

use kinesis_reader_json::no_digits;

/// Powers of ten from 10^0 to 10^12.
pub(crate) const POWERS: [u64; 13] = [
    1,
    10,
    100,
    1_000,
    10_000,
    100_000,
    1_000_000,
    10_000_000,
    100_000_000,
    1_000_000_000,
    10_000_000_000,
    100_000_000_000,
    1_000_000_000_000,
];

/// Returns whether all bytes are ASCII digits.
#[inline]
pub(crate) fn are_digits(bytes: &[u8]) -> bool {
    match bytes.last_chunk() {
        // The last eight bytes may overlap the words before them, which leaves no remainder.
        Some(last) => {
            let eights = bytes.as_chunks().0.iter().chain([last]);
            eights.fold(0, |all, eight| all | no_digits(u64::from_le_bytes(*eight))) == 0
        }
        None => bytes.iter().all(u8::is_ascii_digit),
    }
}

/// Parses the digits at the start of eight bytes. Returns their value and their number.
#[inline]
pub(crate) fn leading(bytes: [u8; 8]) -> (u64, usize) {
    let bytes = u64::from_le_bytes(bytes);
    let count = no_digits(bytes).trailing_zeros() as usize / 8;
    // Pad with leading zeros to eight digits, then combine them into pairs, fours and the whole.
    let eight = (bytes & 0x0f0f_0f0f_0f0f_0f0f).checked_shl(64 - 8 * count as u32).unwrap_or(0);
    let pairs = eight.wrapping_mul(10 << 8 | 1) >> 8 & 0x00ff_00ff_00ff_00ff;
    let fours = pairs.wrapping_mul(100 << 16 | 1) >> 16 & 0x0000_ffff_0000_ffff;
    (fours.wrapping_mul(10_000 << 32 | 1) >> 32, count)
}

#[cfg(test)]
mod tests {
    use alloc::string::String;
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn only_ascii_digits_are_digits() {
        for length in 0..20 {
            let mut text: Vec<u8> = (0..length).map(|at| b'0' + at % 10).collect();
            assert!(are_digits(&text));
            for at in 0..text.len() {
                let digit = text[at];
                for byte in 0..=255 {
                    text[at] = byte;
                    assert_eq!(are_digits(&text), byte.is_ascii_digit(), "{byte} at {at} of {length}");
                }
                text[at] = digit;
            }
        }
    }

    #[test]
    fn leading_digits_are_parsed() {
        for count in 0..=8 {
            for byte in 0..=255_u8 {
                let mut bytes = *b"98765432";
                let text = String::from_utf8(bytes[..count].to_vec()).expect("digits");
                if let Some(next) = bytes.get_mut(count) {
                    if byte.is_ascii_digit() {
                        continue;
                    }
                    *next = byte;
                }
                assert_eq!(leading(bytes), (text.parse().unwrap_or(0), count), "{byte} after {count} digits");
            }
        }
        assert_eq!(leading(*b"00000000"), (0, 8));
        assert_eq!(leading(*b"99999999"), (99_999_999, 8));
    }
}
