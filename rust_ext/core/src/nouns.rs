//! The nouns: limits, counters, commands, rows and outcomes. Nothing happens in this file.
//!
//! A command is what a client asks, as a fixed record of 128 bytes and its texts. A row is one decided
//! command as the journal keeps it. All numbers in a record are little-endian; an id is the 128-bit
//! number of its UUID.

/// Commands in one request or one batch, at most. One less than TigerBeetle's 8,191 events a megabyte.
pub const BATCH_ROWS_MAX: usize = 8_190;
/// Bytes of a command record, and of a client's binary transfer.
pub const RECORD_BYTES: usize = 128;
/// Bytes of one result in a binary batch reply.
pub const RESULT_BYTES: usize = 160;
/// Bytes of `reference`, at most.
pub const REFERENCE_BYTES_MAX: usize = 128;
/// Bytes of `metadata` in canonical JSON, at most.
pub const METADATA_BYTES_MAX: usize = 1_024;
/// Objects and arrays inside each other in `metadata`, itself included, at most.
pub const METADATA_DEPTH_MAX: usize = 8;
/// Bytes of an Idempotency-Key, at most.
pub const KEY_BYTES_MAX: usize = 255;
/// Bytes of a ledger's asset code, at most.
pub const ASSET_BYTES_MAX: usize = 16;
/// The last instant that a client can name, 2261-12-31T23:59:59.999999999Z: what 63 bits hold, in whole years.
pub const EFFECTIVE_NS_MAX: u64 = 9_214_646_399_999_999_999;
/// Holds of one linked group that one command can resolve.
pub const GROUP_HOLDS_MAX: usize = 64;
/// Reversals of one transfer: deciding the next one reads all that were before.
pub const REVERSALS_MAX: usize = 64;
/// Expiry rows that one batch may add before its own commands; the rest wait for the next batch.
pub const EXPIRIES_PER_BATCH_MAX: usize = 8_190;
/// How far ahead of the ledger's clock the time in a UUIDv7 may be. What lets the window answer for it.
pub const ID_AHEAD_MS_MAX: u64 = 300_000;
/// Ledgers and tenants are stored as PostgreSQL integers.
pub const LEDGER_MAX: u32 = i32::MAX as u32;
/// Timeouts too. 68 years.
pub const TIMEOUT_S_MAX: u32 = i32::MAX as u32;
/// The amount that asks for all of it: the whole hold, all that is left to reverse, no upper bound.
pub const AMOUNT_ALL: u128 = u128::MAX;

/// Flags of a transfer, by bit.
pub mod transfer_flags {
    /// Takes effect only if the next command of the request does.
    pub const LINKED: u16 = 1 << 0;
    /// Holds the amount; does not move it.
    pub const PENDING: u16 = 1 << 1;
    /// Moves what a pending transfer holds, in full or in part, and releases the rest.
    pub const POST_PENDING: u16 = 1 << 2;
    /// Releases what a pending transfer holds.
    pub const VOID_PENDING: u16 = 1 << 3;
    /// Moves at most the amount, as much as the debit account's limit allows.
    pub const BALANCING_DEBIT: u16 = 1 << 4;
    /// Moves at most the amount, as much as the credit account's limit allows.
    pub const BALANCING_CREDIT: u16 = 1 << 5;
    /// Closes the debit account until the (pending) transfer is voided.
    pub const CLOSING_DEBIT: u16 = 1 << 6;
    /// Closes the credit account until the (pending) transfer is voided.
    pub const CLOSING_CREDIT: u16 = 1 << 7;
    /// Happened in the past, at `effective_ns`.
    pub const IMPORTED: u16 = 1 << 8;
    /// Moves back what `target` moved, in full or in part.
    pub const REVERSE: u16 = 1 << 9;
    /// A post or void that resolves every hold of the target's linked chain.
    pub const GROUP: u16 = 1 << 10;
    /// All bits that mean something.
    pub const ALL: u16 = (1 << 11) - 1;
    /// Bit and name, as JSON shows them.
    pub const NAMES: &[(u16, &str)] = &[
        (LINKED, "linked"),
        (PENDING, "pending"),
        (POST_PENDING, "post_pending"),
        (VOID_PENDING, "void_pending"),
        (BALANCING_DEBIT, "balancing_debit"),
        (BALANCING_CREDIT, "balancing_credit"),
        (CLOSING_DEBIT, "closing_debit"),
        (CLOSING_CREDIT, "closing_credit"),
        (IMPORTED, "imported"),
        (REVERSE, "reverse"),
        (GROUP, "group"),
    ];
}

/// Flags of an account, by bit.
pub mod account_flags {
    /// Is created only if the next command of the request is.
    pub const LINKED: u16 = 1 << 0;
    /// A credit account (a customer's wallet): debits posted and pending <= credits posted + allowance.
    pub const DEBITS_MUST_NOT_EXCEED_CREDITS: u16 = 1 << 1;
    /// A debit account (an asset): credits posted and pending <= debits posted + allowance.
    pub const CREDITS_MUST_NOT_EXCEED_DEBITS: u16 = 1 << 2;
    /// Was opened in the past, at `effective_ns`.
    pub const IMPORTED: u16 = 1 << 4;
    /// Refuses every transfer but the void that reopens it. Set and cleared by transfers only.
    pub const CLOSED: u16 = 1 << 5;
    /// All bits that a client may set.
    pub const ALL: u16 = LINKED | DEBITS_MUST_NOT_EXCEED_CREDITS | CREDITS_MUST_NOT_EXCEED_DEBITS | IMPORTED;
    /// Bit and name, as JSON shows them.
    pub const NAMES: &[(u16, &str)] = &[
        (LINKED, "linked"),
        (DEBITS_MUST_NOT_EXCEED_CREDITS, "debits_must_not_exceed_credits"),
        (CREDITS_MUST_NOT_EXCEED_DEBITS, "credits_must_not_exceed_debits"),
        (IMPORTED, "imported"),
        (CLOSED, "closed"),
    ];
}

/// What a command asks for; what a client can send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum CommandKind {
    /// A transfer, a hold, a resolution or a reversal, by its flags.
    Transfer = 0,
    /// Opens an account: `id`, `ledger`, `code`, `flags`, `amount` = allowance.
    Account = 1,
    /// Opens a ledger: `ledger`, `code` = exponent, reference = asset; its id is derived.
    Ledger = 2,
}

/// What a journal row records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum RowKind {
    /// A ledger was opened.
    Ledger = 1,
    /// An account was opened.
    Account = 2,
    /// Money moved.
    Transfer = 3,
    /// Money was held.
    Pending = 4,
    /// A hold was posted, in full or in part.
    Post = 5,
    /// A hold was voided.
    Void = 6,
    /// Money moved back.
    Reverse = 7,
    /// A hold's time ran out; the ledger's own event, no client sends it.
    Expire = 8,
}

impl RowKind {
    /// All of them, in the order of their numbers.
    pub const ALL: [RowKind; 8] = {
        use RowKind::{Account, Expire, Ledger, Pending, Post, Reverse, Transfer, Void};
        [Ledger, Account, Transfer, Pending, Post, Void, Reverse, Expire]
    };
}

/// The four counters of an account. Each only ever holds sums of amounts, so none is negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Debits held.
    pub debits_pending: u128,
    /// Debits moved.
    pub debits_posted: u128,
    /// Credits held.
    pub credits_pending: u128,
    /// Credits moved.
    pub credits_posted: u128,
}

/// Where a row's texts stand in the buffer that came with it: reference first, metadata right after.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Text {
    /// Offset of the reference, in bytes.
    pub start: u32,
    /// Bytes of the reference; 0 is none.
    pub reference_bytes: u16,
    /// Bytes of the metadata; 0 is none.
    pub metadata_bytes: u16,
}

impl Text {
    /// Bytes of both texts.
    pub const fn bytes(&self) -> usize {
        self.reference_bytes as usize + self.metadata_bytes as usize
    }
}

/// One command, read from its frame. Texts stay in the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command {
    /// What it asks for.
    pub kind: CommandKind,
    /// Chosen by the client, unique per tenant over all kinds.
    pub id: u128,
    /// Who asks.
    pub tenant: u32,
    /// Debit account, or 0.
    pub debit: u128,
    /// Credit account, or 0.
    pub credit: u128,
    /// Minor units; for an account its allowance.
    pub amount: u128,
    /// The hold to resolve or the transfer to reverse, or 0.
    pub target: u128,
    /// Nanoseconds since 1970, or 0.
    pub effective_ns: u64,
    /// Seconds, or 0 for never.
    pub timeout_s: u32,
    /// Ledger, or 0 to take it from the target.
    pub ledger: u32,
    /// The client's own kind of transfer, or 0 to take it from the target; a ledger's exponent.
    pub code: u16,
    /// By `transfer_flags` or `account_flags`.
    pub flags: u16,
    /// True if a byte that must be zero is not.
    pub reserved: bool,
    /// First 16 bytes of SHA-256 over what the client asked.
    pub fingerprint: [u8; 16],
    /// Its texts, by offsets into the batch's frames.
    pub text: Text,
}

impl Command {
    /// A command that asks for nothing yet: all but its kind, tenant and id is zero.
    pub fn blank(kind: CommandKind, tenant: u32, id: u128) -> Self {
        Self {
            kind,
            id,
            tenant,
            debit: 0,
            credit: 0,
            amount: 0,
            target: 0,
            effective_ns: 0,
            timeout_s: 0,
            ledger: 0,
            code: 0,
            flags: 0,
            reserved: false,
            fingerprint: [0; 16],
            text: Text::default(),
        }
    }

    /// True if it takes effect only together with the next command of its request.
    pub const fn is_linked(&self) -> bool {
        // The bit means the same for transfers and accounts.
        self.flags & transfer_flags::LINKED != 0
    }
}

/// One decided command, as the journal keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Nanoseconds since 1970; strictly increasing over the whole shard.
    pub recorded_ns: u64,
    /// The command's id, or a derived one for an expiry and the further holds of a group.
    pub id: u128,
    /// Who asked.
    pub tenant: u32,
    /// What it records.
    pub kind: RowKind,
    /// 0 when accepted, else the number of the final refusal.
    pub status: u16,
    /// Debit account (resolved from the target where the command left it out), or 0.
    pub debit: u128,
    /// Credit account, or 0.
    pub credit: u128,
    /// What was moved, held or released; when declined what was asked; an account's allowance.
    pub amount: u128,
    /// The hold resolved or the transfer reversed, or 0.
    pub target: u128,
    /// Ledger, or 0 where a decline knows none.
    pub ledger: u32,
    /// As in the command, resolved from the target.
    pub code: u16,
    /// As in the command.
    pub flags: u16,
    /// Seconds, of a hold.
    pub timeout_s: u32,
    /// As in the command, or 0.
    pub effective_ns: u64,
    /// The command's fingerprint; zeros where the ledger made the row itself.
    pub fingerprint: [u8; 16],
    /// Texts, by offsets into the buffer that came with the rows.
    pub text: Text,
    /// The debit account right after; only of accepted rows that touch accounts.
    pub debit_after: Counters,
    /// The credit account right after.
    pub credit_after: Counters,
}

/// What became of one command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Decided in this batch: rows[i], accepted or declined.
    Recorded(u32),
    /// Decided earlier in this same batch: rows[i]. A retry that came with its first.
    Repeated(u32),
    /// Decided in an earlier batch: old[i], as read back from the journal.
    Replayed(u32),
    /// Refused and not recorded.
    Refused(crate::refusal::Refusal),
}
