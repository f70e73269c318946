//! Records that the Kinesis Producer Library made of many: aggregates of user records.
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
//! ```
//! <https://github.com/awslabs/amazon-kinesis-producer/blob/master/aggregation-format.md>
//!
//! Whether a record is an aggregate is decided by its bytes alone, so that its messages have the same places and
//! identifiers each time. What departs from the form in any way (another checksum, no protobuf, an index without its
//! entry, a key that is not UTF-8, an explicit hash key that is no number, no user record at all) is no aggregate, and
//! one message as it is: nothing is dropped because it cannot be understood.

use core::ops::Range;

use md5::{Digest, Md5};
use micropb::{PbDecoder, WIRE_TYPE_LEN, WIRE_TYPE_VARINT};

use crate::page::Data;

const MAGIC: [u8; 4] = [0xF3, 0x89, 0x9A, 0xC2];
const DIGEST_SIZE: usize = 16;

/// Whether data begin as an aggregate's do. Of base64 the first characters tell, for `84maw` are the first 30 bits of
/// the magic number, and its last two are the first of the next character.
#[inline]
pub(crate) fn may_be_aggregate(data: Data<'_>) -> bool {
    match data {
        Data::Base64(text) => matches!(text.as_bytes(), [b'8', b'4', b'm', b'a', b'w', b'g'..=b'v', ..]),
        Data::Raw(bytes) => bytes.starts_with(&MAGIC),
    }
}

/// Where the protobuf lies in the data of an aggregate, if their checksum holds.
pub(crate) fn body(data: &[u8]) -> Option<Range<usize>> {
    let (body, digest) = data.strip_prefix(&MAGIC)?.split_last_chunk::<DIGEST_SIZE>()?;
    let sound = !body.is_empty() && Md5::digest(body).as_slice() == digest;
    sound.then_some(MAGIC.len()..MAGIC.len() + body.len())
}

/// The body is not of the form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// An entry of an aggregate's tables, or one of its user records.
pub(crate) enum Part<'a> {
    PartitionKey(&'a str),
    ExplicitHashKey(&'a str),
    UserRecord(UserRecord<'a>),
}

/// A user record, with the numbers of its keys in the tables.
pub(crate) struct UserRecord<'a> {
    pub(crate) partition_key: usize,
    pub(crate) explicit_hash_key: Option<usize>,
    pub(crate) data: &'a [u8],
}

/// The body of an aggregate, read from front to back. Parts may come in any order.
pub(crate) struct Parts<'a> {
    body: &'a [u8],
    fields: Fields<'a>,
    /// Where the last part began.
    last: usize,
}

impl<'a> Parts<'a> {
    /// From byte `start` of the body on, where a part begins.
    pub(crate) fn new(body: &'a [u8], start: usize) -> Parts<'a> {
        Parts { body, fields: Fields::new(body.get(start..).unwrap_or_default()), last: start }
    }

    /// Where in the body the part began that was read last.
    pub(crate) fn last(&self) -> usize {
        self.last
    }

    pub(crate) fn next(&mut self) -> Result<Option<Part<'a>>, Malformed> {
        loop {
            self.last = self.body.len() - self.fields.rest().len();
            let Some((number, value)) = self.fields.next()? else { return Ok(None) };
            let Value::Bytes(bytes) = value else { continue };
            let text = || core::str::from_utf8(bytes).map_err(|_| Malformed);
            return Ok(Some(match number {
                1 => Part::PartitionKey(text()?),
                2 => Part::ExplicitHashKey(text()?),
                3 => Part::UserRecord(user_record(bytes)?),
                _ => continue,
            }));
        }
    }
}

fn user_record(bytes: &[u8]) -> Result<UserRecord<'_>, Malformed> {
    let (mut partition_key, mut explicit_hash_key, mut data) = (None, None, None);
    let mut fields = Fields::new(bytes);
    while let Some((number, value)) = fields.next()? {
        match (number, value) {
            (1, Value::Number(index)) => partition_key = Some(usize::try_from(index).map_err(|_| Malformed)?),
            (2, Value::Number(index)) => explicit_hash_key = Some(usize::try_from(index).map_err(|_| Malformed)?),
            (3, Value::Bytes(bytes)) => data = Some(bytes),
            (_, Value::Number(_) | Value::Bytes(_) | Value::Fixed) => {}
        }
    }
    match (partition_key, data) {
        (Some(partition_key), Some(data)) => Ok(UserRecord { partition_key, explicit_hash_key, data }),
        (Some(_) | None, None) | (None, Some(_)) => Err(Malformed),
    }
}

/// The fields of a protobuf message, as they lie in it.
struct Fields<'a>(PbDecoder<&'a [u8]>);

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// Of a fixed length: no field that is known has one.
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
        // Zero numbers no field.
        if tag.field_num() == 0 { Err(Malformed) } else { Ok(Some((tag.field_num(), value))) }
    }
}
