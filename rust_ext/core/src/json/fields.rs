//! The fields that a request's objects have: their names, which object has which, and how each is read.

use std::borrow::Cow;

use super::field::Field;
use super::metadata::{self, WHOLE_MAX};
use super::reader::{Kind, Reader};
use crate::malformed::{Code, Malformed};
use crate::nouns::{
    AMOUNT_ALL, ASSET_BYTES_MAX, Command, CommandKind, LEDGER_MAX, REFERENCE_BYTES_MAX, TIMEOUT_S_MAX,
    account_flags, transfer_flags,
};
use crate::{time, uuid};

/// Which fields an object has, and the flags that a client can name in it.
pub struct Fields {
    known: u32,
    id_is_number: bool,
    flags: &'static [(u16, &'static str)],
    flags_allowed: u16,
}

const fn known(fields: &[Field]) -> u32 {
    let mut bits = 0;
    let mut index = 0;
    while index < fields.len() {
        bits |= fields[index].bit();
        index += 1;
    }
    bits
}

/// A ledger: its id is a number.
pub const LEDGER: Fields = Fields {
    known: known(&[Field::Id, Field::Asset, Field::Exponent, Field::Metadata]),
    id_is_number: true,
    flags: &[],
    flags_allowed: 0,
};

/// An account.
pub const ACCOUNT: Fields = Fields {
    known: known(&[
        Field::Id,
        Field::Ledger,
        Field::Code,
        Field::Flags,
        Field::Allowance,
        Field::Reference,
        Field::Metadata,
        Field::EffectiveAt,
    ]),
    id_is_number: false,
    flags: account_flags::NAMES,
    flags_allowed: account_flags::ALL,
};

/// A transfer. What `reverses` implies is no flag that a client names.
pub const TRANSFER: Fields = Fields {
    known: known(&[
        Field::Id,
        Field::DebitAccount,
        Field::CreditAccount,
        Field::Amount,
        Field::Ledger,
        Field::Code,
        Field::Flags,
        Field::Timeout,
        Field::Pending,
        Field::Reverses,
        Field::Reference,
        Field::Metadata,
        Field::EffectiveAt,
    ]),
    id_is_number: false,
    flags: transfer_flags::NAMES,
    flags_allowed: transfer_flags::ALL & !transfer_flags::REVERSE,
};

/// The reversal of the transfer in the path.
pub const REVERSAL: Fields = Fields {
    known: known(&[Field::Id, Field::Amount, Field::Reference, Field::Metadata, Field::EffectiveAt]),
    id_is_number: false,
    flags: &[],
    flags_allowed: 0,
};

/// The post or void of the transfer in the path.
pub const RESOLUTION: Fields = Fields { known: REVERSAL.known | Field::Group.bit(), ..REVERSAL };

/// What one object said. Metadata stands in the scratch buffer.
#[derive(Default)]
pub struct Given<'a> {
    pub id: Option<u128>,
    pub number: Option<u32>,
    pub amount: Option<u128>,
    pub allowance: Option<u128>,
    pub exponent: Option<u16>,
    pub pending: Option<u128>,
    pub reverses: Option<u128>,
    pub flags: u16,
    pub group: bool,
    pub asset: Cow<'a, str>,
    pub reference: Cow<'a, str>,
    pub debit: u128,
    pub credit: u128,
    pub ledger: u32,
    pub code: u16,
    pub timeout_s: u32,
    pub effective_ns: u64,
}

impl Given<'_> {
    /// The command that the fields make, but for what depends on its kind.
    pub fn command(&self, id: u128, tenant: u32) -> Command {
        Command {
            debit: self.debit,
            credit: self.credit,
            effective_ns: self.effective_ns,
            timeout_s: self.timeout_s,
            ledger: self.ledger,
            code: self.code,
            flags: self.flags,
            ..Command::blank(CommandKind::Transfer, tenant, id)
        }
    }
}

#[cold]
pub fn missing(name: &str) -> Malformed {
    Malformed::because(Code::MissingField, format!("{name}: it is missing."))
}

#[cold]
pub fn unknown(name: &str) -> Malformed {
    let shown: String = name.chars().take(64).collect();
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

impl Fields {
    /// Reads one object; its metadata is appended to `metadata`.
    pub fn read<'a>(&self, reader: &mut Reader<'a>, metadata: &mut Vec<u8>) -> Result<Given<'a>, Malformed> {
        if reader.kind()? != Kind::Object {
            return Err(Malformed::because(Code::WrongType, "It must be an object."));
        }
        reader.open();
        let mut given = Given::default();
        let mut seen = 0;
        while let Some(name) = reader.key(seen == 0)? {
            let field = Field::of(&name).filter(|field| self.has(*field));
            let field = field.ok_or_else(|| unknown(&name))?;
            if seen & field.bit() != 0 {
                return Err(twice(&name));
            }
            seen |= field.bit();
            if reader.kind()? == Kind::Null {
                reader.null()?;
            } else {
                self.value(field, &name, reader, &mut given, metadata)?;
            }
        }
        Ok(given)
    }

    /// Reads the value of one field.
    pub fn value<'a>(
        &self,
        field: Field,
        name: &str,
        reader: &mut Reader<'a>,
        given: &mut Given<'a>,
        metadata: &mut Vec<u8>,
    ) -> Result<(), Malformed> {
        match field {
            Field::Id if self.id_is_number => given.number = Some(whole(reader, name, 1, LEDGER_MAX)?),
            Field::Id => given.id = Some(id(reader, name)?),
            Field::DebitAccount => given.debit = id(reader, name)?,
            Field::CreditAccount => given.credit = id(reader, name)?,
            Field::Amount => given.amount = Some(amount(reader, name)?),
            Field::Ledger => given.ledger = whole(reader, name, 0, LEDGER_MAX)?,
            Field::Code => given.code = whole(reader, name, 0, u16::MAX as u32)? as u16,
            Field::Flags => given.flags = self.read_flags(reader, name)?,
            Field::Timeout => given.timeout_s = whole(reader, name, 0, TIMEOUT_S_MAX)?,
            Field::Pending => given.pending = Some(id(reader, name)?),
            Field::Reverses => given.reverses = Some(id(reader, name)?),
            Field::Reference => given.reference = reference(reader, name)?,
            Field::Metadata if reader.kind()? == Kind::Object => metadata::read(reader, metadata)?,
            Field::Metadata => return Err(wrong_type(name, "an object")),
            Field::EffectiveAt => given.effective_ns = effective_at(reader, name)?,
            Field::Group if reader.kind()? == Kind::Boolean => given.group = reader.boolean()?,
            Field::Group => return Err(wrong_type(name, "true or false")),
            Field::Allowance => given.allowance = Some(amount(reader, name)?),
            Field::Asset => given.asset = asset(reader, name)?,
            Field::Exponent => given.exponent = Some(whole(reader, name, 0, u16::MAX as u32)? as u16),
        }
        Ok(())
    }

    /// Whether objects of this kind have it.
    pub const fn has(&self, field: Field) -> bool {
        self.known & field.bit() != 0
    }

    /// The bit of a flag that a client can name.
    pub fn flag(&self, name: &str) -> Option<u16> {
        let allowed = |bit: u16| self.flags_allowed & bit != 0;
        self.flags.iter().find(|(bit, known)| name == *known && allowed(*bit)).map(|(bit, _)| *bit)
    }

    fn read_flags(&self, reader: &mut Reader<'_>, name: &str) -> Result<u16, Malformed> {
        if reader.kind()? != Kind::Array {
            return Err(wrong_type(name, "an array of names"));
        }
        reader.open();
        let mut flags = 0;
        let mut first = true;
        while reader.element(first)? {
            first = false;
            let flag = string(reader, name)?;
            match self.flag(&flag) {
                Some(bit) if flags & bit == 0 => flags |= bit,
                Some(_) => {
                    return Err(Malformed::because(
                        Code::InvalidFlags,
                        format!("{name}: {flag} stands twice."),
                    ));
                }
                None => {
                    let shown: String = flag.chars().take(64).collect();
                    let detail = format!("{name}: there is no flag {shown} that a client sets here.");
                    return Err(Malformed::because(Code::InvalidFlags, detail));
                }
            }
        }
        Ok(flags)
    }
}

fn string<'a>(reader: &mut Reader<'a>, name: &str) -> Result<Cow<'a, str>, Malformed> {
    if reader.kind()? == Kind::String { reader.string() } else { Err(wrong_type(name, "a string")) }
}

fn id(reader: &mut Reader<'_>, name: &str) -> Result<u128, Malformed> {
    let text = string(reader, name)?;
    uuid::parse(text.as_bytes()).ok_or_else(|| wrong(Code::InvalidId, name, "a UUID of 36 characters"))
}

/// A whole number of at most 32 bits, written without point or exponent.
fn whole(reader: &mut Reader<'_>, name: &str, min: u32, max: u32) -> Result<u32, Malformed> {
    if reader.kind()? != Kind::Number {
        return Err(wrong_type(name, "a whole number"));
    }
    let literal = reader.number()?;
    if literal.contains(['.', 'e', 'E']) {
        return Err(wrong_type(name, "a whole number, without point or exponent"));
    }
    match literal.parse() {
        Ok(number) if (min..=max).contains(&number) => Ok(number),
        _ => Err(wrong(Code::NumberOutOfRange, name, &format!("from {min} to {max}"))),
    }
}

/// An amount as a string of digits, or as a number that every JSON parser keeps exactly.
fn amount(reader: &mut Reader<'_>, name: &str) -> Result<u128, Malformed> {
    let (text, max) = match reader.kind()? {
        Kind::String => (reader.string()?, AMOUNT_ALL - 1),
        Kind::Number => (Cow::Borrowed(reader.number()?), u128::from(WHOLE_MAX)),
        _ => return Err(wrong_type(name, "a string of digits or a whole number")),
    };
    match digits(&text) {
        Some(number) if number <= max => Ok(number),
        Some(_) if max < AMOUNT_ALL - 1 => {
            Err(wrong(Code::InvalidAmount, name, "written as a string of digits when it is above 2^53 - 1"))
        }
        _ => Err(wrong(
            Code::InvalidAmount,
            name,
            "a whole number of minor units from 0 to 2^128 - 2, in plain digits",
        )),
    }
}

/// What an amount's text says, if it is one.
pub fn amount_of(text: &str) -> Option<u128> {
    digits(text).filter(|number| *number < AMOUNT_ALL)
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

fn effective_at(reader: &mut Reader<'_>, name: &str) -> Result<u64, Malformed> {
    let must =
        "RFC 3339 with an offset and at most nine digits of a second, after 1970 began and before 2262";
    let text = string(reader, name)?;
    time::parse(text.as_bytes()).ok_or_else(|| wrong(Code::InvalidTime, name, must))
}

fn reference<'a>(reader: &mut Reader<'a>, name: &str) -> Result<Cow<'a, str>, Malformed> {
    let text = string(reader, name)?;
    if text.is_empty() || text.len() > REFERENCE_BYTES_MAX || text.contains('\0') {
        return Err(wrong(Code::InvalidReference, name, "1 to 128 bytes without NUL"));
    }
    Ok(text)
}

fn asset<'a>(reader: &mut Reader<'a>, name: &str) -> Result<Cow<'a, str>, Malformed> {
    let text = string(reader, name)?;
    let known = |byte| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-');
    if text.is_empty() || text.len() > ASSET_BYTES_MAX || !text.bytes().all(known) {
        return Err(wrong(Code::InvalidAsset, name, "1 to 16 of A-Z, 0-9, point, underscore and hyphen"));
    }
    Ok(text)
}
