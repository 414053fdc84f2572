//! What Python hands over, read strictly: hashes, ids, texts and rows that came back from the database.

use pyledger_core::json::canonical_metadata;
use pyledger_core::merkle::Hash;
use pyledger_core::{Corrupt, Old, journal, uuid};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;

use crate::errors;

/// A hash of 32 bytes.
pub fn hash(bytes: &[u8]) -> PyResult<Hash> {
    bytes.try_into().map_err(|_| PyValueError::new_err("a hash has 32 bytes"))
}

/// An id as text.
pub fn id(text: &str) -> PyResult<u128> {
    uuid::parse(text.as_bytes()).ok_or_else(|| PyValueError::new_err("an id is a UUID of 36 characters"))
}

/// Metadata that came back from the database must still be what was written.
pub fn checked_metadata(metadata: Option<&str>) -> PyResult<&str> {
    match metadata {
        Some(text) if canonical_metadata(text).as_deref() != Some(text) => {
            Err(errors::corrupt(Corrupt("metadata is not in its canonical form".to_owned())))
        }
        other => Ok(other.unwrap_or_default()),
    }
}

/// The rows that were asked for, of this shard.
pub fn read_old(records: &[PyBackedBytes], shard: u16) -> Result<Old, Corrupt> {
    let mut old = Old { rows: Vec::with_capacity(records.len()), text: Vec::new() };
    for record in records {
        let stored = journal::decode_record(record, &mut old.text)?;
        if stored.shard != shard {
            return Err(Corrupt(format!("a row belongs to shard {}", stored.shard)));
        }
        old.rows.push(stored.row);
    }
    Ok(old)
}
