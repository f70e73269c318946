//! The reader that a Rust user would write: a loop on aws-sdk-kinesis and serde_json that adds the envelope to each
//! payload and appends lines to a file. Aggregated records are decoded with prost.
//!
//! `sdk URL STREAM FILE`

use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::{Config, Credentials, Region};
use aws_sdk_kinesis::primitives::DateTimeFormat;
use aws_sdk_kinesis::types::{Record, ShardIteratorType};
use bytes::Bytes;
use md5::Md5;
use prost::Message;
use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

#[derive(Serialize)]
struct Line<'a> {
    _kinesis: Envelope<'a>,
    _kinesis_msg_id: String,
    #[serde(flatten)]
    payload: Map<String, Value>,
}

#[derive(Serialize)]
struct Envelope<'a> {
    shard_id: &'a str,
    seq_no: &'a str,
    ts: &'a str,
    partition: Option<&'a str>,
    stream_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sub_seq: Option<usize>,
}

/// <https://github.com/awslabs/amazon-kinesis-producer/blob/master/aggregation-format.md>
#[derive(Message)]
struct AggregatedRecord {
    #[prost(string, repeated, tag = "1")]
    partition_key_table: Vec<String>,
    #[prost(message, repeated, tag = "3")]
    records: Vec<UserRecord>,
}

#[derive(Message)]
struct UserRecord {
    #[prost(uint64, required, tag = "1")]
    partition_key_index: u64,
    #[prost(bytes = "bytes", required, tag = "3")]
    data: Bytes,
}

const MAGIC: [u8; 4] = [0xF3, 0x89, 0x9A, 0xC2];

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, stream, file] = arguments.as_slice() else { return Err("usage: sdk URL STREAM FILE".into()) };
    let config = Config::builder()
        .endpoint_url(url)
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "benchmark"))
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    let client = Client::from_conf(config);
    let mut out = BufWriter::with_capacity(1 << 20, File::create(file)?);

    let listing = client.list_shards().stream_name(stream).send().await?;
    for shard in listing.shards() {
        let shard = shard.shard_id();
        let start = client
            .get_shard_iterator()
            .stream_name(stream)
            .shard_id(shard)
            .shard_iterator_type(ShardIteratorType::TrimHorizon)
            .send()
            .await?;
        let mut next = start.shard_iterator;
        while let Some(iterator) = next {
            let page = client.get_records().shard_iterator(iterator).limit(10_000).send().await?;
            for record in page.records() {
                write(shard, stream, record, &mut out)?;
            }
            let at_tip = page.records().is_empty() && page.millis_behind_latest() == Some(0);
            next = page.next_shard_iterator.filter(|_| !at_tip);
        }
    }
    out.flush()?;
    Ok(())
}

fn write(shard: &str, stream: &str, record: &Record, out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let ts = match record.approximate_arrival_timestamp() {
        Some(time) => time.fmt(DateTimeFormat::DateTime)?,
        None => String::new(),
    };
    let sequence = record.sequence_number();
    let data = record.data().as_ref();
    let mut put = |partition: Option<&str>, data: &[u8], sub_seq: Option<usize>| -> Result<(), Box<dyn Error>> {
        let line = Line {
            _kinesis: Envelope {
                shard_id: shard,
                seq_no: sequence,
                ts: &ts,
                partition,
                stream_name: stream,
                sub_seq,
            },
            _kinesis_msg_id: message_id(shard, sequence, sub_seq),
            payload: serde_json::from_slice(data)?,
        };
        serde_json::to_writer(&mut *out, &line)?;
        out.write_all(b"\n")?;
        Ok(())
    };
    let Some(aggregate) = aggregate(data) else { return put(record.partition_key(), data, None) };
    for (number, user) in aggregate.records.iter().enumerate() {
        let key = aggregate.partition_key_table.get(user.partition_key_index as usize);
        put(key.map(String::as_str), &user.data, Some(number))?;
    }
    Ok(())
}

/// Decodes an aggregated record, if it is one.
fn aggregate(data: &[u8]) -> Option<AggregatedRecord> {
    let (body, digest) = data.strip_prefix(&MAGIC)?.split_last_chunk::<16>()?;
    if Md5::digest(body).as_slice() != digest {
        return None;
    }
    AggregatedRecord::decode(Bytes::copy_from_slice(body)).ok()
}

fn message_id(shard: &str, sequence: &str, sub_seq: Option<usize>) -> String {
    use std::fmt::Write;
    let mut hash = Sha256::new().chain_update(shard).chain_update("/").chain_update(sequence);
    if let Some(number) = sub_seq {
        hash = hash.chain_update("/").chain_update(number.to_string());
    }
    let digest = hash.finalize();
    digest.iter().take(16).fold(String::with_capacity(32), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
