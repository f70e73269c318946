//! Decodes the content of answers, in either encoding.
//!
//! A [`Source`] reads a body from front to back, value by value. The functions here know the members of each answer,
//! and work the same for both encodings. Every record passes through [`page`]. It therefore builds no tree of values
//! and allocates nothing for what is in the body verbatim, and there is a fast path for records in their usual form.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use super::answer::{ListedShard, Listing, Summary, Unintelligible};
use crate::body::Body;
use crate::identifier::{is_name, stream_of};
use crate::pages::hash_key::HashRange;
use crate::pages::kpl;
use crate::pages::page::{Child, Data, DataSpan, Layout, RecordSpans, Span};
use crate::pages::sequence::{Sequence, is_sequence};
use crate::printable::printable;

/// Reads a body from front to back. Each function reads one value, or the next part of one. `None` means null.
pub(super) trait Source<'a> {
    fn object(&mut self) -> Result<Option<Rest>, Fault>;
    /// Reads the key of the next member, or returns `None` if there are no more. The caller must read the value next.
    fn member(&mut self, rest: &mut Rest) -> Result<Option<Cow<'a, str>>, Fault>;
    fn array(&mut self) -> Result<Option<Rest>, Fault>;
    /// Returns whether there is another element. If so, the caller must read it next.
    fn element(&mut self, rest: &mut Rest) -> Result<bool, Fault>;
    /// Reads text. It is borrowed if it is in the body verbatim.
    fn text(&mut self) -> Result<Option<Cow<'a, str>>, Fault>;
    fn data(&mut self) -> Result<Option<SentData<'a>>, Fault>;
    /// Reads a time in milliseconds, rounded. Times before the epoch become 0.
    fn time(&mut self) -> Result<Option<u64>, Fault>;
    /// Reads a number, rounded. Negative numbers become 0.
    fn count(&mut self) -> Result<Option<u64>, Fault>;
    /// If the next element is a record in its usual form, adds it to the layout. Otherwise reads nothing.
    fn usual_record(&mut self, layout: &mut Layout) -> bool;
    /// Skips a value of any kind.
    fn skip(&mut self) -> Result<(), Fault>;
    /// Checks that nothing follows the value.
    fn end(&mut self) -> Result<(), Fault>;
}

/// The rest of an object or array.
pub(super) struct Rest {
    /// Whether nothing of it was read yet.
    pub(super) first: bool,
    /// The number of elements or members left, if the encoding declares it.
    pub(super) left: Option<u64>,
}

/// The data of a record as it was sent.
pub(super) enum SentData<'a> {
    Base64(Cow<'a, str>),
    Raw(Cow<'a, [u8]>),
}

/// The maximum size of a body in bytes. The service's own limit is 10 MiB of data, which is 13.4 MiB in base64.
const BODY_MAX: usize = 64 << 20;
/// "GetRecords: Limit: Valid Range: Minimum value of 1. Maximum value of 10000."
/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetRecords.html>
const RECORDS_MAX: usize = 10_000;
/// "ListShards: MaxResults: Valid Range: Minimum value of 1. Maximum value of 10000."
/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_ListShards.html>
const SHARDS_MAX: usize = 10_000;
/// The maximum number of children or parents of a shard. The service has two.
const RELATIVES_MAX: usize = 100;
/// "ListShards: NextToken: Maximum length of 1048576."
/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_ListShards.html>
const TOKEN_MAX: usize = 1_048_576;
/// "GetRecords: NextShardIterator: Maximum length of 512." Emulators encode the names of the stream and the shard, and
/// the sequence number, which takes about 400 bytes at most. This leaves room for longer ones.
/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetRecords.html>
const ITERATOR_MAX: usize = 4096;
/// The maximum depth of nesting in skipped values.
pub(super) const DEPTH_MAX: u32 = 100;
/// The end of the year 9999 in milliseconds, the last time that RFC 3339 can express.
pub(super) const TIME_MAX: u64 = 253_402_300_799_999;

pub(super) fn within_bounds(body: &Body) -> Result<(), Unintelligible> {
    let size = body.as_bytes().len();
    if size > BODY_MAX {
        let why = format!("a body larger than {BODY_MAX} bytes: {size}");
        return Err(Unintelligible { why, is_forbidden: true });
    }
    Ok(())
}

pub(super) fn page<'a>(body: &'a [u8], source: &mut dyn Source<'a>) -> Result<Layout, Fault> {
    let mut layout = Layout::default();
    let mut complete = false;
    let mut members = source.object()?.ok_or_else(Fault::missing)?;
    while let Some(key) = source.member(&mut members)? {
        match &*key {
            "Records" => {
                complete = records(source, body, &mut layout).map_err(|fault| fault.within("Records"))?;
            }
            "NextShardIterator" => layout.next_iterator = opaque(source, "NextShardIterator", ITERATOR_MAX)?,
            "MillisBehindLatest" => {
                layout.behind = source.count().map_err(|fault| fault.within("MillisBehindLatest"))?;
            }
            "ChildShards" => {
                layout.children = list(source, RELATIVES_MAX, child)
                    .map_err(|fault| fault.within("ChildShards"))?
                    .unwrap_or_default();
            }
            _ => source.skip()?,
        }
    }
    source.end()?;
    if complete { Ok(layout) } else { Err(Fault::missing().within("Records")) }
}

/// Reads the records. Returns whether there was an array, rather than null.
fn records<'a>(source: &mut dyn Source<'a>, body: &'a [u8], layout: &mut Layout) -> Result<bool, Fault> {
    layout.records.clear();
    layout.aggregates.clear();
    layout.side_buffer.clear();
    layout.size = 0;
    let Some(mut elements) = source.array()? else { return Ok(false) };
    while source.element(&mut elements)? {
        let index = layout.records.len();
        if index == RECORDS_MAX {
            return Err(Fault::too_many(RECORDS_MAX));
        }
        if !source.usual_record(layout) {
            let spans = record(source, body, layout).map_err(|fault| fault.at(index))?;
            layout.records.push(spans);
        }
    }
    Ok(true)
}

fn record<'a>(source: &mut dyn Source<'a>, body: &'a [u8], layout: &mut Layout) -> Result<RecordSpans, Fault> {
    let (mut sequence, mut partition_key, mut arrived, mut data) = (None, None, None, None);
    let mut members = source.object()?.ok_or_else(Fault::missing)?;
    while let Some(key) = source.member(&mut members)? {
        match &*key {
            "Data" => data = source.data().map_err(|fault| fault.within("Data"))?,
            "SequenceNumber" => sequence = source.text().map_err(|fault| fault.within("SequenceNumber"))?,
            "PartitionKey" => partition_key = source.text().map_err(|fault| fault.within("PartitionKey"))?,
            "ApproximateArrivalTimestamp" => {
                arrived = source.time().map_err(|fault| fault.within("ApproximateArrivalTimestamp"))?;
            }
            _ => source.skip()?,
        }
    }
    let sequence = match sequence {
        Some(text) if is_sequence(text.as_bytes()) => text,
        Some(text) => return Err(not_a_sequence(&text).within("SequenceNumber")),
        None => return Err(Fault::missing().within("SequenceNumber")),
    };
    Ok(RecordSpans {
        sequence: span_of(layout, body, bytes_of(sequence)),
        partition_key: partition_key.map(|key| span_of(layout, body, bytes_of(key))),
        arrived: arrived.unwrap_or(0),
        data: match data {
            Some(SentData::Base64(text)) => {
                add_data(layout, Data::Base64(&text));
                DataSpan::Base64(span_of(layout, body, bytes_of(text)))
            }
            Some(SentData::Raw(bytes)) => {
                add_data(layout, Data::Raw(&bytes));
                DataSpan::Raw(span_of(layout, body, bytes))
            }
            // Missing data counts as empty, because no record may be dropped.
            None => DataSpan::Raw(span_of(layout, body, Cow::Borrowed(&[]))),
        },
    })
}

/// Adds the data of the next record to the totals and the index of the layout.
#[inline]
pub(super) fn add_data(layout: &mut Layout, data: Data<'_>) {
    layout.size += data.size();
    if kpl::may_be_aggregate(data) {
        layout.aggregates.push(layout.records.len() as u32);
    }
}

/// Returns where a part is. If it is not borrowed from the body, it is copied to the side buffer. The side buffer never
/// gets larger than the body, so offsets into both together fit into `u32`.
fn span_of(layout: &mut Layout, body: &[u8], part: Cow<'_, [u8]>) -> Span {
    if let Cow::Borrowed(part) = part
        && let Some(start) = part.as_ptr().addr().checked_sub(body.as_ptr().addr())
        && let Some(end) = start.checked_add(part.len())
        && end <= body.len()
    {
        return Span::new(start, end);
    }
    let start = body.len() + layout.side_buffer.len();
    layout.side_buffer.extend_from_slice(&part);
    Span::new(start, start + part.len())
}

fn bytes_of(text: Cow<'_, str>) -> Cow<'_, [u8]> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}

fn child(source: &mut dyn Source<'_>) -> Result<Child, Fault> {
    let mut child = Child { id: String::new(), parents: Vec::new(), hash_range: None };
    let mut members = source.object()?.ok_or_else(Fault::missing)?;
    while let Some(key) = source.member(&mut members)? {
        match &*key {
            "ShardId" => child.id = shard_id(source, "ShardId")?.unwrap_or_default(),
            "ParentShards" => {
                child.parents = list(source, RELATIVES_MAX, |source| identifier(source.text()?))
                    .map_err(|fault| fault.within("ParentShards"))?
                    .unwrap_or_default()
                    .into_iter()
                    .flatten()
                    .collect();
            }
            "HashKeyRange" => child.hash_range = hash_range(source)?,
            _ => source.skip()?,
        }
    }
    if child.id.is_empty() { Err(Fault::missing().within("ShardId")) } else { Ok(child) }
}

pub(super) fn listing(source: &mut dyn Source<'_>) -> Result<Listing, Fault> {
    let (mut shards, mut next_token) = (None, None);
    let mut members = source.object()?.ok_or_else(Fault::missing)?;
    while let Some(key) = source.member(&mut members)? {
        match &*key {
            "Shards" => shards = list(source, SHARDS_MAX, shard).map_err(|fault| fault.within("Shards"))?,
            "NextToken" => next_token = opaque(source, "NextToken", TOKEN_MAX)?,
            _ => source.skip()?,
        }
    }
    source.end()?;
    let shards = shards.ok_or_else(|| Fault::missing().within("Shards"))?;
    Ok(Listing { shards, next_token })
}

fn shard(source: &mut dyn Source<'_>) -> Result<ListedShard, Fault> {
    let (mut id, mut parent, mut adjacent, mut hash_range_) = (None, None, None, None);
    let (mut starting, mut ending) = (None, None);
    let mut members = source.object()?.ok_or_else(Fault::missing)?;
    while let Some(key) = source.member(&mut members)? {
        match &*key {
            "ShardId" => id = shard_id(source, "ShardId")?,
            "ParentShardId" => parent = shard_id(source, "ParentShardId")?,
            "AdjacentParentShardId" => adjacent = shard_id(source, "AdjacentParentShardId")?,
            "HashKeyRange" => hash_range_ = hash_range(source)?,
            "SequenceNumberRange" => {
                (starting, ending) =
                    pair(source, "SequenceNumberRange", "StartingSequenceNumber", "EndingSequenceNumber")?;
            }
            _ => source.skip()?,
        }
    }
    // An open shard has no ending; some servers write the word "null" for it.
    let ending = ending.filter(|text| text != "null");
    // The ending decides whether records can still arrive, so an invalid one is not ignored.
    let parse = |text: String| Sequence::parse(&text).map_err(|_| not_a_sequence(&text));
    let ending = ending.map(parse).transpose().map_err(|fault| fault.within("SequenceNumberRange"))?;
    Ok(ListedShard {
        id: id.ok_or_else(|| Fault::missing().within("ShardId"))?,
        parents: [parent, adjacent].into_iter().flatten().collect(),
        closed: ending.is_some(),
        starting: starting.and_then(|text| Sequence::parse(&text).ok()),
        ending,
        hash_range: hash_range_,
    })
}

pub(super) fn iterator(source: &mut dyn Source<'_>) -> Result<String, Fault> {
    let mut iterator = None;
    let mut members = source.object()?.ok_or_else(Fault::missing)?;
    while let Some(key) = source.member(&mut members)? {
        match &*key {
            "ShardIterator" => iterator = opaque(source, "ShardIterator", ITERATOR_MAX)?,
            _ => source.skip()?,
        }
    }
    source.end()?;
    iterator.ok_or_else(|| Fault::missing().within("ShardIterator"))
}

pub(super) fn summary(source: &mut dyn Source<'_>) -> Result<Summary, Fault> {
    const OUTER: &str = "StreamDescriptionSummary";
    let mut summary = None;
    let mut members = source.object()?.ok_or_else(Fault::missing)?;
    while let Some(key) = source.member(&mut members)? {
        match &*key {
            OUTER => summary = description(source).map_err(|fault| fault.within(OUTER))?,
            _ => source.skip()?,
        }
    }
    source.end()?;
    summary.ok_or_else(|| Fault::missing().within(OUTER))
}

fn description(source: &mut dyn Source<'_>) -> Result<Option<Summary>, Fault> {
    let (mut name, mut arn, mut created, mut retention_hours, mut status) = (None, None, None, None, None);
    let Some(mut members) = source.object()? else { return Ok(None) };
    while let Some(key) = source.member(&mut members)? {
        match &*key {
            "StreamName" => name = non_empty(source, "StreamName")?,
            "StreamARN" => arn = non_empty(source, "StreamARN")?,
            "StreamStatus" => status = non_empty(source, "StreamStatus")?,
            "StreamCreationTimestamp" => {
                created = source.time().map_err(|fault| fault.within("StreamCreationTimestamp"))?;
            }
            "RetentionPeriodHours" => {
                retention_hours = source.count().map_err(|fault| fault.within("RetentionPeriodHours"))?;
            }
            _ => source.skip()?,
        }
    }
    // The ARN becomes part of the checkpoint, by which later runs recognize the stream.
    let arn = arn.ok_or_else(|| Fault::missing().within("StreamARN"))?;
    if stream_of(&arn).is_none() {
        return Err(Fault::new("not the ARN of a stream", &arn).within("StreamARN"));
    }
    Ok(Some(Summary {
        name: name.ok_or_else(|| Fault::missing().within("StreamName"))?,
        arn,
        created,
        retention_hours: retention_hours.map(|hours| u32::try_from(hours).unwrap_or(u32::MAX)),
        status,
    }))
}

/// What the body of a rejection says, if anything.
#[derive(Default)]
pub(super) struct Details {
    pub(super) code: Option<String>,
    pub(super) message: Option<String>,
}

/// Reads the body of a rejection. The service puts the name of the error in `__type` and its message in `message`, or
/// in `Message` if they come from the layer in front of it. Gateways and emulators also use `code`.
pub(super) fn rejection(source: &mut dyn Source<'_>) -> Result<Details, Fault> {
    let (mut kind, mut code, mut message) = (None, None, None);
    let mut members = source.object()?.ok_or_else(Fault::missing)?;
    while let Some(key) = source.member(&mut members)? {
        match &*key {
            "__type" => kind = non_empty(source, "__type")?,
            "code" | "Code" => code = non_empty(source, "code")?.or(code),
            "message" | "Message" | "errorMessage" => message = non_empty(source, "message")?.or(message),
            _ => source.skip()?,
        }
    }
    source.end()?;
    Ok(Details { code: kind.or(code), message })
}

/// Reads text, treating empty text like null.
fn non_empty(source: &mut dyn Source<'_>, key: &str) -> Result<Option<String>, Fault> {
    let text = source.text().map_err(|fault| fault.within(key))?;
    Ok(text.filter(|text| !text.is_empty()).map(Cow::into_owned))
}

/// Reads a shard id.
fn shard_id(source: &mut dyn Source<'_>, key: &str) -> Result<Option<String>, Fault> {
    source.text().and_then(identifier).map_err(|fault| fault.within(key))
}

fn identifier(text: Option<Cow<'_, str>>) -> Result<Option<String>, Fault> {
    match text {
        None => Ok(None),
        Some(text) if text.is_empty() => Ok(None),
        Some(text) if is_name(&text) => Ok(Some(text.into_owned())),
        Some(text) => Err(Fault::new("not a shard id", &text)),
    }
}

/// Reads a token that is only sent back to the service.
fn opaque(source: &mut dyn Source<'_>, key: &str, max: usize) -> Result<Option<String>, Fault> {
    match source.text().map_err(|fault| fault.within(key))? {
        Some(text) if text.len() > max => {
            Err(Fault::forbidden(format!("longer than {max} bytes: {}", text.len())).within(key))
        }
        text => Ok(text.filter(|text| !text.is_empty()).map(Cow::into_owned)),
    }
}

fn not_a_sequence(text: &str) -> Fault {
    Fault::new("not a sequence number", text)
}

fn list<'a, T>(
    source: &mut dyn Source<'a>,
    max: usize,
    item: fn(&mut dyn Source<'a>) -> Result<T, Fault>,
) -> Result<Option<Vec<T>>, Fault> {
    let Some(mut elements) = source.array()? else { return Ok(None) };
    let mut items = Vec::new();
    while source.element(&mut elements)? {
        if items.len() == max {
            return Err(Fault::too_many(max));
        }
        items.push(item(source).map_err(|fault| fault.at(items.len()))?);
    }
    Ok(Some(items))
}

/// Reads a hash key range. An invalid range is treated as unknown: it is only needed to drop user records of other
/// shards.
fn hash_range(source: &mut dyn Source<'_>) -> Result<Option<HashRange>, Fault> {
    let (starting, ending) = pair(source, "HashKeyRange", "StartingHashKey", "EndingHashKey")?;
    Ok(starting.zip(ending).and_then(|(first, last)| HashRange::parse(&first, &last)))
}

/// Reads an object of two texts.
fn pair(
    source: &mut dyn Source<'_>,
    outer: &str,
    first: &str,
    second: &str,
) -> Result<(Option<String>, Option<String>), Fault> {
    let mut found = (None, None);
    let Some(mut members) = source.object().map_err(|fault| fault.within(outer))? else { return Ok(found) };
    while let Some(key) = source.member(&mut members).map_err(|fault| fault.within(outer))? {
        if key == first {
            found.0 = non_empty(source, first).map_err(|fault| fault.within(outer))?;
        } else if key == second {
            found.1 = non_empty(source, second).map_err(|fault| fault.within(outer))?;
        } else {
            source.skip().map_err(|fault| fault.within(outer))?;
        }
    }
    Ok(found)
}

/// What is wrong with a body, and where. Boxed to keep results small, because every value of a record returns one.
#[derive(Debug)]
pub(super) struct Fault(Box<FaultDetails>);

#[derive(Debug)]
struct FaultDetails {
    path: String,
    what: String,
    is_forbidden: bool,
}

impl Fault {
    /// A value that the service's model forbids. The message quotes the start of the value.
    #[cold]
    pub(super) fn new(what: &str, value: impl fmt::Display) -> Self {
        let start: String = value.to_string().chars().take(80).collect();
        Self::forbidden(format!("{what}: \"{}\"", printable(&start)))
    }

    /// A syntax error at a byte of the body.
    #[cold]
    pub(super) fn at_byte(what: &str, position: usize) -> Self {
        Self::other(format!("{what} at byte {position}"))
    }

    #[cold]
    fn missing() -> Self {
        Self::other("missing".to_string())
    }

    #[cold]
    fn too_many(max: usize) -> Self {
        Self::forbidden(format!("more than {max}"))
    }

    /// Something that the service's model forbids.
    fn forbidden(what: String) -> Self {
        Self(Box::new(FaultDetails { path: String::new(), what, is_forbidden: true }))
    }

    fn other(what: String) -> Self {
        Self(Box::new(FaultDetails { path: String::new(), what, is_forbidden: false }))
    }

    /// Adds the key of the enclosing member to the path.
    #[cold]
    fn within(mut self, key: &str) -> Self {
        let FaultDetails { path, .. } = &mut *self.0;
        *path = match path.as_bytes().first() {
            None => key.to_string(),
            Some(b'[') => format!("{key}{path}"),
            Some(_) => format!("{key}.{path}"),
        };
        self
    }

    /// Adds the index of the enclosing element to the path.
    #[cold]
    fn at(mut self, index: usize) -> Self {
        let FaultDetails { path, .. } = &mut *self.0;
        let dot = if path.is_empty() { "" } else { "." };
        *path = format!("[{index}]{dot}{path}");
        self
    }
}

impl From<Fault> for Unintelligible {
    fn from(fault: Fault) -> Self {
        let FaultDetails { path, what, is_forbidden } = *fault.0;
        let why = if path.is_empty() { what } else { format!("{path}: {what}") };
        Unintelligible { why, is_forbidden }
    }
}

#[cfg(test)]
mod tests {
    use std::string::String;
    use std::vec::Vec;

    use minicbor::Encoder;
    use proptest::prelude::*;

    use crate::pages::page::{Data, Record};
    use crate::wire::{Body, decode_page};

    const KEYS: [&str; 5] = ["SequenceNumber", "ApproximateArrivalTimestamp", "Data", "PartitionKey", "EncryptionType"];

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_members_of_a_record_may_come_in_any_order(order in Just(KEYS.to_vec()).prop_shuffle(), known: bool) {
            let members: Vec<String> = order.iter().map(|key| {
                let value = match *key {
                    "SequenceNumber" => "\"49\"",
                    "ApproximateArrivalTimestamp" => "1763900000.124",
                    "Data" => "\"YQ==\"",
                    "PartitionKey" => "\"k\"",
                    _ => "[\"KMS\"]",
                };
                let key = if known { String::from(*key) } else { key.replace('a', r"\u0061") };
                std::format!("\"{key}\":{value}")
            }).collect();
            let json = std::format!("{{\"Records\":[{{{}}}]}}", members.join(","));

            let mut cbor = Encoder::new(Vec::new());
            cbor.begin_map()?.str("Records")?.array(1)?;
            if known { cbor.map(KEYS.len() as u64)? } else { cbor.begin_map()? };
            for key in &order {
                cbor.str(key)?;
                match *key {
                    "SequenceNumber" => cbor.str("49")?,
                    "ApproximateArrivalTimestamp" => cbor.tag(minicbor::data::IanaTag::Timestamp)?.u64(1_763_900_000_124)?,
                    "Data" => cbor.bytes(b"a")?,
                    "PartitionKey" => cbor.str("k")?,
                    _ => cbor.array(1)?.str("KMS")?,
                };
            }
            if !known { cbor.end()?; }
            cbor.end()?;

            for (body, data) in [(Body::Json(json), Data::Base64("YQ==")), (Body::Cbor(cbor.into_writer()), Data::Raw(b"a"))] {
                let plain_key = matches!(body, Body::Json(_));
                let page = decode_page(body).expect("a page");
                let record = Record { sequence: "49", partition_key: Some("k"), plain_key, arrived: 1_763_900_000_124, data };
                prop_assert_eq!(page.records().collect::<Vec<_>>(), [record]);
            }
        }
    }
}
