//! A checkpoint whose rows are taken piece by piece, while batches go on, is of one moment all the same.

mod common;
mod random;

use common::{Shard, TENANT};
use pyledger_core::nouns::{Command, Counters, transfer_flags};
use pyledger_core::{Account, Old, Request};
use random::Random;
use std::collections::BTreeSet;

const ACCOUNTS: u64 = 300;

/// Accounts 1 to 300, each in the slot before its number.
fn bank() -> Shard {
    let mut bank = Shard::new();
    bank.open_ledger(common::LEDGER);
    for id in 1..=ACCOUNTS {
        bank.open_account(u128::from(id), 0, 0);
    }
    bank
}

fn now(bank: &Shard, accounts: &[(u32, Account)]) -> Vec<(u32, Account)> {
    let of = |slot: u32| *bank.engine.account(TENANT, u128::from(slot) + 1).expect("it was opened");
    accounts.iter().map(|&(slot, _)| (slot, of(slot))).collect()
}

fn some_transfers(bank: &mut Shard, random: &mut Random) -> Vec<Command> {
    let mut some = Vec::new();
    for _ in 0..=random.below(20) {
        let debit = 1 + random.below(ACCOUNTS);
        let credit = 1 + (debit + random.below(ACCOUNTS - 1)) % ACCOUNTS;
        let plain = bank.transfer(u128::from(debit), u128::from(credit), 1 + u128::from(random.below(9)));
        some.push(match random.below(8) {
            0 => Command { flags: transfer_flags::PENDING, timeout_s: 1 + random.below(2) as u32, ..plain },
            1 => Command {
                flags: transfer_flags::PENDING | transfer_flags::CLOSING_CREDIT,
                timeout_s: 1,
                ..plain
            },
            _ => plain,
        });
    }
    some
}

/// As a batch that is decided and does not land.
fn undone(bank: &mut Shard, commands: Vec<Command>) {
    let request = Request { commands, text: Vec::new() };
    bank.engine.apply(&[&request], bank.now_ns + common::MS, &Old::default());
    bank.engine.undo();
}

#[test]
fn accounts_are_as_they_were_when_it_was_taken() {
    let mut changed = 0;
    for seed in 0..6 {
        let mut random = Random::new(seed);
        let mut bank = bank();
        bank.engine.checkpoint();
        bank.engine.checkpoint_done();
        for _ in 0..random.below(6) {
            let some = some_transfers(&mut bank, &mut random);
            bank.many(&some);
        }
        let checkpoint = bank.engine.checkpoint();
        let every: Vec<(u32, Account)> =
            (0..ACCOUNTS).map(|slot| (slot as u32, *bank.account(u128::from(slot) + 1))).collect();
        let mut given = Vec::new();
        loop {
            let piece = bank.engine.checkpoint_accounts(1 + random.below(40) as usize);
            if piece.is_empty() {
                break;
            }
            changed += usize::from(piece != now(&bank, &piece));
            given.extend(piece);
            for _ in 0..random.below(3) {
                let some = some_transfers(&mut bank, &mut random);
                if random.below(3) == 0 {
                    undone(&mut bank, some);
                } else {
                    bank.many(&some);
                }
            }
            bank.wait(random.below(2));
        }
        let expected: Vec<_> =
            every.iter().filter(|one| given.iter().any(|(slot, _)| *slot == one.0)).copied().collect();
        assert_eq!(given, expected, "seed {seed}: in the order of slots, and of that moment");
        assert_eq!(given.len(), checkpoint.accounts, "seed {seed}");
    }
    assert!(changed > 6, "in {changed} pieces only something had changed: this proves little");
}

#[test]
fn what_changes_meanwhile_is_in_the_next_one() {
    let mut bank = bank();
    let first = bank.engine.checkpoint();
    assert_eq!(bank.engine.checkpoint_accounts(100).len(), 100);
    let (early, late) = (bank.transfer(1, 2, 5), bank.transfer(299, 300, 7));
    bank.many(&[early, late]);
    let rest = bank.engine.checkpoint_accounts(usize::MAX);
    assert_eq!((rest.len(), first.accounts), (200, 300));
    assert!(rest.iter().all(|(_, account)| account.counters == Counters::default()));
    bank.engine.checkpoint_done();
    assert_eq!(bank.engine.checkpoint().accounts, 4);
    let next = bank.engine.checkpoint_accounts(usize::MAX);
    assert_eq!(next, now(&bank, &next));
    assert_eq!(next.iter().map(|(slot, _)| *slot).collect::<Vec<_>>(), [0, 1, 298, 299]);
}

#[test]
fn one_that_failed_half_way_comes_again_whole() {
    let mut bank = bank();
    let first = bank.engine.checkpoint();
    bank.engine.checkpoint_accounts(100);
    let transfer = bank.transfer(299, 300, 7);
    bank.one(transfer).accepted();
    bank.engine.checkpoint_failed(&first);
    assert!(bank.engine.checkpoint_accounts(1).is_empty(), "it is over");
    assert_eq!(bank.engine.checkpoint().accounts, 300);
    let all = bank.engine.checkpoint_accounts(usize::MAX);
    assert_eq!((all.len(), all.clone()), (300, now(&bank, &all)));
}

#[test]
fn what_nobody_settled_is_not_lost() {
    let mut bank = bank();
    bank.engine.checkpoint();
    bank.engine.checkpoint_accounts(100);
    assert_eq!(bank.engine.checkpoint().accounts, 300);
    assert_eq!(bank.engine.checkpoint_accounts(usize::MAX).len(), 300);
    bank.engine.checkpoint_done();
    assert_eq!(bank.engine.checkpoint().accounts, 0);
}

/// Opens a hold or voids one.
fn go_on(bank: &mut Shard, random: &mut Random, open: &mut BTreeSet<u128>) {
    let some = random.below(open.len() as u64 + 4) as usize;
    if let Some(&id) = open.iter().nth(some).filter(|_| random.below(2) == 0) {
        let void = bank.act(transfer_flags::VOID_PENDING, id);
        bank.one(void).accepted();
        open.remove(&id);
    } else {
        let hold = bank.pending(1, 2, 1);
        bank.one(hold).accepted();
        open.insert(hold.id);
    }
}

#[test]
fn what_is_stored_of_holds_is_what_was_open_when_it_was_taken() {
    let mut changed = 0;
    for seed in 0..3 {
        let mut random = Random::new(seed);
        let (mut bank, mut open, mut stored) = (bank(), BTreeSet::new(), BTreeSet::new());
        for _ in 0..12 {
            (0..random.below(40)).for_each(|_| go_on(&mut bank, &mut random, &mut open));
            let (then, checkpoint) = (open.clone(), bank.engine.checkpoint());
            let (mut given, mut removed) = (Vec::new(), Vec::new());
            while given.len() < checkpoint.holds {
                let piece = bank.engine.checkpoint_holds(1 + random.below(9) as usize);
                changed += piece.iter().filter(|hold| !open.contains(&hold.id)).count();
                given.extend(piece.iter().map(|hold| hold.id));
                (0..random.below(5)).for_each(|_| go_on(&mut bank, &mut random, &mut open));
            }
            while removed.len() < checkpoint.holds_removed {
                removed.extend_from_slice(bank.engine.checkpoint_removed(1 + random.below(9) as usize));
                (0..random.below(5)).for_each(|_| go_on(&mut bank, &mut random, &mut open));
            }
            assert!(
                bank.engine.checkpoint_holds(1).is_empty() && bank.engine.checkpoint_removed(1).is_empty()
            );
            let fails = random.below(3) == 0;
            if !fails || random.below(2) == 0 {
                stored.extend(given);
                stored.retain(|&id| !removed.contains(&(TENANT, id)));
                assert_eq!(stored, then, "seed {seed}");
            }
            if fails {
                bank.engine.checkpoint_failed(&checkpoint);
            } else {
                bank.engine.checkpoint_done();
            }
        }
    }
    assert!(changed > 6, "{changed} were gone before their turn: this proves little");
}
