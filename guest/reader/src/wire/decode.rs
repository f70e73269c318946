//! The answers: what each holds, in either encoding.
//!
//! A [`Source`] reads a body from front to back, value by value. The functions here know the members of each answer and
//! take what the reader needs, the same in both encodings. [`page`] is on the path of every record, hence no tree of
//! values, and no allocation for what lies in the body as it is; a record in its usual form takes a shorter way.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use super::{Body, ListedShard, Listing, Summary, Unintelligible};
use crate::hash_key::HashRange;
use crate::identifier::{is_name, stream_of};
use crate::kpl;
use crate::page::{Child, Data, DataSpan, Layout, RecordSpans, Span};
use crate::printable::printable;
use crate::sequence::{Sequence, is_sequence};

/// A body read from front to back. Each function reads one value, or the next part of one; `None` is a null.
pub(super) trait Source<'a> {
    fn object(&mut self) -> Result<Option<Rest>, Fault>;
    /// Reads the key of the next member, whose value is to be read next. `None`: there are no more.
    fn member(&mut self, rest: &mut Rest) -> Result<Option<Cow<'a, str>>, Fault>;
    fn array(&mut self) -> Result<Option<Rest>, Fault>;
    /// Whether there is a further element, which is to be read next.
    fn element(&mut self, rest: &mut Rest) -> Result<bool, Fault>;
    /// Borrowed where it lies in the body as it is.
    fn text(&mut self) -> Result<Option<Cow<'a, str>>, Fault>;
    fn data(&mut self) -> Result<Option<SentData<'a>>, Fault>;
    /// In milliseconds, rounded; 0 if before the epoch.
    fn time(&mut self) -> Result<Option<u64>, Fault>;
    /// Rounded; 0 if negative.
    fn count(&mut self) -> Result<Option<u64>, Fault>;
    /// Reads the next element as a record into the layout, if it is one in its usual form; else nothing is read.
    fn usual_record(&mut self, layout: &mut Layout) -> bool;
    /// Reads a value of any kind and forgets it.
    fn skip(&mut self) -> Result<(), Fault>;
    /// Nothing may follow the one value of a body.
    fn end(&mut self) -> Result<(), Fault>;
}

/// What is left of an object or an array, as far as either encoding has to know.
pub(super) struct Rest {
    /// Nothing of it was read.
    pub(super) first: bool,
    /// The number of its parts, where it tells it beforehand.
    pub(super) left: Option<u64>,
}

/// The data of a record as it was sent.
pub(super) enum SentData<'a> {
    Base64(Cow<'a, str>),
    Raw(Cow<'a, [u8]>),
}

/// The most bytes of a body. The service's own bound is 10 MiB of data, which is 13.4 MiB in base64.
const BODY_MAX: usize = 64 << 20;
/// "GetRecords: Limit: Valid Range: Minimum value of 1. Maximum value of 10000."
/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetRecords.html>
const RECORDS_MAX: usize = 10_000;
/// "ListShards: MaxResults: Valid Range: Minimum value of 1. Maximum value of 10000."
/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_ListShards.html>
const SHARDS_MAX: usize = 10_000;
/// The most shards that follow one shard or precede it; the service has two.
const RELATIVES_MAX: usize = 100;
/// "ListShards: NextToken: Maximum length of 1048576."
/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_ListShards.html>
const TOKEN_MAX: usize = 1_048_576;
/// "GetRecords: NextShardIterator: Maximum length of 512." Emulators encode the names of the stream and the shard and the
/// sequence number, which takes about 400 bytes at most. This leaves room for others.
/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetRecords.html>
const ITERATOR_MAX: usize = 4096;
/// Values within values, in what is passed over.
pub(super) const DEPTH_MAX: u32 = 100;
/// The end of the year 9999, in milliseconds: the last time that has a date of the usual form.
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

/// Whether there was an array at all.
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
        sequence: lay(layout, body, bytes_of(sequence)),
        partition_key: partition_key.map(|key| lay(layout, body, bytes_of(key))),
        arrived: arrived.unwrap_or(0),
        data: match data {
            Some(SentData::Base64(text)) => {
                note(layout, Data::Base64(&text));
                DataSpan::Base64(lay(layout, body, bytes_of(text)))
            }
            Some(SentData::Raw(bytes)) => {
                note(layout, Data::Raw(&bytes));
                DataSpan::Raw(lay(layout, body, bytes))
            }
            // A blob that is left out is an empty one: a record is never dropped.
            None => DataSpan::Raw(lay(layout, body, Cow::Borrowed(&[]))),
        },
    })
}

/// Notes of the next record's data what is asked of them later.
#[inline]
pub(super) fn note(layout: &mut Layout, data: Data<'_>) {
    layout.size += data.size();
    if kpl::may_be_aggregate(data) {
        layout.aggregates.push(layout.records.len() as u32);
    }
}

/// Notes where a part lies, if in the body; else keeps it apart. No sum of parts is larger than the body, so that both
/// together fit `u32`.
fn lay(layout: &mut Layout, body: &[u8], part: Cow<'_, [u8]>) -> Span {
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
    // It decides whether records can still arrive, so an invalid one is not ignored.
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
            "StreamName" => name = named(source, "StreamName")?,
            "StreamARN" => arn = named(source, "StreamARN")?,
            "StreamStatus" => status = named(source, "StreamStatus")?,
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

/// What a rejection says of itself, if anything.
#[derive(Default)]
pub(super) struct Said {
    pub(super) code: Option<String>,
    pub(super) message: Option<String>,
}

/// The error's name is `__type` in what the service writes, the message `message` or, from the layer before it,
/// `Message`. Gateways and emulators also have `code`.
pub(super) fn rejection(source: &mut dyn Source<'_>) -> Result<Said, Fault> {
    let (mut kind, mut code, mut message) = (None, None, None);
    let mut members = source.object()?.ok_or_else(Fault::missing)?;
    while let Some(key) = source.member(&mut members)? {
        match &*key {
            "__type" => kind = named(source, "__type")?,
            "code" | "Code" => code = named(source, "code")?.or(code),
            "message" | "Message" | "errorMessage" => message = named(source, "message")?.or(message),
            _ => source.skip()?,
        }
    }
    source.end()?;
    Ok(Said { code: kind.or(code), message })
}

/// A text that names something: an empty one names nothing, as a null does.
fn named(source: &mut dyn Source<'_>, key: &str) -> Result<Option<String>, Fault> {
    let text = source.text().map_err(|fault| fault.within(key))?;
    Ok(text.filter(|text| !text.is_empty()).map(Cow::into_owned))
}

/// Reads the identifier of a shard.
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

/// Reads a text that is only sent back.
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

/// A range that is none is not known: only what is made of it is lost.
fn hash_range(source: &mut dyn Source<'_>) -> Result<Option<HashRange>, Fault> {
    let (starting, ending) = pair(source, "HashKeyRange", "StartingHashKey", "EndingHashKey")?;
    Ok(starting.zip(ending).and_then(|(first, last)| HashRange::parse(&first, &last)))
}

/// Two texts in an object of their own.
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
            found.0 = named(source, first).map_err(|fault| fault.within(outer))?;
        } else if key == second {
            found.1 = named(source, second).map_err(|fault| fault.within(outer))?;
        } else {
            source.skip().map_err(|fault| fault.within(outer))?;
        }
    }
    Ok(found)
}

/// What is wrong with a body, and where. Boxed, because it is part of every result on the way of a record.
#[derive(Debug)]
pub(super) struct Fault(Box<Position>);

#[derive(Debug)]
struct Position {
    path: String,
    what: String,
    is_forbidden: bool,
}

impl Fault {
    /// `what` is at fault, `at` says where or shows it.
    #[cold]
    pub(super) fn new(what: &str, at: impl fmt::Display) -> Self {
        // The end of a long value tells no more than its beginning.
        let at: String = at.to_string().chars().take(80).collect();
        Self::forbidden(format!("{what}: \"{}\"", printable(&at)))
    }

    /// At a byte of the body.
    #[cold]
    pub(super) fn at_byte(what: &str, position: usize) -> Self {
        Self::because(format!("{what} at byte {position}"))
    }

    #[cold]
    fn missing() -> Self {
        Self::because("missing".to_string())
    }

    #[cold]
    fn too_many(max: usize) -> Self {
        Self::forbidden(format!("more than {max}"))
    }

    /// A value that the service's model forbids.
    fn forbidden(what: String) -> Self {
        Self(Box::new(Position { path: String::new(), what, is_forbidden: true }))
    }

    fn because(what: String) -> Self {
        Self(Box::new(Position { path: String::new(), what, is_forbidden: false }))
    }

    #[cold]
    fn within(mut self, key: &str) -> Self {
        let Position { path, .. } = &mut *self.0;
        *path = match path.as_bytes().first() {
            None => key.to_string(),
            Some(b'[') => format!("{key}{path}"),
            Some(_) => format!("{key}.{path}"),
        };
        self
    }

    #[cold]
    fn at(mut self, index: usize) -> Self {
        let Position { path, .. } = &mut *self.0;
        let dot = if path.is_empty() { "" } else { "." };
        *path = format!("[{index}]{dot}{path}");
        self
    }
}

impl From<Fault> for Unintelligible {
    fn from(fault: Fault) -> Self {
        let Position { path, what, is_forbidden } = *fault.0;
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

    use crate::page::{Data, Record};
    use crate::wire::{Body, decode_page};

    const KEYS: [&str; 5] = ["SequenceNumber", "ApproximateArrivalTimestamp", "Data", "PartitionKey", "EncryptionType"];

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_members_of_a_record_may_stand_in_any_order(order in Just(KEYS.to_vec()).prop_shuffle(), known: bool) {
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
