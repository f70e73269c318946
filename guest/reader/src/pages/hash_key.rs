//! Hash keys: the 128-bit integers by which Kinesis distributes records across shards.
//!
//! "An MD5 hash function is used to map partition keys to 128-bit integer values and to map associated data records to
//! shards using the hash key ranges of the shards"; an explicit hash key replaces that value.
//! <https://docs.aws.amazon.com/streams/latest/dev/key-concepts.html>

use md5::{Digest, Md5};

/// A shard's range of hash keys, inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashRange {
    /// The lowest hash key.
    pub first: u128,
    /// The highest hash key.
    pub last: u128,
}

impl HashRange {
    /// Parses the two ends, given in decimal.
    pub(crate) fn parse(first: &str, last: &str) -> Option<HashRange> {
        Some(HashRange { first: explicit(first)?, last: explicit(last)? })
    }

    pub(crate) fn contains(self, hash_key: u128) -> bool {
        (self.first..=self.last).contains(&hash_key)
    }
}

/// Parses a hash key in decimal: "0|([1-9]\d{0,38})"
/// (<https://docs.aws.amazon.com/kinesis/latest/APIReference/API_HashKeyRange.html>). Leading zeros are harmless.
pub(crate) fn explicit(text: &str) -> Option<u128> {
    // The standard library also accepts a sign.
    if text.starts_with('+') { None } else { text.parse().ok() }
}

/// Computes the hash key of a partition key.
pub(crate) fn of_partition_key(key: &str) -> u128 {
    u128::from_be_bytes(Md5::digest(key).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partition_keys_are_hashed_with_md5() {
        // RFC 1321, A.5.
        assert_eq!(of_partition_key(""), 0xd41d_8cd9_8f00_b204_e980_0998_ecf8_427e);
        assert_eq!(of_partition_key("message digest"), 0xf96b_697d_7cb7_938d_525a_2f31_aaf1_61d0);
    }

    #[test]
    fn ranges_are_inclusive_and_invalid_hash_keys_are_rejected() {
        let most = "340282366920938463463374607431768211455";
        let all = HashRange::parse("0", most).expect("a range");
        assert!(all.contains(0) && all.contains(u128::MAX));
        let one = HashRange::parse("5", "5").expect("a range");
        assert!(!one.contains(4) && one.contains(5) && !one.contains(6));
        for text in ["", "-1", "+1", "1.0", " 1", "0x1", "340282366920938463463374607431768211456"] {
            assert_eq!(explicit(text), None, "{text:?}");
        }
    }
}
