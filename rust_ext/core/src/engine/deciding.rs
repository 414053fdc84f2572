//! One batch while it is being decided: each command answered, each decision recorded.
//!
//! A command is looked at by its bytes, then by its id, then by the ladder of its kind. Until a ladder
//! says that nothing can fail any more it changes nothing, so a refusal leaves no trace.

use std::cell::Cell;
use std::collections::HashMap;

use super::books::{Books, Change, Log};
use super::near::{self, Wanted};
use super::old::OldRows;
use super::reversal::Reversed;
use super::shape;
use super::window::Window;
use crate::nouns::{Command, CommandKind, Counters, Outcome, Row, RowKind, Text};
use crate::refusal::Refusal;
use crate::request::{Batch, Limits, Request};
use crate::state::Hold;

pub(super) struct Deciding<'a> {
    pub(super) books: &'a mut Books,
    pub(super) window: &'a mut Window,
    pub(super) limits: Limits,
    pub(super) old: OldRows<'a>,
    /// The clock, and when the last row was recorded.
    pub(super) now_ns: u64,
    pub(super) last_ns: u64,
    /// Ids that the window held before this batch.
    pub(super) ids_before: usize,
    pub(super) batch: Batch,
    pub(super) log: Log,
    /// Holds that this batch resolved or let expire, by tenant and id: their places in `log.removed`.
    pub(super) resolved: HashMap<(u32, u128), u32>,
    /// What this batch reversed of a transfer, by tenant and id.
    pub(super) reversed: HashMap<(u32, u128), Reversed>,
    pub(super) chain: Chain,
    /// Whose row, by tenant and id, was recorded and is not among the old ones: the journal lost it.
    pub(super) missing: Cell<Option<(u32, u128)>>,
    /// Commands of the batch that were brought near.
    pub(super) near: usize,
}

/// Whether the row being decided belongs to a linked chain, and to which group its holds do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Chain {
    /// It stands alone.
    #[default]
    None,
    /// In a chain that holds nothing yet.
    Open,
    /// In a chain whose first hold is this one.
    Group(u128),
}

impl Chain {
    /// The group of a hold recorded now.
    pub(super) fn group_of(&mut self, id: u128) -> u128 {
        match *self {
            Chain::None => 0,
            Chain::Open => {
                *self = Chain::Group(id);
                id
            }
            Chain::Group(first) => first,
        }
    }
}

/// What is known of an id.
pub(super) enum Known {
    /// It was never recorded.
    New,
    /// In this batch: rows[i].
    Here(u32),
    /// In an earlier batch: old[i].
    Before(u32),
}

/// A point in a batch that it can be taken back to.
pub(super) struct Savepoint {
    rows: usize,
    text: usize,
    changes: usize,
    last_ns: u64,
}

impl Deciding<'_> {
    /// When the next row is recorded. Never twice the same, whatever the clock does.
    pub(super) fn next_ns(&self) -> u64 {
        self.now_ns.max(self.last_ns + 1)
    }

    /// Decides the commands of one request, chain by chain. `ahead` is what those of the batch want that are not near.
    pub(super) fn request(&mut self, request: &Request, ahead: &mut impl Iterator<Item = Wanted>) {
        let mut rest = request.commands.as_slice();
        while !rest.is_empty() {
            if self.batch.outcomes.len() >= self.near {
                self.near += near::fetch(&self.books.accounts, self.window, ahead);
            }
            let linked = rest.iter().take_while(|command| command.is_linked()).count();
            if linked == 0 {
                let outcome = self.single(&rest[0], &request.text);
                self.batch.outcomes.push(outcome);
                rest = &rest[1..];
            } else if linked == rest.len() {
                self.open_chain(linked);
                rest = &[];
            } else {
                self.chain(&rest[..=linked], &request.text);
                rest = &rest[linked + 1..];
            }
        }
    }

    fn single(&mut self, command: &Command, text: &[u8]) -> Outcome {
        let mut row = asked(command);
        match self.attempt(command, text, &mut row) {
            Ok(outcome) => outcome,
            Err(refusal) if refusal.is_final() => Outcome::Recorded(self.decline(&row, refusal, text)),
            Err(refusal) => Outcome::Refused(refusal),
        }
    }

    /// Accepts a command or finds its first outcome, or says why not. `row` begins as what was asked, and
    /// is left as far as the ladder filled it in.
    pub(super) fn attempt(
        &mut self,
        command: &Command,
        text: &[u8],
        row: &mut Row,
    ) -> Result<Outcome, Refusal> {
        shape::before_lookup(command, self.next_ns())?;
        if let Some(outcome) = self.first_outcome(command)? {
            return Ok(outcome);
        }
        shape::after_lookup(command, self.next_ns())?;
        let recorded = match row.kind {
            RowKind::Ledger => self.open_ledger(command, row, text),
            RowKind::Account => self.open_account(command, row, text),
            RowKind::Transfer | RowKind::Pending => self.transfer(command, row, text),
            RowKind::Post | RowKind::Void => self.resolve(command, row, text),
            RowKind::Reverse => self.reverse(command, row, text),
            RowKind::Expire => unreachable!("no command asks for an expiry"),
        }?;
        Ok(Outcome::Recorded(recorded))
    }

    /// The outcome that a command's id already has, or that it has none.
    pub(super) fn first_outcome(&self, command: &Command) -> Result<Option<Outcome>, Refusal> {
        let (tenant, id) = (command.tenant, command.id);
        if self.old.is_archived(tenant, id) && self.old.find(tenant, id).is_none() {
            return Err(Refusal::IdArchived);
        }
        let (row, outcome) = match self.known(tenant, id) {
            Known::New => return Ok(None),
            Known::Here(place) => (&self.batch.rows[place as usize], Outcome::Repeated(place)),
            Known::Before(place) => (self.old.get(place), Outcome::Replayed(place)),
        };
        if row.fingerprint != command.fingerprint || command_kind(row.kind) != command.kind {
            return Err(Refusal::IdempotencyConflict);
        }
        Ok(Some(outcome))
    }

    pub(super) fn known(&self, tenant: u32, id: u128) -> Known {
        match self.window.find(tenant, id) {
            Some(place) if place >= self.ids_before => Known::Here((place - self.ids_before) as u32),
            _ if planted!("declined_id_forgotten" => self.was_declined(tenant, id); false) => Known::New,
            Some(_) => self.old.find(tenant, id).map_or_else(
                || {
                    self.missing.set(Some((tenant, id)));
                    Known::New
                },
                Known::Before,
            ),
            None => self.old.find(tenant, id).map_or(Known::New, Known::Before),
        }
    }

    #[cfg(feature = "planted")]
    fn was_declined(&self, tenant: u32, id: u128) -> bool {
        self.old.find(tenant, id).is_some_and(|place| self.old.get(place).status != 0)
    }

    /// The row to act on, if there is one. What was archived cannot be acted on: it is not all here that was done to it.
    pub(super) fn find_row(&self, tenant: u32, id: u128) -> Result<Option<Row>, Refusal> {
        if self.old.is_archived(tenant, id) {
            return Err(Refusal::TransferArchived);
        }
        Ok(match self.known(tenant, id) {
            Known::New => None,
            Known::Here(place) => Some(self.batch.rows[place as usize]),
            Known::Before(place) => Some(*self.old.get(place)),
        })
    }

    /// Appends a row and returns its place. Its texts are copied from `text`.
    pub(super) fn record(&mut self, row: &Row, text: &[u8]) -> u32 {
        let place = self.batch.rows.len() as u32;
        let recorded_ns = self.next_ns();
        let (from, bytes) = (row.text.start as usize, row.text.bytes());
        let start = self.batch.text.len() as u32;
        self.batch.text.extend_from_slice(&text[from..from + bytes]);
        self.batch.rows.push(Row { recorded_ns, text: Text { start, ..row.text }, ..*row });
        self.window.push(row.tenant, row.id, recorded_ns);
        self.last_ns = recorded_ns;
        place
    }

    /// Records a final refusal. The row keeps what was asked and what is known.
    pub(super) fn decline(&mut self, row: &Row, refusal: Refusal, text: &[u8]) -> u32 {
        assert!(refusal.is_final(), "only final refusals are recorded");
        self.record(&Row { status: refusal.number(), ..*row }, text)
    }

    pub(super) fn savepoint(&self) -> Savepoint {
        Savepoint {
            rows: self.batch.rows.len(),
            text: self.batch.text.len(),
            changes: self.log.changes.len(),
            last_ns: self.last_ns,
        }
    }

    /// Takes back everything since the savepoint.
    pub(super) fn rollback(&mut self, to: &Savepoint) {
        while self.log.changes.len() > to.changes {
            let change = self.log.changes.pop().expect("counted above");
            match change {
                Change::HoldRemoved { .. } => {
                    let (hold, _) = self.log.removed.last().expect("a removed hold is kept");
                    self.resolved.remove(&(hold.tenant, hold.id));
                }
                Change::Reversed { tenant, target, amount } => {
                    let reversed = self.reversed.get_mut(&(tenant, target)).expect("it was reversed");
                    reversed.amount -= amount;
                    reversed.parts -= 1;
                }
                _ => {}
            }
            self.books.revert(change, &mut self.log.removed);
        }
        while self.batch.rows.len() > to.rows {
            self.batch.rows.pop();
            if !planted!("chain_undo_leaves_an_id") {
                self.window.pop();
            }
        }
        self.batch.text.truncate(to.text);
        self.last_ns = to.last_ns;
    }

    /// Closes a hold for good and remembers in this batch what became of it.
    pub(super) fn remove_hold(&mut self, slot: u32, by: RowKind) -> Hold {
        let place = self.log.removed.len() as u32;
        let hold = self.books.remove_hold(&mut self.log, slot, by);
        self.resolved.insert((hold.tenant, hold.id), place);
        hold
    }
}

/// A row of what a command asks for, before anything is known of it.
pub(super) fn asked(command: &Command) -> Row {
    Row {
        recorded_ns: 0,
        id: command.id,
        tenant: command.tenant,
        kind: shape::row_kind(command),
        status: 0,
        debit: command.debit,
        credit: command.credit,
        amount: command.amount,
        target: command.target,
        ledger: command.ledger,
        code: command.code,
        flags: command.flags,
        timeout_s: command.timeout_s,
        effective_ns: command.effective_ns,
        fingerprint: command.fingerprint,
        text: command.text,
        debit_after: Counters::default(),
        credit_after: Counters::default(),
    }
}

pub(super) const fn wanted(command: &Command) -> Wanted {
    Wanted { tenant: command.tenant, id: command.id, debit: command.debit, credit: command.credit }
}

const fn command_kind(kind: RowKind) -> CommandKind {
    match kind {
        RowKind::Ledger => CommandKind::Ledger,
        RowKind::Account => CommandKind::Account,
        _ => CommandKind::Transfer,
    }
}
