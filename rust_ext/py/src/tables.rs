//! The core's tables and bounds as constants of the module.

use pyledger_core::malformed::Code;
use pyledger_core::refusal::Refusal;
use pyledger_core::{chain, nouns, reply};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::gil::GIL_ROWS_MIN;

/// Every bound that Python needs to know, by its lower-case name.
const LIMITS: &[(&str, u64)] = &[
    ("batch_rows_max", nouns::BATCH_ROWS_MAX as u64),
    ("record_bytes", nouns::RECORD_BYTES as u64),
    ("result_bytes", nouns::RESULT_BYTES as u64),
    ("reference_bytes_max", nouns::REFERENCE_BYTES_MAX as u64),
    ("metadata_bytes_max", nouns::METADATA_BYTES_MAX as u64),
    ("metadata_depth_max", nouns::METADATA_DEPTH_MAX as u64),
    ("group_holds_max", nouns::GROUP_HOLDS_MAX as u64),
    ("reversals_max", nouns::REVERSALS_MAX as u64),
    ("expiries_per_batch_max", nouns::EXPIRIES_PER_BATCH_MAX as u64),
    ("id_ahead_ms_max", nouns::ID_AHEAD_MS_MAX),
    ("ledger_max", nouns::LEDGER_MAX as u64),
    ("timeout_s_max", nouns::TIMEOUT_S_MAX as u64),
    ("key_bytes_max", nouns::KEY_BYTES_MAX as u64),
    ("asset_bytes_max", nouns::ASSET_BYTES_MAX as u64),
    ("effective_ns_max", nouns::EFFECTIVE_NS_MAX),
    ("gil_rows_min", GIL_ROWS_MIN as u64),
];

/// Adds them to the module.
pub fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let refusals: Vec<_> = Refusal::ALL
        .iter()
        .map(|one| (one.number(), one.code(), reply::class(one.class()), one.detail()))
        .collect();
    let malformed: Vec<_> = Code::ALL.iter().map(|one| (one.code(), one.general())).collect();
    let limits = PyDict::new(module.py());
    for (name, limit) in LIMITS {
        limits.set_item(name, limit)?;
    }
    module.add("REFUSALS", refusals)?;
    module.add("MALFORMED", malformed)?;
    module.add("LIMITS", limits)?;
    module.add("GENESIS_HASH", PyBytes::new(module.py(), &chain::GENESIS))
}
