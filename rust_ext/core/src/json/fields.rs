//! The fields that a request's objects have: their names, which object has which, and how each is read.

use std::borrow::Cow;

use super::field::Field;
use super::metadata::{self, WHOLE_MAX};
use super::reader::{Kind, Reader};
use super::values::{self, twice, unknown, wrong_type};
use crate::malformed::{Code, Malformed};
use crate::nouns::{Command, CommandKind, LEDGER_MAX, TIMEOUT_S_MAX, account_flags, transfer_flags};

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
            Field::Reference => given.reference = values::reference(string(reader, name)?, name)?,
            Field::Metadata if reader.kind()? == Kind::Object => metadata::read(reader, metadata)?,
            Field::Metadata => return Err(wrong_type(name, "an object")),
            Field::EffectiveAt => given.effective_ns = values::effective_at(&string(reader, name)?, name)?,
            Field::Group if reader.kind()? == Kind::Boolean => given.group = reader.boolean()?,
            Field::Group => return Err(wrong_type(name, "true or false")),
            Field::Allowance => given.allowance = Some(amount(reader, name)?),
            Field::Asset => given.asset = values::asset(string(reader, name)?, name)?,
            Field::Exponent => given.exponent = Some(whole(reader, name, 0, u16::MAX as u32)? as u16),
        }
        Ok(())
    }

    /// Reads a cell, which is not empty. What is none of a file's fields is none of a cell's.
    pub fn cell<'a>(
        &self,
        field: Field,
        name: &str,
        cell: Cow<'a, str>,
        given: &mut Given<'a>,
        metadata: &mut Vec<u8>,
    ) -> Result<(), Malformed> {
        match field {
            Field::Id => given.id = Some(values::id(&cell, name)?),
            Field::DebitAccount => given.debit = values::id(&cell, name)?,
            Field::CreditAccount => given.credit = values::id(&cell, name)?,
            Field::Amount => given.amount = Some(values::amount(&cell, name, values::AMOUNT_MAX)?),
            Field::Ledger => given.ledger = whole_cell(&cell, name, LEDGER_MAX)?,
            Field::Code => given.code = whole_cell(&cell, name, u16::MAX as u32)? as u16,
            Field::Flags => {
                for flag in cell.split_whitespace() {
                    given.flags = values::flag(given.flags, self.flag(flag), flag, name)?;
                }
            }
            Field::Timeout => given.timeout_s = whole_cell(&cell, name, TIMEOUT_S_MAX)?,
            Field::Pending => given.pending = Some(values::id(&cell, name)?),
            Field::Reverses => given.reverses = Some(values::id(&cell, name)?),
            Field::Reference => given.reference = values::reference(cell, name)?,
            Field::Metadata => metadata_cell(&cell, name, metadata)?,
            Field::EffectiveAt => given.effective_ns = values::effective_at(&cell, name)?,
            Field::Allowance => given.allowance = Some(values::amount(&cell, name, values::AMOUNT_MAX)?),
            Field::Group | Field::Asset | Field::Exponent => return Err(values::unknown(name)),
        }
        Ok(())
    }

    /// Whether objects of this kind have it.
    pub const fn has(&self, field: Field) -> bool {
        self.known & field.bit() != 0
    }

    /// The bit of a flag that a client can name.
    fn flag(&self, name: &str) -> Option<u16> {
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
            flags = values::flag(flags, self.flag(&flag), &flag, name)?;
        }
        Ok(flags)
    }
}

fn string<'a>(reader: &mut Reader<'a>, name: &str) -> Result<Cow<'a, str>, Malformed> {
    if reader.kind()? == Kind::String { reader.string() } else { Err(wrong_type(name, "a string")) }
}

fn id(reader: &mut Reader<'_>, name: &str) -> Result<u128, Malformed> {
    values::id(&string(reader, name)?, name)
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
    values::whole(literal, name, min, max)
}

/// An amount as a string of digits, or as a number that every JSON parser keeps exactly.
fn amount(reader: &mut Reader<'_>, name: &str) -> Result<u128, Malformed> {
    match reader.kind()? {
        Kind::String => values::amount(&reader.string()?, name, values::AMOUNT_MAX),
        Kind::Number => values::amount(reader.number()?, name, u128::from(WHOLE_MAX)),
        _ => Err(wrong_type(name, "a string of digits or a whole number")),
    }
}

fn whole_cell(cell: &str, name: &str, max: u32) -> Result<u32, Malformed> {
    let digits = cell.strip_prefix('-').unwrap_or(cell);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong_type(name, "a whole number"));
    }
    values::whole(cell, name, 0, max)
}

fn metadata_cell(cell: &str, name: &str, metadata: &mut Vec<u8>) -> Result<(), Malformed> {
    let mut reader = Reader::new(cell.as_bytes())?;
    let mut read = || {
        if reader.kind()? != Kind::Object {
            return Err(wrong_type(name, "an object"));
        }
        metadata::read(&mut reader, metadata)?;
        reader.end()
    };
    read().map_err(|malformed| match malformed.code {
        Code::InvalidJson => Malformed::because(Code::InvalidMetadata, format!("{name}: it is no JSON.")),
        _ => malformed,
    })
}
