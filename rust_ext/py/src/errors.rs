//! The core's errors as exceptions.

use pyledger_core::malformed;
use pyo3::create_exception;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;

create_exception!(
    pyledger._rust,
    Malformed,
    PyValueError,
    "A request's bytes are wrong, so none of it was looked at further."
);
create_exception!(
    pyledger._rust,
    Corrupt,
    PyValueError,
    "Bytes read back from the database are not what was written."
);

/// With its code, its detail and its index as attributes.
pub fn malformed(py: Python<'_>, malformed: malformed::Malformed) -> PyErr {
    let error = Malformed::new_err(malformed.detail.clone());
    let value = error.value(py);
    let set = value
        .setattr("code", malformed.code.code())
        .and_then(|()| value.setattr("detail", malformed.detail))
        .and_then(|()| value.setattr("index", malformed.index));
    match set {
        Ok(()) => error,
        Err(other) => other,
    }
}

/// With its message.
pub fn corrupt(corrupt: pyledger_core::Corrupt) -> PyErr {
    Corrupt::new_err(corrupt.0)
}

/// Raises `RuntimeError` while there are uncommitted batches.
pub fn while_uncommitted(batches: usize) -> PyResult<()> {
    if batches == 0 { Ok(()) } else { Err(PyRuntimeError::new_err("a batch is uncommitted")) }
}
