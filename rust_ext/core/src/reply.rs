//! The answer to one request, in the form in which it came: a row, a problem, or the results of a batch.
//!
//! A retry gets the bytes of the first answer again, because both are made of the same recorded row.

use crate::binary;
use crate::json::write::{id, instant, number, string};
use crate::nouns::{Command, CommandKind, Outcome, RESULT_BYTES, Row};
use crate::refusal::{Class, Refusal};
use crate::request::{Batch, Old};
use crate::show::{Side, key, refusal_and_detail, refusal_of, row};
use crate::state::Corrupt;

/// The form in which a request came, and its reply goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// One command in JSON.
    Single,
    /// A batch in JSON.
    Json,
    /// A batch of fixed records.
    Binary,
}

/// The answer to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// JSON, or result records.
    pub body: Vec<u8>,
    /// True if the outcome of each of its commands was decided earlier.
    pub replayed: bool,
    /// Why a single command got no.
    pub refusal: Option<Refusal>,
    /// True if the request was a batch.
    pub batch: bool,
}

impl Answer {
    /// "accepted", the class of a single command's refusal, or "batch".
    pub fn outcome(&self) -> &'static str {
        match self.refusal {
            _ if self.batch => "batch",
            Some(refusal) => class(refusal.class()),
            None => "accepted",
        }
    }
}

/// The name of a class.
pub const fn class(class: Class) -> &'static str {
    match class {
        Class::Malformed => "malformed",
        Class::Unknown => "unknown",
        Class::Conflict => "conflict",
        Class::Declined => "declined",
        Class::Full => "full",
        Class::Chain => "chain",
    }
}

/// An outcome with the row that it points to.
enum Decided<'b> {
    Row { row: &'b Row, text: &'b [u8], replayed: bool },
    Refused(Refusal),
}

fn decided<'b>(outcome: Outcome, batch: &'b Batch, old: &'b Old) -> Decided<'b> {
    match outcome {
        Outcome::Recorded(index) => {
            Decided::Row { row: &batch.rows[index as usize], text: &batch.text, replayed: false }
        }
        Outcome::Repeated(index) => {
            Decided::Row { row: &batch.rows[index as usize], text: &batch.text, replayed: true }
        }
        Outcome::Replayed(index) => {
            Decided::Row { row: &old.rows[index as usize], text: &old.text, replayed: true }
        }
        Outcome::Refused(refusal) => Decided::Refused(refusal),
    }
}

/// Encodes the answer to one request, whose commands became `outcomes`.
pub fn answer(
    form: Form,
    commands: &[Command],
    outcomes: &[Outcome],
    batch: &Batch,
    old: &Old,
    side: &impl Fn(u32, u128) -> Option<Side>,
) -> Result<Answer, Corrupt> {
    debug_assert_eq!(commands.len(), outcomes.len());
    match (form, commands, outcomes) {
        (Form::Single, [command], [outcome]) => single(command, &decided(*outcome, batch, old), side),
        (Form::Binary, ..) => Ok(records(outcomes, batch, old)),
        _ => results(commands, outcomes, batch, old, side),
    }
}

fn single(
    command: &Command,
    decided: &Decided<'_>,
    side: &impl Fn(u32, u128) -> Option<Side>,
) -> Result<Answer, Corrupt> {
    let mut body = Vec::new();
    let (replayed, refusal) = match decided {
        Decided::Row { row: one, text, replayed } => {
            let refusal = refusal_of(one);
            match refusal {
                Some(refusal) => problem(command, refusal, one.recorded_ns, &mut body),
                None => row(one, text, side, &mut body)?,
            }
            (*replayed, refusal)
        }
        Decided::Refused(refusal) => {
            problem(command, *refusal, 0, &mut body);
            (false, Some(*refusal))
        }
    };
    Ok(Answer { body, replayed, refusal, batch: false })
}

fn results(
    commands: &[Command],
    outcomes: &[Outcome],
    batch: &Batch,
    old: &Old,
    side: &impl Fn(u32, u128) -> Option<Side>,
) -> Result<Answer, Corrupt> {
    /// What most results need; only a first guess for the buffer.
    const RESULT_BYTES_USUAL: usize = 900;
    let mut body = Vec::with_capacity(outcomes.len() * RESULT_BYTES_USUAL);
    let (mut accepted, mut declined, mut refused) = (0, 0, 0);
    let mut all_replayed = true;
    body.extend_from_slice(b"{\"results\":[");
    for (index, (command, outcome)) in commands.iter().zip(outcomes).enumerate() {
        if index > 0 {
            body.push(b',');
        }
        match decided(*outcome, batch, old) {
            Decided::Row { row: one, text, replayed } => {
                row(one, text, side, &mut body)?;
                *(if one.status == 0 { &mut accepted } else { &mut declined }) += 1;
                all_replayed &= replayed;
            }
            Decided::Refused(refusal) => {
                body.extend_from_slice(b"{\"id\":");
                id(command.id, &mut body);
                body.extend_from_slice(b",\"status\":\"refused\"");
                refusal_and_detail(refusal, &mut body);
                body.push(b'}');
                refused += 1;
                all_replayed = false;
            }
        }
    }
    for (name, count) in
        [("],\"accepted\":", accepted), (",\"declined\":", declined), (",\"refused\":", refused)]
    {
        body.extend_from_slice(name.as_bytes());
        number(count, &mut body);
    }
    body.push(b'}');
    Ok(Answer { body, replayed: all_replayed, refusal: None, batch: true })
}

fn records(outcomes: &[Outcome], batch: &Batch, old: &Old) -> Answer {
    let mut body = Vec::with_capacity(outcomes.len() * RESULT_BYTES);
    let mut all_replayed = true;
    for outcome in outcomes {
        match decided(*outcome, batch, old) {
            Decided::Row { row, replayed, .. } => {
                binary::result(row, replayed, &mut body);
                all_replayed &= replayed;
            }
            Decided::Refused(refusal) => {
                binary::refused(refusal, &mut body);
                all_replayed = false;
            }
        }
    }
    Answer { body, replayed: all_replayed, refusal: None, batch: true }
}

/// A problem of RFC 9457; the HTTP status is the server's to add. `recorded_ns` is 0 if nothing was recorded.
fn problem(command: &Command, refusal: Refusal, recorded_ns: u64, out: &mut Vec<u8>) {
    let code = refusal.code();
    out.extend_from_slice(b"{\"type\":\"urn:pyledger:problem:");
    out.extend_from_slice(code.as_bytes());
    out.extend_from_slice(b"\",\"title\":\"");
    let start = out.len();
    out.extend(code.bytes().map(|byte| if byte == b'_' { b' ' } else { byte }));
    out[start].make_ascii_uppercase();
    out.extend_from_slice(b"\",\"code\":\"");
    out.extend_from_slice(code.as_bytes());
    out.extend_from_slice(b"\",\"detail\":");
    string(refusal.detail(), out);
    key("id", out);
    if command.kind == CommandKind::Ledger {
        number(command.ledger, out);
    } else {
        id(command.id, out);
    }
    if recorded_ns != 0 {
        key("recorded_at", out);
        instant(recorded_ns, out);
    }
    out.push(b'}');
}
