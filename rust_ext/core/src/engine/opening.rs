//! The ladders that open a ledger and an account.

use super::deciding::Deciding;
use crate::nouns::{Command, Counters, Row, account_flags};
use crate::refusal::Refusal;
use crate::state::{Account, Ledger};

impl Deciding<'_> {
    pub(super) fn open_ledger(
        &mut self,
        command: &Command,
        row: &mut Row,
        text: &[u8],
    ) -> Result<u32, Refusal> {
        // A ledger's id is made of its number; one that brings another id asks for another ledger.
        if self.books.ledgers.find(command.tenant, command.ledger).is_some() {
            return Err(Refusal::IdempotencyConflict);
        }
        let from = command.text.start as usize;
        let asset = &text[from..from + command.text.reference_bytes as usize];
        let Ok(asset) = std::str::from_utf8(asset) else {
            return Err(Refusal::ReservedFieldUsed);
        };
        if self.books.ledgers.len() >= self.limits.ledgers_max {
            return Err(Refusal::LedgersFull);
        }
        // Nothing can fail below.
        let ledger = Ledger {
            tenant: command.tenant,
            number: command.ledger,
            exponent: command.code,
            asset: asset.to_owned(),
            created_ns: self.next_ns(),
            imported_ns: 0,
        };
        self.books.open_ledger(&mut self.log, ledger);
        Ok(self.record(row, text))
    }

    pub(super) fn open_account(
        &mut self,
        command: &Command,
        row: &mut Row,
        text: &[u8],
    ) -> Result<u32, Refusal> {
        let Some(ledger) = self.books.ledgers.find(command.tenant, command.ledger) else {
            return Err(Refusal::LedgerNotFound);
        };
        let is_imported = command.flags & account_flags::IMPORTED != 0;
        if is_imported && command.effective_ns <= self.books.ledgers.get(ledger).imported_account_ns {
            return Err(Refusal::ImportedMustNotRegress);
        }
        // An account stays when the partition with the row that opened it was archived.
        if self.books.accounts.find(command.tenant, command.id).is_some() {
            return Err(Refusal::IdempotencyConflict);
        }
        if self.books.accounts.len() as usize >= self.limits.accounts_max {
            return Err(Refusal::AccountsFull);
        }
        // Nothing can fail below.
        let account = account_of(row, self.next_ns());
        self.books.open_account(&mut self.log, account);
        if is_imported {
            let imports = self.books.imports_to_change(&mut self.log, ledger);
            imports.imported_account_ns = command.effective_ns;
        }
        Ok(self.record(row, text))
    }
}

/// The account that a row opens.
pub(super) fn account_of(row: &Row, recorded_ns: u64) -> Account {
    Account {
        id: row.id,
        counters: Counters::default(),
        allowance: row.amount,
        created_ns: recorded_ns,
        effective_ns: row.effective_ns,
        tenant: row.tenant,
        ledger: row.ledger,
        code: row.code,
        flags: row.flags,
    }
}
