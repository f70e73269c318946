//! Requests: what to send next, and how long to wait if there is nothing to send.

use alloc::borrow::ToOwned;
use alloc::string::String;

use super::Reader;
use super::in_flight::About;
use crate::action::{Request, Wait, WaitReason};
use crate::checkpoint::{MessagePosition, Position};
use crate::machine::discovery::{Phase, Step};
use crate::machine::lineage::ShardKey;
use crate::machine::shard::{Event, Queue, Seek, State, Trouble};
use crate::time::Instant;
use crate::wire::{self, Query, StartingPosition};

impl Reader {
    /// The next request, if one is due and there is room for it.
    pub(super) fn next_request(&mut self) -> Option<Request> {
        if self.in_flight.len() >= self.plan.limits.requests as usize {
            return None;
        }
        let now = self.clock.now;
        if self.discovery.due().is_some_and(|due| due <= now) {
            return self.discovery_request();
        }
        loop {
            let due = |(at, key): (Instant, ShardKey)| (at <= now).then_some((at, key));
            let seek = self.shards.first(Queue::Seeking).and_then(due);
            let read = if self.has_room() { self.shards.first(Queue::Ready).and_then(due) } else { None };
            match (seek, read) {
                (Some((at, key)), Some((other, _))) if at <= other => return self.iterator_request(key),
                (Some((_, key)), None) => return self.iterator_request(key),
                (_, Some((_, key))) => match self.page_request(key) {
                    Some(request) => return Some(request),
                    None => continue,
                },
                (None, None) => return None,
            }
        }
    }

    /// How long to wait, and for what.
    pub(super) fn wait(&self) -> Wait {
        let deadline = self.in_flight.deadline().map(|at| (at, WaitReason::Response));
        let mut next = deadline;
        let mut sooner = |at: Instant, reason: WaitReason| {
            if next.is_none_or(|(earliest, _)| at < earliest) {
                next = Some((at, reason));
            }
        };
        if self.in_flight.len() < self.plan.limits.requests as usize {
            match &self.discovery.phase {
                Phase::Due { step: Step::List(listing), not_before, trouble }
                    if listing.token().is_some() && *trouble == Trouble::default() =>
                {
                    sooner(*not_before, WaitReason::Pace);
                }
                Phase::Due { not_before, .. } => sooner(*not_before, WaitReason::Backoff),
                Phase::Resting { until } => sooner(*until, WaitReason::Listing),
                Phase::Asked { .. } => {}
            }
            if let Some((at, key)) = self.shards.first(Queue::Seeking) {
                sooner(at, self.why(key));
            }
            if self.has_room()
                && let Some((at, key)) = self.shards.first(Queue::Ready)
            {
                sooner(at, self.why(key));
            }
        }
        match next {
            Some((until, reason)) => {
                let held = !self.has_room() && self.shards.first(Queue::Ready).is_some() && deadline.is_none();
                Wait { until: Some(until), reason: if held { WaitReason::Delivery } else { reason } }
            }
            None => Wait { until: None, reason: WaitReason::Delivery },
        }
    }

    /// Whether a page may be requested.
    fn has_room(&self) -> bool {
        self.batches.has_room(self.in_flight.pages(), self.plan.limits.batches)
    }

    fn why(&self, key: ShardKey) -> WaitReason {
        let trouble = self.shards[key].state.trouble();
        if trouble == Trouble::default() { WaitReason::Pace } else { WaitReason::Backoff }
    }

    fn discovery_request(&mut self) -> Option<Request> {
        let now = self.clock.now;
        let id = self.in_flight.next_id();
        let asked = Phase::Asked { step: Step::Describe, request: id, trouble: Trouble::default() };
        let (step, trouble) = match core::mem::replace(&mut self.discovery.phase, asked) {
            Phase::Due { step, not_before: _, trouble } => (step, trouble),
            Phase::Resting { .. } => (Step::first_page(), Trouble::default()),
            phase @ Phase::Asked { .. } => {
                self.discovery.phase = phase;
                return None;
            }
        };
        let query = match &step {
            Step::Describe => Query::DescribeStreamSummary { stream: self.plan.stream() },
            Step::List(listing) => match listing.token() {
                None => Query::ListShards { stream: self.plan.stream() },
                Some(token) => Query::ListShardsNext { token },
            },
        };
        let body = wire::encode(&query, self.plan.wire);
        let operation = query.operation();
        if let Query::ListShards { .. } = query {
            self.discovery.begin();
        }
        self.discovery.phase = Phase::Asked { step, request: id, trouble };
        Some(self.send(About::Discovery(operation), operation, None, body, now))
    }

    fn iterator_request(&mut self, key: ShardKey) -> Option<Request> {
        let now = self.clock.now;
        let shard = &self.shards[key];
        let State::Seeking { seek, .. } = &shard.state else { return None };
        let position = match (seek, &shard.position) {
            (Seek::Oldest, _) | (Seek::Position, Position::TrimHorizon) => StartingPosition::TrimHorizon,
            (Seek::Latest, _) => StartingPosition::Latest,
            (Seek::Position, Position::At(time)) => StartingPosition::AtTimestamp(time.0),
            (Seek::Position, Position::After(MessagePosition { sequence, subsequence: None })) => {
                StartingPosition::AfterSequence(sequence.as_str())
            }
            (Seek::Position, Position::After(MessagePosition { sequence, subsequence: Some(_) })) => {
                StartingPosition::AtSequence(sequence.as_str())
            }
            // A drained shard is never sought. If one were, nothing would be delivered twice.
            (Seek::Position, Position::End) => StartingPosition::Latest,
        };
        let query = Query::GetShardIterator { stream: self.plan.stream(), shard: &shard.id, position };
        let body = wire::encode(&query, self.plan.wire);
        let (operation, id) = (query.operation(), (*shard.id).to_owned());
        let request = self.send(About::ShardIterator(key), operation, Some(id), body, now);
        self.step(key, Event::Sent { request: request.id });
        Some(request)
    }

    /// The request for the next page of a shard, unless its iterator is too old.
    fn page_request(&mut self, key: ShardKey) -> Option<Request> {
        let now = self.clock.now;
        let limit = self.batches.records_wanted(self.plan.limits.page_records);
        let shard = &self.shards[key];
        let State::Ready { iterator, .. } = &shard.state else { return None };
        if iterator.is_stale(now) {
            self.step(key, Event::Stale);
            return None;
        }
        let query = Query::GetRecords { arn: self.plan.arn(), iterator: &iterator.text, limit };
        let body = wire::encode(&query, self.plan.wire);
        let (operation, id) = (query.operation(), (*shard.id).to_owned());
        let request = self.send(About::Page(key, limit), operation, Some(id), body, now);
        let paced = self.plan.pace.after_read(now, 0);
        let shard = &mut self.shards[key];
        shard.paced = shard.paced.max(paced);
        self.step(key, Event::Sent { request: request.id });
        Some(request)
    }

    fn send(
        &mut self,
        about: About,
        operation: wire::Operation,
        shard: Option<String>,
        body: wire::Body,
        now: Instant,
    ) -> Request {
        let deadline = now + self.plan.limits.request_timeout;
        let id = self.in_flight.add(about, now, deadline);
        self.totals.requests += 1;
        Request { id, operation, shard, body, deadline }
    }
}
