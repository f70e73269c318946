//! The format of aggregated records, in which the Kinesis Producer Library packs several user records.
//!
//! ```text
//! F3 89 9A C2 | AggregatedRecord in protobuf | MD5 of the protobuf, 16 bytes
//!
//! message AggregatedRecord { repeated string partition_key_table     = 1;
//!                            repeated string explicit_hash_key_table = 2;
//!                            repeated Record records                 = 3; }
//! message Record { required uint64 partition_key_index     = 1;
//!                  optional uint64 explicit_hash_key_index = 2;
//!                  required bytes  data                    = 3;
//!                  repeated Tag    tags                    = 4; }
//! message Tag    { required string key                     = 1;
//!                  optional string value                   = 2; }
//! ```
//! <https://github.com/awslabs/amazon-kinesis-producer/blob/master/aggregation-format.md>
//!
//! Whether a record is an aggregate depends on its bytes alone, so that its messages have the same positions and ids
//! every time. A record that deviates from the format in any way (a wrong checksum, invalid protobuf, an index without
//! an entry, a key that is not UTF-8, an explicit hash key that is not a number, no user records) is not an aggregate.
//! It becomes a single, unchanged message: nothing is dropped because we cannot parse it.
//!
//! Values longer than the service allows also deviate from the format. A table entry is stored once but rendered with
//! each user record that refers to it, so without a limit the lines of a 1 MiB record could take gigabytes. An empty
//! partition key, which the service rejects, does no harm: the Kinesis Client Library accepts it, and so do we.

use core::ops::Range;

use md5::{Digest, Md5};
use micropb::{PbDecoder, WIRE_TYPE_LEN, WIRE_TYPE_VARINT};

use crate::pages::hash_key;
use crate::pages::page::Data;

const MAGIC: [u8; 4] = [0xF3, 0x89, 0x9A, 0xC2];
const DIGEST_SIZE: usize = 16;

/// "Partition keys are Unicode strings with a maximum length limit of 256 characters for each key"
/// (<https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecordsRequestEntry.html>). The producer library
/// also rejects longer ones (`KinesisProducer.addUserRecord`).
const PARTITION_KEY_CHARS_MAX: usize = 256;

/// "Pattern: 0|([1-9]\d{0,38})" (`ExplicitHashKey`,
/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecordsRequestEntry.html>).
const EXPLICIT_HASH_KEY_DIGITS_MAX: usize = 39;

/// "Tags are not yet implemented in the KPL and KCL APIs", says the description of the format, which does not limit
/// their length. These are the limits of the service's own tags: 128 characters for a key and 256 for a value
/// (<https://docs.aws.amazon.com/kinesis/latest/APIReference/API_Tag.html>).
const TAG_KEY_CHARS_MAX: usize = 128;
const TAG_VALUE_CHARS_MAX: usize = 256;

/// "You can assign up to 50 tags to a data stream"
/// (<https://docs.aws.amazon.com/kinesis/latest/APIReference/API_AddTagsToStream.html>).
const TAGS_MAX: usize = 50;

/// Whether data starts like an aggregate. In base64, `84maw` encodes the first 30 bits of the magic number, and the
/// last two bits are the first ones of the sixth character.
#[inline]
pub(crate) fn may_be_aggregate(data: Data<'_>) -> bool {
    match data {
        Data::Base64(text) => matches!(text.as_bytes(), [b'8', b'4', b'm', b'a', b'w', b'g'..=b'v', ..]),
        Data::Raw(bytes) => bytes.starts_with(&MAGIC),
    }
}

/// Returns where the protobuf is in the data of an aggregate, if its checksum matches.
pub(crate) fn body(data: &[u8]) -> Option<Range<usize>> {
    let (body, digest) = data.strip_prefix(&MAGIC)?.split_last_chunk::<DIGEST_SIZE>()?;
    let matches = !body.is_empty() && Md5::digest(body).as_slice() == digest;
    matches.then_some(MAGIC.len()..MAGIC.len() + body.len())
}

/// The error for a body that deviates from the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// An entry of an aggregate's tables, or one of its user records.
pub(crate) enum Part<'a> {
    PartitionKey(&'a str),
    ExplicitHashKey(u128),
    UserRecord(UserRecord<'a>),
}

/// A user record. Its keys are indexes into the tables.
pub(crate) struct UserRecord<'a> {
    pub(crate) partition_key: usize,
    pub(crate) explicit_hash_key: Option<usize>,
    pub(crate) data: &'a [u8],
}

/// Reads the body of an aggregate from front to back. Parts may come in any order.
pub(crate) struct Parts<'a> {
    body: &'a [u8],
    fields: Fields<'a>,
    /// Where the last part started.
    last: usize,
}

impl<'a> Parts<'a> {
    /// Starts at byte `start` of the body, where a part must start.
    pub(crate) fn new(body: &'a [u8], start: usize) -> Parts<'a> {
        Parts { body, fields: Fields::new(body.get(start..).unwrap_or_default()), last: start }
    }

    /// Returns where in the body the part that was read last started.
    pub(crate) fn last(&self) -> usize {
        self.last
    }

    pub(crate) fn next(&mut self) -> Result<Option<Part<'a>>, Malformed> {
        loop {
            self.last = self.body.len() - self.fields.rest().len();
            let Some((number, value)) = self.fields.next()? else { return Ok(None) };
            let Value::Bytes(bytes) = value else { continue };
            return Ok(Some(match number {
                1 => Part::PartitionKey(text(bytes, PARTITION_KEY_CHARS_MAX)?),
                2 => Part::ExplicitHashKey(explicit_hash_key(bytes)?),
                3 => Part::UserRecord(user_record(bytes)?),
                _ => continue,
            }));
        }
    }
}

/// Parses UTF-8 text of at most `chars_max` characters.
fn text(bytes: &[u8], chars_max: usize) -> Result<&str, Malformed> {
    let text = core::str::from_utf8(bytes).map_err(|_| Malformed)?;
    let is_short = text.len() <= chars_max || text.chars().nth(chars_max).is_none();
    if is_short { Ok(text) } else { Err(Malformed) }
}

fn explicit_hash_key(bytes: &[u8]) -> Result<u128, Malformed> {
    hash_key::explicit(text(bytes, EXPLICIT_HASH_KEY_DIGITS_MAX)?).ok_or(Malformed)
}

fn user_record(bytes: &[u8]) -> Result<UserRecord<'_>, Malformed> {
    let (mut partition_key, mut explicit_hash_key, mut data, mut tags) = (None, None, None, 0);
    let mut fields = Fields::new(bytes);
    while let Some((number, value)) = fields.next()? {
        match (number, value) {
            (1, Value::Number(index)) => partition_key = Some(usize::try_from(index).map_err(|_| Malformed)?),
            (2, Value::Number(index)) => explicit_hash_key = Some(usize::try_from(index).map_err(|_| Malformed)?),
            (3, Value::Bytes(bytes)) => data = Some(bytes),
            (4, Value::Bytes(bytes)) => {
                check_tag(bytes)?;
                tags += 1;
            }
            (_, Value::Number(_) | Value::Bytes(_) | Value::Fixed) => {}
        }
    }
    match (partition_key, data) {
        (Some(partition_key), Some(data)) if tags <= TAGS_MAX => {
            Ok(UserRecord { partition_key, explicit_hash_key, data })
        }
        (Some(_) | None, _) => Err(Malformed),
    }
}

/// Checks the format of a tag. Tags are otherwise ignored.
fn check_tag(bytes: &[u8]) -> Result<(), Malformed> {
    let mut key = None;
    let mut fields = Fields::new(bytes);
    while let Some((number, value)) = fields.next()? {
        match (number, value) {
            (1, Value::Bytes(bytes)) => key = Some(text(bytes, TAG_KEY_CHARS_MAX)?),
            (2, Value::Bytes(bytes)) => {
                text(bytes, TAG_VALUE_CHARS_MAX)?;
            }
            (_, Value::Number(_) | Value::Bytes(_) | Value::Fixed) => {}
        }
    }
    key.map(|_| ()).ok_or(Malformed)
}

/// Reads the fields of a protobuf message.
struct Fields<'a>(PbDecoder<&'a [u8]>);

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// A number of fixed length, which no known field has.
    Fixed,
}

impl<'a> Fields<'a> {
    fn new(bytes: &'a [u8]) -> Fields<'a> {
        Fields(PbDecoder::new(bytes))
    }

    fn rest(&self) -> &'a [u8] {
        self.0.as_reader()
    }

    fn next(&mut self) -> Result<Option<(u32, Value<'a>)>, Malformed> {
        if self.rest().is_empty() {
            return Ok(None);
        }
        let tag = self.0.decode_tag().map_err(|_| Malformed)?;
        let value = match tag.wire_type() {
            WIRE_TYPE_VARINT => Value::Number(self.0.decode_varint64().map_err(|_| Malformed)?),
            WIRE_TYPE_LEN => {
                let length = self.0.decode_varint64().map_err(|_| Malformed)?;
                let length = usize::try_from(length).map_err(|_| Malformed)?;
                let bytes = self.rest().get(..length).ok_or(Malformed)?;
                self.0.skip_bytes(length).map_err(|_| Malformed)?;
                Value::Bytes(bytes)
            }
            fixed => {
                self.0.skip_wire_value(fixed).map_err(|_| Malformed)?;
                Value::Fixed
            }
        };
        // Field numbers start at 1.
        if tag.field_num() == 0 { Err(Malformed) } else { Ok(Some((tag.field_num(), value))) }
    }
}
