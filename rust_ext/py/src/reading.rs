//! What Python hands over, read strictly: hashes, ids, texts and rows that came back from the database.

use pyledger_core::chain::Link;
use pyledger_core::json::canonical_metadata;
use pyledger_core::merkle::Hash;
use pyledger_core::replay::Claimed;
use pyledger_core::{Corrupt, Engine, Old, archive, journal, tables, uuid};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;

use crate::errors;
use crate::gil::released_for_bytes;

/// A row of the table `batch`: seq, rows, `first_ns`, `last_ns`, root, hash.
pub type BatchRow = (u64, u32, u64, u64, PyBackedBytes, PyBackedBytes);

/// What the table `batch` says of batches.
pub fn claims(batches: Vec<BatchRow>) -> PyResult<Vec<Claimed>> {
    let claim = |(seq, rows, first_ns, last_ns, root, own): BatchRow| {
        let link = Link { seq, rows, first_ns, last_ns, root: hash(&root)? };
        Ok(Claimed { link, hash: hash(&own)? })
    };
    batches.into_iter().map(claim).collect()
}

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

/// The rows that were asked for, of this shard, and what was archived of them.
pub fn read_old(records: &[PyBackedBytes], shard: u16) -> Result<Old, Corrupt> {
    let mut old = Old { rows: Vec::with_capacity(records.len()), ..Old::default() };
    for record in records {
        let found = if let Some((found, tenant, id)) = archive::decode_archived(record)? {
            old.archived.push((tenant, id));
            found
        } else {
            let stored = journal::decode_record(record, &mut old.text)?;
            old.rows.push(stored.row);
            stored.shard
        };
        if found != shard {
            return Err(Corrupt(format!("a row belongs to shard {found}")));
        }
    }
    Ok(old)
}

/// One COPY OUT stream of a checkpoint table, which has `table_rows` rows in all.
pub fn load(
    py: Python<'_>,
    core: &mut Engine,
    shard: u16,
    what: &str,
    copy: &[u8],
    table_rows: usize,
) -> PyResult<usize> {
    let loaded = released_for_bytes(py, copy.len(), || {
        Some(match what {
            "ledger" => tables::decode_ledgers(shard, copy, |ledger| core.restore_ledger(ledger)),
            "account" => {
                core.restore_room(table_rows);
                tables::decode_accounts(shard, copy, |(slot, account)| core.restore_account(slot, account))
            }
            "hold" => tables::decode_holds(shard, copy, |hold| core.restore_hold(hold)),
            _ => return None,
        })
    });
    let unknown = || PyValueError::new_err("a checkpoint has the tables ledger, account and hold");
    loaded.ok_or_else(unknown)?.map_err(errors::corrupt)
}
