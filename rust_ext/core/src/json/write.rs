//! JSON out: the few shapes that replies and canonical metadata are made of, appended to a buffer.

use crate::{time, uuid};

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
