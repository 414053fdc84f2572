//! One row of a file, CSV or JSON: what its columns or members are about, and what they say.
//!
//! Guarded here: every value is read by what reads it in a request, so a file's row and the API's are the same
//! command; and whatever cannot be read still says whether the next row may be of its chain.

use std::borrow::Cow;

use super::cells;
use super::columns::{About, Column, What};
use super::field::Field;
use super::fields::Given;
use super::reader::{Kind, Reader};
use super::values;
use crate::malformed::{Code, Malformed};
use crate::nouns::{Command, EFFECTIVE_NS_MAX};
use crate::uuid;

/// A row with everything has less than 4 KiB; a line that is longer is no row, and is not read to its end.
pub const LINE_BYTES_MAX: usize = 64 * 1024;
/// Whose the rows are follows from the key of whoever sends them.
const ANY_TENANT: u32 = 1;
/// The word without which nothing is linked, and how it begins where JSON has escapes for letters.
const LINKED: [&[u8]; 2] = [b"linked", b"\\u006"];

/// How a file is to be read.
pub struct Layout {
    /// What its rows are.
    pub what: What,
    /// What the cells of a line are; `None` where each line is a JSON object.
    pub columns: Option<Vec<Column>>,
    /// Each row is an event of the past, of its own time or else that of its recording.
    pub imported: bool,
    /// Where rows without ids come from; empty if each must have one.
    pub ids_from: Vec<u8>,
    /// Whether a row has one number, however many lines it goes over: who made the lines has only rows.
    pub rows_counted: bool,
    /// Rows of a request, at most.
    pub rows_max: usize,
}

/// Where reading goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The number of the next line, or row where lines are not counted.
    pub number: u64,
    /// Whether the next row is of a chain of which those before were not sent.
    pub torn: bool,
}

/// How much of a file there is to read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// More follows, and can be asked for.
    Part,
    /// More follows, but a chain that does not end here cannot be sent.
    Most,
    /// The file ends with it.
    End,
}

/// A row that is not sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Where it stands.
    pub number: u64,
    /// Its id, if that could be read.
    pub id: Option<u128>,
    /// A code of the API or of files.
    pub code: &'static str,
    /// One sentence for a person.
    pub detail: String,
}

/// Why a file cannot be read on, and the number of the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// It is too long to be one.
    LineTooLong(u64),
    /// It opens a quote, and who knows where that was to end.
    QuoteNotClosed(u64),
}

/// What one row says, as far as it could be read.
#[derive(Default)]
pub(super) struct Said<'a> {
    pub(super) given: Given<'a>,
    /// What stands there, by its bits.
    seen: u32,
    declined: bool,
    recorded_ns: u64,
    /// Whether something could not be read.
    pub(super) doubtful: bool,
}

/// What is to be done with a row.
pub(super) enum Row {
    Send(Command),
    /// It was declined.
    Skip,
}

/// Why a row cannot be sent.
pub(super) struct Complaint {
    /// Of the API, or of files: `invalid_csv`, `wrong_fields`.
    pub(super) code: &'static str,
    pub(super) detail: String,
}

impl From<Malformed> for Complaint {
    #[cold]
    fn from(malformed: Malformed) -> Self {
        Complaint { code: malformed.code.code(), detail: malformed.detail.replacen("The body", "The row", 1) }
    }
}

impl Layout {
    /// A record without what ends its line, or, of JSON, stands around it.
    pub(super) fn trimmed<'a>(&self, record: &'a [u8]) -> &'a [u8] {
        if self.columns.is_none() {
            return record.trim_ascii();
        }
        let record = record.strip_suffix(b"\n").unwrap_or(record);
        record.strip_suffix(b"\r").unwrap_or(record)
    }

    /// Reads a row. `said` is what it says, also where something else is wrong with it.
    pub(super) fn row<'a>(
        &self,
        record: &'a [u8],
        number: u64,
        said: &mut Said<'a>,
        metadata: &mut Vec<u8>,
    ) -> Result<Row, Complaint> {
        match &self.columns {
            Some(columns) => self.cells(record, columns, said, metadata)?,
            None => self.members(record, said, metadata)?,
        }
        if said.declined {
            return Ok(Row::Skip);
        }
        let id = match said.given.id {
            None if said.seen & Field::Id.bit() == 0 && !self.ids_from.is_empty() => self.derived(number),
            id => id.ok_or_else(|| values::missing("id"))?,
        };
        said.given.id = Some(id);
        if self.imported {
            if said.seen & Field::EffectiveAt.bit() == 0 {
                said.given.effective_ns = said.recorded_ns;
            }
            said.given.flags |= self.what.imported();
            said.given.timeout_s = 0;
        }
        Ok(Row::Send(match self.what {
            What::Transfers => super::transfer_command(&said.given, id, ANY_TENANT)?,
            What::Accounts => super::account_command(&said.given, id, ANY_TENANT),
        }))
    }

    /// The id of a row that has none: the same for the same line of the same source, for ever.
    fn derived(&self, number: u64) -> u128 {
        let line = number.to_string();
        uuid::of_client(uuid::derived(&[b"pyledger.import\0", &self.ids_from, &[0], line.as_bytes()]))
    }

    fn cells<'a>(
        &self,
        record: &'a [u8],
        columns: &[Column],
        said: &mut Said<'a>,
        metadata: &mut Vec<u8>,
    ) -> Result<(), Complaint> {
        let text = std::str::from_utf8(record)
            .map_err(|_| Malformed::because(Code::InvalidUtf8, "The row is not UTF-8."))?;
        let (mut rest, mut cells, mut wrong) = (Some(text), 0, None);
        while let Some(text) = rest {
            let (cell, after) = cells::cell(text).ok_or_else(invalid_csv)?;
            rest = after;
            if let Some(column) = columns.get(cells)
                && let Err(malformed) = self.cell(column, cell, said, metadata)
            {
                said.doubtful = true;
                wrong.get_or_insert(malformed);
            }
            cells += 1;
        }
        if cells != columns.len() {
            let detail = format!("The row has {cells} fields instead of {}.", columns.len());
            return Err(Complaint { code: "wrong_fields", detail });
        }
        match wrong {
            // A declined row is left out whatever else it says.
            Some(malformed) if !said.declined => Err(malformed.into()),
            _ => Ok(()),
        }
    }

    fn cell<'a>(
        &self,
        column: &Column,
        cell: Cow<'a, str>,
        said: &mut Said<'a>,
        metadata: &mut Vec<u8>,
    ) -> Result<(), Malformed> {
        match column.about {
            About::Field(_) | About::Recorded if cell.is_empty() => {}
            About::Field(field) => {
                said.seen |= field.bit();
                self.what.fields().cell(field, &column.name, cell, &mut said.given, metadata)?;
            }
            About::Status => said.declined = cell == "declined",
            About::Recorded => self.recorded(&cell, said)?,
            About::Ignored(_) => {}
        }
        Ok(())
    }

    /// Takes the time of recording, where it is asked for.
    fn recorded(&self, text: &str, said: &mut Said<'_>) -> Result<(), Malformed> {
        if self.imported {
            let digits = !text.starts_with('+');
            let ns = text.parse().ok().filter(|_| digits).filter(|ns| (1..=EFFECTIVE_NS_MAX).contains(ns));
            let must = "recorded_ns: it must be nanoseconds after 1970 began and before 2262.";
            said.recorded_ns = ns.ok_or_else(|| Malformed::because(Code::InvalidTime, must))?;
        }
        Ok(())
    }

    fn members<'a>(
        &self,
        record: &'a [u8],
        said: &mut Said<'a>,
        metadata: &mut Vec<u8>,
    ) -> Result<(), Malformed> {
        let mut reader = Reader::new(record)?;
        if reader.kind()? != Kind::Object {
            return Err(Malformed::because(Code::InvalidJson, "The row is no JSON object."));
        }
        reader.open();
        let mut first = true;
        while let Some(name) = reader.key(first)? {
            first = false;
            let about = About::of(&name, self.what.fields()).ok_or_else(|| values::unknown(&name))?;
            if said.seen & about.bit() != 0 {
                return Err(values::twice(&name));
            }
            said.seen |= about.bit();
            match (about, reader.kind()?) {
                (_, Kind::Null) => reader.null()?,
                (About::Field(field), _) => {
                    self.what.fields().value(field, &name, &mut reader, &mut said.given, metadata)?;
                }
                (About::Status, Kind::String) => said.declined = reader.string()? == "declined",
                (About::Recorded, Kind::Number) => self.recorded(reader.number()?, said)?,
                (About::Recorded, Kind::String) => self.recorded(&reader.string()?, said)?,
                (About::Ignored(_), Kind::String) => drop(reader.string()?),
                (About::Ignored(_), Kind::Number) => drop(reader.number()?),
                _ => return Err(values::wrong_type(&name, "a string or a number")),
            }
        }
        reader.end()
    }
}

/// Whether a row that is wrong may be linked to the next one: in doubt it is.
#[cold]
pub(super) fn may_be_linked(record: &[u8]) -> bool {
    LINKED.iter().any(|word| record.windows(word.len()).any(|bytes| bytes == *word))
}

#[cold]
fn invalid_csv() -> Complaint {
    let detail =
        "The row is no CSV: a quote is not closed, or a line's end stands outside of quotes.".to_owned();
    Complaint { code: "invalid_csv", detail }
}
