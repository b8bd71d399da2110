//! Numbers that are spread evenly and are the same on every machine.

/// What the state grows by at each number.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// The generator SplitMix64. Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
#[derive(Debug, Clone)]
pub struct SplitMix64(u64);

impl SplitMix64 {
    /// Goes on from `state`: any number will do as a seed.
    #[must_use]
    pub fn from_state(state: u64) -> Self {
        Self(state)
    }

    /// The number at `position`, 0-based, of the stream from state 0: a hash of the position.
    #[must_use]
    pub fn at(position: u64) -> u64 {
        Self(position.wrapping_mul(STEP)).draw()
    }

    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reference implementation's first numbers from state 0.
    #[test]
    fn the_stream_is_the_published_one() {
        let known = [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4, 0x06c4_5d18_8009_454f];
        let mut stream = SplitMix64::from_state(0);
        assert_eq!([0; 3].map(|_| stream.draw()), known);
        assert_eq!([0, 1, 2].map(SplitMix64::at), known);
    }
}
