//! Lines of a file become requests: as many rows as one takes, without those that are wrong.
//!
//! Guarded here: a linked chain is in one request as a whole, or not at all. Where a row of it is wrong or was left
//! out, where nobody can say whether it goes on, and where no request can hold it, none of it is sent.

use super::cells;
use super::columns::What;
use super::layout::{
    Complaint, LINE_BYTES_MAX, Layout, Place, Row, Said, Unreadable, View, Wrong, may_be_linked,
};
use super::write;
use crate::binary;
use crate::nouns::{BATCH_ROWS_MAX, Command, GROUP_HOLDS_MAX, Text, transfer_flags as flag};
use crate::request::Request;

/// Of the texts of a request. With everything else of 8,190 rows its body stays below 16 MiB, which servers take.
const TEXT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// What a character of a reference becomes in JSON, at most.
const ESCAPED_BYTES_MAX: usize = 6;
const LINKED: u16 = flag::LINKED;

/// The rows of some lines.
#[derive(Default)]
pub struct Lines {
    what: What,
    rows_max: usize,
    request: Request,
    /// Where each row of the request stands.
    pub numbers: Vec<u64>,
    /// Rows that are not sent, in order.
    pub wrong: Vec<Wrong>,
    /// Rows that were declined, so left out.
    pub skipped: usize,
    /// Bytes read; none if there is not enough to say anything.
    pub bytes: usize,
    /// Where reading goes on.
    pub next: Place,
    /// What resolving groups makes of the rows.
    weight: usize,
    /// Of texts, as they are sent.
    text_bytes: usize,
}

/// How much was read when a chain began.
#[derive(Clone, Copy)]
struct Mark {
    rows: usize,
    text: usize,
    wrong: usize,
    skipped: usize,
    bytes: usize,
    next: Place,
}

impl Mark {
    const fn covers(&self) -> usize {
        self.rows + self.wrong + self.skipped
    }
}

impl Lines {
    /// Reads one request from the first lines of `text`.
    pub fn read(layout: &Layout, text: &[u8], view: View, from: Place) -> Result<Self, Unreadable> {
        let (what, rows_max) = (layout.what, layout.rows_max.clamp(GROUP_HOLDS_MAX, BATCH_ROWS_MAX));
        let mut lines = Lines { what, rows_max, next: from, ..Lines::default() };
        let mut metadata = Vec::new();
        let mut chain = lines.mark();
        loop {
            let open = lines.bytes > chain.bytes;
            let rest = &text[lines.bytes..];
            if rest.is_empty() || (view != View::End && rest.len() <= LINE_BYTES_MAX) {
                lines.stop(chain, view);
                return Ok(lines);
            }
            if !open && chain.covers() >= rows_max {
                return Ok(lines);
            }
            let Some(extent) = lines.extent(layout, rest, view == View::End)? else {
                // A quote is not closed in what there is to read from.
                if chain.bytes == 0 && (view == View::End || (view == View::Most && !open)) {
                    return Err(Unreadable::QuoteNotClosed(lines.next.number));
                }
                lines.stop(chain, if view == View::End { View::Part } else { view });
                return Ok(lines);
            };
            match lines.record(layout, &rest[..extent], &mut metadata) {
                None if open => continue,
                None => {}
                Some(linked) if lines.next.torn => lines.tear(chain, linked),
                Some(linked) if lines.is_too_much() => {
                    if chain.covers() > 0 {
                        lines.back_to(chain);
                    } else {
                        lines.tear(chain, linked);
                    }
                    return Ok(lines);
                }
                Some(true) => continue,
                Some(false) => lines.end_chain(chain),
            }
            chain = lines.mark();
        }
    }

    /// Bytes of the first record; `None` where a quote of it is not closed.
    fn extent(&self, layout: &Layout, rest: &[u8], ends: bool) -> Result<Option<usize>, Unreadable> {
        let near = &rest[..rest.len().min(LINE_BYTES_MAX)];
        let line = match near.iter().position(|&byte| byte == b'\n') {
            Some(end) => &rest[..=end],
            None if near.len() == rest.len() => rest,
            None => return Err(Unreadable::LineTooLong(self.next.number)),
        };
        let quoted = layout.columns.is_some() && line.contains(&b'"');
        Ok(if quoted { cells::extent(rest, ends) } else { Some(line.len()) })
    }

    /// Reads one record: whether it is linked to the next one. `None` if its line is empty.
    fn record(&mut self, layout: &Layout, record: &[u8], metadata: &mut Vec<u8>) -> Option<bool> {
        let number = self.next.number;
        self.bytes += record.len();
        let record = layout.trimmed(record);
        let over_lines = !layout.rows_counted && record.contains(&b'\n');
        self.next.number += if over_lines { record.split(|&byte| byte == b'\n').count() as u64 } else { 1 };
        if record.is_empty() {
            return None;
        }
        metadata.clear();
        let mut said = Said::default();
        Some(match layout.row(record, number, &mut said, metadata) {
            Ok(Row::Send(command)) => {
                self.numbers.push(number);
                self.push(command, said.given.reference.as_bytes(), metadata);
                command.flags & LINKED != 0
            }
            Ok(Row::Skip) => {
                self.skipped += 1;
                said.given.flags & LINKED != 0 || (said.doubtful && may_be_linked(record))
            }
            Err(Complaint { code, detail }) => {
                self.wrong.push(Wrong { number, id: said.given.id, code, detail });
                may_be_linked(record)
            }
        })
    }

    fn push(&mut self, mut command: Command, reference: &[u8], metadata: &[u8]) {
        command.text = Text {
            start: u32::try_from(self.request.text.len()).expect("a request is far below 4 GiB"),
            reference_bytes: u16::try_from(reference.len()).expect("a reference was measured"),
            metadata_bytes: u16::try_from(metadata.len()).expect("metadata was measured"),
        };
        self.request.text.extend_from_slice(reference);
        self.request.text.extend_from_slice(metadata);
        self.text_bytes += ESCAPED_BYTES_MAX * reference.len() + metadata.len();
        self.weight += if command.flags & flag::GROUP == 0 { 1 } else { GROUP_HOLDS_MAX };
        self.request.commands.push(command);
    }

    /// There is nothing more to read from.
    fn stop(&mut self, chain: Mark, view: View) {
        match view {
            _ if self.bytes == chain.bytes => {}
            // What becomes of a chain that the file does not end the ledger says.
            View::End => self.end_chain(chain),
            View::Most if chain.covers() == 0 => self.tear(chain, true),
            View::Part | View::Most => self.back_to(chain),
        }
    }

    fn is_too_much(&self) -> bool {
        self.covers() > self.rows_max || self.weight > self.rows_max || self.text_bytes > TEXT_BYTES_MAX
    }

    fn mark(&self) -> Mark {
        Mark {
            rows: self.rows(),
            text: self.request.text.len(),
            wrong: self.wrong.len(),
            skipped: self.skipped,
            bytes: self.bytes,
            next: self.next,
        }
    }

    /// The chain was not read: it is for another request.
    fn back_to(&mut self, chain: Mark) {
        self.request.commands.truncate(chain.rows);
        self.numbers.truncate(chain.rows);
        self.request.text.truncate(chain.text);
        self.wrong.truncate(chain.wrong);
        self.skipped = chain.skipped;
        self.bytes = chain.bytes;
        self.next = chain.next;
    }

    /// A chain is read: if a row of it is wrong, or was left out, none is sent.
    fn end_chain(&mut self, chain: Mark) {
        if self.wrong.len() > chain.wrong || self.skipped > chain.skipped {
            let detail = "Another row of its linked chain is wrong or was declined, so none of it was sent.";
            self.refuse(chain, "linked_chain_refused", detail);
        }
    }

    /// No request can hold the chain; `linked` if it goes on.
    fn tear(&mut self, chain: Mark, linked: bool) {
        let rows = self.rows_max;
        let detail =
            format!("Its linked chain has more than {rows} rows, or too long texts, so none of it was sent.");
        self.refuse(chain, "linked_chain_too_long", &detail);
        self.next.torn = linked;
    }

    /// Sets aside all rows of a chain, each with the reason that it has, or else with this one.
    #[cold]
    fn refuse(&mut self, chain: Mark, code: &'static str, detail: &str) {
        let rows = self.request.commands.drain(chain.rows..).zip(self.numbers.drain(chain.rows..));
        let told = |(command, number): (Command, u64)| Wrong {
            number,
            id: Some(command.id),
            code,
            detail: detail.to_owned(),
        };
        self.wrong.extend(rows.map(told));
        self.request.text.truncate(chain.text);
        self.wrong[chain.wrong..].sort_by_key(|wrong| wrong.number);
    }

    /// Rows of the file, whatever becomes of them.
    pub fn covers(&self) -> usize {
        self.rows() + self.wrong.len() + self.skipped
    }

    /// How many are to be sent.
    pub fn rows(&self) -> usize {
        self.request.commands.len()
    }

    /// The id of one of those.
    pub fn id(&self, place: usize) -> Option<u128> {
        self.request.commands.get(place).map(|command| command.id)
    }

    /// Whether they fit records, which have no room for texts, and none for accounts.
    pub fn is_binary(&self) -> bool {
        self.what == What::Transfers && self.request.text.is_empty()
    }

    /// The body of a request, records or JSON; nothing if there is no row.
    pub fn body(&self) -> Vec<u8> {
        if self.is_binary() || self.rows() == 0 {
            return binary::records(&self.request.commands);
        }
        match self.what {
            What::Transfers => write::request("transfers", &self.request, write::transfer),
            What::Accounts => write::request("accounts", &self.request, write::account),
        }
    }
}
