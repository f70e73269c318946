//! One run: the loop of a host, with everything that may go wrong in it.

use std::collections::BTreeMap;

use kinesis_reader_machine::{
    Action, Batch, BatchId, Failure, Instant, Misuse, Notice, Outcome, Reader, Request, RequestId, Timestamp, Wait,
    merge_checkpoints,
};

use super::network::{Back, Fate, Times, shown};
use super::{Environment, Kept};
use crate::kinesis::{Facts, Refusal};
use crate::oracle::{Judged, Run, Span, Track, Violation};
use crate::scenario::Keeping;

/// How a run ended.
#[derive(Clone, Debug)]
pub(super) enum End {
    Finished(Outcome),
    Crashed,
    /// The host gave up, because its destination failed.
    GaveUp,
    OutOfSteps,
}

/// Actions between two waits: more than this is a loop.
const DRAIN_MAX: u32 = 20_000;

/// What happens at some time.
enum Event {
    /// A request reaches the service, signed at a time.
    Arrives(Request, Fate, u64),
    /// Something comes back to the host.
    Returns { id: RequestId, back: Back, facts: Option<Facts> },
    /// A write to the destination is done, one way or the other.
    Written(BatchId),
    /// The operator has had enough.
    Stop,
}

/// A run under way.
pub(super) struct Drive<'a> {
    environment: &'a mut Environment,
    reader: Reader,
    run: Run,
    events: BTreeMap<(u64, u64), Event>,
    count: u64,
    /// The host's monotonic clock.
    clock: u64,
    /// What the host adds to its calendar to sign by.
    correction_ms: i64,
    /// The latest that the reader was told.
    told: u64,
    /// Steps until the host crashes, or until it is enough.
    steps: u64,
    /// When it has taken too long.
    patience: u64,
    batches: BTreeMap<BatchId, Batch>,
    saved_revision: Option<u64>,
    /// A checkpoint that was taken, or begun from, and its revision.
    taken: Option<(u64, String)>,
}

/// Why a run cannot go on.
enum Stop {
    End(End),
    Wrong(Violation),
}

impl From<Violation> for Stop {
    fn from(violation: Violation) -> Stop {
        Stop::Wrong(violation)
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
        let taken = environment.kept.as_ref().map(|kept| (reader.revision(), kept.checkpoint.clone()));
        let mut drive = Drive {
            environment,
            reader,
            run,
            events: BTreeMap::new(),
            count: 0,
            clock,
            correction_ms: 0,
            told: clock,
            steps,
            patience: u64::MAX,
            batches: BTreeMap::new(),
            saved_revision: None,
            taken,
        };
        if let Some(after) = stop_after {
            drive.at(after, Event::Stop);
        }
        drive
    }

    pub(super) fn within(self, ms: u64) -> Drive<'a> {
        Drive { patience: self.environment.now + ms, ..self }
    }

    pub(super) fn drive(mut self) -> Result<End, Violation> {
        loop {
            match self.turn() {
                Ok(()) => {}
                Err(Stop::End(end)) => {
                    self.environment.history.add(self.environment.now, || format!("END {end:?}"));
                    return Ok(end);
                }
                Err(Stop::Wrong(violation)) => return Err(violation),
            }
        }
    }

    /// Drains the reader, and lets the next thing happen.
    fn turn(&mut self) -> Result<(), Stop> {
        let wait = self.drain()?;
        self.keep_if_new()?;
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
            return Err(Violation(format!("nothing will ever happen: {wait:?}")).into());
        };
        self.pass(time);
        self.jump();
        self.set_calendar();
        match next.filter(|&(at, _)| at <= self.environment.now).and_then(|key| self.events.remove(&key)) {
            Some(event) => self.happens(event)?,
            None => self.timeout(),
        }
        if self.environment.chance.percent(self.environment.scenario.host.needless) {
            self.environment.see("needless timeout");
            self.timeout();
        }
        Ok(())
    }

    fn pass(&mut self, time: u64) {
        let ms = time.saturating_sub(self.environment.now);
        self.clock += ms;
        self.environment.pass(ms);
    }

    /// A clock that leaps, or a machine that sleeps.
    fn jump(&mut self) {
        if !self.environment.chance.percent(self.environment.scenario.host.jumps) {
            return;
        }
        let ms = self.environment.chance.magnitude(1_000, 600_000);
        match self.environment.chance.within(0, 2) {
            0 => {
                self.environment.see("clock that leaps");
                self.clock += ms;
            }
            1 => {
                self.environment.see("sleep");
                self.clock += ms;
                self.environment.pass(ms);
            }
            _ => {
                self.environment.see("sleep with a stopped clock");
                self.environment.pass(ms);
            }
        }
        self.environment.history.add(self.environment.now, || format!("the clock jumps by {ms}"));
    }

    /// Somebody sets the calendar: right, or wrong.
    fn set_calendar(&mut self) {
        let calendar = &mut self.environment.scenario.host.calendar;
        if !self.environment.chance.percent(calendar.steps) {
            return;
        }
        let skew = self.environment.chance.magnitude(1, 90_000_000_000) as i64;
        calendar.skew_ms = self.environment.chance.of(&[0, 0, skew, -skew]);
        self.environment.see("calendar set in mid-run");
        self.environment.history.add(self.environment.now, || "the calendar is set".to_owned());
    }

    /// The time that a request is signed with now.
    fn signs(&self) -> u64 {
        self.environment.scenario.host.calendar.at(self.environment.now).saturating_add_signed(self.correction_ms)
    }

    /// A host sets its clock by the service's where that refused a signature. Times that cannot be are not believed.
    fn correct(&mut self, date: Option<Timestamp>) {
        const YEAR_2015: u64 = 1_420_070_400_000;
        const YEAR_2100: u64 = 4_102_444_800_000;
        if let Some(Timestamp(date)) = date
            && (YEAR_2015..YEAR_2100).contains(&date)
        {
            self.environment.see("clock corrected by the service's");
            self.correction_ms = date as i64 - self.environment.scenario.host.calendar.at(self.environment.now) as i64;
        }
    }

    /// Polls until there is nothing to do but wait.
    fn drain(&mut self) -> Result<Wait, Stop> {
        for _ in 0..DRAIN_MAX {
            let action = self.reader.poll_action();
            self.step()?;
            match action {
                Action::Send(request) => self.send(request)?,
                Action::Deliver(batch) => self.deliver(batch)?,
                Action::Notice(notice) => self.notice(notice)?,
                Action::Wait(wait) => {
                    self.run.rate_limits.waits(wait, Instant(self.told))?;
                    return Ok(wait);
                }
                Action::Finish(outcome) => return Err(self.finish(outcome)?),
            }
        }
        Err(Violation(format!("{DRAIN_MAX} actions without a wait")).into())
    }

    /// Counts a step; the host may crash at each.
    fn step(&mut self) -> Result<(), Stop> {
        self.environment.budget = self.environment.budget.saturating_sub(1);
        if self.environment.now > self.patience {
            return Err(Violation("it takes longer than anything explains".to_owned()).into());
        }
        if self.steps == 0 {
            let end = if self.environment.budget == 0 { End::OutOfSteps } else { End::Crashed };
            return Err(Stop::End(end));
        }
        self.steps -= 1;
        Ok(())
    }

    fn send(&mut self, request: Request) -> Judged {
        self.environment.history.add(self.environment.now, || {
            format!("send {} {:?} {}", request.id.0, request.operation, shown(&request.body))
        });
        self.run.rate_limits.sends(&request, Instant(self.told))?;
        if let Some(shard) = &request.shard {
            self.run.parents_done(shard, &self.environment.kinesis.stream)?;
            self.run.has_more_to_read(&request, &self.environment.kinesis.stream)?;
        }
        let fate = Fate::draw(&self.environment.scenario.network, &mut self.environment.chance);
        let latency = self.latency();
        if let Some(name) = fate.name() {
            self.environment.see(name);
        }
        match fate {
            Fate::Refused => {
                let back = Back::failure("connection refused");
                self.at(latency, Event::Returns { id: request.id, back, facts: None });
            }
            Fate::Unsent => {
                let back = Back::Failure(Failure::Permanent("no credentials".to_owned()));
                self.at(latency, Event::Returns { id: request.id, back, facts: Some(Facts::Refused(Refusal::Fatal)) });
            }
            Fate::Html => {
                let back = Back::html(self.signs(), &mut self.environment.chance);
                self.at(latency, Event::Returns { id: request.id, back, facts: None });
            }
            Fate::Answered | Fate::Reset | Fate::Silent | Fate::Late | Fate::Cut => {
                let signed = self.signs();
                self.at(latency, Event::Arrives(request, fate, signed));
            }
        }
        Ok(())
    }

    fn latency(&mut self) -> u64 {
        let (least, most) = self.environment.scenario.network.latency_ms;
        self.environment.chance.within(least, most) / 2
    }

    fn at(&mut self, after: u64, event: Event) {
        self.count += 1;
        self.events.insert((self.environment.now + after, self.count), event);
    }

    fn happens(&mut self, event: Event) -> Result<(), Stop> {
        match event {
            Event::Arrives(request, fate, signed) => Ok(self.arrives(request, fate, signed)?),
            Event::Returns { id, back, facts } => Ok(self.returns(id, back, facts)?),
            Event::Written(id) => self.written(id),
            Event::Stop => {
                self.run.stopped = true;
                let now = self.tell();
                self.environment.history.add(self.environment.now, || "stop".to_owned());
                self.reader.stop(now);
                self.run.rate_limits.ends();
                Ok(())
            }
        }
    }

    fn arrives(&mut self, request: Request, fate: Fate, signed: u64) -> Judged {
        let now = self.environment.now;
        let answer = match self.environment.kinesis.refuse_signature(signed, &request.body, now) {
            Some(refused) => refused,
            None => {
                let answer = self.environment.kinesis.call(request.operation.target(), &request.body, now);
                answer.map_err(|why| Violation(format!("a request that the service forbids: {why}")))?
            }
        };
        self.see_answer(&answer.facts);
        let latency = self.latency();
        // Half a refusal that blames the request is a refusal still, of an unknown kind.
        let fate = if fate == Fate::Cut && (400..500).contains(&answer.status) { Fate::Answered } else { fate };
        let date = self.environment.scenario.host.calendar.date(now, &mut self.environment.chance);
        let times = Times { date, signed };
        let id = request.id;
        match fate {
            Fate::Answered => {
                let facts = Some(answer.facts.clone());
                let back = Back::response(answer, times);
                self.at(latency, Event::Returns { id, back, facts });
            }
            Fate::Late => {
                let late = request.deadline.0.saturating_sub(self.clock) + latency;
                let facts = Some(answer.facts.clone());
                let back = Back::response(answer, times);
                self.at(late, Event::Returns { id, back, facts });
            }
            Fate::Cut => {
                let back = Back::half(answer, times, &mut self.environment.chance);
                self.at(latency, Event::Returns { id, back, facts: None });
            }
            Fate::Reset => {
                let back = Back::failure("connection reset");
                self.at(latency, Event::Returns { id, back, facts: None });
            }
            Fate::Silent | Fate::Refused | Fate::Html | Fate::Unsent => {}
        }
        Ok(())
    }

    fn see_answer(&mut self, facts: &Facts) {
        let what = match facts {
            Facts::Described => return,
            Facts::Listed { wrong: true, .. } => "listing that cannot be used",
            Facts::Listed { again: true, .. } => "shard that a listing tells of twice",
            Facts::Listed { last: false, .. } => "page of a listing that has more",
            Facts::Listed { .. } => return,
            Facts::Sought { clamped: true, .. } => "position trimmed in silence",
            Facts::Sought { .. } => return,
            Facts::Read(page) if page.asked < page.from => "records that went while the iterator was in hand",
            Facts::Read(page) if page.end && page.children.is_empty() => "end without children",
            Facts::Read(page) if page.end => "end with children",
            Facts::Read(page) if !page.goes_on => "end that is none",
            Facts::Read(page) if !page.children.is_empty() && !page.end => "children beside a next iterator",
            Facts::Read(page) if page.from == page.to => "empty page",
            Facts::Read(page) if page.bytes > 2 << 20 => "page of more than a second's bytes",
            Facts::Read(_) => return,
            Facts::Garbled => "response that Kinesis never gives",
            Facts::Refused(refusal) => match refusal {
                Refusal::Throttled => "throttled",
                Refusal::Transient => "failure of the service",
                Refusal::Expired | Refusal::ExpiredToken => "expired iterator or token",
                Refusal::Trimmed => "position trimmed",
                Refusal::NotFound => "shard not found",
                Refusal::Fatal => "refused for good",
                Refusal::Credentials => "credentials refused",
                Refusal::Clock => "signature of another time refused",
                Refusal::Denied => "summary denied",
            },
        };
        self.environment.see(what);
    }

    fn returns(&mut self, id: RequestId, back: Back, facts: Option<Facts>) -> Judged {
        let now = self.tell();
        let awaited = self.run.rate_limits.waits_for(id);
        if let (Back::Response(response), Some(Facts::Refused(Refusal::Clock))) = (&back, &facts) {
            self.correct(response.date);
        }
        self.environment.history.add(self.environment.now, || {
            format!("back {} {} {}", id.0, if awaited { "" } else { "to nobody" }, back.shown())
        });
        let again = self.environment.chance.percent(self.environment.scenario.host.needless);
        self.hand(id, back.clone(), now)?;
        if awaited {
            let bytes = if let Some(Facts::Read(page)) = &facts { page.bytes } else { 0 };
            let refusal = match &facts {
                Some(Facts::Refused(refusal)) => Some(*refusal),
                Some(Facts::Described | Facts::Listed { .. } | Facts::Sought { .. } | Facts::Read(_)) => None,
                Some(Facts::Garbled) => Some(Refusal::Transient),
                None => Some(Refusal::Transient),
            };
            self.run.rate_limits.answered(id, bytes, refusal, Instant(self.told));
            match &facts {
                Some(facts) => self.run.answered(facts, &self.environment.kinesis.stream, self.environment.now)?,
                None => self.run.troubled(),
            }
            if let Some(Facts::Listed { last: false, .. }) = facts {
                self.run.listing_goes_on(Instant(self.told));
            }
        } else {
            self.environment.see("answer that nobody waits for");
        }
        self.heard(now);
        if again {
            let revision = self.reader.revision();
            self.hand(id, back, now)?;
            if self.reader.revision() != revision {
                return Err(Violation("an answer that was given twice changed something".to_owned()));
            }
            let unknown = RequestId(u64::MAX);
            let refused = self.reader.handle_failure(unknown, Failure::Transient(String::new()), now);
            if refused != Err(Misuse::UnknownRequest(unknown)) {
                return Err(Violation(format!("an answer to no request: {refused:?}")));
            }
        }
        Ok(())
    }

    fn hand(&mut self, id: RequestId, back: Back, now: Instant) -> Judged {
        let taken = match back {
            Back::Response(response) => self.reader.handle_response(id, response, now),
            Back::Failure(failure) => self.reader.handle_failure(id, failure, now),
        };
        taken.map_err(|misuse| Violation(format!("an answer is not taken: {misuse}")))
    }

    /// The reader was told this time.
    fn heard(&mut self, now: Instant) {
        let _ = now;
        for _ in 0..self.run.rate_limits.told(Instant(self.told)) {
            self.run.troubled();
        }
    }

    /// The time that the host tells.
    fn tell(&mut self) -> Instant {
        let mut now = self.clock;
        if self.environment.chance.percent(self.environment.scenario.host.back_steps) {
            self.environment.see("clock that steps back");
            now = now.saturating_sub(self.environment.chance.magnitude(1, 100_000));
        }
        self.told = self.told.max(now);
        Instant(now)
    }

    fn timeout(&mut self) {
        let now = self.tell();
        self.reader.handle_timeout(now);
        self.heard(now);
    }

    fn notice(&mut self, notice: Notice) -> Judged {
        self.environment.history.add(self.environment.now, || format!("{notice:?}"));
        if let Notice::Gap(lost) = &notice {
            self.environment.see("gap told");
            self.run.lost(lost, &self.environment.kinesis.stream)?;
        }
        Ok(())
    }

    fn deliver(&mut self, batch: Batch) -> Judged {
        self.environment.history.add(self.environment.now, || format!("deliver {batch:?}"));
        let foreign = self.run.foreign();
        if self.run.goes_on_in_page(batch.shard(), &self.environment.kinesis.stream) {
            self.environment.see("page in several batches");
        }
        self.run.delivers(&batch, &self.environment.kinesis.stream, &mut self.environment.ledger)?;
        if batch.messages(0, u32::MAX).iter().any(|message| message.subsequence.is_some()) {
            self.environment.see("aggregate");
        }
        if self.run.foreign() > foreign {
            self.environment.see("aggregate with messages of another shard");
        }
        let (least, most) = self.environment.scenario.host.write_ms;
        let takes = self.environment.chance.within(least, most);
        self.at(takes, Event::Written(batch.id()));
        self.batches.insert(batch.id(), batch);
        Ok(())
    }

    /// A write to the destination came to its end.
    fn written(&mut self, id: BatchId) -> Result<(), Stop> {
        let host = &self.environment.scenario.host;
        let (failed, retried) = (host.write_failed, host.write_retried);
        if self.environment.chance.percent(failed) {
            return Err(Stop::End(End::GaveUp));
        }
        if self.environment.chance.percent(retried) {
            self.environment.see("write tried again");
            let pause = self.environment.chance.within(1, 2_000);
            self.at(pause, Event::Written(id));
            return Ok(());
        }
        let Some(batch) = self.batches.remove(&id) else { return Ok(()) };
        let keeping = self.environment.scenario.host.keeping;
        self.step()?;
        let Some(span) = self.run.span(id) else {
            return Err(Violation(format!("a batch that is not out: {batch:?}")).into());
        };
        match keeping {
            Keeping::OneAfterTheOther => {
                self.environment.ledger.write(span, &self.environment.kinesis.stream);
                self.step()?;
                self.report(id)?;
                self.step()?;
                self.save(false)?;
            }
            Keeping::Together => {
                self.report(id)?;
                self.step()?;
                self.save(true)?;
                self.environment.ledger.write(span, &self.environment.kinesis.stream);
            }
            Keeping::TogetherJoined => {
                self.join(&batch, span)?;
                self.environment.ledger.write(span, &self.environment.kinesis.stream);
                self.step()?;
                self.report(id)?;
            }
        }
        Ok(())
    }

    fn report(&mut self, id: BatchId) -> Judged {
        let now = self.tell();
        self.environment.history.add(self.environment.now, || format!("delivered {}", id.0));
        self.reader.handle_delivered(id, now).map_err(|misuse| Violation(format!("not taken: {misuse}")))?;
        self.run.delivered(id);
        self.heard(now);
        let again = self.reader.handle_delivered(id, now);
        if again != Err(Misuse::UnknownBatch(id)) {
            return Err(Violation(format!("a batch was reported twice: {again:?}")));
        }
        Ok(())
    }

    /// Keeps the reader's checkpoint when there is a new one.
    fn keep_if_new(&mut self) -> Result<(), Stop> {
        if self.saved_revision == Some(self.reader.revision()) {
            return Ok(());
        }
        self.step()?;
        self.save(self.environment.scenario.host.keeping != Keeping::OneAfterTheOther)?;
        Ok(())
    }

    fn save(&mut self, surely: bool) -> Judged {
        let checkpoint = self.reader.checkpoint();
        self.run.checkpoint(&checkpoint, &self.environment.kinesis.stream)?;
        self.add_up(&checkpoint)?;
        self.saved_revision = Some(self.reader.revision());
        if !surely && self.environment.chance.percent(self.environment.scenario.host.lost_saves) {
            self.environment.see("save that did not last");
            return Ok(());
        }
        if self.run.terms.recreated {
            return Ok(());
        }
        let incarnation = self.environment.kinesis.stream.incarnation;
        self.environment.kept = Some(Kept { checkpoint, tracks: self.run.tracks.clone(), incarnation });
        Ok(())
    }

    /// What changed since a checkpoint was taken, joined with it, is the checkpoint.
    fn add_up(&mut self, checkpoint: &str) -> Judged {
        let taken = self.taken.replace((self.reader.revision(), checkpoint.to_owned()));
        let Some((revision, before)) = taken else { return Ok(()) };
        let Some(changes) = self.reader.changes(revision) else {
            self.environment.see("checkpoint to be taken whole");
            return Ok(());
        };
        self.environment.see("changes of a checkpoint");
        match merge_checkpoints(&before, &changes) {
            Ok(joined) if joined == checkpoint => Ok(()),
            joined => Err(Violation(format!("{before} and the changes {changes} are {joined:?}, not {checkpoint}"))),
        }
    }

    /// Keeps a batch's own checkpoint beside what was kept of the other shards.
    fn join(&mut self, batch: &Batch, Span { shard, to, .. }: Span) -> Judged {
        let own = batch.checkpoint();
        let kept = self.environment.kept.take();
        let (checkpoint, mut tracks) = match kept {
            Some(Kept { checkpoint, tracks, .. }) => {
                // The join is the same whichever comes first.
                let joined = match self.environment.chance.percent(50) {
                    true => merge_checkpoints(&checkpoint, &own),
                    false => merge_checkpoints(&own, &checkpoint),
                };
                (joined.map_err(|error| Violation(format!("checkpoints do not join: {error}")))?, tracks)
            }
            None => (own, self.run.tracks.clone()),
        };
        let track = Track { position: crate::oracle::Position::Before(to), lost: false, ..self.run.track(shard) };
        tracks.insert(shard, track);
        let incarnation = self.environment.kinesis.stream.incarnation;
        self.environment.kept = Some(Kept { checkpoint, tracks, incarnation });
        Ok(())
    }

    fn finish(&mut self, outcome: Outcome) -> Result<Stop, Violation> {
        self.environment.history.add(self.environment.now, || format!("finish {outcome:?}"));
        self.environment.kinesis.stream.age(self.environment.now);
        self.run.finished(&outcome, &self.environment.kinesis.stream, self.environment.now)?;
        self.save(true)?;
        let totals = self.reader.totals();
        if totals.requests != self.run.rate_limits.made() {
            return Err(Violation(format!("{totals:?}, and {} requests", self.run.rate_limits.made())));
        }
        let written = totals.messages;
        if self.batches.is_empty() && written != self.run.handed() {
            return Err(Violation(format!(
                "{written} messages in the totals, and {} were handed out",
                self.run.handed()
            )));
        }
        if self.batches.is_empty() && totals.dropped != self.run.foreign() {
            let why = format!("{} messages passed over, and {} are foreign", totals.dropped, self.run.foreign());
            return Err(Violation(why));
        }
        Ok(Stop::End(End::Finished(outcome)))
    }
}
