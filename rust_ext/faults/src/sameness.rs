//! One journal, the same to whoever builds it and reads it: made by seed, replayed twice as a start would.
//!
//! A debug and a release build must print the same line. The head's hash stands for every byte of the journal,
//! the digest for the books that replaying it gives; the second reading has another hash seed, another window
//! and batches in other portions.

use pyledger_core::chain::Head;
use pyledger_core::copy::{HEADER, TRAILER};
use pyledger_core::journal::{self, Sealed};
use pyledger_core::nouns::Outcome;
use pyledger_core::refusal::Refusal;
use pyledger_core::replay::{self, Claimed};
use pyledger_core::{Engine, Limits, Request};

use crate::asked::{Round, request};
use crate::journal::Journal;
use crate::plan::Plan;
use crate::stored::SHARD;

const LIMITS: Limits =
    Limits { ledgers_max: 100, accounts_max: 1_000_000, holds_max: 100_000, window_ids: 1_000 };
/// What the plan draws retries and targets from reaches back less far.
const KEPT_ROWS: usize = 8_000;
/// Rounds sealed as one batch, so that batches have a usual size.
const ROUNDS_A_BATCH: usize = 40;
/// Batches that the second reading takes at once.
const PORTION: usize = 7;

/// What a build makes of a journal.
pub struct Sameness {
    pub rows: u64,
    pub head: Head,
    pub digests: [[u8; 32]; 3],
}

/// Makes a journal of at least so many rows, and reads it twice as it grows.
pub fn run(seed: u64, rows: u64, hash_seed: u64) -> Sameness {
    let mut plan = Plan::calm(seed);
    let mut engine = Engine::new(LIMITS, hash_seed);
    let mut kept = Journal::forgetful(KEPT_ROWS);
    let mut readers = [Reader::new(hash_seed + 1, 1), Reader::new(hash_seed + 2, PORTION)];
    let (mut head, mut done) = (Head::GENESIS, 0);
    while done < rows {
        let rounds: Vec<Round> =
            (0..ROUNDS_A_BATCH).map(|_| plan.next_round(engine.next_expiry_ns())).collect();
        let requests: Vec<Request> =
            rounds.iter().flat_map(|round| &round.requests).map(|all| request(all)).collect();
        let asked: Vec<&Request> = requests.iter().collect();
        let old = kept.read(&engine.probe(&asked));
        let now_ns = rounds.last().expect("several").now_ns;
        let batch = engine.apply(&asked, now_ns, &old);
        assert_eq!(batch.missing, None, "nobody asks for what was forgotten");
        engine.commit();
        kept.append(&batch);
        let all = rounds.iter().flat_map(|round| &round.requests).flatten();
        for (asked, outcome) in all.zip(&batch.outcomes) {
            let is_accepted =
                matches!(outcome, Outcome::Recorded(place) if batch.rows[*place as usize].status == 0);
            plan.heard(asked, (!is_accepted).then_some(Refusal::LinkedChainRefused));
        }
        if let Some(sealed) = journal::seal(SHARD, &head, &batch.rows, &batch.text) {
            head = sealed.head;
            done += u64::from(sealed.link.rows);
            for reader in &mut readers {
                reader.take(&sealed);
            }
        }
    }
    let [first, second] = readers.map(Reader::end);
    assert!(first.0 == head && second.0 == head, "both readings end at the head");
    Sameness { rows: done, head, digests: [engine.digest(), first.1, second.1] }
}

/// Replays what it is given, some batches at once.
struct Reader {
    engine: Engine,
    head: Head,
    copy: Vec<u8>,
    claims: Vec<Claimed>,
    portion: usize,
}

impl Reader {
    fn new(seed: u64, portion: usize) -> Self {
        let engine = Engine::new(Limits { window_ids: portion, ..LIMITS }, seed);
        Self { engine, head: Head::GENESIS, copy: HEADER.to_vec(), claims: Vec::new(), portion }
    }

    fn take(&mut self, sealed: &Sealed) {
        let tuples = HEADER.len()..sealed.copy.len() - TRAILER.len();
        self.copy.extend_from_slice(&sealed.copy[tuples]);
        self.claims.push(Claimed { link: sealed.link, hash: sealed.head.hash });
        if self.claims.len() == self.portion {
            self.read();
        }
    }

    fn read(&mut self) {
        self.copy.extend_from_slice(&TRAILER);
        let read = replay::batches(&mut self.engine, SHARD, self.head, &self.copy, &self.claims);
        self.head = read.expect("what was decided replays").0;
        self.copy.truncate(HEADER.len());
        self.claims.clear();
    }

    fn end(mut self) -> (Head, [u8; 32]) {
        self.read();
        (self.head, self.engine.digest())
    }
}
