//! What an answer means, and what follows from it.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::time::Duration;

use super::{About, Reader, Rest, Sent, Shard};
use crate::action::{Action, Gap, Notice, Outcome, RequestId, Response};
use crate::checkpoint::{Identity, MessagePosition, Position};
use crate::config::{Recreated, Until};
use crate::discovery::Phase;
use crate::error::{Cause, Failure, ServiceError};
use crate::lineage::ShardKey;
use crate::listing::SHARDS_MAX;
use crate::messages::Messages;
use crate::pace;
use crate::page::Page;
use crate::printable::printable;
use crate::sequence::Sequence;
use crate::shard::{Event, Seek, ShardIterator, State, Then, Trouble, Why};
use crate::time::{Instant, Timestamp};
use crate::tip::{PageSummary, Progress, Tip};
use crate::wire::{self, Body, Class, Operation};

/// A page of this many bytes is taken as full: the service gives 10 MiB at most, and stops before the record that
/// would pass it, which may itself be nearly half of that with its key.
const FULL_BYTES: u64 = 5 << 20;

/// Empty pages that end a shard although they tell of a lag, after which the end is believed: each came of a fresh
/// iterator, and was asked for once the shard was listed as closed, when nothing could be put into it any more.
const DOUBTS_MAX: u32 = 3;

/// An answer that was understood.
enum Answer {
    Summary(wire::Summary),
    Listing(wire::Listing),
    ShardIterator(ShardKey, String),
    Page(AskedPage),
}

/// A page of a shard.
struct AskedPage {
    key: ShardKey,
    /// The records asked for.
    limit: u32,
    /// The bytes of its body.
    held: u64,
    page: Page,
}

impl Answer {
    fn decode(about: About, body: Body) -> Result<Answer, wire::Unintelligible> {
        Ok(match about {
            About::Discovery(Operation::DescribeStreamSummary) => Answer::Summary(wire::decode_summary(&body)?),
            About::Discovery(_) => Answer::Listing(wire::decode_listing(&body)?),
            About::ShardIterator(key) => Answer::ShardIterator(key, wire::decode_iterator(&body)?),
            About::Page(key, limit) => {
                let held = body.as_bytes().len() as u64;
                Answer::Page(AskedPage { key, limit, held, page: wire::decode_page(body)? })
            }
        })
    }
}

/// What becomes of a request that did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Throttled,
    Failed,
    Expired,
    /// The response contradicts itself or the service's model.
    Wrong,
    /// The iterator led back to records that were delivered.
    Astray,
    Trimmed,
    Gone,
    Refused,
}

/// What is wrong with a response of status 200.
pub(super) struct Wrong {
    verdict: Verdict,
    why: String,
}

impl From<wire::Unintelligible> for Wrong {
    fn from(wire::Unintelligible { why, is_forbidden }: wire::Unintelligible) -> Wrong {
        Wrong { verdict: if is_forbidden { Verdict::Wrong } else { Verdict::Failed }, why }
    }
}

impl Reader {
    pub(super) fn take_request(&mut self, id: RequestId) -> Option<Sent> {
        let sent = self.requests.remove(&id)?;
        if let About::Page(..) = sent.about {
            self.reading -= 1;
        }
        Some(sent)
    }

    /// Lets go of the requests whose time has passed.
    pub(super) fn expire_requests(&mut self) {
        while let Some((&id, sent)) = self.requests.first_key_value()
            && sent.deadline <= self.clock.now
            && let Some(sent) = self.take_request(id)
        {
            self.on_trouble(id, sent, Cause::Timeout, Verdict::Failed);
        }
    }

    pub(super) fn on_failure(&mut self, id: RequestId, sent: Sent, failure: Failure) {
        let verdict = match &failure {
            Failure::Transient(_) => Verdict::Failed,
            Failure::Permanent(_) => Verdict::Refused,
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
                Class::Transient => Verdict::Failed,
                Class::ExpiredIterator | Class::ExpiredToken => Verdict::Expired,
                Class::ShardGone => Verdict::Gone,
                Class::Trimmed => Verdict::Trimmed,
                // The host renews credentials and sets its clock by itself; one more try is enough to see it done.
                Class::Credentials | Class::ClockSkew if self.trouble_of(&sent).failures == 0 => Verdict::Failed,
                Class::Credentials | Class::ClockSkew | Class::Fatal => Verdict::Refused,
            };
            let aws_request_id = aws_request_id.map(|aws_request_id| printable(&aws_request_id).into_owned());
            return self.on_trouble(id, sent, Cause::Rejected { rejection, aws_request_id }, verdict);
        }
        let understood = Answer::decode(sent.about, body).map_err(Wrong::from).and_then(|answer| {
            // Only an answer that Kinesis sent tells its time.
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
            self.note_renewed();
        }
        self.discovery.answered(id, self.clock.now);
        self.discovery.list(self.clock.now);
    }

    /// Goes on with a stream that was made in the place of the checkpoint's.
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
        // As one that comes back and finds nothing that it knows: what there is is new.
        self.resumed = true;
        self.stream = Arc::new(found);
        self.note_renewed();
        self.discovery.answered(id, self.clock.now);
        self.discovery.list(self.clock.now);
    }

    /// A page that was asked for at `sent`, when the service's time was `present` at the earliest.
    fn on_page(&mut self, page: AskedPage, sent: Instant, present: Timestamp) -> Result<(), Wrong> {
        let AskedPage { key, limit, held, mut page } = page;
        // One large page is enough to expect more of them; small ones are believed by and by.
        self.expected = held.max(self.expected / 2);
        let size = page.data_size();
        let skip = self.delivered_before(key, &page)?;
        self.adopt_children(&page)?;
        let allowed = self.allowed();
        let Some(shard) = self.shards.get_mut(key.0) else { return Ok(()) };
        let State::Reading { iterator, trouble, .. } = &shard.state else { return Ok(()) };
        // A page that was asked for earlier may be of a time when records were yet to come.
        let closed = shard.closed.is_some_and(|since| since <= sent);

        let is_news = is_news(&page, skip, &shard.position);
        let summary = PageSummary {
            behind: page.behind().unwrap_or(0),
            empty: !is_news,
            // Of a page that only repeats records nothing is known of what follows.
            full: page.len() >= limit as usize || size >= FULL_BYTES || (!is_news && !page.is_empty()),
            newest: page.arrivals().max().map(Timestamp),
            closed,
            asked: sent,
            present,
        };
        shard.idle = if is_news { 0 } else { shard.idle.saturating_add(1) };
        let paced = self.plan.pace.after_read(sent, size).max(pace::after_idle(sent, shard.idle));
        shard.paced = shard.paced.max(paced);
        shard.behind = Some(Duration::from_millis(summary.behind));
        let silent = summary.empty && page.next_iterator().is_none() && page.children().is_empty();
        if !summary.empty {
            shard.doubts = 0;
        } else if closed && silent && summary.behind > 0 {
            shard.doubts += 1;
        }
        let progress = shard.tip.observe(self.plan.until, self.clock.opened().latest, summary);

        let cut = match self.plan.until {
            Until::Time(end) => page.arrivals().position(|arrived| arrived >= end.0),
            Until::CaughtUp(_) | Until::Stopped => None,
        };
        if let Some(cut) = cut {
            page.truncate(cut.max(skip));
        }
        let mut messages = if self.plan.deaggregate {
            let first = page.record(skip).map(|record| record.sequence);
            let delivered = match &shard.position {
                Position::After(MessagePosition { sequence, subsequence }) if first == Some(sequence.as_str()) => {
                    *subsequence
                }
                Position::After(_) | Position::TrimHorizon | Position::At(_) | Position::End => None,
            };
            Messages::deaggregated(page, skip, shard.hash_range, delivered)
        } else {
            Messages::of_records(page, skip)
        };
        let stopped_short = messages.split_off(allowed).is_some();
        let page = messages.page();

        let seek = if page.len() > skip { Seek::Position } else { iterator.seek };
        let was_empty = page.is_empty();
        let then = if stopped_short {
            Then::Seek
        } else if cut.is_some() {
            Then::CaughtUp
        } else if let Some(next) = page.next_iterator() {
            match progress {
                Progress::Reached => Then::CaughtUp,
                Progress::Ended => Then::Drained,
                Progress::More => {
                    let is_first = iterator.is_first && was_empty;
                    let iterator = ShardIterator { text: next.to_owned(), born: sent, seek, is_first };
                    // A page of records that were delivered already is no success.
                    let trouble = match (is_news, was_empty) {
                        (true, _) => Trouble::default(),
                        // Nor does an empty page show that a later one will not lead back again.
                        (false, true) => Trouble { wrongs: trouble.wrongs, ..Trouble::default() },
                        (false, false) => *trouble,
                    };
                    Then::Read { iterator, trouble }
                }
            }
        } else if !page.children().is_empty() || (closed && (summary.behind == 0 || shard.doubts >= DOUBTS_MAX)) {
            Then::Drained
        } else {
            let why = if summary.behind == 0 { Why::Ended } else { Why::Doubtful };
            let trouble = if is_news { Trouble::default().failed() } else { trouble.failed() };
            Then::Ending { why, seek, trouble }
        };

        let behind = Duration::from_millis(summary.behind);
        let (batch, to, then) = self.make_batch(key, held, Rest { messages, behind, then })?;
        match was_empty {
            false => self.totals.pages += 1,
            true => self.totals.empty_pages += 1,
        }
        self.step(key, Event::Page { batch, to, then });
        self.end_if_limited();
        Ok(())
    }

    /// Returns the number of records at the start of a page that were delivered already. They are skipped, because they must
    /// not be delivered twice.
    ///
    /// Some emulators send the last record again when asked for what follows it, so the first page after a seek may begin
    /// with it. Kinesis never sends a later page that goes back, nor records out of order. Such a page is refused: a record
    /// that would be skipped there may never have been delivered.
    fn delivered_before(&self, key: ShardKey, page: &Page) -> Result<usize, Wrong> {
        if let Some(index) = page.disorder() {
            let why = format!("Records[{index}]: not after the record before it");
            return Err(Wrong { verdict: Verdict::Wrong, why });
        }
        let Some(Shard { state: State::Reading { iterator, .. }, position, .. }) = self.shards.get(key.0) else {
            return Ok(0);
        };
        let skip = page.records().take_while(|record| is_before(record.sequence, position)).count();
        if skip > 0 && !iterator.is_first {
            let why = "the next iterator leads back to records that were delivered before".to_owned();
            return Err(Wrong { verdict: Verdict::Astray, why });
        }
        Ok(skip)
    }

    /// Learns of the shards that a page names as following its own.
    fn adopt_children(&mut self, page: &Page) -> Result<(), Wrong> {
        let children = page.children();
        let wrong = |why| Wrong { verdict: Verdict::Wrong, why: format!("ChildShards: {why}") };
        self.lineage
            .check(children.iter().map(|child| (child.id.as_str(), child.parents.as_slice())))
            .map_err(wrong)?;
        if self.lineage.len() + children.len() > SHARDS_MAX {
            return Err(wrong(format!("the stream has more than {SHARDS_MAX} shards")));
        }
        let heard = self.discovery.begun;
        for child in page.children() {
            let key = match self.lineage.key(&child.id) {
                Some(key) => key,
                None => self.insert_new(&child.id, heard),
            };
            self.lineage.adopt(key, &child.parents);
            if let Some(shard) = self.shards.get_mut(key.0) {
                shard.hash_range = shard.hash_range.or(child.hash_range);
            }
        }
        Ok(())
    }

    fn on_trouble(&mut self, id: RequestId, sent: Sent, cause: Cause, verdict: Verdict) {
        let error = ServiceError {
            operation: sent.about.operation(),
            shard: self.shard_of(&sent),
            cause,
            attempts: self.trouble_of(&sent).attempts().saturating_add(1),
        };
        match verdict {
            Verdict::Throttled => self.totals.throttled += 1,
            Verdict::Failed | Verdict::Expired | Verdict::Wrong | Verdict::Astray => self.totals.retried += 1,
            Verdict::Trimmed | Verdict::Gone | Verdict::Refused => {}
        }
        match sent.about {
            About::Discovery(_) => self.on_discovery_trouble(id, error, verdict),
            About::ShardIterator(key) | About::Page(key, _) => {
                let event = match verdict {
                    Verdict::Throttled => Event::Throttled,
                    Verdict::Failed => Event::Failed,
                    Verdict::Expired => Event::Expired,
                    Verdict::Wrong => Event::Wrong,
                    Verdict::Astray => Event::Astray,
                    Verdict::Trimmed => Event::Trimmed,
                    Verdict::Gone => Event::Gone,
                    Verdict::Refused => Event::Refused,
                };
                // What an iterator showed of the tip is void once it led back.
                if verdict == Verdict::Astray
                    && let Some(shard) = self.shards.get_mut(key.0)
                {
                    shard.tip = Tip::new();
                }
                self.step(key, event);
                self.settle(key, error);
            }
        }
    }

    /// Tells of what went wrong with a shard: it is tried again, or the reader cannot go on.
    pub(super) fn settle(&mut self, key: ShardKey, error: ServiceError) {
        match self.shards.get(key.0).map(|shard| &shard.state) {
            Some(State::Failed) => self.end(Outcome::Failed(error)),
            Some(_) => self.outbox.push_back(Action::Notice(Notice::Retry(error))),
            None => {}
        }
    }

    fn trouble_of(&self, sent: &Sent) -> Trouble {
        match sent.about {
            About::Discovery(_) => match &self.discovery.phase {
                Phase::Asked { trouble, .. } | Phase::Due { trouble, .. } => *trouble,
                Phase::Resting { .. } => Trouble::default(),
            },
            About::ShardIterator(key) | About::Page(key, _) => {
                self.shards.get(key.0).map(|shard| shard.state.trouble()).unwrap_or_default()
            }
        }
    }

    fn shard_of(&self, sent: &Sent) -> Option<String> {
        match sent.about {
            About::Discovery(_) => None,
            About::ShardIterator(key) | About::Page(key, _) => {
                self.shards.get(key.0).map(|shard| (*shard.id).to_owned())
            }
        }
    }
}

impl About {
    fn operation(&self) -> Operation {
        match self {
            About::Discovery(operation) => *operation,
            About::ShardIterator(_) => Operation::GetShardIterator,
            About::Page(..) => Operation::GetRecords,
        }
    }
}

pub(super) fn no_sequence(text: &str) -> Wrong {
    Wrong { verdict: Verdict::Wrong, why: format!("no sequence number: {text:?}") }
}

/// Whether a page, of which `skip` records were delivered already, leads beyond a position.
fn is_news(page: &Page, skip: usize, position: &Position) -> bool {
    match page.record(page.len().wrapping_sub(1)) {
        // The record at the position may be an aggregate of which a part was delivered. Even if no message is left in it,
        // the position moves.
        Some(last) => page.len() > skip && !is_before(last.sequence, position),
        None => false,
    }
}

/// Whether the record of this number was delivered whole.
fn is_before(sequence: &str, position: &Position) -> bool {
    match (position, sequence.parse::<Sequence>()) {
        (Position::After(MessagePosition { sequence: last, subsequence: None }), Ok(sequence)) => sequence <= *last,
        (Position::After(MessagePosition { sequence: last, subsequence: Some(_) }), Ok(sequence)) => sequence < *last,
        (Position::End, Ok(_)) => true,
        (Position::TrimHorizon | Position::At(_), _) | (_, Err(_)) => false,
    }
}
