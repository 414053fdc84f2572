//! The rows of one batch, read back to prove one of them: its place, its bytes and its path to the root.

use crate::journal::Rows;
use crate::merkle::{self, Hash};
use crate::state::Corrupt;

/// One row and what proves that it belongs to its batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowProof {
    /// Its number in the batch, from 0.
    pub index: usize,
    /// Its COPY tuple: the bytes that its leaf is the hash of.
    pub tuple: Vec<u8>,
    /// Its audit path, from the leaf up.
    pub path: Vec<Hash>,
}

/// What a COPY OUT stream of one batch's rows, in order of time, comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchRows {
    /// How many there are.
    pub rows: usize,
    /// Their Merkle root.
    pub root: Hash,
    /// The one that was asked for, if it is among them.
    pub proof: Option<RowProof>,
}

/// Hashes the rows of a batch and proves the one that was recorded at `recorded_ns`.
pub fn prove(copy: &[u8], recorded_ns: u64) -> Result<BatchRows, Corrupt> {
    let mut rows = Rows::new(copy)?;
    let mut text = Vec::new();
    let mut leaves = Vec::new();
    let mut found = None;
    while let Some((stored, tuple)) = rows.next_tuple(&mut text)? {
        if stored.row.recorded_ns == recorded_ns {
            found = Some((leaves.len(), tuple));
        }
        leaves.push(merkle::leaf(tuple));
        text.clear();
    }
    let proof = found.and_then(|(index, tuple)| {
        Some(RowProof { index, tuple: tuple.to_vec(), path: merkle::path(&leaves, index)? })
    });
    Ok(BatchRows { rows: leaves.len(), root: merkle::root(&leaves), proof })
}
