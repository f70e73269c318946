//! Parses times and durations as people write them.

use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::Offset;
use jiff::{Span, SpanRelativeTo, Timestamp};

/// A time, absolute or relative to now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Point {
    /// Milliseconds since the Unix epoch.
    At(u64),
    /// This long before now.
    Ago(Duration),
}

impl Point {
    /// Milliseconds since the Unix epoch.
    pub(super) fn resolve(self, now_ms: u64) -> Result<u64, String> {
        match self {
            Self::At(time) => Ok(time),
            Self::Ago(length) => u64::try_from(length.as_millis())
                .ok()
                .and_then(|length| now_ms.checked_sub(length))
                .ok_or_else(|| BEFORE_1970.to_owned()),
        }
    }
}

/// Parses RFC 3339, a date, which means 00:00 UTC, or Unix seconds, which may have a fraction. `None` if the text is
/// none of these.
pub(super) fn point(text: &str) -> Option<Result<Point, String>> {
    let text = text.trim();
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if digits(seconds) && digits(fraction) {
        return Some(unix(seconds, fraction).map(Point::At));
    }
    let timestamp = match text.parse::<Timestamp>() {
        Ok(timestamp) => timestamp,
        Err(_) => {
            let date = text.parse::<Date>().ok()?;
            // A time without an offset would be read as its date alone.
            if text.contains(['T', 't', ' ', ':']) {
                return Some(Err("it has no UTC offset: append Z".to_owned()));
            }
            Offset::UTC.to_timestamp(date.at(0, 0, 0, 0)).ok()?
        }
    };
    Some(u64::try_from(timestamp.as_millisecond()).map(Point::At).map_err(|_| BEFORE_1970.to_owned()))
}

/// Parses a duration, which may be followed by `ago`.
pub(super) fn ago(text: &str) -> Result<Point, String> {
    let text = text.trim();
    let length = text.strip_suffix("ago").map_or(text, |length| length.trim_end_matches([' ', '-', '_']));
    duration(length).map(Point::Ago)
}

/// Parses a duration: `90s`, `1h30m`, `2d`, `PT1H`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("it has no unit".to_owned());
    }
    let span: Span = text.parse().map_err(|_| "it is neither a time nor a duration".to_owned())?;
    if span.is_negative() {
        return Err("it is negative".to_owned());
    }
    let length = span
        .to_duration(SpanRelativeTo::days_are_24_hours())
        .map_err(|_| "months and years vary in length: use days".to_owned())?;
    Duration::try_from(length).map_err(|error| error.to_string())
}

fn unix(seconds: &str, fraction: &str) -> Result<u64, String> {
    let seconds: u64 = seconds.parse().map_err(|_| "it is too large".to_owned())?;
    if seconds > SECONDS_MAX {
        return Err("it is too large for seconds; are these milliseconds?".to_owned());
    }
    let millis = fraction.bytes().chain(*b"00").take(3).fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0'));
    Ok(seconds * 1000 + millis)
}

/// In seconds, the year 5138. In milliseconds, 1973, so a larger number is likely to be in milliseconds.
const SECONDS_MAX: u64 = 99_999_999_999;

const BEFORE_1970: &str = "it is before 1970";
