//! Compares lines to the rows that dlt's Kinesis source made of the same messages.
//!
//! The rows are a reference for what that source gets right. Where it fails on a message, or lets a payload damage the
//! envelope, the line must be valid regardless.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use kinesis_reader_machine::envelope::{Envelope, Message, Rendered};
use kinesis_reader_machine::page::Data;
use kinesis_reader_machine::{MessageId, Payload};
use serde::Deserialize;
use serde_json::{Map, Value};

#[test]
fn objects_have_the_same_members_as_in_dlt() {
    let mut taken = 0;
    for case in cases() {
        let Some(row) = case.parse_json_true.rows.as_ref().map(|rows| only(rows)) else { continue };
        let Some(members) = case.members() else { continue };
        if is_reserved(&members) {
            continue;
        }
        taken += 1;
        let (line, rendered) = case.line(Payload::Merged);
        assert_eq!(rendered, Rendered::AsAsked, "{}", case.case);
        // The payload is copied verbatim, except for its outer braces.
        let inside = case.text().trim().strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).expect("an object");
        let comma = if inside.is_empty() { "" } else { "," };
        assert!(line.ends_with(&format!("\"{comma}{inside}}}\n")), "{}: {line}", case.case);
        let line: Map<String, Value> = serde_json::from_str(&line).expect("one JSON value");
        assert_eq!(line.keys().collect::<Vec<_>>(), row.keys().collect::<Vec<_>>(), "{}", case.case);
        for (name, theirs) in row {
            if name != "_kinesis" {
                assert!(is_same(&line[name], theirs), "{}: {name}: {} and {theirs}", case.case, line[name]);
            }
        }
    }
    assert_eq!(taken, 21);
}

#[test]
fn messages_that_dlt_rejects_or_splits_are_one_valid_line() {
    let mut json = Vec::new();
    let mut others = 0;
    for case in cases() {
        if case.parse_json_true.rows.is_some() && case.members().is_some_and(|members| !is_reserved(&members)) {
            continue;
        }
        others += 1;
        for form in [Payload::Merged, Payload::Json] {
            let (line, rendered) = case.line(form);
            assert_eq!(line.find('\n'), Some(line.len() - 1), "{}", case.case);
            case.has_its_envelope(&line);
            let whole = |data: &str| line.ends_with(&format!(",\"data\":{data}}}\n"));
            let kept = match (rendered, case.text.as_deref()) {
                (Rendered::AsAsked, Some(text)) => {
                    let members = text.strip_prefix('{').filter(|_| form == Payload::Merged);
                    whole(text) || members.is_some_and(|members| line.ends_with(&format!(",{members}\n")))
                }
                (Rendered::Invalid, Some(text)) => whole(&Value::from(text).to_string()),
                (Rendered::Invalid, None) => line.ends_with(&format!(",\"data_base64\":\"{}\"}}\n", case.data_base64)),
                (Rendered::AsAsked, None) => false,
            };
            assert!(kept, "{}: {line}", case.case);
            if rendered == Rendered::AsAsked && form == Payload::Json {
                json.push(case.case.clone());
            }
        }
    }
    assert_eq!(others, 29);
    assert_eq!(
        json,
        [
            "float 1e400",
            "array [1,2]",
            "array of pairs",
            "array of 2-char strings",
            "empty array",
            "string",
            "empty string literal",
            "number",
            "null",
            "true",
            "lone surrogate escape",
            "key with _kinesis",
            "key _kinesis scalar",
            "key _kinesis_msg_id",
            "deep nesting 2000",
        ]
    );
}

#[test]
fn payloads_that_use_the_envelope_names_go_under_data() {
    let mut seen = 0;
    for case in cases().into_iter().filter(|case| case.case.starts_with("key ") && case.case != "key data") {
        seen += 1;
        let (line, rendered) = case.line(Payload::Merged);
        assert!(line.ends_with(&format!(",\"data\":{}}}\n", case.text())), "{}: {line}", case.case);
        assert_eq!(rendered, Rendered::AsAsked);
    }
    assert_eq!(seen, 3);
}

#[test]
fn text_and_base64_hold_the_same_bytes_as_in_dlt() {
    for case in cases() {
        let row = only(case.parse_json_false.rows.as_ref().expect("dlt takes all bytes"));
        let bytes = BASE64_STANDARD.decode(row["data"].as_str().expect("base64")).expect("base64");
        for form in [Payload::Text, Payload::Base64] {
            let (line, rendered) = case.line(form);
            let line = case.has_its_envelope(&line);
            let back = match (line.get("data"), line.get("data_base64")) {
                (Some(Value::String(text)), None) => text.clone().into_bytes(),
                (None, Some(Value::String(text))) => BASE64_STANDARD.decode(text).expect("base64"),
                other => panic!("{}: {other:?}", case.case),
            };
            assert_eq!(back, bytes, "{}", case.case);
            let as_asked = form == Payload::Base64 || std::str::from_utf8(&bytes).is_ok();
            assert_eq!(rendered == Rendered::AsAsked, as_asked, "{}", case.case);
        }
    }
}

#[test]
fn json_and_cbor_data_give_the_same_line() {
    for case in cases() {
        let bytes = BASE64_STANDARD.decode(&case.data_base64).expect("base64");
        for form in [Payload::Merged, Payload::Json, Payload::Text, Payload::Base64] {
            assert_eq!(case.line(form), case.line_of(form, Data::Raw(&bytes)), "{}", case.case);
        }
    }
}

#[test]
fn message_ids_are_the_same_as_in_dlt() {
    #[derive(Deserialize)]
    struct File {
        vectors: Vec<Vector>,
    }
    #[derive(Deserialize)]
    struct Vector {
        shard_id: String,
        seq_no: String,
        _kinesis_msg_id: String,
    }
    let file: File = serde_json::from_str(include_str!("../golden/msg_id_vectors.json")).expect("vectors");
    assert_eq!(file.vectors.len(), 12);
    for Vector { shard_id, seq_no, _kinesis_msg_id } in file.vectors {
        let envelope = Envelope::new(&shard_id, "msgs", Payload::Merged, MessageId::Dlt);
        assert_eq!(envelope.message_id(&seq_no, None), _kinesis_msg_id, "{shard_id} {seq_no}");
    }
}

/// A message, and the rows that dlt made of it.
#[derive(Deserialize)]
struct Case {
    case: String,
    data_base64: String,
    shard_id: String,
    seq_no: String,
    partition: String,
    parse_json_true: Outcome,
    parse_json_false: Outcome,
    /// The payload, if it is UTF-8.
    #[serde(skip)]
    text: Option<String>,
}

/// The rows, or `None` if dlt raised an exception.
#[derive(Deserialize)]
struct Outcome {
    rows: Option<Vec<Map<String, Value>>>,
}

fn cases() -> Vec<Case> {
    let lines = include_str!("../golden/dlt_messages.ndjson").lines();
    let mut cases: Vec<Case> = lines.map(|line| serde_json::from_str(line).expect("a case")).collect();
    for case in &mut cases {
        case.text = String::from_utf8(BASE64_STANDARD.decode(&case.data_base64).expect("base64")).ok();
    }
    assert_eq!(cases.len(), 50);
    cases
}

impl Case {
    fn line(&self, form: Payload) -> (String, Rendered) {
        self.line_of(form, Data::Base64(&self.data_base64))
    }

    fn line_of(&self, form: Payload, data: Data<'_>) -> (String, Rendered) {
        let envelope = Envelope::new(&self.shard_id, "msgs", form, MessageId::Dlt);
        let message = Message {
            sequence: &self.seq_no,
            subsequence: None,
            partition_key: Some(&self.partition),
            plain_key: false,
            arrived: self.arrived(),
            data,
        };
        let mut out = Vec::new();
        let rendered = envelope.lines().write(&message, &mut out);
        (String::from_utf8(out).expect("UTF-8"), rendered)
    }

    /// Checks that the line has the same envelope as dlt's row, and returns the line's members.
    fn has_its_envelope(&self, line: &str) -> Map<String, Value> {
        let row = only(self.parse_json_false.rows.as_ref().expect("dlt takes all bytes"));
        let mut kinesis = row["_kinesis"].clone();
        kinesis["ts"] = Value::from(self.ts().replace("000+00:00", "Z"));
        let head = format!("{{\"_kinesis\":{},\"_kinesis_msg_id\":{}", ordered(&kinesis), row["_kinesis_msg_id"]);
        assert!(line.starts_with(&head), "{}: {line}", self.case);
        // serde_json cannot represent these values, but they match the grammar, as the machine's own tests show.
        let beyond = ["float 1e400", "lone surrogate escape", "deep nesting 2000"].contains(&&*self.case);
        match serde_json::from_str(line) {
            Ok(members) => members,
            Err(error) => {
                assert!(beyond, "{}: {error}", self.case);
                Map::new()
            }
        }
    }

    fn ts(&self) -> &str {
        let row = only(self.parse_json_false.rows.as_ref().expect("dlt takes all bytes"));
        row["_kinesis"]["ts"].as_str().expect("a time")
    }

    /// Returns the arrival time. All cases were recorded on the same day.
    fn arrived(&self) -> u64 {
        const MIDNIGHT: u64 = 1_795_392_000_000;
        let time = self.ts().strip_prefix("2026-11-23T").and_then(|rest| rest.strip_suffix("000+00:00"));
        let time = time.expect("a time on that day, in whole milliseconds");
        let parts: Vec<u64> = time.split([':', '.']).map(|part| part.parse().expect("a number")).collect();
        let [hours, minutes, seconds, ms] = parts[..] else { panic!("not a time: {time}") };
        MIDNIGHT + ((hours * 60 + minutes) * 60 + seconds) * 1000 + ms
    }

    fn text(&self) -> &str {
        self.text.as_deref().expect("text")
    }

    /// The payload's members, if it is an object that serde_json can represent.
    fn members(&self) -> Option<Map<String, Value>> {
        serde_json::from_str(self.text.as_deref()?).ok()
    }
}

fn is_reserved(members: &Map<String, Value>) -> bool {
    members.contains_key("_kinesis") || members.contains_key("_kinesis_msg_id")
}

fn only<T>(rows: &[T]) -> &T {
    let [row] = rows else { panic!("one message, one row") };
    row
}

/// Writes `_kinesis` with its members in our order rather than serde_json's.
fn ordered(kinesis: &Value) -> String {
    let members = ["shard_id", "seq_no", "ts", "partition", "stream_name"];
    let members: Vec<_> = members.iter().map(|name| format!("\"{name}\":{}", kinesis[name])).collect();
    format!("{{{}}}", members.join(","))
}

/// dlt stores numbers beyond 64 bits as doubles; our line has the original text, which must mean the same double.
fn is_same(ours: &Value, theirs: &Value) -> bool {
    ours == theirs || (ours.is_number() && ours.as_f64() == theirs.as_f64())
}
