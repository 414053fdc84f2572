//! The feed: journal rows as those who read on see them, page by page, in the order of their recording.
//!
//! Guarded here: a page has rows of one tenant only, leaves none out that was asked for, and says how far it
//! looked; that place is also in the cursor of each row, so whoever stops after any row can go on from there.

use std::collections::BTreeSet;

use crate::journal::{self, Stored};
use crate::nouns::{Row, RowKind};
use crate::show::{self, Side};
use crate::state::Corrupt;

/// What somebody reads on for; all that is set must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Whose rows.
    pub tenant: u32,
    /// Of this ledger.
    pub ledger: Option<u32>,
    /// With this account on either side, or its opening.
    pub account: Option<u128>,
    /// With this code. A ledger has none.
    pub code: Option<u16>,
    /// Declined ones too.
    pub declined: bool,
    /// As server-sent events instead of members of a JSON array.
    pub events: bool,
    /// What each cursor begins with: it binds the cursor to tenant and question.
    pub tag: String,
}

impl Question {
    fn wants(&self, row: &Row) -> bool {
        let of_account = |account| match row.kind {
            RowKind::Ledger => false,
            RowKind::Account => row.id == account,
            _ => row.debit == account || row.credit == account,
        };
        row.tenant == self.tenant
            && (row.status == 0 || self.declined)
            && self.ledger.is_none_or(|ledger| row.ledger == ledger)
            && self.account.is_none_or(of_account)
            && self.code.is_none_or(|code| row.kind != RowKind::Ledger && row.code == code)
    }
}

/// How much one page may hold.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Rows, at most.
    pub rows_max: usize,
    /// Bytes after which no further row is added.
    pub bytes_max: usize,
}

/// A page, or the accounts that must be known first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Made {
    /// The page.
    Page(Page),
    /// What never changes of these accounts is not known yet.
    Missing(Vec<u128>),
}

/// Rows, and how far it looked for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Objects with commas between them, or events.
    pub body: Vec<u8>,
    /// Rows in it.
    pub rows: usize,
    /// Rows looked at.
    pub looked: usize,
    /// The batch of the last row looked at.
    pub seq: u64,
    /// When that row was recorded.
    pub recorded_ns: u64,
}

/// The rows of whole batches, in their order.
pub struct Rows {
    rows: Vec<Stored>,
    text: Vec<u8>,
}

impl Rows {
    /// Reads a COPY stream. `Corrupt` if it is of another shard, or not in order.
    pub fn decode(copy: &[u8], shard: u16) -> Result<Self, Corrupt> {
        let (mut rows, mut text): (Vec<Stored>, _) = (Vec::new(), Vec::new());
        let mut stream = journal::Rows::new(copy)?;
        while let Some(stored) = stream.next_unhashed(&mut text)? {
            let in_order = rows.last().is_none_or(|last| last.row.recorded_ns < stored.row.recorded_ns);
            if stored.shard != shard || !in_order {
                return Err(Corrupt(
                    "rows of a feed are of one shard, in the order of their time".to_owned(),
                ));
            }
            rows.push(stored);
        }
        Ok(Rows { rows, text })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.rows.len()
    }

    /// The rows after `after_ns` that are asked for, as far as they fit.
    pub fn page(
        &self,
        question: &Question,
        after_ns: u64,
        bounds: Bounds,
        side: &impl Fn(u32, u128) -> Option<Side>,
    ) -> Result<Made, Corrupt> {
        let from = self.rows.partition_point(|stored| stored.row.recorded_ns <= after_ns);
        let wanted =
            || self.rows[from..].iter().enumerate().filter(|(_, stored)| question.wants(&stored.row));
        let missing: BTreeSet<u128> = wanted()
            .take(bounds.rows_max)
            .filter(|(_, stored)| stored.row.kind >= RowKind::Transfer && stored.row.status == 0)
            .flat_map(|(_, stored)| [stored.row.debit, stored.row.credit])
            .filter(|account| side(question.tenant, *account).is_none())
            .collect();
        if !missing.is_empty() {
            return Ok(Made::Missing(missing.into_iter().collect()));
        }
        let (mut body, mut rows, mut last) = (Vec::new(), 0, self.rows.len().checked_sub(1));
        for (index, stored) in wanted() {
            self.put(question, stored, side, &mut body)?;
            rows += 1;
            if rows >= bounds.rows_max || body.len() >= bounds.bytes_max {
                last = Some(from + index);
                break;
            }
        }
        let (seq, recorded_ns) =
            last.map_or((0, 0), |last| (self.rows[last].seq, self.rows[last].row.recorded_ns));
        let looked = last.map_or(0, |last| (last + 1).saturating_sub(from));
        Ok(Made::Page(Page { body, rows, looked, seq, recorded_ns }))
    }

    fn put(
        &self,
        question: &Question,
        stored: &Stored,
        side: &impl Fn(u32, u128) -> Option<Side>,
        body: &mut Vec<u8>,
    ) -> Result<(), Corrupt> {
        let place = place(stored.seq, stored.row.recorded_ns);
        if question.events {
            for part in [b"id: ", question.tag.as_bytes(), &place, b"\ndata: "] {
                body.extend_from_slice(part);
            }
        } else if !body.is_empty() {
            body.push(b',');
        }
        body.extend_from_slice(b"{\"cursor\":\"");
        body.extend_from_slice(question.tag.as_bytes());
        body.extend_from_slice(&place);
        body.push(b'"');
        let at = body.len();
        show::row(&stored.row, &self.text, side, body)?;
        body[at] = b','; // where its brace was
        if question.events {
            body.extend_from_slice(b"\n\n");
        }
        Ok(())
    }
}

/// Bytes of a place as text.
const PLACE_BYTES: usize = 22;

/// The end of a cursor: batch and time, 16 bytes, in the URL-safe base64 without padding.
pub fn place(seq: u64, recorded_ns: u64) -> [u8; PLACE_BYTES] {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let bits = u128::from(seq) << 64 | u128::from(recorded_ns);
    let mut text = [0; PLACE_BYTES];
    text[PLACE_BYTES - 1] = DIGITS[((bits & 0b11) << 4) as usize];
    for (digit, letter) in text[..PLACE_BYTES - 1].iter_mut().enumerate() {
        *letter = DIGITS[(bits >> (122 - 6 * digit) & 0x3f) as usize];
    }
    text
}
