//! A page of records, kept in the form it arrived in.
//!
//! The body of a `GetRecords` response is kept whole. For each record we only note where its parts are and when it
//! arrived. Data is decoded later, straight into the output. Text that cannot be borrowed from the body (because it has
//! escapes or was sent in chunks) goes to one side buffer per page, so an ordinary record costs no allocation.

use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::fmt;
use core::ops::Range;

use crate::body::Body;
use crate::pages::hash_key::HashRange;
use crate::pages::sequence::order;

/// The records in one response, and what the response says about the shard.
pub struct Page {
    body: Body,
    layout: Layout,
}

/// A child shard, as reported at the end of its parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    /// The shard id.
    pub id: String,
    /// The shards it came from: one for a split, two for a merge.
    pub parents: Vec<String>,
    /// The shard's hash key range.
    pub hash_range: Option<HashRange>,
}

/// A record borrowed from its page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The sequence number, already validated.
    pub sequence: &'a str,
    /// `None` if the stream distributes records without partition keys.
    pub partition_key: Option<&'a str>,
    /// Whether the partition key can be put into a JSON string unescaped.
    pub plain_key: bool,
    /// The approximate arrival time in milliseconds since the Unix epoch, or 0 if Kinesis reports none.
    pub arrived: u64,
    /// The data blob.
    pub data: Data<'a>,
}

/// A record's data, in the encoding of the wire format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data<'a> {
    /// Base64, not validated.
    Base64(&'a str),
    /// Raw bytes.
    Raw(&'a [u8]),
}

impl Page {
    /// Returns the number of records.
    pub fn len(&self) -> usize {
        self.layout.records.len()
    }

    /// Returns whether there are no records. Empty pages are normal and do not mean that the tip has been reached.
    pub fn is_empty(&self) -> bool {
        self.layout.records.is_empty()
    }

    /// Returns the record at index `i`.
    pub fn record(&self, i: usize) -> Option<Record<'_>> {
        self.layout.records.get(i).map(|spans| self.resolve(spans))
    }

    /// Returns the records in order.
    pub fn records(&self) -> impl DoubleEndedIterator<Item = Record<'_>> + ExactSizeIterator {
        self.layout.records.iter().map(|spans| self.resolve(spans))
    }

    /// Returns the index of the first record whose sequence number is not greater than the one before it.
    pub(crate) fn disorder(&self) -> Option<usize> {
        let records = self.layout.records.windows(2);
        let ordered = |pair: &[RecordSpans]| match pair {
            [before, after] => order(self.bytes(before.sequence), self.bytes(after.sequence)) == Ordering::Less,
            _ => true,
        };
        records.into_iter().position(|pair| !ordered(pair)).map(|before| before + 1)
    }

    /// Returns the arrival time of each record, as in `Record::arrived`.
    pub(crate) fn arrivals(&self) -> impl Iterator<Item = u64> {
        self.layout.records.iter().map(|spans| spans.arrived)
    }

    /// Returns the shard iterator of the next page, or `None` if the shard is closed and this was its last page.
    pub fn next_iterator(&self) -> Option<&str> {
        self.layout.next_iterator.as_deref()
    }

    /// Returns how many milliseconds the end of the page is behind the tip of the shard.
    pub fn behind(&self) -> Option<u64> {
        self.layout.behind
    }

    /// Returns the child shards, if the shard is closed.
    pub fn children(&self) -> &[Child] {
        &self.layout.children
    }

    /// Returns the total size of the records' data, after decoding.
    pub fn data_size(&self) -> u64 {
        self.layout.size
    }

    /// Returns the size of the page as it arrived, in bytes.
    pub(crate) fn body_size(&self) -> u64 {
        self.body.as_bytes().len() as u64
    }

    /// Keeps the first `len` records and drops the rest.
    pub fn truncate(&mut self, len: usize) {
        let dropped: u64 = (len..self.len()).filter_map(|i| self.record(i)).map(|record| record.data.size()).sum();
        self.layout.size = self.layout.size.saturating_sub(dropped);
        self.layout.records.truncate(len);
        self.layout.aggregates.retain(|index| (*index as usize) < len);
    }

    /// Returns the indexes of the records whose data starts like an aggregated record's.
    pub(crate) fn aggregates(&self) -> &[u32] {
        &self.layout.aggregates
    }

    pub(crate) fn new(body: Body, layout: Layout) -> Self {
        Self { body, layout }
    }

    fn resolve(&self, spans: &RecordSpans) -> Record<'_> {
        Record {
            sequence: self.text(spans.sequence),
            partition_key: spans.partition_key.map(|span| self.text(span)),
            plain_key: match &self.body {
                // Text with escapes is stored in the side buffer.
                Body::Json(text) => spans.partition_key.is_some_and(|span| span.range().end <= text.len()),
                Body::Cbor(_) => false,
            },
            arrived: spans.arrived,
            data: match spans.data {
                DataSpan::Base64(span) => Data::Base64(self.text(span)),
                DataSpan::Raw(span) => Data::Raw(self.bytes(span)),
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

    /// Spans of text always hold UTF-8, so the default is unreachable; it avoids a panic.
    #[inline(never)]
    fn checked(&self, span: Span) -> &str {
        kinesis_reader_json::text(self.bytes(span)).unwrap_or_default()
    }

    fn bytes(&self, span: Span) -> &[u8] {
        let body = self.body.as_bytes();
        let side_buffer = || self.layout.side_buffer.get(span.side_range(body.len())?);
        body.get(span.range()).or_else(side_buffer).unwrap_or_default()
    }
}

impl Data<'_> {
    /// Returns the size after decoding. Exact for valid base64, with or without padding.
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
    // Bodies are large and contain customer data, so logs only get the number of records.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Page")
            .field("records", &self.len())
            .field("behind", &self.layout.behind)
            .field("children", &self.layout.children)
            .finish_non_exhaustive()
    }
}

/// Where the parts of a page are in its body.
#[derive(Default)]
pub(crate) struct Layout {
    pub(crate) records: Vec<RecordSpans>,
    /// The indexes of the records whose data starts like an aggregated record's.
    pub(crate) aggregates: Vec<u32>,
    /// The side buffer, for text that is not in the body verbatim.
    pub(crate) side_buffer: Vec<u8>,
    pub(crate) next_iterator: Option<String>,
    pub(crate) behind: Option<u64>,
    pub(crate) children: Vec<Child>,
    /// The sum of all `Data::size`.
    pub(crate) size: u64,
}

/// Where the parts of a record are.
pub(crate) struct RecordSpans {
    pub(crate) sequence: Span,
    pub(crate) partition_key: Option<Span>,
    pub(crate) arrived: u64,
    pub(crate) data: DataSpan,
}

pub(crate) enum DataSpan {
    Base64(Span),
    Raw(Span),
}

/// A range of the body or, past its end, of the side buffer. Bodies are limited to far less than 2 GiB.
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

    /// Returns the range in the side buffer, or `None` if the span is in the body.
    fn side_range(self, body_len: usize) -> Option<Range<usize>> {
        Some((self.start as usize).checked_sub(body_len)?..(self.end as usize).checked_sub(body_len)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_decoded_size_of_base64_is_computed() {
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
