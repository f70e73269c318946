//! Times as text.

use std::fmt::Write as _;

use jiff::Timestamp;

/// Formats times as RFC 3339 in UTC with milliseconds. Many messages arrive within the same second, so its text is
/// cached.
#[derive(Default)]
pub(super) struct Times {
    second: Option<u64>,
    text: String,
}

impl Times {
    /// Times after the year 9999, which RFC 3339 cannot express, become its end.
    pub(super) fn text(&mut self, ms: u64) -> &str {
        let second = ms / 1000;
        if self.second != Some(second) {
            let time = i64::try_from(second).map(Timestamp::from_second);
            let time = time.ok().and_then(Result::ok).unwrap_or(Timestamp::MAX);
            self.text = time.to_string();
            self.second = Some(second);
        }
        self.text.truncate("2026-11-23T15:09:35".len());
        let _ = write!(self.text, ".{:03}Z", ms % 1000);
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339_with_milliseconds() {
        let mut times = Times::default();
        assert_eq!(times.text(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(times.text(1_763_900_000_123), "2025-11-23T12:13:20.123Z");
        assert_eq!(times.text(1_763_900_000_007), "2025-11-23T12:13:20.007Z");
        assert!(times.text(u64::MAX).starts_with("9999-12-30T"));
    }
}
