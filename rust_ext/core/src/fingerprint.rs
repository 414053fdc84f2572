//! The fingerprint of a command: what decides whether an id was used again for the same thing.
//!
//! It covers everything that was asked but for the tenant, in one layout for every way of asking, so
//! the JSON form and the binary form of a transfer have the same fingerprint.

use sha2::{Digest, Sha256};

use crate::nouns::{Command, Text};
use crate::request::Request;

/// Bytes of a record that carry something; the rest is reserved and zero.
pub const RECORD_USED_BYTES: usize = 100;

/// A command as the first 100 bytes of its record, little-endian.
pub fn record(command: &Command) -> [u8; RECORD_USED_BYTES] {
    let mut record = [0; RECORD_USED_BYTES];
    record[0..16].copy_from_slice(&command.id.to_le_bytes());
    record[16..32].copy_from_slice(&command.debit.to_le_bytes());
    record[32..48].copy_from_slice(&command.credit.to_le_bytes());
    record[48..64].copy_from_slice(&command.amount.to_le_bytes());
    record[64..80].copy_from_slice(&command.target.to_le_bytes());
    record[80..88].copy_from_slice(&command.effective_ns.to_le_bytes());
    record[88..92].copy_from_slice(&command.timeout_s.to_le_bytes());
    record[92..96].copy_from_slice(&command.ledger.to_le_bytes());
    if !planted!("fingerprint_ignores_a_field") {
        record[96..98].copy_from_slice(&command.code.to_le_bytes());
    }
    record[98..100].copy_from_slice(&command.flags.to_le_bytes());
    record
}

/// The first 16 bytes of SHA-256 over kind, record, the sizes of the texts, and the texts.
fn fingerprint(command: &Command, reference: &[u8], metadata: &[u8]) -> [u8; 16] {
    let hash = Sha256::new()
        .chain_update([command.kind as u8])
        .chain_update(record(command))
        .chain_update((reference.len() as u16).to_le_bytes())
        .chain_update((metadata.len() as u16).to_le_bytes())
        .chain_update(reference)
        .chain_update(metadata)
        .finalize();
    let mut first = [0; 16];
    first.copy_from_slice(&hash[..16]);
    first
}

/// Appends a command with its texts and its fingerprint. The texts' sizes were checked before.
pub fn push(request: &mut Request, mut command: Command, reference: &[u8], metadata: &[u8]) {
    command.text = Text {
        start: u32::try_from(request.text.len()).expect("a body is far below 4 GiB"),
        reference_bytes: u16::try_from(reference.len()).expect("a reference was measured"),
        metadata_bytes: u16::try_from(metadata.len()).expect("metadata was measured"),
    };
    request.text.extend_from_slice(reference);
    request.text.extend_from_slice(metadata);
    command.fingerprint = fingerprint(&command, reference, metadata);
    request.commands.push(command);
}
