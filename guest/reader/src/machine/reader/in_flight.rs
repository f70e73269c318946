//! The requests that have been sent and not answered.

use alloc::collections::BTreeMap;

use crate::ids::RequestId;
use crate::machine::lineage::ShardKey;
use crate::time::Instant;
use crate::wire::Operation;

/// A request that was sent.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) about: About,
    pub(super) sent: Instant,
    pub(super) deadline: Instant,
}

/// What a request is about.
#[derive(Clone, Copy, Debug)]
pub(super) enum About {
    Discovery(Operation),
    ShardIterator(ShardKey),
    /// `limit`: the number of records requested.
    Page(ShardKey, u32),
}

impl About {
    pub(super) fn operation(self) -> Operation {
        match self {
            About::Discovery(operation) => operation,
            About::ShardIterator(_) => Operation::GetShardIterator,
            About::Page(..) => Operation::GetRecords,
        }
    }

    /// The shard that the request is about.
    pub(super) fn shard(self) -> Option<ShardKey> {
        match self {
            About::Discovery(_) => None,
            About::ShardIterator(key) | About::Page(key, _) => Some(key),
        }
    }
}

/// The requests in flight.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    /// All have the same time to live, so the first one is the first to expire.
    requests: BTreeMap<RequestId, Sent>,
    made: u64,
    /// Of `requests`, those for a page.
    pages: usize,
}

impl InFlight {
    pub(super) fn add(&mut self, about: About, sent: Instant, deadline: Instant) -> RequestId {
        let id = self.next_id();
        self.made += 1;
        self.pages += usize::from(matches!(about, About::Page(..)));
        self.requests.insert(id, Sent { about, sent, deadline });
        id
    }

    /// The identifier of the request that is added next.
    pub(super) fn next_id(&self) -> RequestId {
        RequestId(self.made)
    }

    /// Whether there ever was such a request.
    pub(super) fn was_made(&self, id: RequestId) -> bool {
        id.0 < self.made
    }

    pub(super) fn take(&mut self, id: RequestId) -> Option<Sent> {
        let sent = self.requests.remove(&id)?;
        self.pages -= usize::from(matches!(sent.about, About::Page(..)));
        Some(sent)
    }

    /// Takes a request whose deadline has passed.
    pub(super) fn take_expired(&mut self, now: Instant) -> Option<(RequestId, Sent)> {
        let (&id, _) = self.requests.first_key_value().filter(|(_, sent)| sent.deadline <= now)?;
        self.take(id).map(|sent| (id, sent))
    }

    /// The earliest deadline.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.requests.values().next().map(|sent| sent.deadline)
    }

    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }

    /// The number of pages in flight.
    pub(super) fn pages(&self) -> usize {
        self.pages
    }

    pub(super) fn clear(&mut self) {
        self.requests.clear();
        self.pages = 0;
    }
}
