//! Records in their usual form: read without a step that only other forms need.
//!
//! What is read here is a part of what the two sources read: a record of known members in any order, in JSON without
//! white space, escapes and nulls, in CBOR with the length of everything told beforehand. Whatever else a record may
//! be, or what is wrong with it, is left to the source: here it is no record, and nothing of it is taken. So the
//! functions have no errors, and agree with the sources on all that they take.
//!
//! A member is told by its first eight bytes, the rest of its key is compared by words. A key is only sought where as
//! many bytes are left as the longest key has; what follows the records of a page is longer than that.

use kinesis_reader_json::plain;

use super::decode::{TIME_MAX, note};
use crate::digits::{ONES, POWERS, leading};
use crate::page::{Data, Layout, Lying, LyingData, Span};
use crate::sequence::is_sequence;

/// The members of a record.
enum Member {
    SequenceNumber,
    ApproximateArrivalTimestamp,
    Data,
    PartitionKey,
    /// It is not kept.
    EncryptionType,
}

/// Reads the record of JSON at `at`. Gives where it ends.
pub(super) fn json(text: &str, mut at: usize, layout: &mut Layout) -> Option<usize> {
    let body = text.as_bytes();
    let (mut sequence, mut partition_key, mut data, mut arrived) = (None, None, None, 0);
    if *body.get(at)? != b'{' {
        return None;
    }
    loop {
        // Behind the brace or the comma.
        at += 1;
        let (member, length) = match words(body, at)? {
            [a, b, c, _] if a == word(b"\"Sequenc") && b == word(b"eNumber\"") && c as u16 == COLON_QUOTE => {
                (Member::SequenceNumber, 18)
            }
            [a, b, c, d]
                if a == word(b"\"Approxi")
                    && b == word(b"mateArri")
                    && c == word(b"valTimes")
                    && d << 16 == word(b"\0\0tamp\":") =>
            {
                (Member::ApproximateArrivalTimestamp, 30)
            }
            [a, ..] if a == word(b"\"Data\":\"") => (Member::Data, 8),
            [a, b, ..] if a == word(b"\"Partiti") && b == word(b"onKey\":\"") => (Member::PartitionKey, 16),
            [a, b, c, _] if a == word(b"\"Encrypt") && b == word(b"ionType\"") && c as u16 == COLON_QUOTE => {
                (Member::EncryptionType, 18)
            }
            _ => return None,
        };
        at += length;
        if let Member::ApproximateArrivalTimestamp = member {
            (arrived, at) = seconds(body, at)?;
        } else {
            let start = at;
            at += plain(body.get(at..)?);
            if *body.get(at)? != b'"' {
                return None;
            }
            let span = Span::new(start, at);
            match member {
                Member::SequenceNumber if is_sequence(body.get(start..at)?) => sequence = Some(span),
                Member::SequenceNumber => return None,
                Member::Data => data = Some((span, text.get(start..at)?)),
                Member::PartitionKey => partition_key = Some(span),
                Member::EncryptionType | Member::ApproximateArrivalTimestamp => {}
            }
            at += 1;
        }
        match *body.get(at)? {
            b',' => {}
            b'}' => break,
            _ => return None,
        }
    }
    let (span, data) = data?;
    let sequence = sequence?;
    note(layout, Data::Base64(data));
    layout.records.push(Lying { sequence, partition_key, arrived, data: LyingData::Base64(span) });
    Some(at + 1)
}

/// Reads the record of CBOR at `at`. Gives where it ends.
pub(super) fn cbor(body: &[u8], mut at: usize, layout: &mut Layout) -> Option<usize> {
    let (mut sequence, mut partition_key, mut data, mut arrived) = (None, None, None, 0);
    let (mut members, start) = counted(body, at, MAP)?;
    at = start;
    while members > 0 {
        members -= 1;
        let (member, length) = match words(body, at)? {
            [a, b, ..] if a == word(b"\x6eSequenc") && b << 8 == word(b"\0eNumber") => (Member::SequenceNumber, 15),
            [a, b, c, d]
                if a == word(b"\x78\x1bApprox")
                    && b == word(b"imateArr")
                    && c == word(b"ivalTime")
                    && d << 24 == word(b"\0\0\0stamp") =>
            {
                (Member::ApproximateArrivalTimestamp, 29)
            }
            [a, ..] if a << 24 == word(b"\0\0\0\x64Data") => (Member::Data, 5),
            [a, b, ..] if a == word(b"\x6cPartiti") && b << 24 == word(b"\0\0\0onKey") => (Member::PartitionKey, 13),
            [a, b, ..] if a == word(b"\x6eEncrypt") && b << 8 == word(b"\0ionType") => (Member::EncryptionType, 15),
            _ => return None,
        };
        at += length;
        if let Member::ApproximateArrivalTimestamp = member {
            let [TIMESTAMP, U64, time @ ..] = body.get(at..)?.first_chunk::<10>()? else { return None };
            arrived = u64::from_be_bytes(*time);
            if arrived > TIME_MAX {
                return None;
            }
            at += 10;
            continue;
        }
        let kind = if let Member::Data = member { BYTES } else { TEXT };
        let (length, start) = counted(body, at, kind)?;
        let bytes = body.get(start..)?.get(..length)?;
        at = start + length;
        let span = Span::new(start, at);
        match member {
            Member::SequenceNumber if is_sequence(bytes) => sequence = Some(span),
            Member::SequenceNumber => return None,
            Member::Data => data = Some((span, bytes)),
            Member::PartitionKey if is_utf8(bytes) => partition_key = Some(span),
            Member::EncryptionType if is_utf8(bytes) => {}
            Member::PartitionKey | Member::EncryptionType | Member::ApproximateArrivalTimestamp => return None,
        }
    }
    let (span, data) = data?;
    let sequence = sequence?;
    note(layout, Data::Raw(data));
    layout.records.push(Lying { sequence, partition_key, arrived, data: LyingData::Raw(span) });
    Some(at)
}

/// Keys of any length are few bytes, and nearly always ASCII.
#[inline(always)]
fn is_utf8(bytes: &[u8]) -> bool {
    let ascii = match bytes.last_chunk() {
        Some(last) => bytes.as_chunks().0.iter().fold(word(last), |all, eight| all | word(eight)) & (ONES << 7) == 0,
        None => bytes.is_ascii(),
    };
    ascii || core::str::from_utf8(bytes).is_ok()
}

/// The words at `at`, as many as the longest key takes.
#[inline(always)]
fn words(body: &[u8], at: usize) -> Option<[u64; 4]> {
    Some(body.get(at..)?.as_chunks().0.first_chunk::<4>()?.map(u64::from_le_bytes))
}

const fn word(bytes: &[u8; 8]) -> u64 {
    u64::from_le_bytes(*bytes)
}

const COLON_QUOTE: u16 = u16::from_le_bytes(*b":\"");

/// The major types of CBOR, as they stand in a first byte.
/// <https://www.rfc-editor.org/rfc/rfc8949.html#section-3>
const BYTES: u8 = 2 << 5;
const TEXT: u8 = 3 << 5;
const MAP: u8 = 5 << 5;
/// The tag 1, and the head of an integer of eight bytes.
const TIMESTAMP: u8 = 6 << 5 | 1;
const U64: u8 = 27;

/// Reads the head of what has its length told beforehand. Gives the length and where the head ends.
#[inline(always)]
fn counted(body: &[u8], at: usize, kind: u8) -> Option<(usize, usize)> {
    let &[first, a, b, c, d] = body.get(at..)?.first_chunk()?;
    match first.wrapping_sub(kind) {
        length @ 0..24 => Some((usize::from(length), at + 1)),
        24 => Some((usize::from(a), at + 2)),
        25 => Some((usize::from(u16::from_be_bytes([a, b])), at + 3)),
        26 => Some((u32::from_be_bytes([a, b, c, d]) as usize, at + 5)),
        _ => None,
    }
}

/// Reads a number of seconds, in milliseconds, of which it is a whole number: with a fraction or without, with an exponent
/// of one digit or without. Gives where it ends.
///
/// The service's example has `1.441215410867E9`.
/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetRecords.html>
#[inline(always)]
fn seconds(body: &[u8], at: usize) -> Option<(u64, usize)> {
    // With so many digits and zeros the result fits `u64`.
    const PLACES_MAX: usize = 18;
    let (whole, count) = digits(body, at)?;
    // What begins with a zero is a fraction, or no number.
    if count == 0 || *body.get(at)? == b'0' {
        return None;
    }
    let (mut end, mut fraction, mut places, mut scale) = (at + count, 0, 0, 3);
    if *body.get(end)? == b'.' {
        (fraction, places) = digits(body, end + 1)?;
        end += 1 + places;
        if places == 0 {
            return None;
        }
    }
    if let [b'E', power @ b'0'..=b'9'] = *body.get(end..)?.first_chunk()? {
        scale += usize::from(power - b'0');
        end += 2;
    }
    if count + scale > PLACES_MAX {
        return None;
    }
    let time = whole * POWERS.get(scale)? + fraction * POWERS.get(scale.checked_sub(places)?)?;
    (time <= TIME_MAX).then_some((time, end))
}

/// The digits at `at`, sixteen of them at most: their value, and how many they are.
#[inline(always)]
fn digits(body: &[u8], at: usize) -> Option<(u64, usize)> {
    let [first, second] = *body.get(at..)?.as_chunks().0.first_chunk()?;
    let (value, count) = leading(first);
    if count < 8 {
        return Some((value, count));
    }
    let (more, count) = leading(second);
    Some((value * POWERS.get(count)? + more, 8 + count))
}

#[cfg(test)]
mod tests {
    use alloc::borrow::Cow;
    use alloc::string::String;
    use alloc::vec::Vec;
    use std::{format, vec};

    use proptest::collection;
    use proptest::prelude::*;
    use proptest::sample::select;

    use crate::page::{Data, Layout, Page};
    use crate::wire::decode::{self, Fault, Rest, SentData, Source};
    use crate::wire::{Body, Unintelligible, cbor, decode_page, json};

    const KEYS: [&str; 5] = ["SequenceNumber", "ApproximateArrivalTimestamp", "Data", "PartitionKey", "EncryptionType"];

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn records_of_json_are_what_the_source_reads(body in json_page()) {
            for end in (0..=body.len()).filter(|end| body.is_char_boundary(*end)) {
                agree(&Body::Json(String::from(&body[..end])));
            }
        }

        #[test]
        fn records_of_cbor_are_what_the_source_reads(body in cbor_page()) {
            for end in 0..=body.len() {
                agree(&Body::Cbor(body[..end].to_vec()));
            }
        }

        #[test]
        fn seconds_are_what_the_source_reads(whole in 0..3_000_000_000_000_u64, fraction in "[.]?[0-9]{0,17}", power in "|E[0-9]{1,2}|e9") {
            agree(&Body::Json(format!(
                "{{\"Records\":[{{\"SequenceNumber\":\"1\",\"ApproximateArrivalTimestamp\":{whole}{fraction}{power},\"Data\":\"\"}}],\
                 \"NextShardIterator\":\"{}\"}}", "A".repeat(32)
            )));
        }

        #[test]
        fn a_usual_record_is_known_as_one(order in Just(KEYS.to_vec()).prop_shuffle(), left_out: [bool; 3], time in select(&TIMES[..])) {
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

    /// A page read with the usual form and without is the same, and so is what is wrong with it.
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

    /// A source that knows no usual form.
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

    /// Members of records, right and odd, some of them damaged.
    fn json_page() -> impl Strategy<Value = String> {
        let values =
            ["\"49\"", "\"0\"", "\"049\"", "\"\"", "\"YQ==\"", "\"84mawgAA\"", "\"k-ż\"", r#""a\"b\u0041""#, "\"\n\""];
        let odd = ["null", "0", "0.5", "-1", "01", "1.", "1763900000.1235", "253402300800", "[1,{}]", "true", ""];
        let long = [0, 7, 129, 130, 200].map(|count| format!("\"{}\"", "9".repeat(count)));
        let value = prop_oneof![
            4 => select(values.to_vec()).prop_map(String::from),
            2 => select(TIMES.to_vec()).prop_map(String::from),
            1 => select(odd.to_vec()).prop_map(String::from),
            1 => select(long.to_vec()),
        ];
        let key = prop_oneof![9 => select(KEYS.to_vec()), 1 => select(vec!["Unknown", "D\\u0061ta", "Sequence", ""])];
        let space = || prop_oneof![30 => Just(""), 1 => select(vec![" ", "\n\t"])];
        let member = (space(), key, space(), prop_oneof![9 => Just(None), 2 => value.prop_map(Some)], space())
            .prop_map(|(before, key, between, value, after)| {
                let value = value.unwrap_or_else(|| match key {
                    "SequenceNumber" => format!("\"{LONG}\""),
                    "ApproximateArrivalTimestamp" => String::from(TIMES[0]),
                    _ => String::from("\"eyJhIjoxfQ==\""),
                });
                format!("{before}\"{key}\"{between}:{value}{after}")
            });
        let record = (collection::vec(member, 0..6), any::<bool>()).prop_map(|(mut members, whole)| {
            if whole {
                members.push(format!("\"SequenceNumber\":\"{LONG}\""));
                members.push(String::from("\"Data\":\"e30=\""));
            }
            format!("{{{}}}", members.join(","))
        });
        (
            collection::vec(record, 0..4),
            select(vec!["", ",\"MillisBehindLatest\":5,\"NextShardIterator\":\"AAAAAAAAAA\""]),
        )
            .prop_map(|(records, end)| format!("{{\"Records\":[{}]{end}}}", records.join(",")))
    }

    fn cbor_page() -> impl Strategy<Value = Vec<u8>> {
        let items: [&[u8]; 22] = [
            b"\x6249",
            b"\x610",
            b"\x63049",
            b"\x60",
            b"\x78\x0249",
            b"\x79\x00\x0249",
            b"\x7a\x00\x00\x00\x0249",
            b"\x7b\x00\x00\x00\x00\x00\x00\x00\x0249",
            b"\x7f\x614\x619\xff",
            b"\x62\xc5\xbc",
            b"\x62\xc5\x41",
            b"\x41a",
            b"\x46\xf3\x89\x9a\xc2\x01\x02",
            b"\x5f\x41a\x42bc\xff",
            b"\xf6",
            b"\xc1\x1a\x69\x24\xb2\x00",
            b"\x1b\x00\x00\x01\xa2\x08\xf3\x0c\xdb",
            b"\xc1\x1b\xff\x00\x01\xa2\x08\xf3\x0c\xdb",
            b"\xc1\xfb\x42\x7a\x20\x8f\x30\xcd\xb0\x00",
            b"\xc1\x20",
            b"\x82\x01\xa0",
            b"\xff",
        ];
        let odd = select(items.map(<[u8]>::to_vec).to_vec());
        let key = prop_oneof![9 => select(KEYS.to_vec()), 1 => select(vec!["Unknown", "Dat", "Sequence", ""])];
        let member = (key, prop_oneof![9 => Just(None), 2 => odd.prop_map(Some)]).prop_map(|(key, value)| {
            let value = value.unwrap_or_else(|| match key {
                "SequenceNumber" => item(0x60, LONG.as_bytes()),
                "ApproximateArrivalTimestamp" => b"\xc1\x1b\x00\x00\x01\xa2\x08\xf3\x0c\xdb".to_vec(),
                "Data" => item(0x40, b"{\"a\":1}"),
                _ => item(0x60, b"customer-545327"),
            });
            [item(0x60, key.as_bytes()), value].concat()
        });
        let record = (collection::vec(member, 0..6), any::<bool>(), 0..10_u8).prop_map(|(mut members, whole, head)| {
            if whole {
                members.push([item(0x60, b"SequenceNumber"), item(0x60, LONG.as_bytes())].concat());
                members.push([item(0x60, b"Data"), item(0x40, b"{}")].concat());
            }
            let count = members.len() as u8;
            let (head, end): (&[u8], &[u8]) = match head {
                0 => (b"\xbf", b"\xff"),
                1 => (&[0xa1 + count], b""),
                2 => (&[0xb8, count], b""),
                3 => (&[0xd9, 0xd9, 0xf7, 0xa0 + count], b""),
                _ => (&[0xa0 + count], b""),
            };
            [head, &members.concat(), end].concat()
        });
        (collection::vec(record, 0..4), any::<bool>()).prop_map(|(records, more)| {
            let head = [b"\xbf\x67Records", &[0x80 + records.len() as u8][..]].concat();
            let end: &[u8] = if more { b"\x71NextShardIterator\x6aAAAAAAAAAA\xff" } else { b"\xff" };
            [&head, &records.concat(), end].concat()
        })
    }

    /// A text or bytes.
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
    fn what_follows_a_record_is_not_touched() {
        let mut layout = Layout::default();
        let text = r#"{"SequenceNumber":"7","Data":"YQ=="},{"Records":[],"NextShardIterator":null}"#;
        assert_eq!(super::json(text, 0, &mut layout), Some(36));
        let page = Page::new(Body::Json(String::from(text)), layout);
        let record = page.record(0).expect("a record");
        assert_eq!((record.sequence, record.partition_key, record.data), ("7", None, Data::Base64("YQ==")));
    }
}
