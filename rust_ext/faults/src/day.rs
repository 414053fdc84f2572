//! One random day: an engine, everything around it that must agree with it, and the model.
//!
//! After every batch: the answers and the rows are the model's, and so are balances, holds and clock; an undo
//! leaves no trace; a second engine, of another seed and hardly a window, decides the same; a third, which only
//! replays the sealed rows, has the same books; and so has one that starts from a checkpoint. At a checkpoint a
//! partition ends, and engines know a filter of its ids from then on. What differs panics, and the day's rounds
//! up to there repeat it.

use pyledger_core::chain::Head;
use pyledger_core::journal;
use pyledger_core::nouns::{Outcome, Row};
use pyledger_core::refusal::Refusal;
use pyledger_core::replay::Claimed;
use pyledger_core::{Batch, Checkpoint, Engine, Limits, Old, Request};

use crate::asked::{Round, Then, request};
use crate::journal::Journal;
use crate::model::{Answer, Model};
use crate::rows::{row_of, same_row};
use crate::sealed::Sealed;
use crate::stored::{Disk, Given, SHARD, Stored, read_on};

/// A batch that is decided and not yet committed.
struct Applied {
    requests: Vec<Request>,
    now_ns: u64,
    old: Old,
    batch: Batch,
}

pub struct Day {
    limits: Limits,
    engine: Engine,
    twin: Engine,
    replica: Engine,
    model: Model,
    journal: Journal,
    disk: Disk,
    sealed: Sealed,
    head: Head,
    applied: Vec<Applied>,
    /// Of the state before the first uncommitted batch.
    before: [u8; 32],
    restarts: u64,
    saving: Option<Saving>,
}

/// A checkpoint whose rows are still being given away, a few after each commit.
struct Saving {
    checkpoint: Checkpoint,
    given: Given,
    head: Head,
    batches: usize,
    succeeds: bool,
}

/// Of a checkpoint, after each commit.
const ROWS_A_PIECE: usize = 3;

/// What became of one command: how it was answered, and why not.
pub type Heard = (Outcome, Option<Refusal>);

impl Day {
    pub fn new(limits: Limits) -> Self {
        let engine = Engine::new(limits, 1);
        Self {
            limits,
            before: engine.digest_all(),
            engine,
            twin: Engine::new(Limits { window_ids: 3, ..limits }, 2),
            replica: Engine::new(limits, 3),
            model: Model::new(limits),
            journal: Journal::default(),
            disk: Disk::default(),
            sealed: Sealed::default(),
            head: Head::GENESIS,
            applied: Vec::new(),
            restarts: 0,
            saving: None,
        }
    }

    /// Decides one round and compares everything. Returns what became of each command, and the rows.
    pub fn round(&mut self, round: &Round) -> (Vec<Heard>, Vec<Row>) {
        let requests: Vec<Request> = round.requests.iter().map(|all| request(all)).collect();
        let asked: Vec<&Request> = requests.iter().collect();
        let mut lookups = self.engine.probe(&asked);
        if !round.early
            || !lookups.ids.is_empty()
            || !lookups.targets.is_empty()
            || !lookups.fresh_ids.is_empty()
        {
            self.settle();
            lookups = self.engine.probe(&asked);
        }
        let old = self.journal.read(&lookups);
        let batch = self.engine.apply(&asked, round.now_ns, &old);
        assert_eq!(batch.missing, None, "every row that it needs is there");
        self.applied.push(Applied { requests, now_ns: round.now_ns, old, batch });
        if round.undone {
            self.undo();
        }
        let answers = self.model.batch(&round.requests, round.now_ns);
        let heard = self.same(round, &answers);
        let rows = self.applied.last().expect("just decided").batch.rows.clone();
        match round.then {
            Then::Nothing => {}
            Then::Checkpoint => self.checkpoint(true),
            Then::CheckpointFailed => self.checkpoint(false),
            Then::Restart => self.restart(),
        }
        (heard, rows)
    }

    /// When the next hold expires.
    pub fn next_expiry_ns(&self) -> Option<u64> {
        self.engine.next_expiry_ns()
    }

    /// What is left of a day: everything is committed, and what is stored is enough.
    pub fn end(&mut self) {
        self.settle();
        let loaded = self.disk.load(self.limits, 5);
        assert_eq!(loaded.digest(), self.engine.digest(), "what is stored gives the same books");
    }

    /// Forgets every uncommitted batch and decides them again.
    fn undo(&mut self) {
        let after = self.engine.digest_all();
        self.engine.undo();
        assert_eq!(self.engine.digest_all(), self.before, "undo is exact");
        for applied in &self.applied {
            let asked: Vec<&Request> = applied.requests.iter().collect();
            let again = self.engine.apply(&asked, applied.now_ns, &applied.old);
            assert_eq!(again, applied.batch, "deciding again decides the same");
        }
        assert_eq!(self.engine.digest_all(), after, "deciding again ends in the same state");
    }

    /// Commits what is uncommitted, in order.
    fn settle(&mut self) {
        for applied in std::mem::take(&mut self.applied) {
            self.decide_elsewhere(&applied);
            self.engine.commit();
            self.journal.append(&applied.batch);
            self.sealed.add(&applied.batch.rows);
            let Batch { rows, text, .. } = &applied.batch;
            if let Some(sealed) = journal::seal(SHARD, &self.head, rows, text) {
                let claimed = Claimed { link: sealed.link, hash: sealed.head.hash };
                let stored = Stored { copy: sealed.copy, claimed };
                self.head = read_on(&mut self.replica, self.head, &stored);
                assert_eq!(self.head, sealed.head, "the chain goes on");
                self.disk.append(stored);
            }
        }
        let digest = self.engine.digest();
        assert_eq!(self.twin.digest(), digest, "another engine has the same books");
        assert_eq!(self.replica.digest(), digest, "replaying gives the same books");
        self.go_on_saving();
        self.before = self.engine.digest_all();
    }

    fn decide_elsewhere(&mut self, applied: &Applied) {
        let asked: Vec<&Request> = applied.requests.iter().collect();
        let old = self.journal.read(&self.twin.probe(&asked));
        let batch = self.twin.apply(&asked, applied.now_ns, &old);
        assert_eq!(batch.rows, applied.batch.rows, "neither seed nor window shows in the rows");
        for (one, other) in batch.outcomes.iter().zip(&applied.batch.outcomes) {
            let (one, other) = (row_of(*one, &batch, &old), row_of(*other, &applied.batch, &applied.old));
            assert_eq!(one.map(|(row, _)| row.recorded_ns), other.map(|(row, _)| row.recorded_ns));
        }
        self.twin.commit();
    }

    fn checkpoint(&mut self, succeeds: bool) {
        self.settle();
        while self.saving.is_some() {
            self.go_on_saving();
        }
        let (checkpoint, batches) = (self.engine.checkpoint(), self.disk.later());
        self.sealed.seal([&mut self.engine, &mut self.twin]);
        self.saving =
            Some(Saving { checkpoint, given: Given::default(), head: self.head, batches, succeeds });
    }

    /// Takes a few more rows of the checkpoint; stores it once there are no more.
    fn go_on_saving(&mut self) {
        let Some(mut saving) = self.saving.take() else { return };
        if saving.given.add(&mut self.engine, ROWS_A_PIECE) {
            self.saving = Some(saving);
            return;
        }
        let Saving { checkpoint, given, head, batches, succeeds } = saving;
        // One that failed may have been stored all the same.
        if succeeds || self.restarts.is_multiple_of(2) {
            self.disk.save(&checkpoint, &given, head, batches);
        }
        if succeeds {
            self.engine.checkpoint_done();
        } else {
            self.engine.checkpoint_failed(&checkpoint);
        }
    }

    fn restart(&mut self) {
        self.settle();
        self.restarts += 1;
        self.saving = None;
        let loaded = self.disk.load(self.limits, 10 + self.restarts);
        assert_eq!(loaded.digest(), self.engine.digest(), "what is stored gives the same books");
        assert_eq!(loaded.last_ns(), self.engine.last_ns());
        self.engine = loaded;
        if self.restarts.is_multiple_of(2) {
            self.sealed.teach(&mut self.engine);
        }
        self.before = self.engine.digest_all();
    }

    /// Compares what the engine and the model made of a round.
    fn same(&self, round: &Round, answers: &[Answer]) -> Vec<Heard> {
        let Applied { batch, old, .. } = self.applied.last().expect("just decided");
        let asked = round.requests.iter().flatten();
        assert_eq!((batch.outcomes.len(), asked.clone().count()), (answers.len(), answers.len()));
        let first_ns = batch.rows.first().map_or(u64::MAX, |row| row.recorded_ns);
        let mut recorded_ns = 0;
        let mut heard = Vec::with_capacity(answers.len());
        for ((asked, outcome), answer) in asked.zip(&batch.outcomes).zip(answers) {
            let refusal = match (row_of(*outcome, batch, old), answer) {
                (Ok((row, text)), Ok(event)) => {
                    same_row(row, text, event);
                    let is_first = event.recorded_ns >= first_ns && event.recorded_ns > recorded_ns;
                    recorded_ns = recorded_ns.max(if is_first { event.recorded_ns } else { 0 });
                    let as_recorded = matches!(outcome, Outcome::Recorded(_));
                    assert_eq!(as_recorded, is_first, "it is recorded once, then replayed: {asked:?}");
                    event.refusal
                }
                (Err(refusal), Err(expected)) if refusal == *expected => Some(refusal),
                (found, expected) => panic!("{asked:?}: the engine {found:?}, the model {expected:?}"),
            };
            heard.push((*outcome, refusal));
        }
        assert_eq!(batch.rows.len(), self.model.rows.len(), "as many rows as the model");
        for (row, event) in batch.rows.iter().zip(&self.model.rows) {
            same_row(row, &batch.text, event);
        }
        self.same_books();
        heard
    }

    fn same_books(&self) {
        assert_eq!(self.engine.last_ns(), self.model.last_ns);
        assert_eq!(self.engine.ledgers(), self.model.ledgers.len());
        assert_eq!(self.engine.accounts(), self.model.accounts.len());
        for (&(tenant, id), account) in &self.model.accounts {
            let found = self.engine.account(tenant, id).expect("an account");
            assert_eq!((found.counters, found.flags), (account.counters, account.flags), "{tenant} {id}");
        }
        assert_eq!(self.engine.holds(), self.model.holds.len());
        for ((tenant, id), hold) in self.model.open_holds() {
            let found = self.engine.hold(tenant, id).expect("a hold");
            assert_eq!((found.amount, found.expires_ns), (hold.amount, hold.expires_ns));
        }
        let next = self.model.open_holds().map(|(_, hold)| hold.expires_ns).filter(|&at| at != 0).min();
        assert_eq!(self.engine.next_expiry_ns(), next);
    }
}
