//! Which ids a partition of the journal may have: a split block Bloom filter, the one that Parquet specifies, over
//! a hash of our own.
//!
//! It never says no of an id that was added. Of others it says yes about once in a thousand times: 16 bits an id, of
//! which eight in one cache line are looked at. It is stored, so its hash never changes, and it depends on which ids
//! were added only, not on their order.

use sha2::{Digest, Sha256};

use crate::copy::Stream;
use crate::state::Corrupt;

/// Words of one block, of each of which one bit stands for an id.
const WORDS: usize = 8;
const BLOCK_BYTES: usize = WORDS * 4;
const BITS_AN_ID: u64 = 16;
const DIGEST_BYTES: usize = 32;
/// What chooses the bits, as in Parquet's specification.
const SALTS: [u32; WORDS] =
    [0x47b6_137b, 0x4497_4d91, 0x8824_ad5b, 0xa2b7_289d, 0x7054_95c7, 0x2df1_424b, 0x9efc_4947, 0x5c6b_fb31];
const LOW: u64 = 0x9e37_79b9_7f4a_7c15;
const HIGH: u64 = 0xbf58_476d_1ce4_e5b9;
const LAST: u64 = 0x94d0_49bb_1331_11eb;

type Block = [u32; WORDS];

/// A set of ids, each of a tenant, that may seem to have more than it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    blocks: Vec<Block>,
}

impl Filter {
    /// An empty one with room for so many ids.
    pub fn new(ids: u64) -> Self {
        let blocks = (ids * BITS_AN_ID).div_ceil(8 * BLOCK_BYTES as u64).max(1);
        let blocks = u32::try_from(blocks).expect("a partition has less than 68 billion rows");
        Self { blocks: vec![[0; WORDS]; blocks as usize] }
    }

    /// Adds an id.
    pub fn insert(&mut self, tenant: u32, id: u128) {
        let hash = hash(tenant, id);
        if planted!("filter_misses_an_id" => hash.is_multiple_of(16); false) {
            return;
        }
        let place = place(hash, self.blocks.len());
        for (word, bit) in self.blocks[place].iter_mut().zip(bits(hash)) {
            *word |= bit;
        }
    }

    /// False only if the id was never added.
    pub fn may_have(&self, tenant: u32, id: u128) -> bool {
        self.may_have_hash(hash(tenant, id))
    }

    /// The same by the id's hash, for who asks many filters.
    pub(crate) fn may_have_hash(&self, hash: u64) -> bool {
        let block = &self.blocks[place(hash, self.blocks.len())];
        block.iter().zip(bits(hash)).all(|(word, bit)| word & bit != 0)
    }

    /// What is stored: the words, least significant byte first, and a SHA-256 over them.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.blocks.len() * BLOCK_BYTES + DIGEST_BYTES);
        for word in self.blocks.iter().flatten() {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        let digest = Sha256::digest(&bytes);
        bytes.extend_from_slice(&digest);
        bytes
    }

    /// What was stored. One bit less would let an id be recorded twice, so it is never believed unseen.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Corrupt> {
        let wrong = || Corrupt("a filter of ids is not what was stored".to_owned());
        let (words, digest) = bytes.split_last_chunk::<DIGEST_BYTES>().ok_or_else(wrong)?;
        if words.is_empty() || words.len() % BLOCK_BYTES != 0 || Sha256::digest(words)[..] != digest[..] {
            return Err(wrong());
        }
        let word = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().expect("four bytes"));
        let blocks = words.chunks_exact(BLOCK_BYTES);
        Ok(Self {
            blocks: blocks.map(|block| std::array::from_fn(|at| word(&block[4 * at..4 * at + 4]))).collect(),
        })
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        self.blocks.len() * BLOCK_BYTES
    }
}

/// The ids of a COPY OUT stream of tenant and id.
pub fn read_ids(copy: &[u8]) -> Result<Vec<(u32, u128)>, Corrupt> {
    let mut stream = Stream::new(copy, 2)?;
    let mut ids = Vec::new();
    while let Some((pair, _)) = stream.next(|tuple| Ok((tuple.int4()?, tuple.uuid()?)))? {
        ids.push(pair);
    }
    Ok(ids)
}

pub(crate) fn hash(tenant: u32, id: u128) -> u64 {
    let first = fold(id as u64 ^ LOW, (id >> 64) as u64 ^ HIGH);
    fold(first ^ u64::from(tenant), LAST)
}

fn fold(left: u64, right: u64) -> u64 {
    let product = u128::from(left) * u128::from(right);
    (product >> 64) as u64 ^ product as u64
}

fn place(hash: u64, blocks: usize) -> usize {
    ((u128::from(hash >> 32) * blocks as u128) >> 32) as usize
}

fn bits(hash: u64) -> impl Iterator<Item = u32> {
    SALTS.into_iter().map(move |salt| 1 << ((hash as u32).wrapping_mul(salt) >> 27))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `UUIDv7`s of one millisecond after the other, which is how most ids come.
    fn id(number: u128) -> u128 {
        (1_700_000_000_000 + number / 100) << 80 | 7 << 76 | 2 << 62 | number
    }

    #[test]
    fn it_has_what_was_added_and_one_in_a_thousand_of_the_rest() {
        const IDS: u128 = 100_000;
        let mut filter = Filter::new(IDS as u64);
        for number in 0..IDS {
            filter.insert(1 + (number % 2) as u32, id(number));
        }
        assert_eq!(filter.bytes(), IDS as usize * 2);
        assert!((0..IDS).all(|number| filter.may_have(1 + (number % 2) as u32, id(number))));
        let others = (0..IDS).filter(|&number| filter.may_have(2 - (number % 2) as u32, id(number))).count();
        let later = (IDS..2 * IDS).filter(|&number| filter.may_have(1, id(number))).count();
        let random =
            (1..=IDS).filter(|&number| filter.may_have(1, number * 0x9e37_79b9_7f4a_7c15_f39c)).count();
        for found in [others, later, random] {
            assert!((20..250).contains(&found), "{found} of {IDS}");
        }
        assert_eq!(Filter::from_bytes(&filter.to_bytes()), Ok(filter));
    }

    #[test]
    fn the_order_does_not_matter_and_the_bytes_never_change() {
        let (mut up, mut down) = (Filter::new(20), Filter::new(20));
        for number in 0..20 {
            up.insert(7, id(number));
            down.insert(7, id(19 - number));
        }
        assert_eq!(up, down);
        let digest = &up.to_bytes()[up.bytes()..];
        assert_eq!(digest[..8], [205, 218, 116, 84, 255, 72, 105, 115]);
    }

    #[test]
    fn a_filter_that_was_changed_is_not_believed() {
        let mut filter = Filter::new(0);
        assert!(!filter.may_have(1, 5));
        filter.insert(1, 5);
        assert!(filter.may_have(1, 5));
        let bytes = filter.to_bytes();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(Filter::from_bytes(&changed).is_err());
            assert!(Filter::from_bytes(&bytes[..at]).is_err());
        }
    }

    #[test]
    fn ids_are_read_from_a_copy_stream() {
        let mut copy = crate::copy::HEADER.to_vec();
        for number in 1..=3 {
            copy.extend_from_slice(&[0, 2]);
            crate::copy::put_int4(number, &mut copy);
            crate::copy::put_uuid(id(number.into()), &mut copy);
        }
        assert!(read_ids(&copy).is_err());
        copy.extend_from_slice(&crate::copy::TRAILER);
        assert_eq!(read_ids(&copy), Ok(vec![(1, id(1)), (2, id(2)), (3, id(3))]));
    }
}
