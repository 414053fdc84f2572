//! What a file's columns are about: fields of a transfer or of an account, or what became of it.

use super::field::Field;
use super::fields::{ACCOUNT, Fields, TRANSFER};
use crate::nouns::{account_flags, transfer_flags};

/// What a column or a member of an object is about.
#[derive(Clone, Copy)]
pub(super) enum About {
    Field(Field),
    /// What became of it: a declined row is left out.
    Status,
    /// When it was recorded, ns since 1970.
    Recorded,
    /// Of no interest: which of `IGNORED`.
    Ignored(u8),
}

/// What an export says, and an import does not ask for.
const IGNORED: [&str; 6] = ["kind", "refusal", "detail", "recorded_at", "seq", "tenant"];
/// The first bit of a set that is none of a field.
const BITS: u8 = 24;
const _: () = assert!((Field::Exponent as u8) < BITS && BITS as usize + 2 + IGNORED.len() <= 32);

impl About {
    /// By its name in the API or in an export.
    pub(super) fn of(name: &str, fields: &Fields) -> Option<Self> {
        Some(match name {
            "status" => About::Status,
            "recorded_ns" => About::Recorded,
            _ => match (0..).zip(IGNORED).find(|&(_, ignored)| ignored == name) {
                Some((place, _)) => About::Ignored(place),
                None => About::Field(Field::of(name).filter(|field| fields.has(*field))?),
            },
        })
    }

    /// Its place in a set of what stands in a row.
    pub(super) fn bit(self) -> u32 {
        match self {
            About::Field(field) => field.bit(),
            About::Status => 1 << BITS,
            About::Recorded => 1 << (BITS + 1),
            About::Ignored(place) => 1 << (BITS + 2 + place),
        }
    }
}

/// A column of a table, by its name.
pub struct Column {
    pub(super) name: String,
    pub(super) about: About,
}

impl Column {
    /// By its name; `None` if there is no such column.
    pub fn of(name: String, what: What) -> Option<Self> {
        About::of(&name, what.fields()).map(|about| Column { name, about })
    }
}

/// What the rows of a file are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum What {
    /// Transfers.
    #[default]
    Transfers,
    /// Accounts.
    Accounts,
}

impl What {
    pub(super) fn fields(self) -> &'static Fields {
        match self {
            What::Transfers => &TRANSFER,
            What::Accounts => &ACCOUNT,
        }
    }

    /// The flag of events of the past.
    pub(super) fn imported(self) -> u16 {
        match self {
            What::Transfers => transfer_flags::IMPORTED,
            What::Accounts => account_flags::IMPORTED,
        }
    }
}
