//! A line of CSV, cell by cell, where nothing in it is out of the ordinary.
//!
//! Guarded here: a cell ends at its comma or at the quote that closes it, and is exactly what its field may hold.

use std::borrow::Cow;

use super::field::Field;
use super::fields::{Given, TRANSFER, amount_of};
use super::lines::{Column, Said};
use super::metadata;
use super::reader::{Kind, Reader};
use crate::nouns::{EFFECTIVE_NS_MAX, LEDGER_MAX, REFERENCE_BYTES_MAX, TIMEOUT_S_MAX};
use crate::{time, uuid};

/// Digits of a 64-bit number.
const DIGITS_MAX: usize = 20;

/// A cell, and what follows its comma.
type Cut<'a> = (Cow<'a, [u8]>, Option<&'a [u8]>);

/// Reads a line of cells.
pub(super) fn read<'a>(
    line: &'a [u8],
    columns: &[Column],
    imported: bool,
    said: &mut Said<'a>,
    metadata: &mut Vec<u8>,
) -> Option<()> {
    let mut rest = Some(line);
    for column in columns {
        let (cell, after) = cell(rest?)?;
        rest = after;
        match column {
            Column::Ignored => {}
            Column::Status => said.declined = *cell == *b"declined",
            Column::Recorded if !imported || cell.is_empty() => {}
            Column::Recorded => said.recorded_ns = Some(recorded(&cell)?),
            Column::Field(_) if cell.is_empty() => {}
            Column::Field(field) => {
                said.seen |= field.bit();
                said.given.cell(*field, cell, metadata)?;
            }
        }
    }
    rest.is_none().then_some(())
}

/// The first cell of a line, and what follows its comma.
fn cell(text: &[u8]) -> Option<Cut<'_>> {
    if text.first() == Some(&b'"') {
        return quoted(&text[1..]);
    }
    let mut end = 0;
    while let Some(&byte) = text.get(end) {
        match byte {
            b',' => return Some((Cow::Borrowed(&text[..end]), Some(&text[end + 1..]))),
            b'"' | 0..=0x1f => return None,
            _ => end += 1,
        }
    }
    Some((Cow::Borrowed(text), None))
}

/// The same of a cell in quotes, after the first one.
fn quoted(text: &[u8]) -> Option<Cut<'_>> {
    let mut cell = Cow::Borrowed(&text[..0]);
    let mut from = 0;
    loop {
        let end = from + text[from..].iter().position(|&byte| byte == b'"' || byte < 0x20)?;
        if text[end] != b'"' {
            return None;
        }
        if from == 0 {
            cell = Cow::Borrowed(&text[..end]);
        } else {
            cell.to_mut().extend_from_slice(&text[from..end]);
        }
        match text.get(end + 1) {
            None => return Some((cell, None)),
            Some(b',') => return Some((cell, Some(&text[end + 2..]))),
            Some(b'"') => cell.to_mut().push(b'"'),
            Some(_) => return None,
        }
        from = end + 2;
    }
}

/// When something was recorded, ns since 1970.
pub(super) fn recorded(text: &[u8]) -> Option<u64> {
    whole(text).filter(|ns| (1..=EFFECTIVE_NS_MAX).contains(ns))
}

/// Digits and nothing else.
fn whole(text: &[u8]) -> Option<u64> {
    if text.len() > DIGITS_MAX || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn whole_to(text: &[u8], max: u32) -> Option<u32> {
    u32::try_from(whole(text)?).ok().filter(|number| *number <= max)
}

impl<'a> Given<'a> {
    /// Takes a cell that is not empty; `None` if it is not plainly what the field holds.
    fn cell(&mut self, field: Field, cell: Cow<'a, [u8]>, metadata: &mut Vec<u8>) -> Option<()> {
        match field {
            Field::Id => self.id = Some(uuid::parse(&cell)?),
            Field::DebitAccount => self.debit = uuid::parse(&cell)?,
            Field::CreditAccount => self.credit = uuid::parse(&cell)?,
            Field::Amount => self.amount = Some(amount_of(std::str::from_utf8(&cell).ok()?)?),
            Field::Ledger => self.ledger = whole_to(&cell, LEDGER_MAX)?,
            Field::Code => self.code = whole_to(&cell, u16::MAX.into())? as u16,
            Field::Flags => self.flags = flags(&cell)?,
            Field::Timeout => self.timeout_s = whole_to(&cell, TIMEOUT_S_MAX)?,
            Field::Pending => self.pending = Some(uuid::parse(&cell)?),
            Field::Reverses => self.reverses = Some(uuid::parse(&cell)?),
            Field::EffectiveAt => self.effective_ns = time::parse(&cell)?,
            Field::Reference if cell.len() > REFERENCE_BYTES_MAX => return None,
            Field::Reference => {
                self.reference = match cell {
                    Cow::Borrowed(text) => Cow::Borrowed(std::str::from_utf8(text).ok()?),
                    Cow::Owned(text) => Cow::Owned(String::from_utf8(text).ok()?),
                }
            }
            Field::Metadata => {
                let mut reader = Reader::new(&cell).ok()?;
                if reader.kind().ok()? != Kind::Object {
                    return None;
                }
                metadata::read(&mut reader, metadata).ok()?;
                reader.end().ok()?;
            }
            _ => return None,
        }
        Some(())
    }
}

/// Names apart by single spaces, each once.
fn flags(cell: &[u8]) -> Option<u16> {
    cell.split(|&byte| byte == b' ').try_fold(0, |flags, name| {
        let bit = TRANSFER.flag(std::str::from_utf8(name).ok()?)?;
        (flags & bit == 0).then_some(flags | bit)
    })
}
