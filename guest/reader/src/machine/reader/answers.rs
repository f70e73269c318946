//! Answers: what each means and what follows from it.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::sync::Arc;

use super::Reader;
use super::in_flight::{About, Sent};
use super::pages::RequestedPage;
use super::wrong::Wrong;
use crate::action::{Action, Notice, Outcome, Response};
use crate::checkpoint::{Identity, Position};
use crate::config::Recreated;
use crate::error::{Cause, Failure, ServiceError};
use crate::gap::Gap;
use crate::ids::RequestId;
use crate::machine::discovery::Phase;
use crate::machine::lineage::ShardKey;
use crate::machine::shard::{Event, State, Trouble, Verdict};
use crate::machine::tip::Tip;
use crate::printable::printable;
use crate::time::Timestamp;
use crate::wire::{self, Body, Class, Operation};

/// An answer that was understood.
enum Answer {
    Summary(wire::Summary),
    Listing(wire::Listing),
    ShardIterator(ShardKey, String),
    Page(RequestedPage),
}

impl Answer {
    fn decode(about: About, body: Body) -> Result<Answer, wire::Unintelligible> {
        Ok(match about {
            About::Discovery(Operation::DescribeStreamSummary) => Answer::Summary(wire::decode_summary(&body)?),
            About::Discovery(_) => Answer::Listing(wire::decode_listing(&body)?),
            About::ShardIterator(key) => Answer::ShardIterator(key, wire::decode_iterator(&body)?),
            About::Page(key, limit) => {
                let held = body.as_bytes().len() as u64;
                Answer::Page(RequestedPage { key, limit, held, page: wire::decode_page(body)? })
            }
        })
    }
}

impl Reader {
    /// Gives up the requests whose deadline has passed.
    pub(super) fn expire_requests(&mut self) {
        while let Some((id, sent)) = self.in_flight.take_expired(self.clock.now) {
            self.on_trouble(id, sent, Cause::Timeout, Verdict::Transient);
        }
    }

    pub(super) fn on_failure(&mut self, id: RequestId, sent: Sent, failure: Failure) {
        let verdict = match &failure {
            Failure::Transient(_) => Verdict::Transient,
            Failure::Permanent(_) => Verdict::Fatal,
        };
        let clean = |what: String| printable(&what).into_owned();
        let failure = match failure {
            Failure::Transient(what) => Failure::Transient(clean(what)),
            Failure::Permanent(what) => Failure::Permanent(clean(what)),
        };
        self.on_trouble(id, sent, Cause::Failure(failure), verdict);
    }

    pub(super) fn on_response(&mut self, id: RequestId, sent: Sent, response: Response) {
        let Response { status, body, aws_request_id, date, signed } = response;
        if status != 200 {
            let rejection = wire::decode_rejection(status, &body);
            let verdict = match wire::classify(sent.about.operation(), &rejection) {
                Class::Throttled => Verdict::Throttled,
                Class::Transient => Verdict::Transient,
                Class::ExpiredIterator | Class::ExpiredToken => Verdict::Expired,
                Class::ShardGone => Verdict::Gone,
                Class::Trimmed => Verdict::Trimmed,
                // The host renews credentials and corrects its clock, so one more attempt tells whether that helped.
                Class::Credentials | Class::ClockSkew if self.trouble_of(sent.about).failures == 0 => {
                    Verdict::Transient
                }
                Class::Credentials | Class::ClockSkew | Class::Fatal => Verdict::Fatal,
            };
            let aws_request_id = aws_request_id.map(|aws_request_id| printable(&aws_request_id).into_owned());
            return self.on_trouble(id, sent, Cause::Rejected { rejection, aws_request_id }, verdict);
        }
        let understood = Answer::decode(sent.about, body).map_err(Wrong::from).and_then(|answer| {
            // Only an answer of Kinesis tells its time.
            let heard = self.clock.hear(date, signed, sent.sent);
            match answer {
                Answer::Summary(summary) => self.on_summary(id, summary),
                Answer::Listing(listing) => self.on_listing_page(id, listing),
                Answer::ShardIterator(key, text) => self.step(key, Event::ShardIterator { text }),
                Answer::Page(page) => return self.on_page(page, sent.sent, heard.earliest),
            }
            Ok(())
        });
        if let Err(Wrong { verdict, why }) = understood {
            self.on_trouble(id, sent, Cause::Unintelligible(why), verdict);
        }
    }

    fn on_summary(&mut self, id: RequestId, summary: wire::Summary) {
        let found = Identity {
            name: self.plan.name.clone(),
            arn: Some(self.plan.arn().map_or(summary.arn, ToOwned::to_owned)),
            created: summary.created.map(Timestamp),
        };
        if !self.stream.agrees(&found) {
            if self.plan.recreated == Recreated::Follow && self.stream.is_namesake(&found) {
                return self.follow(id, found);
            }
            self.end(Outcome::Failed(ServiceError {
                operation: Operation::DescribeStreamSummary,
                shard: None,
                cause: Cause::Recreated(self.stream.describe()),
                attempts: 1,
            }));
            return;
        }
        let known = Identity::clone(&self.stream).join(found);
        if known != *self.stream {
            self.stream = Arc::new(known);
            self.revisions.note_renewed();
        }
        self.discovery.answered(id, self.clock.now);
        self.discovery.list(self.clock.now);
    }

    /// Goes on with a stream that was recreated under the name of the checkpoint's.
    fn follow(&mut self, id: RequestId, found: Identity) {
        let left = core::mem::take(&mut self.saved);
        let mut is_held = false;
        for (shard, position) in left.iter().filter(|(_, position)| **position != Position::End) {
            is_held |= self.lose(Gap::behind(shard, position));
        }
        if is_held {
            self.saved = left;
            return;
        }
        // As if the checkpoint knew none of the shards: all of them are new.
        self.resumed = true;
        self.stream = Arc::new(found);
        self.revisions.note_renewed();
        self.discovery.answered(id, self.clock.now);
        self.discovery.list(self.clock.now);
    }

    fn on_trouble(&mut self, id: RequestId, sent: Sent, cause: Cause, verdict: Verdict) {
        let error = ServiceError {
            operation: sent.about.operation(),
            shard: sent.about.shard().map(|key| (*self.shards[key].id).to_owned()),
            cause,
            attempts: self.trouble_of(sent.about).attempts().saturating_add(1),
        };
        match verdict {
            Verdict::Throttled => self.totals.throttled += 1,
            Verdict::Transient | Verdict::Expired | Verdict::Wrong | Verdict::Astray => self.totals.retried += 1,
            Verdict::Trimmed | Verdict::Gone | Verdict::Fatal => {}
        }
        match sent.about {
            About::Discovery(_) => self.on_discovery_trouble(id, error, verdict),
            About::ShardIterator(key) | About::Page(key, _) => {
                // What a shard iterator showed of the tip is void once it led back.
                if verdict == Verdict::Astray {
                    self.shards[key].tip = Tip::new();
                }
                self.step(key, Event::Failed(verdict));
                self.settle(key, error);
            }
        }
    }

    /// Reports what went wrong with a shard: it is tried again, or the reader cannot go on.
    pub(super) fn settle(&mut self, key: ShardKey, error: ServiceError) {
        if self.shards[key].state == State::Failed {
            self.end(Outcome::Failed(error));
        } else {
            self.outbox.push_back(Action::Notice(Notice::Retry(error)));
        }
    }

    fn trouble_of(&self, about: About) -> Trouble {
        match about.shard() {
            Some(key) => self.shards[key].state.trouble(),
            None => match &self.discovery.phase {
                Phase::Asked { trouble, .. } | Phase::Due { trouble, .. } => *trouble,
                Phase::Resting { .. } => Trouble::default(),
            },
        }
    }
}
