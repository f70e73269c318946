//! A page, from the body of an answer to lines. The records are made up, the body is written in one of the many forms
//! that JSON and CBOR allow, and the expected lines are made from the records with serde_json, base64 and chrono.
//!
//! `tests/differential.rs` checks the same in the component, whose compiled code takes other paths than native code.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use kinesis_reader_machine::wire::{Body, Operation, Wire};
use kinesis_reader_machine::{
    Action, Config, Instant, MessageId, Notice, Payload, Reader, Response, Source, Timestamp, Until,
};
use serde_json::{Value, json};

use super::config::PAYLOADS;
use super::{Bytes, envelope, payloads, recorded};

/// A page, and how to render its messages.
#[derive(Debug)]
pub struct Case {
    pub form: Payload,
    pub id: MessageId,
    pub deaggregate: bool,
    pub body: Body,
    /// The number of bytes of lines to request at a time.
    pub piece: u32,
}

/// What a reader makes of a page.
#[derive(Debug, PartialEq, Eq)]
pub enum Output {
    /// Its lines, and the lines of its invalid records.
    Lines { text: String, invalid_lines: String },
    /// No messages.
    Nothing,
    /// The page is invalid.
    Refused,
}

/// Reads a page natively.
pub fn check(data: &[u8]) {
    let (case, expected) = draw(data);
    let output = read_natively(&case);
    if let Some(expected) = expected {
        assert_lines(&case, &output, &expected);
    }
}

/// Panics unless the output is the expected lines.
pub fn assert_lines(case: &Case, output: &Output, expected: &str) {
    match output {
        Output::Lines { text, .. } if text == expected => {}
        Output::Nothing if expected.is_empty() => {}
        output => panic!("{case:?}\n  output: {output:?}\nexpected: {expected:?}"),
    }
}

/// Makes up a page and its lines. If the body is damaged or arbitrary, its lines are unknown.
pub fn draw(data: &[u8]) -> (Case, Option<String>) {
    let mut bytes = Bytes(data);
    let form = bytes.one(&PAYLOADS);
    let id = bytes.one(&[MessageId::Sha256, MessageId::Dlt]);
    let piece = bytes.one(&[1 << 20, 1, 700]);
    let case = |deaggregate, body| Case { form, id, deaggregate, body, piece };
    match bytes.below(8) {
        0 => (case(true, Body::Cbor(bytes.0.to_vec())), None),
        1 => (case(true, Body::Json(String::from_utf8_lossy(bytes.0).into_owned())), None),
        kind => {
            let damage = (kind == 2).then(|| (bytes.number(), bytes.byte()));
            let wire = bytes.one(&[Wire::Json, Wire::Cbor]);
            let records = records(&mut bytes);
            let mut body = match wire {
                Wire::Json => json(&records, &mut bytes).into_bytes(),
                Wire::Cbor => cbor(&records, &mut bytes),
            };
            if let Some((index, byte)) = damage {
                let index = index as usize % body.len();
                body[index] = byte;
            }
            let body = match wire {
                Wire::Json => Body::Json(String::from_utf8_lossy(&body).into_owned()),
                Wire::Cbor => Body::Cbor(body),
            };
            let lines = records.iter().map(|record| record.line(form, id)).collect();
            (case(false, body), damage.is_none().then_some(lines))
        }
    }
}

struct Record {
    sequence: String,
    key: Option<String>,
    arrived: u64,
    data: Vec<u8>,
}

impl Record {
    fn line(&self, form: Payload, id: MessageId) -> String {
        let line = envelope::line(form, id, &self.sequence, self.key.as_deref(), self.arrived, &self.data).0;
        String::from_utf8(line).expect("lines are UTF-8")
    }
}

fn records(bytes: &mut Bytes<'_>) -> Vec<Record> {
    let long = bytes.below(2) == 1;
    let mut number = bytes.number() >> 1;
    let mut records = Vec::new();
    while !bytes.is_empty() && records.len() < 100 {
        number += 1 + bytes.below(200);
        records.push(Record {
            sequence: if long { format!("4966490823814781602385{number:034}") } else { number.to_string() },
            key: (bytes.below(8) > 0).then(|| String::from_utf8_lossy(bytes.some()).into_owned()),
            arrived: match bytes.below(4) {
                0 => bytes.number() % TIMES,
                _ => 1_763_900_000_000 + bytes.number() % (1 << 40),
            },
            data: payload(bytes),
        });
    }
    records
}

/// Times before the year 10000, in milliseconds.
const TIMES: u64 = 253_402_300_800_000;

/// Makes up a payload: arbitrary bytes, or JSON that is valid, almost valid, or long.
pub fn payload(bytes: &mut Bytes<'_>) -> Vec<u8> {
    match bytes.below(7) {
        0 => bytes.some().to_vec(),
        1 => bytes.some().repeat(1 + bytes.below(64) as usize),
        2 => json!({"text": String::from_utf8_lossy(bytes.some())}).to_string().into_bytes(),
        3 => {
            // An odd byte anywhere in a long string, such as at the ends of the blocks that vector code scans.
            let mut text = vec![b'x'; 1 + bytes.below(250) as usize];
            let index = bytes.byte() as usize % text.len();
            text[index] = bytes.byte();
            [&b"{\"text\":\""[..], &text, b"\"}"].concat()
        }
        4 => {
            let mut text = value(bytes, 0).into_bytes();
            let index = bytes.byte() as usize % text.len();
            text[index] = bytes.byte();
            text
        }
        _ => members(bytes, 0).into_bytes(),
    }
}

/// Makes up the JSON text of an object, with or without whitespace.
fn members(bytes: &mut Bytes<'_>, depth: u32) -> String {
    const NAMES: [&str; 8] =
        ["a", "", "_kinesis", "_kinesis_msg_id", "_kin\\u0065sis", "data", "é\\\\\\\"", "\\ud83d\\udca9"];
    let mut text = format!("{}{{", space(bytes));
    for count in 0..bytes.below(5) {
        let comma = if count > 0 { "," } else { "" };
        let (name, before, after) = (bytes.one(&NAMES), space(bytes), space(bytes));
        text += &format!("{comma}{before}\"{name}\"{after}:{}", value(bytes, depth + 1));
    }
    text + space(bytes) + "}" + space(bytes)
}

fn value(bytes: &mut Bytes<'_>, depth: u32) -> String {
    const SIMPLE: [&str; 12] = [
        "0",
        "-0",
        "1.5",
        "-12e-5",
        "1E400",
        "true",
        "false",
        "null",
        "\"\"",
        "\"\\/\\b\\u00e9\"",
        "\"\\ud800\"",
        "[]",
    ];
    let text = match bytes.below(5) {
        0 | 1 if depth < 6 => members(bytes, depth),
        2 if depth < 6 => {
            let values: Vec<String> = (0..bytes.below(4)).map(|_| value(bytes, depth + 1)).collect();
            format!("[{}]", values.join(","))
        }
        3 => Value::from(String::from_utf8_lossy(bytes.some())).to_string(),
        _ => bytes.one(&SIMPLE).to_owned(),
    };
    format!("{}{text}{}", space(bytes), space(bytes))
}

fn space(bytes: &mut Bytes<'_>) -> &'static str {
    bytes.one(&["", "", "", "", " ", "\n", "\r\n", "\t  \n"])
}

/// Encodes a page with these records in JSON.
fn json(records: &[Record], bytes: &mut Bytes<'_>) -> String {
    let mut items = Vec::new();
    for record in records {
        let mut members = vec![
            format!("\"SequenceNumber\":{}{}", space(bytes), string(&record.sequence, bytes)),
            format!("\"Data\":{}{}", space(bytes), string(&BASE64_STANDARD.encode(&record.data), bytes)),
            format!("\"ApproximateArrivalTimestamp\"{}:{}", space(bytes), seconds(record.arrived, bytes)),
        ];
        match &record.key {
            Some(key) => members.push(format!("\"PartitionKey\":{}", string(key, bytes))),
            None if bytes.below(2) == 1 => members.push("\"PartitionKey\":null".to_owned()),
            None => {}
        }
        if bytes.below(4) == 0 {
            members.push(bytes.one(&[r#""EncryptionType":"KMS""#, r#""x":{"Data":["\\\"]}",{}]}"#]).to_owned());
        }
        let first = bytes.below(members.len() as u64) as usize;
        members.rotate_left(first);
        let between = format!("{},{}", space(bytes), space(bytes));
        items.push(format!("{{{}{}}}", space(bytes), members.join(&between)));
    }
    let between = format!("{},{}", space(bytes), space(bytes));
    let mut members = [
        format!("\"Records\":[{}]", items.join(&between)),
        "\"NextShardIterator\":\"i\"".to_owned(),
        "\"x\":[1.5]".to_owned(),
    ];
    members.rotate_left(bytes.below(3) as usize);
    format!("{}{{{}}}{}", space(bytes), members.join(&between), space(bytes))
}

/// Encodes a string in JSON, sometimes with escapes that are not needed.
fn string(text: &str, bytes: &mut Bytes<'_>) -> String {
    let mode = bytes.below(4);
    if mode < 2 {
        return Value::from(text).to_string();
    }
    let every = 1 + bytes.below(30) as usize;
    let escape = |(index, letter): (usize, char)| match letter {
        '"' => "\\\"".to_owned(),
        '\\' => "\\\\".to_owned(),
        '/' if mode == 2 => "\\/".to_owned(),
        _ if letter < ' ' || mode == 3 && index.is_multiple_of(every) => {
            letter.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect()
        }
        _ => letter.to_string(),
    };
    format!("\"{}\"", text.chars().enumerate().map(escape).collect::<String>())
}

/// Encodes a time in seconds, sometimes with more precision than milliseconds, so that it must be rounded.
fn seconds(ms: u64, bytes: &mut Bytes<'_>) -> String {
    if ms.is_multiple_of(1000) && bytes.below(2) == 1 {
        return (ms / 1000).to_string();
    }
    if bytes.below(2) == 1 {
        return format!("{}.{:03}", ms / 1000, ms % 1000);
    }
    let noise = i64::from(bytes.byte()) * 39 - 5000;
    let units = (ms * 10_000).saturating_add_signed(noise);
    match bytes.below(2) {
        0 => format!("{}.{:07}", units / 10_000_000, units % 10_000_000),
        _ => {
            let digits = units.to_string();
            let (first, rest) = digits.split_at(1);
            let point = if rest.is_empty() { "" } else { "." };
            format!("{first}{point}{rest}{}{}", bytes.one(&["e", "E", "e"]), digits.len() as i64 - 8)
        }
    }
}

/// Encodes a page with these records in CBOR: <https://www.rfc-editor.org/rfc/rfc8949#section-3>.
fn cbor(records: &[Record], bytes: &mut Bytes<'_>) -> Vec<u8> {
    const ARRAY: u8 = 4;
    const MAP: u8 = 5;
    let mut body = many(MAP, 2, bytes);
    let indefinite = body == [0xbf];
    body.extend(text("NextShardIterator", bytes));
    body.extend(text("i", bytes));
    body.extend(text("Records", bytes));
    let array = many(ARRAY, records.len() as u64, bytes);
    body.extend(&array);
    for record in records {
        let mut members = vec![
            [text("SequenceNumber", bytes), text(&record.sequence, bytes)].concat(),
            [text("ApproximateArrivalTimestamp", bytes), time(record.arrived, bytes)].concat(),
        ];
        let data = match bytes.below(8) {
            0 => text(&BASE64_STANDARD.encode(&record.data), bytes),
            1 => chunks(BYTES, &record.data, bytes.below(90) as usize),
            _ => [head(BYTES, record.data.len() as u64), record.data.clone()].concat(),
        };
        members.push([text("Data", bytes), data].concat());
        match &record.key {
            Some(key) => members.push([text("PartitionKey", bytes), text(key, bytes)].concat()),
            None if bytes.below(2) == 1 => members.push([text("PartitionKey", bytes), vec![0xf6]].concat()),
            None => {}
        }
        if bytes.below(4) == 0 {
            members.push([&text("x", bytes), &b"\x9f\xa1\x01\xf9\x3c\x00\xd8\x20\x41a\xff"[..]].concat());
        }
        let first = bytes.below(members.len() as u64) as usize;
        members.rotate_left(first);
        let map = many(MAP, members.len() as u64, bytes);
        body.extend(&map);
        body.extend(members.concat());
        if map == [0xbf] {
            body.push(0xff);
        }
    }
    if array == [0x9f] {
        body.push(0xff);
    }
    if indefinite {
        body.push(0xff);
    }
    body
}

const BYTES: u8 = 2;
const TEXT: u8 = 3;

/// Encodes the head of an item: its major type and its argument.
fn head(major: u8, argument: u64) -> Vec<u8> {
    let (kind, bytes) = (major << 5, argument.to_be_bytes());
    match argument {
        0..24 => vec![kind | argument as u8],
        24..0x100 => [&[kind | 24], &bytes[7..]].concat(),
        0x100..0x1_0000 => [&[kind | 25], &bytes[6..]].concat(),
        0x1_0000..0x1_0000_0000 => [&[kind | 26], &bytes[4..]].concat(),
        _ => [&[kind | 27], &bytes[..]].concat(),
    }
}

/// Encodes the head of an array or a map, with a definite or an indefinite length.
fn many(major: u8, count: u64, bytes: &mut Bytes<'_>) -> Vec<u8> {
    if bytes.below(4) == 0 { vec![major << 5 | 31] } else { head(major, count) }
}

fn text(text: &str, bytes: &mut Bytes<'_>) -> Vec<u8> {
    // Each chunk must be valid UTF-8, so only ASCII is split.
    if text.is_ascii() && bytes.below(16) == 0 {
        return chunks(TEXT, text.as_bytes(), bytes.below(60) as usize);
    }
    [head(TEXT, text.len() as u64), text.as_bytes().to_vec()].concat()
}

fn chunks(major: u8, whole: &[u8], length: usize) -> Vec<u8> {
    let mut item = vec![major << 5 | 31];
    for part in whole.chunks(length + 1) {
        item.extend(head(major, part.len() as u64));
        item.extend(part);
    }
    item.push(0xff);
    item
}

fn time(ms: u64, bytes: &mut Bytes<'_>) -> Vec<u8> {
    let float = |ms: f64| [&[0xfb], &ms.to_be_bytes()[..]].concat();
    match bytes.below(4) {
        0 => head(0, ms),
        1 => [vec![0xc1], float(ms as f64)].concat(),
        2 => float(ms as f64 + 0.25),
        _ => [vec![0xc1], head(0, ms)].concat(),
    }
}

/// Reads a page with the native machine.
pub fn read_natively(case: &Case) -> Output {
    let mut config = Config::new(Source::Name("orders".to_owned()));
    (config.payload, config.message_id, config.deaggregate) = (case.form, case.id, case.deaggregate);
    (config.until, config.limits.pace) = (Until::Stopped, None);
    let mut reader = Reader::open(config, None, 1, Instant(0), Timestamp(0)).unwrap_or_else(|error| panic!("{error}"));
    let mut is_sent = false;
    loop {
        match reader.poll_action() {
            Action::Send(request) => {
                let body = match request.operation {
                    Operation::GetRecords if is_sent => return Output::Nothing,
                    Operation::GetRecords => {
                        is_sent = true;
                        case.body.clone()
                    }
                    other => Body::Json(first_answer(other)),
                };
                let response = Response { status: 200, body, aws_request_id: None, date: None, signed: None };
                reader.handle_response(request.id, response, Instant(0)).unwrap_or_else(|misuse| panic!("{misuse}"));
            }
            Action::Deliver(batch) => {
                let (mut text, mut invalid_lines, mut skip) = (String::new(), String::new(), 0);
                while skip < batch.count() {
                    let lines = batch.lines(skip, case.piece);
                    assert!(lines.count > 0, "{case:?}");
                    text += &lines.text;
                    skip += lines.count;
                }
                skip = 0;
                while skip < batch.count() {
                    let some = batch.invalid_lines(skip, case.piece);
                    assert!(some.next > skip, "{case:?}");
                    invalid_lines += &some.text;
                    skip = some.next;
                }
                return Output::Lines { text, invalid_lines };
            }
            Action::Notice(Notice::Retry(_)) => return Output::Refused,
            Action::Notice(_) => {}
            Action::Wait(_) | Action::Finish(_) => return Output::Nothing,
        }
    }
}

/// Returns the answer to an operation before the first page.
pub fn first_answer(operation: Operation) -> String {
    let answer = match operation {
        Operation::DescribeStreamSummary => json!({"StreamDescriptionSummary": {
            "StreamName": "orders", "StreamARN": "arn:aws:kinesis:eu-west-1:123456789012:stream/orders",
        }}),
        Operation::ListShards => json!({"Shards": [{"ShardId": envelope::SHARD}]}),
        Operation::GetShardIterator => json!({"ShardIterator": "i"}),
        Operation::GetRecords => json!({"Records": []}),
    };
    answer.to_string()
}

/// Returns recorded answers, and pages with recorded payloads in each form.
pub fn seeds() -> Vec<Vec<u8>> {
    let kind = |body: &Body| if let Body::Cbor(_) = body { 0 } else { 1 };
    let recorded = recorded().into_iter().map(|body| [&[0, 0, 0, kind(&body)], body.as_bytes()].concat());
    let page = |(number, payload): (usize, &Vec<u8>)| {
        let part = &payload[..payload.len().min(255)];
        let head = [number as u8, number as u8 >> 2, 0, 3, number as u8 >> 1, 1, 1, 9];
        [&head[..], &[4, 1, 1, b'k', 1, 2, 5, 9, 0, part.len() as u8], part, &[0; 40]].concat()
    };
    recorded.chain(payloads().iter().enumerate().map(page)).collect()
}
