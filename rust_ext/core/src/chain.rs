//! The chain of batches: each hash covers the one before it, so no batch can be changed, dropped, added
//! or moved without every later hash changing.

use sha2::{Digest, Sha256};

use crate::merkle::Hash;

/// What the first batch chains to; its sequence number is 0.
pub const GENESIS: Hash = [0; 32];

/// The end of the chain as of one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The batch's sequence number.
    pub seq: u64,
    /// Its hash.
    pub hash: Hash,
    /// When its last row was recorded, in nanoseconds.
    pub last_ns: u64,
}

impl Head {
    /// Before the first batch.
    pub const GENESIS: Head = Head { seq: 0, hash: GENESIS, last_ns: 0 };
}

/// What a batch adds to the chain; the rest of its row in the table `batch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Sequence number, without gaps.
    pub seq: u64,
    /// Journal rows, at least one.
    pub rows: u32,
    /// When the first of them was recorded.
    pub first_ns: u64,
    /// When the last of them was recorded.
    pub last_ns: u64,
    /// The Merkle root over them.
    pub root: Hash,
}

/// The hash of a batch on top of the one before it.
pub fn hash(previous: &Hash, shard: u16, link: &Link) -> Hash {
    Sha256::new()
        .chain_update(b"pyledger.batch.1")
        .chain_update(previous)
        .chain_update(shard.to_le_bytes())
        .chain_update(link.seq.to_le_bytes())
        .chain_update(link.rows.to_le_bytes())
        .chain_update(link.first_ns.to_le_bytes())
        .chain_update(link.last_ns.to_le_bytes())
        .chain_update(link.root)
        .finalize()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_link_counts() {
        let link = Link { seq: 1, rows: 2, first_ns: 3, last_ns: 4, root: [5; 32] };
        let all = [
            hash(&GENESIS, 0, &link),
            hash(&[1; 32], 0, &link),
            hash(&GENESIS, 1, &link),
            hash(&GENESIS, 0, &Link { seq: 2, ..link }),
            hash(&GENESIS, 0, &Link { rows: 3, ..link }),
            hash(&GENESIS, 0, &Link { first_ns: 4, ..link }),
            hash(&GENESIS, 0, &Link { last_ns: 5, ..link }),
            hash(&GENESIS, 0, &Link { root: [6; 32], ..link }),
        ];
        for (index, one) in all.iter().enumerate() {
            assert!(all[..index].iter().all(|other| other != one));
        }
    }

    /// Computed by Python's hashlib: an outsider can check the chain with nothing of ours.
    #[test]
    fn a_known_hash() {
        let link = Link { seq: 7, rows: 2, first_ns: 1_000, last_ns: 1_001, root: [0xab; 32] };
        let expected: Hash = [
            0x0b, 0x50, 0x5a, 0x53, 0x77, 0xc5, 0x3c, 0x14, 0xc9, 0xb5, 0x83, 0x97, 0x12, 0xc7, 0x43, 0xc0,
            0xfe, 0x22, 0x01, 0x6b, 0xa6, 0x68, 0xb0, 0xd1, 0x8a, 0xfd, 0x7d, 0x2c, 0x3a, 0xc4, 0xcc, 0x15,
        ];
        assert_eq!(hash(&[0x11; 32], 3, &link), expected);
    }
}
