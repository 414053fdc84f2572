//! The core of pyledger: what a transfer does, and what its bytes are. Pure: no I/O, no clock, no Python.
//!
//! Nouns first, then the engine that decides, then the codecs around it.

// Nothing, unless a test asks for bugs. First, because the macro is used by all that follow.
#[macro_use]
pub mod planted;

// Nouns.
pub mod nouns;
pub mod refusal;
pub mod request;
pub mod state;

// The engine: decides, undoes, replays.
pub mod engine;

// The codecs: bytes in, bytes out.
pub mod archive;
pub mod binary;
pub mod chain;
pub mod copy;
pub mod feed;
pub mod filter;
pub mod fingerprint;
pub mod journal;
pub mod json;
pub mod malformed;
pub mod merkle;
pub mod proof;
pub mod replay;
pub mod reply;
pub mod show;
pub mod tables;
pub mod time;
pub mod uuid;

pub use engine::Engine;
pub use request::{Batch, Limits, Lookups, Old, Request};
pub use state::{Account, Checkpoint, Corrupt, Hold, Ledger};
