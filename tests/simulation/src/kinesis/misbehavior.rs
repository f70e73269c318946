//! What Kinesis never does, but a broken service or proxy may: responses that contradict each other, and responses that
//! would keep a naive reader busy forever.

use super::Kinesis;

/// A way in which the service misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misbehavior {
    /// The token on a page of a listing leads to the same page.
    TokenToItself,
    /// The token on a page of a listing leads to an earlier page.
    TokenToEarlier,
    /// Pages of a listing are empty but have a new token.
    TokenToNothing,
    /// A shard is listed as its own parent.
    OwnParent,
    /// A shard is listed as a child of its child.
    Cycle,
    /// A shard is listed as a child of a newer shard that no listing shows.
    UnlistedParent,
    /// A shard is listed with an identifier that the service's model forbids.
    ForbiddenId,
    /// The last page of a shard names the shard itself as its child.
    OwnChild,
    /// A shard closes as soon as it has been read to its tip, and so does the child that replaces it.
    Chase,
    /// The next iterator of a page leads to the same page.
    IteratorToItself,
    /// An iterator points to the oldest record instead of the requested sequence number.
    IteratorToOldest,
    /// The records of a page are in reverse order.
    Disorder,
    /// An iterator expires before it is used.
    ExpiredAtOnce,
    /// Pages of open shards have no next iterator.
    NoIterator,
}

impl Misbehavior {
    pub const ALL: [Misbehavior; 14] = [
        Misbehavior::TokenToItself,
        Misbehavior::TokenToEarlier,
        Misbehavior::TokenToNothing,
        Misbehavior::OwnParent,
        Misbehavior::Cycle,
        Misbehavior::UnlistedParent,
        Misbehavior::ForbiddenId,
        Misbehavior::OwnChild,
        Misbehavior::Chase,
        Misbehavior::IteratorToItself,
        Misbehavior::IteratorToOldest,
        Misbehavior::Disorder,
        Misbehavior::ExpiredAtOnce,
        Misbehavior::NoIterator,
    ];

    /// The name under which a doomed run counts, in which every response misbehaves in this way.
    pub fn forever(self) -> &'static str {
        match self {
            Misbehavior::TokenToItself => "forever: token to the same page",
            Misbehavior::TokenToEarlier => "forever: token to an earlier page",
            Misbehavior::TokenToNothing => "forever: token to an empty page",
            Misbehavior::OwnParent => "forever: shard that is its own parent",
            Misbehavior::Cycle => "forever: shards that are each other's parents",
            Misbehavior::UnlistedParent => "forever: unlisted parent",
            Misbehavior::ForbiddenId => "forever: forbidden identifier",
            Misbehavior::OwnChild => "forever: shard that is its own child",
            Misbehavior::Chase => "forever: shards that close at once",
            Misbehavior::IteratorToItself => "forever: iterator to the same page",
            Misbehavior::IteratorToOldest => "forever: iterator to the oldest record",
            Misbehavior::Disorder => "forever: records out of order",
            Misbehavior::ExpiredAtOnce => "forever: iterator that expires at once",
            Misbehavior::NoIterator => "forever: no next iterator",
        }
    }
}

impl Kinesis {
    /// Draws whether the service misbehaves in this way now.
    pub(super) fn misbehaves(&mut self, how: Misbehavior) -> bool {
        match self.quirks.misbehavior {
            Some((drawn, share)) if drawn == how => self.chance.percent(share),
            Some(_) | None => false,
        }
    }
}
