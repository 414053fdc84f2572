//! The ids of the rows that no client asked for: `UUIDv8`s by SHA-256, with a beginning that no client may use.
//!
//! Each is made of when its row is recorded, which nobody can choose beforehand: a client who searches for two
//! holds whose rows would collide, and stop the shard, finds none.

use super::shape;
use crate::uuid;

/// The id of the row that says that a hold expired.
pub(super) fn of_expiry(tenant: u32, hold: u128, recorded_ns: u64) -> u128 {
    let (hold, recorded_ns) = (hold.to_le_bytes(), recorded_ns.to_le_bytes());
    shape::own(uuid::derived(&[b"pyledger.expire", &tenant.to_le_bytes(), &hold, &recorded_ns]))
}

/// The id of the row that resolves a further hold of a group.
pub(super) fn of_group_member(tenant: u32, command: u128, hold: u128, recorded_ns: u64) -> u128 {
    let (command, hold, recorded_ns) = (command.to_le_bytes(), hold.to_le_bytes(), recorded_ns.to_le_bytes());
    shape::own(uuid::derived(&[b"pyledger.group", &tenant.to_le_bytes(), &command, &hold, &recorded_ns]))
}
