//! What a service is like: real Kinesis with its liberties, or one of the emulators with theirs.
//!
//! Each seed draws its own: most liberties are off in most seeds, so that some seed has each alone and some have
//! several together.

use super::wrong::Wrong;
use crate::chance::Chance;

/// How `MillisBehindLatest` is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lag {
    /// How long ago the page's last record arrived; 0 only at the tip. What AWS promises.
    Age,
    /// 0 on each page that holds records, as ferrokinesis does: only a page that is not full is the tip.
    ZeroOnRecords,
    /// How much later than the page's last record the tip's record arrived, as kinesis-local does.
    BehindTipRecord,
}

/// The lag of an open shard that has been read to its tip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdleLag {
    /// None.
    Zero,
    /// Always the same.
    Constant(u64),
    /// More from page to page.
    Growing,
    /// A millisecond less from page to page. It would take days to fall to 0.
    Falling(u64),
}

/// The order of a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// By identifier.
    Sorted,
    /// Children before their parents.
    Reversed,
    /// Any.
    Shuffled,
}

/// How sequence numbers look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sequences {
    /// 56 digits, as AWS's are.
    Long,
    /// 1, 2, 3 … in every shard, as moto's are: "9" is less than "10".
    Counted,
    /// Ever more digits, up to the 129 that the service's model allows.
    Lengthening,
}

/// How a time is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// `1763900000.123`.
    Plain,
    /// `1.763900000123E9`.
    Scientific,
    /// `1763900000.1229998`, as AWS gives some, to be rounded to milliseconds.
    Fine,
}

/// What is said of a sequence number whose record has left the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trimmed {
    /// `InvalidArgumentException` that names `StartingSequenceNumber`.
    Refused,
    /// Nothing: the iterator begins at the oldest record.
    Clamped,
}

/// What a service is like. Shares are in percent.
#[derive(Clone, Debug)]
pub struct Quirks {
    pub lag: Lag,
    pub idle_lag: IdleLag,
    /// Pages that hold less than they could.
    pub short_pages: u8,
    /// Reads that find nothing a few times before they find something.
    pub voids: u8,
    /// The end of a shard names its children.
    pub names_children: bool,
    /// A page of a closed shard may name children beside a next iterator.
    pub early_children: bool,
    /// The end of a shard comes on a page of its own.
    pub separate_end: bool,
    /// The lag told at the end of a shard.
    pub end_lag: u64,
    /// Pages of open shards that give no next iterator and no children: not valid, says KCL, and to be asked again.
    pub false_ends: u8,
    /// Shards on a page of a listing, when the request does not say.
    pub listing_page: usize,
    pub order: Order,
    /// Pages of a listing that tell again of a shard that an earlier page told of.
    pub repeats: u8,
    /// Responses that Kinesis never gives: which, and how often, in percent.
    pub wrong: Option<(Wrong, u8)>,
    /// A listing may be of a stream this long ago.
    pub stale_ms: u64,
    pub iterator_life_ms: u64,
    pub token_life_ms: u64,
    /// Records stay this long.
    pub retention_ms: u64,
    pub trimmed: Trimmed,
    /// The record of a sequence number is given too where what comes after it is asked for.
    pub after_is_at: bool,
    pub sequences: Sequences,
    pub times: Times,
    /// Absent members stand as null, as kinesis-local has it.
    pub explicit_nulls: bool,
    /// Records without a partition key, as under the distribution strategy AUTO.
    pub keyless: u8,
    /// An arrival time may be this much before the true one.
    pub arrival_jitter_ms: u64,
    /// `DescribeStreamSummary` is denied.
    pub describe_denied: bool,
    /// Signatures more than five minutes off are refused, as AWS does and emulators do not.
    pub checks_signatures: bool,
    /// Calls and bytes of each shard are limited.
    pub limits: bool,
    /// Who asks too much is refused for a second.
    pub penalties: bool,
    /// Calls for records before which others read the shard.
    pub neighbours: u8,
    /// The stream is of another account: requests name it by its ARN.
    pub arn_only: bool,
    /// Iterators end in a line feed, as moto's do.
    pub odd_iterators: bool,
    /// Errors carry a namespace before their name and spell `Message`.
    pub odd_errors: bool,
    pub errors: Errors,
}

/// How often a request is refused though nothing is wrong with it, in percent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Errors {
    pub throttled: u8,
    pub transient: u8,
    pub iterator_expired: u8,
    pub token_expired: u8,
    pub credentials: u8,
    pub fatal: u8,
}

impl Quirks {
    /// AWS on a good day.
    pub fn plain() -> Quirks {
        Quirks {
            lag: Lag::Age,
            idle_lag: IdleLag::Zero,
            short_pages: 0,
            voids: 0,
            names_children: true,
            early_children: false,
            separate_end: true,
            end_lag: 0,
            false_ends: 0,
            listing_page: 1000,
            order: Order::Sorted,
            repeats: 0,
            wrong: None,
            stale_ms: 0,
            iterator_life_ms: 300_000,
            token_life_ms: 300_000,
            retention_ms: 24 * 3_600_000,
            trimmed: Trimmed::Refused,
            after_is_at: false,
            sequences: Sequences::Long,
            times: Times::Plain,
            explicit_nulls: false,
            keyless: 0,
            arrival_jitter_ms: 0,
            describe_denied: false,
            checks_signatures: true,
            limits: true,
            penalties: false,
            neighbours: 0,
            arn_only: false,
            odd_iterators: false,
            odd_errors: false,
            errors: Errors::default(),
        }
    }

    /// The service of a seed.
    pub fn draw(chance: &mut Chance) -> Quirks {
        let mut quirks = Quirks::plain();
        match chance.within(0, 9) {
            0..=6 => quirks.aws(chance),
            7..=8 => {
                quirks.lag = Lag::ZeroOnRecords;
                quirks.names_children = false;
                quirks.after_is_at = chance.percent(30);
                quirks.separate_end = chance.percent(50);
            }
            _ => {
                quirks.lag = Lag::BehindTipRecord;
                quirks.explicit_nulls = true;
            }
        }
        if chance.percent(60) {
            quirks.listing_page = chance.magnitude(1, 8) as usize;
        }
        quirks.repeats = chance.of(&[0, 0, 10, 50]);
        quirks.wrong = chance.percent(15).then(|| (chance.of(&Wrong::ALL), chance.of(&[2, 10, 30])));
        quirks.order = chance.of(&[Order::Sorted, Order::Reversed, Order::Shuffled]);
        if chance.percent(30) {
            quirks.iterator_life_ms = chance.magnitude(3_000, 300_000);
        }
        if chance.percent(30) {
            quirks.token_life_ms = chance.magnitude(1_000, 300_000);
        }
        if chance.percent(35) {
            quirks.retention_ms = chance.magnitude(20_000, 600_000);
        }
        quirks.trimmed = if chance.percent(15) { Trimmed::Clamped } else { Trimmed::Refused };
        quirks.sequences = chance.of(&[Sequences::Long, Sequences::Long, Sequences::Counted, Sequences::Lengthening]);
        quirks.times = chance.of(&[Times::Plain, Times::Plain, Times::Scientific, Times::Fine]);
        quirks.explicit_nulls |= chance.percent(20);
        quirks.keyless = chance.of(&[0, 0, 0, 20, 100]);
        quirks.arrival_jitter_ms = chance.of(&[0, 0, 1, 50, 500]);
        quirks.describe_denied = chance.percent(25);
        quirks.checks_signatures = chance.percent(70);
        quirks.limits = chance.percent(80);
        quirks.penalties = chance.percent(50);
        quirks.neighbours = chance.of(&[0, 0, 0, 10, 50]);
        quirks.odd_iterators = chance.percent(20);
        quirks.odd_errors = chance.percent(50);
        quirks.errors = Errors {
            throttled: share(chance),
            transient: share(chance),
            iterator_expired: share(chance),
            token_expired: share(chance),
            credentials: if chance.percent(10) { 1 } else { 0 },
            fatal: if chance.percent(6) { 1 } else { 0 },
        };
        quirks
    }

    /// The liberties that AWS takes and emulators do not.
    fn aws(&mut self, chance: &mut Chance) {
        self.idle_lag = match chance.within(0, 9) {
            0 => IdleLag::Constant(chance.of(&[chance.clone().magnitude(1, 86_400_000), u64::MAX])),
            1 => IdleLag::Growing,
            2 => IdleLag::Falling(chance.magnitude(86_400_000, 1 << 60)),
            _ => IdleLag::Zero,
        };
        self.short_pages = chance.of(&[0, 0, 20, 80]);
        self.voids = chance.of(&[0, 0, 5, 30]);
        self.separate_end = chance.percent(60);
        self.early_children = chance.percent(15);
        self.end_lag = chance.of(&[0, 0, 2_665_000]);
        self.false_ends = chance.of(&[0, 0, 3, 15]);
        self.stale_ms = chance.of(&[0, 0, 1_000, 5_000]);
    }

    /// The same service on a good day: it takes its liberties and refuses nothing without a reason.
    pub fn calm(&mut self) {
        self.errors = Errors::default();
        self.false_ends = 0;
        self.wrong = None;
        self.neighbours = 0;
    }
}

/// How often a fault happens: never in half of the seeds, else rarely or commonly.
fn share(chance: &mut Chance) -> u8 {
    chance.of(&[0, 0, 0, 1, 3, 10, 30])
}
