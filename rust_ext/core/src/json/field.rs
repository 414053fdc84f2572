//! The fields that a request's objects have, by their names.

/// A field, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Field {
    Id,
    DebitAccount,
    CreditAccount,
    Amount,
    Ledger,
    Code,
    Flags,
    Timeout,
    Pending,
    Reverses,
    Reference,
    Metadata,
    EffectiveAt,
    Group,
    Allowance,
    Asset,
    Exponent,
}

impl Field {
    /// By its name.
    pub fn of(name: &str) -> Option<Field> {
        Some(match name {
            "id" => Field::Id,
            "debit_account_id" => Field::DebitAccount,
            "credit_account_id" => Field::CreditAccount,
            "amount" => Field::Amount,
            "ledger" => Field::Ledger,
            "code" => Field::Code,
            "flags" => Field::Flags,
            "timeout_s" => Field::Timeout,
            "pending_id" => Field::Pending,
            "reverses" => Field::Reverses,
            "reference" => Field::Reference,
            "metadata" => Field::Metadata,
            "effective_at" => Field::EffectiveAt,
            "group" => Field::Group,
            "allowance" => Field::Allowance,
            "asset" => Field::Asset,
            "exponent" => Field::Exponent,
            _ => return None,
        })
    }

    /// Its place in a set of fields.
    pub const fn bit(self) -> u32 {
        1 << self as u8
    }
}
