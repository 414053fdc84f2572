//! What is wrong with a request's bytes, and with bytes read back from the database.
//!
//! `Malformed` is the client's fault: nothing of its request is looked at further. `Corrupt` is the
//! database's: what was written is not what was read. Neither is ever a panic.

use std::fmt;

macro_rules! codes {
    ($($name:ident = $code:literal, $general:literal;)*) => {
        /// What is wrong with a request, by its stable code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Code { $(#[doc = $general] $name,)* }

        impl Code {
            /// All codes, for documents and tests.
            pub const ALL: &'static [Code] = &[$(Code::$name,)*];
            /// The stable code that clients see.
            pub const fn code(self) -> &'static str { match self { $(Code::$name => $code,)* } }
            /// One general sentence for a person.
            pub const fn general(self) -> &'static str { match self { $(Code::$name => $general,)* } }
        }
    };
}

codes! {
    InvalidUtf8 = "invalid_utf8", "The body is not valid UTF-8.";
    InvalidJson = "invalid_json", "The body is not valid JSON.";
    InvalidRecords = "invalid_records", "The body is not a whole number of 128-byte records.";
    BatchEmpty = "batch_empty", "A batch has at least one command.";
    BatchTooLarge = "batch_too_large", "A batch has at most 8190 commands.";
    UnknownField = "unknown_field", "There is no such field here.";
    DuplicateField = "duplicate_field", "A field stands twice in one object.";
    MissingField = "missing_field", "A field that is needed is missing.";
    WrongType = "wrong_type", "A field's value has the wrong type.";
    NumberOutOfRange = "number_out_of_range", "A number is outside the range of its field.";
    InvalidId = "invalid_id", "An id is not a UUID of 36 characters.";
    InvalidAmount = "invalid_amount", "An amount is not a whole number of minor units from 0 to 2^128 - 2.";
    InvalidFlags = "invalid_flags", "A flag does not exist, stands twice, or cannot be set by a client.";
    InvalidTime = "invalid_time", "A time is not RFC 3339 with an offset, after 1970 began and before 2262.";
    InvalidAsset = "invalid_asset", "An asset is 1 to 16 of A-Z, 0-9, point, underscore and hyphen.";
    InvalidReference = "invalid_reference", "A reference is 1 to 128 bytes without NUL.";
    InvalidMetadata = "invalid_metadata", "Metadata is a JSON object of at most 1024 bytes, 8 levels deep, with exact numbers.";
    IdOrKeyNeeded = "id_or_key_needed", "A write needs either an id or an Idempotency-Key, not both.";
    InvalidKey = "invalid_key", "An Idempotency-Key is 1 to 255 visible ASCII characters.";
}

/// What is wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// What kind of wrong.
    pub code: Code,
    /// One sentence for a person, naming the field.
    pub detail: String,
    /// Which command of the batch; `None` for the body as a whole.
    pub index: Option<usize>,
}

impl Malformed {
    /// With the code's general sentence.
    #[cold]
    pub fn new(code: Code) -> Self {
        Malformed { code, detail: code.general().to_owned(), index: None }
    }

    /// With a sentence of its own.
    #[cold]
    pub fn because(code: Code, detail: impl Into<String>) -> Self {
        Malformed { code, detail: detail.into(), index: None }
    }

    /// About one command of a batch.
    #[cold]
    #[must_use]
    pub fn at(mut self, index: usize) -> Self {
        self.index = Some(index);
        self
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.code.code(), self.detail)
    }
}

impl std::error::Error for Malformed {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refusal::Refusal;

    #[test]
    fn no_code_means_two_things() {
        for (index, code) in Code::ALL.iter().enumerate() {
            assert!(Code::ALL[..index].iter().all(|other| other.code() != code.code()));
            assert!(Refusal::ALL.iter().all(|refusal| refusal.code() != code.code()));
        }
    }
}
