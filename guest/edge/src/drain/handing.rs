//! Batches handed on: to the sink, to the dead letters, or into the answer.

use super::{Drain, End};
use crate::clock;
use crate::deliver::{self, Delivery, Label, Lines};
use crate::fetch::{self, Exchange, Failure, Response};
use crate::reading::Batch;
use crate::settings::Sink;

/// What the reader is at fault for, if it gives fewer lines than it counts.
const SHORT: &str = "the reader gave fewer lines than the batch has messages";

impl Drain<'_> {
    pub(super) fn deliver(&mut self, batch: &Batch) -> Result<(), End> {
        let bytes = match &self.settings.sink {
            None => self.gather(batch)?,
            Some(sink) => self.push(batch, sink)?,
        };
        self.counts.messages += u64::from(batch.count());
        self.counts.bytes = self.counts.bytes.saturating_add(bytes);
        self.counts.batches += 1;
        let (since, before) = self.uncommitted.unwrap_or((clock::now(), 0));
        self.uncommitted = Some((since, before.saturating_add(bytes)));
        let told = self.reader.handle_delivered(batch.id(), clock::now());
        debug_assert!(told.is_ok(), "the batch is the reader's own");
        if self.counts.bytes >= self.bounds.bytes {
            return Err(End::Bytes);
        }
        Ok(())
    }

    /// Adds a batch to the answer, if there is room. One that is larger than any answer stands in one of its own.
    fn gather(&mut self, batch: &Batch) -> Result<u64, End> {
        let before = self.lines.len();
        let room = self.bounds.bytes.saturating_sub(before as u64);
        let mut lines = Lines::of(batch);
        while let Some(piece) = lines.next() {
            if lines.bytes > room && before > 0 {
                // It is not reported as delivered, so it is the first of the next drain.
                self.lines.truncate(before);
                return Err(End::Bytes);
            }
            self.lines.extend_from_slice(&piece);
        }
        match lines.is_whole() {
            true => Ok(lines.bytes),
            false => {
                self.lines.truncate(before);
                Err(End::Failed(SHORT.to_owned()))
            }
        }
    }

    /// Posts a batch to the sink, or to the dead letters if the sink refuses it.
    fn push(&mut self, batch: &Batch, sink: &Sink) -> Result<u64, End> {
        // The host may have stopped us for as long as the lease was.
        self.keep_lease()?;
        let (size, begun) = (batch.size(), clock::now());
        let expected = self.experience.expected(size);
        if begun.saturating_add(expected) > self.end || begun >= self.end {
            return Err(if self.counts.batches > 0 { End::Time(None) } else { End::TooShort });
        }
        if self.lease.left(clock::present()) < expected.min(self.settings.lease / 2) {
            self.commit()?;
        }
        let label = Label { stream: &self.settings.stream, epoch: self.epoch, reason: None };
        let (delivery, bytes) = self.post(batch, sink, &label)?;
        match delivery {
            Delivery::Safe => {}
            Delivery::Failed(why) => return Err(End::SinkFailed(why)),
            Delivery::Refused(why) => self.bury(batch, &Label { reason: Some(&why), ..label })?,
        }
        self.experience.took(clock::now().saturating_sub(begun), size);
        Ok(bytes)
    }

    /// Posts a batch that the sink refuses to the dead letters.
    fn bury(&mut self, batch: &Batch, label: &Label<'_>) -> Result<(), End> {
        let refused = label.reason.unwrap_or_default();
        let Some(dead_letters) = &self.settings.dead_letters else { return Err(End::Blocked(refused.to_owned())) };
        match self.post(batch, dead_letters, label)?.0 {
            Delivery::Safe => {
                self.counts.dead_letters += u64::from(batch.count());
                Ok(())
            }
            Delivery::Failed(why) | Delivery::Refused(why) => Err(End::SinkFailed(format!("dead letters: {why}"))),
        }
    }

    /// Posts a batch, and tells what came of it and how many bytes it had.
    fn post(&mut self, batch: &Batch, sink: &Sink, label: &Label<'_>) -> Result<(Delivery, u64), End> {
        let begun = clock::now();
        let deadline = self.delivery_deadline();
        let mut lines = Lines::of(batch);
        let sent = deliver::post(batch, &mut lines, sink, label, deadline);
        let delivery = match deliver::judge(sent.and_then(|exchange| self.answer_of(exchange))) {
            Delivery::Failed(why) if clock::now() >= deadline => {
                Delivery::Failed(format!("{why}: {}", self.bound_of(deadline, begun)))
            }
            other => other,
        };
        match delivery {
            Delivery::Safe if !lines.is_whole() => Err(End::Failed(SHORT.to_owned())),
            other => Ok((other, lines.bytes)),
        }
    }

    /// Waits for an answer of the sink. What Kinesis answers meanwhile is taken, so that a slow sink is not laid to it.
    fn answer_of(&mut self, mut exchange: Exchange) -> Result<Response, Failure> {
        loop {
            if let Some(result) = exchange.advance() {
                return result;
            }
            if self.take_answers() {
                continue;
            }
            let flight = self.flight.iter().map(|flying| &flying.exchange);
            fetch::wait(flight.chain([&exchange]), exchange.deadline());
        }
    }

    /// By when a delivery must be over: what is left of the sink's time, of the caller's and of the lease.
    fn delivery_deadline(&self) -> u64 {
        (clock::now().saturating_add(self.settings.sink_timeout)).min(self.end).min(self.lease_end())
    }

    /// Which bound a delivery met that began then, in words.
    fn bound_of(&self, deadline: u64, begun: u64) -> String {
        let (whose, hint) = if deadline >= self.end {
            ("what was left of max-ms", "call with a larger one")
        } else if deadline >= begun.saturating_add(self.settings.sink_timeout) {
            ("all of SINK_TIMEOUT_SECONDS", "set a larger one")
        } else {
            ("what was left of the lease", "set a larger LEASE_SECONDS")
        };
        format!("it had {} ms, which is {whose}; if it is slow, {hint}", deadline.saturating_sub(begun))
    }
}
