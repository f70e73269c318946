//! Random choices, all derived from one seed.

/// A random number generator. Equal seeds give equal draws.
#[derive(Clone, Debug)]
pub struct Chance(fastrand::Rng);

impl Chance {
    /// Creates a generator for a seed and a purpose. Draws for one purpose don't affect those for another.
    pub fn new(seed: u64, purpose: u64) -> Chance {
        let mut rng = fastrand::Rng::with_seed(seed ^ purpose.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        // Neighboring seeds start out similar; discard a few draws.
        for _ in 0..4 {
            let _ = rng.u64(..);
        }
        Chance(rng)
    }

    /// Returns any number.
    pub fn any(&mut self) -> u64 {
        self.0.u64(..)
    }

    /// Returns a number from `least` to `most`, inclusive.
    pub fn within(&mut self, least: u64, most: u64) -> u64 {
        self.0.u64(least..=most)
    }

    /// Returns a number from `least` to `most`, with every order of magnitude equally likely.
    pub fn magnitude(&mut self, least: u64, most: u64) -> u64 {
        let bits = |n: u64| 64 - n.leading_zeros();
        let size = self.0.u32(bits(least)..=bits(most));
        let (low, high) = if size == 0 { (0, 0) } else { (1 << (size - 1), u64::MAX >> (64 - size)) };
        self.within(low.max(least), high.min(most))
    }

    /// Returns true with a probability of `percent`.
    pub fn percent(&mut self, percent: u8) -> bool {
        percent > 0 && self.0.u8(0..100) < percent
    }

    /// Returns a random element.
    pub fn of<T: Clone>(&mut self, some: &[T]) -> T {
        some[self.0.usize(0..some.len())].clone()
    }

    /// Shuffles the elements.
    pub fn shuffle<T>(&mut self, some: &mut [T]) {
        self.0.shuffle(some);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_reproducible_and_within_bounds() {
        let (mut a, mut b) = (Chance::new(5, 1), Chance::new(5, 1));
        for _ in 0..1000 {
            let n = a.magnitude(3, 700);
            assert!((3..=700).contains(&n));
            assert_eq!(n, b.magnitude(3, 700));
        }
        assert!((0..1000).all(|_| !a.percent(0) && a.percent(100)));
        assert_ne!(Chance::new(5, 1).any(), Chance::new(5, 2).any());
    }
}
