//! What the tests of reading files share: lines of transfers, and what a request of them says.

#![allow(dead_code, reason = "each test uses its own part")]

use pyledger_core::json::columns::{Column, What};
use pyledger_core::json::layout::{Layout, Place, Unreadable, View};
use pyledger_core::json::lines::Lines;
use pyledger_core::nouns::BATCH_ROWS_MAX;
use pyledger_core::{Request, binary, json, uuid};

pub const HEADER: [&str; 8] =
    ["id", "debit_account_id", "credit_account_id", "amount", "ledger", "code", "flags", "reference"];

pub fn columns(names: &[&str], what: What) -> Vec<Column> {
    names.iter().map(|name| Column::of((*name).to_owned(), what).expect("there is such a column")).collect()
}

pub fn table() -> Layout {
    Layout { columns: Some(columns(&HEADER, What::Transfers)), ..objects() }
}

pub fn objects() -> Layout {
    Layout {
        what: What::Transfers,
        columns: None,
        imported: false,
        ids_from: Vec::new(),
        rows_counted: false,
        rows_max: BATCH_ROWS_MAX,
    }
}

pub fn start() -> Place {
    Place { number: 1, torn: false }
}

pub fn read_from(layout: &Layout, text: &[u8], place: Place) -> Result<Lines, Unreadable> {
    Lines::read(layout, text, View::End, place)
}

pub fn read(layout: &Layout, text: &[u8]) -> Lines {
    read_from(layout, text, start()).expect("it can be read")
}

/// All of a text, request by request, as somebody reads who has `bytes` of it at once.
pub fn in_pieces(layout: &Layout, text: &[u8], bytes: usize) -> Vec<Lines> {
    let (mut found, mut at, mut next, mut wanted) = (Vec::new(), 0, start(), bytes);
    loop {
        let end = (at + wanted).min(text.len());
        let view = match end == text.len() {
            true => View::End,
            false if wanted > bytes => View::Most,
            false => View::Part,
        };
        let lines = Lines::read(layout, &text[at..end], view, next).expect("no line is too long");
        if lines.bytes == 0 && view == View::End {
            return found;
        }
        wanted = if lines.bytes == 0 { 4 * bytes } else { bytes };
        (at, next) = (at + lines.bytes, lines.next);
        found.push(lines);
    }
}

pub fn leg(place: u128, flags: &str) -> String {
    let id = uuid::string((1 << 100) + place);
    format!("{id},{},{},{},7,1,{flags},\n", uuid::string(1), uuid::string(2), place + 1)
}

pub fn decoded(lines: &Lines) -> Request {
    let body = lines.body();
    if lines.is_binary() { binary::transfers(&body, 1) } else { json::transfers(&body, 1) }
        .expect("a request")
}

pub fn sent(lines: &Lines) -> Vec<u128> {
    let place = |id: Option<u128>| id.expect("a row") - (1 << 100);
    (0..lines.rows()).map(|row| place(lines.id(row))).collect()
}

pub fn told(lines: &Lines) -> Vec<(u64, &'static str)> {
    lines.wrong.iter().map(|wrong| (wrong.number, wrong.code)).collect()
}
