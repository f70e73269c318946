//! Which positions changed in which revision of the checkpoint.

use alloc::vec::Vec;

use super::arena::{Shard, Shards};
use crate::machine::lineage::ShardKey;

/// The number of moves that are kept before outdated ones are removed.
const MOVES_MIN: usize = 64;

/// The revisions of a checkpoint.
#[derive(Debug, Default)]
pub(super) struct Revisions {
    current: u64,
    /// The moves of positions in the order of their revisions, so that changes are found without a look at all shards.
    /// Only the last move of a shard counts.
    moves: Vec<(u64, ShardKey)>,
    /// The last revision in which something other than a position changed.
    renewed: u64,
}

impl Revisions {
    pub(super) fn current(&self) -> u64 {
        self.current
    }

    /// The position of a shard moved.
    pub(super) fn note_moved(&mut self, key: ShardKey, shards: &mut Shards) {
        self.current += 1;
        shards[key].moved = self.current;
        self.moves.push((self.current, key));
        if self.moves.len() > 2 * shards.len() + MOVES_MIN {
            self.moves.retain(|&(revision, key)| shards[key].moved == revision);
        }
    }

    /// Something other than a position changed.
    pub(super) fn note_renewed(&mut self) {
        self.current += 1;
        self.renewed = self.current;
    }

    /// The shards whose positions changed after a revision. None: other things changed too.
    pub(super) fn since<'a>(&'a self, since: u64, shards: &'a Shards) -> Option<impl Iterator<Item = &'a Shard>> {
        let moves = self.moves.iter().rev().take_while(move |(revision, _)| *revision > since);
        let last = moves.filter(|&&(revision, key)| shards[key].moved == revision).map(|&(_, key)| &shards[key]);
        (since >= self.renewed).then_some(last)
    }
}
