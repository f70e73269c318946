//! The reader that a Rust user writes: a loop on aws-sdk-kinesis, with serde_json, that adds the envelope to each
//! payload and appends lines to a file.
//!
//! `sdk URL STREAM FILE`

use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::{Config, Credentials, Region};
use aws_sdk_kinesis::primitives::DateTimeFormat;
use aws_sdk_kinesis::types::{Record, ShardIteratorType};
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
    ts: String,
    partition: Option<&'a str>,
    stream_name: &'a str,
}

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
    let line = Line {
        _kinesis: Envelope {
            shard_id: shard,
            seq_no: record.sequence_number(),
            ts,
            partition: record.partition_key(),
            stream_name: stream,
        },
        _kinesis_msg_id: message_id(shard, record.sequence_number()),
        payload: serde_json::from_slice(record.data().as_ref())?,
    };
    serde_json::to_writer(&mut *out, &line)?;
    out.write_all(b"\n")?;
    Ok(())
}

fn message_id(shard: &str, sequence: &str) -> String {
    use std::fmt::Write;
    let digest = Sha256::new().chain_update(shard).chain_update("/").chain_update(sequence).finalize();
    digest.iter().take(16).fold(String::with_capacity(32), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
