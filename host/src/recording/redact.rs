//! Answers without the data in them.
//!
//! Each record's data and partition key are blanked where they stand, so that an answer keeps its length, its form and
//! its faults: what the reader makes of it depends on nothing else. Answers that are torn or no answers at all are
//! blanked as far as they go.

use crate::component::wit;

/// Blanks what other people's data may be in: `Data` becomes zeros, a partition key `x`s.
pub(super) fn blank(body: &mut wit::Body) {
    match body {
        wit::Body::Json(text) => {
            let mut bytes = std::mem::take(text).into_bytes();
            blank_json(&mut bytes);
            // Whole characters were replaced by ASCII.
            *text = String::from_utf8(bytes).unwrap_or_default();
        }
        wit::Body::Cbor(bytes) => blank_cbor(bytes),
    }
}

const DATA: &[u8] = b"Data";
const KEY: &[u8] = b"PartitionKey";

/// Blanks the strings that follow the two names. Within a string a quote has a backslash before it, so a name with its
/// quotes stands only where a name stands, or is a whole string.
fn blank_json(bytes: &mut [u8]) {
    let mut at = 0;
    while let Some(found) = position(bytes, at, b'"') {
        let name = bytes.get(found + 1..).unwrap_or_default();
        let (length, data) = match name {
            _ if opens(name, DATA) => (DATA.len(), true),
            _ if opens(name, KEY) => (KEY.len(), false),
            _ => {
                at = end_of_string(bytes, found + 1);
                continue;
            }
        };
        at = found + length + 2;
        let space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b':');
        at += bytes.get(at..).unwrap_or_default().iter().take_while(|byte| space(byte)).count();
        if bytes.get(at) != Some(&b'"') {
            continue;
        }
        let end = end_of_string(bytes, at + 1);
        let closed = end - usize::from(bytes.get(end - 1) == Some(&b'"') && end > at + 1);
        for byte in bytes.get_mut(at + 1..closed).unwrap_or_default() {
            *byte = match (data, *byte) {
                // What pads base64 stays, so that the length of the data does.
                (true, b'=') => b'=',
                (true, _) => b'A',
                (false, _) => b'x',
            };
        }
        at = end;
    }
}

fn opens(text: &[u8], name: &[u8]) -> bool {
    text.strip_prefix(name).is_some_and(|rest| rest.first() == Some(&b'"'))
}

/// Where a string that was opened before `at` is behind.
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

/// The same in CBOR: <https://www.rfc-editor.org/rfc/rfc8949#section-3>. A name is a text of a length below 24, and what
/// follows it is text or bytes: in one piece, or in pieces up to a break.
fn blank_cbor(bytes: &mut [u8]) {
    let mut at = 0;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let named = |name: &[u8]| rest.strip_prefix(&[0x60 | name.len() as u8]).is_some_and(|r| r.starts_with(name));
        let (length, blank) = match rest {
            _ if named(DATA) => (DATA.len(), 0),
            _ if named(KEY) => (KEY.len(), b'x'),
            _ => {
                at += 1;
                continue;
            }
        };
        at += 1 + length;
        let pieces = matches!(bytes.get(at), Some(0x5f | 0x7f));
        at += usize::from(pieces);
        while let Some((text, start, end)) = piece(bytes, at) {
            for byte in bytes.get_mut(start..end).unwrap_or_default() {
                // Data as text are base64.
                *byte = if text && blank == 0 { if *byte == b'=' { b'=' } else { b'A' } } else { blank };
            }
            at = end;
            if !pieces {
                break;
            }
        }
    }
}

/// A text or bytes at `at`: which of them, and where its inside lies.
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

    fn blanked(text: &str) -> String {
        let mut body = wit::Body::Json(text.to_owned());
        blank(&mut body);
        let wit::Body::Json(text) = body else { panic!("it is JSON") };
        text
    }

    #[test]
    fn data_and_keys_are_blanked_where_they_stand() {
        assert_eq!(
            blanked(
                r#"{"Records":[{"Data":"c2VjcmV0cw==","PartitionKey":"anna","SequenceNumber":"1"},{"Data" : "a\/b="}]}"#
            ),
            r#"{"Records":[{"Data":"AAAAAAAAAA==","PartitionKey":"xxxx","SequenceNumber":"1"},{"Data" : "AAAA="}]}"#
        );
        // As many bytes, whatever they were.
        assert_eq!(blanked(r#"{"PartitionKey":"é\"\\","a":"Data"}"#), r#"{"PartitionKey":"xxxxxx","a":"Data"}"#);
        assert_eq!(
            blanked(r#"{"PartitionKey":null,"Data":"","Data":"\"#),
            r#"{"PartitionKey":null,"Data":"","Data":"A"#
        );
    }

    #[test]
    fn what_is_torn_is_blanked_as_far_as_it_goes() {
        let text = r#"{"Records":[{"PartitionKey":"anna","Data":"c2VjcmV0"}]}"#;
        let whole = blanked(text);
        assert!(whole.contains(r#""xxxx""#) && whole.contains(r#""AAAAAAAA""#));
        for end in 0..text.len() {
            assert_eq!(blanked(&text[..end]), whole[..end]);
        }
    }

    #[test]
    fn other_answers_stay_to_the_letter() {
        for text in
            ["", "{", "\"", "\\", "<html>\"Data", r#"{"message":"no \"Data\":\"x\" here","__type":"E"}"#, "\"Data"]
        {
            assert_eq!(blanked(text), text);
        }
    }

    #[test]
    fn cbor_is_blanked_in_every_form() {
        let mut bytes = Vec::from(*b"\xbf\x67Records\x81\xa2\x64Data\x58\x03abc\x6cPartitionKey\x64anna\xff");
        blank_cbor(&mut bytes);
        assert_eq!(bytes, b"\xbf\x67Records\x81\xa2\x64Data\x58\x03\0\0\0\x6cPartitionKey\x64xxxx\xff");
        let mut bytes = Vec::from(*b"\xa1\x64Data\x5f\x42ab\x43cde\xff\xa1\x64Data\x64YQ==");
        blank_cbor(&mut bytes);
        assert_eq!(bytes, b"\xa1\x64Data\x5f\x42\0\0\x43\0\0\0\xff\xa1\x64Data\x64AA==");
        let mut torn = Vec::from(*b"\x64Data\x5b\0\0\0\0\0\0\0\x09abc");
        blank_cbor(&mut torn);
        assert_eq!(torn, b"\x64Data\x5b\0\0\0\0\0\0\0\x09\0\0\0");
    }
}
