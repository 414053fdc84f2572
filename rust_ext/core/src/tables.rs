//! The checkpoint tables `ledger`, `account` and `hold`, encoded for COPY and decoded from COPY OUT.
//!
//! Columns, in order; an instant of 0 is none, or never:
//!
//! ```text
//! ledger:  shard int2, tenant int4, number int4, asset text, exponent int4, created_ns int8, imported_ns int8,
//!          seal int8
//! account: shard int2, slot int8, tenant int4, id uuid, ledger int4, code int4, flags int4, allowance numeric,
//!          debits_pending numeric, debits_posted numeric, credits_pending numeric, credits_posted numeric,
//!          created_ns int8, effective_ns int8, seal int8
//! hold:    shard int2, tenant int4, id uuid, debit_account uuid, credit_account uuid, amount numeric,
//!          ledger int4, code int4, flags int4, recorded_ns int8, expires_ns int8, group_id uuid or NULL,
//!          seal int8
//! ```
//!
//! The seal is a sum over the rest of its row. These tables are outside the hash chain, and what a flipped bit
//! makes of a flag or an allowance adds up as well as before: without it a start would serve that.

use crate::copy::{
    HEADER, Stream, TRAILER, Tuple, put_bytes, put_int2, put_int4, put_int8, put_null, put_numeric, put_uuid,
};
use crate::nouns::{ASSET_BYTES_MAX, Counters};
use crate::state::{Account, Corrupt, Hold, Ledger};
use crate::uuid;

const LEDGER_COLUMNS: u16 = 8;
const ACCOUNT_COLUMNS: u16 = 15;
const HOLD_COLUMNS: u16 = 13;
const REMOVED_COLUMNS: u16 = 2;
/// The seal as it stands at the end of a tuple: its length and its eight bytes.
const SEAL_BYTES: usize = 12;

/// A sum over a tuple up to its seal, below 2^63. Each step loses nothing of the step before it, so bits that
/// were flipped within eight bytes always show but for the last shift, and others by all chance but 2^-63.
fn seal(tuple: &[u8]) -> u64 {
    let mut sum = tuple.len() as u64;
    for chunk in tuple.chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        sum = (sum ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }
    sum >> 1
}

/// Rows of one table as a whole COPY stream.
fn stream<T>(
    shard: u16,
    columns: u16,
    rows: impl IntoIterator<Item = T>,
    mut encode: impl FnMut(T, &mut Vec<u8>),
) -> Vec<u8> {
    let mut out = HEADER.to_vec();
    for row in rows {
        let start = out.len();
        out.extend_from_slice(&columns.to_be_bytes());
        put_int2(i16::try_from(shard).expect("a shard is an int2"), &mut out);
        encode(row, &mut out);
        let seal = seal(&out[start..]);
        put_int8(seal, &mut out);
    }
    out.extend_from_slice(&TRAILER);
    out
}

/// The table `ledger`.
pub fn encode_ledgers(shard: u16, ledgers: &[Ledger]) -> Vec<u8> {
    stream(shard, LEDGER_COLUMNS, ledgers, |ledger, out| {
        put_int4(ledger.tenant, out);
        put_int4(ledger.number, out);
        put_bytes(ledger.asset.as_bytes(), out);
        put_int4(u32::from(ledger.exponent), out);
        put_int8(ledger.created_ns, out);
        put_int8(ledger.imported_ns, out);
    })
}

/// The table `account`; each with its slot.
pub fn encode_accounts(shard: u16, accounts: &[(u32, Account)]) -> Vec<u8> {
    stream(shard, ACCOUNT_COLUMNS, accounts, |(slot, account), out| {
        put_int8(u64::from(*slot), out);
        put_int4(account.tenant, out);
        put_uuid(account.id, out);
        put_int4(account.ledger, out);
        put_int4(u32::from(account.code), out);
        put_int4(u32::from(account.flags), out);
        put_numeric(account.allowance, out);
        put_numeric(account.counters.debits_pending, out);
        put_numeric(account.counters.debits_posted, out);
        put_numeric(account.counters.credits_pending, out);
        put_numeric(account.counters.credits_posted, out);
        put_int8(account.created_ns, out);
        put_int8(account.effective_ns, out);
    })
}

/// The table `hold`.
pub fn encode_holds(shard: u16, holds: &[Hold]) -> Vec<u8> {
    stream(shard, HOLD_COLUMNS, holds, |hold, out| {
        put_int4(hold.tenant, out);
        put_uuid(hold.id, out);
        put_uuid(hold.debit, out);
        put_uuid(hold.credit, out);
        put_numeric(hold.amount, out);
        put_int4(hold.ledger, out);
        put_int4(u32::from(hold.code), out);
        put_int4(u32::from(hold.flags), out);
        put_int8(hold.recorded_ns, out);
        put_int8(hold.expires_ns, out);
        if hold.group_id == 0 { put_null(out) } else { put_uuid(hold.group_id, out) }
    })
}

/// Of holds that are gone: the columns `tenant` and `id`.
pub fn encode_removed(removed: &[(u32, u128)]) -> Vec<u8> {
    let mut out = HEADER.to_vec();
    for &(tenant, id) in removed {
        out.extend_from_slice(&REMOVED_COLUMNS.to_be_bytes());
        put_int4(tenant, &mut out);
        put_uuid(id, &mut out);
    }
    out.extend_from_slice(&TRAILER);
    out
}

/// Reads all rows of a stream and hands each to `take`; returns how many there were.
fn each<T>(
    shard: u16,
    columns: u16,
    copy: &[u8],
    mut read: impl FnMut(&mut Tuple<'_, '_>) -> Result<T, Corrupt>,
    name: impl Fn(&T) -> String,
    mut take: impl FnMut(T) -> Result<(), Corrupt>,
) -> Result<usize, Corrupt> {
    let mut stream = Stream::new(copy, columns)?;
    let mut rows = 0;
    let mut next = |tuple: &mut Tuple<'_, '_>| {
        let found = tuple.int2()?;
        if found != shard {
            return Err(Corrupt(format!("a row belongs to shard {found}")));
        }
        Ok((read(tuple)?, tuple.int8()?))
    };
    loop {
        let row = stream.next(&mut next).map_err(|corrupt| numbered(rows, &corrupt))?;
        let Some(((row, sealed), tuple)) = row else { return Ok(rows) };
        // A fuzzer would never get past it.
        if !cfg!(fuzzing) && sealed != seal(&tuple[..tuple.len() - SEAL_BYTES]) {
            return Err(Corrupt(format!("{}: it is not what was stored, by its seal", name(&row))));
        }
        take(row).map_err(|corrupt| numbered(rows, &corrupt))?;
        rows += 1;
    }
}

fn numbered(row: usize, corrupt: &Corrupt) -> Corrupt {
    Corrupt(format!("row {row} of the stream: {corrupt}"))
}

/// Reads the table `ledger`.
pub fn decode_ledgers(
    shard: u16,
    copy: &[u8],
    take: impl FnMut(Ledger) -> Result<(), Corrupt>,
) -> Result<usize, Corrupt> {
    let read = |tuple: &mut Tuple<'_, '_>| {
        Ok(Ledger {
            tenant: tuple.int4()?,
            number: tuple.int4()?,
            asset: tuple
                .text(ASSET_BYTES_MAX)?
                .ok_or_else(|| Corrupt("a ledger has no asset".to_owned()))?
                .to_owned(),
            exponent: tuple.int4_of_16_bits()?,
            created_ns: tuple.int8()?,
            imported_ns: tuple.int8()?,
        })
    };
    let name = |ledger: &Ledger| format!("ledger {} of tenant {}", ledger.number, ledger.tenant);
    each(shard, LEDGER_COLUMNS, copy, read, name, take)
}

/// Reads the table `account`; hands over each with its slot.
pub fn decode_accounts(
    shard: u16,
    copy: &[u8],
    take: impl FnMut((u32, Account)) -> Result<(), Corrupt>,
) -> Result<usize, Corrupt> {
    let read = |tuple: &mut Tuple<'_, '_>| {
        let slot = u32::try_from(tuple.int8()?).map_err(|_| Corrupt("a slot is above 2^32".to_owned()))?;
        let (tenant, id) = (tuple.int4()?, tuple.uuid()?);
        let (ledger, code) = (tuple.int4()?, tuple.int4_of_16_bits()?);
        let (flags, allowance) = (tuple.int4_of_16_bits()?, tuple.numeric()?);
        let counters = Counters {
            debits_pending: tuple.numeric()?,
            debits_posted: tuple.numeric()?,
            credits_pending: tuple.numeric()?,
            credits_posted: tuple.numeric()?,
        };
        let (created_ns, effective_ns) = (tuple.int8()?, tuple.int8()?);
        Ok((slot, Account { id, counters, allowance, created_ns, effective_ns, tenant, ledger, code, flags }))
    };
    let name = |(_, account): &(u32, Account)| format!("account {}", uuid::string(account.id));
    each(shard, ACCOUNT_COLUMNS, copy, read, name, take)
}

/// Reads the table `hold`.
pub fn decode_holds(
    shard: u16,
    copy: &[u8],
    take: impl FnMut(Hold) -> Result<(), Corrupt>,
) -> Result<usize, Corrupt> {
    let read = |tuple: &mut Tuple<'_, '_>| {
        let (tenant, id) = (tuple.int4()?, tuple.uuid()?);
        let (debit, credit, amount) = (tuple.uuid()?, tuple.uuid()?, tuple.numeric()?);
        let (ledger, code, flags) = (tuple.int4()?, tuple.int4_of_16_bits()?, tuple.int4_of_16_bits()?);
        let (recorded_ns, expires_ns, group_id) = (tuple.int8()?, tuple.int8()?, tuple.uuid_or_null()?);
        Ok(Hold { id, debit, credit, amount, group_id, recorded_ns, expires_ns, tenant, ledger, code, flags })
    };
    let name = |hold: &Hold| format!("hold {}", uuid::string(hold.id));
    each(shard, HOLD_COLUMNS, copy, read, name, take)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_flipped_bit_is_taken() {
        let hold = Hold {
            id: 1,
            debit: 2,
            credit: 3,
            amount: 10_001,
            group_id: 4,
            recorded_ns: 5,
            expires_ns: 6,
            tenant: 7,
            ledger: 8,
            code: 9,
            flags: 2,
        };
        let copy = encode_holds(0, &[hold, Hold { id: 5, ..hold }]);
        assert_eq!(decode_holds(0, &copy, |_| Ok(())), Ok(2));
        for bit in 0..8 * copy.len() {
            let mut flipped = copy.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode_holds(0, &flipped, |_| Ok(())).is_err(), "bit {bit}");
        }
    }
}
