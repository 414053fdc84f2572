//! Lines of a file of transfers, CSV or JSON, become one request, if every one of them can be read here.
//!
//! Guarded here: one line is one row and says nothing beyond it. Whatever is out of the ordinary, a cell that is no
//! number, a text over several lines, a chain, which must not be cut, is left to a slower reader, which says what is
//! wrong if anything is.

use super::field::Field;
use super::fields::{Given, TRANSFER};
use super::reader::{Kind, Reader};
use super::{cells, transfer_command, write};
use crate::nouns::{Text, transfer_flags as flag};
use crate::request::Request;
use crate::{binary, uuid};

/// Whose the rows are follows from the key of whoever sends them.
const ANY_TENANT: u32 = 1;
/// Of a transfer as JSON, without its texts, as a rule.
const OBJECT_BYTES: usize = 300;
/// With these a row is about another one, or about its time, so nothing may overtake it.
const DEPENDS: u16 = flag::IMPORTED | flag::POST_PENDING | flag::VOID_PENDING | flag::REVERSE;
/// Which rows belong together is not looked at here.
const TOGETHER: u16 = flag::LINKED | flag::GROUP;

/// What a column or a member of an object is about.
#[derive(Clone, Copy)]
pub enum Column {
    /// A field of a transfer.
    Field(Field),
    /// What became of it: a declined row is left out.
    Status,
    /// When it was recorded, ns since 1970.
    Recorded,
    /// Of no interest.
    Ignored,
}

impl Column {
    /// By its name in the API or in an export; `None` if there is no such column.
    pub fn of(name: &str) -> Option<Self> {
        Some(match name {
            "status" => Column::Status,
            "recorded_ns" => Column::Recorded,
            "kind" | "refusal" | "detail" | "recorded_at" | "seq" | "tenant" => Column::Ignored,
            _ => Column::Field(Field::of(name).filter(|field| TRANSFER.has(*field))?),
        })
    }
}

/// How lines are to be read.
pub struct Layout {
    /// What the cells of a line are; `None` where each line is a JSON object.
    pub columns: Option<Vec<Column>>,
    /// Each row is an event of the past, of its own time or else that of its recording.
    pub imported: bool,
    /// Where rows without ids come from; empty if each must have one.
    pub ids_from: Vec<u8>,
}

/// The rows of the first lines.
#[derive(Default)]
pub struct Lines {
    request: Request,
    /// Lines read, those that were left out included.
    pub lines: usize,
    /// Bytes read.
    pub bytes: usize,
}

impl Lines {
    /// Reads whole lines, `rows_max` at most; `number` is that of the first. `None` if one is out of the ordinary.
    pub fn read(text: &[u8], layout: &Layout, number: u64, rows_max: usize) -> Option<Self> {
        let mut read = Lines::default();
        let mut metadata = Vec::new();
        for line in text.split_inclusive(|&byte| byte == b'\n') {
            let Some(row) = line.strip_suffix(b"\n") else { break };
            if read.request.commands.len() == rows_max {
                break;
            }
            let row = row.strip_suffix(b"\r").unwrap_or(row);
            layout.row(row, number + read.lines as u64, &mut metadata, &mut read.request)?;
            read.lines += 1;
            read.bytes += line.len();
        }
        Some(read)
    }

    /// How many are to be sent.
    pub fn rows(&self) -> usize {
        self.request.commands.len()
    }

    /// Whether they fit records, which have no room for texts.
    pub fn is_binary(&self) -> bool {
        self.request.text.is_empty()
    }

    /// Whether one of them must not overtake those before it, whatever there is to spend.
    pub fn depends(&self) -> bool {
        self.request.commands.iter().any(|command| command.target != 0 || command.flags & DEPENDS != 0)
    }

    /// The id of the last one to be sent.
    pub fn last_id(&self) -> Option<u128> {
        self.request.commands.last().map(|command| command.id)
    }

    /// The body of a request: records, or else JSON.
    pub fn body(&self) -> Vec<u8> {
        if self.is_binary() {
            return binary::records(&self.request.commands);
        }
        let mut out = Vec::with_capacity(self.request.text.len() + OBJECT_BYTES * self.rows());
        out.extend_from_slice(b"{\"transfers\":[");
        for command in &self.request.commands {
            write::transfer(command, &self.request.text, &mut out);
            out.push(b',');
        }
        out.pop();
        out.extend_from_slice(b"]}");
        out
    }
}

/// What one line says.
#[derive(Default)]
pub(super) struct Said<'a> {
    pub(super) given: Given<'a>,
    /// Fields that stand there, by their bits.
    pub(super) seen: u32,
    pub(super) declined: bool,
    pub(super) recorded_ns: Option<u64>,
}

impl Layout {
    /// Appends the row of one line, if it is one to send.
    fn row(&self, line: &[u8], number: u64, metadata: &mut Vec<u8>, request: &mut Request) -> Option<()> {
        let mut said = Said::default();
        metadata.clear();
        match &self.columns {
            Some(columns) => cells::read(line, columns, self.imported, &mut said, metadata)?,
            None => members(line, self.imported, &mut said, metadata)?,
        }
        if said.declined {
            return (said.given.flags & TOGETHER == 0).then_some(());
        }
        let id = match said.given.id {
            None if said.seen & Field::Id.bit() == 0 && !self.ids_from.is_empty() => self.derived(number),
            id => id?,
        };
        if self.imported {
            if said.seen & Field::EffectiveAt.bit() == 0 {
                said.given.effective_ns = said.recorded_ns.unwrap_or(0);
            }
            said.given.flags |= flag::IMPORTED;
            said.given.timeout_s = 0;
        }
        let mut command = transfer_command(&said.given, id, ANY_TENANT).ok()?;
        if command.flags & TOGETHER != 0 {
            return None;
        }
        let reference = said.given.reference.as_bytes();
        command.text = Text {
            start: u32::try_from(request.text.len()).ok()?,
            reference_bytes: reference.len() as u16,
            metadata_bytes: metadata.len() as u16,
        };
        request.text.extend_from_slice(reference);
        request.text.extend_from_slice(metadata);
        request.commands.push(command);
        Some(())
    }

    /// The id of a row that has none: the same for the same line of the same source, for ever.
    fn derived(&self, number: u64) -> u128 {
        let line = number.to_string();
        uuid::of_client(uuid::derived(&[b"pyledger.import\0", &self.ids_from, &[0], line.as_bytes()]))
    }
}

/// Reads a line that is an object.
fn members<'a>(line: &'a [u8], imported: bool, said: &mut Said<'a>, metadata: &mut Vec<u8>) -> Option<()> {
    let mut reader = Reader::new(line).ok()?;
    if reader.kind().ok()? != Kind::Object {
        return None;
    }
    reader.open();
    let mut first = true;
    while let Some(name) = reader.key(first).ok()? {
        first = false;
        match Column::of(&name)? {
            Column::Field(field) if said.seen & field.bit() != 0 => return None,
            Column::Field(field) => {
                said.seen |= field.bit();
                if reader.kind().ok()? == Kind::Null {
                    reader.null().ok()?;
                } else {
                    TRANSFER.value(field, &name, &mut reader, &mut said.given, metadata).ok()?;
                }
            }
            column => match (column, reader.kind().ok()?) {
                (Column::Status, Kind::String) => said.declined = reader.string().ok()? == "declined",
                (Column::Recorded, Kind::Number) => {
                    let number = reader.number().ok()?;
                    if imported {
                        said.recorded_ns = Some(cells::recorded(number.as_bytes())?);
                    }
                }
                (Column::Recorded | Column::Status, _) => return None,
                (_, Kind::String) => drop(reader.string().ok()?),
                (_, Kind::Number) => drop(reader.number().ok()?),
                _ => return None,
            },
        }
    }
    reader.end().ok()
}
