//! The environment around one reader, in virtual time: the service behind a network, a host with its clock, its destination
//! and its state, and a writer. It drives the reader as a host would and shows the oracle everything that happens.
//!
//! A seed is a few runs with faults, each begun from what the one before left behind, and then two without faults that
//! must end and leave nothing out.

mod drive;
mod network;

use std::collections::{BTreeMap, VecDeque};
use std::panic::{self, AssertUnwindSafe};
use std::time::Duration;

use kinesis_reader_machine::wire::Wire;
use kinesis_reader_machine::{Cause, Outcome, Reader, Start, Timestamp, Until};

use crate::chance::Chance;
use crate::kinesis::quirks::{IdleLag, Lag};
use crate::kinesis::stream::Shard;
use crate::kinesis::wrong::Wrong;
use crate::kinesis::{Kinesis, Stream};
use crate::oracle::{Judged, Ledger, Run, Terms, Tracks, Violation};
use crate::scenario::{Dates, Keeping, RECORD_BYTES_MAX, STREAM, Scenario, StartKind};
use crate::writer::Writer;
use drive::{Drive, End};

/// When every environment begins: a time like those that the service tells.
const BEGIN: u64 = 1_763_900_000_000;

/// Steps of a run without faults: more would be a loop.
const CALM_STEPS: u64 = 300_000;

/// Steps of a run that the service keeps from its end: sixteen generations of shards are many.
const DOOMED_STEPS: u64 = 3_000_000;

/// The number of consecutive failures that ends a run with a service that stays wrong.
const DOOMED_FAILURES: u32 = 12;

/// What was seen, and how often.
pub type Seen = BTreeMap<&'static str, u64>;

/// A seed that found a fault.
#[derive(Clone, Debug)]
pub struct Failure {
    pub seed: u64,
    pub why: String,
    /// The last things that happened, if they were asked for.
    pub history: VecDeque<String>,
    pub scenario: String,
}

/// Plays a seed. Tells what was seen, or what went wrong.
pub fn play(seed: u64) -> Result<Seen, Failure> {
    play_changed(seed, |_| (), 0)
}

/// Plays a seed whose scenario is changed, and keeps so many lines of its history.
pub fn play_changed(seed: u64, change: impl FnOnce(&mut Scenario), history: usize) -> Result<Seen, Failure> {
    let mut scenario = Scenario::draw(seed);
    change(&mut scenario);
    let mut environment = Environment::new(seed, scenario, history);
    let played = panic::catch_unwind(AssertUnwindSafe(|| environment.play()));
    let why = match played {
        Ok(Ok(())) => return Ok(environment.seen),
        Ok(Err(Violation(why))) => why,
        Err(panic) => {
            let said = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            format!("a panic: {}", said.unwrap_or("of an unknown kind"))
        }
    };
    Err(Failure { seed, why, history: environment.history.lines, scenario: format!("{:#?}", environment.scenario) })
}

/// What the host keeps between runs.
#[derive(Clone)]
struct Kept {
    checkpoint: String,
    tracks: Tracks,
    /// How many streams of the name were there before the one it is of.
    incarnation: u32,
}

/// The world of a seed.
struct Environment {
    scenario: Scenario,
    chance: Chance,
    /// The true time, which is the service's.
    now: u64,
    kinesis: Kinesis,
    writer: Writer,
    kept: Option<Kept>,
    ledger: Ledger,
    start: Option<Start>,
    /// Steps that the faulty part may still take.
    budget: u64,
    seen: Seen,
    /// What the dates of answers are like, as long as there are faults.
    dates: Dates,
    history: History,
}

/// The last things that happened.
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
            kept: None,
            ledger: Ledger::default(),
            start: None,
            budget: 2_000,
            seen: Seen::new(),
            dates: scenario.host.calendar.dates,
            history: History { most: history, lines: VecDeque::new() },
            scenario,
        }
    }

    fn see(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    fn play(&mut self) -> Judged {
        self.pass(self.scenario.writer.before_ms);
        for _ in 0..self.scenario.runs {
            if self.budget == 0 {
                break;
            }
            self.faulty_run()?;
            self.kinesis.settled = self.now;
            let pause = self.chance.magnitude(1, 900_000);
            self.pass(pause);
            if self.chance.percent(self.scenario.recreated) {
                self.recreate();
            }
        }
        self.scenario.calm();
        self.kinesis.quirks = self.scenario.quirks.clone();
        if let Some(wrong) = self.scenario.doom {
            self.doomed_run(wrong)?;
        }
        // Once with the writer at work, which may reshard at any moment, and once in quiet.
        self.calm_run()?;
        self.writer.stop();
        self.see_the_stream();
        self.calm_run()?;
        let tracks = self.kept.as_ref().map(|kept| kept.tracks.clone()).unwrap_or_default();
        let exactly_once = self.scenario.host.keeping != Keeping::OneAfterTheOther;
        self.ledger.complete(&self.kinesis.stream, &tracks, exactly_once)
    }

    /// Lets time pass without a reader.
    fn pass(&mut self, ms: u64) {
        self.now += ms;
        self.writer.work(&mut self.kinesis, self.now);
        self.kinesis.stream.age(self.now);
    }

    /// The stream is deleted and made again, if the reader can know it from the old one.
    fn recreate(&mut self) {
        if self.kept.as_ref().is_none_or(|kept| !kept.checkpoint.contains("\"created\"")) {
            return;
        }
        self.see("stream recreated");
        self.history.add(self.now, || "the stream is recreated".to_owned());
        self.kinesis.recreate(self.scenario.writer.shards, self.now);
    }

    fn faulty_run(&mut self) -> Judged {
        let until = match self.chance.within(0, 9) {
            0..=4 => Until::CaughtUp(Duration::from_millis(self.chance.of(&[0, 0, 1_000, 60_000]))),
            5..=7 => {
                self.see("until a time");
                Until::Time(Timestamp(self.end()))
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
        self.after(end);
        Ok(())
    }

    /// A time to end at, which may be the very time when a record arrived.
    fn end(&mut self) -> u64 {
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

    /// With faults off the reader must come to its end, in bounded time.
    fn calm_run(&mut self) -> Judged {
        for _ in 0..2 {
            match self.run(Until::CaughtUp(Duration::ZERO), None, CALM_STEPS, None)? {
                End::Finished(Outcome::Reached) => return Ok(()),
                // A new stream under the old name: the operator lets the old checkpoint go.
                End::Finished(Outcome::Failed(error)) if matches!(error.cause, Cause::Recreated(_)) => {
                    self.after(End::Finished(Outcome::Failed(error)));
                }
                end => return Err(Violation(format!("with faults off the run ended so: {end:?}"))),
            }
        }
        Err(Violation("with faults off the stream is said to be another, time and again".to_owned()))
    }

    /// With a service that stays wrong, a run must still end in bounded time. What it delivers until then must be right.
    fn doomed_run(&mut self, wrong: Wrong) -> Judged {
        self.kinesis.quirks.wrong = Some((wrong, 100));
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
            return Err(Violation(format!("{}: the run ended so: {end:?}", wrong.forever())));
        }
        self.see(wrong.forever());
        self.after(end);
        self.scenario.limits.failures = failures;
        self.kinesis.quirks.wrong = None;
        self.kinesis.settled = self.now;
        Ok(())
    }

    /// More virtual time than a run without faults can need.
    fn patience(&self) -> u64 {
        let limits = &self.scenario.limits;
        let stream = &self.kinesis.stream;
        let records: u64 = stream.shards.iter().map(|shard| shard.records.len() as u64).sum();
        let bytes: u64 = stream.shards.iter().flat_map(|shard| &shard.records).map(|r| r.data.len() as u64).sum();
        // Each record on a page of its own, empty pages before it, and those that end an idle shard.
        let voids = if self.scenario.quirks.voids > 0 { 16 } else { 1 };
        let pages = records * voids + stream.shards.len() as u64 * 60;
        let turn = 200 * 100 / u64::from(limits.pace.unwrap_or(100)) + 4 * self.scenario.network.latency_ms.1 + 50;
        // And each message in a batch of its own.
        let messages =
            records + stream.shards.iter().flat_map(|s| &s.records).map(|r| r.users.len() as u64).sum::<u64>();
        let patience = 600_000 + pages * turn + bytes / 200 + messages * 60;
        // Each page may have to be requested again after a pause.
        if self.kinesis.quirks.wrong.is_some() { 4 * patience + pages * 2_000 } else { patience }
    }

    fn after(&mut self, end: End) {
        match end {
            End::Finished(outcome) => {
                let what = match &outcome {
                    Outcome::Reached => "run reached its end",
                    Outcome::Exhausted => "run exhausted the stream",
                    Outcome::Limited => "run limited",
                    Outcome::Stopped => "run stopped",
                    Outcome::Failed(error) if matches!(error.cause, Cause::Recreated(_)) => {
                        self.kept = None;
                        self.ledger = Ledger::default();
                        self.start = None;
                        "recreation noticed"
                    }
                    Outcome::Failed(_) => "run failed",
                };
                self.see(what);
            }
            End::Crashed => self.see("crash"),
            End::GaveUp => self.see("destination failed for good"),
            End::OutOfSteps => self.see("run cut short"),
        }
    }

    fn start(&mut self) -> Start {
        let now = self.now;
        // Where no answer tells the service's time nobody could know that a time is to come.
        let ahead = self.scenario.host.calendar.dates == Dates::Right && self.chance.percent(25);
        let (kind, chance) = (self.scenario.start, &mut self.chance);
        *self.start.get_or_insert_with(|| match kind {
            StartKind::TrimHorizon => Start::TrimHorizon,
            StartKind::Latest => Start::Latest,
            StartKind::AtTimestamp if ahead => {
                *self.seen.entry("start at a time to come").or_default() += 1;
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
        let terms = Terms {
            start,
            until,
            messages,
            failures: limits.failures,
            requests: limits.requests as usize,
            batches: limits.batches as usize,
            batch_bytes: limits.batch_bytes.into(),
            pace: limits.pace,
            backoff_first_ms: limits.backoff_first.as_millis() as u64,
            list_interval_ms: limits.list_interval.as_millis() as u64,
            opened: self.now,
            doubt_ms: self.scenario.host.calendar.doubt_ms(),
            stale_ms: self.kinesis.quirks.stale_ms,
            recreated: self.kept.as_ref().is_some_and(|kept| kept.incarnation != self.kinesis.stream.incarnation),
        };
        self.history.add(self.now, || {
            format!(
                "OPEN {start:?} {until:?} messages {messages:?} kept {:?}",
                self.kept.as_ref().map(|kept| &kept.checkpoint)
            )
        });
        let saved = self.kept.clone();
        let present = Timestamp(self.scenario.host.calendar.at(self.now));
        let clock = self.chance.magnitude(1, 1 << 40);
        let seed = self.chance.any();
        let text = saved.as_ref().map(|kept| kept.checkpoint.as_str());
        let reader = Reader::open(config, text, seed, kinesis_reader_machine::Instant(clock), present)
            .map_err(|error| Violation(format!("the reader does not open: {error}")))?;
        let run = Run::new(terms, saved.as_ref().map(|kept| &kept.tracks));
        let patience = if steps == CALM_STEPS { self.patience() } else { u64::MAX / 2 };
        Drive::new(self, reader, run, clock, steps, stop_after).within(patience).drive()
    }

    /// Counts what the stream went through, and by which rules.
    fn see_the_stream(&mut self) {
        let quirks = &self.scenario.quirks;
        let rules = [
            (quirks.lag == Lag::ZeroOnRecords, "lag of 0 on every page with records"),
            (quirks.lag == Lag::BehindTipRecord, "lag behind the newest record"),
            (quirks.idle_lag != IdleLag::Zero, "lag on idle shards"),
            (quirks.voids > 0, "empty pages before records"),
            (quirks.stale_ms > 0, "listings of a moment ago"),
            (self.scenario.host.calendar.skew_ms != 0, "wrong calendar"),
            (matches!(self.dates, Dates::Missing), "no date"),
            (matches!(self.dates, Dates::Off(_)), "date that is off"),
            (matches!(self.dates, Dates::Fixed(_)), "date of another time"),
            (matches!(self.dates, Dates::Outliers(_)), "date that is now and then another"),
            (self.scenario.start == StartKind::Latest, "start at LATEST"),
            (self.scenario.start == StartKind::AtTimestamp, "start at a time"),
            (self.scenario.wire == Wire::Cbor, "CBOR"),
            (self.scenario.by_arn, "stream named by its ARN"),
            (quirks.after_is_at, "AFTER taken for AT"),
            (self.scenario.host.keeping == Keeping::Together, "one transaction"),
            (self.scenario.host.keeping == Keeping::TogetherJoined, "one transaction with joined checkpoints"),
        ];
        for (is, what) in rules {
            if is {
                self.see(what);
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
        let brief = shards.iter().any(|s| s.closed.is_some_and(|closed| closed - s.born < 1_000));
        let empty = shards.iter().any(|s| !s.is_open() && s.records.is_empty());
        let expired = shards.iter().any(|s| s.expired.is_some());
        let aged = shards.iter().any(|s| s.gone > 0);
        let equal = shards.iter().any(|s| s.records.windows(2).any(|r| r[0].arrived == r[1].arrived));
        let back = shards.iter().any(|s| s.records.windows(2).any(|r| r[0].arrived > r[1].arrived));
        let keyless = shards.iter().any(|s| s.records.iter().any(|record| record.key.is_none()));
        let greatest =
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
        let at_once = shards.iter().any(|s| s.closed == Some(s.born));
        let lengths = shards.iter().any(|s| s.records.windows(2).any(|r| r[0].sequence.len() != r[1].sequence.len()));
        let many_pages = shards.len() > self.scenario.quirks.listing_page;
        for (is, what) in [
            (self.writer.splits > 0, "split"),
            (self.writer.merges > 0, "merge"),
            (self.writer.overlong > 0, "aggregate with a key that is too long"),
            (deep, "three generations"),
            (brief, "shard that lived briefly"),
            (empty, "closed shard without records"),
            (expired, "shard that left the stream"),
            (orphaned, "shard that left the stream before its children"),
            (subtree, "shard that left the stream with its grandchildren"),
            (at_once, "shard made and resharded at once"),
            (greatest, "record of 10 MiB"),
            (aged, "records that left the stream"),
            (equal, "equal arrival times"),
            (back, "arrival times that go back"),
            (keyless, "records without a key"),
            (lengths, "sequence numbers of unequal length"),
            (many_pages, "listing of many pages"),
        ] {
            if is {
                self.see(what);
            }
        }
    }
}
