//! What random clients send: mostly sense, some nonsense, retries, and chains that hang together.

use pyledger_core::nouns::{Command, CommandKind, LEDGER_MAX, TIMEOUT_S_MAX, account_flags, transfer_flags};

use pyledger_core::refusal::Refusal;

use crate::common::{self, MS, SECOND};

const TENANTS: u64 = 2;
const LEDGERS: u64 = 2;
const ACCOUNTS: u64 = 12;
/// Ids that targets and retries are drawn from.
const RECENT: usize = 30;

pub struct Plan {
    state: u64,
    ids: u128,
    sent: Vec<Command>,
    accepted: Vec<Command>,
}

impl Plan {
    pub fn new(seed: u64) -> Self {
        Self {
            state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            ids: 0,
            sent: Vec::new(),
            accepted: Vec::new(),
        }
    }

    /// Clients remember what went well.
    pub fn heard(&mut self, command: &Command, refusal: Option<Refusal>) {
        if refusal.is_none() && command.kind == CommandKind::Transfer {
            self.accepted.push(*command);
        }
    }

    /// The next number of Marsaglia's xorshift, below a bound.
    fn below(&mut self, bound: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 11) % bound
    }

    fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    /// The clock goes on, stands still, or for once turns back.
    pub fn next_clock(&mut self, now_ns: u64) -> u64 {
        match self.below(10) {
            0 => now_ns - self.below(SECOND),
            1 => now_ns + self.below(4 * SECOND),
            _ => now_ns + self.below(20) * MS + self.below(3),
        }
    }

    pub fn requests(&mut self, now_ns: u64) -> Vec<Vec<Command>> {
        let first_batch = self.sent.is_empty();
        let requests = self.below(3) + 1;
        let mut all: Vec<Vec<Command>> = (0..requests).map(|_| self.request(now_ns)).collect();
        if first_batch {
            let opening = self.opening();
            self.sent.extend_from_slice(&opening);
            all.insert(0, opening);
        }
        all
    }

    /// Most ledgers and accounts, so that the day does not begin with an hour of "not found".
    fn opening(&mut self) -> Vec<Command> {
        let mut commands = Vec::new();
        for tenant in 1..=TENANTS as u32 {
            for number in 1..=LEDGERS as u32 {
                commands.push(Command { tenant, ..common::ledger(number) });
            }
            for id in 1..=ACCOUNTS - 2 {
                let opened = self.account();
                let ledger = ledger_of(id.into());
                commands.push(Command { tenant, id: id.into(), ledger, ..opened });
            }
        }
        commands
    }

    fn request(&mut self, now_ns: u64) -> Vec<Command> {
        let tenant = 1 + self.below(TENANTS) as u32;
        let mut commands = Vec::new();
        for _ in 0..self.below(6) {
            let members = if self.one_in(6) { 2 + self.below(2) } else { 1 };
            for member in 1..=members {
                let mut command = Command { tenant, ..self.command(now_ns) };
                // Now and then a chain stays open, or a retry breaks it.
                if member < members {
                    command.flags |= transfer_flags::LINKED;
                }
                self.sent.push(command);
                commands.push(command);
            }
        }
        if !commands.is_empty() && self.one_in(12) {
            commands.extend_from_within(..);
        }
        commands
    }

    fn command(&mut self, now_ns: u64) -> Command {
        match self.below(40) {
            0..=1 => return self.retry(),
            2 => return self.account(),
            3 if self.one_in(4) => {
                let number = 1 + self.below(LEDGERS + 1) as u32;
                return common::ledger(number);
            }
            _ => {}
        }
        let command = if self.one_in(3) { self.acting(now_ns) } else { self.moving(now_ns) };
        if self.one_in(20) { self.damaged(command, now_ns) } else { command }
    }

    fn recent(&mut self) -> Option<Command> {
        let back = if self.one_in(4) { 400 } else { RECENT };
        let from = if self.one_in(3) { &self.sent } else { &self.accepted };
        let recent = from[from.len().saturating_sub(back)..].to_vec();
        (!recent.is_empty()).then(|| self.pick(&recent))
    }

    fn retry(&mut self) -> Command {
        let Some(command) = self.recent() else { return self.account() };
        if self.one_in(4) { Command { amount: command.amount ^ 1, ..command } } else { command }
    }

    fn id(&mut self, now_ns: u64) -> u128 {
        self.ids += 1;
        match self.below(20) {
            0 => 1 << 110 | self.ids,
            1 => common::uuid7(now_ns / MS + self.below(310_000), self.ids),
            _ => common::uuid7(now_ns / MS, self.ids),
        }
    }

    fn account(&mut self) -> Command {
        let flags =
            self.pick(&[0, 0, 0, 2, 2, 2, 4, 4, account_flags::IMPORTED, account_flags::IMPORTED | 2]);
        let amount = if flags & 6 != 0 { self.pick(&[0, 0, 10, 50, u128::MAX]) } else { 0 };
        let effective_ns = if flags & account_flags::IMPORTED != 0 { self.below(50) } else { 0 };
        let id = u128::from(1 + self.below(ACCOUNTS));
        let ledger = if self.one_in(9) { self.below(4) as u32 } else { ledger_of(id) };
        Command { flags, amount, effective_ns, ledger, ..common::account(id) }
    }

    fn amount(&mut self) -> u128 {
        match self.below(30) {
            0 if self.one_in(6) => u128::MAX - u128::from(self.below(60)),
            1 if self.one_in(6) => u128::MAX / 2 + u128::from(self.below(3)),
            _ => u128::from(1 + self.below(30)),
        }
    }

    fn moving(&mut self, now_ns: u64) -> Command {
        let mut flags = 0;
        let mut timeout_s = 0;
        if self.one_in(2) {
            flags |= transfer_flags::PENDING;
            timeout_s = self.pick(&[0, 0, 1, 2, 5]);
            if self.one_in(12) {
                flags |= self.pick(&[transfer_flags::CLOSING_DEBIT, transfer_flags::CLOSING_CREDIT]);
                timeout_s = self.pick(&[1, 1, 1, 0]);
            }
        }
        if self.one_in(6) {
            let both = transfer_flags::BALANCING_DEBIT | transfer_flags::BALANCING_CREDIT;
            flags |= self.pick(&[transfer_flags::BALANCING_DEBIT, transfer_flags::BALANCING_CREDIT, both]);
        }
        let (flags, effective_ns, timeout_s) = self.imported(flags, timeout_s);
        let debit = u128::from(1 + self.below(ACCOUNTS));
        let mut credit = u128::from(1 + self.below(ACCOUNTS));
        // Most clients know what a ledger is.
        while (ledger_of(credit) != ledger_of(debit) || credit == debit) && !self.one_in(30) {
            credit = u128::from(1 + self.below(ACCOUNTS));
        }
        Command {
            flags,
            effective_ns,
            timeout_s,
            debit,
            credit,
            amount: self.amount(),
            ledger: if self.one_in(40) { 1 } else { ledger_of(debit) },
            code: 1 + u16::from(self.one_in(9)),
            ..common::command(self.id(now_ns))
        }
    }

    fn imported(&mut self, flags: u16, timeout_s: u32) -> (u16, u64, u32) {
        if self.one_in(25) {
            // The imported past creeps forward with what was sent.
            let effective_ns = 30 + self.sent.len() as u64 / 4 + self.below(20);
            let timeout_s = if self.one_in(9) { timeout_s } else { 0 };
            return (flags | transfer_flags::IMPORTED, effective_ns, timeout_s);
        }
        (flags, 0, timeout_s)
    }

    fn acting(&mut self, now_ns: u64) -> Command {
        let flags = self.pick(&[
            transfer_flags::POST_PENDING,
            transfer_flags::VOID_PENDING,
            transfer_flags::REVERSE,
            transfer_flags::REVERSE,
            transfer_flags::POST_PENDING | transfer_flags::GROUP,
            transfer_flags::VOID_PENDING | transfer_flags::GROUP,
        ]);
        let wanted = if flags & transfer_flags::REVERSE != 0 { 0 } else { transfer_flags::PENDING };
        let mut target = self.recent();
        for _ in 0..6 {
            let fits = |command: &Command| {
                let kinds = transfer_flags::PENDING | transfer_flags::VOID_PENDING | transfer_flags::REVERSE;
                command.kind == CommandKind::Transfer && command.flags & kinds == wanted
            };
            if target.as_ref().is_some_and(fits) {
                break;
            }
            target = self.recent();
        }
        let target = target.unwrap_or_else(|| self.account());
        let (flags, effective_ns, _) = self.imported(flags, 0);
        let is_part = flags & transfer_flags::GROUP == 0 && self.one_in(3);
        let amount = if is_part { self.amount() } else { u128::MAX };
        let mut command =
            Command { flags, effective_ns, amount, target: target.id, ..common::command(self.id(now_ns)) };
        if self.one_in(4) {
            // Right for a hold, and swapped for a reversal; or not.
            (command.debit, command.credit) = (target.debit, target.credit);
            if flags & transfer_flags::REVERSE != 0 {
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
        if self.one_in(6) && target.amount < 1_000 {
            command.amount = target.amount.max(1);
        }
        command
    }

    fn damaged(&mut self, command: Command, now_ns: u64) -> Command {
        let small = u128::from(self.below(3));
        let flags = self.below(1 << 11) as u16 & !transfer_flags::LINKED;
        let far_ms = now_ns / MS + 300_000 + self.below(9_000);
        match self.below(24) {
            0 => Command { id: 0, ..command },
            1 => Command { id: u128::MAX, ..command },
            2 => Command { id: common::uuid7(far_ms, self.ids), ..command },
            3 => Command { id: 0xffff_ffff << 96 | 8 << 76 | 0b10 << 62 | small, ..command },
            4 => Command { reserved: true, ..command },
            5 => Command { flags, ..command },
            6 => Command { flags: command.flags | 1 << 13, ..command },
            7 => Command { debit: small, ..command },
            8 => Command { credit: small, ..command },
            9 => Command { debit: u128::MAX, ..command },
            10 => Command { credit: 99, ..command },
            11 => Command { target: small, ..command },
            12 => Command { target: command.id, ..command },
            13 => Command { amount: 0, ..command },
            14 => Command { ledger: self.pick(&[0, 3, 9, LEDGER_MAX + 1, u32::MAX]), ..command },
            15 => Command { code: self.pick(&[0, 7, u16::MAX]), ..command },
            16 => Command { timeout_s: self.pick(&[1, TIMEOUT_S_MAX, TIMEOUT_S_MAX + 1]), ..command },
            17 => {
                let effective_ns = self.pick(&[1, now_ns + SECOND, u64::MAX]);
                Command { effective_ns, flags: command.flags | transfer_flags::IMPORTED, ..command }
            }
            18 => Command { flags: command.flags | transfer_flags::IMPORTED, ..command },
            19 => Command { flags: command.flags | transfer_flags::GROUP, ..command },
            20 => Command { kind: CommandKind::Account, ..command },
            21 => Command { amount: 5, ..common::account(command.id) },
            22 => Command { code: 39, id: command.id, ..common::ledger(9) },
            _ => Command { flags: command.flags | transfer_flags::CLOSING_DEBIT, ..command },
        }
    }
}

/// Every sixth account is in the second ledger.
fn ledger_of(account: u128) -> u32 {
    1 + u32::from(account.is_multiple_of(6))
}
