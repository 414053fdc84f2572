//! The ledger's own event: a hold whose time ran out is released, and a row says so.

use super::deciding::Deciding;
use super::own_id;
use crate::nouns::{Counters, EXPIRIES_PER_BATCH_MAX, Row, RowKind, Text};

impl Deciding<'_> {
    /// Records the holds that are due, first due first; what is over the bound waits for the next batch.
    pub(super) fn expire_due(&mut self) {
        let due_ns = self.next_ns();
        for _ in 0..EXPIRIES_PER_BATCH_MAX {
            match self.books.holds.first_due(due_ns) {
                Some(slot) => self.expire(slot),
                None => break,
            }
        }
    }

    fn expire(&mut self, slot: u32) {
        let hold = *self.books.holds.get(slot);
        let mut row = Row {
            recorded_ns: 0,
            id: own_id::of_expiry(hold.tenant, hold.id, self.next_ns()),
            tenant: hold.tenant,
            kind: RowKind::Expire,
            status: 0,
            debit: hold.debit,
            credit: hold.credit,
            amount: hold.amount,
            target: hold.id,
            ledger: hold.ledger,
            code: hold.code,
            flags: 0,
            timeout_s: 0,
            effective_ns: 0,
            fingerprint: [0; 16],
            text: Text::default(),
            debit_after: Counters::default(),
            credit_after: Counters::default(),
        };
        self.close_hold(slot, &mut row);
        self.record(&row, &[]);
        if planted!("hold_expired_twice") {
            row.id = own_id::of_expiry(hold.tenant, hold.id, self.next_ns());
            self.record(&row, &[]);
        }
    }
}
