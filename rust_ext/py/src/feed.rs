//! Pages of the feed: rows decoded once for all who read on, and what is known of their accounts.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use pyledger_core::feed::{Bounds, Made, Question, Rows};
use pyledger_core::show::Side;
use pyledger_core::{Corrupt, feed};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use crate::commands::tenant as tenant_of;
use crate::engine::Engine;
use crate::errors;
use crate::gil::{released, released_for_bytes};
use crate::reading::id;

/// Bytes of an account's id in a list of them.
const ID_BYTES: usize = 16;

type Known = HashMap<(u32, u128), Side>;

/// What never changes of accounts, as far as it was asked for.
#[pyclass(frozen, module = "pyledger._rust")]
pub struct Sides {
    known: Mutex<Known>,
    accounts_max: usize,
}

#[pymethods]
impl Sides {
    /// Nothing known yet.
    #[new]
    fn new(accounts_max: usize) -> Self {
        Sides { known: Mutex::default(), accounts_max }
    }

    /// Learns accounts from the engine; forgets all others when there are too many.
    fn learn(&self, engine: PyRef<'_, Engine>, tenant: u32, ids: &[u8]) -> PyResult<()> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() + ids.len() / ID_BYTES > self.accounts_max {
            known.clear();
        }
        for id in ids.chunks_exact(ID_BYTES) {
            let id = u128::from_be_bytes(id.try_into().expect("chunks of that size"));
            let account = engine.core.account(tenant, id).ok_or_else(|| {
                errors::corrupt(Corrupt("a row names an account that is not there".to_owned()))
            })?;
            known.insert((tenant, id), Side { flags: account.flags, allowance: account.allowance });
        }
        Ok(())
    }

    fn __len__(&self) -> usize {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// What somebody reads on for.
#[pyclass(frozen, module = "pyledger._rust")]
pub struct FeedQuestion {
    core: Question,
}

#[pymethods]
impl FeedQuestion {
    /// All that is given must hold of a row.
    #[new]
    #[pyo3(signature = (tenant, *, ledger, account, code, declined, events, tag))]
    fn new(
        tenant: i64,
        ledger: Option<u32>,
        account: Option<&str>,
        code: Option<u16>,
        declined: bool,
        events: bool,
        tag: String,
    ) -> PyResult<Self> {
        let (tenant, account) = (tenant_of(tenant)?, account.map(id).transpose()?);
        Ok(FeedQuestion { core: Question { tenant, ledger, account, code, declined, events, tag } })
    }
}

/// A page of the feed.
#[pyclass(frozen, get_all, module = "pyledger._rust")]
pub struct FeedPage {
    body: Py<PyBytes>,
    rows: usize,
    looked: usize,
    seq: u64,
    recorded_ns: u64,
    missing: Py<PyBytes>,
}

/// The rows of whole batches.
#[pyclass(frozen, module = "pyledger._rust")]
pub struct FeedRows {
    core: Rows,
}

#[pymethods]
impl FeedRows {
    /// Reads a COPY stream.
    #[new]
    fn new(py: Python<'_>, copy: PyBackedBytes, shard: u16) -> PyResult<Self> {
        let core = released_for_bytes(py, copy.len(), || Rows::decode(&copy, shard));
        Ok(FeedRows { core: core.map_err(errors::corrupt)? })
    }

    /// How many there are.
    fn __len__(&self) -> usize {
        self.core.count()
    }

    /// The rows after `after_ns` that the question is about.
    fn page(
        &self,
        py: Python<'_>,
        question: &FeedQuestion,
        sides: &Sides,
        after_ns: u64,
        rows_max: usize,
        bytes_max: usize,
    ) -> PyResult<FeedPage> {
        if rows_max == 0 || bytes_max == 0 {
            return Err(PyValueError::new_err("a page has room for a row"));
        }
        let bounds = Bounds { rows_max, bytes_max };
        let made = released(py, self.core.count(), || {
            let known = sides.known.lock().unwrap_or_else(PoisonError::into_inner);
            self.core.page(&question.core, after_ns, bounds, &|tenant, id| known.get(&(tenant, id)).copied())
        });
        let (page, missing) = match made.map_err(errors::corrupt)? {
            Made::Page(page) => (page, Vec::new()),
            Made::Missing(ids) => (
                feed::Page { body: Vec::new(), rows: 0, looked: 0, seq: 0, recorded_ns: 0 },
                ids.into_iter().flat_map(u128::to_be_bytes).collect(),
            ),
        };
        Ok(FeedPage {
            body: PyBytes::new(py, &page.body).unbind(),
            rows: page.rows,
            looked: page.looked,
            seq: page.seq,
            recorded_ns: page.recorded_ns,
            missing: PyBytes::new(py, &missing).unbind(),
        })
    }
}
