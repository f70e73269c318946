//! Hand-written encoder of aggregated records, as written by the Kinesis Producer Library.
//!
//! <https://github.com/awslabs/amazon-kinesis-producer/blob/master/aggregation-format.md>

use md5::{Digest, Md5};

/// A user record, before aggregation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserRecord {
    pub partition_key: String,
    pub explicit_hash_key: Option<u128>,
    pub data: Vec<u8>,
}

impl UserRecord {
    pub fn new(partition_key: &str, data: impl Into<Vec<u8>>) -> UserRecord {
        UserRecord { partition_key: partition_key.to_owned(), explicit_hash_key: None, data: data.into() }
    }

    /// The hash key that determines its shard.
    pub fn hash_key(&self) -> u128 {
        self.explicit_hash_key.unwrap_or_else(|| u128::from_be_bytes(Md5::digest(&self.partition_key).into()))
    }
}

/// Encodes user records as the data of one record.
pub fn aggregate(users: &[UserRecord]) -> Vec<u8> {
    let (mut keys, mut hash_keys) = (Vec::new(), Vec::new());
    let mut records = Vec::new();
    for user in users {
        let mut record = number(1, index(&mut keys, &user.partition_key));
        if let Some(key) = user.explicit_hash_key {
            record.extend(number(2, index(&mut hash_keys, &key.to_string())));
        }
        record.extend(bytes(3, &user.data));
        records.extend(bytes(3, &record));
    }
    let mut body: Vec<u8> = keys.iter().flat_map(|key| bytes(1, key.as_bytes())).collect();
    body.extend(hash_keys.iter().flat_map(|key| bytes(2, key.as_bytes())));
    body.extend(records);
    sealed(&body)
}

/// Adds the magic number and the checksum to a body.
pub fn sealed(body: &[u8]) -> Vec<u8> {
    let mut data = vec![0xF3, 0x89, 0x9A, 0xC2];
    data.extend_from_slice(body);
    data.extend_from_slice(&Md5::digest(body));
    data
}

/// Encodes a protobuf field of bytes or text.
pub fn bytes(field: u64, value: &[u8]) -> Vec<u8> {
    let mut out = varint(field << 3 | 2);
    out.extend(varint(value.len() as u64));
    out.extend_from_slice(value);
    out
}

/// Encodes a protobuf field of a number.
pub fn number(field: u64, value: u64) -> Vec<u8> {
    let mut out = varint(field << 3);
    out.extend(varint(value));
    out
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

/// Returns the index of `text` in a table, adding it if necessary.
fn index(table: &mut Vec<String>, text: &str) -> u64 {
    let at = table.iter().position(|entry| entry == text).unwrap_or_else(|| {
        table.push(text.to_owned());
        table.len() - 1
    });
    at as u64
}
