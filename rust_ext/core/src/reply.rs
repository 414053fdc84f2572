//! What clients read: one encoder of a row as JSON, for replies, replays and history alike.
//!
//! A row's bytes depend on the row and on what never changes of its accounts, so a replay is word for word
//! the first reply. Keys stand in a fixed order; amounts are strings; instants have nine digits.

use crate::binary;
use crate::journal::texts;
use crate::json::write::{amount, flags, id, instant, number, signed, string};
use crate::nouns::{
    AMOUNT_ALL, Command, CommandKind, Counters, Outcome, Row, RowKind, account_flags, transfer_flags,
};
use crate::refusal::{Class, Refusal};
use crate::request::{Batch, Old};
use crate::state::{Account, Corrupt, Ledger};

/// What never changes of an account and decides how its balances are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Side {
    /// By `account_flags`; only the limits count.
    pub flags: u16,
    /// By how much the limited side may exceed the other.
    pub allowance: u128,
}

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
    /// Of how many commands it is the answer, if the request was a batch.
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

/// The refusal that a row records.
fn refusal_of(row: &Row) -> Option<Refusal> {
    Refusal::from_number(row.status)
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
    let mut body = Vec::with_capacity(outcomes.len() * crate::nouns::RESULT_BYTES);
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

fn key(name: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn refusal_and_detail(refusal: Refusal, out: &mut Vec<u8>) {
    key("refusal", out);
    string(refusal.code(), out);
    key("detail", out);
    string(refusal.detail(), out);
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
        number(command.ledger, out)
    } else {
        id(command.id, out)
    }
    if recorded_ns != 0 {
        key("recorded_at", out);
        instant(recorded_ns, out);
    }
    out.push(b'}');
}

/// A row as JSON. `Corrupt` if it names an account that does not exist, or its text is not UTF-8.
pub fn row(
    row: &Row,
    text: &[u8],
    side: &impl Fn(u32, u128) -> Option<Side>,
    out: &mut Vec<u8>,
) -> Result<(), Corrupt> {
    match row.kind {
        RowKind::Ledger => ledger_row(row, text, out),
        RowKind::Account => account_row(row, text, out),
        _ => transfer_row(row, text, side, out),
    }
}

const fn kind(kind: RowKind) -> &'static str {
    match kind {
        RowKind::Ledger => "ledger",
        RowKind::Account => "account",
        RowKind::Transfer => "transfer",
        RowKind::Pending => "pending",
        RowKind::Post => "post",
        RowKind::Void => "void",
        RowKind::Reverse => "reverse",
        RowKind::Expire => "expire",
    }
}

/// The name of the kind, and whether it was accepted.
fn kind_and_status(row: &Row, out: &mut Vec<u8>) {
    key("kind", out);
    string(kind(row.kind), out);
    out.extend_from_slice(if row.status == 0 {
        b",\"status\":\"accepted\""
    } else {
        b",\"status\":\"declined\""
    });
}

fn transfer_row(
    row: &Row,
    text: &[u8],
    side: &impl Fn(u32, u128) -> Option<Side>,
    out: &mut Vec<u8>,
) -> Result<(), Corrupt> {
    out.extend_from_slice(b"{\"id\":");
    id(row.id, out);
    kind_and_status(row, out);
    key("recorded_at", out);
    instant(row.recorded_ns, out);
    key("ledger", out);
    number(row.ledger, out);
    key("code", out);
    number(u32::from(row.code), out);
    key("flags", out);
    flags(row.flags, transfer_flags::NAMES, out);
    let asked_for_all = row.status != 0 && row.amount == AMOUNT_ALL;
    if !asked_for_all {
        key("amount", out);
        amount(row.amount, out);
    }
    match refusal_of(row) {
        None => {
            account_after("debit_account", row.tenant, row.debit, &row.debit_after, side, out)?;
            account_after("credit_account", row.tenant, row.credit, &row.credit_after, side, out)?;
        }
        Some(refusal) => {
            for (name, account) in [("debit_account_id", row.debit), ("credit_account_id", row.credit)] {
                if account != 0 {
                    key(name, out);
                    id(account, out);
                }
            }
            refusal_and_detail(refusal, out);
        }
    }
    if row.target != 0 {
        key(if row.kind == RowKind::Reverse { "reverses" } else { "pending_id" }, out);
        id(row.target, out);
    }
    if row.timeout_s != 0 {
        key("timeout_s", out);
        number(row.timeout_s, out);
        if row.status == 0 && row.kind == RowKind::Pending {
            key("expires_at", out);
            instant(row.recorded_ns.saturating_add(u64::from(row.timeout_s) * 1_000_000_000), out);
        }
    }
    ending(row, text, out)
}

fn account_after(
    name: &str,
    tenant: u32,
    account: u128,
    counters: &Counters,
    side: &impl Fn(u32, u128) -> Option<Side>,
    out: &mut Vec<u8>,
) -> Result<(), Corrupt> {
    let side = side(tenant, account).ok_or_else(|| {
        Corrupt(format!("a row names the account {} that is not there", crate::uuid::string(account)))
    })?;
    key(name, out);
    out.extend_from_slice(b"{\"id\":");
    id(account, out);
    out.push(b',');
    balances(counters, side, out);
    out.push(b'}');
    Ok(())
}

/// The four counters, and what they mean seen from the account's own side: what was posted to it, what is
/// held for it, and what can leave it now.
fn balances(counters: &Counters, side: Side, out: &mut Vec<u8>) {
    for (name, counter) in [
        ("\"debits_pending\":", counters.debits_pending),
        (",\"debits_posted\":", counters.debits_posted),
        (",\"credits_pending\":", counters.credits_pending),
        (",\"credits_posted\":", counters.credits_posted),
    ] {
        out.extend_from_slice(name.as_bytes());
        amount(counter, out);
    }
    let debits = (counters.debits_posted, counters.debits_pending);
    let credits = (counters.credits_posted, counters.credits_pending);
    let is_debit_account = side.flags & account_flags::CREDITS_MUST_NOT_EXCEED_DEBITS != 0;
    let (own, other) = if is_debit_account { (debits, credits) } else { (credits, debits) };
    for (name, plus, minus) in [
        (",\"posted\":", own.0, other.0),
        (",\"pending\":", own.1, other.1),
        // The allowance saturates, as it does where it is enforced; the other side's sum is kept in range there.
        (",\"available\":", own.0.saturating_add(side.allowance), other.0.saturating_add(other.1)),
    ] {
        out.extend_from_slice(name.as_bytes());
        signed(minus > plus, plus.abs_diff(minus), out);
    }
}

fn account_row(row: &Row, text: &[u8], out: &mut Vec<u8>) -> Result<(), Corrupt> {
    out.extend_from_slice(b"{\"id\":");
    id(row.id, out);
    kind_and_status(row, out);
    if let Some(refusal) = refusal_of(row) {
        key("recorded_at", out);
        instant(row.recorded_ns, out);
        key("ledger", out);
        number(row.ledger, out);
        key("code", out);
        number(u32::from(row.code), out);
        key("flags", out);
        flags(row.flags, account_flags::NAMES, out);
        refusal_and_detail(refusal, out);
    } else {
        let side = Side { flags: row.flags, allowance: row.amount };
        account_body(row.ledger, row.code, side, &Counters::default(), row.recorded_ns, out);
    }
    ending(row, text, out)
}

/// All of an account between its id and its texts.
fn account_body(ledger: u32, code: u16, side: Side, counters: &Counters, created_ns: u64, out: &mut Vec<u8>) {
    key("ledger", out);
    number(ledger, out);
    key("code", out);
    number(u32::from(code), out);
    key("flags", out);
    flags(side.flags, account_flags::NAMES, out);
    key("allowance", out);
    if side.allowance == 0 {
        out.extend_from_slice(b"null")
    } else {
        amount(side.allowance, out)
    }
    out.extend_from_slice(b",\"balances\":{");
    balances(counters, side, out);
    out.push(b'}');
    key("created_at", out);
    instant(created_ns, out);
}

fn ledger_row(row: &Row, text: &[u8], out: &mut Vec<u8>) -> Result<(), Corrupt> {
    let (asset, metadata) = texts(row, text);
    out.extend_from_slice(b"{\"id\":");
    number(row.ledger, out);
    kind_and_status(row, out);
    if let Some(refusal) = refusal_of(row) {
        key("recorded_at", out);
        instant(row.recorded_ns, out);
        refusal_and_detail(refusal, out);
    } else {
        ledger_body(utf8(asset)?, row.code, row.recorded_ns, out);
    }
    closing(0, "", utf8(metadata)?, out);
    Ok(())
}

fn ledger_body(asset: &str, exponent: u16, created_ns: u64, out: &mut Vec<u8>) {
    key("asset", out);
    string(asset, out);
    key("exponent", out);
    number(u32::from(exponent), out);
    key("created_at", out);
    instant(created_ns, out);
}

fn utf8(text: &[u8]) -> Result<&str, Corrupt> {
    std::str::from_utf8(text).map_err(|_| Corrupt("a row's text is not UTF-8".to_owned()))
}

fn ending(row: &Row, text: &[u8], out: &mut Vec<u8>) -> Result<(), Corrupt> {
    let (reference, metadata) = texts(row, text);
    closing(row.effective_ns, utf8(reference)?, utf8(metadata)?, out);
    Ok(())
}

/// What stands last in each object, if it is there. Metadata is JSON already.
fn closing(effective_ns: u64, reference: &str, metadata: &str, out: &mut Vec<u8>) {
    if effective_ns != 0 {
        key("effective_at", out);
        instant(effective_ns, out);
    }
    if !reference.is_empty() {
        key("reference", out);
        string(reference, out);
    }
    if !metadata.is_empty() {
        key("metadata", out);
        out.extend_from_slice(metadata.as_bytes());
    }
    out.push(b'}');
}

/// An account as it stands, with the texts that its journal row keeps.
pub fn account(account: &Account, reference: &str, metadata: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"id\":");
    id(account.id, out);
    let side = Side { flags: account.flags, allowance: account.allowance };
    account_body(account.ledger, account.code, side, &account.counters, account.created_ns, out);
    closing(account.effective_ns, reference, metadata, out);
}

/// A ledger, with the metadata that its journal row keeps.
pub fn ledger(ledger: &Ledger, metadata: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"id\":");
    number(ledger.number, out);
    ledger_body(&ledger.asset, ledger.exponent, ledger.created_ns, out);
    closing(0, "", metadata, out);
}
