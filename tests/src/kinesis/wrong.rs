//! What Kinesis never does, but a broken service or a proxy may do: responses that contradict each other, and responses
//! that lead to more of them forever.

use super::Kinesis;

/// A way to be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// The token of a listing's page leads to the same page.
    TokenToItself,
    /// The token leads to an earlier page.
    TokenToEarlier,
    /// A page of a listing is empty and has a new token.
    TokenToNothing,
    /// A shard is listed as its own parent.
    OwnParent,
    /// A shard is listed as a child of its child.
    Cycle,
    /// A shard is listed as a child of a younger shard that no listing shows.
    ParentToCome,
    /// A shard is listed with an identifier that the service's model forbids.
    ForbiddenId,
    /// The last page of a shard names the shard itself as its child.
    OwnChild,
    /// A shard ends as soon as it has been read to its tip, and so does the shard that follows it.
    Chase,
    /// The next iterator of a page leads to the same page.
    IteratorToItself,
    /// An iterator leads to the oldest record, whatever sequence number was asked for.
    IteratorToOldest,
    /// The records of a page are in reverse order.
    Disorder,
    /// An iterator expires before it is used.
    ExpiredAtOnce,
    /// Pages of open shards have no next iterator.
    NoIterator,
}

impl Wrong {
    pub const ALL: [Wrong; 14] = [
        Wrong::TokenToItself,
        Wrong::TokenToEarlier,
        Wrong::TokenToNothing,
        Wrong::OwnParent,
        Wrong::Cycle,
        Wrong::ParentToCome,
        Wrong::ForbiddenId,
        Wrong::OwnChild,
        Wrong::Chase,
        Wrong::IteratorToItself,
        Wrong::IteratorToOldest,
        Wrong::Disorder,
        Wrong::ExpiredAtOnce,
        Wrong::NoIterator,
    ];

    /// What a run saw that met this in every response.
    pub fn forever(self) -> &'static str {
        match self {
            Wrong::TokenToItself => "forever: token to its own page",
            Wrong::TokenToEarlier => "forever: token to an earlier page",
            Wrong::TokenToNothing => "forever: token to an empty page",
            Wrong::OwnParent => "forever: shard that is its own parent",
            Wrong::Cycle => "forever: shards that are each other's parents",
            Wrong::ParentToCome => "forever: parent that no listing shows",
            Wrong::ForbiddenId => "forever: forbidden identifier",
            Wrong::OwnChild => "forever: shard that is its own child",
            Wrong::Chase => "forever: shards that end at once",
            Wrong::IteratorToItself => "forever: iterator to its own page",
            Wrong::IteratorToOldest => "forever: iterator to the oldest record",
            Wrong::Disorder => "forever: records out of order",
            Wrong::ExpiredAtOnce => "forever: iterator that expires at once",
            Wrong::NoIterator => "forever: no next iterator",
        }
    }
}

impl Kinesis {
    /// Whether the service is wrong in this way now.
    pub(super) fn errs(&mut self, wrong: Wrong) -> bool {
        match self.quirks.wrong {
            Some((way, share)) if way == wrong => self.chance.percent(share),
            Some(_) | None => false,
        }
    }
}
