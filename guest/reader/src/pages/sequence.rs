//! Sequence numbers.
//!
//! Kinesis identifies a record within its shard by a decimal number of up to 129 digits. That exceeds any machine
//! integer, so we keep the text and compare it numerically. Comparing it as text would put "10" before "9" and move a
//! checkpoint backwards. Sequence numbers of different shards are unrelated.

use alloc::boxed::Box;
use core::cmp::Ordering;
use core::fmt;
use core::str::FromStr;

use crate::pages::digits::are_digits;

/// A sequence number, kept as the text that Kinesis sent and ordered numerically.
///
/// Leading zeros are not allowed, so equal numbers always have equal texts.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Sequence(Box<str>);

/// The error for text that is not a sequence number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotASequence;

impl Sequence {
    /// Parses a sequence number: `0`, or up to 129 digits without a leading `0`.
    pub fn parse(text: &str) -> Result<Self, NotASequence> {
        if is_sequence(text.as_bytes()) { Ok(Self(text.into())) } else { Err(NotASequence) }
    }

    /// Returns the text as Kinesis sent it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Returns whether `text` is a valid sequence number.
#[inline]
pub(crate) fn is_sequence(text: &[u8]) -> bool {
    match text {
        [b'0'] => true,
        [b'1'..=b'9', ..] => text.len() <= DIGITS_MAX && are_digits(text),
        _ => false,
    }
}

/// "Pattern: 0|([1-9]\d{0,128})"
/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_Record.html>
const DIGITS_MAX: usize = 129;

/// Compares the texts of two sequence numbers by their numeric value.
#[inline]
pub(crate) fn order(left: &[u8], right: &[u8]) -> Ordering {
    // Without leading zeros a longer number is greater, and numbers of equal length sort as text.
    (left.len(), left).cmp(&(right.len(), right))
}

impl Ord for Sequence {
    fn cmp(&self, other: &Self) -> Ordering {
        order(self.0.as_bytes(), other.0.as_bytes())
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
    fn sequence_numbers_are_ordered_numerically() {
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
    fn invalid_sequence_numbers_are_rejected() {
        let long: String = core::iter::repeat_n('9', 129).collect();
        assert!(Sequence::parse(&long).is_ok());
        for text in ["", "00", "01", "-1", "+1", "1 ", "1.0", "1e3", "٣", "null", "TRIM_HORIZON"] {
            assert_eq!(Sequence::parse(text), Err(NotASequence), "{text:?}");
        }
        assert_eq!(Sequence::parse(&(long + "9")), Err(NotASequence));
    }
}
