//! JSON out: the few shapes that replies, requests and canonical metadata are made of, appended to a buffer.

use crate::nouns::{AMOUNT_ALL, Command, account_flags, transfer_flags as flag};
use crate::request::Request;
use crate::{time, uuid};

/// Of a row, without its texts, as a rule.
const OBJECT_BYTES: usize = 300;

/// A string in quotes, with the fewest escapes.
pub fn string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut from = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        let short = match byte {
            b'"' => b'"',
            b'\\' => b'\\',
            0x08 => b'b',
            0x0c => b'f',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0..=0x1f => 0,
            _ => continue,
        };
        out.extend_from_slice(&bytes[from..at]);
        from = at + 1;
        if short == 0 {
            let digit = b"0123456789abcdef"[(byte & 0x0f) as usize];
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', b'0' + (byte >> 4), digit]);
        } else {
            out.extend_from_slice(&[b'\\', short]);
        }
    }
    out.extend_from_slice(&bytes[from..]);
    out.push(b'"');
}

/// An id in quotes.
pub fn id(id: u128, out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(&uuid::text(id));
    out.push(b'"');
}

/// An instant in quotes.
pub fn instant(instant_ns: u64, out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(&time::text(instant_ns));
    out.push(b'"');
}

/// A number as it is.
pub fn number(number: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// An amount in quotes: JSON's own numbers end at 2^53 in most languages.
pub fn amount(amount: u128, out: &mut Vec<u8>) {
    signed(false, amount, out);
}

/// A signed amount in quotes.
pub fn signed(negative: bool, magnitude: u128, out: &mut Vec<u8>) {
    out.push(b'"');
    if negative && magnitude != 0 {
        out.push(b'-');
    }
    let mut buffer = itoa::Buffer::new();
    // Nearly every amount fits 64 bits, which divide much faster.
    let digits = match u64::try_from(magnitude) {
        Ok(small) => buffer.format(small),
        Err(_) => buffer.format(magnitude),
    };
    out.extend_from_slice(digits.as_bytes());
    out.push(b'"');
}

/// The names of the bits that are set, in order of bit.
pub fn flags(flags: u16, names: &[(u16, &str)], out: &mut Vec<u8>) {
    out.push(b'[');
    let mut first = true;
    for (_, name) in names.iter().filter(|(bit, _)| flags & bit != 0) {
        if !first {
            out.push(b',');
        }
        first = false;
        string(name, out);
    }
    out.push(b']');
}

/// A request of some rows, as the API takes it.
pub fn request(name: &str, request: &Request, row: fn(&Command, &[u8], &mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::with_capacity(request.text.len() + OBJECT_BYTES * request.commands.len());
    out.extend_from_slice(b"{\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":[");
    for (place, command) in request.commands.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        row(command, &request.text, &mut out);
    }
    out.extend_from_slice(b"]}");
    out
}

/// A transfer as the JSON that says the same. Zero is the same as leaving a field out.
pub fn transfer(command: &Command, text: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"id\":");
    id(command.id, out);
    let target = if command.flags & flag::REVERSE == 0 { "pending_id" } else { "reverses" };
    let ids = [
        ("debit_account_id", command.debit),
        ("credit_account_id", command.credit),
        (target, command.target),
    ];
    for (name, value) in ids {
        if value != 0 || name == "reverses" {
            key(name, out);
            id(value, out);
        }
    }
    if command.amount != AMOUNT_ALL {
        key("amount", out);
        amount(command.amount, out);
    }
    rest(command, flag::NAMES, command.flags & !flag::REVERSE, text, out);
}

/// The same of an account.
pub fn account(command: &Command, text: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"id\":");
    id(command.id, out);
    if command.amount != 0 {
        key("allowance", out);
        amount(command.amount, out);
    }
    rest(command, account_flags::NAMES, command.flags, text, out);
}

/// What transfers and accounts have in common.
fn rest(command: &Command, names: &[(u16, &str)], bits: u16, text: &[u8], out: &mut Vec<u8>) {
    for (name, value) in
        [("ledger", command.ledger), ("code", command.code.into()), ("timeout_s", command.timeout_s)]
    {
        if value != 0 {
            key(name, out);
            number(value, out);
        }
    }
    if bits != 0 {
        key("flags", out);
        flags(bits, names, out);
    }
    if command.effective_ns != 0 {
        key("effective_at", out);
        instant(command.effective_ns, out);
    }
    let texts = &text[command.text.start as usize..][..command.text.bytes()];
    let (reference, metadata) = texts.split_at(command.text.reference_bytes.into());
    if !reference.is_empty() {
        key("reference", out);
        string(std::str::from_utf8(reference).expect("it was read as text"), out);
    }
    if !metadata.is_empty() {
        key("metadata", out);
        out.extend_from_slice(metadata);
    }
    out.push(b'}');
}

fn key(name: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}
