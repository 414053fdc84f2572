//! The engine, and the head of the chain that its batches extend.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use pyledger_core::chain::Head;
use pyledger_core::engine::NOW_NS_MAX;
use pyledger_core::nouns::Counters;
use pyledger_core::replay::Replay;
use pyledger_core::{Corrupt, Limits, Request, journal, show, uuid};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyBytes;

use crate::applied::{Applied, row_json};
use crate::checkpoint::{self, Checkpoint};
use crate::commands::{Commands, tenant as tenant_of};
use crate::errors;
use crate::gil::{released, released_for_bytes};
use crate::lookups::{self, Wanted};
use crate::reading::{self, BatchRow, checked_metadata, id, read_old};

/// Any limit of an engine; its slots are numbers of 32 bits.
const LIMIT_MAX: usize = 1_000_000_000;

/// A batch that is neither committed nor undone.
struct Uncommitted {
    head: Head,
    undone: Arc<AtomicBool>,
}

/// Every account, every open hold and a window of recent ids of one shard.
#[pyclass(module = "pyledger._rust")]
pub struct Engine {
    pub core: pyledger_core::Engine,
    shard: u16,
    head: Head,
    replay: Replay,
    uncommitted: VecDeque<Uncommitted>,
}

#[pymethods]
impl Engine {
    /// An empty engine at the genesis head.
    #[new]
    #[pyo3(signature = (shard, *, ledgers_max, accounts_max, holds_max, window_ids, seed))]
    fn new(
        shard: i64,
        ledgers_max: usize,
        accounts_max: usize,
        holds_max: usize,
        window_ids: usize,
        seed: u64,
    ) -> PyResult<Self> {
        let shard = u16::try_from(shard).ok().filter(|number| i16::try_from(*number).is_ok());
        let shard = shard.ok_or_else(|| PyValueError::new_err("a shard is a number from 0 to 32767"))?;
        let bounded = |limit: usize| limit <= LIMIT_MAX;
        if ![ledgers_max, accounts_max, holds_max, window_ids].into_iter().all(bounded) {
            return Err(PyValueError::new_err("a limit of an engine is a number from 0 to 1000000000"));
        }
        let limits = Limits { ledgers_max, accounts_max, holds_max, window_ids };
        let core = pyledger_core::Engine::new(limits, seed);
        let (head, replay, uncommitted) = (Head::GENESIS, Replay::default(), VecDeque::new());
        Ok(Engine { core, shard, head, replay, uncommitted })
    }

    /// The shard it was made for.
    #[getter]
    fn shard(&self) -> u16 {
        self.shard
    }

    /// The committed head's sequence number.
    #[getter]
    fn seq(&self) -> u64 {
        self.head.seq
    }

    /// The committed head's hash.
    #[getter]
    fn hash<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.head.hash)
    }

    /// When the last committed row was recorded.
    #[getter]
    fn last_ns(&self) -> u64 {
        self.head.last_ns
    }

    /// When the next open hold expires.
    #[getter]
    fn next_expiry_ns(&self) -> Option<u64> {
        self.core.next_expiry_ns()
    }

    /// Ledgers, those of uncommitted batches included.
    #[getter]
    fn ledgers(&self) -> usize {
        self.core.ledgers()
    }

    /// Accounts, those of uncommitted batches included.
    #[getter]
    fn accounts(&self) -> usize {
        self.core.accounts()
    }

    /// Open holds, those of uncommitted batches included.
    #[getter]
    fn holds(&self) -> usize {
        self.core.holds()
    }

    /// Batches applied and neither committed nor undone.
    #[getter]
    fn uncommitted(&self) -> usize {
        self.uncommitted.len()
    }

    /// What `apply` needs of the journal.
    fn probe(&self, py: Python<'_>, submissions: Vec<Py<Commands>>) -> Option<Wanted> {
        let requests: Vec<&Request> = submissions.iter().map(|one| &one.get().request).collect();
        let rows = requests.iter().map(|request| request.commands.len()).sum();
        lookups::wanted(&released(py, rows, || self.core.probe(&requests)))
    }

    /// Decides a batch at the time `now_ns`.
    fn apply(
        slf: &Bound<'_, Self>,
        submissions: Vec<Py<Commands>>,
        now_ns: u64,
        old: Vec<PyBackedBytes>,
    ) -> PyResult<Applied> {
        let py = slf.py();
        if now_ns > NOW_NS_MAX {
            return Err(PyValueError::new_err("the clock is beyond the year 2194"));
        }
        let mut engine = slf.try_borrow_mut()?;
        let Engine { core, shard, head: committed, uncommitted, .. } = &mut *engine;
        if !old.is_empty() && !uncommitted.is_empty() {
            return Err(PyRuntimeError::new_err("rows were looked up while a batch is uncommitted"));
        }
        let previous = uncommitted.back().map_or(*committed, |last| last.head);
        let requests: Vec<&Request> = submissions.iter().map(|one| &one.get().request).collect();
        let rows = requests.iter().map(|request| request.commands.len()).sum();
        let (old, batch, sealed) = released(py, rows, || -> Result<_, Corrupt> {
            let old = read_old(&old, *shard)?;
            let batch = core.apply(&requests, now_ns, &old);
            if let Some((tenant, id)) = batch.missing {
                return Err(Corrupt(format!(
                    "the row of {} of tenant {tenant} is missing",
                    uuid::string(id)
                )));
            }
            let sealed = journal::seal(*shard, &previous, &batch.rows, &batch.text);
            Ok((old, batch, sealed))
        })
        .map_err(errors::corrupt)?;
        let head = sealed.as_ref().map_or(previous, |sealed| sealed.head);
        let undone = Arc::new(AtomicBool::new(false));
        uncommitted.push_back(Uncommitted { head, undone: Arc::clone(&undone) });
        let engine = slf.clone().unbind();
        let (copy, replies) = (PyOnceLock::new(), PyOnceLock::new());
        Ok(Applied { engine, submissions, batch, old, previous, head, sealed, copy, undone, replies })
    }

    /// The oldest uncommitted batch is durable.
    fn commit(&mut self) -> PyResult<()> {
        let oldest = self.uncommitted.pop_front();
        let oldest = oldest.ok_or_else(|| PyRuntimeError::new_err("there is no uncommitted batch"))?;
        self.core.commit();
        self.head = oldest.head;
        Ok(())
    }

    /// Forgets every uncommitted batch.
    fn undo(&mut self) {
        for batch in self.uncommitted.drain(..) {
            batch.undone.store(true, Ordering::Relaxed);
        }
        self.core.undo();
    }

    /// The head that a checkpoint was taken at.
    fn set_head(&mut self, seq: u64, head_hash: &[u8], last_ns: u64) -> PyResult<()> {
        if self.head != Head::GENESIS || !self.uncommitted.is_empty() {
            return Err(PyRuntimeError::new_err("only a new engine can be given a head"));
        }
        let head = Head { seq, hash: reading::hash(head_hash)?, last_ns };
        self.core.restore_done(last_ns).map_err(errors::corrupt)?;
        self.head = head;
        Ok(())
    }

    /// Loads one COPY OUT stream of a checkpoint table with `rows` rows in all.
    #[pyo3(signature = (what, copy, rows = 0))]
    fn load(&mut self, py: Python<'_>, what: &str, copy: &[u8], rows: usize) -> PyResult<usize> {
        if self.head != Head::GENESIS || !self.uncommitted.is_empty() {
            return Err(PyRuntimeError::new_err("only a new engine can be loaded"));
        }
        reading::load(py, &mut self.core, self.shard, what, copy, rows)
    }

    /// The next batches whose rows `replay` will bring.
    fn expect(&mut self, batches: Vec<BatchRow>) -> PyResult<()> {
        self.replay.expect(&self.head, &reading::claims(batches)?).map_err(errors::corrupt)
    }

    /// Journal rows that were read and wait for others.
    #[getter]
    fn waiting(&self) -> usize {
        self.replay.waiting()
    }

    /// Applies rows of the expected batches, or of `batches` as a whole.
    #[pyo3(signature = (copy, batches = None))]
    fn replay(&mut self, py: Python<'_>, copy: &[u8], batches: Option<Vec<BatchRow>>) -> PyResult<u64> {
        errors::while_uncommitted(self.core.uncommitted())?;
        let whole = batches.is_some();
        if let Some(batches) = batches {
            self.expect(batches)?;
        }
        let Engine { core, shard, head, replay, .. } = self;
        let read = released_for_bytes(py, copy.len(), || {
            let rows = replay.read(core, *shard, head, copy)?;
            if whole { replay.end().map(|()| rows) } else { Ok(rows) }
        });
        read.map_err(errors::corrupt)
    }

    /// What changed since the last checkpoint.
    fn checkpoint(&mut self, py: Python<'_>) -> PyResult<Checkpoint> {
        errors::while_uncommitted(self.core.uncommitted())?;
        Ok(Checkpoint::new(py, self.shard, self.head, self.core.checkpoint()))
    }

    /// The next rows of the last checkpoint for a table.
    fn checkpoint_rows<'py>(
        &mut self,
        py: Python<'py>,
        table: &str,
        rows_max: usize,
    ) -> PyResult<checkpoint::Piece<'py>> {
        errors::while_uncommitted(self.core.uncommitted())?;
        checkpoint::next_rows(py, &mut self.core, self.shard, table, rows_max)
    }

    /// It is durable.
    fn checkpoint_done(&mut self, checkpoint: &Checkpoint) -> PyResult<()> {
        checkpoint.settle()?;
        self.core.checkpoint_done();
        Ok(())
    }

    /// It was not stored.
    fn checkpoint_failed(&mut self, checkpoint: &Checkpoint) -> PyResult<()> {
        errors::while_uncommitted(self.core.uncommitted())?;
        self.core.checkpoint_failed(&checkpoint.settle()?);
        Ok(())
    }

    /// An account with its balances now.
    #[pyo3(signature = (tenant, id, reference, metadata))]
    fn account_json<'py>(
        &self,
        py: Python<'py>,
        tenant: i64,
        id: &str,
        reference: Option<&str>,
        metadata: Option<&str>,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let metadata = checked_metadata(metadata)?;
        let account = self.core.account(tenant_of(tenant)?, reading::id(id)?);
        Ok(account.map(|account| {
            let mut out = Vec::new();
            show::account(account, reference.unwrap_or_default(), metadata, &mut out);
            PyBytes::new(py, &out)
        }))
    }

    /// A ledger.
    #[pyo3(signature = (tenant, number, metadata))]
    fn ledger_json<'py>(
        &self,
        py: Python<'py>,
        tenant: i64,
        number: i64,
        metadata: Option<&str>,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let metadata = checked_metadata(metadata)?;
        let tenant = tenant_of(tenant)?;
        let ledger = u32::try_from(number).ok().and_then(|number| self.core.ledger(tenant, number));
        Ok(ledger.map(|ledger| {
            let mut out = Vec::new();
            show::ledger(ledger, metadata, &mut out);
            PyBytes::new(py, &out)
        }))
    }

    /// Ids of accounts in order of creation.
    #[pyo3(signature = (tenant, ledger, after, limit))]
    fn account_ids(
        &self,
        tenant: i64,
        ledger: Option<u32>,
        after: Option<&str>,
        limit: usize,
    ) -> PyResult<Vec<String>> {
        let after = after.map(id).transpose()?;
        let page = self.core.accounts_page(tenant_of(tenant)?, ledger, after, limit);
        let page = page.ok_or_else(|| PyValueError::new_err("there is no such account to continue after"))?;
        Ok(page.iter().map(|account| uuid::string(account.id)).collect())
    }

    /// Numbers of ledgers in order of number.
    #[pyo3(signature = (tenant, after, limit))]
    fn ledger_numbers(&self, tenant: i64, after: Option<u32>, limit: usize) -> PyResult<Vec<u32>> {
        let page = self.core.ledgers_page(tenant_of(tenant)?, after, limit);
        Ok(page.iter().map(|ledger| ledger.number).collect())
    }

    /// A journal row, given as `record_send(row)`, as JSON.
    fn row_json<'py>(&self, py: Python<'py>, record: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
        let mut text = Vec::new();
        let stored = journal::decode_record(record, &mut text).map_err(errors::corrupt)?;
        let json = row_json(&self.core, &stored.row, &text).map_err(errors::corrupt)?;
        Ok(PyBytes::new(py, &json))
    }

    /// Accounts from `slot` on with their counters.
    fn balances(&self, slot: u32, limit: usize) -> Vec<(u32, String, u128, u128, u128, u128)> {
        let accounts = (slot..u32::MAX).map_while(|slot| self.core.account_at(slot)).take(limit);
        accounts
            .map(|account| {
                let Counters { debits_pending, debits_posted, credits_pending, credits_posted } =
                    account.counters;
                let id = uuid::string(account.id);
                (account.tenant, id, debits_pending, debits_posted, credits_pending, credits_posted)
            })
            .collect()
    }

    /// SHA-256 over the whole state in sorted order.
    fn digest<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &py.detach(|| self.core.digest()))
    }
}
