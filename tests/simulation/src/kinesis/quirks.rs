//! The quirks of a service: what real Kinesis or one of the emulators does differently from the rest.
//!
//! Each seed draws its own. Most quirks are off in most seeds, so that every quirk occurs both alone and together with
//! others.

use super::misbehavior::Misbehavior;
use crate::chance::Chance;

/// How `MillisBehindLatest` is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lag {
    /// The age of the page's last record; 0 only at the tip. This is what AWS documents.
    Age,
    /// 0 on each page with records, as in ferrokinesis. Only a page that is not full reaches the tip.
    ZeroOnRecords,
    /// The time between the arrivals of the page's last record and the shard's last, as in kinesis-local.
    BehindTipRecord,
}

/// The lag of an open shard that has been read to its tip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdleLag {
    Zero,
    /// Always the same.
    Constant(u64),
    /// Grows from page to page.
    Growing,
    /// Falls by a millisecond from page to page. It would take days to reach 0.
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

/// The form of sequence numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sequences {
    /// 56 digits, as in AWS.
    Long,
    /// 1, 2, 3 … in every shard, as in moto, so that numbers of different length are compared.
    Counted,
    /// More and more digits, up to the 129 that the service's model allows.
    Lengthening,
}

/// How times are written in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeFormat {
    /// `1763900000.123`.
    Plain,
    /// `1.763900000123E9`.
    Scientific,
    /// `1763900000.1229998`, as AWS sometimes does; to be rounded to milliseconds.
    Fine,
}

/// What happens if the record of a requested sequence number has left the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trimmed {
    /// `InvalidArgumentException`, with `StartingSequenceNumber` in its message.
    Refused,
    /// The iterator silently begins at the oldest record.
    Clamped,
}

/// The quirks of a service. Shares are in percent.
#[derive(Clone, Debug)]
pub struct Quirks {
    pub lag: Lag,
    pub idle_lag: IdleLag,
    /// Pages with fewer records than would fit.
    pub short_pages: u8,
    /// Iterators that return a few empty pages before the first record.
    pub empty_pages: u8,
    /// Whether the end of a shard names its children.
    pub names_children: bool,
    /// Whether a page of a closed shard may name children although it has a next iterator.
    pub early_children: bool,
    /// Whether the end of a shard is a page of its own, without records.
    pub separate_end: bool,
    /// The lag at the end of a shard.
    pub end_lag: u64,
    /// Pages of open shards without a next iterator and without children. The Kinesis Client Library considers them
    /// invalid and requests them again.
    pub false_ends: u8,
    /// The number of shards on a page of a listing, unless the request sets it.
    pub listing_page: usize,
    pub order: Order,
    /// Pages of a listing that repeat a shard of an earlier page.
    pub repeated_shards: u8,
    /// Something that Kinesis never does, and how often it happens, in percent.
    pub misbehavior: Option<(Misbehavior, u8)>,
    /// Listings may show the stream as it was up to this long ago.
    pub stale_ms: u64,
    pub iterator_life_ms: u64,
    pub token_life_ms: u64,
    pub retention_ms: u64,
    pub trimmed: Trimmed,
    /// Whether `AFTER_SEQUENCE_NUMBER` includes the record with that number.
    pub after_is_at: bool,
    pub sequences: Sequences,
    pub times: TimeFormat,
    /// Whether absent members are written as null, as in kinesis-local.
    pub explicit_nulls: bool,
    /// Records without a partition key, as with the distribution strategy AUTO.
    pub keyless: u8,
    /// How much earlier than the true time an arrival time may be.
    pub arrival_jitter_ms: u64,
    /// Whether `DescribeStreamSummary` is denied.
    pub describe_denied: bool,
    /// Whether signatures that are more than five minutes off are refused, as by AWS but not by emulators.
    pub checks_signatures: bool,
    /// Whether the calls and bytes of each shard are limited.
    pub limits: bool,
    /// Whether a reader that exceeds the limits is refused for a second.
    pub penalties: bool,
    /// `GetRecords` calls before which other readers use up some of the shard's limit.
    pub other_readers: u8,
    /// Whether the stream belongs to another account, so that requests must name it by its ARN.
    pub arn_only: bool,
    /// Whether iterators end in a line feed, as in moto.
    pub odd_iterators: bool,
    /// Whether the names of errors have a namespace, and their message is called `Message`.
    pub odd_errors: bool,
    pub errors: Errors,
}

/// How often a valid request is refused, in percent.
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
    /// Returns AWS as documented, without errors.
    pub fn plain() -> Quirks {
        Quirks {
            lag: Lag::Age,
            idle_lag: IdleLag::Zero,
            short_pages: 0,
            empty_pages: 0,
            names_children: true,
            early_children: false,
            separate_end: true,
            end_lag: 0,
            false_ends: 0,
            listing_page: 1000,
            order: Order::Sorted,
            repeated_shards: 0,
            misbehavior: None,
            stale_ms: 0,
            iterator_life_ms: 300_000,
            token_life_ms: 300_000,
            retention_ms: 24 * 3_600_000,
            trimmed: Trimmed::Refused,
            after_is_at: false,
            sequences: Sequences::Long,
            times: TimeFormat::Plain,
            explicit_nulls: false,
            keyless: 0,
            arrival_jitter_ms: 0,
            describe_denied: false,
            checks_signatures: true,
            limits: true,
            penalties: false,
            other_readers: 0,
            arn_only: false,
            odd_iterators: false,
            odd_errors: false,
            errors: Errors::default(),
        }
    }

    /// Draws the service of a seed.
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
        quirks.repeated_shards = chance.of(&[0, 0, 10, 50]);
        quirks.misbehavior = chance.percent(15).then(|| (chance.of(&Misbehavior::ALL), chance.of(&[2, 10, 30])));
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
        quirks.times = chance.of(&[TimeFormat::Plain, TimeFormat::Plain, TimeFormat::Scientific, TimeFormat::Fine]);
        quirks.explicit_nulls |= chance.percent(20);
        quirks.keyless = chance.of(&[0, 0, 0, 20, 100]);
        quirks.arrival_jitter_ms = chance.of(&[0, 0, 1, 50, 500]);
        quirks.describe_denied = chance.percent(25);
        quirks.checks_signatures = chance.percent(70);
        quirks.limits = chance.percent(80);
        quirks.penalties = chance.percent(50);
        quirks.other_readers = chance.of(&[0, 0, 0, 10, 50]);
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

    /// Draws the quirks that only AWS has.
    fn aws(&mut self, chance: &mut Chance) {
        self.idle_lag = match chance.within(0, 9) {
            0 => IdleLag::Constant(chance.of(&[chance.clone().magnitude(1, 86_400_000), u64::MAX])),
            1 => IdleLag::Growing,
            2 => IdleLag::Falling(chance.magnitude(86_400_000, 1 << 60)),
            _ => IdleLag::Zero,
        };
        self.short_pages = chance.of(&[0, 0, 20, 80]);
        self.empty_pages = chance.of(&[0, 0, 5, 30]);
        self.separate_end = chance.percent(60);
        self.early_children = chance.percent(15);
        self.end_lag = chance.of(&[0, 0, 2_665_000]);
        self.false_ends = chance.of(&[0, 0, 3, 15]);
        self.stale_ms = chance.of(&[0, 0, 1_000, 5_000]);
    }

    /// Switches off errors and misbehavior. The other quirks stay.
    pub fn calm(&mut self) {
        self.errors = Errors::default();
        self.false_ends = 0;
        self.misbehavior = None;
        self.other_readers = 0;
    }
}

/// Draws how often a fault happens: never in about half of the seeds, rarely or often in the others.
fn share(chance: &mut Chance) -> u8 {
    chance.of(&[0, 0, 0, 1, 3, 10, 30])
}
