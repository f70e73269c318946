//! Lineage: how the shards of a stream descend from each other.
//!
//! A split turns one shard into two children, a merge turns two shards into one child. The records of a child follow
//! those of *all* its parents, so a child is not read until every parent is delivered to its end.
//!
//! A parent that is not listed has left the stream, so there is nothing left to wait for. But a listing may show the
//! stream as it was a moment ago and lack the latest shards. We therefore only conclude this from a listing that began
//! after we learned of the child, and that shows a shard later than the parent. Shard ids tell which shard is later,
//! because the service numbers them in order.
//!
//! A shard that is its own ancestor would wait for itself forever. A response that makes it one contradicts itself or
//! an earlier response, and is rejected ([`Lineage::check`]). We cannot tell which of the parents is wrong, and reading
//! a shard before a true parent would break the order, so we never ignore a parent.

use alloc::borrow::ToOwned;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

/// The maximum number of parents of a shard: `ParentShardId` and `AdjacentParentShardId`.
/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_Shard.html>
pub(crate) const PARENTS_MAX: usize = 2;

/// The index of a shard in its reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ShardKey(pub(crate) usize);

/// The shards of a stream, and how they descend from each other.
#[derive(Debug, Default)]
pub(crate) struct Lineage {
    keys: BTreeMap<Arc<str>, ShardKey>,
    /// The shards that name a shard as their parent, by the id of that shard, even if it is not known itself.
    children: BTreeMap<String, Vec<ShardKey>>,
    /// Indexed by key.
    members: Vec<Member>,
    /// The latest shard in the last complete listing.
    latest: String,
}

#[derive(Debug)]
struct Member {
    id: Arc<str>,
    parents: Vec<String>,
    /// The number of the last listing that began before we learned of the shard.
    heard: u64,
    /// Whether no listing or page has named its parents yet.
    has_unknown_parents: bool,
}

impl Lineage {
    pub(crate) fn key(&self, id: &str) -> Option<ShardKey> {
        self.keys.get(id).copied()
    }

    /// Returns all shards, ordered by id.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (&str, ShardKey)> {
        self.keys.iter().map(|(id, key)| (&**id, *key))
    }

    /// Adds a shard that is not known yet. Keys are assigned consecutively from 0.
    pub(crate) fn insert(&mut self, id: Arc<str>, heard: u64) -> ShardKey {
        let key = ShardKey(self.members.len());
        self.members.push(Member { id: id.clone(), parents: Vec::new(), heard, has_unknown_parents: true });
        self.keys.insert(id, key);
        key
    }

    /// Returns the number of known shards.
    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// Checks whether shards can have these parents in addition to those already known. The error says why they cannot.
    ///
    /// The cost grows with the number of new parents, and with the ancestors of those shards that have children.
    pub(crate) fn check<'a>(&'a self, shards: impl Iterator<Item = (&'a str, &'a [String])>) -> Result<(), String> {
        // All parents, old and new, of each shard that has a new one.
        let mut grown: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (id, parents) in shards {
            let known = self.key(id).map_or(&[][..], |key| self.parents(key));
            for parent in parents.iter().filter(|parent| !known.contains(parent)) {
                let all = grown.entry(id).or_insert_with(|| known.iter().map(String::as_str).collect());
                if !all.contains(&parent.as_str()) {
                    all.push(parent);
                }
                if all.len() > PARENTS_MAX {
                    return Err(format!("shard {id} has more than {PARENTS_MAX} parents"));
                }
            }
        }
        let parents = |id: &str| -> Vec<&str> {
            let known = || self.key(id).map_or(&[][..], |key| self.parents(key)).iter().map(String::as_str).collect();
            grown.get(id).cloned().unwrap_or_else(known)
        };
        let mut new_parents: BTreeSet<&str> = BTreeSet::new();
        new_parents.extend(grown.values().flatten());
        // A depth-first search for cycles. `true`: the shard is not part of a cycle. `false`: it is on the current
        // path.
        let mut seen: BTreeMap<&str, bool> = BTreeMap::new();
        let mut path: Vec<(&str, Vec<&str>)> = Vec::new();
        for &id in grown.keys().filter(|id| new_parents.contains(*id) || self.children.contains_key(**id)) {
            if seen.contains_key(id) {
                continue;
            }
            seen.insert(id, false);
            path.push((id, parents(id)));
            while let Some((id, left)) = path.last_mut() {
                let Some(parent) = left.pop() else {
                    seen.insert(id, true);
                    path.pop();
                    continue;
                };
                match seen.get(parent) {
                    Some(true) => {}
                    Some(false) => return Err(format!("shard {parent} is its own ancestor")),
                    None => {
                        seen.insert(parent, false);
                        path.push((parent, parents(parent)));
                    }
                }
            }
        }
        Ok(())
    }

    /// Adds parents to those that are already known.
    pub(crate) fn adopt(&mut self, key: ShardKey, parents: &[String]) {
        let Some(member) = self.members.get_mut(key.0) else { return };
        member.has_unknown_parents = false;
        for parent in parents {
            if !member.parents.contains(parent) {
                member.parents.push(parent.clone());
                self.children.entry(parent.clone()).or_default().push(key);
            }
        }
    }

    /// Returns the known parents of a shard.
    pub(crate) fn parents(&self, key: ShardKey) -> &[String] {
        self.members.get(key.0).map_or(&[], |member| &member.parents)
    }

    /// Returns the shards that name this one as a parent.
    pub(crate) fn children(&self, id: &str) -> &[ShardKey] {
        self.children.get(id).map_or(&[], Vec::as_slice)
    }

    /// Whether a shard may be read: each of its parents is drained, or has left the stream as of the last complete
    /// listing, which has number `listed`.
    pub(crate) fn is_free(&self, key: ShardKey, listed: u64, is_drained: impl Fn(ShardKey) -> bool) -> bool {
        let Some(member) = self.members.get(key.0) else { return false };
        !self.may_have_unknown_parents(member)
            && member.parents.iter().all(|parent| match self.key(parent) {
                Some(parent) => is_drained(parent),
                None => self.is_known_to_have_left(member, parent, listed),
            })
    }

    /// Records the shards in a complete listing.
    pub(crate) fn listed<'a>(&mut self, ids: impl Iterator<Item = &'a str>) {
        self.latest = ids.max_by_key(|id| age(id)).unwrap_or_default().to_owned();
    }

    /// Whether a shard that is not in the last listing has left the stream, because a later shard is listed.
    pub(crate) fn has_left(&self, id: &str) -> bool {
        age(id) < age(&self.latest)
    }

    /// Returns the shard that a later listing must show before this one can be read: the shard itself, or one of its
    /// parents.
    pub(crate) fn missing(&self, key: ShardKey, listed: u64) -> Option<&str> {
        let member = self.members.get(key.0)?;
        if self.may_have_unknown_parents(member) {
            return Some(&member.id);
        }
        let is_missing =
            |parent: &&str| self.key(parent).is_none() && !self.is_known_to_have_left(member, parent, listed);
        member.parents.iter().map(String::as_str).find(is_missing)
    }

    /// Whether the last complete listing shows that a parent which is not a known shard has left the stream.
    fn is_known_to_have_left(&self, child: &Member, parent: &str, listed: u64) -> bool {
        listed > child.heard && self.has_left(parent)
    }

    /// Whether a shard may have parents in the stream that we don't know of. If it has left the stream, so have they.
    fn may_have_unknown_parents(&self, member: &Member) -> bool {
        member.has_unknown_parents && !self.has_left(&member.id)
    }
}

/// Returns a key that sorts shards in order of creation. Shard ids are "shardId-" and a number of at least twelve
/// digits.
fn age(id: &str) -> (usize, &str) {
    (id.len(), id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_waits_for_all_its_parents_across_generations() {
        let mut lineage = Lineage::default();
        let [a, b, c, d] = ["a", "b", "c", "d"].map(|id| lineage.insert(id.into(), 0));
        for root in [a, b] {
            lineage.adopt(root, &[]);
        }
        lineage.adopt(c, &["a".to_owned(), "b".to_owned()]);
        lineage.adopt(d, &["c".to_owned()]);
        let free = |key, drained: &[ShardKey]| lineage.is_free(key, 1, |key| drained.contains(&key));
        assert!(free(a, &[]) && free(b, &[]));
        assert!(!free(c, &[a]));
        assert!(free(c, &[a, b]));
        assert!(!free(d, &[a, b]));
        assert_eq!(lineage.children("c"), [d]);
    }

    #[test]
    fn a_cycle_of_parents_is_detected() {
        // The known parents, the new ones, and whether they are consistent.
        for (known, new, is_consistent) in [
            ("", "a:a", false),
            ("", "a:b b:a", false),
            ("", "a:b b:c c:a", false),
            ("b:a c:b", "a:c", false),
            ("b:a c:b d:c", "a:x,d", false),
            ("b:a", "a:c c:b", false),
            ("", "a:a,a", false),
            ("", "z:y y:x x:w w:y", false),
            ("", "a:b,c d:b,c e:a,d", true),
            ("b:a c:b", "b:a c:b d:c", true),
            ("b:a", "b:a,x x:w", true),
            ("b:a,x", "b:y", false),
            ("", "b:a,x b:y", false),
            ("b:a,x", "b:x,a", true),
            ("", "a: b:", true),
        ] {
            let parse = |text: &str| -> Vec<(String, Vec<String>)> {
                let shard = |text: &str| {
                    let (id, parents) = text.split_once(':').expect("a shard and its parents");
                    let parents = parents.split(',').filter(|id| !id.is_empty()).map(ToOwned::to_owned);
                    (id.to_owned(), parents.collect())
                };
                text.split_whitespace().map(shard).collect()
            };
            let mut lineage = Lineage::default();
            for (id, parents) in parse(known) {
                let key = lineage.insert(id.as_str().into(), 0);
                lineage.adopt(key, &parents);
            }
            let new = parse(new);
            let checked = lineage.check(new.iter().map(|(id, parents)| (id.as_str(), parents.as_slice())));
            assert_eq!(checked.is_ok(), is_consistent, "{known}; {new:?}: {checked:?}");
        }
    }

    #[test]
    fn only_a_later_listing_shows_that_an_unknown_parent_has_left() {
        let mut lineage = Lineage::default();
        let child = lineage.insert("child".into(), 3);
        lineage.adopt(child, &["root".to_owned()]);
        lineage.listed(["child"].into_iter());
        assert!(!lineage.is_free(child, 3, |_| false));
        assert!(lineage.is_free(child, 4, |_| false));
        lineage.listed(["a"].into_iter());
        assert!(!lineage.is_free(child, 4, |_| false));
        lineage.listed(["child"].into_iter());
        let root = lineage.insert("root".into(), 4);
        assert!(!lineage.is_free(child, 4, |_| false));
        assert!(lineage.is_free(child, 4, |key| key == root));
    }
}
