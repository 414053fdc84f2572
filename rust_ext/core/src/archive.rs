//! Journal rows as a table for people, beside the tuples that are hashed: what an archive is made of. And what stands for
//! a row that is in one.
//!
//! Guarded here: the table says nothing that does not follow from the tuples, so it can be made again and compared.

use std::io::Write;

use crate::copy::{Bytes, HEADER, Tuple};
use crate::journal::{self, Rows};
use crate::refusal::Refusal;
use crate::show::kind;
use crate::state::Corrupt;
use crate::uuid;

/// Columns of what stands for an archived row.
const ARCHIVED_COLUMNS: u16 = 3;

/// A COPY OUT stream of rows, taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Where each tuple begins in the stream, and where the last one ends.
    pub offsets: Vec<u32>,
    /// A line of CSV for each: shard, seq, `recorded_ns`, tenant, id, kind, refusal, both accounts, amount, target,
    /// ledger, code, flags, `timeout_s`, `effective_ns`, fingerprint, reference, metadata.
    pub csv: Vec<u8>,
}

/// Takes a COPY OUT stream apart.
pub fn table(copy: &[u8]) -> Result<Table, Corrupt> {
    let mut rows = Rows::new(copy)?;
    let mut text = Vec::new();
    let mut end = u32::try_from(HEADER.len()).expect("a header is short");
    let mut table = Table { offsets: vec![end], csv: Vec::new() };
    while let Some((stored, tuple)) = rows.next_tuple(&mut text)? {
        let bytes = u32::try_from(tuple.len()).ok();
        end =
            bytes.and_then(|bytes| end.checked_add(bytes)).ok_or_else(|| Corrupt("over 4 GiB".to_owned()))?;
        table.offsets.push(end);
        let (reference, metadata) = journal::texts(&stored.row, &text);
        line(&stored, reference, metadata, &mut table.csv);
        text.clear();
    }
    Ok(table)
}

fn line(stored: &journal::Stored, reference: &[u8], metadata: &[u8], out: &mut Vec<u8>) {
    let row = &stored.row;
    let id_or_none = |id: u128| if id == 0 { String::new() } else { uuid::string(id) };
    let refusal = Refusal::from_number(row.status).map_or("", Refusal::code);
    let effective = if row.effective_ns == 0 { String::new() } else { row.effective_ns.to_string() };
    let fingerprint = u128::from_be_bytes(row.fingerprint);
    let written = write!(
        out,
        "{},{},{},{},{},{},{refusal},{},{},{},{},{},{},{},{},{effective},{fingerprint:032x},",
        stored.shard,
        stored.seq,
        row.recorded_ns,
        row.tenant,
        uuid::string(row.id),
        kind(row.kind),
        id_or_none(row.debit),
        id_or_none(row.credit),
        row.amount,
        id_or_none(row.target),
        row.ledger,
        row.code,
        row.flags,
        row.timeout_s,
    );
    written.expect("memory takes all that is written to it");
    quote(reference, out);
    out.push(b',');
    quote(metadata, out);
    out.push(b'\n');
}

/// A text that is not there is not the same as an empty one, but neither is ever empty.
fn quote(text: &[u8], out: &mut Vec<u8>) {
    if text.is_empty() {
        return;
    }
    out.push(b'"');
    for &byte in text {
        if byte == b'"' {
            out.push(b'"');
        }
        out.push(byte);
    }
    out.push(b'"');
}

/// Reads one `record_send` of shard, tenant and id, which stands for a row that was archived; `None` of any other.
pub fn decode_archived(record: &[u8]) -> Result<Option<(u16, u32, u128)>, Corrupt> {
    if record.get(..4) != Some(&u32::from(ARCHIVED_COLUMNS).to_be_bytes()) {
        return Ok(None);
    }
    let mut bytes = Bytes::new(record);
    let mut tuple = Tuple::of_record(&mut bytes, ARCHIVED_COLUMNS)?;
    let archived = (tuple.int2()?, tuple.int4()?, tuple.uuid()?);
    bytes.end()?;
    Ok(Some(archived))
}
