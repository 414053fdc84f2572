"""The planted bugs of the core (rust_ext/core/src/planted.rs): what each is, and how soon which row sees it.

Guarded here: they are exactly those that the source has; that each is caught is a test, also that A1 catches
nearly all of them.
"""

from __future__ import annotations

from typing import Final

from tests.faults.planted import Bug

BUGS: Final = (
    Bug("chain_undo_leaves_an_id", "a declined chain is undone, and one id of it stays known", "A2", 10_000),
    Bug("checkpoint_keeps_a_hold", "a checkpoint does not say that a hold is gone", "A2", 50_000),
    Bug("checkpoint_mixes_moments", "a checkpoint has rows as they became while it was being taken", "A2", 10_000),
    Bug("clock_in_replay", "replay dates a hold by the wall clock", "A4", 10_000, "rows"),
    Bug("declined_id_forgotten", "a declined id is decided again", "A2", 10_000),
    Bug("expiry_off_by_one", "a hold can be posted at the nanosecond of its expiry", "A2", 100_000),
    Bug("filter_misses_an_id", "a filter of a partition's ids leaves out one in sixteen", "A2", 10_000),
    Bug("fingerprint_ignores_a_field", "another code under the same id is taken for a retry", "A2", 50_000),
    Bug(
        "hash_order_in_the_journal",
        "a group's holds are resolved in the order of their hashes",
        "A4",
        100_000,
        "rows",
    ),
    Bug("hold_expired_twice", "a hold's expiry is recorded twice", "A2", 10_000),
    Bug("limit_off_by_one", "a limit is compared with >= where > is meant", "A2", 10_000),
    Bug("part_keeps_its_rest", "a post in part does not release the rest", "A2", 10_000),
    Bug("reversal_sum_not_kept", "what was reversed earlier in the batch does not count", "A2", 10_000),
    Bug("root_over_other_rows", "the Merkle root leaves out the first row", "A2", 10_000),
    Bug("sum_wraps", "a sum of credits wraps around instead of being refused", "A2", 100_000),
    Bug("tenant_not_checked", "a tenant resolves another's hold", "A2", 10_000),
    Bug("undo_misses_a_field", "undo does not bring back when the last imported account was opened", "A2", 100_000),
    Bug("window_off_by_one", "an id of the very millisecond that the window let go of counts as new", "A2", 10_000),
)
UNSEEN_BY_A1: Final = frozenset({"filter_misses_an_id", "hash_order_in_the_journal"})
"""Its books seal no partitions. And its model has no order of its own to hold against the engine's: only two builds
differ."""
A1_CYCLES: Final = 12
