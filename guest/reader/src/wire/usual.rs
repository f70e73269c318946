//! A fast path for records in their usual form.
//!
//! It reads a subset of what the two sources read: records with known members in any order, without whitespace, escapes
//! or nulls in JSON, and with definite lengths in CBOR. Anything else, including anything invalid, is left to the
//! source: the functions here return `None` and consume nothing. They therefore have no errors of their own, and agree
//! with the sources on every record they accept.
//!
//! A member is recognized by the first eight bytes of its key; the rest of the key is compared word by word. This is
//! only tried if at least as many bytes are left as in the longest key. No usual record is missed, because what follows
//! the records of a page is longer than that.

use kinesis_reader_json::{plain, text};

use super::decode::{TIME_MAX, add_data};
use crate::pages::digits::{POWERS, leading};
use crate::pages::page::{Data, DataSpan, Layout, RecordSpans, Span};
use crate::pages::sequence::is_sequence;

/// The members of a record.
enum Member {
    SequenceNumber,
    ApproximateArrivalTimestamp,
    Data,
    PartitionKey,
    /// Ignored.
    EncryptionType,
}

/// Reads the JSON record at `at`. Returns where it ends.
pub(super) fn json(text: &str, mut at: usize, layout: &mut Layout) -> Option<usize> {
    let body = text.as_bytes();
    let (mut sequence, mut partition_key, mut data, mut arrived) = (None, None, None, 0);
    if *body.get(at)? != b'{' {
        return None;
    }
    loop {
        // Skip the brace or comma.
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
    add_data(layout, Data::Base64(data));
    layout.records.push(RecordSpans { sequence, partition_key, arrived, data: DataSpan::Base64(span) });
    Some(at + 1)
}

/// Reads the CBOR record at `at`. Returns where it ends.
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
            Member::PartitionKey if text(bytes).is_some() => partition_key = Some(span),
            Member::EncryptionType if text(bytes).is_some() => {}
            Member::PartitionKey | Member::EncryptionType | Member::ApproximateArrivalTimestamp => return None,
        }
    }
    let (span, data) = data?;
    let sequence = sequence?;
    add_data(layout, Data::Raw(data));
    layout.records.push(RecordSpans { sequence, partition_key, arrived, data: DataSpan::Raw(span) });
    Some(at)
}

/// Loads as many words from `at` as the longest key needs.
#[inline(always)]
fn words(body: &[u8], at: usize) -> Option<[u64; 4]> {
    Some(body.get(at..)?.as_chunks().0.first_chunk::<4>()?.map(u64::from_le_bytes))
}

const fn word(bytes: &[u8; 8]) -> u64 {
    u64::from_le_bytes(*bytes)
}

const COLON_QUOTE: u16 = u16::from_le_bytes(*b":\"");

/// CBOR's major types, as in an item's first byte.
/// <https://www.rfc-editor.org/rfc/rfc8949.html#section-3>
const BYTES: u8 = 2 << 5;
const TEXT: u8 = 3 << 5;
const MAP: u8 = 5 << 5;
/// Tag 1, and the head of an eight-byte integer.
const TIMESTAMP: u8 = 6 << 5 | 1;
const U64: u8 = 27;

/// Reads the head of an item of definite length. Returns the length and where the head ends.
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

/// Reads a number of seconds that is a whole number of milliseconds, optionally with a fraction or a one-digit
/// exponent. Returns it in milliseconds, and where it ends.
///
/// The API reference has the example `1.441215410867E9`.
/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetRecords.html>
#[inline(always)]
fn seconds(body: &[u8], at: usize) -> Option<(u64, usize)> {
    // With no more digits and zeros than this, the result fits into `u64`.
    const PLACES_MAX: usize = 18;
    let (whole, count) = digits(body, at)?;
    // A number that starts with a zero is a fraction or invalid.
    if count == 0 || *body.get(at)? == b'0' {
        return None;
    }
    let (mut end, mut fraction, mut positions, mut scale) = (at + count, 0, 0, 3);
    if *body.get(end)? == b'.' {
        (fraction, positions) = digits(body, end + 1)?;
        end += 1 + positions;
        if positions == 0 {
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
    let time = whole * POWERS.get(scale)? + fraction * POWERS.get(scale.checked_sub(positions)?)?;
    (time <= TIME_MAX).then_some((time, end))
}

/// Parses up to sixteen digits at `at`. Returns their value and their number.
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
mod tests;
