//! What the text of a field says, in JSON or in a cell of CSV; and what is wrong with it if it says nothing.

use std::borrow::Cow;

use crate::malformed::{Code, Malformed};
use crate::nouns::{AMOUNT_ALL, ASSET_BYTES_MAX, REFERENCE_BYTES_MAX};
use crate::{time, uuid};

/// The largest amount that can be written.
pub const AMOUNT_MAX: u128 = AMOUNT_ALL - 1;
/// Characters of something unknown that are repeated to whoever sent it.
const SHOWN_CHARACTERS_MAX: usize = 64;

#[cold]
pub fn missing(name: &str) -> Malformed {
    Malformed::because(Code::MissingField, format!("{name}: it is missing."))
}

#[cold]
pub fn unknown(name: &str) -> Malformed {
    let shown: String = name.chars().take(SHOWN_CHARACTERS_MAX).collect();
    Malformed::because(Code::UnknownField, format!("{shown}: there is no such field here."))
}

#[cold]
pub fn twice(name: &str) -> Malformed {
    Malformed::because(Code::DuplicateField, format!("{name}: it stands twice in one object."))
}

#[cold]
pub fn wrong_type(name: &str, expected: &str) -> Malformed {
    Malformed::because(Code::WrongType, format!("{name}: it must be {expected}."))
}

#[cold]
fn wrong(code: Code, name: &str, must: &str) -> Malformed {
    Malformed::because(code, format!("{name}: it must be {must}."))
}

/// An id.
pub fn id(text: &str, name: &str) -> Result<u128, Malformed> {
    uuid::parse(text.as_bytes()).ok_or_else(|| wrong(Code::InvalidId, name, "a UUID of 36 characters"))
}

/// A whole number of at most 32 bits, in digits.
pub fn whole(text: &str, name: &str, min: u32, max: u32) -> Result<u32, Malformed> {
    match text.parse() {
        Ok(number) if (min..=max).contains(&number) => Ok(number),
        _ => Err(wrong(Code::NumberOutOfRange, name, &format!("from {min} to {max}"))),
    }
}

/// An amount of at most `max`.
pub fn amount(text: &str, name: &str, max: u128) -> Result<u128, Malformed> {
    match digits(text) {
        Some(number) if number <= max => Ok(number),
        Some(_) if max < AMOUNT_MAX => {
            Err(wrong(Code::InvalidAmount, name, "written as a string of digits when it is above 2^53 - 1"))
        }
        _ => Err(wrong(
            Code::InvalidAmount,
            name,
            "a whole number of minor units from 0 to 2^128 - 2, in plain digits",
        )),
    }
}

/// Digits without a zero before them. Most amounts fit 64 bits, which multiply much faster.
fn digits(text: &str) -> Option<u128> {
    const DIGITS_MAX: usize = 39;
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if !plain || text.len() > DIGITS_MAX {
        None
    } else if text.len() < 20 {
        text.parse::<u64>().ok().map(u128::from)
    } else {
        text.parse().ok()
    }
}

/// An instant, ns since 1970.
pub fn effective_at(text: &str, name: &str) -> Result<u64, Malformed> {
    let must =
        "RFC 3339 with an offset and at most nine digits of a second, after 1970 began and before 2262";
    time::parse(text.as_bytes()).ok_or_else(|| wrong(Code::InvalidTime, name, must))
}

/// A reference.
pub fn reference<'a>(text: Cow<'a, str>, name: &str) -> Result<Cow<'a, str>, Malformed> {
    if text.is_empty() || text.len() > REFERENCE_BYTES_MAX || text.contains('\0') {
        return Err(wrong(Code::InvalidReference, name, "1 to 128 bytes without NUL"));
    }
    Ok(text)
}

/// The name of an asset.
pub fn asset<'a>(text: Cow<'a, str>, name: &str) -> Result<Cow<'a, str>, Malformed> {
    let known = |byte| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-');
    if text.is_empty() || text.len() > ASSET_BYTES_MAX || !text.bytes().all(known) {
        return Err(wrong(Code::InvalidAsset, name, "1 to 16 of A-Z, 0-9, point, underscore and hyphen"));
    }
    Ok(text)
}

/// One flag more, by the bit that its name has.
pub fn flag(flags: u16, bit: Option<u16>, flag: &str, name: &str) -> Result<u16, Malformed> {
    match bit {
        Some(bit) if flags & bit == 0 => Ok(flags | bit),
        Some(_) => Err(Malformed::because(Code::InvalidFlags, format!("{name}: {flag} stands twice."))),
        None => {
            let shown: String = flag.chars().take(SHOWN_CHARACTERS_MAX).collect();
            let detail = format!("{name}: there is no flag {shown} that a client sets here.");
            Err(Malformed::because(Code::InvalidFlags, detail))
        }
    }
}
