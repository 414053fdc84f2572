//! What changed since the last checkpoint, as bytes for its tables.

use std::sync::Mutex;

use pyledger_core::chain::Head;
use pyledger_core::{tables, uuid};
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
    account_copy: Py<PyBytes>,
    hold_copy: Py<PyBytes>,
    holds_removed: Vec<(u32, u128)>,
    /// Until it is known whether it was stored.
    pub open: Mutex<Option<pyledger_core::Checkpoint>>,
}

impl Checkpoint {
    /// Encodes what the engine gave.
    pub fn new(py: Python<'_>, shard: u16, head: Head, core: pyledger_core::Checkpoint) -> Self {
        let rows = core.ledgers.len() + core.accounts.len() + core.holds.len();
        let (ledgers, accounts, holds) = released(py, rows, || {
            (
                tables::encode_ledgers(shard, &core.ledgers),
                tables::encode_accounts(shard, &core.accounts),
                tables::encode_holds(shard, &core.holds),
            )
        });
        Checkpoint {
            head,
            ledgers: core.ledgers.len(),
            accounts: core.accounts.len(),
            holds: core.holds.len(),
            ledger_copy: PyBytes::new(py, &ledgers).unbind(),
            account_copy: PyBytes::new(py, &accounts).unbind(),
            hold_copy: PyBytes::new(py, &holds).unbind(),
            holds_removed: core.holds_removed.clone(),
            open: Mutex::new(Some(core)),
        }
    }
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

    /// Rows in `account_copy`.
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

    /// A complete binary COPY stream for the table `account`.
    #[getter]
    fn account_copy<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        self.account_copy.bind(py).clone()
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
