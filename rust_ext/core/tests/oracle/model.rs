//! The ledger again, as simply as it can be said: maps, whole copies to undo, and no order of checks.
//!
//! Where the engine climbs a ladder, the model gathers every refusal that applies and takes the first of the
//! table; where the engine keeps a window, an undo log and a slab, the model keeps everything for ever.

use std::collections::BTreeMap;

use pyledger_core::nouns::{Command, CommandKind, Counters, RowKind, account_flags, transfer_flags};
use pyledger_core::refusal::Refusal;

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

/// A recorded command, and what became of it since.
#[derive(Clone, Debug)]
pub struct Event {
    pub command: Command,
    pub kind: RowKind,
    pub recorded_ns: u64,
    pub refusal: Option<Refusal>,
    pub debit: u128,
    pub credit: u128,
    pub amount: u128,
    pub ledger: u32,
    pub code: u16,
    pub after: (Counters, Counters),
    pub chain: u64,
    pub expires_ns: u64,
    pub closed_by: Option<RowKind>,
    pub reversed: u128,
    pub reversals: usize,
}

#[derive(Clone, Default)]
pub struct Model {
    pub ledgers: BTreeMap<(u32, u32), (u64, u64)>,
    pub accounts: BTreeMap<Key, Account>,
    pub events: BTreeMap<Key, Event>,
    pub last_ns: u64,
    now_ns: u64,
    chains: u64,
    /// The chain that is being decided, or 0.
    chain: u64,
    pub holds_max: usize,
}

/// A refusal and no event, or an event, which may be a decline.
pub type Answer = Result<Event, Refusal>;

impl Model {
    pub fn new(holds_max: usize) -> Self {
        Self { holds_max, ..Self::default() }
    }

    pub fn open_holds(&self) -> Vec<(Key, Event)> {
        let open = |event: &Event| {
            event.kind == RowKind::Pending && event.refusal.is_none() && event.closed_by.is_none()
        };
        let mut holds: Vec<(Key, Event)> = self
            .events
            .iter()
            .filter(|(_, event)| open(event))
            .map(|(&key, event)| (key, event.clone()))
            .collect();
        holds.sort_by_key(|(_, event)| event.recorded_ns);
        holds
    }

    pub fn batch(&mut self, requests: &[Vec<Command>], now_ns: u64) -> Vec<Answer> {
        self.now_ns = now_ns;
        let at = self.next_ns();
        let mut due = self.open_holds();
        due.retain(|(_, hold)| hold.expires_ns != 0 && hold.expires_ns <= at);
        due.sort_by_key(|(_, hold)| (hold.expires_ns, hold.recorded_ns));
        for (key, _) in due {
            self.release(key, RowKind::Expire, 0);
            self.last_ns = self.next_ns();
        }
        let mut answers = Vec::new();
        for request in requests {
            let mut chain = Vec::new();
            for command in request {
                chain.push(*command);
                if command.flags & transfer_flags::LINKED == 0 {
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

    fn whole(&mut self, chain: &[Command]) -> Vec<Answer> {
        if chain.len() > 1 {
            let known: Vec<Option<Answer>> = chain.iter().map(|command| self.known(command)).collect();
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

    fn attempt(&mut self, chain: &[Command]) -> Result<Vec<Answer>, (usize, Refusal)> {
        for (place, command) in chain.iter().enumerate() {
            if self.known(command).is_none() {
                let wrong = malformed(command, self.next_ns());
                first(&wrong).map_err(|refusal| (place, refusal))?;
            }
        }
        let mut answers = Vec::new();
        for (place, command) in chain.iter().enumerate() {
            let answer = match self.known(command) {
                Some(answer) => answer,
                None => self.decide(command),
            };
            // What was declined before is an answer; what is refused now fails the chain.
            answers.push(Ok(answer.map_err(|refusal| (place, refusal))?));
        }
        Ok(answers)
    }

    fn declined(&mut self, chain: &[Command], place: usize, refusal: Refusal) -> Vec<Answer> {
        let refuse = |place: usize, refusal: Refusal| {
            let at = |at| Err(if at == place { refusal } else { Refusal::LinkedChainRefused });
            (0..chain.len()).map(at).collect()
        };
        if !refusal.is_final() {
            return refuse(place, refusal);
        }
        let before = self.clone();
        let mut answers = Vec::new();
        for (at, command) in chain.iter().enumerate() {
            match self.known(command) {
                Some(Ok(event)) => answers.push(Ok(event)),
                Some(Err(conflict)) => {
                    *self = before;
                    return refuse(at, conflict);
                }
                None => {
                    let why = if at == place { refusal } else { Refusal::LinkedEventFailed };
                    answers.push(Ok(self.record(Event { refusal: Some(why), ..self.event(command) })));
                }
            }
        }
        answers
    }

    /// The answer that an id already has.
    fn known(&self, command: &Command) -> Option<Answer> {
        if malformed(command, self.next_ns()).iter().any(|&refusal| refusal < Refusal::IdempotencyConflict) {
            return None;
        }
        let event = self.events.get(&(command.tenant, command.id))?;
        let is_same =
            Command { fingerprint: [0; 16], ..event.command } == Command { fingerprint: [0; 16], ..*command };
        Some(if is_same { Ok(event.clone()) } else { Err(Refusal::IdempotencyConflict) })
    }

    fn event(&self, command: &Command) -> Event {
        let flags = command.flags;
        let kind = match command.kind {
            CommandKind::Ledger => RowKind::Ledger,
            CommandKind::Account => RowKind::Account,
            CommandKind::Transfer if flags & transfer_flags::PENDING != 0 => RowKind::Pending,
            CommandKind::Transfer if flags & transfer_flags::POST_PENDING != 0 => RowKind::Post,
            CommandKind::Transfer if flags & transfer_flags::VOID_PENDING != 0 => RowKind::Void,
            CommandKind::Transfer if flags & transfer_flags::REVERSE != 0 => RowKind::Reverse,
            CommandKind::Transfer => RowKind::Transfer,
        };
        Event {
            command: *command,
            kind,
            recorded_ns: self.next_ns(),
            refusal: None,
            debit: command.debit,
            credit: command.credit,
            amount: command.amount,
            ledger: command.ledger,
            code: command.code,
            after: Default::default(),
            chain: self.chain,
            expires_ns: 0,
            closed_by: None,
            reversed: 0,
            reversals: 0,
        }
    }

    pub fn record(&mut self, event: Event) -> Event {
        self.last_ns = event.recorded_ns;
        let before = self.events.insert((event.command.tenant, event.command.id), event.clone());
        assert!(before.is_none(), "the model records an id once");
        event
    }

    fn decide(&mut self, command: &Command) -> Answer {
        let event = self.event(command);
        let ledger = (command.tenant, command.ledger);
        match event.kind {
            RowKind::Ledger => {
                if self.ledgers.contains_key(&ledger) {
                    return Err(Refusal::IdempotencyConflict);
                }
                self.ledgers.insert(ledger, (0, 0));
                Ok(self.record(event))
            }
            RowKind::Account => {
                let imports = self.ledgers.get_mut(&ledger).ok_or(Refusal::LedgerNotFound)?;
                let is_imported = command.flags & account_flags::IMPORTED != 0;
                if is_imported {
                    if command.effective_ns <= imports.0 {
                        return Err(Refusal::ImportedMustNotRegress);
                    }
                    imports.0 = command.effective_ns;
                }
                let opened_ns = if is_imported { command.effective_ns } else { event.recorded_ns };
                let (flags, allowance) = (command.flags, command.amount);
                let account = Account {
                    ledger: command.ledger,
                    flags,
                    allowance,
                    opened_ns,
                    counters: Counters::default(),
                };
                self.accounts.insert((command.tenant, command.id), account);
                Ok(self.record(event))
            }
            RowKind::Transfer | RowKind::Pending => self.transfer(event),
            RowKind::Post | RowKind::Void => self.resolve(event),
            _ => self.reverse(event),
        }
    }
}
