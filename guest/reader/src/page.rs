//! A page of records, held as it came.
//!
//! The body of an answer to `GetRecords` is kept whole; of each record only where its parts lie and when it arrived.
//! Data is not decoded here: whoever renders a record does that, straight into its output. What does not lie in the
//! body as it is (a text with escapes, or one sent in chunks) is written out apart, in one buffer for the whole page,
//! so that on the usual path a record costs no allocation.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use crate::hash_key::HashRange;
use crate::wire::Body;

/// The records of one answer, and what it says of its shard.
pub struct Page {
    body: Body,
    layout: Layout,
}

/// A shard that follows the one read, as told at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    /// Its identifier.
    pub id: String,
    /// The shards it was made of: one in a split, two in a merge.
    pub parents: Vec<String>,
    /// Its hash keys.
    pub hash_range: Option<HashRange>,
}

/// A record, borrowed from its page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its sequence number, of the right form.
    pub sequence: &'a str,
    /// None where the stream distributes records by itself and names no key.
    pub partition_key: Option<&'a str>,
    /// The partition key is the inside of a JSON string as it stands. Else it may need escapes.
    pub plain_key: bool,
    /// When Kinesis took it in, more or less, in milliseconds since the Unix epoch; 0 where it does not say.
    pub arrived: u64,
    /// What was put.
    pub data: Data<'a>,
}

/// The data of a record as the wire holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data<'a> {
    /// Base64, which was not looked at.
    Base64(&'a str),
    /// The bytes themselves.
    Raw(&'a [u8]),
}

impl Page {
    /// The number of records.
    pub fn len(&self) -> usize {
        self.layout.records.len()
    }

    /// Whether there are no records. That is usual: it does not mean that the tip is reached.
    pub fn is_empty(&self) -> bool {
        self.layout.records.is_empty()
    }

    /// The record number `i`, counted from 0.
    pub fn record(&self, i: usize) -> Option<Record<'_>> {
        self.layout.records.get(i).map(|lying| self.lift(lying))
    }

    /// The records in order.
    pub fn records(&self) -> impl DoubleEndedIterator<Item = Record<'_>> + ExactSizeIterator {
        self.layout.records.iter().map(|lying| self.lift(lying))
    }

    /// When the records arrived, as `Record::arrived` tells it.
    pub(crate) fn arrivals(&self) -> impl Iterator<Item = u64> {
        self.layout.records.iter().map(|lying| lying.arrived)
    }

    /// The iterator to read on with. None: the shard is closed and this was its last page.
    pub fn next_iterator(&self) -> Option<&str> {
        self.layout.next_iterator.as_deref()
    }

    /// How many milliseconds the end of the page is behind the tip of the shard.
    pub fn behind(&self) -> Option<u64> {
        self.layout.behind
    }

    /// The shards that follow a closed shard.
    pub fn children(&self) -> &[Child] {
        &self.layout.children
    }

    /// The bytes of data in the records, once decoded.
    pub fn data_size(&self) -> u64 {
        self.layout.size
    }

    /// Keeps the first `len` records and forgets the rest.
    pub fn truncate(&mut self, len: usize) {
        let forgotten: u64 = (len..self.len()).filter_map(|i| self.record(i)).map(|record| record.data.size()).sum();
        self.layout.size = self.layout.size.saturating_sub(forgotten);
        self.layout.records.truncate(len);
        self.layout.aggregates.retain(|index| (*index as usize) < len);
    }

    /// The numbers of the records whose data begin as those of an aggregate.
    pub(crate) fn aggregates(&self) -> &[u32] {
        &self.layout.aggregates
    }

    pub(crate) fn new(body: Body, layout: Layout) -> Self {
        Self { body, layout }
    }

    fn lift(&self, lying: &Lying) -> Record<'_> {
        Record {
            sequence: self.text(lying.sequence),
            partition_key: lying.partition_key.map(|span| self.text(span)),
            plain_key: match &self.body {
                // A text with escapes is kept apart.
                Body::Json(text) => lying.partition_key.is_some_and(|span| span.range().end <= text.len()),
                Body::Cbor(_) => false,
            },
            arrived: lying.arrived,
            data: match lying.data {
                LyingData::Base64(span) => Data::Base64(self.text(span)),
                LyingData::Raw(span) => Data::Raw(self.bytes(span)),
            },
        }
    }

    #[inline]
    fn text(&self, span: Span) -> &str {
        let text = match &self.body {
            Body::Json(text) => text.get(span.range()),
            Body::Cbor(_) => None,
        };
        text.unwrap_or_else(|| self.checked(span))
    }

    /// A span laid over text holds text, so the default is never taken; it stands for a panic.
    #[inline(never)]
    fn checked(&self, span: Span) -> &str {
        kinesis_reader_json::text(self.bytes(span)).unwrap_or_default()
    }

    fn bytes(&self, span: Span) -> &[u8] {
        let body = self.body.as_bytes();
        let apart = || self.layout.apart.get(span.behind(body.len())?);
        body.get(span.range()).or_else(apart).unwrap_or_default()
    }
}

impl Data<'_> {
    /// The number of bytes once decoded: exact for base64 as it should be, padded or not.
    pub fn size(&self) -> u64 {
        match self {
            Data::Base64(text) => {
                let text = text.as_bytes();
                let padding = text.iter().rev().take(2).take_while(|byte| **byte == b'=').count();
                (text.len() - padding) as u64 * 3 / 4
            }
            Data::Raw(bytes) => bytes.len() as u64,
        }
    }
}

impl fmt::Debug for Page {
    // The bodies of pages are other people's data and large: a log gets their number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page")
            .field("records", &self.len())
            .field("behind", &self.layout.behind)
            .field("children", &self.layout.children)
            .finish_non_exhaustive()
    }
}

/// Where everything lies in a page's body.
#[derive(Default)]
pub(crate) struct Layout {
    pub(crate) records: Vec<Lying>,
    /// Those of the records whose data begin as an aggregate's, by number.
    pub(crate) aggregates: Vec<u32>,
    /// What does not lie in the body as it is.
    pub(crate) apart: Vec<u8>,
    pub(crate) next_iterator: Option<String>,
    pub(crate) behind: Option<u64>,
    pub(crate) children: Vec<Child>,
    /// The sum of the records' `Data::size`.
    pub(crate) size: u64,
}

/// Where the parts of a record lie.
pub(crate) struct Lying {
    pub(crate) sequence: Span,
    pub(crate) partition_key: Option<Span>,
    pub(crate) arrived: u64,
    pub(crate) data: LyingData,
}

pub(crate) enum LyingData {
    Base64(Span),
    Raw(Span),
}

/// A stretch of the body, or of what is kept apart from it, which counts as if it lay behind the body. Bodies are bounded
/// far below 2 GiB.
#[derive(Clone, Copy)]
pub(crate) struct Span {
    start: u32,
    end: u32,
}

impl Span {
    #[inline]
    pub(crate) fn new(start: usize, end: usize) -> Span {
        Span { start: start as u32, end: end as u32 }
    }

    #[inline]
    fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    /// Where it lies in what is behind the body.
    fn behind(self, body: usize) -> Option<Range<usize>> {
        Some((self.start as usize).checked_sub(body)?..(self.end as usize).checked_sub(body)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_tells_its_size() {
        for (text, size) in [
            ("", 0),
            ("YQ==", 1),
            ("YWI=", 2),
            ("YWJj", 3),
            ("YQ", 1),
            ("YWI", 2),
            ("YWJjZA==", 4),
            ("=", 0),
            ("==", 0),
        ] {
            assert_eq!(Data::Base64(text).size(), size, "{text}");
        }
        assert_eq!(Data::Raw(b"YQ==").size(), 4);
    }
}
