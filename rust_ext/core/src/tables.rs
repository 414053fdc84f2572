//! The checkpoint tables `ledger`, `account` and `hold`, encoded for COPY and decoded from COPY OUT.
//!
//! Columns, in order; an instant of 0 is none, or never:
//!
//! ```text
//! ledger:  shard int2, tenant int4, number int4, asset text, exponent int4, created_ns int8, imported_ns int8
//! account: shard int2, slot int8, tenant int4, id uuid, ledger int4, code int4, flags int4, allowance numeric,
//!          debits_pending numeric, debits_posted numeric, credits_pending numeric, credits_posted numeric,
//!          created_ns int8, effective_ns int8
//! hold:    shard int2, tenant int4, id uuid, debit_account uuid, credit_account uuid, amount numeric,
//!          ledger int4, code int4, flags int4, recorded_ns int8, expires_ns int8, group_id uuid or NULL
//! ```

use crate::copy::{
    HEADER, Stream, TRAILER, Tuple, put_bytes, put_int2, put_int4, put_int8, put_null, put_numeric, put_uuid,
};
use crate::nouns::{ASSET_BYTES_MAX, Counters};
use crate::state::{Account, Corrupt, Hold, Ledger};

const LEDGER_COLUMNS: u16 = 7;
const ACCOUNT_COLUMNS: u16 = 14;
const HOLD_COLUMNS: u16 = 12;

/// Rows of one table as a whole COPY stream.
fn stream<T>(
    shard: u16,
    columns: u16,
    rows: impl IntoIterator<Item = T>,
    mut encode: impl FnMut(T, &mut Vec<u8>),
) -> Vec<u8> {
    let mut out = HEADER.to_vec();
    for row in rows {
        out.extend_from_slice(&columns.to_be_bytes());
        put_int2(i16::try_from(shard).expect("a shard is an int2"), &mut out);
        encode(row, &mut out);
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

/// Reads all rows of a stream and hands each to `take`; returns how many there were.
fn each<T>(
    shard: u16,
    columns: u16,
    copy: &[u8],
    mut read: impl FnMut(&mut Tuple<'_, '_>) -> Result<T, Corrupt>,
    mut take: impl FnMut(T) -> Result<(), Corrupt>,
) -> Result<usize, Corrupt> {
    let mut stream = Stream::new(copy, columns)?;
    let mut rows = 0;
    let mut next = |tuple: &mut Tuple<'_, '_>| {
        let found = tuple.int2()?;
        if found != shard {
            return Err(Corrupt(format!("a row belongs to shard {found}")));
        }
        read(tuple)
    };
    loop {
        let row = stream.next(&mut next).map_err(|corrupt| numbered(rows, &corrupt))?;
        let Some((row, _)) = row else { return Ok(rows) };
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
    each(shard, LEDGER_COLUMNS, copy, read, take)
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
    each(shard, ACCOUNT_COLUMNS, copy, read, take)
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
    each(shard, HOLD_COLUMNS, copy, read, take)
}
