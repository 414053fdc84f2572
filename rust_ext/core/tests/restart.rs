//! Restart: replay and checkpoints give the same books, and what does not fit is called corrupt.

mod common;

use common::{MS, SECOND, Shard, TENANT, account};
use pyledger_core::nouns::{Command, Row, RowKind, account_flags, transfer_flags};
use pyledger_core::{Account, Checkpoint, Corrupt, Engine, Hold, Ledger, Old, Request};
use std::collections::BTreeMap;

/// A checkpoint and all that it has, holds in the order of creation.
type Taken = (Checkpoint, Vec<(u32, Account)>, Vec<Hold>, Vec<(u32, u128)>);

fn take(engine: &mut Engine) -> Taken {
    let checkpoint = engine.checkpoint();
    let accounts = engine.checkpoint_accounts(usize::MAX);
    let mut holds = engine.checkpoint_holds(usize::MAX);
    holds.sort_unstable_by_key(|hold| hold.recorded_ns);
    let mut removed = engine.checkpoint_removed(usize::MAX).to_vec();
    removed.sort_unstable();
    let counted = (checkpoint.accounts, checkpoint.holds, checkpoint.holds_removed);
    assert_eq!(counted, (accounts.len(), holds.len(), removed.len()));
    (checkpoint, accounts, holds, removed)
}

/// The checkpoint tables.
#[derive(Clone, Default)]
struct Tables {
    ledgers: BTreeMap<(u32, u32), Ledger>,
    accounts: BTreeMap<u32, Account>,
    holds: BTreeMap<(u32, u128), Hold>,
    last_ns: u64,
}

impl Tables {
    /// Stores a checkpoint that is taken now.
    fn save(&mut self, engine: &mut Engine) -> Taken {
        let taken = take(engine);
        self.store(&taken);
        engine.checkpoint_done();
        taken
    }

    fn store(&mut self, (checkpoint, accounts, holds, removed): &Taken) {
        for ledger in &checkpoint.ledgers {
            self.ledgers.insert((ledger.tenant, ledger.number), ledger.clone());
        }
        self.accounts.extend(accounts.iter().copied());
        self.holds.extend(holds.iter().map(|hold| ((hold.tenant, hold.id), *hold)));
        for key in removed {
            self.holds.remove(key);
        }
        self.last_ns = checkpoint.last_ns;
    }

    fn load(&self) -> Result<Engine, Corrupt> {
        let mut engine = Engine::new(common::LIMITS, 99);
        for ledger in self.ledgers.values() {
            engine.restore_ledger(ledger.clone())?;
        }
        for (&slot, &account) in &self.accounts {
            engine.restore_account(slot, account)?;
        }
        for &hold in self.holds.values() {
            engine.restore_hold(hold)?;
        }
        engine.restore_done(self.last_ns)?;
        Ok(engine)
    }
}

/// What is done to a row, by name.
type Damage = (&'static str, fn(&mut Row));

/// A day with a bit of everything.
fn busy_day(bank: &mut Shard) {
    bank.open_ledger(2);
    for id in [53, 54] {
        bank.one(Command {
            ledger: 2,
            flags: account_flags::IMPORTED,
            effective_ns: id as u64,
            ..account(id)
        });
    }
    for round in 0..10 {
        let hold = Command { timeout_s: 5 + round, ..bank.pending(3, 1, 10) };
        let linked =
            Command { flags: transfer_flags::PENDING | transfer_flags::LINKED, ..bank.pending(3, 2, 7) };
        let other = Command { ledger: 2, ..bank.pending(53, 54, 9) };
        let last = Command { flags: 0, ..bank.pending(3, 2, 7) };
        bank.many(&[hold, linked, other, last]);
        if round % 2 == 0 {
            let post = bank.act(transfer_flags::POST_PENDING, hold.id);
            let declined = bank.transfer(1, 2, 1_000_000);
            bank.many(&[post, declined]);
        }
        if round == 5 {
            let close = Command {
                flags: transfer_flags::PENDING | transfer_flags::CLOSING_CREDIT,
                ..bank.pending(3, 4, 1)
            };
            bank.one(close);
            let past = Command {
                flags: transfer_flags::IMPORTED,
                effective_ns: 99,
                ledger: 2,
                ..bank.transfer(53, 54, 1)
            };
            bank.one(past);
        }
        bank.wait(1);
    }
}

#[test]
fn a_checkpoint_and_the_rows_after_it_give_the_same_books() {
    let mut bank = Shard::bank();
    let mut tables = Tables::default();
    tables.save(&mut bank.engine);
    busy_day(&mut bank);
    let (first, ..) = tables.save(&mut bank.engine);
    assert!(first.holds_removed == 0 && first.holds > 0);
    let at = bank.journal.rows.len();
    let books = bank.engine.digest();
    let mut restored = tables.load().expect("what was stored loads");
    assert_eq!((restored.digest(), restored.last_ns()), (books, bank.engine.last_ns()));
    assert_eq!(restored.next_expiry_ns(), bank.engine.next_expiry_ns());
    assert_eq!(restored.checkpoint(), Checkpoint { last_ns: first.last_ns, ..Checkpoint::default() });
    busy_day(&mut bank);
    bank.wait(3);
    for row in &bank.journal.rows[at..] {
        restored.replay(row, &bank.journal.text).expect("rows after a checkpoint replay");
    }
    assert_eq!(restored.digest(), bank.engine.digest());
    // Both would write the same next, whichever one it is that goes on.
    let next = take(&mut restored);
    assert_eq!(next, take(&mut bank.engine));
    assert!(next.0.holds_removed > 0);
    tables.store(&next);
    assert_eq!(tables.load().expect("loads").digest(), bank.engine.digest());
    let pages = |engine: &Engine| {
        let page = engine.accounts_page(TENANT, Some(2), None, 9).expect("a page");
        page.iter().map(|account| account.id).collect::<Vec<_>>()
    };
    assert_eq!(pages(&restored), pages(&bank.engine));
}

#[test]
fn groups_survive_a_restart() {
    let mut bank = Shard::bank();
    let linked = transfer_flags::PENDING | transfer_flags::LINKED;
    let one = Command { flags: linked, ..bank.pending(3, 1, 10) };
    let two = bank.pending(3, 2, 20);
    let alone = bank.pending(3, 2, 30);
    bank.many(&[one, two, alone]);
    let mut tables = Tables::default();
    tables.save(&mut bank.engine);
    let restored = tables.load().expect("loads");
    for engine in [restored, std::mem::replace(&mut bank.twin, Engine::new(common::LIMITS, 1))] {
        bank.engine = engine;
        bank.twin = tables.load().expect("loads");
        let before = bank.journal.rows.len();
        let post = bank.act(transfer_flags::POST_PENDING | transfer_flags::GROUP, two.id);
        bank.one(post).accepted();
        assert_eq!((bank.journal.rows.len() - before, bank.engine.holds()), (2, 1));
    }
}

#[test]
fn a_checkpoint_that_failed_comes_again() {
    let mut bank = Shard::bank();
    let (stored, fresh) = (bank.pending(3, 1, 10), bank.pending(3, 1, 20));
    bank.one(stored).accepted();
    let mut tables = Tables::default();
    tables.save(&mut bank.engine);
    bank.one(fresh).accepted();
    let void = bank.act(transfer_flags::VOID_PENDING, stored.id);
    bank.one(void).accepted();
    let lost = take(&mut bank.engine);
    bank.engine.checkpoint_failed(&lost.0);
    assert_eq!(take(&mut bank.engine), lost);
    bank.engine.checkpoint_failed(&lost.0);
    // Whether the lost one was stored after all or not, the next one makes up for it.
    let void = bank.act(transfer_flags::VOID_PENDING, fresh.id);
    let third = bank.pending(3, 1, 30);
    bank.many(&[void, third]);
    let next = take(&mut bank.engine);
    for was_stored in [true, false] {
        let mut tables = tables.clone();
        if was_stored {
            tables.store(&lost);
        }
        tables.store(&next);
        assert_eq!(tables.load().expect("loads").digest(), bank.engine.digest());
    }
}

#[test]
fn nothing_uncommitted_is_in_a_checkpoint() {
    let mut bank = Shard::bank();
    bank.engine.checkpoint();
    bank.engine.checkpoint_done();
    let hold = bank.pending(3, 1, 10);
    let request = Request { commands: vec![hold, account(9)], text: Vec::new() };
    bank.engine.apply(&[&request], bank.now_ns + MS, &Old::default());
    bank.engine.undo();
    let checkpoint = bank.engine.checkpoint();
    assert_eq!(checkpoint, Checkpoint { last_ns: checkpoint.last_ns, ..Checkpoint::default() });
}

#[test]
fn a_damaged_checkpoint_is_corrupt() {
    let mut bank = Shard::bank();
    busy_day(&mut bank);
    let mut tables = Tables::default();
    tables.save(&mut bank.engine);
    let damages: [fn(&mut Tables); 9] = [
        |tables| tables.accounts.get_mut(&0).expect("an account").counters.debits_posted += 1,
        |tables| tables.accounts.get_mut(&2).expect("an account").counters.debits_pending -= 1,
        |tables| tables.accounts.get_mut(&2).expect("an account").counters.debits_posted = u128::MAX,
        |tables| tables.accounts.get_mut(&2).expect("an account").ledger = 7,
        |tables| tables.accounts.get_mut(&2).expect("an account").id = 1,
        |tables| _ = tables.accounts.remove(&1),
        |tables| _ = tables.holds.pop_first(),
        |tables| drop(tables.ledgers.pop_last()),
        |tables| tables.holds.first_entry().expect("a hold").get_mut().debit = 999,
    ];
    for (place, damage) in damages.into_iter().enumerate() {
        let mut tables = tables.clone();
        damage(&mut tables);
        tables.load().err().unwrap_or_else(|| panic!("damage {place} went unseen"));
    }
}

#[test]
fn a_damaged_row_is_corrupt() {
    let mut bank = Shard::bank();
    busy_day(&mut bank);
    let damages: [Damage; 12] = [
        ("time", |row| row.recorded_ns = 5),
        ("no id", |row| row.id = 0),
        ("status", |row| row.status = if row.status == 0 { 9999 } else { 1 }),
        ("debit", |row| row.debit = 999),
        ("same account", |row| row.debit = row.credit),
        ("amount", |row| row.amount += 1),
        ("huge amount", |row| row.amount = u128::MAX),
        ("ledger", |row| row.ledger = 77),
        ("debit after", |row| row.debit_after.debits_posted ^= 1),
        ("credit after", |row| row.credit_after.credits_pending ^= 1),
        ("target", |row| row.target = 999),
        ("text", |row| row.text.start = u32::MAX),
    ];
    let mut seen = BTreeMap::new();
    for (place, row) in bank.journal.rows.iter().enumerate() {
        for (what, damage) in damages {
            let mut wrong = *row;
            damage(&mut wrong);
            let mut engine = Engine::new(common::LIMITS, 3);
            for before in &bank.journal.rows[..place] {
                engine.replay(before, &bank.journal.text).expect("undamaged");
            }
            // A decline's fields move nothing, and not every kind has every field.
            if engine.replay(&wrong, &bank.journal.text).is_err() {
                *seen.entry((what, row.kind)).or_insert(0) += 1;
            }
        }
    }
    for kind in [RowKind::Transfer, RowKind::Pending, RowKind::Post, RowKind::Expire] {
        for what in
            ["time", "no id", "debit", "same account", "amount", "huge amount", "ledger", "debit after"]
        {
            assert!(seen.contains_key(&(what, kind)), "{what} of {kind:?} went unseen");
        }
    }
    assert!(seen.contains_key(&("target", RowKind::Post)) && seen.contains_key(&("text", RowKind::Ledger)));
    assert!(
        seen.contains_key(&("ledger", RowKind::Account)) && seen.contains_key(&("status", RowKind::Transfer))
    );
}

#[test]
fn a_row_twice_or_left_out_is_corrupt() {
    let mut bank = Shard::bank();
    busy_day(&mut bank);
    let (text, rows) = (&bank.journal.text, &bank.journal.rows);
    let accepted = (6..rows.len()).filter(|&place| rows[place].status == 0);
    for left_out in accepted {
        let mut engine = Engine::new(common::LIMITS, 3);
        let others = rows.iter().enumerate().filter(|&(place, _)| place != left_out);
        let result = others.map(|(_, row)| engine.replay(row, text)).find(Result::is_err);
        let is_last_of_its_accounts = result.is_none();
        assert!(!is_last_of_its_accounts || engine.digest() != bank.engine.digest(), "row {left_out}");
    }
    let mut engine = Engine::new(common::LIMITS, 3);
    engine.replay(&rows[0], text).expect("the first");
    let later = Row { recorded_ns: rows[0].recorded_ns + SECOND, ..rows[0] };
    let Corrupt(message) = engine.replay(&later, text).expect_err("the same id again");
    assert!(message.contains("its id was recorded before") && message.contains("ns"), "{message}");
}
