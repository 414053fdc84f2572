//! A request's bytes become commands.

use pyledger_core::json::{self, Action};
use pyledger_core::malformed::{Code, Malformed};
use pyledger_core::nouns::{BATCH_ROWS_MAX, GROUP_HOLDS_MAX, transfer_flags};
use pyledger_core::reply::Form;
use pyledger_core::{Request, binary, uuid};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::errors;
use crate::gil::released_for_bytes;

/// One request, decoded: its commands, and the form that its reply takes.
#[pyclass(frozen, module = "pyledger._rust")]
pub struct Commands {
    pub request: Request,
    pub form: Form,
    weight: usize,
}

#[pymethods]
impl Commands {
    /// Commands in it, 1 to 8,190.
    #[getter]
    fn rows(&self) -> usize {
        self.request.commands.len()
    }

    /// Journal rows that it appends at most.
    #[getter]
    fn weight(&self) -> usize {
        self.weight
    }

    /// The commands' ids in order, derived ones included.
    #[getter]
    fn ids(&self) -> Vec<String> {
        self.request.commands.iter().map(|command| uuid::string(command.id)).collect()
    }

    /// Whether any of them has a reference or metadata.
    #[getter]
    fn has_texts(&self) -> bool {
        !self.request.text.is_empty()
    }

    /// Transfers as fixed records of 128 bytes, without their texts.
    fn records<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &binary::records(&self.request.commands))
    }
}

/// Refuses what is no tenant.
pub fn tenant(tenant: i64) -> PyResult<u32> {
    match u32::try_from(tenant) {
        Ok(number) if number > 0 && i32::try_from(number).is_ok() => Ok(number),
        _ => Err(PyValueError::new_err("a tenant is a number from 1 to 2147483647")),
    }
}

fn decoded(
    py: Python<'_>,
    bytes: usize,
    form: Form,
    decode: impl FnOnce() -> Result<Request, Malformed> + Send,
) -> PyResult<Commands> {
    let request =
        released_for_bytes(py, bytes, decode).map_err(|malformed| errors::malformed(py, malformed))?;
    let rows = |flags: u16| if flags & transfer_flags::GROUP == 0 { 1 } else { GROUP_HOLDS_MAX };
    let weight = request.commands.iter().map(|command| rows(command.flags)).sum();
    if weight > BATCH_ROWS_MAX {
        let detail = format!(
            "The batch could append {weight} rows, more than {BATCH_ROWS_MAX}: resolving a group counts as {GROUP_HOLDS_MAX}."
        );
        return Err(errors::malformed(py, Malformed::because(Code::BatchTooLarge, detail)));
    }
    Ok(Commands { request, form, weight })
}

/// Reads one ledger.
#[pyfunction]
pub fn decode_ledger(py: Python<'_>, body: &[u8], tenant: i64) -> PyResult<Commands> {
    let tenant = self::tenant(tenant)?;
    decoded(py, body.len(), Form::Single, || json::ledger(body, tenant))
}

/// Reads one account.
#[pyfunction]
pub fn decode_account(py: Python<'_>, body: &[u8], tenant: i64, key: Option<&str>) -> PyResult<Commands> {
    let tenant = self::tenant(tenant)?;
    decoded(py, body.len(), Form::Single, || json::account(body, tenant, key))
}

/// Reads a batch of accounts.
#[pyfunction]
pub fn decode_accounts(py: Python<'_>, body: &[u8], tenant: i64) -> PyResult<Commands> {
    let tenant = self::tenant(tenant)?;
    decoded(py, body.len(), Form::Json, || json::accounts(body, tenant))
}

/// Reads one transfer.
#[pyfunction]
pub fn decode_transfer(py: Python<'_>, body: &[u8], tenant: i64, key: Option<&str>) -> PyResult<Commands> {
    let tenant = self::tenant(tenant)?;
    decoded(py, body.len(), Form::Single, || json::transfer(body, tenant, key))
}

/// Reads a batch of transfers.
#[pyfunction]
pub fn decode_transfers(py: Python<'_>, body: &[u8], tenant: i64) -> PyResult<Commands> {
    let tenant = self::tenant(tenant)?;
    decoded(py, body.len(), Form::Json, || json::transfers(body, tenant))
}

/// Reads a batch of transfers as fixed records.
#[pyfunction]
pub fn decode_transfers_binary(py: Python<'_>, body: &[u8], tenant: i64) -> PyResult<Commands> {
    let tenant = self::tenant(tenant)?;
    decoded(py, body.len(), Form::Binary, || binary::transfers(body, tenant))
}

/// Reads the body of a post, a void or a reversal.
#[pyfunction]
pub fn decode_resolution(
    py: Python<'_>,
    body: &[u8],
    tenant: i64,
    action: &str,
    target: &str,
    key: Option<&str>,
) -> PyResult<Commands> {
    let tenant = self::tenant(tenant)?;
    let action = match action {
        "post" => Action::Post,
        "void" => Action::Void,
        "reverse" => Action::Reverse,
        _ => return Err(PyValueError::new_err("an action is post, void or reverse")),
    };
    decoded(py, body.len(), Form::Single, || json::resolution(body, tenant, action, target, key))
}

/// How deep a body nests.
#[pyfunction]
pub fn json_depth(py: Python<'_>, body: &[u8]) -> usize {
    released_for_bytes(py, body.len(), || json::depth::of(body))
}
