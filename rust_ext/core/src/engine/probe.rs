//! What must be read from the journal before a batch can be decided.
//!
//! It asks for too much rather than too little, and of a new id made in order of time for nothing.

use super::Engine;
use super::shape::ACTING;
use crate::nouns::{Command, CommandKind, transfer_flags};
use crate::request::{Lookups, Request};

impl Engine {
    /// The ids and targets whose rows `apply` needs, each once.
    pub fn probe(&self, requests: &[&Request]) -> Lookups {
        let mut lookups = Lookups::default();
        for command in requests.iter().flat_map(|request| &request.commands) {
            if self.window.may_know(command.tenant, command.id) {
                lookups.ids.push((command.tenant, command.id));
            }
            if self.needs_target(command) {
                lookups.targets.push((command.tenant, command.target));
            }
        }
        lookups.ids.sort_unstable();
        lookups.ids.dedup();
        lookups.targets.sort_unstable();
        lookups.targets.dedup();
        lookups
    }

    /// An open hold says all there is to know of it; an id that was never recorded has nothing to say.
    fn needs_target(&self, command: &Command) -> bool {
        let Command { kind, tenant, target, flags, .. } = *command;
        if kind != CommandKind::Transfer || flags & ACTING == 0 || target == 0 {
            return false;
        }
        let is_reversal = flags & transfer_flags::REVERSE != 0;
        let is_open_hold = !is_reversal && self.books.holds.find(tenant, target).is_some();
        !is_open_hold && self.window.may_know(tenant, target)
    }
}
