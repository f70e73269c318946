//! One run: the driver's loop, with everything that can go wrong in it.

use std::collections::BTreeMap;

use kinesis_reader_machine::{
    Action, Batch, BatchId, Failure, Instant, Misuse, Notice, Outcome, Reader, Request, RequestId, Timestamp, Wait,
    merge_checkpoints,
};

use super::network::{Fate, Reply, Times, excerpt};
use super::{Environment, Saved};
use crate::kinesis::{Facts, Refusal};
use crate::oracle::{Check, Position, Progress, Run, Span, Violation};
use crate::scenario::CommitMode;

/// How a run ended.
#[derive(Clone, Debug)]
pub(super) enum End {
    Finished(Outcome),
    Crashed,
    /// The host gave up because its destination failed.
    GaveUp,
    OutOfSteps,
}

/// The maximum number of actions between two waits. More would be an endless loop.
const ACTIONS_MAX: u32 = 20_000;

/// Something that happens at a scheduled time.
enum Event {
    /// A request, signed at this time, reaches the service.
    RequestArrives(Request, Fate, u64),
    /// The result of a request reaches the host.
    ReplyArrives { id: RequestId, reply: Reply, facts: Option<Facts> },
    /// A write to the destination succeeds or fails.
    WriteEnds(BatchId),
    /// The operator stops the run.
    Stop,
}

/// The state of one run.
pub(super) struct Drive<'a> {
    environment: &'a mut Environment,
    reader: Reader,
    run: Run,
    events: BTreeMap<(u64, u64), Event>,
    /// The number of events scheduled so far, which orders events at the same time.
    count: u64,
    /// The host's monotonic clock.
    clock: u64,
    /// What the host adds to its calendar time when it signs.
    correction_ms: i64,
    /// The latest time of any input so far.
    latest_input: u64,
    /// The number of steps until the host crashes or the run is cut short.
    steps: u64,
    /// When the run has taken too long.
    time_limit: u64,
    batches: BTreeMap<BatchId, Batch>,
    saved_revision: Option<u64>,
    /// The last checkpoint that was taken, or that the run began with, and its revision.
    last_checkpoint: Option<(u64, String)>,
}

/// Why the loop ends.
enum Stop {
    End(End),
    Violation(Violation),
}

impl From<Violation> for Stop {
    fn from(violation: Violation) -> Stop {
        Stop::Violation(violation)
    }
}

impl<'a> Drive<'a> {
    pub(super) fn new(
        environment: &'a mut Environment,
        reader: Reader,
        run: Run,
        clock: u64,
        steps: u64,
        stop_after: Option<u64>,
    ) -> Drive<'a> {
        let last_checkpoint = environment.saved.as_ref().map(|saved| (reader.revision(), saved.checkpoint.clone()));
        let mut drive = Drive {
            environment,
            reader,
            run,
            events: BTreeMap::new(),
            count: 0,
            clock,
            correction_ms: 0,
            latest_input: clock,
            steps,
            time_limit: u64::MAX,
            batches: BTreeMap::new(),
            saved_revision: None,
            last_checkpoint,
        };
        if let Some(after) = stop_after {
            drive.schedule(after, Event::Stop);
        }
        drive
    }

    pub(super) fn within(self, ms: u64) -> Drive<'a> {
        Drive { time_limit: self.environment.now + ms, ..self }
    }

    pub(super) fn drive(mut self) -> Result<End, Violation> {
        loop {
            match self.turn() {
                Ok(()) => {}
                Err(Stop::End(end)) => {
                    self.environment.history.add(self.environment.now, || format!("END {end:?}"));
                    return Ok(end);
                }
                Err(Stop::Violation(violation)) => return Err(violation),
            }
        }
    }

    /// Performs all actions of the reader, then advances the time to the next event.
    fn turn(&mut self) -> Result<(), Stop> {
        let wait = self.perform_actions()?;
        self.save_if_changed()?;
        let wake = wait.until.map(|until| {
            let late = if self.environment.chance.percent(self.environment.scenario.host.late_wakes) {
                self.environment.chance.magnitude(1, 5_000)
            } else {
                0
            };
            self.environment.now + until.0.saturating_sub(self.clock) + late
        });
        let next = self.events.keys().next().copied();
        let Some(time) = wake.into_iter().chain(next.map(|(time, _)| time)).min() else {
            return Err(Violation(format!("a wait that would never end: {wait:?}")).into());
        };
        self.advance_to(time);
        self.jump_clock();
        self.set_calendar();
        match next.filter(|&(at, _)| at <= self.environment.now).and_then(|key| self.events.remove(&key)) {
            Some(event) => self.handle(event)?,
            None => self.timeout(),
        }
        if self.environment.chance.percent(self.environment.scenario.host.spurious) {
            self.environment.cover("spurious timeout");
            self.timeout();
        }
        Ok(())
    }

    fn advance_to(&mut self, time: u64) {
        let ms = time.saturating_sub(self.environment.now);
        self.clock += ms;
        self.environment.advance(ms);
    }

    /// Sometimes makes the clock jump forward, or puts the machine to sleep.
    fn jump_clock(&mut self) {
        if !self.environment.chance.percent(self.environment.scenario.host.jumps) {
            return;
        }
        let ms = self.environment.chance.magnitude(1_000, 600_000);
        match self.environment.chance.within(0, 2) {
            0 => {
                self.environment.cover("clock that jumps forward");
                self.clock += ms;
            }
            1 => {
                self.environment.cover("sleep");
                self.clock += ms;
                self.environment.advance(ms);
            }
            _ => {
                self.environment.cover("sleep with a stopped clock");
                self.environment.advance(ms);
            }
        }
        self.environment.history.add(self.environment.now, || format!("the clock jumps by {ms}"));
    }

    /// Sometimes sets the calendar, correctly or not.
    fn set_calendar(&mut self) {
        let calendar = &mut self.environment.scenario.host.calendar;
        if !self.environment.chance.percent(calendar.steps) {
            return;
        }
        let skew = self.environment.chance.magnitude(1, 90_000_000_000) as i64;
        calendar.skew_ms = self.environment.chance.of(&[0, 0, skew, -skew]);
        self.environment.cover("calendar set during a run");
        self.environment.history.add(self.environment.now, || "the calendar is set".to_owned());
    }

    /// Returns the time with which the host signs a request now.
    fn signing_time(&self) -> u64 {
        self.environment.scenario.host.calendar.at(self.environment.now).saturating_add_signed(self.correction_ms)
    }

    /// Corrects the clock for signing by the `Date` of an answer that refused a signature, unless it is implausible.
    fn correct_clock(&mut self, date: Option<Timestamp>) {
        const YEAR_2015: u64 = 1_420_070_400_000;
        const YEAR_2100: u64 = 4_102_444_800_000;
        if let Some(Timestamp(date)) = date
            && (YEAR_2015..YEAR_2100).contains(&date)
        {
            self.environment.cover("clock corrected by the service's");
            self.correction_ms = date as i64 - self.environment.scenario.host.calendar.at(self.environment.now) as i64;
        }
    }

    /// Polls the reader and performs its actions until it waits.
    fn perform_actions(&mut self) -> Result<Wait, Stop> {
        for _ in 0..ACTIONS_MAX {
            let action = self.reader.poll_action();
            self.step()?;
            match action {
                Action::Send(request) => self.send(request)?,
                Action::Deliver(batch) => self.deliver(batch)?,
                Action::Notice(notice) => self.notice(notice)?,
                Action::Wait(wait) => {
                    self.run.rate_limits.on_wait(wait, Instant(self.latest_input))?;
                    return Ok(wait);
                }
                Action::Finish(outcome) => return Err(self.finish(outcome)?),
            }
        }
        Err(Violation(format!("{ACTIONS_MAX} actions without a wait")).into())
    }

    /// Counts a step. The host may crash at any of them.
    fn step(&mut self) -> Result<(), Stop> {
        self.environment.budget = self.environment.budget.saturating_sub(1);
        if self.environment.now > self.time_limit {
            return Err(Violation("the run takes too long".to_owned()).into());
        }
        if self.steps == 0 {
            let end = if self.environment.budget == 0 { End::OutOfSteps } else { End::Crashed };
            return Err(Stop::End(end));
        }
        self.steps -= 1;
        Ok(())
    }

    fn send(&mut self, request: Request) -> Check {
        self.environment.history.add(self.environment.now, || {
            format!("send {} {:?} {}", request.id.0, request.operation, excerpt(&request.body))
        });
        self.run.rate_limits.on_send(&request, Instant(self.latest_input))?;
        if let Some(shard) = &request.shard {
            self.run.check_parents(shard, &self.environment.kinesis.stream)?;
            self.run.check_still_needed(&request, &self.environment.kinesis.stream)?;
        }
        let fate = Fate::draw(&self.environment.scenario.network, &mut self.environment.chance);
        let latency = self.latency();
        if let Some(name) = fate.name() {
            self.environment.cover(name);
        }
        let id = request.id;
        match fate {
            Fate::Refused => {
                let reply = Reply::failure("connection refused");
                self.schedule(latency, Event::ReplyArrives { id, reply, facts: None });
            }
            Fate::Unsent => {
                let reply = Reply::Failure(Failure::Permanent("no credentials".to_owned()));
                let facts = Some(Facts::Refused(Refusal::Fatal));
                self.schedule(latency, Event::ReplyArrives { id, reply, facts });
            }
            Fate::Html => {
                let reply = Reply::html(self.signing_time(), &mut self.environment.chance);
                self.schedule(latency, Event::ReplyArrives { id, reply, facts: None });
            }
            Fate::Answered | Fate::Reset | Fate::Silent | Fate::Late | Fate::Cut => {
                let signed = self.signing_time();
                self.schedule(latency, Event::RequestArrives(request, fate, signed));
            }
        }
        Ok(())
    }

    fn latency(&mut self) -> u64 {
        let (least, most) = self.environment.scenario.network.latency_ms;
        self.environment.chance.within(least, most) / 2
    }

    fn schedule(&mut self, after: u64, event: Event) {
        self.count += 1;
        self.events.insert((self.environment.now + after, self.count), event);
    }

    fn handle(&mut self, event: Event) -> Result<(), Stop> {
        match event {
            Event::RequestArrives(request, fate, signed) => Ok(self.on_request(request, fate, signed)?),
            Event::ReplyArrives { id, reply, facts } => Ok(self.on_reply(id, reply, facts)?),
            Event::WriteEnds(id) => self.on_write_end(id),
            Event::Stop => {
                self.run.stopped = true;
                let now = self.input_time();
                self.environment.history.add(self.environment.now, || "stop".to_owned());
                self.reader.stop(now);
                self.run.rate_limits.on_end();
                Ok(())
            }
        }
    }

    fn on_request(&mut self, request: Request, fate: Fate, signed: u64) -> Check {
        let now = self.environment.now;
        let answer = match self.environment.kinesis.refuse_signature(signed, &request.body, now) {
            Some(refused) => refused,
            None => {
                let answer = self.environment.kinesis.call(request.operation.target(), &request.body, now);
                answer.map_err(|why| Violation(format!("a request that the service forbids: {why}")))?
            }
        };
        self.cover_answer(&answer.facts);
        let latency = self.latency();
        // A truncated client error would still be a refusal, but the reader could not tell which.
        let fate = if fate == Fate::Cut && (400..500).contains(&answer.status) { Fate::Answered } else { fate };
        let date = self.environment.scenario.host.calendar.date(now, &mut self.environment.chance);
        let times = Times { date, signed };
        let id = request.id;
        match fate {
            Fate::Answered => {
                let facts = Some(answer.facts.clone());
                let reply = Reply::response(answer, times);
                self.schedule(latency, Event::ReplyArrives { id, reply, facts });
            }
            Fate::Late => {
                let late = request.deadline.0.saturating_sub(self.clock) + latency;
                let facts = Some(answer.facts.clone());
                let reply = Reply::response(answer, times);
                self.schedule(late, Event::ReplyArrives { id, reply, facts });
            }
            Fate::Cut => {
                let reply = Reply::truncated(answer, times, &mut self.environment.chance);
                self.schedule(latency, Event::ReplyArrives { id, reply, facts: None });
            }
            Fate::Reset => {
                let reply = Reply::failure("connection reset");
                self.schedule(latency, Event::ReplyArrives { id, reply, facts: None });
            }
            Fate::Silent | Fate::Refused | Fate::Html | Fate::Unsent => {}
        }
        Ok(())
    }

    fn cover_answer(&mut self, facts: &Facts) {
        let what = match facts {
            Facts::Described => return,
            Facts::Listed { unusable: true, .. } => "unusable listing",
            Facts::Listed { repeats: true, .. } => "shard listed twice",
            Facts::Listed { last: false, .. } => "page of a listing with further pages",
            Facts::Listed { .. } => return,
            Facts::Iterator { clamped: true, .. } => "position silently trimmed",
            Facts::Iterator { .. } => return,
            Facts::Read(page) if page.iterator_at < page.from => "records trimmed after the iterator was created",
            Facts::Read(page) if page.end && page.children.is_empty() => "end without children",
            Facts::Read(page) if page.end => "end with children",
            Facts::Read(page) if !page.has_next => "false end",
            Facts::Read(page) if !page.children.is_empty() && !page.end => "children next to an iterator",
            Facts::Read(page) if page.from == page.to => "empty page",
            Facts::Read(page) if page.bytes > 2 << 20 => "page with more bytes than a second allows",
            Facts::Read(_) => return,
            Facts::Invalid => "answer that Kinesis never gives",
            Facts::Refused(refusal) => match refusal {
                Refusal::Throttled => "throttled",
                Refusal::Transient => "failure of the service",
                Refusal::Expired | Refusal::ExpiredToken => "expired iterator or token",
                Refusal::Trimmed => "position trimmed",
                Refusal::NotFound => "shard not found",
                Refusal::Fatal => "permanent failure",
                Refusal::Credentials => "credentials refused",
                Refusal::Clock => "signature time refused",
                Refusal::Denied => "summary denied",
            },
        };
        self.environment.cover(what);
    }

    fn on_reply(&mut self, id: RequestId, reply: Reply, facts: Option<Facts>) -> Check {
        let now = self.input_time();
        let is_pending = self.run.rate_limits.is_pending(id);
        if let (Reply::Response(response), Some(Facts::Refused(Refusal::Clock))) = (&reply, &facts) {
            self.correct_clock(response.date);
        }
        self.environment.history.add(self.environment.now, || {
            format!("reply {}{} {}", id.0, if is_pending { "" } else { " (ignored)" }, reply.excerpt())
        });
        let twice = self.environment.chance.percent(self.environment.scenario.host.spurious);
        self.pass_on(id, reply.clone(), now)?;
        if is_pending {
            self.run.rate_limits.on_answer(id, facts.as_ref(), Instant(self.latest_input));
            match &facts {
                Some(facts) => self.run.on_answer(facts, &self.environment.kinesis.stream, self.environment.now)?,
                None => self.run.on_failure(),
            }
            if let Some(Facts::Listed { last: false, .. }) = facts {
                self.run.on_partial_listing(Instant(self.latest_input));
            }
        } else {
            self.environment.cover("unexpected answer");
        }
        self.count_timed_out();
        if twice {
            let revision = self.reader.revision();
            self.pass_on(id, reply, now)?;
            if self.reader.revision() != revision {
                return Err(Violation("an answer that was given twice changed something".to_owned()));
            }
            let unknown = RequestId(u64::MAX);
            let refused = self.reader.handle_failure(unknown, Failure::Transient(String::new()), now);
            if refused != Err(Misuse::UnknownRequest(unknown)) {
                return Err(Violation(format!("the answer to an unknown request was accepted: {refused:?}")));
            }
        }
        Ok(())
    }

    fn pass_on(&mut self, id: RequestId, reply: Reply, now: Instant) -> Check {
        let accepted = match reply {
            Reply::Response(response) => self.reader.handle_response(id, response, now),
            Reply::Failure(failure) => self.reader.handle_failure(id, failure, now),
        };
        accepted.map_err(|misuse| Violation(format!("an answer was not accepted: {misuse}")))
    }

    /// Counts the requests whose deadlines have passed as failures.
    fn count_timed_out(&mut self) {
        for _ in 0..self.run.rate_limits.on_time(Instant(self.latest_input)) {
            self.run.on_failure();
        }
    }

    /// Returns the time of the next input, according to the host's clock, which may step back.
    fn input_time(&mut self) -> Instant {
        let mut now = self.clock;
        if self.environment.chance.percent(self.environment.scenario.host.back_steps) {
            self.environment.cover("clock that steps back");
            now = now.saturating_sub(self.environment.chance.magnitude(1, 100_000));
        }
        self.latest_input = self.latest_input.max(now);
        Instant(now)
    }

    fn timeout(&mut self) {
        let now = self.input_time();
        self.reader.handle_timeout(now);
        self.count_timed_out();
    }

    fn notice(&mut self, notice: Notice) -> Check {
        self.environment.history.add(self.environment.now, || format!("{notice:?}"));
        if let Notice::Gap(gap) = &notice {
            self.environment.cover("gap reported");
            self.run.on_gap(gap, &self.environment.kinesis.stream)?;
        }
        Ok(())
    }

    fn deliver(&mut self, batch: Batch) -> Check {
        self.environment.history.add(self.environment.now, || format!("deliver {batch:?}"));
        let foreign = self.run.foreign();
        if self.run.continues_page(batch.shard(), &self.environment.kinesis.stream) {
            self.environment.cover("page in several batches");
        }
        self.run.on_batch(&batch, &self.environment.kinesis.stream, &mut self.environment.ledger)?;
        if batch.messages(0, u32::MAX).iter().any(|message| message.subsequence.is_some()) {
            self.environment.cover("aggregated record");
        }
        if self.run.foreign() > foreign {
            self.environment.cover("aggregated record with user records of another shard");
        }
        let (least, most) = self.environment.scenario.host.write_ms;
        let ms = self.environment.chance.within(least, most);
        self.schedule(ms, Event::WriteEnds(batch.id()));
        self.batches.insert(batch.id(), batch);
        Ok(())
    }

    fn on_write_end(&mut self, id: BatchId) -> Result<(), Stop> {
        let host = &self.environment.scenario.host;
        let (failed, retried) = (host.write_failed, host.write_retried);
        if self.environment.chance.percent(failed) {
            return Err(Stop::End(End::GaveUp));
        }
        if self.environment.chance.percent(retried) {
            self.environment.cover("write retried");
            let pause = self.environment.chance.within(1, 2_000);
            self.schedule(pause, Event::WriteEnds(id));
            return Ok(());
        }
        let Some(batch) = self.batches.remove(&id) else { return Ok(()) };
        let commit_mode = self.environment.scenario.host.commit_mode;
        self.step()?;
        let Some(span) = self.run.span(id) else {
            return Err(Violation(format!("an unknown batch was written: {batch:?}")).into());
        };
        match commit_mode {
            CommitMode::Separate => {
                self.environment.ledger.write(span, &self.environment.kinesis.stream);
                self.step()?;
                self.report_delivered(id)?;
                self.step()?;
                self.save(false)?;
            }
            CommitMode::Transaction => {
                self.report_delivered(id)?;
                self.step()?;
                self.save(true)?;
                self.environment.ledger.write(span, &self.environment.kinesis.stream);
            }
            CommitMode::TransactionMerged => {
                self.save_merged(&batch, span)?;
                self.environment.ledger.write(span, &self.environment.kinesis.stream);
                self.step()?;
                self.report_delivered(id)?;
            }
        }
        Ok(())
    }

    fn report_delivered(&mut self, id: BatchId) -> Check {
        let now = self.input_time();
        self.environment.history.add(self.environment.now, || format!("delivered {}", id.0));
        let accepted = self.reader.handle_delivered(id, now);
        accepted.map_err(|misuse| Violation(format!("a delivery was not accepted: {misuse}")))?;
        self.run.on_delivered(id);
        self.count_timed_out();
        let twice = self.reader.handle_delivered(id, now);
        if twice != Err(Misuse::UnknownBatch(id)) {
            return Err(Violation(format!("a batch that was reported twice was accepted: {twice:?}")));
        }
        Ok(())
    }

    /// Saves the reader's checkpoint if it has changed.
    fn save_if_changed(&mut self) -> Result<(), Stop> {
        if self.saved_revision == Some(self.reader.revision()) {
            return Ok(());
        }
        self.step()?;
        self.save(self.environment.scenario.host.commit_mode != CommitMode::Separate)?;
        Ok(())
    }

    /// Saves the reader's checkpoint. Unless the save is certainly durable, it may be lost.
    fn save(&mut self, durable: bool) -> Check {
        let checkpoint = self.reader.checkpoint();
        self.run.check_checkpoint(&checkpoint, &self.environment.kinesis.stream)?;
        self.check_changes(&checkpoint)?;
        self.saved_revision = Some(self.reader.revision());
        if !durable && self.environment.chance.percent(self.environment.scenario.host.lost_saves) {
            self.environment.cover("lost save");
            return Ok(());
        }
        if self.run.settings.recreated {
            return Ok(());
        }
        let incarnation = self.environment.kinesis.stream.incarnation;
        self.environment.saved = Some(Saved { checkpoint, progress: self.run.progress.clone(), incarnation });
        Ok(())
    }

    /// Checks that the changes since the last checkpoint, merged into it, give the current one.
    fn check_changes(&mut self, checkpoint: &str) -> Check {
        let last = self.last_checkpoint.replace((self.reader.revision(), checkpoint.to_owned()));
        let Some((revision, before)) = last else { return Ok(()) };
        let Some(changes) = self.reader.changes(revision) else {
            self.environment.cover("checkpoint without known changes");
            return Ok(());
        };
        self.environment.cover("changes of a checkpoint");
        match merge_checkpoints(&before, &changes) {
            Ok(merged) if merged == checkpoint => Ok(()),
            merged => Err(Violation(format!("{before} and changes {changes} are {merged:?} instead of {checkpoint}"))),
        }
    }

    /// Merges a batch's own checkpoint into the saved one.
    fn save_merged(&mut self, batch: &Batch, Span { shard, to, .. }: Span) -> Check {
        let own = batch.checkpoint();
        let saved = self.environment.saved.take();
        let (checkpoint, mut progress) = match saved {
            Some(Saved { checkpoint, progress, .. }) => {
                // The order must not matter.
                let merged = match self.environment.chance.percent(50) {
                    true => merge_checkpoints(&checkpoint, &own),
                    false => merge_checkpoints(&own, &checkpoint),
                };
                (merged.map_err(|error| Violation(format!("cannot merge checkpoints: {error}")))?, progress)
            }
            None => (own, self.run.progress.clone()),
        };
        let delivered = Progress { position: Position::Before(to), gap: false, ..self.run.progress(shard) };
        progress.insert(shard, delivered);
        let incarnation = self.environment.kinesis.stream.incarnation;
        self.environment.saved = Some(Saved { checkpoint, progress, incarnation });
        Ok(())
    }

    fn finish(&mut self, outcome: Outcome) -> Result<Stop, Violation> {
        self.environment.history.add(self.environment.now, || format!("finish {outcome:?}"));
        self.environment.kinesis.stream.age(self.environment.now);
        self.run.check_outcome(&outcome, &self.environment.kinesis.stream, self.environment.now)?;
        self.save(true)?;
        let totals = self.reader.totals();
        if totals.requests != self.run.rate_limits.requests_made() {
            return Err(Violation(format!("{} requests: {totals:?}", self.run.rate_limits.requests_made())));
        }
        if self.batches.is_empty() && totals.messages != self.run.messages() {
            return Err(Violation(format!("{} messages: {totals:?}", self.run.messages())));
        }
        if self.batches.is_empty() && totals.dropped != self.run.foreign() {
            return Err(Violation(format!("{} user records of other shards: {totals:?}", self.run.foreign())));
        }
        Ok(Stop::End(End::Finished(outcome)))
    }
}
