"""Judges a history by the log that survived it.

Guarded here: the judge knows nothing of protocols, only what clients heard and what is recorded.
"""

from __future__ import annotations

from pyledger.ledger.nouns import Position
from tests.faults.simulation.world import World


def judge(world: World) -> list[str]:
    """What was wrong with a history that has ended."""
    found = list(world.violations)
    log = [entry for entry in world.server.log if entry.token]
    previous = bytes(32)
    for place, entry in enumerate(log, 1):
        if entry.head.position.seq != place or entry.previous != previous:
            found.append(f"the log forks or has a gap at batch {entry.head.position.seq}")
        previous = entry.head.position.hash
    recorded = [entry.token for entry in log]
    if len(set(recorded)) < len(recorded):
        found.append("a token was recorded twice")
    if not world.lossy:
        found += _lost(world, {entry.token: entry.head.position for entry in log})
    return found


def _lost(world: World, recorded: dict[str, Position]) -> list[str]:
    found = []
    positions = set(recorded.values())
    for token, seq, hashed in world.acknowledged:
        if token not in recorded:
            found.append(f"{token} was acknowledged and is not in the log")
        if Position(seq, hashed) not in positions:
            found.append(f"{token} was acknowledged at batch {seq}, which is not in the log")
    return found
