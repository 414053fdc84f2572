//! Once: retries get the first outcome, however long ago, and the window never says "new" of an old id.

mod common;

use std::sync::Arc;

use common::{MS, SECOND, Shard, uuid7};
use pyledger_core::filter::Filter;
use pyledger_core::nouns::{Command, ID_AHEAD_MS_MAX, transfer_flags};
use pyledger_core::refusal::Refusal;
use pyledger_core::{Engine, Limits, Old, Request};

fn small_window() -> Shard {
    let mut bank = Shard::with(Limits { window_ids: 4, ..common::LIMITS });
    bank.open_ledger(1);
    for id in [1, 2, 3, 4] {
        bank.open_account(id, 0, 0);
    }
    bank
}

#[test]
fn a_retry_gets_the_first_outcome() {
    let mut bank = Shard::bank();
    let accepted = bank.transfer(3, 1, 10);
    let declined = bank.transfer(2, 3, 10);
    let first = bank.many(&[accepted, declined]);
    let fund = bank.transfer(3, 2, 100);
    bank.one(fund).accepted();
    let retry = bank.many(&[accepted, declined]);
    assert_eq!(retry[0].row().debit_after, first[0].row().debit_after);
    assert_eq!(retry[1].refusal, Some(Refusal::ExceedsCredits));
    assert!(retry.iter().all(|answer| answer.is_replay));
    assert_eq!(bank.counters(1).credits_posted, 10);
}

#[test]
fn a_retry_in_the_same_batch_repeats() {
    let mut bank = Shard::bank();
    let transfer = bank.transfer(3, 1, 10);
    let other = Command { amount: 11, ..transfer };
    let answers = bank.many(&[transfer, transfer, other, transfer]);
    assert_eq!(answers[1].row(), answers[0].row());
    assert!(answers[1].is_replay && answers[3].is_replay && !answers[0].is_replay);
    assert_eq!(answers[2].refusal, Some(Refusal::IdempotencyConflict));
    assert_eq!(bank.counters(1).credits_posted, 10);
}

#[test]
fn an_id_is_one_over_all_kinds() {
    let mut bank = Shard::bank();
    let transfer = Command { id: 3, ..bank.transfer(3, 4, 1) };
    assert_eq!(bank.refusal(transfer), Some(Refusal::IdempotencyConflict));
    let moved = bank.transfer(3, 4, 1);
    bank.one(moved).accepted();
    assert_eq!(bank.refusal(common::account(moved.id)), Some(Refusal::IdempotencyConflict));
}

#[test]
fn ids_out_of_the_window_are_looked_up() {
    let mut bank = small_window();
    let transfers: Vec<Command> = (0..20).map(|_| bank.transfer(3, 4, 1)).collect();
    for &transfer in &transfers {
        bank.one(transfer).accepted();
    }
    for answer in bank.many(&transfers) {
        assert!(answer.is_replay);
    }
    // Any id that is not in order of time may be an old one.
    let random = Command { id: 1 << 90, ..bank.transfer(3, 4, 1) };
    let looked_up = bank.journal.looked_up;
    bank.one(random).accepted();
    assert_eq!(bank.journal.looked_up, looked_up + 1);
    assert!(bank.one(random).is_replay);
    assert_eq!(bank.counters(4).credits_posted, 21);
}

/// Random ids in three kinds of places: before the filters end, between them and the window, and in it.
#[test]
fn what_filters_know_is_looked_up_and_the_rest_from_where_they_end() {
    const IDS: u64 = 6_000;
    let mut bank = Shard::with(Limits { window_ids: 8_190, ..common::LIMITS });
    bank.open_ledger(1);
    for id in [1, 2, 3, 4] {
        bank.open_account(id, 0, 0);
    }
    let post = |bank: &mut Shard, from: u64| -> Vec<Command> {
        let id = |number: u64| u128::from(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)) << 16 | 0x4001;
        let commands: Vec<Command> =
            (from..from + IDS).map(|number| Command { id: id(number), ..bank.transfer(3, 4, 1) }).collect();
        for some in commands.chunks(500) {
            bank.many(some);
        }
        commands
    };
    let sealed = post(&mut bank, 1);
    let until_ns = bank.journal.rows.last().expect("rows").recorded_ns + 1;
    let mut filter = Filter::new(IDS + 5);
    for row in &bank.journal.rows {
        filter.insert(row.tenant, row.id);
    }
    bank.engine.know(vec![Arc::new(filter)], until_ns);
    let probe = |bank: &Shard, commands: &[Command]| {
        let lookups = bank.engine.probe(&[&Request { commands: commands.to_vec(), text: Vec::new() }]);
        assert_eq!(lookups.fresh_from_ns, until_ns);
        (lookups.ids.len(), lookups.fresh_ids.len())
    };
    let between = post(&mut bank, IDS + 1);
    let (known, fresh) = probe(&bank, &between[..100]);
    assert_eq!((known, fresh), (100, 0), "the window still has them");
    let other = Command { id: 0x4002, ..between[0] };
    assert_eq!(
        probe(&bank, &[other]),
        (0, 0),
        "neither filters nor window: there is nothing between the two"
    );
    let newest = post(&mut bank, 2 * IDS + 1);
    assert_eq!(probe(&bank, &sealed[..100]), (100, 0));
    let (known, fresh) = probe(&bank, &between[..100]);
    assert!(known < 5 && known + fresh == 100, "{known} known, {fresh} fresh");
    assert_eq!(probe(&bank, &newest[IDS as usize - 100..]), (100, 0));
    assert_eq!(probe(&bank, &[other]), (0, 1));
    for commands in [&sealed[..100], &between[..100], &newest[..100]] {
        assert!(bank.many(commands).iter().all(|answer| answer.is_replay));
    }
    assert_eq!(bank.counters(4).credits_posted, 3 * u128::from(IDS));
}

#[test]
fn new_ids_in_order_of_time_need_no_lookup() {
    let mut bank = small_window();
    for _ in 0..50 {
        bank.now_ns += SECOND;
        let (one, two) = (bank.transfer(3, 4, 1), bank.transfer(3, 4, 1));
        bank.many(&[one, two]);
    }
    assert_eq!(bank.journal.looked_up, 0);
}

#[test]
fn an_id_ahead_of_time_is_let_go_with_its_time() {
    let mut bank = small_window();
    let ahead = uuid7(bank.now_ns / MS + ID_AHEAD_MS_MAX - 10, 1);
    let first = Command { id: ahead, ..bank.transfer(3, 4, 1) };
    bank.one(first).accepted();
    for _ in 0..10 {
        bank.now_ns += SECOND;
        let transfer = bank.transfer(3, 4, 1);
        bank.one(transfer).accepted();
    }
    // It has left the window, and its time is still to come.
    assert!(bank.one(first).is_replay);
    assert_eq!(bank.counters(4).credits_posted, 11);
}

#[test]
fn five_minutes_ahead_is_as_far_as_it_goes() {
    let mut bank = Shard::bank();
    let clock_ms = (bank.now_ns + MS) / MS;
    let last = Command { id: uuid7(clock_ms + ID_AHEAD_MS_MAX, 1), ..bank.transfer(3, 4, 1) };
    bank.one(last).accepted();
    let clock_ms = (bank.now_ns + MS) / MS;
    let over = Command { id: uuid7(clock_ms + ID_AHEAD_MS_MAX + 1, 1), ..bank.transfer(3, 4, 1) };
    let answer = bank.one(over);
    assert_eq!((answer.refusal, answer.row), (Some(Refusal::IdFromTheFuture), None));
    // The ledger's clock does not turn back with the machine's.
    bank.now_ns -= 60 * SECOND;
    assert!(bank.one(last).is_replay);
}

#[test]
fn after_a_restore_everything_is_looked_up_that_could_be_old() {
    let mut bank = Shard::bank();
    let transfer = bank.transfer(3, 4, 1);
    let row = bank.one(transfer).accepted();
    let mut restored = Engine::new(common::LIMITS, 5);
    restored.restore_done(row.recorded_ns).expect("nothing to check");
    let probe = |id: u128, engine: &Engine| {
        let request = Request { commands: vec![Command { id, ..transfer }], text: Vec::new() };
        engine.probe(&[&request]).ids.len()
    };
    let floor_ms = row.recorded_ns / MS + ID_AHEAD_MS_MAX;
    for (id, lookups) in [
        (transfer.id, 1),
        (uuid7(floor_ms, 1), 1),
        (uuid7(floor_ms + 1, 1), 0),
        (1 << 90, 1),
        // Version 4, and version 7 of another variant.
        (u128::from(floor_ms + 9) << 80 | 0x4 << 76 | 0b10 << 62, 1),
        (u128::from(floor_ms + 9) << 80 | 0x7 << 76, 1),
    ] {
        assert_eq!(probe(id, &restored), lookups, "{id:x}");
    }
    assert_eq!(probe(transfer.id, &Engine::new(common::LIMITS, 5)), 0, "a new shard recorded nothing");
}

#[test]
fn a_target_is_looked_up_unless_it_is_an_open_hold_or_new() {
    let mut bank = Shard::bank();
    let (hold, moved) = (bank.pending(3, 4, 1), bank.transfer(3, 4, 1));
    bank.many(&[hold, moved]);
    let lookups = |bank: &mut Shard, flags: u16, target: u128| {
        let command = bank.act(flags, target);
        let request = Request { commands: vec![command, command], text: Vec::new() };
        let lookups = bank.engine.probe(&[&request]);
        (lookups.ids.len(), lookups.targets)
    };
    let (post, reverse) = (transfer_flags::POST_PENDING, transfer_flags::REVERSE);
    assert_eq!(lookups(&mut bank, post, hold.id), (0, vec![]));
    assert_eq!(lookups(&mut bank, post, moved.id), (0, vec![(1, moved.id)]));
    assert_eq!(lookups(&mut bank, reverse, moved.id), (0, vec![(1, moved.id)]));
    assert_eq!(lookups(&mut bank, reverse, hold.id), (0, vec![(1, hold.id)]));
    let new = bank.id();
    assert_eq!(lookups(&mut bank, reverse, new), (0, vec![]));
    assert_eq!(lookups(&mut bank, post, 0), (0, vec![]));
}

#[test]
fn ids_of_uncommitted_batches_are_never_let_go() {
    let limits = Limits { window_ids: 1, ..common::LIMITS };
    let mut bank = Shard::with(limits);
    bank.open_ledger(1);
    bank.open_account(3, 0, 0);
    bank.open_account(4, 0, 0);
    let commands: Vec<Command> = (0..6).map(|_| bank.transfer(3, 4, 1)).collect();
    let requests = commands.chunks(2).map(|pair| Request { commands: pair.to_vec(), text: Vec::new() });
    let requests: Vec<Request> = requests.collect();
    let before = bank.engine.digest_all();
    for request in &requests {
        assert_eq!(bank.engine.probe(&[request]).ids, []);
        bank.engine.apply(&[request], bank.now_ns, &Old::default());
    }
    assert_eq!(bank.engine.uncommitted(), 3);
    for request in &requests {
        assert_eq!(bank.engine.probe(&[request]).ids.len(), 2);
    }
    bank.engine.undo();
    assert_eq!((bank.engine.digest_all(), bank.engine.uncommitted()), (before, 0));
    for request in &requests {
        bank.engine.apply(&[request], bank.now_ns, &Old::default());
    }
    bank.engine.commit();
    bank.engine.undo();
    assert_eq!(bank.engine.probe(&[&requests[0]]).ids.len(), 2, "what was committed stays known");
    assert_eq!(bank.engine.probe(&[&requests[2]]).ids.len(), 2, "of the same millisecond");
    assert_eq!(bank.counters(4).credits_posted, 2);
}

#[test]
fn what_is_archived_is_neither_done_again_nor_acted_upon() {
    // Within the window, and long out of it.
    for mut bank in [Shard::bank(), small_window()] {
        let moved = bank.transfer(3, 4, 10);
        let (open, posted) = (bank.pending(3, 4, 5), bank.pending(3, 4, 5));
        bank.many(&[moved, open, posted]).iter().for_each(|answer| _ = answer.accepted());
        let post = bank.act(transfer_flags::POST_PENDING, posted.id);
        bank.one(post).accepted();
        bank.journal.archived_ns = bank.now_ns + 1;
        let rows = bank.journal.rows.len();
        for command in [moved, Command { amount: 11, ..moved }, posted, post, common::account(moved.id)] {
            assert_eq!(bank.refusal(command), Some(Refusal::IdArchived));
        }
        for (flags, target) in [
            (transfer_flags::REVERSE, moved.id),
            (transfer_flags::REVERSE, post.id),
            (transfer_flags::POST_PENDING, posted.id),
            (transfer_flags::VOID_PENDING, moved.id),
        ] {
            let act = bank.act(flags, target);
            assert_eq!(bank.refusal(act), Some(Refusal::TransferArchived));
        }
        assert_eq!(bank.journal.rows.len(), rows, "nothing is recorded");
        // A chain that was archived is refused whole, and one with a new member is no retry of it.
        let first = Command { flags: transfer_flags::LINKED, ..moved };
        let last = bank.transfer(3, 4, 1);
        let refusals: Vec<_> = bank.many(&[first, last]).iter().map(|answer| answer.refusal).collect();
        assert_eq!(refusals, [Some(Refusal::IdArchived), Some(Refusal::LinkedChainRefused)]);
        // An open hold is in memory; accounts are still there, and a retry of their opening is answered.
        let post = bank.act(transfer_flags::POST_PENDING, open.id);
        bank.one(post).accepted();
        assert!(bank.one(common::account(3)).is_replay);
        assert_eq!(bank.counters(3).debits_posted, 20);
    }
}
