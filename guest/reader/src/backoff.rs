//! Pauses after failures: doubling, with a greatest length, spread by the seed.
//!
//! Half of a pause is fixed and half is drawn ("equal jitter" in AWS's "Exponential Backoff And Jitter",
//! <https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>): readers that failed together come back
//! apart, and none comes back at once.

use core::time::Duration;

use crate::rng::Rng;
use crate::time::millis;

/// The pause before the try that follows `failures` failures in a row, of which there is at least one.
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
    fn pauses_double_to_the_greatest_and_are_never_short() {
        let mut rng = Rng::new(1);
        let (first, greatest) = (Duration::from_millis(100), Duration::from_secs(5));
        for failures in 1..100 {
            let full = (100u64 << (failures - 1).min(20)).min(5000);
            let pause = pause(first, greatest, failures, &mut rng).as_millis() as u64;
            assert!((full / 2..=full).contains(&pause), "{failures}: {pause}");
        }
    }
}
