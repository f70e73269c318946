//! Which shard comes after which.
//!
//! A split makes two children of one shard, a merge one child of two. The records of a child follow those of *all* its
//! parents, so it is not read before each of them is delivered to its end. A parent that is in no listing has left the
//! stream: nothing of it is left to wait for. That is believed only of a listing which began after the child was heard
//! of, since a listing may be older than a page that names a child.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// A shard's number in its reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ShardKey(pub(crate) usize);

/// The shards of a stream by identifier, and who descends from whom.
#[derive(Debug, Default)]
pub(crate) struct Lineage {
    keys: BTreeMap<Arc<str>, ShardKey>,
    /// The shards that name this one as a parent, whether it is known itself or not.
    children: BTreeMap<String, Vec<ShardKey>>,
    /// By key.
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    parents: Vec<String>,
    drained: bool,
    /// Listings begun when the shard was heard of.
    heard: u64,
}

impl Lineage {
    pub(crate) fn key(&self, id: &str) -> Option<ShardKey> {
        self.keys.get(id).copied()
    }

    /// Every shard, in the order of their identifiers.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (&str, ShardKey)> {
        self.keys.iter().map(|(id, key)| (&**id, *key))
    }

    /// Adds a shard that is not known yet. Its key is the number of those before it.
    pub(crate) fn insert(&mut self, id: Arc<str>, heard: u64, drained: bool) -> ShardKey {
        let key = ShardKey(self.members.len());
        self.members.push(Member { parents: Vec::new(), drained, heard });
        self.keys.insert(id, key);
        key
    }

    /// Learns of parents; those known before are kept.
    pub(crate) fn adopt(&mut self, key: ShardKey, parents: &[String]) {
        let Some(member) = self.members.get_mut(key.0) else { return };
        for parent in parents {
            if !member.parents.contains(parent) {
                member.parents.push(parent.clone());
                self.children.entry(parent.clone()).or_default().push(key);
            }
        }
    }

    /// The shards that this one was made of.
    pub(crate) fn parents(&self, key: ShardKey) -> &[String] {
        self.members.get(key.0).map_or(&[], |member| &member.parents)
    }

    pub(crate) fn drain(&mut self, key: ShardKey) {
        if let Some(member) = self.members.get_mut(key.0) {
            member.drained = true;
        }
    }

    /// The shards that name this one as a parent.
    pub(crate) fn children(&self, id: &str) -> &[ShardKey] {
        self.children.get(id).map_or(&[], Vec::as_slice)
    }

    /// Whether all parents of a shard are delivered to the end, or have left the stream by the listing `listed`, the
    /// last that is complete.
    pub(crate) fn is_free(&self, key: ShardKey, listed: u64) -> bool {
        let Some(member) = self.members.get(key.0) else { return false };
        member.parents.iter().all(|parent| match self.key(parent) {
            Some(parent) => self.members.get(parent.0).is_some_and(|parent| parent.drained),
            None => listed > member.heard,
        })
    }

    /// Whether a listing that begins from here on can free a shard.
    pub(crate) fn waits_for_listing(&self, key: ShardKey, listed: u64) -> bool {
        let Some(member) = self.members.get(key.0) else { return false };
        listed <= member.heard && member.parents.iter().any(|parent| self.key(parent).is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::borrow::ToOwned;

    #[test]
    fn a_child_waits_for_all_its_parents_over_generations() {
        let mut lineage = Lineage::default();
        let [a, b, c, d] = ["a", "b", "c", "d"].map(|id| lineage.insert(id.into(), 0, false));
        lineage.adopt(c, &["a".to_owned(), "b".to_owned()]);
        lineage.adopt(d, &["c".to_owned()]);
        assert!(lineage.is_free(a, 1) && lineage.is_free(b, 1));
        lineage.drain(a);
        assert!(!lineage.is_free(c, 1));
        lineage.drain(b);
        assert!(lineage.is_free(c, 1));
        assert!(!lineage.is_free(d, 1));
        assert_eq!(lineage.children("c"), [d]);
    }

    #[test]
    fn an_unknown_parent_has_left_only_by_a_later_listing() {
        let mut lineage = Lineage::default();
        let child = lineage.insert("child".into(), 3, false);
        lineage.adopt(child, &["gone".to_owned()]);
        assert!(!lineage.is_free(child, 3));
        assert!(lineage.is_free(child, 4));
        let gone = lineage.insert("gone".into(), 4, false);
        assert!(!lineage.is_free(child, 4));
        lineage.drain(gone);
        assert!(lineage.is_free(child, 4));
    }
}
