//! Lines of a table become one request, if nothing in them is out of the ordinary.
//!
//! Guarded here: a cell says nothing beyond its field. Whatever could, a quote, a backslash, a byte that is no
//! printable ASCII, is not plain, and neither is a number that is not digits; such lines are for slower readers.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::gil::released_for_bytes;

/// What a column holds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Number,
    Flags,
    /// Nothing, or the line is not plain.
    Empty,
    /// "accepted", or the line is not plain.
    Accepted,
    Ignored,
}

struct Column {
    kind: Kind,
    key: Vec<u8>,
}

fn column(kind: &str, name: &str) -> PyResult<Column> {
    let (kind, opening) = match kind {
        "text" => (Kind::Text, "\""),
        "number" => (Kind::Number, ""),
        "flags" => (Kind::Flags, "[\""),
        "empty" => (Kind::Empty, ""),
        "accepted" => (Kind::Accepted, ""),
        "ignored" => (Kind::Ignored, ""),
        _ => return Err(PyValueError::new_err(format!("there is no kind of column {kind}"))),
    };
    Ok(Column { kind, key: format!("\"{name}\":{opening}").into_bytes() })
}

/// Appends one line as an object; false if it is not plain.
fn object(line: &[u8], columns: &[Column], out: &mut Vec<u8>) -> bool {
    if line.iter().any(|&byte| !(b' '..=b'~').contains(&byte) || byte == b'"' || byte == b'\\') {
        return false;
    }
    out.push(b'{');
    let mut cells = line.split(|&byte| byte == b',');
    for column in columns {
        let Some(cell) = cells.next() else { return false };
        match column.kind {
            Kind::Ignored => continue,
            Kind::Empty if !cell.is_empty() => return false,
            Kind::Accepted if cell != b"accepted" => return false,
            Kind::Number if !cell.iter().all(u8::is_ascii_digit) => return false,
            // What resolves a group weighs more, and a chain must not be cut: both take a closer look.
            Kind::Flags if [&b"linked"[..], b"group"].iter().any(|name| has(cell, name)) => return false,
            Kind::Empty | Kind::Accepted => continue,
            _ if cell.is_empty() => continue,
            _ => {}
        }
        if out.last() != Some(&b'{') {
            out.push(b',');
        }
        out.extend_from_slice(&column.key);
        if column.kind == Kind::Flags {
            for (place, name) in cell.split(|&byte| byte == b' ').enumerate() {
                if place > 0 {
                    out.extend_from_slice(b"\",\"");
                }
                out.extend_from_slice(name);
            }
            out.extend_from_slice(b"\"]");
            continue;
        }
        out.extend_from_slice(cell);
        if column.kind == Kind::Text {
            out.push(b'"');
        }
    }
    out.push(b'}');
    cells.next().is_none()
}

fn has(cell: &[u8], name: &[u8]) -> bool {
    cell.windows(name.len()).any(|window| window == name)
}

fn request(bytes: &[u8], columns: &[Column], what: &str, rows_max: usize) -> Option<(Vec<u8>, usize, usize)> {
    let mut out = format!("{{\"{what}\":[").into_bytes();
    out.reserve(2 * bytes.len());
    let (mut rows, mut read) = (0, 0);
    for line in bytes.split_inclusive(|&byte| byte == b'\n') {
        let Some(text) = line.strip_suffix(b"\n") else { break };
        if rows == rows_max {
            break;
        }
        if rows > 0 {
            out.push(b',');
        }
        if !object(text.strip_suffix(b"\r").unwrap_or(text), columns, &mut out) {
            return None;
        }
        rows += 1;
        read += line.len();
    }
    out.extend_from_slice(b"]}");
    Some((out, rows, read))
}

/// The body of a request of the first lines, how many there are, and their bytes; None if one is not plain.
#[pyfunction]
pub fn plain_rows<'py>(
    py: Python<'py>,
    lines: &[u8],
    columns: Vec<(String, String)>,
    what: &str,
    rows_max: usize,
) -> PyResult<Option<(Bound<'py, PyBytes>, usize, usize)>> {
    let columns = columns.iter().map(|(kind, name)| column(kind, name)).collect::<PyResult<Vec<_>>>()?;
    let made = released_for_bytes(py, lines.len(), || request(lines, &columns, what, rows_max));
    Ok(made.map(|(body, rows, read)| (PyBytes::new(py, &body), rows, read)))
}
