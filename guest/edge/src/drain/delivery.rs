//! Delivers batches: to the sink, to the address for dead letters, or into the answer.

use super::Drain;
use super::end::End;
use crate::bindings::reading::Batch;
use crate::clock;
use crate::deliver::{self, Delivery, Label, Lines};
use crate::fetch::{self, Exchange, Failure, Response};
use crate::settings::Sink;

/// The error if the reader renders fewer lines than it counts.
const LINES_MISSING: &str = "the reader returned fewer lines than messages; this is a bug, please report it";

impl Drain<'_> {
    pub(super) fn deliver(&mut self, batch: &Batch) -> Result<(), End> {
        let bytes = match &self.settings.sink {
            None => self.append(batch)?,
            Some(sink) => self.push(batch, sink)?,
        };
        self.counts.messages += u64::from(batch.count());
        self.counts.bytes = self.counts.bytes.saturating_add(bytes);
        self.counts.batches += 1;
        let (since, before) = self.uncommitted.unwrap_or((clock::now(), 0));
        self.uncommitted = Some((since, before.saturating_add(bytes)));
        let handled = self.reader.handle_delivered(batch.id(), clock::now());
        debug_assert!(handled.is_ok(), "the reader gave out this batch");
        if self.counts.bytes >= self.bounds.bytes {
            return Err(End::Bytes);
        }
        Ok(())
    }

    /// Appends a batch to the answer, if there is room. A batch larger than any answer gets an answer of its own.
    fn append(&mut self, batch: &Batch) -> Result<u64, End> {
        let before = self.lines.len();
        let room = self.bounds.bytes.saturating_sub(before as u64);
        let mut lines = Lines::new(batch);
        while let Some(piece) = lines.next() {
            if lines.bytes > room && before > 0 {
                // The batch is not reported as delivered, so it comes first in the next drain.
                self.lines.truncate(before);
                return Err(End::Bytes);
            }
            self.lines.extend_from_slice(&piece);
        }
        match lines.is_complete() {
            true => Ok(lines.bytes),
            false => {
                self.lines.truncate(before);
                Err(End::Failed(LINES_MISSING.to_owned()))
            }
        }
    }

    /// Posts a batch to the sink or, if the sink refuses it, to the address for dead letters.
    fn push(&mut self, batch: &Batch, sink: &Sink) -> Result<u64, End> {
        // The host may have suspended us until the lease was over.
        self.keep_lease()?;
        let (size, started) = (batch.size(), clock::now());
        let expected = self.delivery_times.expected(size);
        if started.saturating_add(expected) > self.deadline || started >= self.deadline {
            return Err(if self.counts.batches > 0 { End::Time(None) } else { End::TooShort });
        }
        if self.lease.remaining(clock::present()) < expected.min(self.settings.lease_duration / 2) {
            self.commit()?;
        }
        let label = Label { stream: &self.settings.stream, epoch: self.epoch, reason: None };
        let (delivery, bytes) = self.post(batch, sink, &label)?;
        match delivery {
            Delivery::Accepted => {}
            Delivery::Failed(why) => return Err(End::SinkFailed(why)),
            Delivery::Refused(why) => self.post_dead_letters(batch, &Label { reason: Some(&why), ..label })?,
        }
        self.delivery_times.record(clock::now().saturating_sub(started), size);
        Ok(bytes)
    }

    /// Posts a batch that the sink refused to the address for dead letters.
    fn post_dead_letters(&mut self, batch: &Batch, label: &Label<'_>) -> Result<(), End> {
        let refusal = label.reason.unwrap_or_default();
        let Some(dead_letters) = &self.settings.dead_letters else { return Err(End::Blocked(refusal.to_owned())) };
        match self.post(batch, dead_letters, label)?.0 {
            Delivery::Accepted => {
                self.counts.dead_letters += u64::from(batch.count());
                Ok(())
            }
            Delivery::Failed(why) | Delivery::Refused(why) => Err(End::SinkFailed(format!("dead letters: {why}"))),
        }
    }

    /// Posts a batch. Returns what came of it and how many bytes of lines were sent.
    fn post(&mut self, batch: &Batch, sink: &Sink, label: &Label<'_>) -> Result<(Delivery, u64), End> {
        let started = clock::now();
        let deadline = self.delivery_deadline();
        let mut lines = Lines::new(batch);
        let sent = deliver::post(batch, &mut lines, sink, label, deadline);
        let delivery = match deliver::classify(sent.and_then(|exchange| self.wait_for_answer(exchange))) {
            Delivery::Failed(why) if clock::now() >= deadline => {
                Delivery::Failed(format!("{why}: {}", self.explain_deadline(deadline, started)))
            }
            other => other,
        };
        match delivery {
            Delivery::Accepted if !lines.is_complete() => Err(End::Failed(LINES_MISSING.to_owned())),
            other => Ok((other, lines.bytes)),
        }
    }

    /// Waits for the sink's answer. Answers from Kinesis are taken meanwhile, so that its requests do not time out
    /// because the sink is slow.
    fn wait_for_answer(&mut self, mut exchange: Exchange) -> Result<Response, Failure> {
        loop {
            if let Some(result) = exchange.advance() {
                return result;
            }
            if self.take_answers() {
                continue;
            }
            let in_flight = self.in_flight.iter().map(|request| &request.exchange);
            fetch::wait(in_flight.chain([&exchange]), exchange.deadline());
        }
    }

    /// When a delivery must be over: the earliest of the sink's timeout, the caller's deadline and the end of the
    /// lease.
    fn delivery_deadline(&self) -> u64 {
        (clock::now().saturating_add(self.settings.sink_timeout)).min(self.deadline).min(self.lease_end())
    }

    /// Says which bound set the deadline of a delivery, and what to change.
    fn explain_deadline(&self, deadline: u64, started: u64) -> String {
        let (bound, hint) = if deadline >= self.deadline {
            ("all that was left of max-ms", "use a larger max-ms")
        } else if deadline >= started.saturating_add(self.settings.sink_timeout) {
            ("the whole of SINK_TIMEOUT_SECONDS", "set a larger SINK_TIMEOUT_SECONDS")
        } else {
            ("all that was left of the lease", "set a larger LEASE_SECONDS")
        };
        format!("it had {} ms, {bound}; if the sink is slow, {hint}", deadline.saturating_sub(started))
    }
}
