//! What the accounts of a ledger hold, as one piece of bytes: ten thousand of them are looked at between two batches.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::commands::tenant as tenant_of;
use crate::engine::Engine;
use crate::reading::id;

/// Bytes of one account: id, code, when it was opened, four counters; numbers most significant byte first.
pub const HELD_BYTES: usize = 16 + 2 + 8 + 4 * 16;

/// At most `limit` accounts of a ledger in the order of their opening, after one of them.
#[pyfunction]
#[pyo3(signature = (engine, tenant, ledger, after, limit))]
pub fn held_accounts<'py>(
    py: Python<'py>,
    engine: PyRef<'py, Engine>,
    tenant: i64,
    ledger: u32,
    after: Option<&str>,
    limit: usize,
) -> PyResult<Bound<'py, PyBytes>> {
    let after = after.map(id).transpose()?;
    let page = engine.core.accounts_page(tenant_of(tenant)?, Some(ledger), after, limit);
    let page = page.ok_or_else(|| PyValueError::new_err("there is no such account to continue after"))?;
    let mut out = Vec::with_capacity(page.len() * HELD_BYTES);
    for account in page {
        let counters = &account.counters;
        out.extend_from_slice(&account.id.to_be_bytes());
        out.extend_from_slice(&account.code.to_be_bytes());
        out.extend_from_slice(&account.created_ns.to_be_bytes());
        for counter in [
            counters.debits_pending,
            counters.debits_posted,
            counters.credits_pending,
            counters.credits_posted,
        ] {
            out.extend_from_slice(&counter.to_be_bytes());
        }
    }
    Ok(PyBytes::new(py, &out))
}
