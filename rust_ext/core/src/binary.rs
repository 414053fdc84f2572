//! Transfers as fixed records of 128 bytes, and their results as records of 160. All little-endian.
//!
//! | bytes of a transfer | | bytes of a result | |
//! | --- | --- | --- | --- |
//! | 0..16 | id | 0..8 | recorded, ns since 1970; 0 if not recorded |
//! | 16..32 | debit account | 8..10 | number of the refusal; 0 if accepted |
//! | 32..48 | credit account | 10..12 | bit 0: decided earlier, this is a replay |
//! | 48..64 | amount; 2^128 - 1 is all of it | 12..16 | zero |
//! | 64..80 | pending or reversed transfer, or 0 | 16..32 | amount moved, held or released |
//! | 80..88 | effective, ns since 1970, or 0 | 32..96 | debit account after it: debits pending, debits posted, credits pending, credits posted |
//! | 88..92 | timeout, s, or 0 | 96..160 | credit account after it, in the same order |
//! | 92..96 | ledger, or 0 | | |
//! | 96..98 | code, or 0 | | |
//! | 98..100 | flags | | |
//! | 100..128 | zero | | |
//!
//! An id is the number of its UUID, so its bytes stand here in reverse.

use crate::fingerprint;
use crate::malformed::{Code, Malformed};
use crate::nouns::{
    BATCH_ROWS_MAX, Command, CommandKind, Counters, EFFECTIVE_NS_MAX, RECORD_BYTES, RESULT_BYTES, Row, Text,
    transfer_flags,
};
use crate::refusal::Refusal;
use crate::request::Request;

fn number<const N: usize>(record: &[u8], at: usize) -> [u8; N] {
    record[at..at + N].try_into().expect("a record is 128 bytes")
}

/// Reads 1 to 8,190 records. A byte or flag that must be zero is left to the engine to refuse.
pub fn transfers(body: &[u8], tenant: u32) -> Result<Request, Malformed> {
    if body.is_empty() {
        return Err(Malformed::new(Code::BatchEmpty));
    }
    if !body.len().is_multiple_of(RECORD_BYTES) {
        return Err(Malformed::new(Code::InvalidRecords));
    }
    let rows = body.len() / RECORD_BYTES;
    if rows > BATCH_ROWS_MAX {
        return Err(Malformed::new(Code::BatchTooLarge));
    }
    let mut request = Request { commands: Vec::with_capacity(rows), text: Vec::new() };
    for (index, record) in body.chunks_exact(RECORD_BYTES).enumerate() {
        let command = transfer(record, tenant);
        if command.effective_ns > EFFECTIVE_NS_MAX {
            return Err(Malformed::new(Code::InvalidTime).at(index));
        }
        fingerprint::push(&mut request, command, &[], &[]);
    }
    Ok(request)
}

fn transfer(record: &[u8], tenant: u32) -> Command {
    let flags = u16::from_le_bytes(number(record, 98));
    Command {
        kind: CommandKind::Transfer,
        id: u128::from_le_bytes(number(record, 0)),
        tenant,
        debit: u128::from_le_bytes(number(record, 16)),
        credit: u128::from_le_bytes(number(record, 32)),
        amount: u128::from_le_bytes(number(record, 48)),
        target: u128::from_le_bytes(number(record, 64)),
        effective_ns: u64::from_le_bytes(number(record, 80)),
        timeout_s: u32::from_le_bytes(number(record, 88)),
        ledger: u32::from_le_bytes(number(record, 92)),
        code: u16::from_le_bytes(number(record, 96)),
        flags,
        reserved: flags & !transfer_flags::ALL != 0 || record[100..].iter().any(|byte| *byte != 0),
        fingerprint: [0; 16],
        text: Text::default(),
    }
}

/// The records of transfers however they came, without their texts, which have no room in them.
pub fn records(commands: &[Command]) -> Vec<u8> {
    let mut out = Vec::with_capacity(commands.len() * RECORD_BYTES);
    for command in commands {
        out.extend_from_slice(&fingerprint::record(command));
        out.resize(out.len().next_multiple_of(RECORD_BYTES), 0);
    }
    out
}

/// Appends the result of a recorded command.
pub fn result(row: &Row, replayed: bool, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&row.recorded_ns.to_le_bytes());
    out.extend_from_slice(&row.status.to_le_bytes());
    out.extend_from_slice(&u16::from(replayed).to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&row.amount.to_le_bytes());
    counters(&row.debit_after, out);
    counters(&row.credit_after, out);
    debug_assert_eq!(out.len() - start, RESULT_BYTES);
}

/// Appends the result of a command that was refused and not recorded.
pub fn refused(refusal: Refusal, out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + RESULT_BYTES, 0);
    out[start + 8..start + 10].copy_from_slice(&refusal.number().to_le_bytes());
}

fn counters(counters: &Counters, out: &mut Vec<u8>) {
    for counter in
        [counters.debits_pending, counters.debits_posted, counters.credits_pending, counters.credits_posted]
    {
        out.extend_from_slice(&counter.to_le_bytes());
    }
}
