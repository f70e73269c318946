//! Backoff after failures: exponential, bounded, with jitter drawn from the seed.
//!
//! Half of each pause is fixed and half is random ("equal jitter" in AWS's "Exponential Backoff And Jitter",
//! <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>). Readers that failed together come back
//! at different times, and none comes back immediately.

use core::time::Duration;

use crate::machine::rng::Rng;
use crate::time::millis;

/// Returns the pause before the next attempt after `failures` consecutive failures, at least one.
pub(crate) fn pause(first: Duration, greatest: Duration, failures: u32, rng: &mut Rng) -> Duration {
    let doublings = failures.saturating_sub(1).min(32);
    let full = millis(first).saturating_mul(1 << doublings).min(millis(greatest));
    let half = full / 2;
    Duration::from_millis(half + rng.up_to(full - half))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_maximum_and_never_drop_below_half() {
        let mut rng = Rng::new(1);
        let (first, greatest) = (Duration::from_millis(100), Duration::from_secs(5));
        for failures in 1..100 {
            let full = (100u64 << (failures - 1).min(20)).min(5000);
            let pause = pause(first, greatest, failures, &mut rng).as_millis() as u64;
            assert!((full / 2..=full).contains(&pause), "{failures}: {pause}");
        }
    }
}
