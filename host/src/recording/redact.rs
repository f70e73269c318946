//! Redacts response bodies.
//!
//! The data and the partition key of each record are overwritten in place, so that a body keeps its length, its
//! structure and its faults, which is all that the reader's behaviour depends on. A body that is torn or invalid is
//! redacted as far as it goes.

use crate::bindings::wit;

/// Overwrites what may be confidential: `Data` with zeros, which base64 shows as `A`s, and partition keys with `x`s.
pub(super) fn redact(body: &mut wit::Body) {
    match body {
        wit::Body::Json(text) => {
            let mut bytes = std::mem::take(text).into_bytes();
            redact_json(&mut bytes);
            // Only whole characters were replaced, and by ASCII.
            *text = String::from_utf8(bytes).unwrap_or_default();
        }
        wit::Body::Cbor(bytes) => redact_cbor(bytes),
    }
}

const DATA: &[u8] = b"Data";
const KEY: &[u8] = b"PartitionKey";

/// Overwrites the strings that follow the two names. A quote within a string is escaped, so a name in quotes is either
/// the name of a member or a whole string.
fn redact_json(bytes: &mut [u8]) {
    let mut at = 0;
    while let Some(found) = position(bytes, at, b'"') {
        let name = bytes.get(found + 1..).unwrap_or_default();
        let (length, data) = match name {
            _ if is_member_name(name, DATA) => (DATA.len(), true),
            _ if is_member_name(name, KEY) => (KEY.len(), false),
            _ => {
                at = end_of_string(bytes, found + 1);
                continue;
            }
        };
        at = found + length + 2;
        let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b':');
        at += bytes.get(at..).unwrap_or_default().iter().take_while(|byte| is_space(byte)).count();
        if bytes.get(at) != Some(&b'"') {
            continue;
        }
        let end = end_of_string(bytes, at + 1);
        let content_end = end - usize::from(bytes.get(end - 1) == Some(&b'"') && end > at + 1);
        for byte in bytes.get_mut(at + 1..content_end).unwrap_or_default() {
            *byte = match (data, *byte) {
                // The padding stays, so that the data keeps its length.
                (true, b'=') => b'=',
                (true, _) => b'A',
                (false, _) => b'x',
            };
        }
        at = end;
    }
}

fn is_member_name(text: &[u8], name: &[u8]) -> bool {
    text.strip_prefix(name).is_some_and(|rest| rest.first() == Some(&b'"'))
}

/// The index after the end of a string that begins before `at`.
fn end_of_string(bytes: &[u8], mut at: usize) -> usize {
    loop {
        match bytes.get(at) {
            None => return bytes.len(),
            Some(b'"') => return at + 1,
            Some(b'\\') => at += 2,
            Some(_) => at += 1,
        }
    }
}

fn position(bytes: &[u8], from: usize, byte: u8) -> Option<usize> {
    bytes.get(from..)?.iter().position(|other| *other == byte).map(|at| from + at)
}

/// Does the same for CBOR: <https://www.rfc-editor.org/rfc/rfc8949#section-3>. A name is a text string shorter than 24
/// bytes. A text or byte string follows it, in one piece or in several pieces up to a break.
fn redact_cbor(bytes: &mut [u8]) {
    let mut at = 0;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let is_named = |name: &[u8]| rest.strip_prefix(&[0x60 | name.len() as u8]).is_some_and(|r| r.starts_with(name));
        let (length, filler) = match rest {
            _ if is_named(DATA) => (DATA.len(), 0),
            _ if is_named(KEY) => (KEY.len(), b'x'),
            _ => {
                at += 1;
                continue;
            }
        };
        at += 1 + length;
        let is_chunked = matches!(bytes.get(at), Some(0x5f | 0x7f));
        at += usize::from(is_chunked);
        while let Some((text, start, end)) = piece(bytes, at) {
            for byte in bytes.get_mut(start..end).unwrap_or_default() {
                // A text string holds base64.
                *byte = if text && filler == 0 { if *byte == b'=' { b'=' } else { b'A' } } else { filler };
            }
            at = end;
            if !is_chunked {
                break;
            }
        }
    }
}

/// The string at `at`: whether it is text, and where its content begins and ends.
fn piece(bytes: &[u8], at: usize) -> Option<(bool, usize, usize)> {
    let head = *bytes.get(at)?;
    let text = match head >> 5 {
        2 => false,
        3 => true,
        _ => return None,
    };
    let (wide, length) = match head & 31 {
        short @ 0..24 => (0, usize::from(short)),
        size @ 24..28 => {
            let wide = 1 << (size - 24);
            let digits = bytes.get(at + 1..)?.get(..wide)?;
            (wide, digits.iter().fold(0_usize, |number, digit| number << 8 | usize::from(*digit)))
        }
        _ => return None,
    };
    let start = at + 1 + wide;
    Some((text, start, start.saturating_add(length).min(bytes.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redacted(text: &str) -> String {
        let mut body = wit::Body::Json(text.to_owned());
        redact(&mut body);
        let wit::Body::Json(text) = body else { panic!("still JSON") };
        text
    }

    #[test]
    fn data_and_keys_are_overwritten_in_place() {
        assert_eq!(
            redacted(
                r#"{"Records":[{"Data":"c2VjcmV0cw==","PartitionKey":"anna","SequenceNumber":"1"},{"Data" : "a\/b="}]}"#
            ),
            r#"{"Records":[{"Data":"AAAAAAAAAA==","PartitionKey":"xxxx","SequenceNumber":"1"},{"Data" : "AAAA="}]}"#
        );
        // The length in bytes stays the same.
        assert_eq!(redacted(r#"{"PartitionKey":"é\"\\","a":"Data"}"#), r#"{"PartitionKey":"xxxxxx","a":"Data"}"#);
        assert_eq!(
            redacted(r#"{"PartitionKey":null,"Data":"","Data":"\"#),
            r#"{"PartitionKey":null,"Data":"","Data":"A"#
        );
    }

    #[test]
    fn a_torn_body_is_redacted_as_far_as_it_goes() {
        let text = r#"{"Records":[{"PartitionKey":"anna","Data":"c2VjcmV0"}]}"#;
        let whole = redacted(text);
        assert!(whole.contains(r#""xxxx""#) && whole.contains(r#""AAAAAAAA""#));
        for end in 0..text.len() {
            assert_eq!(redacted(&text[..end]), whole[..end]);
        }
    }

    #[test]
    fn other_bodies_stay_unchanged() {
        for text in
            ["", "{", "\"", "\\", "<html>\"Data", r#"{"message":"no \"Data\":\"x\" here","__type":"E"}"#, "\"Data"]
        {
            assert_eq!(redacted(text), text);
        }
    }

    #[test]
    fn cbor_is_redacted_in_every_form() {
        let mut bytes = Vec::from(*b"\xbf\x67Records\x81\xa2\x64Data\x58\x03abc\x6cPartitionKey\x64anna\xff");
        redact_cbor(&mut bytes);
        assert_eq!(bytes, b"\xbf\x67Records\x81\xa2\x64Data\x58\x03\0\0\0\x6cPartitionKey\x64xxxx\xff");
        let mut bytes = Vec::from(*b"\xa1\x64Data\x5f\x42ab\x43cde\xff\xa1\x64Data\x64YQ==");
        redact_cbor(&mut bytes);
        assert_eq!(bytes, b"\xa1\x64Data\x5f\x42\0\0\x43\0\0\0\xff\xa1\x64Data\x64AA==");
        let mut torn = Vec::from(*b"\x64Data\x5b\0\0\0\0\0\0\0\x09abc");
        redact_cbor(&mut torn);
        assert_eq!(torn, b"\x64Data\x5b\0\0\0\0\0\0\0\x09\0\0\0");
    }
}
