//! Decides when a shard has been read far enough.
//!
//! `MillisBehindLatest` alone is not enough. It may stay above 0 on a shard to which nothing is written. Some emulators
//! report 0 on a page that is followed by more pages. Some services measure it against the present, others against the
//! newest record. A bounded read therefore ends a shard on any of three signs, each of which is safe by itself:
//!
//! 1. The lag is small enough and the page was not full, so there was nothing more to send.
//! 2. A record arrived after the reader was opened, so we are past the tip of that time. This also ends a read of a
//!    stream that is written to without pause.
//! 3. Page after page is empty and the lag does not fall, so the shard iterator no longer moves. If the lag jumps up,
//!    we start counting again: new records have arrived, and the iterator moves towards them.
//!
//! A page with nothing but records that were delivered before counts as empty. A broken service may report any lag, so
//! the third sign appears after a limited number of pages, whatever the service reports: to count as falling, a lag
//! must fall by a minimum, and jumps and empty pages are limited.

use core::time::Duration;

use crate::config::Until;
use crate::time::{Instant, Timestamp, millis};

/// The number of consecutive empty pages whose lag does not fall after which a shard is at its tip. An iterator that
/// crosses a period without records also returns empty pages, but the lag falls with each of them.
const IDLE_PAGES: u32 = 20;

/// The number of consecutive empty pages after which a shard is at its tip, whatever the lag. At five pages per second,
/// this takes more than five hours. An iterator that advances by five minutes per page crosses the longest retention
/// period in about as many pages.
const EMPTY_PAGES_MAX: u32 = 100_000;

/// The longest retention: "The maximum retention period is 8760 hours (365 days)".
/// <https://docs.aws.amazon.com/streams/latest/dev/kinesis-extended-retention.html>
const RETENTION_MAX: Duration = Duration::from_secs(8760 * 3600);

/// The maximum number of times that the lag may jump up without a record in between.
const JUMPS_MAX: u32 = 20;

/// How far arrival times and the service's `Date` may be off: the header has whole seconds, and the arrival time is
/// "approximate […] not guaranteed to be accurate" to the millisecond
/// (<https://docs.aws.amazon.com/kinesis/latest/APIReference/API_Record.html>).
pub(crate) const SLACK: Duration = Duration::from_secs(2);

/// What a page says about the tip.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PageSummary {
    /// `MillisBehindLatest`, or 0 if it is absent.
    pub(crate) behind: u64,
    /// Whether the page holds no new record.
    pub(crate) empty: bool,
    /// Whether the page holds as many records as were requested, or nearly as much data as a page can.
    pub(crate) full: bool,
    /// The latest arrival time in the page.
    pub(crate) newest: Option<Timestamp>,
    /// Whether the shard is listed as closed.
    pub(crate) closed: bool,
    /// When the page was requested. It may be that old, even if it only arrives now: the host may have been suspended.
    pub(crate) asked: Instant,
    /// The earliest time, by the service's clock, at which the page can have been created.
    pub(crate) present: Timestamp,
}

impl PageSummary {
    /// Whether there was nothing to read, and whatever follows is yet to be put into the shard.
    pub(crate) fn is_tip(&self) -> bool {
        self.empty && self.behind == 0 && !self.full && !self.closed
    }
}

/// The signs seen so far in a shard.
#[derive(Clone, Debug)]
pub(crate) struct Tip {
    /// Consecutive empty pages.
    empty_pages: u32,
    /// Consecutive empty pages whose lag does not fall.
    idle_pages: u32,
    /// The number of times that the lag jumped up since the last record.
    jumps: u32,
    fall: Option<Fall>,
    /// The last empty page.
    last: Option<PageSummary>,
}

/// How the lag falls from one empty page to the next.
#[derive(Clone, Copy, Debug)]
struct Fall {
    /// The lag after the last fall.
    least_behind: u64,
    /// The minimum by which it must fall again.
    step: u64,
}

impl Tip {
    pub(crate) fn new() -> Tip {
        Tip { empty_pages: 0, idle_pages: 0, jumps: 0, fall: None, last: None }
    }

    /// Takes the next page of the shard. `opened` is the latest time at which the reader can have been opened.
    pub(crate) fn observe(&mut self, until: Until, opened: Timestamp, summary: PageSummary) -> Progress {
        if !summary.empty {
            *self = Tip::new();
        } else if self.jumps < JUMPS_MAX && self.has_moved(summary) {
            *self = Tip { jumps: self.jumps + 1, ..Tip::new() };
        }
        if summary.empty {
            self.observe_empty(summary.behind);
            self.last = Some(summary);
        }
        let is_due = match until {
            Until::CaughtUp(_) => true,
            Until::Time(end) => summary.present > end + SLACK,
            Until::Stopped => false,
        };
        if !is_due {
            // The reader cannot end yet, so the shard may be quiet for as long as it likes.
            (self.empty_pages, self.jumps) = (0, 0);
        }
        let idle = self.idle_pages >= IDLE_PAGES || self.empty_pages >= EMPTY_PAGES_MAX;
        // The tip of a closed shard is its end, where its children begin, so it is read until it has no next iterator.
        // Some emulators return iterators forever.
        if summary.closed {
            return match (idle, until) {
                (true, _) if summary.behind == 0 => Progress::Ended,
                (true, Until::CaughtUp(_) | Until::Time(_)) => Progress::Reached,
                (true, Until::Stopped) | (false, _) => Progress::More,
            };
        }
        let reached = match until {
            Until::CaughtUp(lag) => {
                let close = summary.behind <= millis(lag) && !summary.full;
                let passed = summary.newest.is_some_and(|newest| newest > opened + SLACK);
                close || passed || idle
            }
            // If a record arrived at or after the end time, the reader cuts the page there and ends the shard. Here, no
            // record from before that time can still appear. The page is empty and has a next iterator, so the shard is
            // open and has no children that could hold such a record.
            Until::Time(_) => is_due && summary.empty && (summary.behind == 0 && !summary.full || idle),
            Until::Stopped => false,
        };
        if reached { Progress::Reached } else { Progress::More }
    }

    fn observe_empty(&mut self, behind: u64) {
        self.empty_pages = self.empty_pages.saturating_add(1);
        let step = behind.min(millis(RETENTION_MAX)) / u64::from(EMPTY_PAGES_MAX);
        let fall = self.fall.get_or_insert(Fall { least_behind: u64::MAX, step });
        if behind.saturating_add(fall.step) < fall.least_behind {
            fall.least_behind = behind;
            self.idle_pages = 0;
        } else {
            self.idle_pages = self.idle_pages.saturating_add(1);
        }
    }

    /// Whether the tip has moved away since the last empty page. The lag of an idle shard grows no faster than time
    /// passes.
    fn has_moved(&self, summary: PageSummary) -> bool {
        self.last.is_some_and(|last| {
            // Either clock may jump.
            let by_calendar = summary.present.0.saturating_sub(last.present.0);
            let passed = millis(summary.asked.since(last.asked)).min(by_calendar);
            let explained = last.behind.saturating_add(passed).saturating_add(millis(SLACK));
            last.behind == 0 && summary.behind > 0 || summary.behind > explained
        })
    }
}

/// How far a shard is read after a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// There is more to read.
    More,
    /// `until` is met.
    Reached,
    /// The shard is closed and has no more records.
    Ended,
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPENED: Timestamp = Timestamp(1_000_000);
    const CAUGHT_UP: Until = Until::CaughtUp(Duration::ZERO);

    fn reached(progress: Progress) -> bool {
        progress == Progress::Reached
    }

    fn page(behind: u64) -> PageSummary {
        PageSummary { empty: false, newest: Some(Timestamp(5)), ..empty(behind) }
    }

    fn empty(behind: u64) -> PageSummary {
        let asked = Instant(0);
        PageSummary { behind, empty: true, full: false, closed: false, newest: None, asked, present: OPENED }
    }

    #[test]
    fn only_an_open_shard_without_a_lag_is_polled_less_often() {
        assert!(empty(0).is_tip());
        for summary in [
            page(0),
            empty(1),
            PageSummary { full: true, ..empty(0) },
            // Nothing more can be put into a closed shard. Some emulators return iterators for it forever.
            PageSummary { closed: true, ..empty(0) },
        ] {
            assert!(!summary.is_tip(), "{summary:?}");
        }
    }

    #[test]
    fn a_full_page_is_never_the_tip() {
        let mut tip = Tip::new();
        assert!(!reached(tip.observe(CAUGHT_UP, OPENED, PageSummary { full: true, ..page(0) })));
        assert!(reached(tip.observe(CAUGHT_UP, OPENED, page(0))));
    }

    #[test]
    fn a_read_ends_on_a_stream_that_is_written_to_without_pause() {
        let mut tip = Tip::new();
        let at = |ms| PageSummary { newest: Some(Timestamp(OPENED.0 + ms)), full: true, ..page(500) };
        assert!(!reached(tip.observe(CAUGHT_UP, OPENED, at(2000))));
        assert!(reached(tip.observe(CAUGHT_UP, OPENED, at(2001))));
    }

    #[test]
    fn an_idle_shard_ends_when_its_lag_stops_falling() {
        let mut tip = Tip::new();
        for falling in (1..200).rev() {
            assert!(!reached(tip.observe(CAUGHT_UP, OPENED, empty(falling * 1000))));
        }
        let mut idle = 1;
        while !reached(tip.observe(CAUGHT_UP, OPENED, empty(1000 + idle))) {
            idle += 1;
        }
        assert_eq!(idle, u64::from(IDLE_PAGES));
    }

    #[test]
    fn a_shard_whose_lag_jumps_up_is_not_idle() {
        for idle in [0, 5] {
            let (mut tip, until) = (Tip::new(), Until::Time(OPENED));
            for _ in 0..IDLE_PAGES {
                assert!(!reached(tip.observe(until, OPENED, empty(idle))), "ended before the end time");
            }
            let later = |behind| PageSummary { present: Timestamp(OPENED.0 + 9000), ..empty(behind) };
            for falling in (1..=9).rev() {
                assert!(!reached(tip.observe(until, OPENED, later(falling * 60_000))), "{idle}, {falling}");
            }
        }
    }

    #[test]
    fn an_idle_shard_reaches_its_tip_whatever_the_reported_lag() {
        let hour = 3_600_000;
        // The maximum number of empty pages for each series of lags.
        type Lag<'a> = &'a dyn Fn(u64) -> u64;
        let lags: [(&str, u64, Lag<'_>); 9] = [
            ("always the maximum", 22, &|_| u64::MAX),
            ("huge, falling by a millisecond", 22, &|page| (1 << 60) - page),
            ("a day, falling by a millisecond", 22, &|page| 24 * hour - page),
            ("a day, falling by a second", 86_400 + 22, &|page| (24 * hour).saturating_sub(page * 1000)),
            ("a year, falling by just too little", 100_001, &|page| 365 * 24 * hour - page * 315_359),
            ("up and down", 22, &|page| 5000 + page % 2),
            ("up and down by hours", 500, &|page| hour + page % 2 * 10 * hour),
            ("growing exponentially", 500, &|page| 1 << page.min(63)),
            ("falling every nineteen pages", 100_001, &|page| 365 * 24 * hour - page / 19 * 315_361),
        ];
        for (name, max, lag) in lags {
            for until in [CAUGHT_UP, Until::Time(OPENED)] {
                let mut tip = Tip::new();
                let summary = |page| PageSummary { present: OPENED + SLACK * 2, ..empty(lag(page)) };
                let pages = (0..).position(|page| reached(tip.observe(until, OPENED, summary(page))));
                assert!(pages.is_some_and(|pages| pages as u64 <= max), "{name}, {until:?}: {pages:?}");
            }
        }
    }

    #[test]
    fn a_quiet_period_before_the_end_time_does_not_count() {
        let until = Until::Time(OPENED + Duration::from_secs(86_400));
        let mut tip = Tip::new();
        for page in 0..300_000 {
            assert!(!reached(tip.observe(until, OPENED, empty(page % 2))), "ended before the end time");
        }
        let later = |behind| PageSummary { present: OPENED + Duration::from_secs(90_000), ..empty(behind) };
        for falling in (1..=9).rev() {
            assert!(!reached(tip.observe(until, OPENED, later(falling * 60_000))), "{falling}");
        }
    }

    #[test]
    fn an_end_time_is_only_reached_once_it_is_past() {
        let mut tip = Tip::new();
        let until = Until::Time(OPENED);
        let at = |ms| PageSummary { present: Timestamp(OPENED.0 + ms), ..empty(0) };
        assert!(!reached(tip.observe(until, OPENED, at(2000))));
        assert!(reached(tip.observe(until, OPENED, at(2001))));
        assert!(!reached(Tip::new().observe(until, OPENED, PageSummary { behind: 7, ..at(9000) })));
    }

    #[test]
    fn a_closed_shard_ends_where_its_records_end() {
        for until in [CAUGHT_UP, Until::Stopped, Until::Time(Timestamp(1))] {
            let mut tip = Tip::new();
            assert_eq!(tip.observe(until, OPENED, PageSummary { closed: true, ..page(0) }), Progress::More);
            let closed = |behind| PageSummary { closed: true, ..empty(behind) };
            let observed: std::vec::Vec<Progress> =
                (0..=IDLE_PAGES).map(|_| tip.observe(until, OPENED, closed(0))).collect();
            assert_eq!(observed.iter().position(|progress| *progress == Progress::Ended), Some(IDLE_PAGES as usize));
        }
    }
}
