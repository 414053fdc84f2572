//! Lines of a file become the bodies of requests, one after the other.

use pyledger_core::json::columns::{Column, What};
use pyledger_core::json::layout::{LINE_BYTES_MAX, Layout, Place, Unreadable, View};
use pyledger_core::json::lines::Lines;
use pyledger_core::uuid;
use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::gil::released_for_bytes;

/// Reads the rows of one file from some place on.
#[pyclass(module = "pyledger._rust")]
pub struct RowReader {
    layout: Layout,
    next: Place,
}

#[pymethods]
impl RowReader {
    #[new]
    #[pyo3(signature = (*, accounts, columns, imported, ids_from, rows_counted, rows_max, number, torn))]
    #[expect(clippy::too_many_arguments, reason = "each has its name where it is called")]
    fn new(
        accounts: bool,
        columns: Option<Vec<String>>,
        imported: bool,
        ids_from: &str,
        rows_counted: bool,
        rows_max: usize,
        number: u64,
        torn: bool,
    ) -> PyResult<Self> {
        let what = if accounts { What::Accounts } else { What::Transfers };
        let column = |name: String| {
            let unknown = PyValueError::new_err(format!("there is no column {name}"));
            Column::of(name, what).ok_or(unknown)
        };
        let columns =
            columns.map(|names| names.into_iter().map(column).collect::<PyResult<Vec<_>>>()).transpose()?;
        let ids_from = ids_from.as_bytes().to_vec();
        let layout = Layout { what, columns, imported, ids_from, rows_counted, rows_max };
        Ok(RowReader { layout, next: Place { number, torn } })
    }

    /// Reads one request from the byte `start` on. `more` says whether more of the file can be had at once, `end`
    /// whether this is all of it.
    #[pyo3(signature = (text, start, *, more, end))]
    fn read(
        &mut self,
        py: Python<'_>,
        text: &[u8],
        start: usize,
        more: bool,
        end: bool,
    ) -> PyResult<ReadRows> {
        let view = match (end, more) {
            (true, _) => View::End,
            (false, true) => View::Part,
            (false, false) => View::Most,
        };
        let text = text.get(start..).unwrap_or_default();
        let (layout, next) = (&self.layout, self.next);
        let read = released_for_bytes(py, text.len(), || {
            Lines::read(layout, text, view, next).map(|lines| (lines.body(), lines))
        });
        let (body, lines) = read.map_err(|wrong| {
            PyValueError::new_err(match wrong {
                Unreadable::LineTooLong(line) => {
                    format!("line {line} is longer than {LINE_BYTES_MAX} bytes: this is not a file of rows")
                }
                Unreadable::QuoteNotClosed(line) => format!("line {line} opens a quote that is not closed"),
            })
        })?;
        self.next = lines.next;
        Ok(ReadRows { body: PyBytes::new(py, &body).unbind(), lines })
    }
}

/// The rows of some lines, as they are sent.
#[pyclass(frozen, module = "pyledger._rust")]
pub struct ReadRows {
    body: Py<PyBytes>,
    lines: Lines,
}

#[pymethods]
impl ReadRows {
    /// The body of a request.
    #[getter]
    fn body(&self, py: Python<'_>) -> Py<PyBytes> {
        self.body.clone_ref(py)
    }

    /// Whether the body is records; else it is JSON.
    #[getter]
    fn binary(&self) -> bool {
        self.lines.is_binary()
    }

    /// Rows in it.
    #[getter]
    fn rows(&self) -> usize {
        self.lines.rows()
    }

    /// Where one of them stands, and its id.
    fn row(&self, place: usize) -> PyResult<(u64, String)> {
        match (self.lines.numbers.get(place), self.lines.id(place)) {
            (Some(number), Some(id)) => Ok((*number, uuid::string(id))),
            _ => Err(PyIndexError::new_err("there is no such row")),
        }
    }

    /// Rows that are not sent: where each stands, its id or nothing, a code and a sentence.
    #[getter]
    fn wrong(&self) -> Vec<(u64, String, &'static str, String)> {
        let told = self.lines.wrong.iter();
        told.map(|row| {
            (row.number, row.id.map(uuid::string).unwrap_or_default(), row.code, row.detail.clone())
        })
        .collect()
    }

    /// Rows that were left out because they were declined.
    #[getter]
    fn skipped(&self) -> usize {
        self.lines.skipped
    }

    /// Rows of the file that this is about, whatever becomes of them.
    #[getter]
    fn covers(&self) -> usize {
        self.lines.covers()
    }

    /// Bytes read.
    #[getter]
    fn bytes(&self) -> usize {
        self.lines.bytes
    }

    /// The number of the line after them.
    #[getter]
    fn next_number(&self) -> u64 {
        self.lines.next.number
    }

    /// Whether that one goes on with a chain that no request can hold.
    #[getter]
    fn torn(&self) -> bool {
        self.lines.next.torn
    }
}
