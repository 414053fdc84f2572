//! A row that the engine made, and what the model says of it.

use pyledger_core::nouns::{Outcome, Row, Text};
use pyledger_core::refusal::Refusal;
use pyledger_core::{Batch, Old};

use crate::asked::{Asked, TEXTS};
use crate::model::Event;

/// The row that an outcome points to, and the buffer of its texts.
pub fn row_of<'a>(outcome: Outcome, batch: &'a Batch, old: &'a Old) -> Result<(&'a Row, &'a [u8]), Refusal> {
    match outcome {
        Outcome::Recorded(place) | Outcome::Repeated(place) => Ok((&batch.rows[place as usize], &batch.text)),
        Outcome::Replayed(place) => Ok((&old.rows[place as usize], &old.text)),
        Outcome::Refused(refusal) => Err(refusal),
    }
}

/// A row of the engine as the model has it. What a decline says of accounts is what was asked or is known.
pub fn same_row(row: &Row, text: &[u8], event: &Event) {
    let Asked { command, text: number } = event.asked;
    let status = event.refusal.map_or(0, Refusal::number);
    assert_eq!(
        (row.kind, row.tenant, row.recorded_ns, row.status),
        (event.kind, command.tenant, event.recorded_ns, status),
        "{event:?}"
    );
    assert_eq!((row.amount, row.target), (event.amount, command.target), "{event:?}");
    assert_eq!(
        (row.flags, row.timeout_s, row.effective_ns),
        (command.flags, command.timeout_s, command.effective_ns),
        "{event:?}"
    );
    if event.is_own {
        assert!(row.id >> 96 == 0xffff_ffff && row.fingerprint == [0; 16], "{event:?}: {row:?}");
    } else {
        assert_eq!(row.id, command.id, "{event:?}");
    }
    let Text { start, reference_bytes, .. } = row.text;
    let texts = &text[start as usize..start as usize + row.text.bytes()];
    let (reference, metadata) = texts.split_at(reference_bytes.into());
    let (expected, expected_metadata) = TEXTS[number as usize];
    assert_eq!((reference, metadata), (expected.as_bytes(), expected_metadata.as_bytes()), "{event:?}");
    if event.refusal.is_none() {
        assert_eq!((row.debit_after, row.credit_after), event.after, "{event:?}");
        assert_eq!(
            (row.debit, row.credit, row.ledger, row.code),
            (event.debit, event.credit, event.ledger, event.code),
            "{event:?}"
        );
    }
}
