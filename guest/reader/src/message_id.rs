//! `_kinesis_msg_id`: the name of a message, equal each time it is read.
//!
//! What SHA-256 is taken over is laid out by its blocks of 64 bytes. The shard fills the first but for a byte, and
//! a sequence number of 56 digits, as the service gives them, ends the second where that has just room left for what
//! SHA-256 itself appends; so a message costs one block, and one out of an aggregate its last.

use alloc::string::String;
use alloc::vec::Vec;

use base64_simd::{AsOut as _, STANDARD};
use sha2::block_api::compress256;
use sha2::{Digest as _, Sha256};
use shake::Shake128;
use shake::digest::{ExtendableOutput as _, Update as _, XofReader as _};

/// How `_kinesis_msg_id` is made. Both are equal each time a message is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageId {
    /// The first half of SHA-256 over `SHARD///…SEQUENCE`, or `SHARD///…SEQUENCE///…SUBSEQUENCE`, in hexadecimal.
    ///
    /// Of slashes there are as many, at least one, as fill the text before the sequence number to 63 bytes, and the
    /// text before the subsequence to 128; or, of longer names, to 127 and 192, and so on.
    ///
    /// No two messages of a stream give the same text: a shard's id is of `[a-zA-Z0-9_.-]`
    /// (<https://docs.aws.amazon.com/kinesis/latest/APIReference/API_Shard.html>), a sequence number of digits, and
    /// neither has the slash. 128 bits suffice: among 10^15 messages, a million a second for thirty years, the chance
    /// that any two have one identifier is below 2 in 10^9.
    Sha256,
    /// What dlt's Kinesis source makes, so that rows loaded by either meet: 15 bytes of SHAKE128 over the shard and the
    /// sequence number, with nothing between, in base64. That source does not split aggregated records; here
    /// `/SUBSEQUENCE` is appended for a message out of one.
    Dlt,
}

/// SHA-256 takes its text in blocks of so many bytes.
const BLOCK: usize = 64;

/// The most that the last block has room for: SHA-256 marks the end of the text, and appends its length in bits.
const LAST: usize = BLOCK - 9;

/// What SHA-256 begins with (FIPS 180-4, 5.3.3).
const INITIAL: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// What the sequence numbers of today begin with, which the first block still holds.
const FIRST: &str = "4";

/// What is common to the identifiers of a shard's messages.
#[derive(Clone, Debug)]
pub(crate) struct Namer {
    kind: MessageId,
    shard: String,
    /// The shard with the slashes behind it.
    lead: Vec<u8>,
    /// The state of the hash after that and [`FIRST`], which make whole blocks, and the bits that it is of.
    state: [u32; 8],
    bits: u64,
}

impl Namer {
    pub(crate) fn new(shard: &str, kind: MessageId) -> Namer {
        let mut lead = Vec::from(shard);
        lead.resize(fill(lead.len() + FIRST.len()) - FIRST.len(), b'/');
        let whole = [&lead, FIRST.as_bytes()].concat();
        let mut state = INITIAL;
        compress256(&mut state, whole.as_chunks().0);
        Namer { kind, shard: String::from(shard), lead, state, bits: whole.len() as u64 * 8 }
    }

    /// For messages one after the other.
    pub(crate) fn names(&self) -> Names<'_> {
        Names { namer: self, aggregate: None }
    }

    /// The digest of a sequence number that fills the last block, as those of the service do.
    #[inline]
    fn usual(&self, sequence: &str) -> Option<[u32; 8]> {
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
        self.sequence(sequence).chain_update(SLASHES.get(..fill(length) - length).unwrap_or_default())
    }
}

/// The length up to which a text is filled with one slash or more.
fn fill(length: usize) -> usize {
    (length / BLOCK + 1) * BLOCK
}

const SLASHES: [u8; BLOCK] = [b'/'; BLOCK];

/// Gives messages of a shard their identifiers.
pub(crate) struct Names<'a> {
    namer: &'a Namer,
    /// The aggregate whose messages were named last.
    aggregate: Option<(&'a str, Sha256)>,
}

impl<'a> Names<'a> {
    pub(crate) fn name(&mut self, sequence: &'a str, subsequence: Option<u32>) -> Name {
        match self.namer.kind {
            MessageId::Sha256 => self.sha256(sequence, subsequence),
            MessageId::Dlt => self.dlt(sequence, subsequence),
        }
    }

    fn sha256(&mut self, sequence: &'a str, subsequence: Option<u32>) -> Name {
        let Some(subsequence) = subsequence else {
            return match self.namer.usual(sequence) {
                Some(state) => Name::sha256(state.map(u32::to_be_bytes).as_flattened()),
                None => Name::sha256(&self.namer.sequence(sequence).finalize()),
            };
        };
        let begun = match &mut self.aggregate {
            Some((of, begun)) if *of == sequence => begun,
            other => &mut other.insert((sequence, self.namer.aggregate(sequence))).1,
        };
        Name::sha256(&begun.clone().chain_update(itoa::Buffer::new().format(subsequence)).finalize())
    }

    fn dlt(&self, sequence: &str, subsequence: Option<u32>) -> Name {
        let mut hash = Shake128::default();
        hash.update(self.namer.shard.as_bytes());
        hash.update(sequence.as_bytes());
        if let Some(subsequence) = subsequence {
            hash.update(b"/");
            hash.update(itoa::Buffer::new().format(subsequence).as_bytes());
        }
        let mut digest = [0; 15];
        hash.finalize_xof().read(&mut digest);
        Name::dlt(&digest)
    }
}

/// The text of an identifier, which is ASCII.
pub(crate) struct Name {
    text: [u8; 32],
    length: usize,
}

impl Name {
    fn sha256(digest: &[u8]) -> Name {
        let mut text = [0; 32];
        for (pair, byte) in text.as_chunks_mut().0.iter_mut().zip(digest) {
            *pair = HEX.get(usize::from(*byte)).copied().unwrap_or_default();
        }
        Name { text, length: 32 }
    }

    fn dlt(digest: &[u8; 15]) -> Name {
        let mut text = [0; 32];
        let length = STANDARD.encode(digest, text.as_mut_slice().as_out()).len();
        Name { text, length }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.text.get(..self.length).unwrap_or_default()
    }
}

/// Each byte in hexadecimal.
#[expect(clippy::indexing_slicing, reason = "done by the compiler")]
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

    fn name(kind: MessageId, shard: &str, sequence: &str, subsequence: Option<u32>) -> String {
        let name = Namer::new(shard, kind).names().name(sequence, subsequence);
        String::from_utf8(name.as_bytes().to_vec()).expect("ASCII")
    }

    #[test]
    fn identifiers_are_of_the_whole_name_of_a_message() {
        let id = |kind, subsequence| name(kind, "shardId-000000000001", "42", subsequence);
        // As Python's hashlib gives them.
        assert_eq!(id(MessageId::Sha256, None), "bfb727ab184a78d09cb4ed24464d49c0");
        assert_eq!(id(MessageId::Sha256, Some(0)), "9510d2e3c3f0a2adbc93b4c600c5fc24");
        assert_eq!(id(MessageId::Dlt, None), "n85ewDyKk2PwN31XJ5L/");
        assert_eq!(id(MessageId::Dlt, Some(0)), "7yQIallNkdXk3ctogqTE");
    }

    #[test]
    fn messages_of_several_aggregates_have_their_own() {
        let namer = Namer::new("shardId-000000000001", MessageId::Sha256);
        let mut names = namer.names();
        for (sequence, subsequence) in
            [("41", Some(0)), ("41", Some(1)), ("42", Some(0)), ("42", None), ("41", Some(0))]
        {
            let alone = name(MessageId::Sha256, "shardId-000000000001", sequence, subsequence);
            assert_eq!(names.name(sequence, subsequence).as_bytes(), alone.as_bytes());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_text_is_laid_out_as_it_is_told(shard in "[a-zA-Z0-9_.-]{1,130}", sequence in "[0-9]{1,140}|4[0-9]{55}", subsequence: Option<u32>) {
            let mut text = shard.clone();
            let filled = |text: &mut String, rest: usize| {
                text.push('/');
                while text.len() % 64 != rest {
                    text.push('/');
                }
            };
            filled(&mut text, 63);
            text += &sequence;
            if let Some(subsequence) = subsequence {
                filled(&mut text, 0);
                text += &format!("{subsequence}");
            }
            let digest = Sha256::digest(text.as_bytes());
            let hex: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
            prop_assert_eq!(name(MessageId::Sha256, &shard, &sequence, subsequence), hex);
        }
    }
}
