//! Lines of a file become the body of one request.

use pyledger_core::json::lines::{Column, Layout, Lines};
use pyledger_core::uuid;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::gil::released_for_bytes;

/// The rows of some lines, as they are sent.
#[pyclass(frozen, module = "pyledger._rust")]
pub struct ReadLines {
    body: Py<PyBytes>,
    rows: usize,
    lines: usize,
    bytes: usize,
    binary: bool,
    depends: bool,
    last_id: Option<u128>,
}

#[pymethods]
impl ReadLines {
    /// The body of a request.
    #[getter]
    fn body(&self, py: Python<'_>) -> Py<PyBytes> {
        self.body.clone_ref(py)
    }

    /// Rows in it.
    #[getter]
    fn rows(&self) -> usize {
        self.rows
    }

    /// Lines read.
    #[getter]
    fn lines(&self) -> usize {
        self.lines
    }

    /// Their bytes.
    #[getter]
    fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether the body is records; else it is JSON.
    #[getter]
    fn binary(&self) -> bool {
        self.binary
    }

    /// Whether a row must not overtake those before it.
    #[getter]
    fn depends(&self) -> bool {
        self.depends
    }

    /// The id of the last row.
    #[getter]
    fn last_id(&self) -> Option<String> {
        self.last_id.map(uuid::string)
    }
}

/// Reads lines from the byte `start` on; `None` if one of them is out of the ordinary.
#[pyfunction]
#[pyo3(signature = (text, start, *, columns, imported, ids_from, number, rows_max))]
#[expect(clippy::too_many_arguments, reason = "each has its name where it is called")]
pub fn read_lines(
    py: Python<'_>,
    text: &[u8],
    start: usize,
    columns: Option<Vec<String>>,
    imported: bool,
    ids_from: &str,
    number: u64,
    rows_max: usize,
) -> PyResult<Option<ReadLines>> {
    let unknown = |name: &str| PyValueError::new_err(format!("there is no column {name}"));
    let column = |name: String| Column::of(&name).ok_or_else(|| unknown(&name));
    let columns =
        columns.map(|names| names.into_iter().map(column).collect::<PyResult<Vec<_>>>()).transpose()?;
    let layout = Layout { columns, imported, ids_from: ids_from.as_bytes().to_vec() };
    let text = text.get(start..).unwrap_or_default();
    let read = released_for_bytes(py, text.len(), || {
        Lines::read(text, &layout, number, rows_max).map(|lines| (lines.body(), lines))
    });
    Ok(read.map(|(body, lines)| ReadLines {
        body: PyBytes::new(py, &body).unbind(),
        rows: lines.rows(),
        lines: lines.lines,
        bytes: lines.bytes,
        binary: lines.is_binary(),
        depends: lines.depends(),
        last_id: lines.last_id(),
    }))
}
