//! Sequence numbers.
//!
//! Kinesis names a record's place in its shard by a decimal of up to 129 digits: far beyond any machine integer, so it
//! is kept as its text, and compared as the number it is. Text order would put "10" before "9" and move a checkpoint
//! backwards. Numbers of different shards say nothing about each other.

use alloc::boxed::Box;
use core::cmp::Ordering;
use core::fmt;
use core::str::FromStr;

/// A sequence number: the text Kinesis gave, ordered as a number.
///
/// One number has one text, because leading zeros are not allowed; so equal texts and equal numbers are the same.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Sequence(Box<str>);

/// The text is no sequence number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotASequence;

impl Sequence {
    /// Takes the text of a sequence number: `0`, or up to 129 digits of which the first is not `0`.
    pub fn parse(text: &str) -> Result<Self, NotASequence> {
        if is_sequence(text) { Ok(Self(text.into())) } else { Err(NotASequence) }
    }

    /// The text, as Kinesis gave it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether the text is a sequence number, without keeping it.
pub fn is_sequence(text: &str) -> bool {
    match text.as_bytes() {
        [b'0'] => true,
        digits @ [b'1'..=b'9', ..] => digits.len() <= DIGITS_MAX && are_digits(digits),
        _ => false,
    }
}

/// Eight at a time, and without an early end.
#[inline]
fn are_digits(bytes: &[u8]) -> bool {
    let (eights, _) = bytes.as_chunks();
    match bytes.last_chunk() {
        Some(last) => eights.iter().chain([last]).fold(0, |others, eight| others | not_digits(eight)) == 0,
        None => bytes.iter().all(u8::is_ascii_digit),
    }
}

/// Zero if all are digits, whose upper half is that of "0", and is still if they are six more.
#[inline]
fn not_digits(bytes: &[u8; 8]) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let less = u64::from_le_bytes(*bytes) ^ (ONES * 0x30);
    (less | less.wrapping_add(ONES * 6)) & (ONES * 0xf0)
}

/// "Pattern: 0|([1-9]\d{0,128})"
/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_Record.html>
const DIGITS_MAX: usize = 129;

impl Ord for Sequence {
    fn cmp(&self, other: &Self) -> Ordering {
        // Without leading zeros the longer number is the greater, and digits of one length are ordered as text.
        (self.0.len(), &self.0).cmp(&(other.0.len(), &other.0))
    }
}

impl PartialOrd for Sequence {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl FromStr for Sequence {
    type Err = NotASequence;

    fn from_str(text: &str) -> Result<Self, NotASequence> {
        Self::parse(text)
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Display for NotASequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a sequence number, which is a decimal of up to 129 digits")
    }
}

impl core::error::Error for NotASequence {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;

    #[test]
    fn order_is_that_of_numbers() {
        let number = |text| Sequence::parse(text).unwrap();
        assert!(number("9") < number("10"));
        assert!(number("0") < number("1"));
        assert!(
            number("49680494016343207417922014661364901881201299056758882306")
                < number("49680494016343207417922014661366110807020913685933588482")
        );
        assert_eq!(number("7").cmp(&number("7")), Ordering::Equal);
    }

    #[test]
    fn what_is_no_number_is_refused() {
        let long: String = core::iter::repeat_n('9', 129).collect();
        assert!(is_sequence(&long));
        for text in ["", "00", "01", "-1", "+1", "1 ", "1.0", "1e3", "٣", "null", "TRIM_HORIZON"] {
            assert_eq!(Sequence::parse(text), Err(NotASequence), "{text:?}");
        }
        assert_eq!(Sequence::parse(&(long + "9")), Err(NotASequence));
    }

    #[test]
    fn what_is_no_digit_is_seen_wherever_it_is() {
        for length in 1..60 {
            for at in 0..length {
                for byte in 0..=255_u8 {
                    let mut digits = alloc::vec![b'7'; length];
                    digits[at] = byte;
                    assert_eq!(are_digits(&digits), byte.is_ascii_digit(), "{byte} at {at} of {length}");
                }
            }
        }
    }
}
