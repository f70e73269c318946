//! What is known of the service's time.
//!
//! Nobody tells it for sure. The host's calendar may be wrong, and a `Date` header may come from a proxy, or from a cache.
//! So two witnesses are heard, and only where an answer was understood:
//!
//! - The request was *signed* with a time, and the service accepts a signature only within five minutes of its own time
//!   ("Signature expired […] is now earlier than […] - 5 min.";
//!   <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html>).
//! - The `Date` of that answer is the service's if it agrees with the signature.
//!
//! What follows is a range, and each decision takes the end of it that loses nothing: a position is never later than the
//! earliest time that it may be, and a read ends no earlier than at the latest.

use core::time::Duration;

use crate::time::{Instant, Timestamp};

/// How far the service's time may be from the time of an accepted signature: five minutes, and one for the way there
/// and back.
pub(crate) const WINDOW: Duration = Duration::from_secs(6 * 60);

/// The host's clock, and the service's time as the first answer showed it.
#[derive(Debug)]
pub(crate) struct Clock {
    pub(crate) now: Instant,
    /// The host's calendar at the opening, and when that was.
    host: (Timestamp, Instant),
    /// The service's time at the first answer that was understood.
    opened: Option<ServiceTime>,
}

/// The service's time, as an answer shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ServiceTime {
    pub(crate) earliest: Timestamp,
    pub(crate) likely: Timestamp,
    pub(crate) latest: Timestamp,
}

impl ServiceTime {
    fn exact(time: Timestamp) -> ServiceTime {
        ServiceTime { earliest: time, likely: time, latest: time }
    }

    /// Judges what an answer tells. `host` is the host's calendar, which counts where the host does not say when it
    /// signed the request.
    fn judge(date: Option<Timestamp>, signed: Option<Timestamp>, host: Timestamp) -> ServiceTime {
        let claimed = signed.unwrap_or(host);
        let earliest = claimed.before(WINDOW);
        let latest = claimed + WINDOW;
        match date {
            Some(date) if (earliest..=latest).contains(&date) => {
                ServiceTime { earliest: date.min(claimed), likely: date, latest: date.max(claimed) }
            }
            None if signed.is_none() => ServiceTime::exact(host),
            Some(_) | None => ServiceTime { earliest, likely: claimed, latest },
        }
    }
}

impl Clock {
    pub(crate) fn new(now: Instant, present: Timestamp) -> Clock {
        Clock { now, host: (present, now), opened: None }
    }

    /// Learns of an answer that was understood, to a request that was sent at `sent`.
    pub(crate) fn hear(&mut self, date: Option<Timestamp>, signed: Option<Timestamp>, sent: Instant) -> ServiceTime {
        let (present, since) = self.host;
        let heard = ServiceTime::judge(date, signed, present + sent.since(since));
        self.opened.get_or_insert(heard);
        heard
    }

    /// The service's time when the reader was opened, or rather when it first answered.
    pub(crate) fn opened(&self) -> ServiceTime {
        self.opened.unwrap_or(ServiceTime::exact(self.host.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: Timestamp = Timestamp(1_763_900_000_000);
    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_date_that_agrees_with_the_signature_narrows_the_time_down() {
        let heard = heard(Some(NOON + MINUTE), Some(NOON));
        assert_eq!(heard, ServiceTime { earliest: NOON, likely: NOON + MINUTE, latest: NOON + MINUTE });
    }

    #[test]
    fn a_date_that_contradicts_the_signature_is_not_believed() {
        for date in [0, 1, NOON.0 - 400_000, NOON.0 + 400_000, 2_147_483_647_000, 253_402_300_799_000, u64::MAX] {
            let heard = heard(Some(Timestamp(date)), Some(NOON));
            assert_eq!(heard, ServiceTime { earliest: NOON.before(WINDOW), likely: NOON, latest: NOON + WINDOW });
        }
    }

    #[test]
    fn the_hosts_calendar_counts_where_nothing_else_tells() {
        let mut clock = Clock::new(Instant(7), NOON);
        assert_eq!(clock.opened(), ServiceTime::exact(NOON));
        assert_eq!(clock.hear(None, None, Instant(7) + MINUTE), ServiceTime::exact(NOON + MINUTE));
    }

    #[test]
    fn the_first_answer_dates_the_opening() {
        let mut clock = Clock::new(Instant(0), NOON);
        let first = clock.hear(Some(NOON), Some(NOON), Instant(0));
        clock.hear(Some(NOON + MINUTE), Some(NOON + MINUTE), Instant(60_000));
        assert_eq!(clock.opened(), first);
    }

    fn heard(date: Option<Timestamp>, signed: Option<Timestamp>) -> ServiceTime {
        Clock::new(Instant(0), NOON).hear(date, signed, Instant(0))
    }
}
