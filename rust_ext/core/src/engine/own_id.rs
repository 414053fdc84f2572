//! The ids of the rows that no client asked for: `UUIDv8`s by SHA-256, with a beginning that no client may use.

use super::shape;
use crate::uuid;

/// The id of the row that says that a hold expired.
pub(super) fn of_expiry(tenant: u32, hold: u128) -> u128 {
    shape::own(uuid::derived(&[b"pyledger.expire", &tenant.to_le_bytes(), &hold.to_le_bytes()]))
}

/// The id of the row that resolves a further hold of a group.
pub(super) fn of_group_member(tenant: u32, command: u128, hold: u128) -> u128 {
    let (command, hold) = (command.to_le_bytes(), hold.to_le_bytes());
    shape::own(uuid::derived(&[b"pyledger.group", &tenant.to_le_bytes(), &command, &hold]))
}
