//! The nouns of a random day: what clients ask, in rounds, and how it is handed to the core.
//!
//! A text is a number into a small table, so that a command stays a value that can be compared and printed.

use std::fmt;

use pyledger_core::nouns::{Command, CommandKind, RowKind, transfer_flags};
use pyledger_core::{Request, fingerprint, uuid};

pub const SECOND: u64 = 1_000_000_000;
pub const MS: u64 = 1_000_000;
pub const START_NS: u64 = 1_800_000_000 * SECOND;

/// Reference and metadata.
pub const TEXTS: [(&str, &str); 5] =
    [("", ""), ("EUR", ""), ("order-1", ""), ("order-1", r#"{"a":1}"#), ("", r#"{"a":1}"#)];
/// The text of a ledger that says its asset.
pub const ASSET: u8 = 1;

/// One command with its text; the command's own text and fingerprint are left empty.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    pub command: Command,
    pub text: u8,
}

/// One batch, and what is done with it.
#[derive(Clone)]
pub struct Round {
    pub now_ns: u64,
    pub requests: Vec<Vec<Asked>>,
    /// Decided while the batch before it is uncommitted, if nothing has to be looked up for it.
    pub early: bool,
    /// Decided, undone, and decided again.
    pub undone: bool,
    pub then: Then,
}

/// What happens after a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    Nothing,
    Checkpoint,
    /// A checkpoint that fails, after or before it was stored.
    CheckpointFailed,
    /// The process dies; another one goes on from what is stored.
    Restart,
}

impl Asked {
    fn new(kind: CommandKind, tenant: u32, id: u128) -> Self {
        let command = Command::blank(kind, tenant, id);
        Asked { command, text: 0 }
    }

    /// What kind of row it becomes.
    pub fn kind(&self) -> RowKind {
        let has = |flag: u16| self.command.flags & flag != 0;
        match self.command.kind {
            CommandKind::Ledger => RowKind::Ledger,
            CommandKind::Account => RowKind::Account,
            CommandKind::Transfer if has(transfer_flags::PENDING) => RowKind::Pending,
            CommandKind::Transfer if has(transfer_flags::POST_PENDING) => RowKind::Post,
            CommandKind::Transfer if has(transfer_flags::VOID_PENDING) => RowKind::Void,
            CommandKind::Transfer if has(transfer_flags::REVERSE) => RowKind::Reverse,
            CommandKind::Transfer => RowKind::Transfer,
        }
    }
}

pub fn transfer(tenant: u32, id: u128) -> Asked {
    Asked::new(CommandKind::Transfer, tenant, id)
}

pub fn account(tenant: u32, id: u128) -> Asked {
    let mut asked = Asked::new(CommandKind::Account, tenant, id);
    (asked.command.ledger, asked.command.code) = (1, 1);
    asked
}

pub fn ledger(tenant: u32, number: u32) -> Asked {
    let mut asked = Asked::new(CommandKind::Ledger, tenant, uuid::of_ledger(tenant, number));
    (asked.command.ledger, asked.command.code) = (number, 2);
    Asked { text: ASSET, ..asked }
}

pub fn uuid7(ms: u64, number: u128) -> u128 {
    u128::from(ms) << 80 | 0x7 << 76 | 0b10 << 62 | number
}

/// What the boundary makes of it, with the real fingerprints.
pub fn request(all: &[Asked]) -> Request {
    let mut request = Request::default();
    for asked in all {
        let (reference, metadata) = TEXTS[asked.text as usize];
        fingerprint::push(&mut request, asked.command, reference.as_bytes(), metadata.as_bytes());
    }
    request
}

impl fmt::Debug for Asked {
    /// Only what is set.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let command = &self.command;
        write!(f, "{:?} {:#x} of {}", self.kind(), command.id, command.tenant)?;
        let numbers = [
            ("debit", command.debit),
            ("credit", command.credit),
            ("amount", command.amount),
            ("target", command.target),
            ("effective_ns", command.effective_ns.into()),
            ("timeout_s", command.timeout_s.into()),
            ("ledger", command.ledger.into()),
            ("code", command.code.into()),
            ("text", self.text.into()),
            ("reserved", command.reserved.into()),
        ];
        for (name, number) in numbers.into_iter().filter(|(_, number)| *number != 0) {
            write!(f, " {name}={number:#x}")?;
        }
        if command.flags != 0 {
            write!(f, " flags={:#b}", command.flags)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at {} ns", self.now_ns.wrapping_sub(START_NS).cast_signed())?;
        if self.early {
            write!(f, ", early")?;
        }
        if self.undone {
            write!(f, ", undone once")?;
        }
        if self.then != Then::Nothing {
            write!(f, ", then {:?}", self.then)?;
        }
        for request in &self.requests {
            write!(f, "; {request:?}")?;
        }
        Ok(())
    }
}
