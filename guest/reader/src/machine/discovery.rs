//! Discovery: learning what the stream is and which shards it has.
//!
//! First the stream is described, which gives its ARN and creation time; if that is denied, the reader continues
//! without them. Then its shards are listed, page by page. The listing is repeated at an interval, and sooner if a
//! shard ends without naming its children. Only one request is in flight at a time.

use crate::ids::RequestId;
use crate::machine::listing::Listing;
use crate::machine::shard::Trouble;
use crate::time::Instant;

/// The state of discovery.
#[derive(Debug)]
pub(crate) struct Discovery {
    pub(crate) phase: Phase,
    /// The number of listings begun.
    pub(crate) begun: u64,
    /// The number of the last complete listing; 0 before the first.
    pub(crate) complete: u64,
    /// Consecutive listings that did not complete and were started again.
    pub(crate) restarts: u32,
    /// Whether to list again as soon as the current listing is complete.
    list_again: bool,
}

#[derive(Debug)]
pub(crate) enum Phase {
    /// The next request may be sent at `not_before`.
    Due { step: Step, not_before: Instant, trouble: Trouble },
    /// Waiting for an answer.
    Asked { step: Step, request: RequestId, trouble: Trouble },
    /// The last listing is complete. The next one begins at `until`.
    Resting { until: Instant },
}

/// What to request next.
#[derive(Debug)]
pub(crate) enum Step {
    /// A description of the stream.
    Describe,
    /// The next page of this listing.
    List(Listing),
}

impl Step {
    pub(crate) fn first_page() -> Step {
        Step::List(Listing::default())
    }
}

impl Discovery {
    pub(crate) fn new(now: Instant) -> Discovery {
        let phase = Phase::Due { step: Step::Describe, not_before: now, trouble: Trouble::default() };
        Discovery { phase, begun: 0, complete: 0, restarts: 0, list_again: false }
    }

    /// Makes sure that there will be a listing that begins no earlier than now.
    pub(crate) fn want(&mut self, now: Instant) {
        match &self.phase {
            Phase::Resting { .. } => self.list(now),
            // These will begin a listing anyway.
            Phase::Due { step: Step::Describe, .. } => {}
            Phase::Due { step: Step::List(listing), .. } if listing.token().is_none() => {}
            Phase::Due { step: Step::List(_), .. } | Phase::Asked { .. } => self.list_again = true,
        }
    }

    /// Begins a listing at `not_before`.
    pub(crate) fn list(&mut self, not_before: Instant) {
        self.phase = Phase::Due { step: Step::first_page(), not_before, trouble: Trouble::default() };
    }

    /// Called when the first page of a listing is requested.
    pub(crate) fn begin(&mut self) {
        self.begun += 1;
        self.list_again = false;
    }

    /// Called when the current listing is complete. Rests until the given time, unless another listing is wanted.
    pub(crate) fn rest(&mut self, now: Instant, until: Instant) {
        self.complete = self.begun;
        self.restarts = 0;
        if self.list_again {
            self.list(now);
        } else {
            self.phase = Phase::Resting { until };
        }
    }

    /// Returns when the next request may be sent, or `None` if one is in flight.
    pub(crate) fn due(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Due { not_before, .. } => Some(*not_before),
            Phase::Resting { until } => Some(*until),
            Phase::Asked { .. } => None,
        }
    }

    /// Whether no listing is in progress or wanted.
    pub(crate) fn is_resting(&self) -> bool {
        match &self.phase {
            Phase::Resting { .. } => true,
            Phase::Due { .. } | Phase::Asked { .. } => false,
        }
    }

    /// Takes the step whose request was answered. Returns `None` if this request is not the one in flight.
    pub(crate) fn answered(&mut self, request: RequestId, now: Instant) -> Option<(Step, Trouble)> {
        let due = Phase::Due { step: Step::Describe, not_before: now, trouble: Trouble::default() };
        match core::mem::replace(&mut self.phase, due) {
            Phase::Asked { step, request: asked, trouble } if asked == request => Some((step, trouble)),
            phase @ (Phase::Asked { .. } | Phase::Due { .. } | Phase::Resting { .. }) => {
                self.phase = phase;
                None
            }
        }
    }
}
