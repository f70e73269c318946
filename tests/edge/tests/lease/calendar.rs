//! A worker's calendar clock, which may be wrong.

use simulation::chance::Chance;

/// Times of clocks that lost their battery, overflowed or were set by hand.
const YEARS: [u64; 6] = [
    // 1900, which WASI cannot distinguish from 1970.
    0,
    // 2 January 1970.
    86_400_000,
    // 19 January 2038, where 31 bits of seconds overflow.
    2_147_483_647_000,
    // 2106, where 32 bits do.
    4_294_967_295_000,
    253_402_300_799_999,
    u64::MAX,
];

/// A calendar clock as the drain sees it: the host's clock, except that within one drain it advances at least as fast
/// as the monotonic clock.
#[derive(Debug)]
pub(crate) struct Calendar {
    host: Host,
    /// The time that was returned last, and the true time when it was.
    last: (u64, u64),
}

/// The host's clock.
#[derive(Clone, Copy, Debug)]
enum Host {
    /// Off by this many milliseconds.
    Offset(i64),
    /// Was set to the first time at the second, true time, and runs since.
    SetTo(u64, u64),
    /// Stands still.
    Still(u64),
}

impl Calendar {
    pub(crate) fn with_offset(milliseconds: i64) -> Calendar {
        Calendar { host: Host::Offset(milliseconds), last: (0, 0) }
    }

    /// Starts a drain.
    pub(crate) fn begin(&mut self, now: u64) {
        self.last = (0, now);
    }

    /// Corrects the clock.
    pub(crate) fn correct(&mut self) {
        self.host = Host::Offset(0);
    }

    /// Sets the clock to the right time or a wrong one.
    pub(crate) fn set(&mut self, now: u64, chance: &mut Chance) {
        let offset = chance.magnitude(1_000, 10 * 365 * 86_400_000) as i64;
        self.host = match chance.within(0, 5) {
            0 => Host::Offset(0),
            1 => Host::Offset(offset),
            2 => Host::Offset(-offset),
            3 | 4 => Host::SetTo(chance.of(&YEARS), now),
            _ => Host::Still(chance.of(&YEARS)),
        };
    }

    pub(crate) fn present(&mut self, now: u64) -> u64 {
        let host = match self.host {
            Host::Offset(offset) => now.saturating_add_signed(offset),
            Host::SetTo(time, then) => time.saturating_add(now.saturating_sub(then)),
            Host::Still(time) => time,
        };
        let (last, then) = self.last;
        let present = host.max(last.saturating_add(now.saturating_sub(then)));
        self.last = (present, now);
        present
    }
}
