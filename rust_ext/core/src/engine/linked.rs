//! Linked chains: all members take effect, or none does.
//!
//! A chain that is declined is recorded whole, each member with its own row. A chain with a member that
//! is refused without being recorded leaves no trace at all.

use super::deciding::{Chain, Deciding, asked};
use super::shape;
use crate::nouns::{Command, Outcome, Row};
use crate::refusal::Refusal;

impl Deciding<'_> {
    /// The request ended within a chain.
    pub(super) fn open_chain(&mut self, members: usize) {
        self.refuse_chain(members, members - 1, Refusal::LinkedChainOpen);
    }

    /// Decides a closed chain of two members or more.
    pub(super) fn chain(&mut self, commands: &[Command], text: &[u8]) {
        assert!(commands.len() > 1, "a chain links at least two");
        let now_ns = self.next_ns();
        let first_outcomes: Vec<Option<Outcome>> = commands
            .iter()
            .map(|command| {
                shape::before_lookup(command, now_ns).ok()?;
                self.first_outcome(command).unwrap_or_else(|conflict| Some(Outcome::Refused(conflict)))
            })
            .collect();
        if first_outcomes.iter().all(Option::is_none) {
            self.new_chain(commands, text);
        } else {
            // A retry gets what it got. A member that was not there the first time makes it another chain.
            let refused = Outcome::Refused(Refusal::LinkedChainRefused);
            let outcomes = first_outcomes.into_iter().map(|outcome| outcome.unwrap_or(refused));
            self.batch.outcomes.extend(outcomes);
        }
    }

    fn new_chain(&mut self, commands: &[Command], text: &[u8]) {
        let now_ns = self.next_ns();
        for (place, command) in commands.iter().enumerate() {
            let shape =
                shape::before_lookup(command, now_ns).and_then(|()| shape::after_lookup(command, now_ns));
            if let Err(refusal) = shape {
                return self.refuse_chain(commands.len(), place, refusal);
            }
        }
        let start = self.savepoint();
        let mut outcomes = Vec::with_capacity(commands.len());
        self.chain = Chain::Open;
        let failure = commands.iter().enumerate().find_map(|(place, command)| {
            let mut row = asked(command);
            match self.attempt(command, text, &mut row) {
                Ok(outcome) => {
                    outcomes.push(outcome);
                    None
                }
                Err(refusal) => Some((place, refusal, row)),
            }
        });
        self.chain = Chain::None;
        match failure {
            None => self.batch.outcomes.append(&mut outcomes),
            Some((place, refusal, row)) => {
                self.rollback(&start);
                if refusal.is_final() {
                    self.decline_chain(commands, text, place, refusal, &row);
                } else {
                    self.refuse_chain(commands.len(), place, refusal);
                }
            }
        }
    }

    /// Records every member as declined, the one at `place` for its own sake and as `row`.
    fn decline_chain(
        &mut self,
        commands: &[Command],
        text: &[u8],
        place: usize,
        refusal: Refusal,
        row: &Row,
    ) {
        let start = self.savepoint();
        let mut outcomes = Vec::with_capacity(commands.len());
        for (at, command) in commands.iter().enumerate() {
            // Two members may share an id; the second is a retry of the first, or no member at all.
            match self.first_outcome(command) {
                Ok(Some(outcome)) => outcomes.push(outcome),
                Ok(None) => {
                    let recorded = if at == place {
                        self.decline(row, refusal, text)
                    } else {
                        self.decline(&asked(command), Refusal::LinkedEventFailed, text)
                    };
                    outcomes.push(Outcome::Recorded(recorded));
                }
                Err(conflict) => {
                    self.rollback(&start);
                    return self.refuse_chain(commands.len(), at, conflict);
                }
            }
        }
        self.batch.outcomes.append(&mut outcomes);
    }

    /// Refuses every member, the one at `place` for its own sake; nothing is recorded.
    fn refuse_chain(&mut self, members: usize, place: usize, refusal: Refusal) {
        let others = Refusal::LinkedChainRefused;
        let refusals = (0..members).map(|at| if at == place { refusal } else { others });
        self.batch.outcomes.extend(refusals.map(Outcome::Refused));
    }
}
