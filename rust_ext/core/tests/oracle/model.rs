//! The ledger again, as simply as it can be said: maps, whole copies to undo, and no order of checks.
//!
//! Where the engine climbs a ladder, the model gathers every refusal that applies and takes the first of the
//! table; where the engine keeps a window, an undo log and a slab, the model keeps everything for ever.

use std::collections::BTreeMap;

use pyledger_core::nouns::{
    Command, CommandKind, Counters, EFFECTIVE_NS_MAX, ID_AHEAD_MS_MAX, LEDGER_MAX, RowKind, TIMEOUT_S_MAX,
    account_flags, transfer_flags,
};
use pyledger_core::refusal::Refusal;

const MAX: u128 = u128::MAX;
const SECOND: u64 = 1_000_000_000;
const POST: u16 = transfer_flags::POST_PENDING;
const VOID: u16 = transfer_flags::VOID_PENDING;
const PENDING: u16 = transfer_flags::PENDING;
const REVERSE: u16 = transfer_flags::REVERSE;
const GROUP: u16 = transfer_flags::GROUP;

type Key = (u32, u128);

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
    chain: u64,
    expires_ns: u64,
    closed_by: Option<RowKind>,
    reversed: u128,
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
    holds_max: usize,
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
        let mut holds: Vec<(Key, Event)> =
            self.events.iter().filter(|(_, event)| open(event)).map(|(&key, event)| (key, event.clone())).collect();
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

    fn next_ns(&self) -> u64 {
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
        let before = self.clone();
        self.chains += 1;
        self.chain = if chain.len() > 1 { self.chains } else { 0 };
        let answers = self.attempt(chain);
        self.chain = 0;
        match answers {
            Ok(answers) => answers,
            Err((place, refusal)) => {
                *self = before;
                self.declined(chain, place, refusal)
            }
        }
    }

    fn attempt(&mut self, chain: &[Command]) -> Result<Vec<Answer>, (usize, Refusal)> {
        for (place, command) in chain.iter().enumerate() {
            if self.known(command).is_none() {
                let wrong = self.malformed(command);
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
        if self.malformed(command).iter().any(|&refusal| refusal < Refusal::IdempotencyConflict) {
            return None;
        }
        let event = self.events.get(&(command.tenant, command.id))?;
        let is_same = Command { fingerprint: [0; 16], ..event.command } == Command { fingerprint: [0; 16], ..*command };
        Some(if is_same { Ok(event.clone()) } else { Err(Refusal::IdempotencyConflict) })
    }

    fn event(&self, command: &Command) -> Event {
        let flags = command.flags;
        let kind = match command.kind {
            CommandKind::Ledger => RowKind::Ledger,
            CommandKind::Account => RowKind::Account,
            CommandKind::Transfer if flags & PENDING != 0 => RowKind::Pending,
            CommandKind::Transfer if flags & POST != 0 => RowKind::Post,
            CommandKind::Transfer if flags & VOID != 0 => RowKind::Void,
            CommandKind::Transfer if flags & REVERSE != 0 => RowKind::Reverse,
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
        }
    }

    fn record(&mut self, event: Event) -> Event {
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
                let account =
                    Account { ledger: command.ledger, flags, allowance, opened_ns, counters: Counters::default() };
                self.accounts.insert((command.tenant, command.id), account);
                Ok(self.record(event))
            }
            RowKind::Transfer | RowKind::Pending => self.transfer(event),
            RowKind::Post | RowKind::Void => self.resolve(event),
            _ => self.reverse(event),
        }
    }

    fn transfer(&mut self, mut event: Event) -> Answer {
        let command = event.command;
        let (tenant, flags) = (command.tenant, command.flags);
        let mut unknown = Vec::new();
        let mut when = |holds: bool, refusal: Refusal| if holds { unknown.push(refusal) };
        when(!self.ledgers.contains_key(&(tenant, command.ledger)), Refusal::LedgerNotFound);
        when(!self.accounts.contains_key(&(tenant, command.debit)), Refusal::DebitAccountNotFound);
        when(!self.accounts.contains_key(&(tenant, command.credit)), Refusal::CreditAccountNotFound);
        first(&unknown)?;
        let (debit, credit) = (&self.accounts[&(tenant, command.debit)], &self.accounts[&(tenant, command.credit)]);
        let mut no = Vec::new();
        if debit.ledger != credit.ledger {
            no.push(Refusal::AccountsMustShareTheLedger);
        }
        if debit.ledger != command.ledger || credit.ledger != command.ledger {
            no.push(Refusal::TransferMustShareTheLedger);
        }
        let is_pending = flags & PENDING != 0;
        no.extend(self.imports(&command, command.debit, command.credit));
        no.extend(closed(debit, credit));
        let mut amount = command.amount;
        if flags & transfer_flags::BALANCING_DEBIT != 0 {
            let c = debit.counters;
            let have = c.credits_posted.saturating_add(debit.allowance);
            amount = amount.min(have.saturating_sub(c.debits_pending + c.debits_posted));
            if amount == 0 {
                no.push(Refusal::ExceedsCredits);
            }
        }
        if flags & transfer_flags::BALANCING_CREDIT != 0 {
            let c = credit.counters;
            let have = c.debits_posted.saturating_add(credit.allowance);
            amount = amount.min(have.saturating_sub(c.credits_pending + c.credits_posted));
            if amount == 0 {
                no.push(Refusal::ExceedsDebits);
            }
        }
        no.extend(too_much(debit, credit, amount, is_pending));
        if is_pending && self.open_holds().len() >= self.holds_max {
            no.push(Refusal::HoldsFull);
        }
        first(&no)?;
        event.amount = amount;
        if is_pending && command.timeout_s != 0 {
            event.expires_ns = event.recorded_ns + u64::from(command.timeout_s) * SECOND;
        }
        self.note_import(&command, command.ledger);
        let (debit, credit) = self.two(tenant, command.debit, command.credit);
        if is_pending {
            debit.debits_pending += amount;
            credit.credits_pending += amount;
        } else {
            debit.debits_posted += amount;
            credit.credits_posted += amount;
        }
        event.after = (*debit, *credit);
        self.close(&command, true);
        Ok(self.record(event))
    }

    fn two(&mut self, tenant: u32, debit: u128, credit: u128) -> (&mut Counters, &mut Counters) {
        let mut debits = None;
        let mut credits = None;
        for (&key, account) in &mut self.accounts {
            if key == (tenant, debit) {
                debits = Some(&mut account.counters);
            } else if key == (tenant, credit) {
                credits = Some(&mut account.counters);
            }
        }
        (debits.expect("a debit account"), credits.expect("a credit account"))
    }

    fn close(&mut self, hold: &Command, closed: bool) {
        for (flag, id) in [
            (transfer_flags::CLOSING_DEBIT, hold.debit),
            (transfer_flags::CLOSING_CREDIT, hold.credit),
        ] {
            if hold.flags & flag != 0 {
                let flags = &mut self.accounts.get_mut(&(hold.tenant, id)).expect("an account").flags;
                *flags = if closed { *flags | account_flags::CLOSED } else { *flags & !account_flags::CLOSED };
            }
        }
    }

    fn imports(&self, command: &Command, debit: u128, credit: u128) -> Vec<Refusal> {
        let mut no = Vec::new();
        if command.flags & transfer_flags::IMPORTED != 0 {
            let at = command.effective_ns;
            let debit = &self.accounts[&(command.tenant, debit)];
            let credit = &self.accounts[&(command.tenant, credit)];
            if at <= self.ledgers[&(command.tenant, debit.ledger)].1 {
                no.push(Refusal::ImportedMustNotRegress);
            }
            if at <= debit.opened_ns {
                no.push(Refusal::ImportedMustPostdateDebitAccount);
            }
            if at <= credit.opened_ns {
                no.push(Refusal::ImportedMustPostdateCreditAccount);
            }
        }
        no
    }

    fn note_import(&mut self, command: &Command, ledger: u32) {
        if command.flags & transfer_flags::IMPORTED != 0 {
            self.ledgers.get_mut(&(command.tenant, ledger)).expect("a ledger").1 = command.effective_ns;
        }
    }

    /// Takes a hold out of the pending counters and moves a part of it.
    fn release(&mut self, key: Key, by: RowKind, moved: u128) -> (Counters, Counters) {
        let hold = self.events.get_mut(&key).expect("a hold");
        hold.closed_by = Some(by);
        let Event { command, debit, credit, amount, .. } = *hold;
        let (debit, credit) = self.two(key.0, debit, credit);
        debit.debits_pending -= amount;
        credit.credits_pending -= amount;
        debit.debits_posted += moved;
        credit.credits_posted += moved;
        let after = (*debit, *credit);
        if by != RowKind::Post {
            self.close(&command, false);
        }
        after
    }

    fn resolve(&mut self, mut event: Event) -> Answer {
        let command = event.command;
        let key = (command.tenant, command.target);
        let is_post = event.kind == RowKind::Post;
        let hold = self.events.get(&key).ok_or(Refusal::PendingTransferNotFound)?.clone();
        if hold.kind != RowKind::Pending || hold.refusal.is_some() {
            return Err(Refusal::PendingTransferNotPending);
        }
        let mut no = differs(&command, hold.debit, hold.credit, &hold);
        let amount = if command.amount == MAX { hold.amount } else { command.amount };
        let mut when = |holds: bool, refusal: Refusal| if holds { no.push(refusal) };
        when(is_post && amount > hold.amount, Refusal::ExceedsPendingAmount);
        when(!is_post && amount != hold.amount, Refusal::PendingTransferHasDifferentAmount);
        when(hold.closed_by == Some(RowKind::Post), Refusal::PendingTransferAlreadyPosted);
        when(hold.closed_by == Some(RowKind::Void), Refusal::PendingTransferAlreadyVoided);
        when(hold.closed_by == Some(RowKind::Expire), Refusal::PendingTransferExpired);
        first(&no)?;
        let mut members = vec![(key, hold.clone())];
        if command.flags & GROUP != 0 && hold.chain != 0 {
            let others = self.open_holds().into_iter();
            members.extend(others.filter(|(other, each)| *other != key && each.chain == hold.chain));
        }
        for (_, each) in &members {
            if each.expires_ns != 0 && each.expires_ns <= event.recorded_ns {
                no.push(Refusal::PendingTransferExpired);
            }
            no.extend(self.imports(&command, each.debit, each.credit));
            if is_post {
                let find = |id: u128| &self.accounts[&(command.tenant, id)];
                no.extend(closed(find(each.debit), find(each.credit)));
            }
        }
        if members.len() > 64 {
            no.push(Refusal::GroupTooLarge);
        }
        first(&no)?;
        event.amount = amount;
        (event.debit, event.credit, event.ledger, event.code) = (hold.debit, hold.credit, hold.ledger, hold.code);
        for (place, (each, hold)) in members.iter().enumerate() {
            let amount = if place == 0 { amount } else { hold.amount };
            let after = self.release(*each, event.kind, if is_post { amount } else { 0 });
            self.note_import(&command, hold.ledger);
            if place == 0 {
                event.after = after;
                event = self.record(event);
            } else {
                self.last_ns = self.next_ns();
            }
        }
        Ok(event)
    }

    fn reverse(&mut self, mut event: Event) -> Answer {
        let command = event.command;
        let key = (command.tenant, command.target);
        let moved = self.events.get(&key).ok_or(Refusal::ReversedTransferNotFound)?.clone();
        if !matches!(moved.kind, RowKind::Transfer | RowKind::Post) || moved.refusal.is_some() {
            return Err(Refusal::TransferNotReversible);
        }
        let (from, to) = (moved.credit, moved.debit);
        let mut no = differs(&command, from, to, &moved);
        let left = moved.amount - moved.reversed;
        let amount = if command.amount == MAX { left } else { command.amount };
        if amount == 0 || amount > left {
            no.push(Refusal::ExceedsReversibleAmount);
        }
        no.extend(self.imports(&command, from, to));
        let (debit, credit) = (&self.accounts[&(command.tenant, from)], &self.accounts[&(command.tenant, to)]);
        no.extend(closed(debit, credit));
        no.extend(too_much(debit, credit, amount, false));
        first(&no)?;
        (event.debit, event.credit, event.ledger, event.code) = (from, to, moved.ledger, moved.code);
        event.amount = amount;
        self.note_import(&command, moved.ledger);
        self.events.get_mut(&key).expect("the transfer").reversed += amount;
        let (debit, credit) = self.two(command.tenant, from, to);
        debit.debits_posted += amount;
        credit.credits_posted += amount;
        event.after = (*debit, *credit);
        Ok(self.record(event))
    }

    /// Everything that is wrong with a command by itself.
    fn malformed(&self, command: &Command) -> Vec<Refusal> {
        let mut no = Vec::new();
        let mut when = |holds: bool, refusal: Refusal| if holds { no.push(refusal) };
        let Command { kind, id, flags, .. } = *command;
        let (version, variant, clock_ms) = (id >> 76 & 0xf, id >> 62 & 3, u128::from(self.next_ns() / 1_000_000));
        let is_transfer = kind == CommandKind::Transfer;
        let other_fields = command.debit != 0 || command.credit != 0 || command.target != 0 || command.timeout_s != 0;
        let all = if is_transfer { transfer_flags::ALL } else { account_flags::ALL };
        when(
            command.reserved
                || flags & !all != 0
                || !is_transfer && other_fields
                || command.effective_ns > EFFECTIVE_NS_MAX
                || id >> 96 == 0xffff_ffff && (version, variant) == (8, 2)
                || kind == CommandKind::Ledger
                    && (flags != 0 || command.amount != 0 || command.effective_ns != 0),
            Refusal::ReservedFieldUsed,
        );
        when(id == 0, Refusal::IdMustNotBeZero);
        when(id == MAX, Refusal::IdMustNotBeMax);
        let ahead = u128::from(ID_AHEAD_MS_MAX);
        when((version, variant) == (7, 2) && id >> 80 > clock_ms + ahead, Refusal::IdFromTheFuture);
        let acting = flags & (POST | VOID | REVERSE);
        let acts = is_transfer && acting != 0;
        when(command.ledger > LEDGER_MAX || command.ledger == 0 && !acts, Refusal::LedgerMustNotBeZero);
        if kind == CommandKind::Ledger {
            when(command.code > 38, Refusal::ExponentOutOfRange);
            return no;
        }
        when(command.code == 0 && !acts, Refusal::CodeMustNotBeZero);
        let imported = if is_transfer { transfer_flags::IMPORTED } else { account_flags::IMPORTED };
        if flags & imported != 0 {
            when(command.effective_ns == 0, Refusal::ImportedNeedsEffectiveAt);
            when(command.timeout_s != 0, Refusal::ImportedTimeoutMustBeZero);
            when(command.effective_ns >= self.next_ns(), Refusal::ImportedMustNotBeInTheFuture);
        }
        if kind == CommandKind::Account {
            let limits = flags & 0b110;
            when(limits == 0b110, Refusal::FlagsAreMutuallyExclusive);
            when(limits == 0 && command.amount != 0, Refusal::AllowanceNeedsALimit);
            return no;
        }
        let closes = flags & (transfer_flags::CLOSING_DEBIT | transfer_flags::CLOSING_CREDIT) != 0;
        let balances = flags & (transfer_flags::BALANCING_DEBIT | transfer_flags::BALANCING_CREDIT) != 0;
        when((acting | flags & PENDING).count_ones() > 1, Refusal::FlagsAreMutuallyExclusive);
        when(acts && (closes || balances), Refusal::FlagsAreMutuallyExclusive);
        when(command.debit == MAX || command.debit == 0 && !acts, Refusal::DebitAccountMustNotBeZero);
        when(command.credit == MAX || command.credit == 0 && !acts, Refusal::CreditAccountMustNotBeZero);
        when(command.debit == command.credit && command.debit != 0, Refusal::AccountsMustDiffer);
        when(command.target != 0 && !acts, Refusal::TargetMustBeZero);
        when(command.target == 0 && acts, Refusal::TargetMustNotBeZero);
        when(command.target == id, Refusal::TargetMustDiffer);
        when(command.amount == 0, Refusal::AmountMustNotBeZero);
        let is_pending = flags & PENDING != 0;
        when(
            command.timeout_s > TIMEOUT_S_MAX || command.timeout_s != 0 && !is_pending,
            Refusal::TimeoutReservedForPending,
        );
        when(closes && !is_pending, Refusal::ClosingMustBePending);
        let is_group = flags & GROUP != 0;
        when(is_group && flags & (POST | VOID) == 0, Refusal::GroupReservedForResolution);
        when(is_group && command.amount != MAX, Refusal::GroupResolvesInFull);
        no
    }
}

/// The first of the table.
fn first(refusals: &[Refusal]) -> Result<(), Refusal> {
    refusals.iter().min().map_or(Ok(()), |&refusal| Err(refusal))
}

fn closed(debit: &Account, credit: &Account) -> Vec<Refusal> {
    let both = [(debit, Refusal::DebitAccountClosed), (credit, Refusal::CreditAccountClosed)];
    let closed = both.into_iter().filter(|(account, _)| account.flags & account_flags::CLOSED != 0);
    closed.map(|(_, refusal)| refusal).collect()
}

fn differs(command: &Command, debit: u128, credit: u128, target: &Event) -> Vec<Refusal> {
    let mut no = Vec::new();
    let mut when = |holds: bool, refusal: Refusal| if holds { no.push(refusal) };
    when(command.debit != 0 && command.debit != debit, Refusal::TargetHasDifferentDebitAccount);
    when(command.credit != 0 && command.credit != credit, Refusal::TargetHasDifferentCreditAccount);
    when(command.ledger != 0 && command.ledger != target.ledger, Refusal::TargetHasDifferentLedger);
    when(command.code != 0 && command.code != target.code, Refusal::TargetHasDifferentCode);
    no
}

/// What 128 bits and the limits have against moving an amount.
fn too_much(debit: &Account, credit: &Account, amount: u128, is_pending: bool) -> Vec<Refusal> {
    let (d, c) = (debit.counters, credit.counters);
    let mut no = Vec::new();
    let mut when = |holds: bool, refusal: Refusal| if holds { no.push(refusal) };
    when(is_pending && amount > MAX - d.debits_pending, Refusal::OverflowsDebitsPending);
    when(is_pending && amount > MAX - c.credits_pending, Refusal::OverflowsCreditsPending);
    when(amount > MAX - d.debits_posted, Refusal::OverflowsDebitsPosted);
    when(amount > MAX - c.credits_posted, Refusal::OverflowsCreditsPosted);
    let (debits, credits) = (d.debits_pending + d.debits_posted, c.credits_pending + c.credits_posted);
    when(amount > MAX - debits, Refusal::OverflowsDebits);
    when(amount > MAX - credits, Refusal::OverflowsCredits);
    let exceeds = |used: u128, opposite: u128, allowance: u128| match used.checked_add(amount) {
        Some(used) => used.saturating_sub(opposite) > allowance,
        None => false,
    };
    let limited = |account: &Account, flag: u16| account.flags & flag != 0;
    when(
        limited(debit, account_flags::DEBITS_MUST_NOT_EXCEED_CREDITS)
            && exceeds(debits, d.credits_posted, debit.allowance),
        Refusal::ExceedsCredits,
    );
    when(
        limited(credit, account_flags::CREDITS_MUST_NOT_EXCEED_DEBITS)
            && exceeds(credits, c.debits_posted, credit.allowance),
        Refusal::ExceedsDebits,
    );
    no
}
