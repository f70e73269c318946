//! Random numbers, for seeds and for the names of temporary files.

/// A random number.
pub(crate) fn random() -> u64 {
    getrandom::u64().expect("the operating system has random numbers")
}
