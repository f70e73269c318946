//! Renders a message as a line: the envelope, the message id, and the payload in the requested form.
//!
//! ```text
//! {"_kinesis":{"shard_id":…,"seq_no":…,"ts":…,"partition":…,"stream_name":…},"_kinesis_msg_id":…, …payload… }
//! ```
//!
//! A line is a single JSON value and its only LF is at its end, whatever the data. The payload is copied verbatim and
//! cannot interfere with the envelope: an object that uses one of the envelope's names goes under `data` as a whole.
//! Data that does not match the requested form is written as text or base64, so no message is dropped:
//!
//! | form | if it matches | otherwise, if UTF-8 | otherwise |
//! |---|---|---|---|
//! | merged | an object's members; other JSON under `data` | a string under `data` | `data_base64` |
//! | json | the JSON value under `data` | a string under `data` | `data_base64` |
//! | text | a string under `data` | | `data_base64` |
//! | base64 | `data_base64` | | |
//!
//! Data is decoded straight into the output and examined there. An object's opening brace becomes a comma and its
//! closing brace ends the line. Only data that does not match the requested form has to be moved.

use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Range;

use base64_simd::STANDARD;
use kinesis_reader_json::{self as json, Kind, Scanner};

use crate::pages::page::Data;
use crate::pages::sequence::is_sequence;
use crate::render::message_id::{IdGenerator, IdHasher, MessageId};
use crate::render::stamp::Stamps;

/// How the data of a message appears in its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Payload {
    /// The members of a JSON object, verbatim, next to the envelope, like dlt's Kinesis source. Other JSON values, and
    /// objects with a member named like one of the envelope's, go under `data` as a whole.
    Merged,
    /// A JSON value, verbatim, under `data`.
    Json,
    /// UTF-8 text, as a JSON string under `data`.
    Text,
    /// Arbitrary bytes, as base64 under `data_base64`.
    Base64,
}

/// A message borrowed from its page.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// The sequence number of its record.
    pub sequence: &'a str,
    /// The index within an aggregated record, or `None` if the record was not aggregated.
    pub subsequence: Option<u32>,
    /// `None` if the stream distributes records without partition keys.
    pub partition_key: Option<&'a str>,
    /// Whether the partition key can be put into a JSON string unescaped.
    pub plain_key: bool,
    /// When Kinesis received it, in milliseconds since the Unix epoch.
    pub arrived: u64,
    /// The payload. Invalid base64, which Kinesis never sends, is treated as raw data.
    pub data: Data<'a>,
}

/// Whether the data matched the requested form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rendered {
    /// It did.
    AsAsked,
    /// It did not, and was written as text or base64.
    Invalid,
}

/// The parts that all lines of a shard share, rendered in advance.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// From the start of the line up to the sequence number.
    head: Vec<u8>,
    /// From the end of the partition key to the last member that every envelope has.
    stream: Vec<u8>,
    payload: Payload,
    hasher: IdHasher,
}

impl Envelope {
    /// Creates the envelope for one shard of a stream.
    pub fn new(shard: &str, stream: &str, payload: Payload, id: MessageId) -> Envelope {
        let mut head = Vec::from(br#"{"_kinesis":{"shard_id":"#);
        json::write_string(shard, &mut head);
        head.extend_from_slice(br#","seq_no":"#);
        let mut name = Vec::from(br#","stream_name":"#);
        json::write_string(stream, &mut name);
        Envelope { head, stream: name, payload, hasher: IdHasher::new(shard, id) }
    }

    /// Returns a writer for consecutive messages.
    pub fn lines(&self) -> LineWriter<'_> {
        LineWriter {
            envelope: self,
            ids: self.hasher.generator(),
            stamps: Stamps::default(),
            scanner: Scanner::default(),
        }
    }

    /// Returns the id of a message, as in its line.
    pub fn message_id(&self, sequence: &str, subsequence: Option<u32>) -> String {
        let id = self.hasher.generator().id(sequence, subsequence);
        id.as_bytes().iter().map(|&byte| char::from(byte)).collect()
    }

    /// Returns an upper bound on the length of a message's line, without looking at its data.
    pub fn line_max(&self, message: &Message<'_>) -> u64 {
        let Message { sequence, partition_key, plain_key, data, .. } = *message;
        let sequence = string_max(sequence, is_sequence(sequence.as_bytes()));
        let key = partition_key.map_or(NULL.len() as u64, |key| string_max(key, plain_key || is_plain(key)));
        self.fixed_max() + sequence + key + self.payload.max(data)
    }

    /// Returns an upper bound on the total length of `count` lines whose sequence numbers, partition keys and data take
    /// `bytes` bytes in their page.
    pub(crate) fn lines_max(&self, count: u64, bytes: u64) -> u64 {
        let each = self.fixed_max() + DELIMITERS_MAX;
        count.saturating_mul(each).saturating_add(bytes.saturating_mul(GROWTH_MAX))
    }

    /// Returns an upper bound on the rest of a line, apart from its sequence number, partition key and data.
    fn fixed_max(&self) -> u64 {
        (self.head.len() + self.stream.len()) as u64 + FIXED_MAX
    }

    /// Appends the payload, from the comma before it to the brace that closes the line.
    fn write_payload(&self, data: Data<'_>, scanner: &mut Scanner, out: &mut Vec<u8>) -> Rendered {
        let lead: &[u8] = match self.payload {
            Payload::Merged => b"",
            Payload::Json => VALUE,
            Payload::Text => TEXT,
            Payload::Base64 => return write_base64(data, out),
        };
        let start = out.len();
        out.extend_from_slice(lead);
        let body = out.len();
        let (data, rendered) = decode(data, out);
        let decoded = out.get(body..).unwrap_or_default();

        let shape = match self.payload {
            Payload::Merged | Payload::Json => scanner.scan(decoded),
            Payload::Text | Payload::Base64 => None,
        };
        let utf8 = match &shape {
            Some(shape) if shape.ascii => true,
            Some(_) | None => json::is_utf8(decoded),
        };
        if !utf8 {
            out.truncate(start);
            write_base64(data, out);
            return Rendered::Invalid;
        }
        let Some(shape) = shape else {
            put(TEXT, start..body, out);
            json::escape_from(start + TEXT.len(), out);
            out.extend_from_slice(b"\"}");
            return if self.payload == Payload::Text { rendered } else { Rendered::Invalid };
        };
        let value = body + shape.value.start;
        out.truncate(body + shape.value.end);
        if shape.breaks {
            json::unbreak(out.get_mut(value..).unwrap_or_default());
        }
        match (self.payload, shape.kind) {
            (Payload::Merged, Kind::Members) => put(b",", start..value + 1, out),
            (Payload::Merged, Kind::Empty) => {
                out.truncate(start);
                out.push(b'}');
            }
            _ => {
                put(VALUE, start..value, out);
                out.push(b'}');
            }
        }
        rendered
    }
}

/// Writes lines for the messages of a shard.
pub struct LineWriter<'a> {
    envelope: &'a Envelope,
    ids: IdGenerator<'a>,
    stamps: Stamps,
    scanner: Scanner,
}

impl<'a> LineWriter<'a> {
    /// Appends the line of a message, including the LF. The output is always UTF-8.
    pub fn write(&mut self, message: &Message<'a>, out: &mut Vec<u8>) -> Rendered {
        let Envelope { head, stream, .. } = self.envelope;
        let Message { sequence, subsequence, partition_key, plain_key, arrived, data } = *message;
        // Enough for the common case: strings without escapes, and data written verbatim or as base64.
        let size = match data {
            Data::Base64(text) => text.len(),
            Data::Raw(bytes) => bytes.len() / 3 * 4 + 4,
        };
        out.reserve(head.len() + stream.len() + sequence.len() + partition_key.map_or(0, str::len) + size + 192);

        out.extend_from_slice(head);
        write_string(sequence, is_sequence(sequence.as_bytes()), out);
        out.extend_from_slice(br#","ts":""#);
        out.extend_from_slice(&self.stamps.rfc3339(arrived));
        out.extend_from_slice(br#"","partition":"#);
        match partition_key {
            Some(key) => write_string(key, plain_key, out),
            None => out.extend_from_slice(NULL),
        }
        out.extend_from_slice(stream);
        if let Some(subsequence) = subsequence {
            out.extend_from_slice(br#","sub_seq":"#);
            out.extend_from_slice(itoa::Buffer::new().format(subsequence).as_bytes());
        }
        out.extend_from_slice(br#"},"_kinesis_msg_id":""#);
        out.extend_from_slice(self.ids.id(sequence, subsequence).as_bytes());
        out.push(b'"');

        let rendered = self.envelope.write_payload(data, &mut self.scanner, out);
        out.push(b'\n');
        rendered
    }
}

/// Appends a JSON string. `plain`: the text needs no escaping.
#[inline]
fn write_string(text: &str, plain: bool, out: &mut Vec<u8>) {
    if plain {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        json::write_string(text, out);
    }
}

/// The longest escape of a single byte in JSON: `\u001f`.
const GROWTH_MAX: u64 = 6;

/// Written if there is no partition key.
const NULL: &[u8] = b"null";

/// The members of an envelope that are constant or of limited length, the frame of the payload with its padding, and
/// the end of the line; rounded up.
const FIXED_MAX: u64 = 160;

/// The quotes of two strings, or of one and `null` instead of the other; rounded up.
const DELIMITERS_MAX: u64 = 8;

/// Whether text can be put into a JSON string unescaped.
fn is_plain(text: &str) -> bool {
    json::plain(text.as_bytes()) == text.len()
}

/// Returns an upper bound on the length of text as a JSON string.
fn string_max(text: &str, plain: bool) -> u64 {
    2 + text.len() as u64 * if plain { 1 } else { GROWTH_MAX }
}

impl Payload {
    /// Returns an upper bound on the length of rendered data.
    fn max(self, data: Data<'_>) -> u64 {
        // Invalid base64 is treated as raw data, so the decoded size would be too low.
        let size = match data {
            Data::Base64(text) => text.len(),
            Data::Raw(bytes) => bytes.len(),
        } as u64;
        match self {
            Payload::Merged | Payload::Json | Payload::Text => size * GROWTH_MAX,
            Payload::Base64 => size.div_ceil(3) * 4,
        }
    }
}

/// Decodes the data of a message.
pub fn bytes(data: Data<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    decode(data, &mut bytes);
    bytes
}

/// Precedes a JSON value.
const VALUE: &[u8] = br#","data":"#;
/// Precedes the contents of a string.
const TEXT: &[u8] = br#","data":""#;

/// Appends the decoded data. Invalid base64 is appended verbatim and treated as raw data from then on.
fn decode<'a>(data: Data<'a>, out: &mut Vec<u8>) -> (Data<'a>, Rendered) {
    let (bytes, rendered) = match data {
        Data::Base64(text) if STANDARD.decode_append(text, out).is_ok() => return (data, Rendered::AsAsked),
        Data::Base64(text) => (text.as_bytes(), Rendered::Invalid),
        Data::Raw(bytes) => (bytes, Rendered::AsAsked),
    };
    out.extend_from_slice(bytes);
    (Data::Raw(bytes), rendered)
}

/// Appends the data as base64 and closes the line.
fn write_base64(data: Data<'_>, out: &mut Vec<u8>) -> Rendered {
    out.extend_from_slice(br#","data_base64":""#);
    let rendered = match data {
        Data::Base64(text) if STANDARD.check(text.as_bytes()).is_ok() => {
            out.extend_from_slice(text.as_bytes());
            Rendered::AsAsked
        }
        Data::Base64(text) => {
            STANDARD.encode_append(text, out);
            Rendered::Invalid
        }
        Data::Raw(bytes) => {
            STANDARD.encode_append(bytes, out);
            Rendered::AsAsked
        }
    };
    out.extend_from_slice(b"\"}");
    rendered
}

/// Replaces a range with `bytes`. The bytes after it only move if the lengths differ.
fn put(bytes: &[u8], range: Range<usize>, out: &mut Vec<u8>) {
    match out.get_mut(range.clone()) {
        Some(target) if target.len() == bytes.len() => target.copy_from_slice(bytes),
        _ => {
            out.splice(range, bytes.iter().copied());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::format;

    use proptest::collection;
    use proptest::prelude::*;
    use proptest::sample::select;
    use serde_json::{Map, Value};

    use super::*;

    #[test]
    fn an_object_is_merged_verbatim() {
        check(Payload::Merged, br#"{"n":1.50,"a":"\u00e9\/","n":2}"#, r#","n":1.50,"a":"\u00e9\/","n":2}"#);
        check(Payload::Merged, b"{\"t\":\"\xe2\x80\xa8\",\"big\":1e400}", ",\"t\":\"\u{2028}\",\"big\":1e400}");
        check(Payload::Merged, br#"{"lone":"\ud800"}"#, r#","lone":"\ud800"}"#);
        check(Payload::Merged, b"{\"a\":1}\r\n", r#","a":1}"#);
        check(Payload::Merged, b" \n{ \"a\" :\r\n[1,\n2]\t}\n", ", \"a\" :  [1, 2]\t}");
        check(Payload::Merged, b"{\n}", "}");
        check(Payload::Merged, br#"{"data":[]}"#, r#","data":[]}"#);
        check(Payload::Merged, br#"{"a":{"_kinesis":1}}"#, r#","a":{"_kinesis":1}}"#);
    }

    #[test]
    fn payloads_that_cannot_be_merged_go_under_data() {
        check(Payload::Merged, b" [1,\n2]\n", r#","data":[1, 2]}"#);
        check(Payload::Merged, br#""text""#, r#","data":"text"}"#);
        check(Payload::Merged, b"null", r#","data":null}"#);
        check(Payload::Merged, b" {\"_kinesis\":5}", r#","data":{"_kinesis":5}}"#);
        check(
            Payload::Merged,
            br#"{"v":1,"_kin\u0065sis_msg_id":"mine"}"#,
            r#","data":{"v":1,"_kin\u0065sis_msg_id":"mine"}}"#,
        );
    }

    #[test]
    fn matching_data_is_written_in_the_requested_form() {
        check(Payload::Json, b"\t{\"_kinesis\":\n1} ", r#","data":{"_kinesis": 1}}"#);
        check(Payload::Json, b"{}", r#","data":{}}"#);
        check(Payload::Json, b"-0.0", r#","data":-0.0}"#);
        check(Payload::Text, b"{\"a\": 1}\n", r#","data":"{\"a\": 1}\n"}"#);
        check(Payload::Text, "ż\u{1}".as_bytes(), r#","data":"ż\u0001"}"#);
        check(Payload::Text, b"", r#","data":""}"#);
        check(Payload::Base64, b"{\"a\":1}", r#","data_base64":"eyJhIjoxfQ=="}"#);
        check(Payload::Base64, b"\xff", r#","data_base64":"/w=="}"#);
        check(Payload::Base64, b"", r#","data_base64":""}"#);
    }

    #[test]
    fn other_data_falls_back_to_text_or_base64() {
        for form in [Payload::Merged, Payload::Json] {
            falls_back(form, b"", r#","data":""}"#);
            falls_back(form, b" \n", r#","data":" \n"}"#);
            falls_back(form, b"hello \"world\"", r#","data":"hello \"world\""}"#);
            falls_back(form, b"{\"a\":NaN}", r#","data":"{\"a\":NaN}"}"#);
            falls_back(form, "\u{feff}{}".as_bytes(), ",\"data\":\"\u{feff}{}\"}");
            falls_back(form, b"{\"a\":\"\xff\"}", r#","data_base64":"eyJhIjoi/yJ9"}"#);
        }
        falls_back(Payload::Text, b"\xed\xa0\x80", r#","data_base64":"7aCA"}"#);
    }

    #[test]
    fn invalid_base64_is_treated_as_raw_data() {
        for (form, data, wanted) in [
            (Payload::Merged, "{\"a\":1}", r#","a":1}"#),
            (Payload::Merged, "not base64", r#","data":"not base64"}"#),
            (Payload::Json, "[1]", r#","data":[1]}"#),
            (Payload::Text, "eyJ", r#","data":"eyJ"}"#),
            (Payload::Text, "eyI=\n", r#","data":"eyI=\n"}"#),
            (Payload::Base64, "!", r#","data_base64":"IQ=="}"#),
        ] {
            let line = line(form, Data::Base64(data));
            assert_eq!(line, (format!("{HEAD}{wanted}\n"), Rendered::Invalid));
        }
        assert_eq!(bytes(Data::Base64("!")), b"!");
        assert_eq!(bytes(Data::Base64("IQ==")), b"!");
        assert_eq!(bytes(Data::Raw(b"IQ==")), b"IQ==");
    }

    #[test]
    fn optional_members_are_written_if_present() {
        let envelope = Envelope::new("s", "n", Payload::Merged, MessageId::Sha256);
        let message = Message {
            sequence: "7",
            subsequence: Some(30),
            partition_key: None,
            plain_key: false,
            arrived: 0,
            data: Data::Raw(b"{}"),
        };
        let mut out = Vec::from(*b"before\n");
        assert_eq!(envelope.lines().write(&message, &mut out), Rendered::AsAsked);
        let id = envelope.message_id("7", Some(30));
        let kinesis = r#"{"shard_id":"s","seq_no":"7","ts":"1970-01-01T00:00:00.000Z","partition":null,"stream_name":"n","sub_seq":30}"#;
        let wanted = format!("before\n{{\"_kinesis\":{kinesis},\"_kinesis_msg_id\":\"{id}\"}}\n");
        assert_eq!(String::from_utf8(out).as_deref(), Ok(&*wanted));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_line_is_one_json_value_with_an_intact_envelope(
            names in collection::vec(text(), 4),
            subsequence: Option<u32>,
            keyed: bool,
            arrived: u64,
            data in data(),
            form in form(),
            id in select(&[MessageId::Sha256, MessageId::Dlt][..]),
        ) {
            let envelope = Envelope::new(&names[0], &names[1], form, id);
            let key = keyed.then_some(&*names[3]);
            let data = Data::Raw(&data);
            let message = Message { sequence: &names[2], subsequence, partition_key: key, plain_key: false, arrived, data };
            let mut out = Vec::new();
            envelope.lines().write(&message, &mut out);
            prop_assert!(out.len() as u64 <= envelope.line_max(&message));
            let line = String::from_utf8(out).expect("UTF-8");
            prop_assert_eq!(line.find('\n'), Some(line.len() - 1));
            prop_assert!(!line.contains('\r'));
            // serde_json limits depth and exponents and rejects lone surrogates; the grammar does not.
            prop_assert!(Scanner::default().scan(line.as_bytes()).is_some(), "{}", line);
            if let Ok(members) = serde_json::from_str::<Map<String, Value>>(&line) {
                let mut kinesis = Map::new();
                kinesis.insert("shard_id".into(), names[0].as_str().into());
                kinesis.insert("seq_no".into(), names[2].as_str().into());
                kinesis.insert("ts".into(), core::str::from_utf8(&crate::render::stamp::rfc3339(arrived)).expect("ASCII").into());
                kinesis.insert("partition".into(), key.into());
                kinesis.insert("stream_name".into(), names[1].as_str().into());
                if let Some(subsequence) = subsequence {
                    kinesis.insert("sub_seq".into(), subsequence.into());
                }
                prop_assert_eq!(&members["_kinesis"], &Value::Object(kinesis));
                prop_assert_eq!(&members["_kinesis_msg_id"], &envelope.message_id(&names[2], subsequence));
            }
        }

        #[test]
        fn the_payload_can_be_recovered_from_the_line(data in data(), form in form()) {
            let (line, rendered) = line(form, Data::Raw(&data));
            let payload = line.strip_prefix(HEAD).and_then(|rest| rest.strip_suffix('\n')).expect("the head");
            let value = payload.strip_prefix(r#","data":"#).and_then(|rest| rest.strip_suffix('}'));
            let base64 = payload.strip_prefix(r#","data_base64":"#).and_then(|rest| rest.strip_suffix('}'));
            let string = |text: &str| serde_json::from_str::<String>(text).expect("a string");
            let text = core::str::from_utf8(&data);
            let json = text.ok().filter(|_| Scanner::default().scan(&data).is_some()).map(|json| {
                json.trim_matches([' ', '\t', '\n', '\r']).replace(['\n', '\r'], " ")
            });
            match (form, json, text) {
                (Payload::Merged, Some(json), _) if value.is_none_or(|value| value != json) => {
                    prop_assert_eq!(rendered, Rendered::AsAsked);
                    let members = payload.strip_prefix(',').unwrap_or(payload);
                    prop_assert_eq!(format!("{{{members}"), if payload == "}" { "{}".into() } else { json });
                }
                (Payload::Merged | Payload::Json, Some(json), _) => {
                    prop_assert_eq!((value, rendered), (Some(&*json), Rendered::AsAsked));
                }
                (Payload::Merged | Payload::Json, None, Ok(text)) => {
                    prop_assert_eq!((value.map(string), rendered), (Some(text.into()), Rendered::Invalid));
                }
                (Payload::Text, _, Ok(text)) => {
                    prop_assert_eq!((value.map(string), rendered), (Some(text.into()), Rendered::AsAsked));
                }
                (_, _, text) => {
                    let back = base64.map(string).and_then(|text| STANDARD.decode_to_vec(text).ok());
                    prop_assert_eq!(back.as_ref(), Some(&data));
                    let wanted = if form == Payload::Base64 { Rendered::AsAsked } else { Rendered::Invalid };
                    prop_assert_eq!(rendered, wanted);
                    prop_assert!(form == Payload::Base64 || text.is_err());
                }
            }
        }

        #[test]
        fn base64_and_raw_data_give_the_same_line(data in data(), form in form()) {
            let text = STANDARD.encode_to_string(&data);
            prop_assert_eq!(line(form, Data::Base64(&text)), line(form, Data::Raw(&data)));
        }

        #[test]
        fn invalid_base64_gives_the_line_of_its_bytes(text in "[A-Za-z0-9+/=\\-]{0,9}", form in form()) {
            if STANDARD.check(text.as_bytes()).is_err() {
                let (wanted, _) = line(form, Data::Raw(text.as_bytes()));
                prop_assert_eq!(line(form, Data::Base64(&text)), (wanted, Rendered::Invalid));
            }
        }
    }

    const SHARD: &str = "shardId-000000000001";
    const HEAD: &str = r#"{"_kinesis":{"shard_id":"shardId-000000000001","seq_no":"42","ts":"2026-11-23T15:09:35.129Z","partition":"k","stream_name":"orders"},"_kinesis_msg_id":"bfb727ab184a78d09cb4ed24464d49c0""#;

    #[track_caller]
    fn check(form: Payload, data: &[u8], wanted: &str) {
        assert_eq!(line(form, Data::Raw(data)), (format!("{HEAD}{wanted}\n"), Rendered::AsAsked));
    }

    #[track_caller]
    fn falls_back(form: Payload, data: &[u8], wanted: &str) {
        assert_eq!(line(form, Data::Raw(data)), (format!("{HEAD}{wanted}\n"), Rendered::Invalid));
    }

    fn line(form: Payload, data: Data<'_>) -> (String, Rendered) {
        let envelope = Envelope::new(SHARD, "orders", form, MessageId::Sha256);
        let arrived = 1_795_446_575_129;
        let mut out = Vec::new();
        let message =
            Message { sequence: "42", subsequence: None, partition_key: Some("k"), plain_key: false, arrived, data };
        let rendered = envelope.lines().write(&message, &mut out);
        let bytes = match data {
            Data::Base64(text) => text.len(),
            Data::Raw(bytes) => bytes.len(),
        } + "42k".len();
        let bounds = (envelope.line_max(&message), envelope.lines_max(1, bytes as u64));
        assert!(out.len() as u64 <= bounds.0.min(bounds.1), "{} bytes exceed {bounds:?}", out.len());
        (String::from_utf8(out).expect("UTF-8"), rendered)
    }

    fn form() -> impl Strategy<Value = Payload> {
        select(&[Payload::Merged, Payload::Json, Payload::Text, Payload::Base64][..])
    }

    fn text() -> impl Strategy<Value = String> {
        prop_oneof!["[a-zA-Z0-9-]{0,30}", any::<String>()]
    }

    /// Valid and almost valid JSON, text, and arbitrary bytes.
    fn data() -> impl Strategy<Value = Vec<u8>> {
        const PIECES: &[&str] = &[
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"a\"",
            "\"_kinesis\":1",
            "\"b\":",
            "\"a\":1",
            "\"\\ud800\"",
            "1e400",
            "null",
            " ",
            "\r\n",
            "é",
        ];
        let member = (
            select(&["a", "_kinesis", "_kinesis_msg_id", "_\\u006binesis", "data", "é"][..]),
            select(&["1", "[1,\n2]", "{}", "\"\\n\"", "\"é\""][..]),
        )
            .prop_map(|(key, value)| format!("\"{key}\" :{value}"));
        let object = (collection::vec(member, 0..4), select(&["", " ", "\r\n"][..])).prop_map(|(members, space)| {
            format!("{space}{{{space}{}{space}}}{space}", members.join(",\n")).into_bytes()
        });
        prop_oneof![
            4 => object,
            2 => collection::vec(select(PIECES), 0..8).prop_map(|pieces| pieces.concat().into_bytes()),
            2 => any::<String>().prop_map(String::into_bytes),
            1 => any::<Vec<u8>>(),
            1 => Just(Vec::new()),
        ]
    }
}
