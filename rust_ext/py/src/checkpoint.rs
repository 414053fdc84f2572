//! What changed since the last checkpoint, as bytes for its tables; the accounts piece by piece, from the engine.

use std::sync::Mutex;

use pyledger_core::chain::Head;
use pyledger_core::{tables, uuid};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::gil::released;

/// What changed since the last checkpoint, as of one committed batch.
#[pyclass(frozen, module = "pyledger._rust")]
pub struct Checkpoint {
    head: Head,
    ledgers: usize,
    accounts: usize,
    holds: usize,
    ledger_copy: Py<PyBytes>,
    hold_copy: Py<PyBytes>,
    holds_removed: Vec<(u32, u128)>,
    /// Until it is known whether it was stored.
    open: Mutex<Option<pyledger_core::Checkpoint>>,
}

impl Checkpoint {
    /// Encodes what the engine gave.
    pub fn new(py: Python<'_>, shard: u16, head: Head, core: pyledger_core::Checkpoint) -> Self {
        let (ledgers, holds) = released(py, core.ledgers.len() + core.holds.len(), || {
            (tables::encode_ledgers(shard, &core.ledgers), tables::encode_holds(shard, &core.holds))
        });
        Checkpoint {
            head,
            ledgers: core.ledgers.len(),
            accounts: core.accounts,
            holds: core.holds.len(),
            ledger_copy: PyBytes::new(py, &ledgers).unbind(),
            hold_copy: PyBytes::new(py, &holds).unbind(),
            holds_removed: core.holds_removed.clone(),
            open: Mutex::new(Some(core)),
        }
    }

    /// Takes what an open checkpoint holds; it is done or failed only once.
    pub fn settle(&self) -> PyResult<pyledger_core::Checkpoint> {
        let mut open = self.open.lock().map_err(|_| PyRuntimeError::new_err("a thread died"))?;
        open.take().ok_or_else(|| PyRuntimeError::new_err("the checkpoint is done or failed already"))
    }
}

/// The next accounts of the last checkpoint as a complete COPY stream for the table `account`, and their number;
/// None once all are given.
pub fn next_accounts<'py>(
    py: Python<'py>,
    core: &mut pyledger_core::Engine,
    shard: u16,
    rows_max: usize,
) -> Option<(Bound<'py, PyBytes>, usize)> {
    let (copy, rows) = released(py, rows_max, || {
        let accounts = core.checkpoint_accounts(rows_max);
        (tables::encode_accounts(shard, &accounts), accounts.len())
    });
    (rows > 0).then(|| (PyBytes::new(py, &copy), rows))
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

    /// How many rows `Engine.checkpoint_accounts` gives of it in all.
    #[getter]
    fn accounts(&self) -> usize {
        self.accounts
    }

    /// Rows in `hold_copy`.
    #[getter]
    fn holds(&self) -> usize {
        self.holds
    }

    /// A complete binary COPY stream for the table `ledger`.
    #[getter]
    fn ledger_copy<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        self.ledger_copy.bind(py).clone()
    }

    /// A complete binary COPY stream for the table `hold`.
    #[getter]
    fn hold_copy<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        self.hold_copy.bind(py).clone()
    }

    /// Tenant and id of each hold that an earlier checkpoint may contain and that is open no more.
    #[getter]
    fn holds_removed(&self) -> Vec<(u32, String)> {
        self.holds_removed.iter().map(|(tenant, id)| (*tenant, uuid::string(*id))).collect()
    }
}
