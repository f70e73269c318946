//! The fast path must agree with the sources on all records it accepts, and accept none that they reject.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use std::format;

use proptest::prelude::*;
use proptest::sample::select;

use crate::pages::page::{Data, Layout, Page};
use crate::wire::decode::{self, Fault, Rest, SentData, Source};
use crate::wire::{Body, Unintelligible, cbor, decode_page, json};

const KEYS: [&str; 5] = ["SequenceNumber", "ApproximateArrivalTimestamp", "Data", "PartitionKey", "EncryptionType"];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_fast_path_agrees_on_seconds(whole in 0..3_000_000_000_000_u64, fraction in "[.]?[0-9]{0,17}", power in "|E[0-9]{1,2}|e9") {
        agree(&Body::Json(format!(
            "{{\"Records\":[{{\"SequenceNumber\":\"1\",\"ApproximateArrivalTimestamp\":{whole}{fraction}{power},\"Data\":\"\"}}],\
             \"NextShardIterator\":\"{}\"}}", "A".repeat(32)
        )));
    }

    #[test]
    fn usual_records_take_the_fast_path(order in Just(KEYS.to_vec()).prop_shuffle(), left_out: [bool; 3], time in select(&TIMES[..])) {
        let keys: Vec<&str> = order.into_iter().filter(|key| match *key {
            "ApproximateArrivalTimestamp" => !left_out[0],
            "PartitionKey" => !left_out[1],
            "EncryptionType" => !left_out[2],
            _ => true,
        }).collect();
        let members: Vec<String> = keys.iter().map(|key| match *key {
            "SequenceNumber" => format!("\"{key}\":\"{LONG}\""),
            "ApproximateArrivalTimestamp" => format!("\"{key}\":{time}"),
            _ => format!("\"{key}\":\"żółw{}\"", "A".repeat(70)),
        }).collect();
        let text = format!("{{{}}}{}", members.join(","), " ".repeat(32));
        prop_assert_eq!(super::json(&text, 0, &mut Layout::default()), Some(text.trim_end().len()), "{}", text);

        let mut bytes = Vec::from([0xa0 + keys.len() as u8]);
        for key in &keys {
            bytes.extend(item(0x60, key.as_bytes()));
            bytes.extend(match *key {
                "SequenceNumber" => item(0x60, LONG.as_bytes()),
                "ApproximateArrivalTimestamp" => b"\xc1\x1b\x00\x00\x01\xa2\x08\xf3\x0c\xdb".to_vec(),
                "Data" => item(0x40, &[0xff; 70_000]),
                _ => item(0x60, "żółw".repeat(50).as_bytes()),
            });
        }
        let end = bytes.len();
        bytes.extend([0; 32]);
        prop_assert_eq!(super::cbor(&bytes, 0, &mut Layout::default()), Some(end));
    }
}

/// Asserts that a page reads the same with and without the fast path, or fails with the same error.
fn agree(body: &Body) {
    let layout = match body {
        Body::Json(text) => decode::page(text.as_bytes(), &mut Unusual(json::Reader::new(text))),
        Body::Cbor(bytes) => decode::page(bytes, &mut Unusual(cbor::Reader::new(bytes))),
    };
    let wanted = layout.map(|layout| Page::new(body.clone(), layout)).map_err(Unintelligible::from);
    match (decode_page(body.clone()), wanted) {
        (Ok(page), Ok(wanted)) => {
            assert_eq!(page.records().collect::<Vec<_>>(), wanted.records().collect::<Vec<_>>());
            assert_eq!((page.data_size(), page.aggregates()), (wanted.data_size(), wanted.aggregates()));
            assert_eq!(page.next_iterator(), wanted.next_iterator());
            for record in page.records().filter(|record| record.plain_key) {
                let key = record.partition_key.expect("a key");
                let mut string = Vec::new();
                kinesis_reader_json::write_string(key, &mut string);
                assert_eq!(string, format!("\"{key}\"").into_bytes());
            }
        }
        (Err(error), Err(wanted)) => assert_eq!(error, wanted),
        (page, wanted) => panic!("{page:?} instead of {wanted:?}: {}", String::from_utf8_lossy(body.as_bytes())),
    }
}

/// A source without the fast path.
struct Unusual<S>(S);

impl<'a, S: Source<'a>> Source<'a> for Unusual<S> {
    fn object(&mut self) -> Result<Option<Rest>, Fault> {
        self.0.object()
    }
    fn member(&mut self, rest: &mut Rest) -> Result<Option<Cow<'a, str>>, Fault> {
        self.0.member(rest)
    }
    fn array(&mut self) -> Result<Option<Rest>, Fault> {
        self.0.array()
    }
    fn element(&mut self, rest: &mut Rest) -> Result<bool, Fault> {
        self.0.element(rest)
    }
    fn text(&mut self) -> Result<Option<Cow<'a, str>>, Fault> {
        self.0.text()
    }
    fn data(&mut self) -> Result<Option<SentData<'a>>, Fault> {
        self.0.data()
    }
    fn time(&mut self) -> Result<Option<u64>, Fault> {
        self.0.time()
    }
    fn count(&mut self) -> Result<Option<u64>, Fault> {
        self.0.count()
    }
    fn usual_record(&mut self, _: &mut Layout) -> bool {
        false
    }
    fn skip(&mut self) -> Result<(), Fault> {
        self.0.skip()
    }
    fn end(&mut self) -> Result<(), Fault> {
        self.0.end()
    }
}

const LONG: &str = "49680494016343207417922014661364901881201299056758882306";

const TIMES: [&str; 8] = [
    "1763900036.003",
    "1763900036",
    "1763900036.1",
    "1.763900036003E9",
    "1.7639E9",
    "1E9",
    "253402300799.999",
    "12345678.12",
];

/// Stand-ins for a JSON value: of the right kind, of the wrong kind, and invalid.
const JSON: [&str; 34] = [
    "\"49\"",
    "\"0\"",
    "\"049\"",
    "\"-49\"",
    "\"\"",
    "\"YQ==\"",
    "\"84mawgAA\"",
    "\"k-ż\"",
    "\"a\\\"b\"",
    "\"\\u0034\"",
    "\"\\ud800\"",
    "\"\\x\"",
    "\"\n\"",
    "\"\u{7f}\"",
    "\"",
    "null",
    "true",
    "[1,{}]",
    "{\"a\":1}",
    "",
    " 1",
    "1 ",
    "0",
    "0.5",
    "-1",
    "01",
    "1.",
    ".5",
    "1E",
    "1E+3",
    "1763900000.1235",
    "253402300800",
    "4503599627370496E9",
    "1763900000123456789012345678",
];

#[test]
fn the_fast_path_agrees_on_any_json_value() {
    let long = [56, 63, 64, 65, 129, 130, 200].map(|count| format!("\"{}\"", "9".repeat(count)));
    let values: Vec<&str> = JSON.into_iter().chain(TIMES).chain(long.iter().map(String::as_str)).collect();
    for turn in 0..KEYS.len() {
        for odd in 0..KEYS.len() {
            for value in &values {
                agree(&Body::Json(json_page(
                    |key, usual| format!("\"{}\":{}", KEYS[key], if key == odd { value } else { usual }),
                    turn,
                )));
            }
        }
    }
}

#[test]
fn the_fast_path_agrees_on_anything_between_json_members() {
    for (at, text) in
        [" ", "\n", ",", "\"Data\":null,", "\"Other\":0,", "\"D\\u0061ta\":\"\",", "{", "}", "]"].iter().enumerate()
    {
        for odd in 0..KEYS.len() {
            agree(&Body::Json(json_page(
                |key, usual| {
                    let text = if key == odd { text } else { "" };
                    format!("{text}\"{}\":{usual}{}", KEYS[key], if at % 2 == 0 { text } else { "" })
                },
                at,
            )));
        }
    }
}

#[test]
fn the_fast_path_agrees_on_json_with_any_byte_damaged() {
    for turn in 0..KEYS.len() {
        let page = json_page(|key, usual| format!("\"{}\":{usual}", KEYS[key]), turn);
        assert!(page.is_ascii());
        for at in 0..page.len() {
            agree(&Body::Json(String::from(&page[..at])));
            for byte in *b"\0\x1f \"+,-./0159:@AEZ[\\]ae{}\x7f" {
                let mut page = page.clone().into_bytes();
                page[at] = byte;
                agree(&Body::Json(String::from_utf8(page).expect("ASCII")));
            }
        }
    }
}

#[test]
fn the_fast_path_agrees_on_any_cbor_value() {
    let values: [&[u8]; 29] = [
        b"\x6249",
        b"\x610",
        b"\x63049",
        b"\x60",
        b"\x78\x0249",
        b"\x79\x00\x0249",
        b"\x7a\x00\x00\x00\x0249",
        b"\x7b\x00\x00\x00\x00\x00\x00\x00\x0249",
        b"\x7a\xff\xff\xff\xff49",
        b"\x7f\x614\x619\xff",
        b"\x62\xc5\xbc",
        b"\x62\xc5\x41",
        b"\x69abcdefgh\xff",
        b"\x41a",
        b"\x46\xf3\x89\x9a\xc2\x01\x02",
        b"\x5f\x41a\x42bc\xff",
        b"\xf6",
        b"\xf7",
        b"\xc1\xf6",
        b"\xc1\x1a\x69\x24\xb2\x00",
        b"\x1b\x00\x00\x01\xa2\x08\xf3\x0c\xdb",
        b"\xc1\x1b\x00\x00\xe6\x77\xd2\x1f\xdb\xff",
        b"\xc1\x1b\x00\x00\xe6\x77\xd2\x1f\xdc\x00",
        b"\xc2\x1b\x00\x00\x01\xa2\x08\xf3\x0c\xdb",
        b"\xc1\xfb\x42\x7a\x20\x8f\x30\xcd\xb0\x00",
        b"\x39\x01",
        b"\x82\x01\xa0",
        b"\xff",
        b"",
    ];
    for turn in 0..KEYS.len() {
        for odd in 0..KEYS.len() {
            for value in values {
                agree(&Body::Cbor(cbor_page(
                    &[0xa5],
                    |key, usual| {
                        [&item(0x60, KEYS[key].as_bytes())[..], if key == odd { value } else { usual }].concat()
                    },
                    turn,
                )));
            }
        }
        let heads: [&[u8]; 8] =
            [b"\xa4", b"\xa6", b"\xb8\x05", b"\xb9\x00\x05", b"\xbf", b"\xd9\xd9\xf7\xa5", b"\xf6", b""];
        for head in heads {
            agree(&Body::Cbor(cbor_page(head, |key, usual| [&item(0x60, KEYS[key].as_bytes()), usual].concat(), turn)));
        }
    }
}

#[test]
fn the_fast_path_agrees_on_cbor_with_any_byte_damaged() {
    for turn in 0..KEYS.len() {
        let page = cbor_page(&[0xa5], |key, usual| [&item(0x60, KEYS[key].as_bytes()), usual].concat(), turn);
        for at in 0..page.len() {
            agree(&Body::Cbor(page[..at].to_vec()));
            for byte in 0..=255 {
                let mut page = page.clone();
                page[at] = byte;
                agree(&Body::Cbor(page));
            }
        }
    }
}

/// Renders a page of two records. The members of the first are those that `member` makes of a key's index and its usual
/// value, starting with key number `turn`.
fn json_page(member: impl Fn(usize, &str) -> String, turn: usize) -> String {
    let usual = [
        format!("\"{LONG}\""),
        String::from(TIMES[0]),
        String::from("\"eyJhIjoxfQ==\""),
        String::from("\"key-1\""),
        String::from("\"KMS\""),
    ];
    let keys = (0..KEYS.len()).map(|key| (key + turn) % KEYS.len());
    let members: Vec<String> = keys.map(|key| member(key, &usual[key])).collect();
    let second = "{\"SequenceNumber\":\"7\",\"Data\":\"\"}";
    format!("{{\"Records\":[{{{}}},{second}],\"NextShardIterator\":\"AAAA\"}}", members.join(","))
}

fn cbor_page(head: &[u8], member: impl Fn(usize, &[u8]) -> Vec<u8>, turn: usize) -> Vec<u8> {
    let time = b"\xc1\x1b\x00\x00\x01\xa2\x08\xf3\x0c\xdb".to_vec();
    let usual =
        [item(0x60, LONG.as_bytes()), time, item(0x40, b"{\"a\":1}"), item(0x60, b"customer-1"), item(0x60, b"KMS")];
    let mut page = b"\xbf\x67Records\x82".to_vec();
    page.extend(head);
    for key in (0..KEYS.len()).map(|key| (key + turn) % KEYS.len()) {
        page.extend(member(key, &usual[key]));
    }
    page.extend(b"\xa2\x6eSequenceNumber\x617\x64Data\x40\x71NextShardIterator\x64AAAA\xff");
    page
}

/// Encodes a text or byte string.
fn item(kind: u8, bytes: &[u8]) -> Vec<u8> {
    let size = bytes.len() as u32;
    let mut head = match size {
        0..24 => Vec::from([kind + size as u8]),
        24..256 => Vec::from([kind + 24, size as u8]),
        256..65_536 => [&[kind + 25][..], &(size as u16).to_be_bytes()].concat(),
        65_536.. => [&[kind + 26][..], &size.to_be_bytes()].concat(),
    };
    head.extend(bytes);
    head
}

#[test]
fn bytes_after_a_record_are_not_consumed() {
    let mut layout = Layout::default();
    let text = r#"{"SequenceNumber":"7","Data":"YQ=="},{"Records":[],"NextShardIterator":null}"#;
    assert_eq!(super::json(text, 0, &mut layout), Some(36));
    let page = Page::new(Body::Json(String::from(text)), layout);
    let record = page.record(0).expect("a record");
    assert_eq!((record.sequence, record.partition_key, record.data), ("7", None, Data::Base64("YQ==")));
}
