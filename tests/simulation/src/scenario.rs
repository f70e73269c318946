//! Everything that a seed decides: the service, the network, the host, the writer and the reader's configuration.
//!
//! Each seed switches most faults off and makes a few common ("swarm testing"), so that every fault occurs both alone
//! and together with others.

use std::time::Duration;

use kinesis_reader_machine::wire::Wire;
use kinesis_reader_machine::{Config, Limits, MessageId, OnGap, Payload, Recreated, Source, Start, Until};

use crate::chance::Chance;
use crate::kinesis::misbehavior::Misbehavior;
use crate::kinesis::quirks::Lag;
use crate::kinesis::{Quirks, SIGNATURE_MS};

/// "The maximum size of the data payload of a record before base64-encoding is 10 MiB."
pub const RECORD_BYTES_MAX: u64 = 10 << 20;

/// The name of the one stream.
pub const STREAM: &str = "orders";

/// Everything that a seed decides. Shares are in percent.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub quirks: Quirks,
    pub network: Network,
    pub host: Host,
    pub writer: Writer,
    pub limits: Limits,
    pub by_arn: bool,
    pub wire: Wire,
    pub start: StartKind,
    /// The number of runs with faults, before those without.
    pub runs: u64,
    /// How often the stream is recreated between two runs.
    pub recreated: u8,
    /// If set, the runs with faults are followed by one in which the service always misbehaves in this way.
    pub doom: Option<Misbehavior>,
}

/// Where the first run begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartKind {
    TrimHorizon,
    Latest,
    AtTimestamp,
}

/// What happens between the host and the service.
#[derive(Clone, Debug)]
pub struct Network {
    /// The shortest and longest round trip.
    pub latency_ms: (u64, u64),
    /// Requests that fail before they reach the service.
    pub refused: u8,
    /// Requests that the service answers, but whose connection is reset before the answer arrives.
    pub reset: u8,
    /// Requests that neither succeed nor fail.
    pub silent: u8,
    /// Answers that arrive after the deadline.
    pub late: u8,
    /// Answers that are cut short.
    pub cut: u8,
    /// Requests that a proxy answers with a page of HTML.
    pub html: u8,
    /// Requests that the host cannot send at all, which ends the run.
    pub unsent: u8,
}

/// The host: its clock, its destination and its state.
#[derive(Clone, Debug)]
pub struct Host {
    pub commit_mode: CommitMode,
    /// The shortest and longest time that a write to the destination takes.
    pub write_ms: (u64, u64),
    /// Writes that fail and are retried.
    pub write_retried: u8,
    /// Writes that fail for good, whereupon the host gives up.
    pub write_failed: u8,
    /// Runs that crash.
    pub crashes: u8,
    /// Saved checkpoints that are not durable.
    pub lost_saves: u8,
    pub calendar: Calendar,
    /// Inputs with an earlier time than the input before.
    pub back_steps: u8,
    /// Inputs before which the clock jumps forward, or the machine sleeps.
    pub jumps: u8,
    /// Timeouts that the reader did not ask for, and answers given twice.
    pub spurious: u8,
    /// Timeouts that come late.
    pub late_wakes: u8,
    /// Bounded runs that the operator stops.
    pub interrupts: u8,
}

/// The host's calendar clock, and the `Date` headers it receives.
#[derive(Clone, Copy, Debug)]
pub struct Calendar {
    /// How far the host's clock is ahead of the service's.
    pub skew_ms: i64,
    /// How often the clock is set, correctly or not. This is independent of the jumps of the monotonic clock.
    pub steps: u8,
    pub dates: Dates,
}

/// What the `Date` header of an answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dates {
    /// The service's time.
    Right,
    /// There is no header.
    Missing,
    /// A time at this distance from the service's.
    Off(i64),
    /// Always the same time.
    Fixed(u64),
    /// The service's time, except that this share of answers, in percent, has an arbitrary time.
    Outliers(u8),
}

/// Times that broken clocks and headers show: 1900, 1970, and the end of times with 32 bits, four-digit years, or 64
/// bits.
pub const ODD_TIMES: [u64; 5] = [0, 1, 2_147_483_647_000, 253_402_300_799_000, u64::MAX];

/// Too far from the service's time for a `Date` to agree with a signature that the service accepts.
const FAR_MS: u64 = 12 * 60_000;

impl Calendar {
    fn draw(checked: bool, chance: &mut Chance) -> Calendar {
        let either_way = |ms: u64, chance: &mut Chance| if chance.percent(50) { ms as i64 } else { -(ms as i64) };
        let near = |chance: &mut Chance| match chance.percent(50) {
            true => either_way(chance.magnitude(1, SIGNATURE_MS - 10_000), chance),
            false => 0,
        };
        let dates = match chance.within(0, 9) {
            0..=4 => Dates::Right,
            5..=6 => Dates::Missing,
            7 => Dates::Off(either_way(chance.magnitude(FAR_MS, 90_000_000_000), chance)),
            8 => Dates::Fixed(chance.of(&ODD_TIMES)),
            _ => Dates::Outliers(chance.of(&[1, 5, 30])),
        };
        let skew_ms = match (dates, chance.within(0, 3)) {
            // The service refuses the signature, and its `Date` shows how far the clock is off.
            (Dates::Right, 0) if checked => either_way(chance.magnitude(1, 90_000_000_000), chance),
            // A clock that is slightly off, with an outlier close to it, cannot be told from a right one.
            (Dates::Outliers(_), _) => 0,
            _ => near(chance),
        };
        let steps = if dates == Dates::Right && checked { chance.of(&[0, 0, 1]) } else { 0 };
        Calendar { skew_ms, steps, dates }
    }

    /// Returns what the host's calendar shows when it is `now` at the service.
    pub fn at(&self, now: u64) -> u64 {
        now.saturating_add_signed(self.skew_ms)
    }

    /// Returns the same calendar without faults: the clock is no longer set, and `Date` headers are right or missing.
    fn calm(&self) -> Calendar {
        let dates = if self.dates == Dates::Missing { Dates::Missing } else { Dates::Right };
        Calendar { dates, steps: 0, ..*self }
    }

    /// Returns the `Date` of an answer, in whole seconds.
    pub fn date(&self, now: u64, chance: &mut Chance) -> Option<u64> {
        let date = match self.dates {
            Dates::Right => now,
            Dates::Missing => return None,
            Dates::Off(ms) => now.saturating_add_signed(ms),
            Dates::Fixed(time) => time,
            Dates::Outliers(share) if chance.percent(share) => match chance.percent(50) {
                true => now.saturating_add_signed(chance.within(0, 7_200_000) as i64 - 3_600_000),
                false => chance.of(&ODD_TIMES),
            },
            Dates::Outliers(_) => now,
        };
        Some(date / 1000 * 1000)
    }

    /// Returns how far the reader's estimate of the service's time may be off.
    pub fn uncertainty_ms(&self) -> u64 {
        match self.dates {
            Dates::Right if self.skew_ms == 0 && self.steps == 0 => 0,
            // The service accepts signatures that are off by this much.
            Dates::Right => SIGNATURE_MS,
            Dates::Missing | Dates::Off(_) | Dates::Fixed(_) | Dates::Outliers(_) => FAR_MS,
        }
    }
}

/// How the host commits messages and checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitMode {
    /// First the messages, then the checkpoint: at least once.
    Separate,
    /// Both in one transaction, with the reader's checkpoint: exactly once.
    Transaction,
    /// Both in one transaction, with the batch's own checkpoint merged into the saved one: exactly once.
    TransactionMerged,
}

/// The writer: puts records and reshards.
#[derive(Clone, Debug)]
pub struct Writer {
    /// The number of shards at the start.
    pub shards: u32,
    /// The average time between two actions.
    pub pause_ms: u64,
    /// The most records put in one action.
    pub burst: u64,
    /// The most records in all.
    pub records: u64,
    /// Actions that reshard.
    pub reshards: u8,
    /// The share of these that reshard the newest shard.
    pub reshard_newest: u8,
    /// How many more reshards may follow at once, as when `UpdateShardCount` is called.
    pub cascade: u64,
    /// The most bytes of data in a record.
    pub record_bytes: u64,
    /// Records that are aggregated.
    pub aggregated: u8,
    /// How long the writer runs before the first run of the reader.
    pub before_ms: u64,
}

impl Scenario {
    pub fn draw(seed: u64) -> Scenario {
        let mut chance = Chance::new(seed, 1);
        let chance = &mut chance;
        let mut quirks = Quirks::draw(chance);
        let writer = Writer::draw(quirks.lag == Lag::Age, chance);
        let host = Host::draw(quirks.checks_signatures, chance);
        let by_arn = chance.percent(30);
        quirks.arn_only = by_arn;
        let mut scenario = Scenario {
            network: Network::draw(chance),
            limits: limits(chance),
            by_arn,
            wire: chance.of(&[Wire::Json, Wire::Json, Wire::Cbor]),
            start: chance.of(&[
                StartKind::TrimHorizon,
                StartKind::TrimHorizon,
                StartKind::Latest,
                StartKind::AtTimestamp,
            ]),
            runs: chance.within(1, 5),
            recreated: if quirks.describe_denied { 0 } else { chance.of(&[0, 0, 0, 20]) },
            doom: chance.percent(25).then(|| chance.of(&Misbehavior::ALL)),
            quirks,
            host,
            writer,
        };
        // With a small limit, a page takes several batches.
        let most = scenario.limits.batch_bytes;
        scenario.limits.batch_bytes = chance.of(&[most, most, most, 1, 700, 4_000]);
        scenario
    }

    /// Switches every fault off. The service keeps the quirks that are not faults.
    pub fn calm(&mut self) {
        self.quirks.calm();
        let latency_ms = (self.network.latency_ms.0, self.network.latency_ms.0 + 30);
        self.network = Network { latency_ms, refused: 0, reset: 0, silent: 0, late: 0, cut: 0, html: 0, unsent: 0 };
        self.host = Host {
            commit_mode: self.host.commit_mode,
            write_ms: (0, 50),
            calendar: self.host.calendar.calm(),
            write_retried: 0,
            write_failed: 0,
            crashes: 0,
            lost_saves: 0,
            back_steps: 0,
            jumps: 0,
            spurious: 0,
            late_wakes: 0,
            interrupts: 0,
        };
        self.recreated = 0;
    }

    pub fn config(&self, start: Start, until: Until, messages: Option<u64>, chance: &mut Chance) -> Config {
        let source = if self.by_arn {
            Source::Arn(format!("arn:aws:kinesis:eu-west-1:123456789012:stream/{STREAM}"))
        } else {
            Source::Name(STREAM.to_owned())
        };
        Config {
            source,
            start,
            until,
            payload: chance.of(&[Payload::Merged, Payload::Json, Payload::Text, Payload::Base64]),
            message_id: MessageId::Sha256,
            deaggregate: true,
            on_gap: OnGap::Continue,
            recreated: Recreated::Refuse,
            wire: self.wire,
            limits: Limits { max_messages: messages, ..self.limits.clone() },
        }
    }
}

impl Network {
    fn draw(chance: &mut Chance) -> Network {
        let least = chance.magnitude(5, 50);
        let spread = chance.of(&[1, 5, 100]);
        Network {
            latency_ms: (least, least * (1 + spread)),
            refused: share(chance),
            reset: share(chance),
            silent: share(chance) / 3,
            late: share(chance),
            cut: share(chance),
            html: share(chance),
            unsent: if chance.percent(3) { 1 } else { 0 },
        }
    }
}

impl Host {
    fn draw(checked: bool, chance: &mut Chance) -> Host {
        Host {
            commit_mode: chance.of(&[CommitMode::Separate, CommitMode::Transaction, CommitMode::TransactionMerged]),
            write_ms: (0, chance.of(&[0, 10, 500, 20_000, 400_000])),
            write_retried: share(chance),
            write_failed: chance.of(&[0, 0, 0, 1, 3]),
            crashes: chance.of(&[0, 30, 80, 100]),
            lost_saves: chance.of(&[0, 0, 10, 50]),
            calendar: Calendar::draw(checked, chance),
            back_steps: share(chance),
            jumps: chance.of(&[0, 0, 1, 3]),
            spurious: share(chance),
            late_wakes: share(chance),
            interrupts: chance.of(&[0, 0, 20]),
        }
    }
}

impl Writer {
    /// `largest`: whether the service accepts records of 10 MiB, as AWS does and emulators do not.
    fn draw(largest: bool, chance: &mut Chance) -> Writer {
        // Large records take much time, so few seeds have them, and only a few.
        let size = chance.within(0, 599);
        let (records, record_bytes) = match size {
            0 if largest => (8, RECORD_BYTES_MAX),
            0..=14 => (40, 1 << 20),
            _ => (chance.magnitude(1, 400), 60),
        };
        Writer {
            shards: chance.of(&[1, 1, 2, 3, 4, 6]),
            pause_ms: chance.magnitude(50, 20_000),
            burst: chance.of(&[1, 3, 10, 40]),
            records,
            reshards: chance.of(&[0, 2, 10, 40]),
            reshard_newest: chance.of(&[0, 50, 100]),
            cascade: chance.of(&[0, 0, 0, 5]),
            record_bytes,
            aggregated: if record_bytes > 1000 { 0 } else { chance.of(&[0, 0, 5, 50]) },
            before_ms: chance.of(&[0, 5_000, 60_000, 600_000]),
        }
    }
}

fn limits(chance: &mut Chance) -> Limits {
    let backoff_first = chance.of(&[50, 250, 1_000]);
    Limits {
        max_messages: None,
        page_records: chance.of(&[1, 2, 3, 10, 100, 10_000]),
        requests: chance.of(&[1, 2, 5, 32]),
        batches: chance.of(&[1, 2, 3, 12]),
        batch_bytes: Limits::default().batch_bytes,
        pace: chance.of(&[None, Some(100), Some(100), Some(50), Some(20)]),
        idle_interval: Duration::from_millis(chance.of(&[0, 1_000, 1_000, 5_000])),
        list_interval: Duration::from_millis(chance.of(&[1_000, 10_000, 60_000])),
        request_timeout: Duration::from_millis(chance.of(&[3_000, 10_000, 30_000])),
        backoff_first: Duration::from_millis(backoff_first),
        backoff_max: Duration::from_millis(chance.of(&[1_000, 10_000])),
        failures: chance.of(&[None, None, Some(12), Some(3)]),
    }
}

/// Draws how often a fault happens: never in half of the seeds, rarely or often in the others.
fn share(chance: &mut Chance) -> u8 {
    chance.of(&[0, 0, 0, 1, 4, 15])
}
