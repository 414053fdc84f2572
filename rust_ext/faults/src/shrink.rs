//! A shorter list of rounds that still fails: rounds, requests and commands are left out as long as it does.

use pyledger_core::Limits;

use crate::asked::{Round, Then};
use crate::day::Day;
use crate::oracle::caught;

/// Runs of a day that one failure is worth.
const TRIES_MAX: usize = 3_000;

struct Shrinking {
    limits: Limits,
    tries: usize,
}

/// The shortest list found.
pub fn shrunk(limits: Limits, rounds: Vec<Round>) -> Vec<Round> {
    let mut shrinking = Shrinking { limits, tries: 0 };
    if !shrinking.fails(&rounds) {
        // It takes something that is not in the rounds; better the whole than nothing.
        return rounds;
    }
    let mut shortest = rounds;
    loop {
        let before = size(&shortest);
        shortest = shrinking.without_rounds(shortest);
        shortest = shrinking.simpler(shortest);
        if size(&shortest) == before || shrinking.tries >= TRIES_MAX {
            return shortest;
        }
    }
}

fn size(rounds: &[Round]) -> usize {
    rounds.iter().map(|round| 1 + round.requests.iter().map(|request| 1 + request.len()).sum::<usize>()).sum()
}

impl Shrinking {
    fn fails(&mut self, rounds: &[Round]) -> bool {
        self.tries += 1;
        let run = || {
            let mut day = Day::new(self.limits);
            for round in rounds {
                day.round(round);
            }
            day.end();
        };
        self.tries <= TRIES_MAX && caught(run).is_err()
    }

    /// Leaves out runs of rounds, long ones first.
    fn without_rounds(&mut self, mut rounds: Vec<Round>) -> Vec<Round> {
        let mut length = rounds.len() / 2;
        while length > 0 {
            let mut at = 0;
            while at + length <= rounds.len() {
                let mut fewer = rounds.clone();
                fewer.drain(at..at + length);
                if self.fails(&fewer) { rounds = fewer } else { at += length }
            }
            length /= 2;
        }
        rounds
    }

    /// Leaves out commands, empty requests, and what is done to a round.
    fn simpler(&mut self, mut rounds: Vec<Round>) -> Vec<Round> {
        for at in 0..rounds.len() {
            for request in (0..rounds[at].requests.len()).rev() {
                let mut length = rounds[at].requests[request].len();
                while length > 0 {
                    let mut from = 0;
                    while from + length <= rounds[at].requests[request].len() {
                        let tried = self.tried(&mut rounds, at, |round| {
                            round.requests[request].drain(from..from + length);
                        });
                        from += if tried { 0 } else { length };
                    }
                    length /= 2;
                }
                if rounds[at].requests[request].is_empty() {
                    self.tried(&mut rounds, at, |round| drop(round.requests.remove(request)));
                }
            }
            self.tried(&mut rounds, at, |round| round.undone = false);
            self.tried(&mut rounds, at, |round| round.early = false);
            self.tried(&mut rounds, at, |round| round.then = Then::Nothing);
        }
        rounds
    }

    /// Changes one round for good if it still fails.
    fn tried(&mut self, rounds: &mut Vec<Round>, at: usize, change: impl FnOnce(&mut Round)) -> bool {
        let mut changed = rounds.clone();
        change(&mut changed[at]);
        let fails = self.fails(&changed);
        if fails {
            *rounds = changed;
        }
        fails
    }
}
