//! An engine with its journal kept in memory: what the writer and PostgreSQL are to it in production.
//!
//! Guarded here, with every batch that any test sends: deciding it, undoing it and deciding it again gives
//! the same rows and leaves the state the same to the byte; and replaying its rows into a second engine
//! gives the same books.

#![allow(dead_code, reason = "each test uses its own part")]

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use pyledger_core::nouns::{
    Command, CommandKind, Counters, Outcome, Row, RowKind, Text, account_flags, transfer_flags,
};
use pyledger_core::refusal::Refusal;
use pyledger_core::{Account, Batch, Engine, Limits, Lookups, Old, Request};

pub const SECOND: u64 = 1_000_000_000;
pub const MS: u64 = 1_000_000;
pub const START_NS: u64 = 1_800_000_000 * SECOND;
pub const TENANT: u32 = 1;
pub const LEDGER: u32 = 1;

/// What a client gets for one command.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answer {
    pub row: Option<Row>,
    pub refusal: Option<Refusal>,
    pub is_replay: bool,
}

impl Answer {
    pub fn row(&self) -> Row {
        self.row.unwrap_or_else(|| panic!("nothing was recorded: {:?}", self.refusal))
    }

    pub fn accepted(&self) -> Row {
        assert_eq!(self.refusal, None);
        self.row()
    }
}

#[derive(Default)]
pub struct Journal {
    pub rows: Vec<Row>,
    pub text: Vec<u8>,
    by_id: HashMap<(u32, u128), usize>,
    by_target: HashMap<(u32, u128), Vec<usize>>,
    pub looked_up: usize,
    /// Rows of before are archived, but for openings.
    pub archived_ns: u64,
}

impl Journal {
    pub fn append(&mut self, batch: &Batch) {
        for row in &batch.rows {
            let place = self.rows.len();
            let (from, bytes) = (row.text.start as usize, row.text.bytes());
            let start = self.text.len() as u32;
            self.text.extend_from_slice(&batch.text[from..from + bytes]);
            assert!(self.rows.last().is_none_or(|last| last.recorded_ns < row.recorded_ns));
            self.rows.push(Row { text: Text { start, ..row.text }, ..*row });
            let before = self.by_id.insert((row.tenant, row.id), place);
            assert!(before.is_none(), "an id is recorded once");
            if row.target != 0 && row.status == 0 {
                self.by_target.entry((row.tenant, row.target)).or_default().push(place);
            }
        }
    }

    pub fn find(&self, tenant: u32, id: u128) -> Option<&Row> {
        self.by_id.get(&(tenant, id)).map(|&place| &self.rows[place])
    }

    pub fn read(&mut self, lookups: &Lookups) -> Old {
        self.looked_up += lookups.ids.len() + lookups.targets.len() + lookups.fresh_ids.len();
        let mut places: Vec<usize> = Vec::new();
        places.extend(lookups.ids.iter().filter_map(|key| self.by_id.get(key)));
        places.extend(lookups.targets.iter().filter_map(|key| self.by_id.get(key)));
        places.extend(lookups.targets.iter().filter_map(|key| self.by_target.get(key)).flatten());
        let fresh = lookups.fresh_ids.iter().filter_map(|key| self.by_id.get(key).copied());
        places.extend(fresh.filter(|&place| self.rows[place].recorded_ns >= lookups.fresh_from_ns));
        places.reverse();
        let is_here = |row: &Row| row.recorded_ns >= self.archived_ns || row.kind <= RowKind::Account;
        let rows = places.iter().map(|&place| self.rows[place]).filter(is_here).collect();
        Old { rows, text: self.text.clone(), archived: self.archived(lookups) }
    }

    /// What a look-up says of rows that were recorded before `archived_ns`.
    fn archived(&self, lookups: &Lookups) -> Vec<(u32, u128)> {
        let is_archived = |key: &&(u32, u128)| {
            let row = self.by_id.get(key).map(|&place| &self.rows[place]);
            row.is_some_and(|row| row.recorded_ns < self.archived_ns && row.kind > RowKind::Account)
        };
        lookups.ids.iter().chain(&lookups.targets).filter(is_archived).copied().collect()
    }
}

pub struct Shard {
    pub engine: Engine,
    pub twin: Engine,
    pub journal: Journal,
    pub now_ns: u64,
    ids: u128,
}

pub const LIMITS: Limits =
    Limits { ledgers_max: 100, accounts_max: 10_000, holds_max: 10_000, window_ids: 100_000 };

impl Shard {
    pub fn new() -> Self {
        Self::with(LIMITS)
    }

    pub fn with(limits: Limits) -> Self {
        let engine = Engine::new(limits, 1);
        // Another seed and hardly a window: neither may show.
        let twin = Engine::new(Limits { window_ids: 3, ..limits }, 2);
        Self { engine, twin, journal: Journal::default(), now_ns: START_NS, ids: 0 }
    }

    /// A ledger, and accounts 1 to 4: wallets 1 and 2 without overdraft, 3 and 4 without a limit.
    pub fn bank() -> Self {
        let mut shard = Self::new();
        shard.open_ledger(LEDGER);
        shard.open_account(1, account_flags::DEBITS_MUST_NOT_EXCEED_CREDITS, 0);
        shard.open_account(2, account_flags::DEBITS_MUST_NOT_EXCEED_CREDITS, 0);
        shard.open_account(3, 0, 0);
        shard.open_account(4, 0, 0);
        shard
    }

    /// A new id of this time.
    pub fn id(&mut self) -> u128 {
        self.ids += 1;
        uuid7(self.now_ns / MS, self.ids)
    }

    pub fn open_ledger(&mut self, number: u32) -> Row {
        let request = Request { commands: vec![ledger(number)], text: b"EUR".to_vec() };
        self.request(request)[0].accepted()
    }

    pub fn open_account(&mut self, id: u128, flags: u16, allowance: u128) -> Row {
        self.one(Command { flags, amount: allowance, ..account(id) }).accepted()
    }

    /// A transfer with a new id.
    pub fn transfer(&mut self, debit: u128, credit: u128, amount: u128) -> Command {
        Command { debit, credit, amount, ledger: LEDGER, code: 1, ..command(self.id()) }
    }

    /// A hold with a new id.
    pub fn pending(&mut self, debit: u128, credit: u128, amount: u128) -> Command {
        Command { flags: transfer_flags::PENDING, ..self.transfer(debit, credit, amount) }
    }

    /// A post, void or reversal of all of a transfer, by its flag.
    pub fn act(&mut self, flags: u16, target: u128) -> Command {
        Command { flags, target, amount: u128::MAX, ..command(self.id()) }
    }

    pub fn one(&mut self, command: Command) -> Answer {
        self.many(&[command])[0]
    }

    pub fn refusal(&mut self, command: Command) -> Option<Refusal> {
        self.one(command).refusal
    }

    pub fn many(&mut self, commands: &[Command]) -> Vec<Answer> {
        self.request(Request { commands: commands.to_vec(), text: Vec::new() })
    }

    pub fn request(&mut self, request: Request) -> Vec<Answer> {
        self.requests(vec![request])
    }

    /// Sends requests as one batch, a millisecond after the one before.
    pub fn requests(&mut self, mut requests: Vec<Request>) -> Vec<Answer> {
        self.now_ns += MS;
        for command in requests.iter_mut().flat_map(|request| &mut request.commands) {
            command.fingerprint = fingerprint(command);
        }
        let requests: Vec<&Request> = requests.iter().collect();
        let old = self.journal.read(&self.engine.probe(&requests));
        let before = (self.engine.digest(), self.engine.digest_all());
        let first = self.engine.apply(&requests, self.now_ns, &old);
        let after = self.engine.digest_all();
        self.engine.undo();
        assert_eq!((self.engine.digest(), self.engine.digest_all()), before, "undo is exact");
        let batch = self.engine.apply(&requests, self.now_ns, &old);
        assert_eq!((&batch, self.engine.digest_all()), (&first, after), "deciding again decides the same");
        self.journal.append(&batch);
        self.engine.commit();
        for row in &batch.rows {
            self.twin.replay(row, &batch.text).expect("what was decided replays");
        }
        assert_eq!(self.twin.digest(), self.engine.digest(), "replaying gives the same books");
        if batch.rows.iter().all(|row| row.status != 0) {
            assert_eq!(self.engine.digest(), before.0, "a decline changes no books");
        }
        batch.outcomes.iter().map(|&outcome| answer(outcome, &batch, &old)).collect()
    }

    /// Lets the holds that are due expire, and nothing else.
    pub fn wait(&mut self, seconds: u64) -> Vec<Row> {
        self.now_ns += seconds * SECOND;
        let recorded = self.journal.rows.len();
        self.requests(Vec::new());
        self.journal.rows[recorded..].to_vec()
    }

    pub fn account(&self, id: u128) -> &Account {
        self.engine.account(TENANT, id).expect("an account")
    }

    pub fn counters(&self, id: u128) -> Counters {
        self.account(id).counters
    }

    pub fn is_closed(&self, id: u128) -> bool {
        self.account(id).flags & account_flags::CLOSED != 0
    }
}

pub fn answer(outcome: Outcome, batch: &Batch, old: &Old) -> Answer {
    let (row, is_replay) = match outcome {
        Outcome::Recorded(place) => (batch.rows[place as usize], false),
        Outcome::Repeated(place) => (batch.rows[place as usize], true),
        Outcome::Replayed(place) => (old.rows[place as usize], true),
        Outcome::Refused(refusal) => {
            return Answer { row: None, refusal: Some(refusal), is_replay: false };
        }
    };
    let refusal = (row.status != 0).then(|| Refusal::from_number(row.status).expect("a known refusal"));
    Answer { row: Some(row), refusal, is_replay }
}

pub fn uuid7(ms: u64, number: u128) -> u128 {
    u128::from(ms) << 80 | 0x7 << 76 | 0b10 << 62 | number
}

pub fn command(id: u128) -> Command {
    Command::blank(CommandKind::Transfer, TENANT, id)
}

pub fn account(id: u128) -> Command {
    Command { kind: CommandKind::Account, ledger: LEDGER, code: 1, ..command(id) }
}

/// Its request's text begins with an asset of three letters.
pub fn ledger(number: u32) -> Command {
    let text = Text { start: 0, reference_bytes: 3, metadata_bytes: 0 };
    Command { kind: CommandKind::Ledger, ledger: number, code: 2, text, ..command(ledger_id(number)) }
}

pub fn ledger_id(number: u32) -> u128 {
    1 << 100 | u128::from(number)
}

pub fn counters(
    debits_pending: u128,
    debits_posted: u128,
    credits_pending: u128,
    credits_posted: u128,
) -> Counters {
    Counters { debits_pending, debits_posted, credits_pending, credits_posted }
}

/// Stands in for the codec's SHA-256: different commands differ, equal ones do not.
fn fingerprint(command: &Command) -> [u8; 16] {
    let Command { kind, id, debit, credit, amount, target, effective_ns, .. } = *command;
    let mut hash = DefaultHasher::new();
    (kind as u8, id, debit, credit, amount, target, effective_ns).hash(&mut hash);
    (command.timeout_s, command.ledger, command.code, command.flags, command.reserved).hash(&mut hash);
    let mut bytes = [1; 16];
    bytes[..8].copy_from_slice(&hash.finish().to_le_bytes());
    bytes
}
