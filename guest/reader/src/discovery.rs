//! Learning what the stream is and which shards it has.
//!
//! First the stream is described, which gives its ARN and the time of its creation; where that is denied, the reader
//! goes on without. Then its shards are listed, page by page, again and again at an interval, and sooner when a shard
//! ends without naming its children. One request is out at a time.

use crate::action::RequestId;
use crate::listing::Listing;
use crate::shard::Trouble;
use crate::time::Instant;

/// Where the discovery is.
#[derive(Debug)]
pub(crate) struct Discovery {
    pub(crate) phase: Phase,
    /// Listings begun.
    pub(crate) begun: u64,
    /// The number of the last complete listing; 0 before the first.
    pub(crate) complete: u64,
    /// Consecutive listings that did not complete and were started again.
    pub(crate) restarts: u32,
    /// A listing is wanted that begins after the one under way.
    again: bool,
}

#[derive(Debug)]
pub(crate) enum Phase {
    /// The next request may be sent at `not_before`.
    Due { step: Step, not_before: Instant, trouble: Trouble },
    /// A request is out.
    Asked { step: Step, request: RequestId, trouble: Trouble },
    /// The last listing is complete.
    Resting { until: Instant },
}

/// What the discovery is at.
#[derive(Debug)]
pub(crate) enum Step {
    /// The description of the stream.
    Describe,
    /// The next page of a listing.
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
        Discovery { phase, begun: 0, complete: 0, restarts: 0, again: false }
    }

    /// Wants a listing that begins from here on.
    pub(crate) fn want(&mut self, now: Instant) {
        match &self.phase {
            Phase::Resting { .. } => self.list(now),
            // Before its first request a listing is as good as one that is wanted.
            Phase::Due { step: Step::Describe, .. } => {}
            Phase::Due { step: Step::List(listing), .. } if listing.token().is_none() => {}
            Phase::Due { step: Step::List(_), .. } | Phase::Asked { .. } => self.again = true,
        }
    }

    /// Lets a listing begin at `not_before`.
    pub(crate) fn list(&mut self, not_before: Instant) {
        self.phase = Phase::Due { step: Step::first_page(), not_before, trouble: Trouble::default() };
    }

    /// The first page of a listing is asked for.
    pub(crate) fn begin(&mut self) {
        self.begun += 1;
        self.again = false;
    }

    /// The listing under way is complete.
    pub(crate) fn rest(&mut self, now: Instant, until: Instant) {
        self.complete = self.begun;
        self.restarts = 0;
        if self.again {
            self.list(now);
        } else {
            self.phase = Phase::Resting { until };
        }
    }

    /// When the next request may be sent, unless one is out.
    pub(crate) fn due(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Due { not_before, .. } => Some(*not_before),
            Phase::Resting { until } => Some(*until),
            Phase::Asked { .. } => None,
        }
    }

    /// Whether nothing is under way or wanted.
    pub(crate) fn is_resting(&self) -> bool {
        match &self.phase {
            Phase::Resting { .. } => true,
            Phase::Due { .. } | Phase::Asked { .. } => false,
        }
    }

    /// Takes the step whose request was answered. None: no request is out.
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
