//! A page in parts: whatever it holds, and however small the limits on batches and runs are, each message is delivered
//! once and in order, batches stay within their limit, and each run makes progress.
//!
//! The result of several runs with small limits is compared to that of one run without them.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use kinesis_reader_machine::wire::{Body, Operation};
use kinesis_reader_machine::{
    Action, Batch, Config, Instant, Message, Outcome, Payload, Reader, Request, Response, Source, Timestamp, Until,
};
use md5::{Digest, Md5};
use serde_json::{Value, json};

use super::config::PAYLOADS;
use super::page::{first_answer, payload};
use super::{Bytes, envelope};

/// Longer pages would show nothing more.
const RECORDS_MAX: usize = 8;

/// Reads a stream of one shard within limits.
pub fn check(data: &[u8]) {
    let mut bytes = Bytes(data);
    let form = bytes.one(&PAYLOADS);
    let batch_bytes = match bytes.below(4) {
        0 => 1,
        1 => 300 + bytes.below(256) as u32,
        _ => 1 + (bytes.number() % 20_000) as u32,
    };
    let page_records = bytes.one(&[10_000, 1, 2, 5]);
    let messages = bytes.optional_number().map(|most| 1 + most % 8);
    let range = bytes.one(&[None, Some((0, u128::MAX)), Some((0, u128::MAX / 2))]);
    let raw = bytes.below(2) == 1;
    let crashes = bytes.0.to_vec();
    let mut records = Vec::new();
    while !bytes.is_empty() && records.len() < RECORDS_MAX {
        records.push(record(&mut bytes));
    }
    let stream = Stream { records, range, raw, form };

    let whole =
        stream.run(None, &Bounds { batch_bytes: u32::MAX, page_records: 10_000, messages: None }, &mut || false);
    assert!(whole.batches <= 1, "one page became {} batches", whole.batches);
    let bounds = Bounds { batch_bytes, page_records, messages };
    let mut crashes = Bytes(&crashes);
    let (mut lines, mut dropped, mut checkpoint) = (Vec::new(), 0, None);
    for turn in 0.. {
        // Each run delivers a message, except for the last one and those that crash.
        assert!(turn <= whole.lines.len() + data.len() + 1, "{} of {} lines", lines.len(), whole.lines.len());
        // A run crashes before it reports a batch, which is then delivered again.
        let run = stream.run(checkpoint.as_deref(), &bounds, &mut || crashes.byte() % 16 == 15);
        dropped += run.dropped;
        lines.extend(run.lines);
        checkpoint = Some(run.checkpoint);
        if run.ended == Some(Outcome::Reached) {
            break;
        }
    }
    assert_eq!(lines, whole.lines, "{bounds:?}");
    assert_eq!(dropped, whole.dropped, "{bounds:?}");
}

#[derive(Debug)]
struct Bounds {
    batch_bytes: u32,
    page_records: u32,
    messages: Option<u64>,
}

/// The result of a run.
struct Run {
    /// `None` if it crashed.
    ended: Option<Outcome>,
    lines: Vec<String>,
    batches: usize,
    dropped: u64,
    checkpoint: String,
}

struct Stream {
    records: Vec<Vec<u8>>,
    range: Option<(u128, u128)>,
    /// Whether pages are in CBOR, with data as raw bytes.
    raw: bool,
    form: Payload,
}

impl Stream {
    fn run(&self, checkpoint: Option<&str>, bounds: &Bounds, crashes: &mut dyn FnMut() -> bool) -> Run {
        let mut config = Config::new(Source::Name("orders".to_owned()));
        (config.payload, config.until, config.limits.pace) = (self.form, Until::CaughtUp(Default::default()), None);
        config.limits.batch_bytes = bounds.batch_bytes;
        config.limits.page_records = bounds.page_records;
        config.limits.max_messages = bounds.messages;
        let opened = Reader::open(config, checkpoint, 1, Instant(0), Timestamp(0));
        let mut reader = opened.unwrap_or_else(|error| panic!("{error}"));
        let mut now = Instant(0);
        let (mut lines, mut batches, mut pages, mut is_new_page) = (Vec::new(), 0, 0, true);
        // The size of the last batch of the page in bytes.
        let mut filled = 0;
        for _ in 0..100_000 {
            match reader.poll_action() {
                Action::Send(request) => {
                    if request.operation == Operation::GetRecords {
                        (is_new_page, pages) = (true, pages + 1);
                    }
                    let (id, body) = (request.id, self.answer(&request));
                    let response = Response { status: 200, body, aws_request_id: None, date: None, signed: None };
                    reader.handle_response(id, response, now).unwrap_or_else(|misuse| panic!("{misuse}"));
                }
                Action::Deliver(batch) => {
                    let some = render(&batch);
                    let (size, first) = (some.iter().map(String::len).sum(), some[0].len());
                    let most = bounds.batch_bytes as usize;
                    assert!(size <= most || some.len() == 1, "{size} bytes in {} lines: {bounds:?}", some.len());
                    assert!(
                        is_new_page || filled + first > most,
                        "{first} bytes would have fit after {filled}: {bounds:?}"
                    );
                    (is_new_page, filled) = (false, size);
                    if crashes() {
                        let checkpoint = reader.checkpoint();
                        return Run { ended: None, lines, batches, dropped: reader.totals().dropped, checkpoint };
                    }
                    lines.extend(some);
                    batches += 1;
                    reader.handle_delivered(batch.id(), now).unwrap_or_else(|misuse| panic!("{misuse}"));
                    check_checkpoint(&batch, &reader);
                }
                Action::Notice(_) => {}
                Action::Wait(wait) => {
                    now = wait.until.unwrap_or_else(|| panic!("a wait for nothing: {wait:?}"));
                    reader.handle_timeout(now);
                }
                Action::Finish(outcome) => {
                    let totals = reader.totals();
                    assert_eq!(totals.messages, lines.len() as u64);
                    assert!(bounds.messages.is_none_or(|most| totals.messages <= most), "{totals:?}, {bounds:?}");
                    // Small batches must not cause more requests.
                    assert!(pages <= self.records.len() + 3, "{pages} pages for {} records", self.records.len());
                    let checkpoint = reader.checkpoint();
                    return Run { ended: Some(outcome), lines, batches, dropped: totals.dropped, checkpoint };
                }
            }
        }
        panic!("the run does not end");
    }

    fn answer(&self, request: &Request) -> Body {
        let Body::Json(query) = &request.body else { panic!("not JSON") };
        let query: Value = serde_json::from_str(query).expect("valid JSON");
        let text = match request.operation {
            Operation::ListShards => {
                let range = self.range.map(
                    |(first, last)| json!({"StartingHashKey": first.to_string(), "EndingHashKey": last.to_string()}),
                );
                json!({"Shards": [{"ShardId": envelope::SHARD, "HashKeyRange": range}]}).to_string()
            }
            Operation::GetShardIterator => {
                let after = u64::from(query["ShardIteratorType"] == "AFTER_SEQUENCE_NUMBER");
                let from = query["StartingSequenceNumber"].as_str().and_then(|text| text.parse::<u64>().ok());
                json!({"ShardIterator": from.map_or(0, |from| from - 1 + after).to_string()}).to_string()
            }
            Operation::GetRecords => {
                let from: usize =
                    query["ShardIterator"].as_str().and_then(|text| text.parse().ok()).expect("one of our iterators");
                let to = self.records.len().min(from + query["Limit"].as_u64().expect("a limit") as usize);
                return self.page(from, to);
            }
            other => first_answer(other),
        };
        Body::Json(text)
    }

    fn page(&self, from: usize, to: usize) -> Body {
        let left = (self.records.len() - to) * 1000;
        let records = (from + 1..).zip(&self.records[from..to]);
        if !self.raw {
            let record = |(number, data): (usize, &Vec<u8>)| json!({"SequenceNumber": number.to_string(), "PartitionKey": "k", "Data": BASE64_STANDARD.encode(data)});
            let records: Vec<Value> = records.map(record).collect();
            let page = json!({"Records": records, "NextShardIterator": to.to_string(), "MillisBehindLatest": left});
            return Body::Json(page.to_string());
        }
        // Encoded by hand: <https://www.rfc-editor.org/rfc/rfc8949#section-3>.
        let head = |kind: u8, length: usize| [&[kind << 5 | 26][..], &(length as u32).to_be_bytes()].concat();
        let text = |text: &str| [head(3, text.len()), text.as_bytes().to_vec()].concat();
        let mut body = [head(5, 3), text("NextShardIterator"), text(&to.to_string())].concat();
        body.extend([text("MillisBehindLatest"), head(0, left), text("Records"), head(4, to - from)].concat());
        for (number, data) in records {
            body.extend([head(5, 3), text("SequenceNumber"), text(&number.to_string())].concat());
            body.extend([text("PartitionKey"), text("k"), text("Data"), head(2, data.len()), data.clone()].concat());
        }
        Body::Cbor(body)
    }
}

/// Renders a batch in pieces, and returns its lines with their line feeds.
fn render(batch: &Batch) -> Vec<String> {
    let (mut text, mut skip) = (String::new(), 0);
    while skip < batch.count() {
        let lines = batch.lines(skip, 500);
        assert!(lines.count > 0 && (lines.count == 1 || lines.text.len() <= 500));
        skip += lines.count;
        text += &lines.text;
    }
    let lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
    assert_eq!(lines.len(), batch.count() as usize);
    let size = |message: &Message| {
        let key = message.partition_key.as_ref().map_or(0, String::len);
        message.id.len() + message.sequence.len() + key + message.data.len()
    };
    let mut taken = 0;
    while taken < batch.count() {
        let some = batch.messages(taken, 400);
        assert!(some.len() == 1 || !some.is_empty() && some.iter().map(size).sum::<usize>() <= 400);
        taken += some.len() as u32;
    }
    assert_eq!(taken, batch.count());
    lines
}

/// With a single shard, the reader's checkpoint equals that of the batch.
fn check_checkpoint(batch: &Batch, reader: &Reader) {
    let shards = |text: &str| serde_json::from_str::<Value>(text).expect("valid JSON")["shards"].take();
    assert_eq!(shards(&batch.checkpoint()), shards(&reader.checkpoint()));
}

/// Makes up the data of a record: any payload, or an aggregated record whose keys may be too long.
fn record(bytes: &mut Bytes<'_>) -> Vec<u8> {
    if bytes.below(3) == 0 {
        return payload(bytes);
    }
    let mut body = Vec::new();
    let keys = 1 + bytes.below(3);
    for _ in 0..keys {
        let key = match bytes.below(8) {
            0 => "ż".repeat(250 + bytes.below(9) as usize),
            1 => "\u{1}".repeat(1 + bytes.below(256) as usize),
            _ => String::from_utf8_lossy(bytes.some()).into_owned(),
        };
        body.extend(field(1, key.as_bytes()));
    }
    let explicit = bytes.below(2);
    if explicit == 1 {
        let key = match bytes.below(4) {
            0 => format!("{:0>40}", bytes.byte()),
            _ => (u128::from(bytes.number()) << 64).to_string(),
        };
        body.extend(field(2, key.as_bytes()));
    }
    for _ in 0..1 + bytes.below(12) {
        let mut user = vec![8, bytes.below(keys) as u8];
        if explicit == 1 && bytes.below(2) == 1 {
            user.extend([16, 0]);
        }
        user.extend(field(3, bytes.some()));
        if bytes.below(8) == 0 {
            user.extend(field(4, &[field(1, b"tag"), field(2, &b"v".repeat(250 + bytes.below(9) as usize))].concat()));
        }
        body.extend(field(3, &user));
    }
    [&[0xF3, 0x89, 0x9A, 0xC2], &body[..], &Md5::digest(&body)].concat()
}

/// Encodes a protobuf field of bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length >= 0x80 {
        field.push(length as u8 | 0x80);
        length >>= 7;
    }
    field.push(length as u8);
    [&field, bytes].concat()
}

/// Returns plain and aggregated records, with limits of each kind.
pub fn seeds() -> Vec<Vec<u8>> {
    let users = |count: u8| {
        [&[1, 1, 4, 3, b'k', b'e', b'y', 0, count][..], &[0, 4, b'd', b'a', b't', b'a', 1].repeat(9)].concat()
    };
    let plain = [0, 0, 5, b'p', b'l', b'a', b'i', b'n'];
    let long = [&[1, 0, 0, 7, 0, 3][..], &[0, 1, b'x', 1].repeat(4)].concat();
    let control = [&[2, 1, 1, 200, 0, 5][..], &[0, 3, 1, 2, 3, 1].repeat(6)].concat();
    let records = [users(8), plain.to_vec(), long, control, users(30), plain.to_vec(), users(3)].concat();
    let heads: [&[u8]; 6] = [
        &[0, 0, 0, 0, 1, 0],
        &[1, 1, 200, 1, 1, 1, 3, 2, 1],
        &[2, 2, 2, 9, 9, 2, 0, 1, 1],
        &[3, 3, 1, 40, 3, 1, 1, 7, 2, 0],
        &[0, 0, 0, 1, 1, 0, 0, 0],
        &[2, 2, 2, 2, 2, 0, 0, 0],
    ];
    heads.iter().map(|head| [head, &records[..]].concat()).collect()
}
