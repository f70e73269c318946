//! Calendar time as text: RFC 3339 in UTC with milliseconds.
//!
//! Written by hand because it is written once a message; a date library is the oracle of the tests.

/// The last time of four digits to the year, which is all that RFC 3339 has: 9999-12-31T23:59:59.999Z.
const MS_MAX: u64 = 253_402_300_799_999;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// Writes milliseconds since the Unix epoch as `2026-11-23T15:09:35.129Z`. Times past the year 9999 become its end.
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

/// Writes times that come one after the other, of which many are of one second.
#[derive(Default)]
pub(crate) struct Stamps {
    second: Option<u64>,
    text: [u8; 24],
}

impl Stamps {
    /// As [`rfc3339`] does.
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

/// The Gregorian year, month and day of a number of days since 1970-01-01.
///
/// Days are counted from 0000-03-01, so that the leap day is the last of its year and the months' lengths follow
/// a line (Howard Hinnant, <https://howardhinnant.github.io/date_algorithms.html#civil_from_days>).
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
    fn each_day_of_ten_thousand_years_is_as_chrono_has_it() {
        for day in 0..=MS_MAX / DAY_MS {
            let ms = day * DAY_MS + day * 7919 % DAY_MS;
            assert_eq!(ours(ms), chronos(ms));
        }
    }

    #[test]
    fn the_ends_are_as_chrono_has_them() {
        for ms in [0, 1, 999, 1000, DAY_MS - 1, DAY_MS, 951_782_399_999, 951_782_400_000, MS_MAX - 1, MS_MAX] {
            assert_eq!(ours(ms), chronos(ms));
        }
        assert_eq!(ours(1_795_446_575_129), "2026-11-23T15:09:35.129Z");
    }

    #[test]
    fn times_that_rfc_3339_cannot_write_become_its_last() {
        for ms in [MS_MAX + 1, u64::MAX / 2, u64::MAX] {
            assert_eq!(ours(ms), "9999-12-31T23:59:59.999Z");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn times_one_after_the_other_are_as_each_alone(start: u64, steps in collection::vec(0..2_000_u64, 0..40)) {
            let mut stamps = Stamps::default();
            let start = if start.is_multiple_of(2) { start } else { MS_MAX - start % 20_000 };
            for ms in steps.into_iter().scan(start, |ms, step| Some({ *ms = ms.saturating_add(step); *ms })) {
                prop_assert_eq!(stamps.rfc3339(ms), rfc3339(ms));
            }
        }

        #[test]
        fn any_time_is_as_chrono_has_it(ms in 0..=MS_MAX) {
            prop_assert_eq!(ours(ms), chronos(ms));
        }
    }
}
