//! The life of a shard: its states, the events that change them, and what each change asks of the reader.
//!
//! ```text
//! Blocked    -> Seeking     all parents are drained
//! Blocked    -> CaughtUp    a parent is caught up, so the shard lies beyond what was asked for
//! Seeking    -> Sought      a shard iterator was requested
//! Sought     -> Ready       it came
//! Sought     -> Seeking     it did not, or the position has left the stream
//! Sought     -> Ending      the service does not know the shard
//! Sought     -> Failed      refused, or too many failures
//! Ready      -> Reading     a page was requested
//! Ready      -> Seeking     the shard iterator is too old to be used
//! Reading    -> Delivering  a page came with messages
//! Reading    -> Ready       an empty page came, or none
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
//! [`State::on`] is the whole table: it takes the state by value and returns the next one, so a half-changed state has no
//! name. `CaughtUp`, `Drained` and `Failed` are final. An event that cannot happen in a state is a bug in the reader, and
//! [`Effect::Impossible`] says so. How a shard goes on after a page is decided by [`conclude`](conclude::conclude).

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

/// An iterator, and the time when it was asked for: from then it ages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ShardIterator {
    pub(crate) text: String,
    pub(crate) born: Instant,
    /// Where its successor points, if it expires before a message came of it.
    pub(crate) seek: Seek,
    /// No record has been read with this iterator, or with its predecessors since the last seek.
    pub(crate) is_first: bool,
}

impl ShardIterator {
    /// Whether the service refuses it by now, so that it need not be asked.
    pub(crate) fn is_stale(&self, now: Instant) -> bool {
        now.since(self.born) >= ITERATOR_LIFE
    }
}

/// Where the next iterator points.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seek {
    /// To the shard's position.
    Position,
    /// To the tip, as the first run was asked.
    Latest,
    /// To the oldest record that is left, because the position has left the stream.
    Oldest,
}

impl Seek {
    /// Where to point when this did not succeed at once. What has come since the tip was first asked for is wanted, and
    /// the position says so; a place that has left the stream does not come back.
    fn again(self) -> Seek {
        match self {
            Seek::Position | Seek::Latest => Seek::Position,
            Seek::Oldest => Seek::Oldest,
        }
    }
}

/// Tries that did not succeed since the last page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// Those that count towards giving up.
    pub(crate) failures: u32,
    /// Those that do not: throttling, and iterators that expired at their age.
    pub(crate) delays: u32,
    /// Responses that contradict themselves or the service's model. Few of them lead to giving up.
    pub(crate) wrongs: u32,
}

/// The maximum number of responses in a row that contradict themselves or the service's model. Waiting does not change
/// what the service says, so a few attempts are enough.
pub(crate) const WRONGS_MAX: u32 = 4;

impl Trouble {
    pub(crate) fn attempts(self) -> u32 {
        self.failures.saturating_add(self.delays).saturating_add(self.wrongs)
    }

    /// Whether to give up, if so many failures are allowed.
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

/// Where a shard is in its life, with what belongs to that part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// A parent is not yet delivered to the end.
    Blocked { seek: Seek },
    /// Needs an iterator, to be asked for at `not_before`.
    Seeking { seek: Seek, not_before: Instant, trouble: Trouble },
    /// An iterator was asked for.
    Sought { seek: Seek, request: RequestId, sent: Instant, trouble: Trouble },
    /// Has an iterator, to be used at `not_before`.
    Ready { iterator: ShardIterator, not_before: Instant, trouble: Trouble },
    /// A page was asked for.
    Reading { iterator: ShardIterator, request: RequestId, sent: Instant, trouble: Trouble },
    /// A batch is with the host. Once it is safe, the shard's position moves to `to`.
    Delivering { batch: BatchId, to: Option<Position>, then: Then },
    /// A listing that begins after number `since` tells whether it goes on.
    Ending { since: u64, why: Why, seek: Seek, trouble: Trouble },
    /// Read as far as was asked.
    CaughtUp,
    /// Closed and delivered to the end.
    Drained,
    /// Given up.
    Failed,
}

/// Why a shard has no iterator any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// Its last page had no next iterator, and no lag.
    Ended,
    /// Its last page had no next iterator, and a lag: records may follow.
    Doubtful,
    /// The service said that there is no such shard: records may have been lost.
    Gone,
}

/// How a shard goes on after a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// With the next page.
    Read { iterator: ShardIterator, trouble: Trouble },
    /// With a new iterator, because what followed in the page is left for another time; or, if nothing comes between,
    /// with the next batch of the page.
    Seek,
    /// It was read as far as was asked.
    CaughtUp,
    /// It is closed, and that was all.
    Drained,
    /// It has no next iterator, and nothing is known that would explain it.
    Ending { why: Why, seek: Seek, trouble: Trouble },
}

/// What happens to a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// All its parents are delivered to the end.
    Unblocked,
    /// A parent is read as far as was asked and not to its end, so that the shard is beyond that too.
    Beyond,
    /// The shard iterator is too old to be used.
    Stale,
    /// The request for a shard iterator or for a page was given out.
    Sent { request: RequestId },
    /// The iterator came.
    ShardIterator { text: String },
    /// A page came, with a batch unless no message was in it. `to` is where the shard's position moves with the page, once
    /// the batch is safe.
    Page { batch: Option<BatchId>, to: Option<Position>, then: Then },
    /// The batch is safe.
    Delivered,
    /// The batch is safe, and the next one is of the same page.
    Next { batch: BatchId, to: Option<Position>, then: Then },
    /// A request for a shard iterator or a page did not succeed.
    Failed(Verdict),
    /// A listing that began after number `number - 1` is complete and shows the shard so.
    Listed { number: u64, shown: Shown },
}

/// What a request that did not succeed means for the shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The service is asked for too much.
    Throttled,
    /// A failure that may pass.
    Transient,
    /// A failure that will not.
    Fatal,
    /// The shard iterator, or the token of a listing, is too old.
    Expired,
    /// The response contradicts itself or the service's model.
    Wrong,
    /// The shard iterator led back to records that were delivered.
    Astray,
    /// The position has left the stream.
    Trimmed,
    /// The service knows no such shard.
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
    /// Records may have left the stream unread: it is to be told.
    Gap,
    /// The shards must be listed.
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

    /// With the position moved at least to `to`. The end, where that is next, is further than any message.
    fn past(self, to: Option<Position>) -> Step {
        Step { position: self.position.or(to), ..self }
    }
}

/// What the table needs to know beside state and event.
pub(crate) struct Context<'a> {
    pub(crate) now: Instant,
    pub(crate) backoff_first: Duration,
    pub(crate) backoff_max: Duration,
    pub(crate) failures: Option<u32>,
    /// Listings begun so far.
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
            // Records may have arrived between a false end and the true one, so the shard is read once more. An end of a
            // shard that is known to be closed is believed.
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
            // Only a batch that leaves some of its page says `Seek`.
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

    /// The state as the host is told.
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
