//! The environment of a reader, in virtual time: the service behind a network, a host with clock, destination and
//! state, and a writer. It drives the reader as a host would, and shows everything that happens to the oracle.
//!
//! A seed is a few runs with faults, each of which continues where the one before stopped, and then two runs without
//! faults. These must reach their end, and then no message may be missing.

mod drive;
mod network;

use std::collections::{BTreeMap, VecDeque};
use std::panic::{self, AssertUnwindSafe};
use std::time::Duration;

use kinesis_reader_machine::wire::Wire;
use kinesis_reader_machine::{Cause, Outcome, Reader, Start, Timestamp, Until};

use crate::chance::Chance;
use crate::kinesis::misbehavior::Misbehavior;
use crate::kinesis::quirks::{IdleLag, Lag};
use crate::kinesis::stream::Shard;
use crate::kinesis::{Kinesis, Stream};
use crate::oracle::{Check, Ledger, Run, Settings, ShardProgress, Violation};
use crate::scenario::{CommitMode, Dates, RECORD_BYTES_MAX, STREAM, Scenario, StartKind};
use crate::writer::Writer;
use drive::{Drive, End};

/// When every environment begins. This is a realistic time for the service.
const BEGIN: u64 = 1_763_900_000_000;

/// The maximum number of steps of a run without faults. More would be an endless loop.
const CALM_STEPS: u64 = 300_000;

/// The maximum number of steps of a run in which the service always misbehaves. Sixteen generations of shards take
/// many.
const DOOMED_STEPS: u64 = 3_000_000;

/// The number of consecutive failures that ends a run in which the service always misbehaves.
const DOOMED_FAILURES: u32 = 12;

/// How often each kind of event occurred.
pub type Coverage = BTreeMap<&'static str, u64>;

/// A seed that failed.
#[derive(Clone, Debug)]
pub struct Failure {
    pub seed: u64,
    pub why: String,
    /// The last events, if they were requested.
    pub history: VecDeque<String>,
    pub scenario: String,
}

/// Plays a seed. Returns the events that occurred, or what went wrong.
pub fn play(seed: u64) -> Result<Coverage, Failure> {
    play_changed(seed, |_| (), 0)
}

/// Plays a seed after changing its scenario, and keeps this many lines of its history.
pub fn play_changed(seed: u64, change: impl FnOnce(&mut Scenario), history: usize) -> Result<Coverage, Failure> {
    let mut scenario = Scenario::draw(seed);
    change(&mut scenario);
    let mut environment = Environment::new(seed, scenario, history);
    let played = panic::catch_unwind(AssertUnwindSafe(|| environment.play()));
    let why = match played {
        Ok(Ok(())) => return Ok(environment.coverage),
        Ok(Err(Violation(why))) => why,
        Err(panic) => {
            let message = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            format!("a panic: {}", message.unwrap_or("unknown message"))
        }
    };
    Err(Failure { seed, why, history: environment.history.lines, scenario: format!("{:#?}", environment.scenario) })
}

/// What the host keeps between runs.
#[derive(Clone)]
struct Saved {
    checkpoint: String,
    /// The progress for which the checkpoint stands.
    progress: ShardProgress,
    /// The number of earlier streams with the name of the checkpoint's stream.
    incarnation: u32,
}

/// The environment of a seed.
struct Environment {
    scenario: Scenario,
    chance: Chance,
    /// The true time, which is the service's.
    now: u64,
    kinesis: Kinesis,
    writer: Writer,
    saved: Option<Saved>,
    ledger: Ledger,
    start: Option<Start>,
    /// The number of steps left for the runs with faults.
    budget: u64,
    coverage: Coverage,
    /// The kind of `Date` headers in the runs with faults.
    dates: Dates,
    history: History,
}

/// The last events.
struct History {
    most: usize,
    lines: VecDeque<String>,
}

impl History {
    fn add(&mut self, now: u64, line: impl FnOnce() -> String) {
        if self.most == 0 {
            return;
        }
        if self.lines.len() == self.most {
            self.lines.pop_front();
        }
        self.lines.push_back(format!("{:>10} {}", now - BEGIN, line()));
    }
}

impl Environment {
    fn new(seed: u64, scenario: Scenario, history: usize) -> Environment {
        let quirks = scenario.quirks.clone();
        let stream = Stream::new(STREAM, 0, scenario.writer.shards, quirks.sequences, quirks.retention_ms, BEGIN);
        Environment {
            chance: Chance::new(seed, 2),
            now: BEGIN,
            kinesis: Kinesis::new(quirks, stream, Chance::new(seed, 3)),
            writer: Writer::new(scenario.writer.clone(), Chance::new(seed, 4), BEGIN),
            saved: None,
            ledger: Ledger::default(),
            start: None,
            budget: 2_000,
            coverage: Coverage::new(),
            dates: scenario.host.calendar.dates,
            history: History { most: history, lines: VecDeque::new() },
            scenario,
        }
    }

    fn cover(&mut self, what: &'static str) {
        *self.coverage.entry(what).or_default() += 1;
    }

    fn play(&mut self) -> Check {
        self.advance(self.scenario.writer.before_ms);
        for _ in 0..self.scenario.runs {
            if self.budget == 0 {
                break;
            }
            self.faulty_run()?;
            self.kinesis.no_staler_than = self.now;
            let pause = self.chance.magnitude(1, 900_000);
            self.advance(pause);
            if self.chance.percent(self.scenario.recreated) {
                self.recreate();
            }
        }
        self.scenario.calm();
        self.kinesis.quirks = self.scenario.quirks.clone();
        if let Some(misbehavior) = self.scenario.doom {
            self.doomed_run(misbehavior)?;
        }
        // The first of these runs has a writer that may reshard at any moment, the second has not.
        self.calm_run()?;
        self.writer.stop();
        self.cover_stream();
        self.calm_run()?;
        let progress = self.saved.as_ref().map(|saved| saved.progress.clone()).unwrap_or_default();
        let exactly_once = self.scenario.host.commit_mode != CommitMode::Separate;
        self.ledger.check_complete(&self.kinesis.stream, &progress, exactly_once)
    }

    /// Advances the time of everything but the reader.
    fn advance(&mut self, ms: u64) {
        self.now += ms;
        self.writer.work(&mut self.kinesis, self.now);
        self.kinesis.stream.age(self.now);
    }

    /// Recreates the stream, if the reader is able to notice it.
    fn recreate(&mut self) {
        if self.saved.as_ref().is_none_or(|saved| !saved.checkpoint.contains("\"created\"")) {
            return;
        }
        self.cover("stream recreated");
        self.history.add(self.now, || "the stream is recreated".to_owned());
        self.kinesis.recreate(self.scenario.writer.shards, self.now);
    }

    fn faulty_run(&mut self) -> Check {
        let until = match self.chance.within(0, 9) {
            0..=4 => Until::CaughtUp(Duration::from_millis(self.chance.of(&[0, 0, 1_000, 60_000]))),
            5..=7 => {
                self.cover("until a time");
                Until::Time(Timestamp(self.draw_end_time()))
            }
            _ => Until::Stopped,
        };
        let limited = self.chance.percent(20);
        let messages = if limited { Some(self.chance.magnitude(1, 60)) } else { None };
        let crash = self.chance.percent(self.scenario.host.crashes);
        let crash_at = if crash { self.chance.magnitude(1, 1_500) } else { u64::MAX };
        let interrupted = until == Until::Stopped || self.chance.percent(self.scenario.host.interrupts);
        let stop_after = interrupted.then(|| self.chance.magnitude(1, 40_000));
        let steps = crash_at.min(self.budget);
        let end = self.run(until, messages, steps, stop_after)?;
        self.handle_end(end);
        Ok(())
    }

    /// Draws the time at which a run ends. It may be the exact arrival time of a record.
    fn draw_end_time(&mut self) -> u64 {
        let least = match self.start() {
            Start::AtTimestamp(time) => time.0,
            Start::TrimHorizon | Start::Latest => BEGIN,
        };
        let records: Vec<u64> = self.kinesis.stream.shards.iter().flat_map(|s| &s.records).map(|r| r.arrived).collect();
        match self.chance.within(0, 2) {
            0 => self.now.max(least) + self.chance.within(0, 60_000),
            1 if !records.is_empty() => self.chance.of(&records).max(least),
            _ => self.chance.within(least, self.now.max(least)),
        }
    }

    /// Runs without faults. The reader must reach its end in bounded time.
    fn calm_run(&mut self) -> Check {
        for _ in 0..2 {
            match self.run(Until::CaughtUp(Duration::ZERO), None, CALM_STEPS, None)? {
                End::Finished(Outcome::Reached) => return Ok(()),
                // The stream was recreated: the operator removes the old checkpoint and tries again.
                End::Finished(Outcome::Failed(error)) if matches!(error.cause, Cause::Recreated(_)) => {
                    self.handle_end(End::Finished(Outcome::Failed(error)));
                }
                end => return Err(Violation(format!("a run without faults did not reach its end: {end:?}"))),
            }
        }
        Err(Violation("the reader considers the stream recreated without a checkpoint".to_owned()))
    }

    /// Runs while the service always misbehaves. The run must still end in bounded time, and what it delivers must be
    /// right.
    fn doomed_run(&mut self, misbehavior: Misbehavior) -> Check {
        self.kinesis.quirks.misbehavior = Some((misbehavior, 100));
        let failures = self.scenario.limits.failures.replace(DOOMED_FAILURES);
        let least = match self.start() {
            Start::AtTimestamp(time) => time.0,
            Start::TrimHorizon | Start::Latest => BEGIN,
        };
        let until = match self.chance.percent(50) {
            true => Until::CaughtUp(Duration::ZERO),
            false => Until::Time(Timestamp(self.now.saturating_sub(1_200_000).max(least))),
        };
        let end = self.run(until, None, DOOMED_STEPS, None)?;
        if !matches!(end, End::Finished(Outcome::Reached | Outcome::Exhausted | Outcome::Failed(_))) {
            return Err(Violation(format!("{}: the run did not end by itself: {end:?}", misbehavior.forever())));
        }
        self.cover(misbehavior.forever());
        self.handle_end(end);
        self.scenario.limits.failures = failures;
        self.kinesis.quirks.misbehavior = None;
        self.kinesis.no_staler_than = self.now;
        Ok(())
    }

    /// Returns more virtual time than a run without faults can need.
    fn time_limit(&self) -> u64 {
        let limits = &self.scenario.limits;
        let stream = &self.kinesis.stream;
        let records: u64 = stream.shards.iter().map(|shard| shard.records.len() as u64).sum();
        let bytes: u64 = stream.shards.iter().flat_map(|shard| &shard.records).map(|r| r.data.len() as u64).sum();
        // Each record may be on a page of its own, after empty pages. More pages show that an idle shard is at its tip.
        let pages_per_record = if self.scenario.quirks.empty_pages > 0 { 16 } else { 1 };
        let pages = records * pages_per_record + stream.shards.len() as u64 * 60;
        let page_ms = 200 * 100 / u64::from(limits.pace.unwrap_or(100)) + 4 * self.scenario.network.latency_ms.1 + 50;
        // Each message may be in a batch of its own.
        let messages =
            records + stream.shards.iter().flat_map(|s| &s.records).map(|r| r.users.len() as u64).sum::<u64>();
        let time = 600_000 + pages * page_ms + bytes / 200 + messages * 60;
        // Each page may have to be requested again after a pause.
        if self.kinesis.quirks.misbehavior.is_some() { 4 * time + pages * 2_000 } else { time }
    }

    fn handle_end(&mut self, end: End) {
        match end {
            End::Finished(outcome) => {
                let what = match &outcome {
                    Outcome::Reached => "run reached its end",
                    Outcome::Exhausted => "run exhausted the stream",
                    Outcome::Limited => "run limited",
                    Outcome::Stopped => "run stopped",
                    Outcome::Failed(error) if matches!(error.cause, Cause::Recreated(_)) => {
                        self.saved = None;
                        self.ledger = Ledger::default();
                        self.start = None;
                        "recreation noticed"
                    }
                    Outcome::Failed(_) => "run failed",
                };
                self.cover(what);
            }
            End::Crashed => self.cover("crash"),
            End::GaveUp => self.cover("destination failed permanently"),
            End::OutOfSteps => self.cover("run cut short"),
        }
    }

    /// Returns where the first run begins. Draws it on the first call.
    fn start(&mut self) -> Start {
        let now = self.now;
        // Without right dates, the reader could not know that a time is in the future.
        let ahead = self.scenario.host.calendar.dates == Dates::Right && self.chance.percent(25);
        let (kind, chance) = (self.scenario.start, &mut self.chance);
        *self.start.get_or_insert_with(|| match kind {
            StartKind::TrimHorizon => Start::TrimHorizon,
            StartKind::Latest => Start::Latest,
            StartKind::AtTimestamp if ahead => {
                *self.coverage.entry("start in the future").or_default() += 1;
                Start::AtTimestamp(Timestamp(now + chance.magnitude(1, 100_000)))
            }
            StartKind::AtTimestamp => Start::AtTimestamp(Timestamp(chance.within(BEGIN - 60_000, now))),
        })
    }

    fn run(
        &mut self,
        until: Until,
        messages: Option<u64>,
        steps: u64,
        stop_after: Option<u64>,
    ) -> Result<End, Violation> {
        let start = self.start();
        let config = self.scenario.config(start, until, messages, &mut self.chance);
        let limits = &config.limits;
        let settings = Settings {
            start,
            until,
            messages,
            failures: limits.failures,
            requests: limits.requests as usize,
            batches: limits.batches as usize,
            batch_bytes: limits.batch_bytes.into(),
            pace: limits.pace,
            idle_interval_ms: limits.idle_interval.as_millis() as u64,
            backoff_first_ms: limits.backoff_first.as_millis() as u64,
            list_interval_ms: limits.list_interval.as_millis() as u64,
            opened: self.now,
            clock_uncertainty_ms: self.scenario.host.calendar.uncertainty_ms(),
            stale_ms: self.kinesis.quirks.stale_ms,
            recreated: self.saved.as_ref().is_some_and(|saved| saved.incarnation != self.kinesis.stream.incarnation),
        };
        self.history.add(self.now, || {
            format!(
                "OPEN {start:?} {until:?} messages {messages:?} checkpoint {:?}",
                self.saved.as_ref().map(|saved| &saved.checkpoint)
            )
        });
        let saved = self.saved.clone();
        let present = Timestamp(self.scenario.host.calendar.at(self.now));
        let clock = self.chance.magnitude(1, 1 << 40);
        let seed = self.chance.any();
        let checkpoint = saved.as_ref().map(|saved| saved.checkpoint.as_str());
        let reader = Reader::open(config, checkpoint, seed, kinesis_reader_machine::Instant(clock), present)
            .map_err(|error| Violation(format!("cannot open the reader: {error}")))?;
        let run = Run::new(settings, saved.as_ref().map(|saved| &saved.progress));
        let time_limit = if steps == CALM_STEPS { self.time_limit() } else { u64::MAX / 2 };
        Drive::new(self, reader, run, clock, steps, stop_after).within(time_limit).drive()
    }

    /// Counts the features of the scenario and of the stream.
    #[expect(clippy::too_many_lines, reason = "one run from top to bottom")]
    fn cover_stream(&mut self) {
        let quirks = &self.scenario.quirks;
        let features = [
            (quirks.lag == Lag::ZeroOnRecords, "lag of 0 on every page with records"),
            (quirks.lag == Lag::BehindTipRecord, "lag behind the newest record"),
            (quirks.idle_lag != IdleLag::Zero, "lag on idle shards"),
            (quirks.empty_pages > 0, "empty pages before records"),
            (quirks.stale_ms > 0, "stale listings"),
            (self.scenario.host.calendar.skew_ms != 0, "wrong calendar"),
            (matches!(self.dates, Dates::Missing), "missing Date header"),
            (matches!(self.dates, Dates::Off(_)), "wrong Date header"),
            (matches!(self.dates, Dates::Fixed(_)), "constant Date header"),
            (matches!(self.dates, Dates::Outliers(_)), "sometimes wrong Date header"),
            (self.scenario.start == StartKind::Latest, "start at LATEST"),
            (self.scenario.start == StartKind::AtTimestamp, "start at a time"),
            (self.scenario.wire == Wire::Cbor, "CBOR"),
            (self.scenario.by_arn, "stream named by its ARN"),
            (quirks.after_is_at, "AFTER_SEQUENCE_NUMBER like AT_SEQUENCE_NUMBER"),
            (self.scenario.host.commit_mode == CommitMode::Transaction, "one transaction"),
            (
                self.scenario.host.commit_mode == CommitMode::TransactionMerged,
                "one transaction with merged checkpoints",
            ),
        ];
        for (is, what) in features {
            if is {
                self.cover(what);
            }
        }
        let stream = &self.kinesis.stream;
        let shards = &stream.shards;
        let generations = |mut index: usize| {
            let mut count = 0;
            while let Some(&parent) = shards[index].parents.first() {
                (index, count) = (parent, count + 1);
            }
            count
        };
        let deep = (0..shards.len()).any(|index| generations(index) >= 3);
        let brief = shards.iter().any(|s| s.closed.is_some_and(|closed| closed - s.created < 1_000));
        let empty = shards.iter().any(|s| !s.is_open() && s.records.is_empty());
        let expired = shards.iter().any(|s| s.expired.is_some());
        let aged = shards.iter().any(|s| s.gone > 0);
        let equal = shards.iter().any(|s| s.records.windows(2).any(|r| r[0].arrived == r[1].arrived));
        let back = shards.iter().any(|s| s.records.windows(2).any(|r| r[0].arrived > r[1].arrived));
        let keyless = shards.iter().any(|s| s.records.iter().any(|record| record.key.is_none()));
        let largest =
            shards.iter().any(|s| s.records.iter().any(|record| record.data.len() as u64 == RECORD_BYTES_MAX));
        let orphaned =
            shards.iter().any(|s| s.expired.is_some() && s.children.iter().any(|&c| shards[c].expired.is_none()));
        let with_descendants = |s: &Shard| {
            let mut young = s.children.iter().flat_map(|&child| &shards[child].children).peekable();
            s.expired.is_some()
                && young.peek().is_some()
                && young.all(|&grandchild| shards[grandchild].expired.is_some())
        };
        let subtree = shards.iter().any(with_descendants);
        let at_once = shards.iter().any(|s| s.closed == Some(s.created));
        let lengths = shards.iter().any(|s| s.records.windows(2).any(|r| r[0].sequence.len() != r[1].sequence.len()));
        let many_pages = shards.len() > self.scenario.quirks.listing_page;
        for (is, what) in [
            (self.writer.splits > 0, "split"),
            (self.writer.merges > 0, "merge"),
            (self.writer.overlong > 0, "aggregated record with a key that is too long"),
            (deep, "three generations"),
            (brief, "short-lived shard"),
            (empty, "closed shard without records"),
            (expired, "shard that left the stream"),
            (orphaned, "shard that left the stream before its children"),
            (subtree, "shard that left the stream with its grandchildren"),
            (at_once, "shard created and resharded at once"),
            (largest, "record of 10 MiB"),
            (aged, "records that left the stream"),
            (equal, "equal arrival times"),
            (back, "decreasing arrival times"),
            (keyless, "records without a partition key"),
            (lengths, "sequence numbers of different lengths"),
            (many_pages, "multi-page listing"),
        ] {
            if is {
                self.cover(what);
            }
        }
    }
}
