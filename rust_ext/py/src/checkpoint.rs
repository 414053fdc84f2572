//! What changed since the last checkpoint, as bytes for its tables; all but the ledgers piece by piece, from the engine.

use std::sync::Mutex;

use pyledger_core::chain::Head;
use pyledger_core::tables;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::gil::released;

/// A complete COPY stream and the number of its rows, if there are any.
pub type Piece<'py> = Option<(Bound<'py, PyBytes>, usize)>;

/// What changed since the last checkpoint, as of one committed batch.
#[pyclass(frozen, module = "pyledger._rust")]
pub struct Checkpoint {
    head: Head,
    ledgers: usize,
    #[pyo3(get)]
    accounts: usize,
    #[pyo3(get)]
    holds: usize,
    #[pyo3(get)]
    holds_removed: usize,
    ledger_copy: Py<PyBytes>,
    /// Until it is known whether it was stored.
    open: Mutex<Option<pyledger_core::Checkpoint>>,
}

impl Checkpoint {
    /// Encodes what the engine gave.
    pub fn new(py: Python<'_>, shard: u16, head: Head, core: pyledger_core::Checkpoint) -> Self {
        let ledgers = released(py, core.ledgers.len(), || tables::encode_ledgers(shard, &core.ledgers));
        Checkpoint {
            head,
            ledgers: core.ledgers.len(),
            accounts: core.accounts,
            holds: core.holds,
            holds_removed: core.holds_removed,
            ledger_copy: PyBytes::new(py, &ledgers).unbind(),
            open: Mutex::new(Some(core)),
        }
    }

    /// Takes what an open checkpoint holds; it is done or failed only once.
    pub fn settle(&self) -> PyResult<pyledger_core::Checkpoint> {
        let mut open = self.open.lock().map_err(|_| PyRuntimeError::new_err("a thread died"))?;
        open.take().ok_or_else(|| PyRuntimeError::new_err("the checkpoint is done or failed already"))
    }
}

/// The next rows of the last checkpoint for a table as a complete COPY stream, and their number; None once all are
/// given.
pub fn next_rows<'py>(
    py: Python<'py>,
    core: &mut pyledger_core::Engine,
    shard: u16,
    table: &str,
    rows_max: usize,
) -> PyResult<Piece<'py>> {
    let (copy, rows) = released(py, rows_max, || match table {
        "account" => {
            let accounts = core.checkpoint_accounts(rows_max);
            Ok((tables::encode_accounts(shard, &accounts), accounts.len()))
        }
        "hold" => {
            let holds = core.checkpoint_holds(rows_max);
            Ok((tables::encode_holds(shard, &holds), holds.len()))
        }
        "hold_removed" => {
            let removed = core.checkpoint_removed(rows_max);
            Ok((tables::encode_removed(removed), removed.len()))
        }
        _ => Err(PyValueError::new_err(format!("there is no table {table}"))),
    })?;
    Ok((rows > 0).then(|| (PyBytes::new(py, &copy), rows)))
}

#[pymethods]
impl Checkpoint {
    /// The last batch it includes.
    #[getter]
    fn seq(&self) -> u64 {
        self.head.seq
    }

    /// The head's hash at `seq`.
    #[getter]
    fn hash<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.head.hash)
    }

    /// When the last row it includes was recorded.
    #[getter]
    fn last_ns(&self) -> u64 {
        self.head.last_ns
    }

    /// Rows in `ledger_copy`.
    #[getter]
    fn ledgers(&self) -> usize {
        self.ledgers
    }

    /// A complete binary COPY stream for the table `ledger`.
    #[getter]
    fn ledger_copy<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        self.ledger_copy.bind(py).clone()
    }
}
