//! Every way the ledger says no, in one table, in order of precedence.
//!
//! A command that deserves several refusals gets the first of this table that applies. The number of a
//! refusal is what the journal stores in `status`: numbers are never reused or changed, new ones are
//! given a free number and placed where their precedence is.

/// What kind of no it is. Only `Declined` is recorded; every other kind leaves no trace and the id free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Class {
    /// The bytes of the command alone are wrong. Not recorded; the same bytes are refused again.
    Malformed = 1,
    /// It names something that does not exist for this tenant. Not recorded.
    Unknown = 2,
    /// The id was used before for another command, or what it is about is archived. Not recorded; the first
    /// command's outcome stands.
    Conflict = 3,
    /// A business decision: recorded in the journal, and each retry gets it again, word for word.
    Declined = 4,
    /// A named bound of this server is reached. Not recorded; a retry may succeed.
    Full = 5,
    /// A member of the same linked chain was refused without being recorded. Not recorded.
    Chain = 6,
}

macro_rules! refusals {
    ($($name:ident = $number:literal, $code:literal, $class:ident, $detail:literal;)*) => {
        /// One refusal. The order of the variants is the order of precedence.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Refusal { $(#[doc = $detail] $name,)* }

        impl Refusal {
            /// All refusals, in order of precedence.
            pub const ALL: &'static [Refusal] = &[$(Refusal::$name,)*];
            /// The number that the journal stores, never reused; 1 to 65535.
            pub const fn number(self) -> u16 { match self { $(Refusal::$name => $number,)* } }
            /// The stable code that clients see.
            pub const fn code(self) -> &'static str { match self { $(Refusal::$name => $code,)* } }
            /// What kind of refusal it is.
            pub const fn class(self) -> Class { match self { $(Refusal::$name => Class::$class,)* } }
            /// One sentence for a person.
            pub const fn detail(self) -> &'static str { match self { $(Refusal::$name => $detail,)* } }
            /// The refusal that the journal stored as `number`.
            pub const fn from_number(number: u16) -> Option<Refusal> {
                match number { $($number => Some(Refusal::$name),)* _ => None }
            }
            /// Final refusals are recorded and replayed for ever; all others are transient.
            pub const fn is_final(self) -> bool { matches!(self.class(), Class::Declined) }
        }
    };
}

refusals! {
    // The chain, and the command as bytes.
    LinkedChainOpen = 1, "linked_chain_open", Malformed, "The last command of a request must not be flagged linked.";
    LinkedChainRefused = 2, "linked_chain_refused", Chain, "Another command of the same linked chain was refused, so none of the chain took effect.";
    LinkedEventFailed = 3, "linked_event_failed", Declined, "Another command of the same linked chain was declined, so none of the chain took effect.";
    ReservedFieldUsed = 4, "reserved_field_used", Malformed, "A reserved byte or flag is set, or a field is set that this kind of command does not have.";
    IdMustNotBeZero = 5, "id_must_not_be_zero", Malformed, "The id must not be zero.";
    IdMustNotBeMax = 6, "id_must_not_be_max", Malformed, "The id must not be the largest 128-bit number.";
    IdFromTheFuture = 7, "id_from_the_future", Malformed, "The time inside this UUIDv7 id is more than five minutes ahead of the ledger's clock.";
    IdempotencyConflict = 8, "idempotency_conflict", Conflict, "This id was used before for a different command.";
    IdArchived = 65, "id_archived", Conflict, "This id was used before, by a command whose outcome is in an archive by now. Nothing was done again.";
    FlagsAreMutuallyExclusive = 9, "flags_are_mutually_exclusive", Malformed, "Two of the flags exclude each other.";
    // Shape: zero, equal and misplaced fields.
    LedgerMustNotBeZero = 10, "ledger_must_not_be_zero", Malformed, "The ledger must be a number from 1 to 2147483647.";
    CodeMustNotBeZero = 11, "code_must_not_be_zero", Malformed, "The code must be a number from 1 to 65535.";
    DebitAccountMustNotBeZero = 12, "debit_account_must_not_be_zero", Malformed, "The debit account is missing, zero or the largest 128-bit number.";
    CreditAccountMustNotBeZero = 13, "credit_account_must_not_be_zero", Malformed, "The credit account is missing, zero or the largest 128-bit number.";
    AccountsMustDiffer = 14, "accounts_must_differ", Malformed, "The debit account and the credit account are the same.";
    TargetMustBeZero = 15, "target_must_be_zero", Malformed, "Only a post, a void or a reversal names another transfer.";
    TargetMustNotBeZero = 16, "target_must_not_be_zero", Malformed, "A post, a void or a reversal must name the transfer that it acts on.";
    TargetMustDiffer = 17, "target_must_differ", Malformed, "A transfer cannot act on itself.";
    AmountMustNotBeZero = 18, "amount_must_not_be_zero", Malformed, "The amount must not be zero.";
    TimeoutReservedForPending = 19, "timeout_reserved_for_pending", Malformed, "Only a pending transfer has a timeout, of at most 2147483647 seconds.";
    ClosingMustBePending = 20, "closing_must_be_pending", Malformed, "A transfer that closes an account must be pending.";
    GroupReservedForResolution = 21, "group_reserved_for_resolution", Malformed, "Only a post or a void can resolve a whole linked group.";
    GroupResolvesInFull = 22, "group_resolves_in_full", Malformed, "A linked group is resolved in full: leave the amount out.";
    AllowanceNeedsALimit = 23, "allowance_needs_a_limit", Malformed, "An overdraft allowance needs an account with a limit flag.";
    ExponentOutOfRange = 24, "exponent_out_of_range", Malformed, "The exponent of an asset must be from 0 to 38.";
    ImportedNeedsEffectiveAt = 25, "imported_needs_effective_at", Malformed, "An imported event must say when it happened in effective_at.";
    ImportedTimeoutMustBeZero = 26, "imported_timeout_must_be_zero", Malformed, "An imported transfer cannot have a timeout.";
    ImportedMustNotBeInTheFuture = 27, "imported_must_not_be_in_the_future", Malformed, "An imported event must have happened before now.";
    // What it refers to.
    LedgerNotFound = 28, "ledger_not_found", Unknown, "There is no such ledger.";
    DebitAccountNotFound = 29, "debit_account_not_found", Unknown, "There is no such debit account.";
    CreditAccountNotFound = 30, "credit_account_not_found", Unknown, "There is no such credit account.";
    PendingTransferNotFound = 31, "pending_transfer_not_found", Unknown, "There is no such pending transfer.";
    ReversedTransferNotFound = 32, "reversed_transfer_not_found", Unknown, "There is no such transfer to reverse.";
    TransferArchived = 66, "transfer_archived", Conflict, "The transfer to resolve or reverse is in an archive by now: money can only be moved back by a new transfer, or once it is restored.";
    // What does not fit together, for ever.
    AccountsMustShareTheLedger = 33, "accounts_must_share_the_ledger", Declined, "The two accounts are in different ledgers.";
    TransferMustShareTheLedger = 34, "transfer_must_share_the_ledger", Declined, "The accounts are not in the transfer's ledger.";
    PendingTransferNotPending = 35, "pending_transfer_not_pending", Declined, "The transfer to resolve is not a pending one.";
    TransferNotReversible = 36, "transfer_not_reversible", Declined, "Only money that was moved can be reversed: a transfer or the post of a pending one, not a hold, a void, a decline or a reversal.";
    TargetHasDifferentDebitAccount = 37, "target_has_different_debit_account", Declined, "The transfer acted on has another debit account.";
    TargetHasDifferentCreditAccount = 38, "target_has_different_credit_account", Declined, "The transfer acted on has another credit account.";
    TargetHasDifferentLedger = 39, "target_has_different_ledger", Declined, "The transfer acted on is in another ledger.";
    TargetHasDifferentCode = 40, "target_has_different_code", Declined, "The transfer acted on has another code.";
    ExceedsPendingAmount = 41, "exceeds_pending_amount", Declined, "More would be posted than is held.";
    PendingTransferHasDifferentAmount = 42, "pending_transfer_has_different_amount", Declined, "A hold is voided in full: the amount must be left out or equal the hold's.";
    PendingTransferAlreadyPosted = 43, "pending_transfer_already_posted", Declined, "The pending transfer was already posted.";
    PendingTransferAlreadyVoided = 44, "pending_transfer_already_voided", Declined, "The pending transfer was already voided.";
    PendingTransferExpired = 45, "pending_transfer_expired", Declined, "The pending transfer has expired.";
    GroupTooLarge = 46, "group_too_large", Declined, "The linked group has more holds than one command resolves.";
    ExceedsReversibleAmount = 47, "exceeds_reversible_amount", Declined, "More would be reversed than was moved and not yet reversed.";
    TooManyReversals = 64, "too_many_reversals", Declined, "The transfer was reversed in as many parts as one transfer can be.";
    ImportedMustNotRegress = 48, "imported_must_not_regress", Declined, "Imported events of a ledger must be in the order in which they happened.";
    ImportedMustPostdateDebitAccount = 49, "imported_must_postdate_debit_account", Declined, "The imported transfer is older than its debit account.";
    ImportedMustPostdateCreditAccount = 50, "imported_must_postdate_credit_account", Declined, "The imported transfer is older than its credit account.";
    // What the accounts do not allow now.
    DebitAccountClosed = 51, "debit_account_closed", Declined, "The debit account is closed.";
    CreditAccountClosed = 52, "credit_account_closed", Declined, "The credit account is closed.";
    OverflowsDebitsPending = 53, "overflows_debits_pending", Declined, "The debit account's pending debits would pass 2^128 - 1.";
    OverflowsCreditsPending = 54, "overflows_credits_pending", Declined, "The credit account's pending credits would pass 2^128 - 1.";
    OverflowsDebitsPosted = 55, "overflows_debits_posted", Declined, "The debit account's posted debits would pass 2^128 - 1.";
    OverflowsCreditsPosted = 56, "overflows_credits_posted", Declined, "The credit account's posted credits would pass 2^128 - 1.";
    OverflowsDebits = 57, "overflows_debits", Declined, "The debit account's posted and pending debits together would pass 2^128 - 1.";
    OverflowsCredits = 58, "overflows_credits", Declined, "The credit account's posted and pending credits together would pass 2^128 - 1.";
    ExceedsCredits = 59, "exceeds_credits", Declined, "The debit account does not have that much: its debits would exceed its credits and its allowance.";
    ExceedsDebits = 60, "exceeds_debits", Declined, "The credit account does not owe that much: its credits would exceed its debits and its allowance.";
    // The bounds of this server.
    LedgersFull = 61, "ledgers_full", Full, "The server holds as many ledgers as its limit allows.";
    AccountsFull = 62, "accounts_full", Full, "The server holds as many accounts as its limit allows.";
    HoldsFull = 63, "holds_full", Full, "The server holds as many open holds as its limit allows.";
}
