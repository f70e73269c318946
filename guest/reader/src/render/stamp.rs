//! Formats calendar time as RFC 3339 in UTC with milliseconds.
//!
//! Hand-written because it runs once per message. The tests compare it to a date library.

/// 9999-12-31T23:59:59.999Z, the last time that RFC 3339 can express with its four-digit years.
const MS_MAX: u64 = 253_402_300_799_999;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// Formats milliseconds since the Unix epoch as `2026-11-23T15:09:35.129Z`. Times after the year 9999 become its end.
pub(crate) fn rfc3339(ms: u64) -> [u8; 24] {
    let ms = ms.min(MS_MAX);
    let (year, month, day) = date((ms / DAY_MS) as u32);
    let ms = (ms % DAY_MS) as u32;
    let seconds = ms / 1000;
    let [[a, b], [c, d], [e, f], [g, h]] = [digits(year / 100), digits(year % 100), digits(month), digits(day)];
    let [[i, j], [k, l], [m, n]] = [digits(seconds / 3600), digits(seconds / 60 % 60), digits(seconds % 60)];
    let ([_, o], [p, q]) = (digits(ms % 1000 / 100), digits(ms % 100));
    [a, b, c, d, b'-', e, f, b'-', g, h, b'T', i, j, b':', k, l, b':', m, n, b'.', o, p, q, b'Z']
}

/// Formats consecutive times, many of which fall into the same second.
#[derive(Default)]
pub(crate) struct Stamps {
    second: Option<u64>,
    text: [u8; 24],
}

impl Stamps {
    /// Like the function [`rfc3339`].
    #[inline]
    pub(crate) fn rfc3339(&mut self, ms: u64) -> [u8; 24] {
        let second = ms / 1000;
        if self.second == Some(second) && ms <= MS_MAX {
            let [.., a, b, c, _] = &mut self.text;
            let rest = (ms % 1000) as u32;
            ([_, *a], [*b, *c]) = (digits(rest / 100), digits(rest % 100));
        } else {
            (self.second, self.text) = (Some(second), rfc3339(ms));
        }
        self.text
    }
}

/// Converts days since 1970-01-01 to a Gregorian year, month and day.
///
/// Counts days from 0000-03-01, so that the leap day is the last day of its year and month lengths follow a linear
/// formula (Howard Hinnant, <https://howardhinnant.github.io/date_algorithms.html#civil_from_days>).
fn date(days: u32) -> (u32, u32, u32) {
    const DAYS_TO_EPOCH: u32 = 719_468;
    const DAYS_OF_400_YEARS: u32 = 146_097;
    let days = days + DAYS_TO_EPOCH;
    let era = days / DAYS_OF_400_YEARS;
    let day = days % DAYS_OF_400_YEARS;
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u32::from(month <= 2), month, day)
}

#[inline]
fn digits(value: u32) -> [u8; 2] {
    [b'0' + (value / 10) as u8, b'0' + (value % 10) as u8]
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, SecondsFormat, Utc};
    use proptest::collection;
    use proptest::prelude::*;
    use std::string::String;

    use super::*;

    fn ours(ms: u64) -> String {
        String::from_utf8(rfc3339(ms).to_vec()).expect("ASCII")
    }

    fn chronos(ms: u64) -> String {
        let time = i64::try_from(ms).ok().and_then(DateTime::<Utc>::from_timestamp_millis);
        time.expect("within chrono's range").to_rfc3339_opts(SecondsFormat::Millis, true)
    }

    #[test]
    fn every_day_until_the_year_9999_agrees_with_chrono() {
        for day in 0..=MS_MAX / DAY_MS {
            let ms = day * DAY_MS + day * 7919 % DAY_MS;
            assert_eq!(ours(ms), chronos(ms));
        }
    }

    #[test]
    fn boundaries_agree_with_chrono() {
        for ms in [0, 1, 999, 1000, DAY_MS - 1, DAY_MS, 951_782_399_999, 951_782_400_000, MS_MAX - 1, MS_MAX] {
            assert_eq!(ours(ms), chronos(ms));
        }
        assert_eq!(ours(1_795_446_575_129), "2026-11-23T15:09:35.129Z");
    }

    #[test]
    fn times_after_the_year_9999_become_its_end() {
        for ms in [MS_MAX + 1, u64::MAX / 2, u64::MAX] {
            assert_eq!(ours(ms), "9999-12-31T23:59:59.999Z");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn consecutive_times_are_formatted_like_single_ones(start: u64, steps in collection::vec(0..2_000_u64, 0..40)) {
            let mut stamps = Stamps::default();
            let start = if start.is_multiple_of(2) { start } else { MS_MAX - start % 20_000 };
            for ms in steps.into_iter().scan(start, |ms, step| Some({ *ms = ms.saturating_add(step); *ms })) {
                prop_assert_eq!(stamps.rfc3339(ms), rfc3339(ms));
            }
        }

        #[test]
        fn any_time_agrees_with_chrono(ms in 0..=MS_MAX) {
            prop_assert_eq!(ours(ms), chronos(ms));
        }
    }
}
