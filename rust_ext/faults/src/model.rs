//! The ledger again, as simply as it can be said: maps, a copy of them to undo with, and no order of checks.
//!
//! Where the engine climbs a ladder, the model gathers every refusal that applies and takes the first of the
//! table; where the engine keeps a window, an undo log and slabs, the model keeps everything for ever.

use std::collections::BTreeMap;
use std::rc::Rc;

use pyledger_core::Limits;
use pyledger_core::nouns::{Command, Counters, RowKind, account_flags, transfer_flags};
use pyledger_core::refusal::Refusal;

use crate::asked::Asked;
use crate::rules::first;
use crate::shape::malformed;

pub type Key = (u32, u128);

#[derive(Clone, Debug)]
pub struct Account {
    pub ledger: u32,
    pub flags: u16,
    pub allowance: u128,
    pub opened_ns: u64,
    pub counters: Counters,
}

/// How far the imported past of a ledger has come.
#[derive(Clone, Copy, Debug, Default)]
pub struct Imports {
    pub accounts_ns: u64,
    pub transfers_ns: u64,
}

/// A row of the journal, and what became of it since.
#[derive(Clone, Debug)]
pub struct Event {
    /// What was asked; of a row that nobody asked for, what it says of itself.
    pub asked: Asked,
    /// Whether the ledger gave the row its id.
    pub is_own: bool,
    pub kind: RowKind,
    pub recorded_ns: u64,
    pub refusal: Option<Refusal>,
    pub debit: u128,
    pub credit: u128,
    pub amount: u128,
    pub ledger: u32,
    pub code: u16,
    pub after: (Counters, Counters),
    /// The linked chain that it was recorded in, or 0.
    pub chain: u64,
    pub expires_ns: u64,
    pub closed_by: Option<RowKind>,
    pub reversed: u128,
    pub reversals: usize,
}

#[derive(Clone)]
pub struct Model {
    pub ledgers: BTreeMap<(u32, u32), Imports>,
    pub accounts: BTreeMap<Key, Account>,
    pub events: BTreeMap<Key, Rc<Event>>,
    /// Open holds in the order in which they were recorded.
    pub holds: BTreeMap<u64, Key>,
    /// What the batch has recorded.
    pub rows: Vec<Rc<Event>>,
    pub last_ns: u64,
    pub limits: Limits,
    now_ns: u64,
    chains: u64,
    /// The chain that is being decided, or 0.
    chain: u64,
}

/// A refusal and no event, or an event, which may be a decline.
pub type Answer = Result<Rc<Event>, Refusal>;

impl Model {
    pub fn new(limits: Limits) -> Self {
        Self {
            ledgers: BTreeMap::new(),
            accounts: BTreeMap::new(),
            events: BTreeMap::new(),
            holds: BTreeMap::new(),
            rows: Vec::new(),
            last_ns: 0,
            limits,
            now_ns: 0,
            chains: 0,
            chain: 0,
        }
    }

    pub fn open_holds(&self) -> impl Iterator<Item = (Key, &Rc<Event>)> {
        self.holds.values().map(|key| (*key, &self.events[key]))
    }

    /// Answers each command in order; what was recorded is in `rows`.
    pub fn batch(&mut self, requests: &[Vec<Asked>], now_ns: u64) -> Vec<Answer> {
        self.now_ns = now_ns;
        self.rows.clear();
        let at = self.next_ns();
        let mut due: Vec<(u64, u64, Key)> =
            self.open_holds().map(|(key, hold)| (hold.expires_ns, hold.recorded_ns, key)).collect();
        due.retain(|&(expires_ns, ..)| expires_ns != 0 && expires_ns <= at);
        due.sort_unstable();
        for (.., key) in due {
            self.expire(key);
        }
        let mut answers = Vec::new();
        for request in requests {
            let mut chain = Vec::new();
            for asked in request {
                chain.push(*asked);
                if asked.command.flags & transfer_flags::LINKED == 0 {
                    answers.extend(self.whole(&chain));
                    chain.clear();
                }
            }
            let open = chain.len();
            answers.extend((0..open).map(|at| {
                let is_last = at + 1 == open;
                Err(if is_last { Refusal::LinkedChainOpen } else { Refusal::LinkedChainRefused })
            }));
        }
        answers
    }

    pub fn next_ns(&self) -> u64 {
        self.now_ns.max(self.last_ns + 1)
    }

    fn whole(&mut self, chain: &[Asked]) -> Vec<Answer> {
        if chain.len() > 1 {
            let known: Vec<Option<Answer>> = chain.iter().map(|asked| self.known(asked)).collect();
            if known.iter().any(Option::is_some) {
                let refused = || Err(Refusal::LinkedChainRefused);
                return known.into_iter().map(|answer| answer.unwrap_or_else(refused)).collect();
            }
        }
        // One command that is refused has changed nothing; only a chain has to be taken back.
        let before = (chain.len() > 1).then(|| self.clone());
        self.chains += 1;
        self.chain = if chain.len() > 1 { self.chains } else { 0 };
        let answers = self.attempt(chain);
        self.chain = 0;
        match answers {
            Ok(answers) => answers,
            Err((place, refusal)) => {
                if let Some(before) = before {
                    *self = before;
                }
                self.declined(chain, place, refusal)
            }
        }
    }

    fn attempt(&mut self, chain: &[Asked]) -> Result<Vec<Answer>, (usize, Refusal)> {
        for (place, asked) in chain.iter().enumerate() {
            if self.known(asked).is_none() {
                let wrong = malformed(asked, self.next_ns());
                first(&wrong).map_err(|refusal| (place, refusal))?;
            }
        }
        let mut answers = Vec::new();
        for (place, asked) in chain.iter().enumerate() {
            let answer = match self.known(asked) {
                Some(answer) => answer,
                None => self.decide(asked),
            };
            // What was declined before is an answer; what is refused now fails the chain.
            answers.push(Ok(answer.map_err(|refusal| (place, refusal))?));
        }
        Ok(answers)
    }

    fn declined(&mut self, chain: &[Asked], place: usize, refusal: Refusal) -> Vec<Answer> {
        let refuse = |place: usize, refusal: Refusal| {
            let at = |at| Err(if at == place { refusal } else { Refusal::LinkedChainRefused });
            (0..chain.len()).map(at).collect()
        };
        if !refusal.is_final() {
            return refuse(place, refusal);
        }
        let before = (chain.len() > 1).then(|| self.clone());
        let mut answers = Vec::new();
        for (at, asked) in chain.iter().enumerate() {
            match self.known(asked) {
                Some(Ok(event)) => answers.push(Ok(event)),
                Some(Err(conflict)) => {
                    *self = before.expect("a single command is no twin of its own");
                    return refuse(at, conflict);
                }
                None => {
                    let why = if at == place { refusal } else { Refusal::LinkedEventFailed };
                    answers.push(Ok(self.record(Event { refusal: Some(why), ..self.event(asked) })));
                }
            }
        }
        answers
    }

    /// The answer that an id already has.
    fn known(&self, asked: &Asked) -> Option<Answer> {
        if malformed(asked, self.next_ns()).iter().any(|&refusal| refusal < Refusal::IdempotencyConflict) {
            return None;
        }
        let event = self.events.get(&(asked.command.tenant, asked.command.id))?;
        Some(if event.asked == *asked { Ok(event.clone()) } else { Err(Refusal::IdempotencyConflict) })
    }

    pub fn event(&self, asked: &Asked) -> Event {
        let Command { debit, credit, amount, ledger, code, .. } = asked.command;
        Event {
            asked: *asked,
            is_own: false,
            kind: asked.kind(),
            recorded_ns: self.next_ns(),
            refusal: None,
            debit,
            credit,
            amount,
            ledger,
            code,
            after: Default::default(),
            chain: self.chain,
            expires_ns: 0,
            closed_by: None,
            reversed: 0,
            reversals: 0,
        }
    }

    pub fn record(&mut self, event: Event) -> Rc<Event> {
        let event = Rc::new(event);
        self.last_ns = event.recorded_ns;
        self.rows.push(event.clone());
        // Nobody can ask for what the ledger recorded by itself.
        if !event.is_own {
            let key = (event.asked.command.tenant, event.asked.command.id);
            let before = self.events.insert(key, event.clone());
            assert!(before.is_none(), "the model records an id once");
        }
        event
    }

    fn decide(&mut self, asked: &Asked) -> Answer {
        let event = self.event(asked);
        match event.kind {
            RowKind::Ledger => self.open_ledger(event),
            RowKind::Account => self.open_account(event),
            RowKind::Transfer | RowKind::Pending => self.transfer(event),
            RowKind::Post | RowKind::Void => self.resolve(event),
            _ => self.reverse(event),
        }
    }

    fn open_ledger(&mut self, event: Event) -> Answer {
        let ledger = (event.asked.command.tenant, event.ledger);
        if self.ledgers.contains_key(&ledger) {
            return Err(Refusal::IdempotencyConflict);
        }
        if self.ledgers.len() >= self.limits.ledgers_max {
            return Err(Refusal::LedgersFull);
        }
        self.ledgers.insert(ledger, Imports::default());
        Ok(self.record(event))
    }

    fn open_account(&mut self, event: Event) -> Answer {
        let Command { tenant, id, flags, amount, effective_ns, .. } = event.asked.command;
        let is_imported = flags & account_flags::IMPORTED != 0;
        let imports = self.ledgers.get_mut(&(tenant, event.ledger)).ok_or(Refusal::LedgerNotFound)?;
        if is_imported && effective_ns <= imports.accounts_ns {
            return Err(Refusal::ImportedMustNotRegress);
        }
        if self.accounts.len() >= self.limits.accounts_max {
            return Err(Refusal::AccountsFull);
        }
        if is_imported {
            imports.accounts_ns = effective_ns;
        }
        let opened_ns = if is_imported { effective_ns } else { event.recorded_ns };
        let counters = Counters::default();
        let account = Account { ledger: event.ledger, flags, allowance: amount, opened_ns, counters };
        self.accounts.insert((tenant, id), account);
        Ok(self.record(event))
    }
}
