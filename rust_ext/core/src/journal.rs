//! Journal rows as PostgreSQL keeps them: encoded for COPY, decoded from COPY and from `record_send`.
//!
//! Columns, in order:
//!
//! ```text
//! shard int2, seq int8, recorded_ns int8, id uuid, tenant int4, kind int2, status int2, debit_account uuid,
//! credit_account uuid, amount numeric, target uuid, ledger int4, code int4, flags int4, timeout_s int4,
//! effective_ns int8, fingerprint bytea, reference text, metadata text, debit_after bytea, credit_after bytea
//! ```
//!
//! NULL stands for 0, for no text, and for the balances of a row that touches no account.
//! A row has one encoding: decoding and encoding again gives the same bytes, and the hash is over them.

use crate::chain::{self, Head, Link};
use crate::copy::{
    Bytes, HEADER, Stream, TRAILER, Tuple, put_bytes, put_int2, put_int4, put_int8, put_null, put_numeric,
    put_uuid,
};
use crate::json::canonical_metadata;
use crate::merkle::{self, Hash};
use crate::nouns::{Counters, LEDGER_MAX, METADATA_BYTES_MAX, REFERENCE_BYTES_MAX, Row, RowKind, Text};
use crate::refusal::Refusal;
use crate::state::Corrupt;

/// Columns of the table `journal`.
pub const COLUMNS: u16 = 21;

/// What most rows need in a COPY stream; only a first guess for the buffer.
const TUPLE_BYTES_USUAL: usize = 320;

/// One row as stored, with its place in the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The shard that recorded it.
    pub shard: u16,
    /// The batch that it belongs to.
    pub seq: u64,
    /// The row; its texts stand in the buffer that was given.
    pub row: Row,
}

/// A batch ready to be appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The whole COPY stream.
    pub copy: Vec<u8>,
    /// The batch's own row.
    pub link: Link,
    /// The head after it.
    pub head: Head,
}

/// Encodes and hashes a batch on top of `previous`; `None` if it has no rows.
pub fn seal(shard: u16, previous: &Head, rows: &[Row], text: &[u8]) -> Option<Sealed> {
    let (first, last) = (rows.first()?, rows.last()?);
    let seq = previous.seq + 1;
    let mut copy = Vec::with_capacity(HEADER.len() + rows.len() * TUPLE_BYTES_USUAL + TRAILER.len());
    let mut leaves = Vec::with_capacity(rows.len());
    copy.extend_from_slice(HEADER);
    for row in rows {
        let start = copy.len();
        encode(shard, seq, row, text, &mut copy);
        leaves.push(merkle::leaf(&copy[start..]));
    }
    copy.extend_from_slice(&TRAILER);
    let link = Link {
        seq,
        rows: u32::try_from(rows.len()).expect("a batch is bounded"),
        first_ns: first.recorded_ns,
        last_ns: last.recorded_ns,
        root: merkle::root(planted!("root_over_other_rows" => &leaves[1..]; &leaves)),
    };
    let head = Head { seq, hash: chain::hash(&previous.hash, shard, &link), last_ns: link.last_ns };
    Some(Sealed { copy, link, head })
}

/// True of rows that say what two accounts hold after them.
fn touches_accounts(kind: RowKind, status: u16) -> bool {
    kind >= RowKind::Transfer && status == 0
}

/// Appends one COPY tuple.
pub fn encode(shard: u16, seq: u64, row: &Row, text: &[u8], out: &mut Vec<u8>) {
    let (reference, metadata) = texts(row, text);
    out.extend_from_slice(&COLUMNS.to_be_bytes());
    put_int2(i16::try_from(shard).expect("a shard is an int2"), out);
    put_int8(seq, out);
    put_int8(row.recorded_ns, out);
    put_uuid(row.id, out);
    put_int4(row.tenant, out);
    put_int2(row.kind as i16, out);
    put_int2(i16::try_from(row.status).expect("a refusal's number is an int2"), out);
    put_uuid_or_null(row.debit, out);
    put_uuid_or_null(row.credit, out);
    put_numeric(row.amount, out);
    put_uuid_or_null(row.target, out);
    put_int4(row.ledger, out);
    put_int4(u32::from(row.code), out);
    put_int4(u32::from(row.flags), out);
    put_int4(row.timeout_s, out);
    if row.effective_ns == 0 {
        put_null(out);
    } else {
        put_int8(row.effective_ns, out);
    }
    put_bytes(&row.fingerprint, out);
    put_bytes_or_null(reference, out);
    put_bytes_or_null(metadata, out);
    if touches_accounts(row.kind, row.status) {
        put_counters(&row.debit_after, out);
        put_counters(&row.credit_after, out);
    } else {
        put_null(out);
        put_null(out);
    }
}

/// The reference and the metadata of a row; empty is none.
pub fn texts<'t>(row: &Row, text: &'t [u8]) -> (&'t [u8], &'t [u8]) {
    let start = row.text.start as usize;
    let middle = start + row.text.reference_bytes as usize;
    (&text[start..middle], &text[middle..middle + row.text.metadata_bytes as usize])
}

fn put_uuid_or_null(id: u128, out: &mut Vec<u8>) {
    if id == 0 { put_null(out) } else { put_uuid(id, out) }
}

fn put_bytes_or_null(bytes: &[u8], out: &mut Vec<u8>) {
    if bytes.is_empty() { put_null(out) } else { put_bytes(bytes, out) }
}

/// Four numbers, each a byte of length and that many bytes, most significant first, none of them leading zeros.
fn put_counters(counters: &Counters, out: &mut Vec<u8>) {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    for counter in
        [counters.debits_pending, counters.debits_posted, counters.credits_pending, counters.credits_posted]
    {
        let zeros = counter.leading_zeros() as usize / 8;
        out.push((16 - zeros) as u8);
        out.extend_from_slice(&counter.to_be_bytes()[zeros..]);
    }
    let length = (out.len() - at - 4) as u32;
    out[at..at + 4].copy_from_slice(&length.to_be_bytes());
}

fn counters(field: &[u8]) -> Result<Counters, Corrupt> {
    let mut bytes = Bytes::new(field);
    let mut next = || -> Result<u128, Corrupt> {
        let length = bytes.take(1)?[0] as usize;
        let digits = if length <= 16 { bytes.take(length)? } else { &[] };
        if digits.len() != length || digits.first() == Some(&0) {
            return Err(Corrupt("a balance is not in its shortest form".to_owned()));
        }
        Ok(digits.iter().fold(0, |number, byte| (number << 8) | u128::from(*byte)))
    };
    let counters = Counters {
        debits_pending: next()?,
        debits_posted: next()?,
        credits_pending: next()?,
        credits_posted: next()?,
    };
    bytes.end()?;
    Ok(counters)
}

/// Reads one `record_send(journal row)`; appends its texts to `text`.
pub fn decode_record(record: &[u8], text: &mut Vec<u8>) -> Result<Stored, Corrupt> {
    let mut bytes = Bytes::new(record);
    let stored = decode(&mut Tuple::of_record(&mut bytes, COLUMNS)?, text)?;
    bytes.end()?;
    // A stream's rows are checked against their hash; a single row goes into replies as it is.
    let (_, metadata) = texts(&stored.row, text);
    let metadata = std::str::from_utf8(metadata).unwrap_or_default();
    if !metadata.is_empty() && canonical_metadata(metadata).as_deref() != Some(metadata) {
        return Err(Corrupt("metadata is not in its canonical form".to_owned()));
    }
    Ok(stored)
}

/// The rows of a COPY OUT stream, one after the other.
pub struct Rows<'a>(Stream<'a>);

impl<'a> Rows<'a> {
    /// Starts at the stream's header.
    pub fn new(stream: &'a [u8]) -> Result<Self, Corrupt> {
        Stream::new(stream, COLUMNS).map(Rows)
    }

    /// The next row and its hash; its texts are appended to `text`. `None` at the end.
    pub fn next(&mut self, text: &mut Vec<u8>) -> Result<Option<(Stored, Hash)>, Corrupt> {
        Ok(self.next_tuple(text)?.map(|(stored, tuple)| (stored, merkle::leaf(tuple))))
    }

    /// The next row and its tuple, which is what is hashed.
    pub fn next_tuple(&mut self, text: &mut Vec<u8>) -> Result<Option<(Stored, &'a [u8])>, Corrupt> {
        self.0.next(|tuple| decode(tuple, text))
    }

    /// The next row alone, for whoever only shows it.
    pub fn next_unhashed(&mut self, text: &mut Vec<u8>) -> Result<Option<Stored>, Corrupt> {
        Ok(self.0.next(|tuple| decode(tuple, text))?.map(|(stored, _)| stored))
    }
}

fn decode(tuple: &mut Tuple<'_, '_>, text: &mut Vec<u8>) -> Result<Stored, Corrupt> {
    let shard = tuple.int2()?;
    let seq = tuple.int8()?;
    let recorded_ns = tuple.int8()?;
    let id = tuple.uuid()?;
    let tenant = tuple.int4()?;
    let kind = kind(tuple.int2()?)?;
    let status = status(tuple.int2()?)?;
    let debit = tuple.uuid_or_null()?;
    let credit = tuple.uuid_or_null()?;
    let amount = tuple.numeric()?;
    let target = tuple.uuid_or_null()?;
    let ledger = tuple.int4()?;
    let code = tuple.int4_of_16_bits()?;
    let flags = tuple.int4_of_16_bits()?;
    let timeout_s = tuple.int4()?;
    let effective_ns = tuple.int8_or_null()?;
    let fingerprint = tuple.bytea()?.and_then(|bytes| bytes.try_into().ok());
    let fingerprint = fingerprint.ok_or_else(|| Corrupt("a fingerprint is not 16 bytes".to_owned()))?;
    let reference = tuple.text(REFERENCE_BYTES_MAX)?.unwrap_or_default();
    let metadata = tuple.text(METADATA_BYTES_MAX)?.unwrap_or_default();
    let (debit_after, credit_after) = balances_after(tuple, touches_accounts(kind, status))?;
    if seq == 0 || recorded_ns == 0 || id == 0 || tenant == 0 || ledger > LEDGER_MAX {
        return Err(Corrupt("a number is outside the range of its column".to_owned()));
    }
    let start = u32::try_from(text.len()).map_err(|_| Corrupt("more than 4 GiB of texts".to_owned()))?;
    text.extend_from_slice(reference.as_bytes());
    text.extend_from_slice(metadata.as_bytes());
    let row = Row {
        recorded_ns,
        id,
        tenant,
        kind,
        status,
        debit,
        credit,
        amount,
        target,
        ledger,
        code,
        flags,
        timeout_s,
        effective_ns,
        fingerprint,
        text: Text { start, reference_bytes: reference.len() as u16, metadata_bytes: metadata.len() as u16 },
        debit_after,
        credit_after,
    };
    Ok(Stored { shard, seq, row })
}

/// The balances of both accounts, which are there exactly if the row touches accounts.
fn balances_after(tuple: &mut Tuple<'_, '_>, touches: bool) -> Result<(Counters, Counters), Corrupt> {
    match (tuple.bytea()?, tuple.bytea()?) {
        (Some(debit), Some(credit)) if touches => Ok((counters(debit)?, counters(credit)?)),
        (None, None) if !touches => Ok((Counters::default(), Counters::default())),
        _ => Err(Corrupt("a row has balances and touches no account, or the reverse".to_owned())),
    }
}

fn kind(number: u16) -> Result<RowKind, Corrupt> {
    Ok(match number {
        1 => RowKind::Ledger,
        2 => RowKind::Account,
        3 => RowKind::Transfer,
        4 => RowKind::Pending,
        5 => RowKind::Post,
        6 => RowKind::Void,
        7 => RowKind::Reverse,
        8 => RowKind::Expire,
        _ => return Err(Corrupt(format!("there is no row kind {number}"))),
    })
}

/// Only accepted rows and final refusals are ever stored.
fn status(number: u16) -> Result<u16, Corrupt> {
    if number == 0 || Refusal::from_number(number).is_some_and(Refusal::is_final) {
        return Ok(number);
    }
    Err(Corrupt(format!("there is no final refusal {number}")))
}
