//! The Merkle tree of RFC 6962 over the rows of a batch, and the short path that proves one of them.
//!
//! A leaf is SHA-256 over 0x00 and the row's COPY tuple, a node SHA-256 over 0x01 and its two children;
//! a subtree's left side is the largest power of two below its size. Two different lists of rows never
//! have the same root.

use sha2::{Digest, Sha256};

/// A SHA-256.
pub type Hash = [u8; 32];

/// The hash of one row.
pub fn leaf(tuple: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(tuple).finalize().into()
}

fn node(left: &Hash, right: &Hash) -> Hash {
    let mut joined = [1; 65];
    joined[1..33].copy_from_slice(left);
    joined[33..].copy_from_slice(right);
    Sha256::digest(joined).into()
}

/// Joins neighbours into the next level up. A last one without a neighbour moves up as it is, which is
/// the same tree as the split at a power of two.
fn join(level: &mut Vec<Hash>) {
    let pairs = level.len() / 2;
    for pair in 0..pairs {
        level[pair] = node(&level[2 * pair], &level[2 * pair + 1]);
    }
    if level.len() % 2 == 1 {
        level[pairs] = level[level.len() - 1];
    }
    level.truncate(level.len().div_ceil(2));
}

/// The root over `leaves`; of none, SHA-256 of nothing.
pub fn root(leaves: &[Hash]) -> Hash {
    let mut level = leaves.to_vec();
    while level.len() > 1 {
        join(&mut level);
    }
    level.first().copied().unwrap_or_else(|| Sha256::digest([]).into())
}

/// The same root over leaves that come piece by piece: only the complete subtrees at the right edge are kept.
#[derive(Clone, Debug, Default)]
pub struct Edge {
    /// Of each the number of leaves, a power of two, and the hash; each is smaller than the one before it.
    subtrees: Vec<(u64, Hash)>,
}

impl Edge {
    /// Adds the next leaf.
    pub fn push(&mut self, leaf: Hash) {
        let mut last = (1, leaf);
        while let Some((_, left)) = self.subtrees.pop_if(|(leaves, _)| *leaves == last.0) {
            last = (2 * last.0, node(&left, &last.1));
        }
        self.subtrees.push(last);
    }

    /// The root over all leaves so far.
    pub fn root(&self) -> Hash {
        let joined =
            self.subtrees.iter().rev().map(|(_, hash)| *hash).reduce(|right, left| node(&left, &right));
        joined.unwrap_or_else(|| root(&[]))
    }
}

/// The audit path of `leaves[index]`, from the leaf up; `None` if there is no such leaf.
pub fn path(leaves: &[Hash], mut index: usize) -> Option<Vec<Hash>> {
    if index >= leaves.len() {
        return None;
    }
    let mut level = leaves.to_vec();
    let mut path = Vec::new();
    while level.len() > 1 {
        path.extend(level.get(index ^ 1));
        join(&mut level);
        index /= 2;
    }
    Some(path)
}

/// True if `path` proves that the row with hash `leaf` is number `index` of `size` rows under `root`.
pub fn proves(path: &[Hash], leaf: Hash, mut index: usize, mut size: usize, root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let mut hash = leaf;
    let mut path = path.iter();
    while size > 1 {
        if index % 2 == 1 || index + 1 < size {
            let Some(other) = path.next() else { return false };
            hash = if index % 2 == 1 { node(other, &hash) } else { node(&hash, other) };
        }
        index /= 2;
        size = size.div_ceil(2);
    }
    path.next().is_none() && hash == *root
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(hash: &[u8]) -> String {
        use std::fmt::Write;
        hash.iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").expect("a string grows");
            text
        })
    }

    /// The inputs and roots of the reference implementation of RFC 6962 (Certificate Transparency).
    const INPUTS: [&[u8]; 8] = [
        b"",
        b"\x00",
        b"\x10",
        b"\x20\x21",
        b"\x30\x31",
        b"\x40\x41\x42\x43",
        b"\x50\x51\x52\x53\x54\x55\x56\x57",
        b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
    ];
    const ROOTS: [&str; 9] = [
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];

    #[test]
    fn the_roots_of_rfc_6962() {
        let leaves: Vec<Hash> = INPUTS.iter().map(|input| leaf(input)).collect();
        for (size, expected) in ROOTS.iter().enumerate() {
            assert_eq!(hex(&root(&leaves[..size])), *expected, "{size} leaves");
        }
    }

    #[test]
    fn a_path_proves_its_row_and_no_other() {
        for size in 0..40_usize {
            let leaves: Vec<Hash> = (0..size).map(|number| leaf(&number.to_le_bytes())).collect();
            let root = root(&leaves);
            let mut edge = Edge::default();
            for leaf in &leaves {
                edge.push(*leaf);
            }
            assert_eq!(edge.root(), root);
            assert_eq!(path(&leaves, size), None);
            for index in 0..size {
                let path = path(&leaves, index).expect("in range");
                assert!(proves(&path, leaves[index], index, size, &root));
                assert!(!proves(&path, leaf(b"another"), index, size, &root));
                assert!(!proves(&path, leaves[index], (index + 1) % size, size, &root) || size == 1);
                assert!(!proves(&[path.as_slice(), &[root]].concat(), leaves[index], index, size, &root));
                assert!(path.is_empty() || !proves(&path[1..], leaves[index], index, size, &root));
            }
        }
    }
}
