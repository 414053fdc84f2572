//! When the GIL is released: for work on more than a few rows, where taking it back costs nothing beside it.

use pyledger_core::nouns::RECORD_BYTES;
use pyo3::prelude::*;

/// Batches of more rows than this are worked on without the GIL.
pub const GIL_ROWS_MIN: usize = 64;

/// Runs `work` on `rows` rows.
pub fn released<T: Send>(py: Python<'_>, rows: usize, work: impl FnOnce() -> T + Send) -> T {
    if rows > GIL_ROWS_MIN { py.detach(work) } else { work() }
}

/// Runs `work` on bytes whose rows are not known yet.
pub fn released_for_bytes<T: Send>(py: Python<'_>, bytes: usize, work: impl FnOnce() -> T + Send) -> T {
    released(py, bytes / RECORD_BYTES, work)
}
