//! What random clients send: mostly sense, some nonsense, retries, and chains that hang together.
//!
//! All chance of a day comes from its seed. Clients hear what became of what they sent, and go on from there.

use std::collections::VecDeque;

use pyledger_core::Limits;
use pyledger_core::nouns::{CommandKind, GROUP_HOLDS_MAX, REVERSALS_MAX, account_flags, transfer_flags};
use pyledger_core::refusal::Refusal;

use crate::asked::{self, Asked, MS, Round, SECOND, START_NS, TEXTS, Then};
use crate::wishes::ledger_of;

const TENANTS: u32 = 2;
const LEDGERS: u32 = 2;
pub const ACCOUNTS: u64 = 12;
/// Ids that targets and retries are drawn from, usually and at most.
const RECENT: usize = 30;
const REMEMBERED: usize = 400;
/// Rounds after which clients forget; a day in the model's company is shorter.
const REMEMBERED_ROUNDS: u64 = 100;

pub struct Plan {
    state: u64,
    pub ids: u128,
    pub now_ns: u64,
    /// With the number of the round.
    sent: VecDeque<(u64, Asked)>,
    accepted: VecDeque<(u64, Asked)>,
    /// What the next command that acts on another acts on.
    pub focus: Option<Asked>,
    pub rounds: u64,
    /// Without what spoils the rest of a long day: amounts that fill an account for good.
    pub is_calm: bool,
}

impl Plan {
    pub fn new(seed: u64) -> Self {
        let state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let (sent, accepted) = (VecDeque::new(), VecDeque::new());
        Self { state, ids: 0, now_ns: START_NS, sent, accepted, focus: None, rounds: 0, is_calm: false }
    }

    /// For a day that goes on for long.
    pub fn calm(seed: u64) -> Self {
        Self { is_calm: true, ..Self::new(seed) }
    }

    /// The bounds of a day: mostly so small that they are reached, and that most of what is old is looked up.
    pub fn limits(&mut self) -> Limits {
        Limits {
            ledgers_max: 5,
            accounts_max: self.pick(&[21, 24, 100]),
            holds_max: self.pick(&[30, 40, 200]),
            window_ids: self.pick(&[1, 4, 40, 40, 200, 100_000]),
        }
    }

    /// Clients remember what went well.
    pub fn heard(&mut self, asked: &Asked, refusal: Option<Refusal>) {
        if refusal.is_none() && asked.command.kind == CommandKind::Transfer {
            remember(&mut self.accepted, self.rounds, *asked);
        }
    }

    /// `expiry_ns` is when the next hold expires: the clock likes to stop around then.
    pub fn next_round(&mut self, expiry_ns: Option<u64>) -> Round {
        self.now_ns = match expiry_ns {
            Some(expiry_ns) if self.one_in(12) => (expiry_ns - 5 + self.below(8)).max(self.now_ns),
            _ => self.next_clock(),
        };
        self.rounds += 1;
        forget(&mut self.sent, self.rounds);
        forget(&mut self.accepted, self.rounds);
        let requests = self.below(3) + 1;
        let mut requests: Vec<Vec<Asked>> = (0..requests).map(|_| self.request()).collect();
        if self.rounds == 1 {
            requests.insert(0, self.opening());
        }
        for asked in requests.iter().flatten() {
            remember(&mut self.sent, self.rounds, *asked);
        }
        let then = match self.below(40) {
            0 => Then::Restart,
            1 | 2 => Then::Checkpoint,
            3 => Then::CheckpointFailed,
            _ => Then::Nothing,
        };
        Round { now_ns: self.now_ns, requests, early: self.one_in(3), undone: self.one_in(4), then }
    }

    /// The next number of Marsaglia's xorshift, below a bound.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 11) % bound
    }

    pub fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    /// The clock goes on, stands still, or for once turns back.
    fn next_clock(&mut self) -> u64 {
        match self.below(12) {
            0 => self.now_ns - self.below(SECOND),
            1 => self.now_ns + self.below(4 * SECOND),
            2 => self.now_ns,
            _ => self.now_ns + self.below(20) * MS + self.below(3),
        }
    }

    /// Most ledgers and accounts, so that the day does not begin with an hour of "not found".
    fn opening(&mut self) -> Vec<Asked> {
        let mut all = Vec::new();
        for tenant in 1..=TENANTS {
            all.extend((1..=LEDGERS).map(|number| asked::ledger(tenant, number)));
            for id in 1..=ACCOUNTS - 2 {
                let mut opened = self.account(tenant);
                opened.command.id = id.into();
                opened.command.ledger = ledger_of(id.into());
                if opened.command.flags & account_flags::IMPORTED != 0 {
                    opened.command.effective_ns = id;
                }
                all.push(opened);
            }
        }
        all
    }

    fn request(&mut self) -> Vec<Asked> {
        let tenant = 1 + self.below(u64::from(TENANTS)) as u32;
        if self.one_in(300) {
            return self.large_group(tenant);
        }
        if self.one_in(300) {
            return self.many_reversals(tenant);
        }
        let mut all = Vec::new();
        for _ in 0..self.below(9) {
            let members = if self.one_in(6) { 2 + self.below(3) } else { 1 };
            for member in 1..=members {
                let mut asked = self.asked(tenant);
                // What another tenant sent is something new from this one.
                asked.command.tenant = tenant;
                // Now and then a chain stays open, or a retry breaks it.
                if member < members {
                    asked.command.flags |= transfer_flags::LINKED;
                }
                all.push(asked);
            }
        }
        if !all.is_empty() && self.one_in(12) {
            all.extend_from_within(..);
        }
        all
    }

    /// Holds in one chain, about as many as one command resolves, and then that command.
    fn large_group(&mut self, tenant: u32) -> Vec<Asked> {
        let holds = GROUP_HOLDS_MAX as u64 - 2 + self.below(5);
        let accounts = (self.below(5) + 1, self.below(5) + 1);
        let mut all: Vec<Asked> = (0..holds).map(|_| self.plain(tenant, accounts, 1)).collect();
        for asked in &mut all {
            asked.command.flags = transfer_flags::PENDING | transfer_flags::LINKED;
        }
        if let Some(last) = all.last_mut() {
            last.command.flags = transfer_flags::PENDING;
        }
        self.focus = Some(self.pick(&all));
        all
    }

    /// A transfer, and about as many reversals of parts of it as there can be.
    fn many_reversals(&mut self, tenant: u32) -> Vec<Asked> {
        let accounts = (self.below(5) + 1, self.below(5) + 1);
        let first = self.plain(tenant, accounts, 1_000);
        let mut all = vec![first];
        for _ in 0..REVERSALS_MAX as u64 - 2 + self.below(5) {
            let mut part = self.plain(tenant, (0, 0), 1);
            part.command.flags = transfer_flags::REVERSE;
            part.command.target = first.command.id;
            (part.command.ledger, part.command.code) = (0, 0);
            all.push(part);
        }
        self.focus = Some(first);
        all
    }

    fn plain(&mut self, tenant: u32, accounts: (u64, u64), amount: u128) -> Asked {
        let mut asked = asked::transfer(tenant, self.id());
        (asked.command.debit, asked.command.credit) = (accounts.0.into(), accounts.1.into());
        (asked.command.amount, asked.command.ledger, asked.command.code) = (amount, 1, 1);
        asked
    }

    fn asked(&mut self, tenant: u32) -> Asked {
        match self.below(40) {
            0..=1 => return self.retry(tenant),
            2 => return self.account(tenant),
            3 if self.one_in(4) => {
                return asked::ledger(tenant, 1 + self.below(u64::from(LEDGERS) + 2) as u32);
            }
            _ => {}
        }
        let mut asked = if self.one_in(3) { self.acting(tenant) } else { self.moving(tenant) };
        if self.one_in(9) {
            asked.text = self.below(TEXTS.len() as u64) as u8;
        }
        if self.one_in(25) {
            self.damage(&mut asked);
        }
        asked
    }

    /// Something sent before, mostly by this tenant.
    pub fn recent(&mut self, tenant: u32) -> Option<Asked> {
        let mut found = self.any_recent();
        for _ in 0..4 {
            if found.is_some_and(|asked| asked.command.tenant == tenant) {
                break;
            }
            found = self.any_recent();
        }
        found
    }

    fn any_recent(&mut self) -> Option<Asked> {
        let back = if self.one_in(4) { REMEMBERED } else { RECENT };
        let is_sent = self.one_in(3);
        let known = if is_sent { self.sent.len() } else { self.accepted.len() };
        let at = known.checked_sub(1 + self.below(back.min(known).max(1) as u64) as usize)?;
        Some(if is_sent { self.sent[at].1 } else { self.accepted[at].1 })
    }

    fn retry(&mut self, tenant: u32) -> Asked {
        let Some(mut asked) = self.recent(tenant) else { return self.account(tenant) };
        match self.below(16) {
            0 => asked.command.amount ^= 1,
            1 => asked.command.code ^= 3,
            2 => asked.command.debit ^= 1,
            3 => asked.command.effective_ns ^= 1,
            4 => asked.command.timeout_s ^= 1,
            5 => asked.text = (asked.text + 1) % TEXTS.len() as u8,
            _ => {}
        }
        asked
    }

    pub fn id(&mut self) -> u128 {
        self.ids += 1;
        let now_ms = self.now_ns / MS;
        match self.below(20) {
            0 => 1 << 110 | self.ids,
            1 => asked::uuid7(now_ms + self.below(310_000), self.ids),
            _ => asked::uuid7(now_ms, self.ids),
        }
    }
}

fn remember(all: &mut VecDeque<(u64, Asked)>, round: u64, asked: Asked) {
    if all.len() == REMEMBERED {
        all.pop_front();
    }
    all.push_back((round, asked));
}

fn forget(all: &mut VecDeque<(u64, Asked)>, round: u64) {
    while all.front().is_some_and(|(then, _)| then + REMEMBERED_ROUNDS < round) {
        all.pop_front();
    }
}
