//! What the targets share: bytes as small numbers, an engine with some books, and what must hold afterwards.

use pyledger_core::nouns::{Command, CommandKind, transfer_flags};
use pyledger_core::{Engine, Limits, Old, Request, fingerprint, uuid};

pub const NOW_NS: u64 = 1_800_000_000_000_000_000;
pub const SHARD: u16 = 0;
const LIMITS: Limits = Limits { ledgers_max: 4, accounts_max: 40, holds_max: 40, window_ids: 10_000 };

pub fn command(kind: CommandKind, id: u128) -> Command {
    Command { ledger: 1, code: 1, ..Command::blank(kind, 1, id) }
}

pub fn new_engine(seed: u64) -> Engine {
    Engine::new(LIMITS, seed)
}

/// One ledger and eight accounts of tenant 1, with ids 1 to 8 and every kind of limit.
pub fn books() -> Request {
    let mut request = Request::default();
    let ledger = command(CommandKind::Ledger, uuid::of_ledger(1, 1));
    fingerprint::push(&mut request, ledger, b"EUR", b"");
    for id in 1..=8 {
        let flags = [0, 0, 2, 4][id as usize % 4];
        fingerprint::push(&mut request, Command { flags, ..command(CommandKind::Account, id) }, b"", b"");
    }
    request
}

pub fn engine_with_books() -> Engine {
    let mut engine = new_engine(1);
    decide(&mut engine, &[&books()], NOW_NS);
    engine.commit();
    engine
}

/// Decides a batch whose ids are all still in the window, with what an honest journal would give.
pub fn decide(engine: &mut Engine, requests: &[&Request], now_ns: u64) -> pyledger_core::Batch {
    engine.apply(requests, now_ns, &Old::default())
}

/// Commands of 8 bytes each: whatever the fuzzer likes, in a world small enough to meet itself.
pub fn transfers(bytes: &[u8]) -> Request {
    let mut request = Request::default();
    for (place, each) in bytes.chunks_exact(8).take(200).enumerate() {
        let flags = u16::from_le_bytes([each[0], each[1]]) & transfer_flags::ALL;
        let acts = transfer_flags::POST_PENDING | transfer_flags::VOID_PENDING | transfer_flags::REVERSE;
        let target = if flags & acts != 0 { 100 + u128::from(each[4]) } else { 0 };
        let amount = match each[5] {
            255 => u128::MAX,
            254 => u128::MAX / 2,
            small => u128::from(small),
        };
        // Mostly a new id; now and then an earlier one.
        let id = if each[7] & 15 == 15 { 100 + u128::from(each[4]) } else { 100 + place as u128 };
        let one = Command {
            flags,
            target,
            amount,
            debit: u128::from(each[2] & 15),
            credit: u128::from(each[3] & 15),
            timeout_s: u32::from(each[6] & 3),
            effective_ns: u64::from(each[6] >> 2),
            ledger: u32::from(each[7] >> 4 != 9),
            ..command(CommandKind::Transfer, id)
        };
        fingerprint::push(&mut request, one, b"", b"");
    }
    request
}
