//! The life of a shard: its states, the events that change them, and what each change asks of the reader.
//!
//! ```text
//! Blocked    -> Seeking     all parents are drained
//! Blocked    -> CaughtUp    a parent is caught up, so this shard is beyond what was requested
//! Seeking    -> Sought      a shard iterator was requested
//! Sought     -> Ready       it was received
//! Sought     -> Seeking     the request failed, or the position has left the stream
//! Sought     -> Ending      the service does not know the shard
//! Sought     -> Failed      refused, or too many failures
//! Ready      -> Reading     a page was requested
//! Ready      -> Seeking     the shard iterator is too old to be used
//! Reading    -> Delivering  a page with messages was received
//! Reading    -> Ready       the page is empty, or the request failed
//! Reading    -> Seeking     the shard iterator expired or led back, or the position has left the stream
//! Reading    -> Ending      no next shard iterator, and nothing that explains it
//! Reading    -> CaughtUp    an empty page at the tip, or past the time to read until
//! Reading    -> Drained     no next shard iterator, and the shard is closed
//! Reading    -> Failed      refused, or too many failures
//! Delivering -> Delivering  delivered, and more batches of the page follow
//! Delivering -> Ready       delivered
//! Delivering -> Seeking     delivered, and the rest of the page is to be requested again
//! Delivering -> Ending      delivered, as for Reading
//! Delivering -> CaughtUp    delivered, as for Reading
//! Delivering -> Drained     delivered, as for Reading
//! Ending     -> Seeking     a later listing shows the shard: there is more to read, or the end is to be confirmed
//! Ending     -> Drained     a later listing does not show it any more
//! Ending     -> Failed      too many failures
//! ```
//!
//! [`State::on`] is the whole table: it takes the state by value and returns the next one, so a half-changed state has
//! no name. `CaughtUp`, `Drained` and `Failed` are final. An event that cannot happen in a state is a bug in the
//! reader, and [`Effect::Impossible`] says so. How a shard goes on after a page is decided by
//! [`conclude`](conclude::conclude).

use alloc::string::String;
use core::time::Duration;

use crate::action::ShardState;
use crate::checkpoint::Position;
use crate::ids::{BatchId, RequestId};
use crate::machine::backoff;
use crate::machine::rng::Rng;
use crate::time::Instant;

pub(crate) mod conclude;

/// "A shard iterator expires 5 minutes after it is returned to the requester"
/// (<https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetShardIterator.html>).
const ITERATOR_LIFE: Duration = Duration::from_secs(5 * 60);

/// A shard iterator, and when it was requested, which is when its life begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ShardIterator {
    pub(crate) text: String,
    pub(crate) born: Instant,
    /// Where the next one points, if this one expires before it returns a message.
    pub(crate) seek: Seek,
    /// No record was read with this shard iterator, nor with those before it since the last seek.
    pub(crate) is_first: bool,
}

impl ShardIterator {
    /// Whether it has expired by now, so that a request with it would fail.
    pub(crate) fn is_stale(&self, now: Instant) -> bool {
        now.since(self.born) >= ITERATOR_LIFE
    }
}

/// Where the next shard iterator points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seek {
    /// To the shard's position.
    Position,
    /// To the tip, where the first run starts with `latest`.
    Latest,
    /// To the oldest record in the stream, because the position has left it.
    Oldest,
}

impl Seek {
    /// Where to point after a failure. Records that arrived since the tip was first requested are wanted, so the
    /// position decides from then on. A position that has left the stream does not come back.
    fn again(self) -> Seek {
        match self {
            Seek::Position | Seek::Latest => Seek::Position,
            Seek::Oldest => Seek::Oldest,
        }
    }
}

/// The failed attempts since the last page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// Those that count towards giving up.
    pub(crate) failures: u32,
    /// Those that do not: throttling, and shard iterators that expired after their five minutes.
    pub(crate) delays: u32,
    /// Responses that contradict themselves or the service's model. Few of them lead to giving up.
    pub(crate) wrongs: u32,
}

/// The maximum number of consecutive responses that contradict themselves or the service's model. Waiting does not
/// change what the service says, so a few attempts are enough.
pub(crate) const WRONGS_MAX: u32 = 4;

impl Trouble {
    pub(crate) fn attempts(self) -> u32 {
        self.failures.saturating_add(self.delays).saturating_add(self.wrongs)
    }

    /// Whether to give up, if `most` failures are allowed.
    pub(crate) fn is_too_much(self, most: Option<u32>) -> bool {
        most.is_some_and(|most| self.failures >= most || self.wrongs >= most.min(WRONGS_MAX))
    }

    pub(crate) fn failed(self) -> Trouble {
        Trouble { failures: self.failures.saturating_add(1), ..self }
    }

    pub(crate) fn delayed(self) -> Trouble {
        Trouble { delays: self.delays.saturating_add(1), ..self }
    }

    pub(crate) fn wronged(self) -> Trouble {
        Trouble { wrongs: self.wrongs.saturating_add(1), ..self }
    }
}

/// What the reader is doing with a shard, and the data for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// A parent is not drained yet.
    Blocked { seek: Seek },
    /// Needs a shard iterator, to be requested at `not_before`.
    Seeking { seek: Seek, not_before: Instant, trouble: Trouble },
    /// A shard iterator was requested.
    Sought { seek: Seek, request: RequestId, sent: Instant, trouble: Trouble },
    /// Has a shard iterator, to be used at `not_before`.
    Ready { iterator: ShardIterator, not_before: Instant, trouble: Trouble },
    /// A page was requested.
    Reading { iterator: ShardIterator, request: RequestId, sent: Instant, trouble: Trouble },
    /// The host has a batch. Once it is delivered, the shard's position moves to `to`.
    Delivering { batch: BatchId, to: Option<Position>, then: Then },
    /// A listing that begins after number `since` shows whether the shard goes on.
    Ending { since: u64, why: Why, seek: Seek, trouble: Trouble },
    /// Read as far as requested.
    CaughtUp,
    /// Closed and delivered to the end.
    Drained,
    /// Given up.
    Failed,
}

/// Why a shard has no shard iterator any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// Its last page had no next shard iterator and no lag.
    Ended,
    /// Its last page had no next shard iterator but a lag, so records may follow.
    Doubtful,
    /// The service does not know the shard, so records may have left the stream unread.
    Gone,
}

/// How a shard goes on after a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// With the next page.
    Read { iterator: ShardIterator, trouble: Trouble },
    /// With a new shard iterator, because the rest of the page is read later; or with the next batch of the page, if
    /// there is one.
    Seek,
    /// It was read as far as requested.
    CaughtUp,
    /// It is closed and was read to its end.
    Drained,
    /// It has no next shard iterator, and nothing explains why.
    Ending { why: Why, seek: Seek, trouble: Trouble },
}

/// What happens to a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// All its parents are drained.
    Unblocked,
    /// A parent was read as far as requested, but not to its end, so this shard is beyond what was requested.
    Beyond,
    /// The shard iterator is too old to be used.
    Stale,
    /// The request for a shard iterator or a page was handed to the host.
    Sent { request: RequestId },
    /// The shard iterator was received.
    ShardIterator { text: String },
    /// A page was received, with a batch unless it has no message. `to` is where the shard's position moves once the
    /// batch is delivered.
    Page { batch: Option<BatchId>, to: Option<Position>, then: Then },
    /// The batch was delivered.
    Delivered,
    /// The batch was delivered, and the next one is from the same page.
    Next { batch: BatchId, to: Option<Position>, then: Then },
    /// A request for a shard iterator or a page did not succeed.
    Failed(Verdict),
    /// Listing number `number` is complete and shows the shard like this.
    Listed { number: u64, shown: Shown },
}

/// What a failed request means for its shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The request was throttled.
    Throttled,
    /// A retry may help.
    Transient,
    /// A retry does not help.
    Fatal,
    /// The shard iterator, or the token of a listing, is too old.
    Expired,
    /// The response contradicts itself or the service's model.
    Wrong,
    /// The shard iterator led back to records that were delivered.
    Astray,
    /// The position has left the stream.
    Trimmed,
    /// The service does not know the shard.
    Gone,
}

/// A shard in a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    Open,
    Closed,
    Absent,
}

/// What the shards of a queue wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queue {
    /// To request a shard iterator.
    Seeking,
    /// To request a page.
    Ready,
}

/// The next state, and what it asks of the reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) state: State,
    /// Where the shard's position moves.
    pub(crate) position: Option<Position>,
    pub(crate) effect: Effect,
}

/// What a change of state asks of the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Nothing,
    /// Report a gap, because records may have left the stream unread.
    Gap,
    /// List the shards.
    List,
    /// The event cannot happen in this state, which stays as it is.
    Impossible,
}

impl Step {
    fn to(state: State) -> Step {
        Step { state, position: None, effect: Effect::Nothing }
    }

    fn impossible(state: State) -> Step {
        Step { state, position: None, effect: Effect::Impossible }
    }

    fn drained(effect: Effect) -> Step {
        Step { state: State::Drained, position: Some(Position::End), effect }
    }

    /// Moves the position to `to`, unless it moves to the end, which is further than any message.
    fn past(self, to: Option<Position>) -> Step {
        Step { position: self.position.or(to), ..self }
    }
}

/// What the table needs besides state and event.
pub(crate) struct Context<'a> {
    pub(crate) now: Instant,
    pub(crate) backoff_first: Duration,
    pub(crate) backoff_max: Duration,
    pub(crate) failures: Option<u32>,
    /// The number of listings begun so far.
    pub(crate) listings: u64,
    /// When the pace allows the shard to be read again, whatever happened to the last read.
    pub(crate) paced: Instant,
    pub(crate) rng: &'a mut Rng,
}

impl Context<'_> {
    fn pause(&mut self, trouble: Trouble) -> Instant {
        self.now + backoff::pause(self.backoff_first, self.backoff_max, trouble.attempts(), self.rng)
    }

    fn too_many(&self, trouble: Trouble) -> bool {
        trouble.is_too_much(self.failures)
    }

    fn seek_again(&mut self, seek: Seek, trouble: Trouble) -> State {
        if self.too_many(trouble) {
            return State::Failed;
        }
        State::Seeking { seek, not_before: self.pause(trouble), trouble }
    }

    fn read_again(&mut self, iterator: ShardIterator, trouble: Trouble) -> State {
        if self.too_many(trouble) {
            return State::Failed;
        }
        State::Ready { iterator, not_before: self.pause(trouble).max(self.paced), trouble }
    }

    fn trimmed(&mut self, seek: Seek, trouble: Trouble) -> Step {
        match seek {
            Seek::Position | Seek::Latest => Step {
                state: State::Seeking { seek: Seek::Oldest, not_before: self.now, trouble },
                position: None,
                effect: Effect::Gap,
            },
            // There is nothing older than the oldest: the service contradicts itself.
            Seek::Oldest => Step::to(self.seek_again(Seek::Oldest, trouble.failed())),
        }
    }

    fn gone(&self, seek: Seek, trouble: Trouble) -> Step {
        let trouble = trouble.failed();
        if self.too_many(trouble) {
            return Step::to(State::Failed);
        }
        let state = State::Ending { since: self.listings, why: Why::Gone, seek: seek.again(), trouble };
        Step { state, position: None, effect: Effect::List }
    }

    /// The request for a shard iterator did not succeed.
    fn seek_failed(
        &mut self,
        seek: Seek,
        request: RequestId,
        sent: Instant,
        trouble: Trouble,
        verdict: Verdict,
    ) -> Step {
        match verdict {
            Verdict::Throttled => Step::to(self.seek_again(seek.again(), trouble.delayed())),
            // There is no shard iterator yet that could expire.
            Verdict::Transient | Verdict::Expired => Step::to(self.seek_again(seek.again(), trouble.failed())),
            Verdict::Wrong => Step::to(self.seek_again(seek.again(), trouble.wronged())),
            Verdict::Trimmed => self.trimmed(seek, trouble),
            Verdict::Gone => self.gone(seek, trouble),
            Verdict::Fatal => Step::to(State::Failed),
            // Only a page leads back.
            Verdict::Astray => Step::impossible(State::Sought { seek, request, sent, trouble }),
        }
    }

    /// The request for a page did not succeed.
    fn read_failed(&mut self, iterator: ShardIterator, trouble: Trouble, verdict: Verdict) -> Step {
        match verdict {
            // A shard iterator that expires early counts as a failure, because the next one may expire early too.
            Verdict::Expired => {
                let trouble = if iterator.is_stale(self.now) { trouble.delayed() } else { trouble.failed() };
                Step::to(self.seek_again(iterator.seek, trouble))
            }
            Verdict::Throttled => Step::to(self.read_again(iterator, trouble.delayed())),
            Verdict::Transient => Step::to(self.read_again(iterator, trouble.failed())),
            Verdict::Wrong => Step::to(self.read_again(iterator, trouble.wronged())),
            Verdict::Astray => Step::to(self.seek_again(iterator.seek, trouble.wronged())),
            Verdict::Trimmed => self.trimmed(iterator.seek, trouble),
            Verdict::Gone => self.gone(iterator.seek, trouble),
            Verdict::Fatal => Step::to(State::Failed),
        }
    }

    /// A listing shows a shard that has no shard iterator any more.
    fn listed(&mut self, shown: Shown, why: Why, seek: Seek, trouble: Trouble) -> Step {
        match (shown, why) {
            // Records may have arrived between a false end and the true one, so the shard is read once more. An end of
            // a shard that is known to be closed is believed.
            (Shown::Closed, Why::Ended) => Step::to(State::Seeking { seek, not_before: self.now, trouble }),
            // The end may have been false, and records that followed it may have left with the shard.
            (Shown::Absent, Why::Ended | Why::Doubtful | Why::Gone) => Step::drained(Effect::Gap),
            (Shown::Open, Why::Ended | Why::Doubtful | Why::Gone) | (Shown::Closed, Why::Doubtful | Why::Gone) => {
                Step::to(self.seek_again(seek, trouble))
            }
        }
    }

    fn go_on(&self, then: Then) -> Step {
        match then {
            Then::Read { iterator, trouble } => {
                Step::to(State::Ready { iterator, not_before: self.now.max(self.paced), trouble })
            }
            Then::Seek => {
                let trouble = Trouble::default();
                Step::to(State::Seeking { seek: Seek::Position, not_before: self.now, trouble })
            }
            Then::CaughtUp => Step::to(State::CaughtUp),
            Then::Drained => Step::drained(Effect::Nothing),
            Then::Ending { why, seek, trouble } => Step {
                state: State::Ending { since: self.listings, why, seek, trouble },
                position: None,
                effect: Effect::List,
            },
        }
    }
}

impl State {
    /// The next state, and what it asks of the reader.
    pub(crate) fn on(self, event: Event, cx: &mut Context<'_>) -> Step {
        match (self, event) {
            (State::Blocked { seek }, Event::Unblocked) => {
                Step::to(State::Seeking { seek, not_before: cx.now.max(cx.paced), trouble: Trouble::default() })
            }
            (State::Blocked { .. }, Event::Beyond) => Step::to(State::CaughtUp),

            (State::Seeking { seek, not_before: _, trouble }, Event::Sent { request }) => {
                Step::to(State::Sought { seek, request, sent: cx.now, trouble })
            }

            (State::Sought { seek, request: _, sent, trouble }, Event::ShardIterator { text }) => {
                let iterator = ShardIterator { text, born: sent, seek: seek.again(), is_first: true };
                Step::to(State::Ready { iterator, not_before: cx.now.max(cx.paced), trouble })
            }
            (State::Sought { seek, request, sent, trouble }, Event::Failed(verdict)) => {
                cx.seek_failed(seek, request, sent, trouble, verdict)
            }

            (State::Ready { iterator, not_before: _, trouble }, Event::Sent { request }) => {
                Step::to(State::Reading { iterator, request, sent: cx.now, trouble })
            }
            (State::Ready { iterator, not_before: _, trouble }, Event::Stale) => {
                Step::to(State::Seeking { seek: iterator.seek, not_before: cx.now, trouble })
            }

            (State::Reading { .. }, Event::Page { batch: Some(batch), to, then }) => {
                Step::to(State::Delivering { batch, to, then })
            }
            (State::Reading { .. }, Event::Page { batch: None, to, then }) => cx.go_on(then).past(to),
            (State::Reading { iterator, request: _, sent: _, trouble }, Event::Failed(verdict)) => {
                cx.read_failed(iterator, trouble, verdict)
            }

            (State::Delivering { batch: _, to, then }, Event::Delivered) => cx.go_on(then).past(to),
            // Only a batch that leaves some of its page for later has `Then::Seek`.
            (State::Delivering { batch: _, to: done, then: Then::Seek }, Event::Next { batch, to, then }) => {
                Step { state: State::Delivering { batch, to, then }, position: done, effect: Effect::Nothing }
            }

            // A listing that began earlier may be older than what the shard said: it is ignored.
            (state @ State::Ending { since, .. }, Event::Listed { number, shown: _ }) if number <= since => {
                Step::to(state)
            }
            (State::Ending { since: _, why, seek, trouble }, Event::Listed { number: _, shown }) => {
                cx.listed(shown, why, seek, trouble)
            }

            (state, _) => Step::impossible(state),
        }
    }

    /// The queue that a shard in this state waits in, and the time it waits for.
    pub(crate) fn queue(&self) -> Option<(Queue, Instant)> {
        match self {
            State::Seeking { not_before, .. } => Some((Queue::Seeking, *not_before)),
            State::Ready { not_before, .. } => Some((Queue::Ready, *not_before)),
            State::Blocked { .. }
            | State::Sought { .. }
            | State::Reading { .. }
            | State::Delivering { .. }
            | State::Ending { .. }
            | State::CaughtUp
            | State::Drained
            | State::Failed => None,
        }
    }

    /// Whether nothing more will happen in this run.
    pub(crate) fn is_final(&self) -> bool {
        match self {
            State::CaughtUp | State::Drained | State::Failed => true,
            State::Blocked { .. }
            | State::Seeking { .. }
            | State::Sought { .. }
            | State::Ready { .. }
            | State::Reading { .. }
            | State::Delivering { .. }
            | State::Ending { .. } => false,
        }
    }

    /// The state as the host sees it.
    pub(crate) fn shown(&self) -> ShardState {
        match self {
            State::Blocked { .. } => ShardState::Blocked,
            State::Seeking { .. } => ShardState::Seeking,
            State::Sought { .. } => ShardState::Sought,
            State::Ready { .. } => ShardState::Ready,
            State::Reading { .. } => ShardState::Reading,
            State::Delivering { .. } => ShardState::Delivering,
            State::Ending { .. } => ShardState::Ending,
            State::CaughtUp => ShardState::CaughtUp,
            State::Drained => ShardState::Drained,
            State::Failed => ShardState::Failed,
        }
    }

    pub(crate) fn trouble(&self) -> Trouble {
        match self {
            State::Seeking { trouble, .. }
            | State::Sought { trouble, .. }
            | State::Ready { trouble, .. }
            | State::Reading { trouble, .. }
            | State::Ending { trouble, .. } => *trouble,
            State::Blocked { .. } | State::Delivering { .. } | State::CaughtUp | State::Drained | State::Failed => {
                Trouble::default()
            }
        }
    }
}

#[cfg(test)]
mod tests;
