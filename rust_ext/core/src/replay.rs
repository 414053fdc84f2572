//! Committed batches, read back: every link of the chain is checked before the engine sees a row of it.

use crate::chain::{self, Head, Link};
use crate::engine::Engine;
use crate::journal::Rows;
use crate::merkle::{self, Hash};
use crate::nouns::Row;
use crate::state::Corrupt;

/// A batch as the table `batch` keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// What was hashed.
    pub link: Link,
    /// The hash.
    pub hash: Hash,
}

/// Applies the batches after `head`, whose journal rows `copy` holds in order, and returns the new head and
/// how many rows there were. After a `Corrupt` the engine is in no defined state.
pub fn batches(
    engine: &mut Engine,
    shard: u16,
    head: Head,
    copy: &[u8],
    claims: &[Claimed],
) -> Result<(Head, u64), Corrupt> {
    let mut stream = Rows::new(copy)?;
    let mut head = head;
    let mut rows_read = 0;
    let (mut rows, mut leaves, mut text) = (Vec::new(), Vec::new(), Vec::new());
    for claim in claims {
        let seq = claim.link.seq;
        if seq != head.seq + 1 {
            return Err(Corrupt(format!("batch {seq} follows batch {}", head.seq)));
        }
        rows.clear();
        leaves.clear();
        text.clear();
        read(&mut stream, shard, &claim.link, &mut rows, &mut leaves, &mut text)?;
        head = verify(shard, &head, claim, &rows, &leaves)?;
        for (place, row) in rows.iter().enumerate() {
            engine.replay(row, &text).map_err(|corrupt| at(seq, place, &corrupt))?;
        }
        rows_read += rows.len() as u64;
    }
    match stream.next(&mut text)? {
        None => Ok((head, rows_read)),
        Some((stored, _)) => {
            Err(Corrupt(format!("batch {}: rows that belong to none of the batches read", stored.seq)))
        }
    }
}

fn at(seq: u64, place: usize, corrupt: &Corrupt) -> Corrupt {
    Corrupt(format!("batch {seq}, row {place}: {corrupt}"))
}

/// Reads the rows of one batch.
fn read(
    stream: &mut Rows<'_>,
    shard: u16,
    link: &Link,
    rows: &mut Vec<Row>,
    leaves: &mut Vec<Hash>,
    text: &mut Vec<u8>,
) -> Result<(), Corrupt> {
    for place in 0..link.rows as usize {
        let next = stream.next(text).map_err(|corrupt| at(link.seq, place, &corrupt))?;
        let Some((stored, leaf)) = next else {
            return Err(Corrupt(format!(
                "batch {}: {place} rows are there instead of {}",
                link.seq, link.rows
            )));
        };
        if stored.shard != shard || stored.seq != link.seq {
            let found = format!("it belongs to shard {}, batch {}", stored.shard, stored.seq);
            return Err(at(link.seq, place, &Corrupt(found)));
        }
        rows.push(stored.row);
        leaves.push(leaf);
    }
    Ok(())
}

/// Checks what a batch claims of its rows, and returns the head after it.
fn verify(shard: u16, head: &Head, claim: &Claimed, rows: &[Row], leaves: &[Hash]) -> Result<Head, Corrupt> {
    let link = &claim.link;
    let wrong = |what: &str| Corrupt(format!("batch {}: {what}", link.seq));
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
        return Err(wrong("it has no rows"));
    };
    if first.recorded_ns != link.first_ns || last.recorded_ns != link.last_ns {
        return Err(wrong("its times are not those of its first and last row"));
    }
    let mut previous_ns = head.last_ns;
    for (place, row) in rows.iter().enumerate() {
        if row.recorded_ns <= previous_ns {
            return Err(at(link.seq, place, &Corrupt("it is not later than the row before it".to_owned())));
        }
        previous_ns = row.recorded_ns;
    }
    if merkle::root(leaves) != link.root {
        return Err(wrong("the Merkle root over its rows is another"));
    }
    if chain::hash(&head.hash, shard, link) != claim.hash {
        return Err(wrong("its hash does not chain to the batch before it"));
    }
    Ok(Head { seq: link.seq, hash: claim.hash, last_ns: link.last_ns })
}
