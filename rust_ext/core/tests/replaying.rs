//! Replay: rows come back in whatever order and pieces PostgreSQL hands them out; the books are the same, and
//! what is missing, twice there or another's is named.

mod common;
mod random;

use common::{LIMITS, Shard};
use pyledger_core::chain::Head;
use pyledger_core::copy::{HEADER, TRAILER};
use pyledger_core::journal;
use pyledger_core::replay::{Claimed, Replay};
use pyledger_core::{Corrupt, Engine};
use random::Random;

/// What the tables `journal` and `batch` hold: tuples, and what is claimed of them.
struct Stored {
    tuples: Vec<Vec<u8>>,
    claims: Vec<Claimed>,
}

/// A history of batches of one to a dozen rows, some of them declined, some with holds and their ends.
fn history(random: &mut Random) -> (Shard, Stored) {
    let mut bank = Shard::bank();
    let mut ends = vec![bank.journal.rows.len()];
    for _ in 0..40 {
        let commands: Vec<_> = (0..=random.below(12))
            .map(|_| {
                let (debit, credit) = if random.below(2) == 0 { (3, 1) } else { (1, 2) };
                let amount = 1 + u128::from(random.below(90));
                if random.below(3) == 0 {
                    bank.pending(debit, credit, amount)
                } else {
                    bank.transfer(debit, credit, amount)
                }
            })
            .collect();
        bank.many(&commands);
        ends.push(bank.journal.rows.len());
    }
    let (mut head, mut start) = (Head::GENESIS, 0);
    let mut stored = Stored { tuples: Vec::new(), claims: Vec::new() };
    for end in ends {
        let rows = &bank.journal.rows[start..end];
        let sealed = journal::seal(0, &head, rows, &bank.journal.text).expect("a batch has rows");
        stored.claims.push(Claimed { link: sealed.link, hash: sealed.head.hash });
        for row in rows {
            let mut tuple = Vec::new();
            journal::encode(0, sealed.link.seq, row, &bank.journal.text, &mut tuple);
            stored.tuples.push(tuple);
        }
        (head, start) = (sealed.head, end);
    }
    (bank, stored)
}

fn stream(tuples: &[Vec<u8>]) -> Vec<u8> {
    [HEADER.as_slice(), &tuples.concat(), &TRAILER].concat()
}

/// Replays in pieces of `piece` rows, expecting all batches at once.
fn replayed(stored: &Stored, piece: usize) -> Result<(Engine, Head), Corrupt> {
    let (mut engine, mut replay, mut head) = (Engine::new(LIMITS, 9), Replay::default(), Head::GENESIS);
    replay.expect(&head, &stored.claims)?;
    let mut rows = 0;
    for tuples in stored.tuples.chunks(piece) {
        rows += replay.read(&mut engine, 0, &mut head, &stream(tuples))?;
    }
    replay.end()?;
    assert_eq!((rows, replay.waiting()), (stored.tuples.len() as u64, 0));
    Ok((engine, head))
}

#[test]
fn any_order_and_any_pieces_give_the_same_books() {
    for seed in 1..40 {
        let mut random = Random::new(seed);
        let (bank, mut tables) = history(&mut random);
        let head = tables.claims.last().expect("batches").hash;
        for round in 0..3 {
            if round > 0 {
                // Nearly in order at first, as in a heap with a few freed pages; then in none.
                let reach = if round == 1 { 20 } else { tables.tuples.len() };
                for place in (1..tables.tuples.len()).rev() {
                    let steps = random.below(reach.min(place + 1) as u64) as usize;
                    tables.tuples.swap(place, place - steps);
                }
            }
            let piece = 1 + random.below(200) as usize;
            let (engine, found) =
                replayed(&tables, piece).unwrap_or_else(|corrupt| panic!("seed {seed}: {corrupt}"));
            assert_eq!((engine.digest(), found.hash), (bank.engine.digest(), head), "seed {seed}");
        }
    }
}

#[test]
fn rows_wait_for_those_before_them() {
    let (_, stored) = history(&mut Random::new(1));
    let (mut engine, mut replay, mut head) = (Engine::new(LIMITS, 9), Replay::default(), Head::GENESIS);
    replay.expect(&head, &stored.claims).expect("in order");
    let later = &stored.tuples[1..];
    assert_eq!(replay.read(&mut engine, 0, &mut head, &stream(later)), Ok(0));
    assert_eq!((replay.waiting(), head), (later.len(), Head::GENESIS));
    let all = stored.tuples.len() as u64;
    assert_eq!(replay.read(&mut engine, 0, &mut head, &stream(&stored.tuples[..1])), Ok(all));
    assert_eq!((replay.waiting(), head.seq), (0, stored.claims.len() as u64));
    assert_eq!(replay.end(), Ok(()));
}

#[test]
fn what_does_not_belong_is_named() {
    let (_, stored) = history(&mut Random::new(2));
    let damaged = |damage: fn(&mut Stored)| {
        let mut stored = Stored { tuples: stored.tuples.clone(), claims: stored.claims.clone() };
        damage(&mut stored);
        let result = replayed(&stored, 7);
        result.map(|(_, head)| head).expect_err("it went unseen").0
    };
    for (damage, said) in [
        (|stored: &mut Stored| drop(stored.tuples.remove(0)), "batch 1: 4 rows are there instead of 5"),
        (|stored| drop(stored.tuples.pop()), "instead of"),
        (
            |stored| stored.tuples.push(stored.tuples[0].clone()),
            "batch 1: rows that belong to none of the batches",
        ),
        (|stored| stored.tuples[1] = stored.tuples[0].clone(), "batch 1, row 1: it is not later"),
        (|stored| _ = stored.claims.pop(), "rows that belong to none of the batches"),
        (|stored| _ = stored.claims.remove(3), "batch 5 follows batch 3"),
        (|stored| stored.claims[3].link.rows = 0, "batch 4: it has no rows"),
        (|stored| stored.claims[3].link.rows += 1, "batch 4: "),
        (|stored| stored.claims[3].hash = [7; 32], "batch 4: its hash does not chain"),
        (|stored| stored.tuples[9][14] ^= 1, "batch "),
    ] as [(fn(&mut Stored), &str); 10]
    {
        let found = damaged(damage);
        assert!(found.contains(said), "{found}, not {said}");
    }
}

#[test]
fn nothing_more_is_expected_while_rows_are_missing() {
    let (_, stored) = history(&mut Random::new(3));
    let (mut engine, mut replay, mut head) = (Engine::new(LIMITS, 9), Replay::default(), Head::GENESIS);
    let (first, second) = stored.claims.split_at(1);
    replay.expect(&head, first).expect("the first");
    assert_eq!(replay.read(&mut engine, 0, &mut head, &stream(&stored.tuples[..3])), Ok(0));
    let Corrupt(said) = replay.expect(&head, second).expect_err("two rows are missing");
    assert_eq!(said, "batch 1: 3 rows are there instead of 5");
}
