//! What is stored of a partition of the journal that is over: a filter of its ids, and a root over hashes.

use std::sync::Arc;

use pyledger_core::filter::{Filter, read_ids};
use pyledger_core::merkle::{Edge, Hash};
use pyledger_core::uuid;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::engine::Engine;
use crate::errors;
use crate::gil::released_for_bytes;

/// Ids that a partition may have.
#[pyclass(module = "pyledger._rust")]
pub struct IdFilter {
    pub core: Arc<Filter>,
}

#[pymethods]
impl IdFilter {
    /// An empty one.
    #[new]
    fn new(ids: u64) -> Self {
        IdFilter { core: Arc::new(Filter::new(ids)) }
    }

    /// What was stored.
    #[staticmethod]
    fn load(py: Python<'_>, stored: &[u8]) -> PyResult<Self> {
        let filter = released_for_bytes(py, stored.len(), || Filter::from_bytes(stored));
        Ok(IdFilter { core: Arc::new(filter.map_err(errors::corrupt)?) })
    }

    /// Adds the ids of a COPY OUT stream.
    fn add(&mut self, py: Python<'_>, copy: &[u8]) -> PyResult<usize> {
        let filter = Arc::get_mut(&mut self.core)
            .ok_or_else(|| PyRuntimeError::new_err("an engine uses this filter already"))?;
        let added = released_for_bytes(py, copy.len(), || {
            let ids = read_ids(copy)?;
            for (tenant, id) in &ids {
                filter.insert(*tenant, *id);
            }
            Ok(ids.len())
        });
        added.map_err(errors::corrupt)
    }

    /// What is to be stored.
    fn stored<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &released_for_bytes(py, self.core.bytes(), || self.core.to_bytes()))
    }

    /// Lets an engine know filters of all ids that were recorded before a time.
    #[staticmethod]
    fn teach(mut engine: PyRefMut<'_, Engine>, filters: Vec<PyRef<'_, IdFilter>>, until_ns: u64) {
        engine.core.know(filters.iter().map(|filter| Arc::clone(&filter.core)).collect(), until_ns);
    }

    #[getter]
    fn bytes(&self) -> usize {
        self.core.bytes()
    }
}

/// A tree over leaves that come piece by piece.
#[pyclass(module = "pyledger._rust")]
pub struct TreeEdge {
    core: Edge,
}

#[pymethods]
impl TreeEdge {
    /// Without leaves.
    #[new]
    fn new() -> Self {
        TreeEdge { core: Edge::default() }
    }

    /// Adds leaves that are hashes already, 32 bytes each.
    fn add(&mut self, py: Python<'_>, leaves: &[u8]) -> PyResult<()> {
        let (hashes, rest) = leaves.as_chunks::<32>();
        if !rest.is_empty() {
            return Err(PyValueError::new_err("a hash has 32 bytes"));
        }
        let hashes: &[Hash] = hashes;
        let edge = &mut self.core;
        released_for_bytes(py, leaves.len(), || {
            for leaf in hashes {
                edge.push(*leaf);
            }
        });
        Ok(())
    }

    /// The root over all of them.
    fn root<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.core.root())
    }
}

/// Which of the ids of a COPY OUT stream some filters may have: number of the filter, tenant, id.
#[pyfunction]
pub fn suspects(
    py: Python<'_>,
    copy: &[u8],
    filters: Vec<PyRef<'_, IdFilter>>,
) -> PyResult<Vec<(usize, u32, String)>> {
    let filters: Vec<Arc<Filter>> = filters.iter().map(|filter| Arc::clone(&filter.core)).collect();
    let found = released_for_bytes(py, copy.len(), || {
        let mut found = Vec::new();
        for (tenant, id) in read_ids(copy)? {
            for (number, filter) in filters.iter().enumerate() {
                if filter.may_have(tenant, id) {
                    found.push((number, tenant, uuid::string(id)));
                }
            }
        }
        Ok(found)
    });
    found.map_err(errors::corrupt)
}
