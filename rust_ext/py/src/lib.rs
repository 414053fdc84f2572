//! The Python face of the core, as a table of contents: bytes in, bytes out, nothing decided here.
//!
//! `pyledger/_rust.pyi` says what each name does; what stands here must match it.

mod applied;
mod checkpoint;
mod commands;
mod engine;
mod errors;
mod feed;
mod gil;
mod held;
mod lines;
mod lookups;
#[cfg(feature = "planted")]
mod planted;
mod proofs;
mod reading;
mod seal;
mod tables;

use pyo3::prelude::*;

#[pymodule]
mod _rust {
    use super::{Bound, PyModule, PyResult, tables};

    #[pymodule_export]
    use super::applied::{Applied, Reply};
    #[pymodule_export]
    use super::checkpoint::Checkpoint;
    #[pymodule_export]
    use super::commands::{
        Commands, decode_account, decode_accounts, decode_ledger, decode_resolution, decode_transfer,
        decode_transfers, decode_transfers_binary, json_depth,
    };
    #[pymodule_export]
    use super::engine::Engine;
    #[pymodule_export]
    use super::errors::{Corrupt, Malformed};
    #[pymodule_export]
    use super::feed::{FeedPage, FeedQuestion, FeedRows, Sides};
    #[pymodule_export]
    use super::held::held_accounts;
    #[pymodule_export]
    use super::lines::{ReadRows, RowReader};
    #[cfg(feature = "planted")]
    #[pymodule_export]
    use super::planted::plant;
    #[pymodule_export]
    use super::proofs::{archive_table, prove_row, tree_root};
    #[pymodule_export]
    use super::seal::{IdFilter, TreeEdge, suspects};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        tables::add(module)
    }
}
