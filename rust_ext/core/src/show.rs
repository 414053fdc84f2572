//! Rows, accounts and ledgers as JSON: one encoder for replies, replays and history alike.
//!
//! A row's bytes depend on the row and on what never changes of its accounts, so a replay is word for word
//! the first reply. Keys stand in a fixed order; amounts are strings; instants have nine digits.

use crate::journal::texts;
use crate::json::write::{amount, flags, id, instant, number, signed, string};
use crate::nouns::{AMOUNT_ALL, Counters, Row, RowKind, account_flags, transfer_flags};
use crate::refusal::Refusal;
use crate::state::{Account, Corrupt, Ledger};

/// What never changes of an account and decides how its balances are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Side {
    /// By `account_flags`; only the limits count.
    pub flags: u16,
    /// By how much the limited side may exceed the other.
    pub allowance: u128,
}

/// The refusal that a row records.
pub fn refusal_of(row: &Row) -> Option<Refusal> {
    Refusal::from_number(row.status)
}

/// A comma, the key and its colon.
pub fn key(name: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

/// Why a command got no.
pub fn refusal_and_detail(refusal: Refusal, out: &mut Vec<u8>) {
    key("refusal", out);
    string(refusal.code(), out);
    key("detail", out);
    string(refusal.detail(), out);
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

/// The name of a kind.
pub const fn kind(kind: RowKind) -> &'static str {
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
        Some(refusal) => accounts_and_refusal(row, refusal, out),
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

/// Which accounts a declined transfer named, as far as it is known, and why it was declined.
fn accounts_and_refusal(row: &Row, refusal: Refusal, out: &mut Vec<u8>) {
    for (name, account) in [("debit_account_id", row.debit), ("credit_account_id", row.credit)] {
        if account != 0 {
            key(name, out);
            id(account, out);
        }
    }
    refusal_and_detail(refusal, out);
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
        out.extend_from_slice(b"null");
    } else {
        amount(side.allowance, out);
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
