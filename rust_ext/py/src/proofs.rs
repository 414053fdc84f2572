//! Merkle trees for proofs, over the rows of a batch and over hashes that are leaves already; and rows for an archive.

use pyledger_core::merkle::{self, Hash};
use pyledger_core::{archive, proof};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::errors;
use crate::gil::released_for_bytes;

/// Rows, root; and of the row that was asked for index, tuple and path.
type Proven<'py> =
    (usize, Bound<'py, PyBytes>, Option<(usize, Bound<'py, PyBytes>, Vec<Bound<'py, PyBytes>>)>);

/// The rows of one batch as a COPY OUT stream in order of time, and the proof of one of them.
#[pyfunction]
pub fn prove_row<'py>(py: Python<'py>, copy: &[u8], recorded_ns: u64) -> PyResult<Proven<'py>> {
    let batch = released_for_bytes(py, copy.len(), || proof::prove(copy, recorded_ns));
    let batch = batch.map_err(errors::corrupt)?;
    let bytes = |bytes: &[u8]| PyBytes::new(py, bytes);
    let row = batch.proof.map(|row| {
        let path = row.path.iter().map(|hash| bytes(hash)).collect();
        (row.index, bytes(&row.tuple), path)
    });
    Ok((batch.rows, bytes(&batch.root), row))
}

/// The root over leaves that are hashes already, 32 bytes each, one after the other.
#[pyfunction]
pub fn tree_root<'py>(py: Python<'py>, leaves: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    let (hashes, rest) = leaves.as_chunks::<32>();
    if !rest.is_empty() {
        return Err(PyValueError::new_err("a hash has 32 bytes"));
    }
    let hashes: &[Hash] = hashes;
    Ok(PyBytes::new(py, &released_for_bytes(py, leaves.len(), || merkle::root(hashes))))
}

/// Where each tuple of a COPY OUT stream begins and the last one ends, and the rows as CSV for people.
#[pyfunction]
pub fn archive_table<'py>(
    py: Python<'py>,
    copy: &[u8],
) -> PyResult<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)> {
    let table = released_for_bytes(py, copy.len(), || archive::table(copy)).map_err(errors::corrupt)?;
    let offsets: Vec<u8> = table.offsets.iter().flat_map(|offset| offset.to_le_bytes()).collect();
    Ok((PyBytes::new(py, &offsets), PyBytes::new(py, &table.csv)))
}
