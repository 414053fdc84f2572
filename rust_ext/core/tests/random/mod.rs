//! Numbers that look random and are the same in every run: a failure is replayed by its seed.

/// SplitMix64.
pub struct Random(u64);

#[allow(dead_code, reason = "each test uses what it needs")]
impl Random {
    /// The same seed gives the same numbers.
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// Any 64 bits.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Less than `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// Any number of bits from 0 to 128, so that small, large and zero all come often.
    pub fn amount(&mut self) -> u128 {
        let bits = (u128::from(self.next()) << 64) | u128::from(self.next());
        let kept = self.below(129) as u32;
        if kept == 0 { 0 } else { bits >> (128 - kept) }
    }

    /// The bytes with one to three changes: a bit, a byte, a cut, a repetition.
    pub fn mutated(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for _ in 0..=self.below(3) {
            if bytes.is_empty() {
                break;
            }
            let at = self.below(bytes.len() as u64) as usize;
            match self.below(6) {
                0 => bytes[at] ^= 1 << self.below(8),
                1 => bytes[at] = self.next() as u8,
                2 => bytes[at] = [0, 0xff, b'"', b'{', b'9', b'-', b'\\', b' '][self.below(8) as usize],
                3 => drop(bytes.remove(at)),
                4 => bytes.insert(at, self.next() as u8),
                _ => {
                    let end = (at + 1 + self.below(40) as usize).min(bytes.len());
                    let piece = bytes[at..end].to_vec();
                    let to = self.below(bytes.len() as u64 + 1) as usize;
                    bytes.splice(to..to, piece);
                }
            }
        }
        bytes
    }
}
