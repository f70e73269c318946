//! What a worker takes the time for.

use tests::chance::Chance;

/// Clocks as they are found: of a host that lost its battery, that overflowed, or that somebody set.
const YEARS: [u64; 6] = [
    // 1900, which no calendar of WASI can tell from 1970.
    0,
    // 1970, a day later.
    86_400_000,
    // 19 January 2038, where 31 bits of seconds end.
    2_147_483_647_000,
    // 2106, where 32 do.
    4_294_967_295_000,
    253_402_300_799_999,
    u64::MAX,
];

/// A calendar as the drain keeps it: what the host says, but within one drain it does not step back, and goes on at least
/// as the monotonic clock does.
#[derive(Debug)]
pub(crate) struct Calendar {
    host: Host,
    /// The time that was given last, and the true time at which it was.
    last: (u64, u64),
}

/// What the host says.
#[derive(Clone, Copy, Debug)]
enum Host {
    /// So many milliseconds beside the true time.
    Beside(i64),
    /// This, at the true time beside it, and going on from there.
    Since(u64, u64),
    /// This, always.
    Still(u64),
}

impl Calendar {
    pub(crate) fn beside(milliseconds: i64) -> Calendar {
        Calendar { host: Host::Beside(milliseconds), last: (0, 0) }
    }

    /// Begins a drain.
    pub(crate) fn begin(&mut self, now: u64) {
        self.last = (0, now);
    }

    /// The clock is right again.
    pub(crate) fn correct(&mut self) {
        self.host = Host::Beside(0);
    }

    /// Somebody sets the clock, rightly or not.
    pub(crate) fn set(&mut self, now: u64, chance: &mut Chance) {
        let far = chance.magnitude(1_000, 10 * 365 * 86_400_000) as i64;
        self.host = match chance.within(0, 5) {
            0 => Host::Beside(0),
            1 => Host::Beside(far),
            2 => Host::Beside(-far),
            3 | 4 => Host::Since(chance.of(&YEARS), now),
            _ => Host::Still(chance.of(&YEARS)),
        };
    }

    pub(crate) fn present(&mut self, now: u64) -> u64 {
        let says = match self.host {
            Host::Beside(offset) => now.saturating_add_signed(offset),
            Host::Since(year, then) => year.saturating_add(now.saturating_sub(then)),
            Host::Still(time) => time,
        };
        let (given, then) = self.last;
        let present = says.max(given.saturating_add(now.saturating_sub(then)));
        self.last = (present, now);
        present
    }
}
