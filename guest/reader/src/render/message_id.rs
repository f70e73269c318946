//! `_kinesis_msg_id`: the message id, which is the same every time a message is read.
//!
//! The input to SHA-256 is aligned with its blocks of 64 bytes. The padded shard id fills the first block except for
//! its last byte. A sequence number of 56 digits, as the service sends them, starts there and ends in the second block
//! exactly where SHA-256's own padding begins. A message therefore costs one block, and so does a message from an
//! aggregated record.

use alloc::string::String;
use alloc::vec::Vec;

use base64_simd::{AsOut as _, STANDARD};
use sha2::block_api::compress256;
use sha2::{Digest as _, Sha256};
use shake::Shake128;
use shake::digest::{ExtendableOutput as _, Update as _, XofReader as _};

/// How `_kinesis_msg_id` is computed. Either way, it is the same every time a message is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageId {
    /// The first half of SHA-256 of `SHARD///…SEQUENCE` or `SHARD///…SEQUENCE///…SUBSEQUENCE`, in hexadecimal.
    ///
    /// There is at least one slash, and as many as it takes to pad the text before the sequence number to 63 bytes and
    /// the text before the subsequence number to 128 bytes (for longer names, to 127 and 192 bytes, and so on).
    ///
    /// No two messages of a stream have the same text: shard ids match `[a-zA-Z0-9_.-]`
    /// (<https://docs.aws.amazon.com/kinesis/latest/APIReference/API_Shard.html>) and sequence numbers are digits, so
    /// neither contains a slash. 128 bits are enough: among 10^15 messages, a million per second for thirty years, the
    /// probability of any collision is below 2 in 10^9.
    Sha256,
    /// The identifier of dlt's Kinesis source, so that rows loaded by either can be matched: 15 bytes of SHAKE128 of
    /// the shard id directly followed by the sequence number, in base64. That source does not split aggregated records;
    /// we append `/SUBSEQUENCE` for messages from an aggregated record.
    Dlt,
}

/// The block size of SHA-256 in bytes.
const BLOCK: usize = 64;

/// The maximum length of text in the last block: SHA-256 appends a marker byte and the length in bits.
const LAST: usize = BLOCK - 9;

/// The initial hash value of SHA-256 (FIPS 180-4, 5.3.3).
const INITIAL: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// The first digit of today's sequence numbers, which is the last byte of the first block.
const FIRST: &str = "4";

/// What the ids of a shard's messages have in common.
#[derive(Clone, Debug)]
pub(crate) struct IdHasher {
    kind: MessageId,
    shard: String,
    /// The shard id, padded with slashes.
    lead: Vec<u8>,
    /// The hash state after `lead` and [`FIRST`], which together fill whole blocks, and their length in bits.
    state: [u32; 8],
    bits: u64,
}

impl IdHasher {
    pub(crate) fn new(shard: &str, kind: MessageId) -> IdHasher {
        let mut lead = Vec::from(shard);
        lead.resize(padded_length(lead.len() + FIRST.len()) - FIRST.len(), b'/');
        let whole = [&lead, FIRST.as_bytes()].concat();
        let mut state = INITIAL;
        compress256(&mut state, whole.as_chunks().0);
        IdHasher { kind, shard: String::from(shard), lead, state, bits: whole.len() as u64 * 8 }
    }

    /// Returns a generator for consecutive messages.
    pub(crate) fn generator(&self) -> IdGenerator<'_> {
        IdGenerator { hasher: self, aggregate: None }
    }

    /// Hashes a sequence number that exactly fills the last block, as those of the service do.
    #[inline]
    fn hash_in_one_block(&self, sequence: &str) -> Option<[u32; 8]> {
        let rest: &[u8; LAST] = sequence.strip_prefix(FIRST)?.as_bytes().try_into().ok()?;
        let mut block = [0; BLOCK];
        *block.first_chunk_mut()? = *rest;
        let [mark, length @ ..] = block.last_chunk_mut::<{ BLOCK - LAST }>()?;
        (*mark, *length) = (0x80, (self.bits + LAST as u64 * 8).to_be_bytes());
        let mut state = self.state;
        compress256(&mut state, &[block]);
        Some(state)
    }

    fn sequence(&self, sequence: &str) -> Sha256 {
        Sha256::new_with_prefix(&self.lead).chain_update(sequence)
    }

    fn aggregate(&self, sequence: &str) -> Sha256 {
        let length = self.lead.len() + sequence.len();
        self.sequence(sequence).chain_update(SLASHES.get(..padded_length(length) - length).unwrap_or_default())
    }
}

/// The length to which a text is padded with at least one slash.
fn padded_length(length: usize) -> usize {
    (length / BLOCK + 1) * BLOCK
}

const SLASHES: [u8; BLOCK] = [b'/'; BLOCK];

/// Generates the ids of a shard's messages.
pub(crate) struct IdGenerator<'a> {
    hasher: &'a IdHasher,
    /// The sequence number of the last aggregated record, and the hash state after it and its padding.
    aggregate: Option<(&'a str, Sha256)>,
}

impl<'a> IdGenerator<'a> {
    pub(crate) fn id(&mut self, sequence: &'a str, subsequence: Option<u32>) -> IdText {
        match self.hasher.kind {
            MessageId::Sha256 => self.sha256(sequence, subsequence),
            MessageId::Dlt => self.dlt(sequence, subsequence),
        }
    }

    fn sha256(&mut self, sequence: &'a str, subsequence: Option<u32>) -> IdText {
        let Some(subsequence) = subsequence else {
            return match self.hasher.hash_in_one_block(sequence) {
                Some(state) => IdText::sha256(state.map(u32::to_be_bytes).as_flattened()),
                None => IdText::sha256(&self.hasher.sequence(sequence).finalize()),
            };
        };
        let started = match &mut self.aggregate {
            Some((of, started)) if *of == sequence => started,
            other => &mut other.insert((sequence, self.hasher.aggregate(sequence))).1,
        };
        IdText::sha256(&started.clone().chain_update(itoa::Buffer::new().format(subsequence)).finalize())
    }

    fn dlt(&self, sequence: &str, subsequence: Option<u32>) -> IdText {
        let mut hash = Shake128::default();
        hash.update(self.hasher.shard.as_bytes());
        hash.update(sequence.as_bytes());
        if let Some(subsequence) = subsequence {
            hash.update(b"/");
            hash.update(itoa::Buffer::new().format(subsequence).as_bytes());
        }
        let mut digest = [0; 15];
        hash.finalize_xof().read(&mut digest);
        IdText::dlt(&digest)
    }
}

/// A message id as ASCII text.
pub(crate) struct IdText {
    text: [u8; 32],
    length: usize,
}

impl IdText {
    fn sha256(digest: &[u8]) -> IdText {
        let mut text = [0; 32];
        for (pair, byte) in text.as_chunks_mut().0.iter_mut().zip(digest) {
            *pair = HEX.get(usize::from(*byte)).copied().unwrap_or_default();
        }
        IdText { text, length: 32 }
    }

    fn dlt(digest: &[u8; 15]) -> IdText {
        let mut text = [0; 32];
        let length = STANDARD.encode(digest, text.as_mut_slice().as_out()).len();
        IdText { text, length }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.text.get(..self.length).unwrap_or_default()
    }
}

/// Every byte in hexadecimal.
#[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
static HEX: [[u8; 2]; 256] = {
    let digits = *b"0123456789abcdef";
    let mut hex = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        hex[byte] = [digits[byte >> 4], digits[byte & 15]];
        byte += 1;
    }
    hex
};

#[cfg(test)]
mod tests {
    use std::format;

    use proptest::prelude::*;

    use super::*;

    fn id(kind: MessageId, shard: &str, sequence: &str, subsequence: Option<u32>) -> String {
        let id = IdHasher::new(shard, kind).generator().id(sequence, subsequence);
        String::from_utf8(id.as_bytes().to_vec()).expect("ASCII")
    }

    #[test]
    fn ids_depend_on_shard_sequence_and_subsequence() {
        let id = |kind, subsequence| id(kind, "shardId-000000000001", "42", subsequence);
        // Computed with Python's hashlib.
        assert_eq!(id(MessageId::Sha256, None), "bfb727ab184a78d09cb4ed24464d49c0");
        assert_eq!(id(MessageId::Sha256, Some(0)), "9510d2e3c3f0a2adbc93b4c600c5fc24");
        assert_eq!(id(MessageId::Dlt, None), "n85ewDyKk2PwN31XJ5L/");
        assert_eq!(id(MessageId::Dlt, Some(0)), "7yQIallNkdXk3ctogqTE");
    }

    #[test]
    fn the_hash_state_of_an_aggregate_is_only_used_for_that_aggregate() {
        let hasher = IdHasher::new("shardId-000000000001", MessageId::Sha256);
        let mut generator = hasher.generator();
        for (sequence, subsequence) in
            [("41", Some(0)), ("41", Some(1)), ("42", Some(0)), ("42", None), ("41", Some(0))]
        {
            let alone = id(MessageId::Sha256, "shardId-000000000001", sequence, subsequence);
            assert_eq!(generator.id(sequence, subsequence).as_bytes(), alone.as_bytes());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_text_is_laid_out_as_documented(shard in "[a-zA-Z0-9_.-]{1,130}", sequence in "[0-9]{1,140}|4[0-9]{55}", subsequence: Option<u32>) {
            let mut text = shard.clone();
            let pad = |text: &mut String, rest: usize| {
                text.push('/');
                while text.len() % 64 != rest {
                    text.push('/');
                }
            };
            pad(&mut text, 63);
            text += &sequence;
            if let Some(subsequence) = subsequence {
                pad(&mut text, 0);
                text += &format!("{subsequence}");
            }
            let digest = Sha256::digest(text.as_bytes());
            let hex: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
            prop_assert_eq!(id(MessageId::Sha256, &shard, &sequence, subsequence), hex);
        }
    }
}
