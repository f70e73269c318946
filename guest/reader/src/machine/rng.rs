//! A small seeded random number generator, for jitter.
//!
//! SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014) has eight bytes of
//! state and a period of 2^64, which is plenty for jitter. The seed is the machine's only source of randomness.

/// A generator that produces equal numbers for equal seeds.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number from 0 to `most`, inclusive.
    pub(crate) fn up_to(&mut self, most: u64) -> u64 {
        // The high half of the product needs no division and is as uniform as 64 bits allow.
        let product = u128::from(self.next()) * (u128::from(most) + 1);
        (product >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_seeds_give_equal_numbers_within_bounds() {
        let (mut a, mut b) = (Rng::new(7), Rng::new(7));
        let mut seen = [false; 10];
        for _ in 0..1000 {
            let n = a.up_to(9);
            assert_eq!(n, b.up_to(9));
            seen[n as usize] = true;
        }
        assert_eq!(seen, [true; 10]);
        assert_eq!(a.up_to(0), 0);
    }
}
