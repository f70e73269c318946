//! Chance, all of it from one seed.

/// A source of chance. Equal seeds give equal draws.
#[derive(Clone, Debug)]
pub struct Chance(fastrand::Rng);

impl Chance {
    /// The source that belongs to a seed and a purpose: what one purpose draws does not move what another draws.
    pub fn new(seed: u64, purpose: u64) -> Chance {
        let mut rng = fastrand::Rng::with_seed(seed ^ purpose.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        // Neighbouring seeds start alike; a few draws part them.
        for _ in 0..4 {
            let _ = rng.u64(..);
        }
        Chance(rng)
    }

    /// Any number.
    pub fn any(&mut self) -> u64 {
        self.0.u64(..)
    }

    /// A number from `least` to `most`, both included.
    pub fn within(&mut self, least: u64, most: u64) -> u64 {
        self.0.u64(least..=most)
    }

    /// A number from `least` to `most`, where each order of magnitude is as likely as the others.
    pub fn magnitude(&mut self, least: u64, most: u64) -> u64 {
        let bits = |n: u64| 64 - n.leading_zeros();
        let size = self.0.u32(bits(least)..=bits(most));
        let (low, high) = if size == 0 { (0, 0) } else { (1 << (size - 1), u64::MAX >> (64 - size)) };
        self.within(low.max(least), high.min(most))
    }

    /// True in `percent` of a hundred.
    pub fn percent(&mut self, percent: u8) -> bool {
        percent > 0 && self.0.u8(0..100) < percent
    }

    /// One of some.
    pub fn of<T: Clone>(&mut self, some: &[T]) -> T {
        some[self.0.usize(0..some.len())].clone()
    }

    /// Puts some in any order.
    pub fn shuffle<T>(&mut self, some: &mut [T]) {
        self.0.shuffle(some);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_equal_for_equal_seeds_and_keep_their_bounds() {
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
