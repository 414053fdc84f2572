//! What a batch became: the bytes to append, and the replies, encoded when they are first asked for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pyledger_core::journal::Sealed;
use pyledger_core::nouns::{Outcome, Row};
use pyledger_core::refusal::Refusal;
use pyledger_core::reply::{self, Answer};
use pyledger_core::{Batch, Corrupt, Old, chain, show};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyList};

use crate::commands::Commands;
use crate::engine::Engine;
use crate::errors;
use crate::gil::released;

/// The answer to one request.
#[pyclass(frozen, module = "pyledger._rust")]
pub struct Reply {
    body: Py<PyBytes>,
    outcome: &'static str,
    replayed: bool,
    refusal: Option<&'static str>,
}

#[pymethods]
impl Reply {
    /// JSON, or result records.
    #[getter]
    fn body<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        self.body.bind(py).clone()
    }

    /// "accepted", the class of a single command's refusal, or "batch".
    #[getter]
    fn outcome(&self) -> &'static str {
        self.outcome
    }

    /// True if the outcome was decided earlier.
    #[getter]
    fn replayed(&self) -> bool {
        self.replayed
    }

    /// The code of a single command's refusal.
    #[getter]
    fn refusal(&self) -> Option<&'static str> {
        self.refusal
    }
}

impl Reply {
    fn new(py: Python<'_>, answer: &Answer) -> Self {
        Reply {
            body: PyBytes::new(py, &answer.body).unbind(),
            outcome: answer.outcome(),
            replayed: answer.replayed,
            refusal: answer.refusal.map(Refusal::code),
        }
    }
}

/// One batch as decided.
#[pyclass(frozen, module = "pyledger._rust")]
pub struct Applied {
    pub engine: Py<Engine>,
    pub submissions: Vec<Py<Commands>>,
    pub batch: Batch,
    pub old: Old,
    pub previous: chain::Head,
    pub head: chain::Head,
    pub sealed: Option<Sealed>,
    pub copy: PyOnceLock<Py<PyBytes>>,
    /// Set by the engine when it forgets the batch.
    pub undone: Arc<AtomicBool>,
    pub replies: PyOnceLock<Py<PyList>>,
}

#[pymethods]
impl Applied {
    /// The batch's sequence number.
    #[getter]
    fn seq(&self) -> u64 {
        self.head.seq
    }

    /// Journal rows.
    #[getter]
    fn rows(&self) -> usize {
        self.batch.rows.len()
    }

    /// A complete binary COPY stream for the table `journal`.
    #[getter]
    fn copy<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let bytes = || {
            let copy = self.sealed.as_ref().map(|sealed| sealed.copy.as_slice());
            PyBytes::new(py, copy.unwrap_or_default()).unbind()
        };
        self.copy.get_or_init(py, bytes).bind(py).clone()
    }

    /// The head's hash before it.
    #[getter]
    fn prev_hash<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.previous.hash)
    }

    /// The head's hash after it.
    #[getter]
    fn hash<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.head.hash)
    }

    /// The Merkle root over its rows.
    #[getter]
    fn root<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let root =
            self.sealed.as_ref().map_or_else(|| pyledger_core::merkle::root(&[]), |sealed| sealed.link.root);
        PyBytes::new(py, &root)
    }

    /// When its first row was recorded.
    #[getter]
    fn first_ns(&self) -> u64 {
        self.sealed.as_ref().map_or(0, |sealed| sealed.link.first_ns)
    }

    /// When its last row was recorded.
    #[getter]
    fn last_ns(&self) -> u64 {
        self.sealed.as_ref().map_or(0, |sealed| sealed.link.last_ns)
    }

    /// Commands that got no for the first time in this batch, by code.
    #[getter]
    fn declines<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let refusal = |outcome: &Outcome| match outcome {
            Outcome::Recorded(row) => Refusal::from_number(self.batch.rows[*row as usize].status),
            Outcome::Refused(refusal) => Some(*refusal),
            Outcome::Repeated(_) | Outcome::Replayed(_) => None,
        };
        let mut counts = BTreeMap::new();
        for refusal in self.batch.outcomes.iter().filter_map(refusal) {
            counts.entry(refusal.number()).or_insert((refusal.code(), 0_usize)).1 += 1;
        }
        let declines = PyDict::new(py);
        for (code, count) in counts.into_values() {
            declines.set_item(code, count)?;
        }
        Ok(declines)
    }

    /// One reply a submission, in order.
    #[getter]
    fn replies<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let encode = || -> PyResult<Py<PyList>> {
            let answers = self.answers(py)?;
            let replies = answers.iter().map(|answer| Bound::new(py, Reply::new(py, answer)));
            Ok(PyList::new(py, replies.collect::<PyResult<Vec<_>>>()?)?.unbind())
        };
        Ok(self.replies.get_or_try_init(py, encode)?.bind(py).clone())
    }
}

impl Applied {
    fn answers(&self, py: Python<'_>) -> PyResult<Vec<Answer>> {
        if self.undone.load(Ordering::Relaxed) {
            return Err(PyRuntimeError::new_err("the engine forgot this batch"));
        }
        let engine = self.engine.try_borrow(py)?;
        let core = &engine.core;
        let requests: Vec<&Commands> = self.submissions.iter().map(Py::get).collect();
        let work = || -> Result<Vec<Answer>, Corrupt> {
            let side = |tenant, id| {
                core.account(tenant, id)
                    .map(|account| show::Side { flags: account.flags, allowance: account.allowance })
            };
            let mut outcomes = self.batch.outcomes.as_slice();
            let mut answers = Vec::with_capacity(requests.len());
            for one in requests {
                let (own, rest) = outcomes.split_at(one.request.commands.len());
                outcomes = rest;
                let commands = &one.request.commands;
                answers.push(reply::answer(one.form, commands, own, &self.batch, &self.old, &side)?);
            }
            Ok(answers)
        };
        released(py, self.batch.outcomes.len(), work).map_err(errors::corrupt)
    }
}

/// One journal row as JSON.
pub fn row_json(core: &pyledger_core::Engine, row: &Row, text: &[u8]) -> Result<Vec<u8>, Corrupt> {
    let side = |tenant, id| {
        core.account(tenant, id)
            .map(|account| show::Side { flags: account.flags, allowance: account.allowance })
    };
    let mut out = Vec::new();
    show::row(row, text, &side, &mut out)?;
    Ok(out)
}
