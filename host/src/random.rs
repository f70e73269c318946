//! Random numbers, for seeds and for the names of temporary files.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

/// A random number. The standard library draws the keys of its hashers at random.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}
