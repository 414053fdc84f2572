//! Committed batches, read back: every link of the chain is checked before the engine sees a row of it.
//!
//! Rows may come in any order, as PostgreSQL finds them fastest: those of a batch wait until all of it is
//! there and every batch before it was applied. Whoever reads bounds how many wait.

use std::collections::VecDeque;

use crate::chain::{self, Head, Link};
use crate::engine::Engine;
use crate::journal::{Rows, Stored};
use crate::merkle::{self, Hash};
use crate::nouns::{Row, Text};
use crate::state::Corrupt;

/// A batch as the table `batch` keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// What was hashed.
    pub link: Link,
    /// The hash.
    pub hash: Hash,
}

/// The batches expected after a head, and those of their rows that have come.
#[derive(Debug, Default)]
pub struct Replay {
    claims: VecDeque<Claimed>,
    /// Of the batches in `claims`, up to the last one that a row came of.
    gathered: VecDeque<Gathered>,
    waiting: usize,
    /// Memory of a batch that was applied, for the next one.
    spare: Gathered,
    /// The texts of the row just read.
    text: Vec<u8>,
}

/// The rows of one batch that have come.
#[derive(Debug, Default)]
struct Gathered {
    rows: Vec<Row>,
    leaves: Vec<Hash>,
    text: Vec<u8>,
}

/// Applies the batches after `head`, of which `copy` holds all journal rows, and returns the new head and how
/// many rows there were. After a `Corrupt` the engine is in no defined state.
pub fn batches(
    engine: &mut Engine,
    shard: u16,
    head: Head,
    copy: &[u8],
    claims: &[Claimed],
) -> Result<(Head, u64), Corrupt> {
    let (mut replay, mut head) = (Replay::default(), head);
    replay.expect(&head, claims)?;
    let rows = replay.read(engine, shard, &mut head, copy)?;
    replay.end()?;
    Ok((head, rows))
}

impl Replay {
    /// Rows that wait for others.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// The next batches after `head`; no row of those expected before may be missing.
    pub fn expect(&mut self, head: &Head, claims: &[Claimed]) -> Result<(), Corrupt> {
        self.end()?;
        let mut seq = head.seq;
        for Claimed { link, .. } in claims {
            if link.seq != seq + 1 {
                return Err(Corrupt(format!("batch {} follows batch {seq}", link.seq)));
            }
            if link.rows == 0 {
                return Err(Corrupt(format!("batch {}: it has no rows", link.seq)));
            }
            seq = link.seq;
        }
        self.claims.extend(claims);
        Ok(())
    }

    /// No row of the batches that were expected may be missing.
    pub fn end(&self) -> Result<(), Corrupt> {
        let Some(Claimed { link, .. }) = self.claims.front() else { return Ok(()) };
        let there = self.gathered.front().map_or(0, |gathered| gathered.rows.len());
        Err(Corrupt(format!("batch {}: {there} rows are there instead of {}", link.seq, link.rows)))
    }

    /// Reads a COPY stream with any rows of the batches expected after `head`, applies each batch that is
    /// whole and next, and takes `head` along; returns how many rows were applied.
    pub fn read(
        &mut self,
        engine: &mut Engine,
        shard: u16,
        head: &mut Head,
        copy: &[u8],
    ) -> Result<u64, Corrupt> {
        let mut stream = Rows::new(copy)?;
        let mut applied = 0;
        loop {
            self.text.clear();
            let next = stream.next(&mut self.text).map_err(|corrupt| {
                at(head.seq + 1, self.gathered.front().map_or(0, |gathered| gathered.rows.len()), &corrupt)
            })?;
            let Some((stored, leaf)) = next else { return Ok(applied) };
            self.gather(shard, head, &stored, leaf)?;
            while let Some(gathered) = self.take_whole() {
                applied += self.apply(engine, shard, head, gathered)?;
            }
        }
    }

    /// Puts a row to its batch.
    fn gather(&mut self, shard: u16, head: &Head, stored: &Stored, leaf: Hash) -> Result<(), Corrupt> {
        let Stored { shard: found, seq, row } = stored;
        if *found != shard {
            return Err(Corrupt(format!("batch {seq}: a row of it belongs to shard {found}")));
        }
        let place = seq.checked_sub(head.seq + 1).and_then(|place| usize::try_from(place).ok());
        let claim = place.and_then(|place| Some((place, self.claims.get(place)?)));
        let Some((place, claim)) = claim else {
            return Err(Corrupt(format!("batch {seq}: rows that belong to none of the batches read")));
        };
        while self.gathered.len() <= place {
            self.gathered.push_back(std::mem::take(&mut self.spare));
        }
        let Gathered { rows, leaves, text } = &mut self.gathered[place];
        if rows.len() == claim.link.rows as usize {
            return Err(Corrupt(format!("batch {seq}: more rows are there than {}", claim.link.rows)));
        }
        let start = u32::try_from(text.len()).map_err(|_| Corrupt("more than 4 GiB of texts".to_owned()))?;
        text.extend_from_slice(&self.text);
        rows.push(Row { text: Text { start, ..row.text }, ..*row });
        leaves.push(leaf);
        self.waiting += 1;
        Ok(())
    }

    /// The next batch, if it is whole.
    fn take_whole(&mut self) -> Option<(Claimed, Gathered)> {
        let (claim, gathered) = (self.claims.front()?, self.gathered.front()?);
        if gathered.rows.len() < claim.link.rows as usize {
            return None;
        }
        self.waiting -= gathered.rows.len();
        Some((self.claims.pop_front()?, self.gathered.pop_front()?))
    }

    fn apply(
        &mut self,
        engine: &mut Engine,
        shard: u16,
        head: &mut Head,
        (claim, mut gathered): (Claimed, Gathered),
    ) -> Result<u64, Corrupt> {
        gathered.sort();
        *head = verify(shard, head, &claim, &gathered.rows, &gathered.leaves)?;
        let replayed = engine.replay_all(&gathered.rows, &gathered.text);
        replayed.map_err(|(place, corrupt)| at(claim.link.seq, place, &corrupt))?;
        let rows = gathered.rows.len() as u64;
        gathered.clear();
        self.spare = gathered;
        Ok(rows)
    }
}

impl Gathered {
    /// In the order in which they were recorded.
    fn sort(&mut self) {
        if self.rows.is_sorted_by_key(|row| row.recorded_ns) {
            return;
        }
        let mut both: Vec<(Row, Hash)> = self.rows.drain(..).zip(self.leaves.drain(..)).collect();
        both.sort_unstable_by_key(|(row, _)| row.recorded_ns);
        (self.rows, self.leaves) = both.into_iter().unzip();
    }

    fn clear(&mut self) {
        self.rows.clear();
        self.leaves.clear();
        self.text.clear();
    }
}

fn at(seq: u64, place: usize, corrupt: &Corrupt) -> Corrupt {
    Corrupt(format!("batch {seq}, row {place}: {corrupt}"))
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
