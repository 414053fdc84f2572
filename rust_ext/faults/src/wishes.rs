//! One command as a random client wishes it: an account, money to move or hold, something to act on, a mistake.

use pyledger_core::nouns::{CommandKind, LEDGER_MAX, TIMEOUT_S_MAX, account_flags, transfer_flags};

use crate::asked::{self, ASSET, Asked, MS, SECOND};
use crate::plan::{ACCOUNTS, Plan};

impl Plan {
    pub fn account(&mut self, tenant: u32) -> Asked {
        let imported = account_flags::IMPORTED;
        let flags = self.pick(&[0, 0, 0, 0, 2, 2, 2, 4, 4, imported, imported | 2]);
        let mut asked = asked::account(tenant, u128::from(1 + self.below(ACCOUNTS)));
        let command = &mut asked.command;
        command.flags = flags;
        command.ledger = ledger_of(command.id);
        if flags & 6 != 0 {
            command.amount = self.pick(&[0, 0, 10, 50, u128::MAX]);
        }
        if flags & imported != 0 {
            command.effective_ns = self.below(50);
        }
        if self.one_in(9) {
            command.ledger = self.below(4) as u32;
        }
        if self.one_in(4) {
            command.id = self.id();
        }
        asked
    }

    fn amount(&mut self) -> u128 {
        let is_huge = !self.is_calm && self.one_in(6);
        match self.below(30) {
            0 if is_huge => u128::MAX - u128::from(self.below(60)),
            1 if is_huge => u128::MAX / 2 + u128::from(self.below(3)),
            _ => u128::from(1 + self.below(30)),
        }
    }

    pub fn moving(&mut self, tenant: u32) -> Asked {
        let mut flags = 0;
        let mut timeout_s = 0;
        if self.one_in(2) {
            flags |= transfer_flags::PENDING;
            timeout_s = self.pick(&[0, 0, 1, 2, 5]);
            if self.one_in(12) {
                flags |= self.pick(&[transfer_flags::CLOSING_DEBIT, transfer_flags::CLOSING_CREDIT]);
                timeout_s = if self.is_calm { 1 } else { self.pick(&[1, 1, 1, 0]) };
            }
        }
        if self.one_in(6) {
            let both = transfer_flags::BALANCING_DEBIT | transfer_flags::BALANCING_CREDIT;
            flags |= self.pick(&[transfer_flags::BALANCING_DEBIT, transfer_flags::BALANCING_CREDIT, both]);
        }
        let debit = u128::from(1 + self.below(ACCOUNTS - 1));
        let mut credit = u128::from(1 + self.below(ACCOUNTS - 1));
        // Most clients know what a ledger is.
        while (ledger_of(credit) != ledger_of(debit) || credit == debit) && !self.one_in(30) {
            credit = u128::from(1 + self.below(ACCOUNTS - 1));
        }
        let mut asked = asked::transfer(tenant, self.id());
        let (flags, effective_ns, timeout_s) = self.imported(flags, timeout_s);
        (asked.command.flags, asked.command.effective_ns, asked.command.timeout_s) =
            (flags, effective_ns, timeout_s);
        (asked.command.debit, asked.command.credit) = (debit, credit);
        asked.command.amount = self.amount();
        if flags & (transfer_flags::BALANCING_DEBIT | transfer_flags::BALANCING_CREDIT) != 0 && self.one_in(3)
        {
            asked.command.amount = u128::MAX;
        }
        asked.command.ledger = if self.one_in(40) { 1 } else { ledger_of(debit) };
        asked.command.code = 1 + u16::from(self.one_in(9));
        asked
    }

    fn imported(&mut self, flags: u16, timeout_s: u32) -> (u16, u64, u32) {
        if self.one_in(25) {
            // The imported past creeps forward with what was sent.
            let effective_ns = 30 + self.rounds * 4 + self.below(20);
            let timeout_s = if self.one_in(9) { timeout_s } else { 0 };
            return (flags | transfer_flags::IMPORTED, effective_ns, timeout_s);
        }
        (flags, 0, timeout_s)
    }

    pub fn acting(&mut self, tenant: u32) -> Asked {
        let mut flags = self.pick(&[
            transfer_flags::POST_PENDING,
            transfer_flags::VOID_PENDING,
            transfer_flags::REVERSE,
            transfer_flags::REVERSE,
            transfer_flags::POST_PENDING | transfer_flags::GROUP,
            transfer_flags::VOID_PENDING | transfer_flags::GROUP,
        ]);
        let target = self.focus.take().or_else(|| self.target(tenant, flags));
        let target = target.unwrap_or_else(|| self.account(tenant));
        if target.command.flags & transfer_flags::LINKED != 0 && self.one_in(2) {
            flags = transfer_flags::POST_PENDING | transfer_flags::GROUP;
        }
        let mut asked = asked::transfer(tenant, self.id());
        (asked.command.flags, asked.command.effective_ns, _) = self.imported(flags, 0);
        asked.command.target = target.command.id;
        let is_part = flags & transfer_flags::GROUP == 0 && self.one_in(3);
        asked.command.amount = if is_part { self.amount() } else { u128::MAX };
        if self.one_in(4) {
            self.repeat_target(&mut asked, &target);
        }
        if self.one_in(6) && target.command.amount < 1_000 {
            asked.command.amount = target.command.amount.max(1);
        }
        asked
    }

    /// Something recent that the flags fit, or after a few tries anything.
    fn target(&mut self, tenant: u32, flags: u16) -> Option<Asked> {
        let wanted = if flags & transfer_flags::REVERSE != 0 { 0 } else { transfer_flags::PENDING };
        let kinds = transfer_flags::PENDING | transfer_flags::VOID_PENDING | transfer_flags::REVERSE;
        let fits = |found: &Asked| {
            found.command.kind == CommandKind::Transfer && found.command.flags & kinds == wanted
        };
        let mut target = self.recent(tenant);
        for _ in 0..6 {
            if target.as_ref().is_some_and(fits) {
                break;
            }
            target = self.recent(tenant);
        }
        target
    }

    /// Says again what the target says: right for a hold, swapped for a reversal; or wrong for once.
    fn repeat_target(&mut self, asked: &mut Asked, target: &Asked) {
        let (command, target) = (&mut asked.command, &target.command);
        (command.debit, command.credit) = (target.debit, target.credit);
        if command.flags & transfer_flags::REVERSE != 0 {
            (command.debit, command.credit) = (target.credit, target.debit);
        }
        (command.ledger, command.code) = (target.ledger, target.code);
        match self.below(12) {
            0 => command.debit = 1,
            1 => command.credit = 1,
            2 => command.ledger = 2,
            3 => command.code = 2,
            _ => {}
        }
    }

    pub fn damage(&mut self, asked: &mut Asked) {
        let small = u128::from(self.below(3));
        let flags = self.below(1 << 11) as u16 & !transfer_flags::LINKED;
        let far_ms = self.now_ns / MS + 300_000 + self.below(9_000);
        let (at, tenant) = (self.below(24), asked.command.tenant);
        let command = &mut asked.command;
        match at {
            0 => command.id = 0,
            1 => command.id = u128::MAX,
            2 => command.id = asked::uuid7(far_ms, self.ids),
            3 => command.id = 0xffff_ffff << 96 | 8 << 76 | 0b10 << 62 | small,
            4 => command.reserved = true,
            5 => command.flags = flags,
            6 => command.flags |= 1 << 13,
            7 => command.debit = small,
            8 => command.credit = small,
            9 => command.debit = u128::MAX,
            10 => command.credit = 99,
            11 => command.target = small,
            12 => command.target = command.id,
            13 => command.amount = 0,
            14 => command.ledger = self.pick(&[0, 3, 9, LEDGER_MAX + 1, u32::MAX]),
            15 => command.code = self.pick(&[0, 7, u16::MAX]),
            16 => command.timeout_s = self.pick(&[1, TIMEOUT_S_MAX, TIMEOUT_S_MAX + 1]),
            17 => {
                command.flags |= transfer_flags::IMPORTED;
                command.effective_ns = self.pick(&[1, self.now_ns + SECOND, u64::MAX]);
            }
            18 => command.flags |= transfer_flags::IMPORTED,
            19 => command.flags |= transfer_flags::GROUP,
            20 => command.kind = CommandKind::Account,
            21 => {
                *asked = asked::account(tenant, command.id);
                asked.command.amount = 5;
            }
            22 => {
                let id = command.id;
                *asked = asked::ledger(tenant, 9);
                (asked.command.code, asked.command.id) = (39, id);
                asked.text = self.pick(&[0, ASSET]);
            }
            _ => command.flags |= transfer_flags::CLOSING_DEBIT,
        }
    }
}

/// Every sixth account is in the second ledger.
pub fn ledger_of(account: u128) -> u32 {
    1 + u32::from(account.is_multiple_of(6))
}
