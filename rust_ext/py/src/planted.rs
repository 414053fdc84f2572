//! A bug on purpose, chosen by a test of the tests. Only in a build with the feature `planted`.

use pyo3::prelude::*;

/// Plants one bug of the core for the rest of the process. The time is for the bug that reads a clock.
#[pyfunction]
pub fn plant(name: &str, now_ns: u64) {
    pyledger_core::planted::plant(name, now_ns);
}
