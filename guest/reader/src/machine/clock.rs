//! What is known of the service's time.
//!
//! No source is certain: the host's calendar may be wrong, and a `Date` header may come from a proxy or a cache. We
//! combine two sources, and only use them from valid answers:
//!
//! - The request was *signed* with a time, and the service only accepts a signature within five minutes of its own time
//!   ("Signature expired […] is now earlier than […] - 5 min.";
//!   <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html>).
//! - The `Date` of the answer is the service's if it agrees with the signature.
//!
//! The result is a range, and each decision uses the end that loses nothing: positions are set to the earliest possible
//! time, and a read goes on as long as records from before its end might still arrive.

use core::time::Duration;

use crate::time::{Instant, Timestamp};

/// How far the service's time may be from the time of an accepted signature: five minutes, and one for the round trip.
pub(crate) const WINDOW: Duration = Duration::from_secs(6 * 60);

/// The host's clock, and the service's time according to the first valid answer.
#[derive(Debug)]
pub(crate) struct Clock {
    pub(crate) now: Instant,
    /// The host's calendar when the reader was opened, and that instant.
    host: (Timestamp, Instant),
    /// The service's time at the first valid answer.
    opened: Option<ServiceTime>,
}

/// The service's time, as far as an answer shows it.
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

    /// Derives the time from an answer. `host` is the host's calendar, which is used if the host does not say when it
    /// signed the request.
    fn derive(date: Option<Timestamp>, signed: Option<Timestamp>, host: Timestamp) -> ServiceTime {
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

    /// Takes the times of a valid answer to a request that was sent at `sent`.
    pub(crate) fn hear(&mut self, date: Option<Timestamp>, signed: Option<Timestamp>, sent: Instant) -> ServiceTime {
        let (present, since) = self.host;
        let time = ServiceTime::derive(date, signed, present + sent.since(since));
        self.opened.get_or_insert(time);
        time
    }

    /// Returns the service's time when the reader was opened; more precisely, when it first answered.
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
    fn a_date_that_agrees_with_the_signature_narrows_the_range() {
        let time = time_from(Some(NOON + MINUTE), Some(NOON));
        assert_eq!(time, ServiceTime { earliest: NOON, likely: NOON + MINUTE, latest: NOON + MINUTE });
    }

    #[test]
    fn a_date_that_contradicts_the_signature_is_ignored() {
        for date in [0, 1, NOON.0 - 400_000, NOON.0 + 400_000, 2_147_483_647_000, 253_402_300_799_000, u64::MAX] {
            let time = time_from(Some(Timestamp(date)), Some(NOON));
            assert_eq!(time, ServiceTime { earliest: NOON.before(WINDOW), likely: NOON, latest: NOON + WINDOW });
        }
    }

    #[test]
    fn the_hosts_calendar_is_used_if_there_is_nothing_else() {
        let mut clock = Clock::new(Instant(7), NOON);
        assert_eq!(clock.opened(), ServiceTime::exact(NOON));
        assert_eq!(clock.hear(None, None, Instant(7) + MINUTE), ServiceTime::exact(NOON + MINUTE));
    }

    #[test]
    fn the_first_answer_determines_when_the_reader_was_opened() {
        let mut clock = Clock::new(Instant(0), NOON);
        let first = clock.hear(Some(NOON), Some(NOON), Instant(0));
        clock.hear(Some(NOON + MINUTE), Some(NOON + MINUTE), Instant(60_000));
        assert_eq!(clock.opened(), first);
    }

    fn time_from(date: Option<Timestamp>, signed: Option<Timestamp>) -> ServiceTime {
        Clock::new(Instant(0), NOON).hear(date, signed, Instant(0))
    }
}
