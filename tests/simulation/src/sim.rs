//! Plays many seeds on all processors and summarizes what happened.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::environment::{self, Failure};

/// A summary of many seeds.
#[derive(Default)]
pub struct Summary {
    pub seeds: u64,
    /// The number of seeds in which each kind of event occurred.
    pub coverage: BTreeMap<&'static str, u64>,
    /// Sorted by seed.
    pub failures: Vec<Failure>,
}

/// Plays `count` seeds starting at `first`. Stops early after `failures_max` failures.
pub fn play(first: u64, count: u64, failures_max: usize) -> Summary {
    let next = AtomicU64::new(first);
    let summary = Mutex::new(Summary::default());
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        break;
                    }
                    let played = environment::play(seed);
                    let mut summary = summary.lock().unwrap_or_else(PoisonError::into_inner);
                    summary.seeds += 1;
                    match played {
                        Ok(coverage) => {
                            for what in coverage.keys() {
                                *summary.coverage.entry(what).or_default() += 1;
                            }
                        }
                        Err(failure) => summary.failures.push(failure),
                    }
                    if summary.failures.len() >= failures_max {
                        break;
                    }
                }
            });
        }
    });
    let mut summary = summary.into_inner().unwrap_or_else(PoisonError::into_inner);
    summary.failures.sort_by_key(|failure| failure.seed);
    summary
}
