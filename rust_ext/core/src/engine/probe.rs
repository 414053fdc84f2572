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
            self.ask_for_id(command.tenant, command.id, &mut lookups);
            if self.needs_target(command) {
                lookups.targets.push((command.tenant, command.target));
            }
        }
        lookups.ids.sort_unstable();
        lookups.ids.dedup();
        lookups.fresh_ids.sort_unstable();
        lookups.fresh_ids.dedup();
        lookups.fresh_from_ns = self.history.until_ns;
        lookups.targets.sort_unstable();
        lookups.targets.dedup();
        lookups
    }

    /// What neither the window nor the filters of older partitions know can only be between the two.
    fn ask_for_id(&self, tenant: u32, id: u128, lookups: &mut Lookups) {
        if !self.window.may_know(tenant, id) {
            return;
        }
        if self.window.find(tenant, id).is_some() || self.history.may_have(tenant, id) {
            lookups.ids.push((tenant, id));
        } else if self.window.begins_ns() > self.history.until_ns {
            lookups.fresh_ids.push((tenant, id));
        }
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
