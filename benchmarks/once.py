"""The proof of a long run, piece by piece: each acknowledged id of a piece stands in its part of the journal, once.

Guarded here: as in `proof.py`, what was answered is held against what PostgreSQL stores. The parts leave no gap, and no
part has a row that was not acknowledged.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from benchmarks.nouns import ProofFailed
from benchmarks.proof import QUERIES
from benchmarks.service import Service

PROOF_S_MAX: Final = 300


class Once:
    """What is posted from `begin` on. The service's own connection has the ids of a piece in a table."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._mark_ns = 0
        self.pieces: list[tuple[list[Path], int, int]] = []
        """Not proven yet: files of acknowledged ids, and after when and until when their rows were recorded."""
        self.proven = 0

    async def begin(self) -> None:
        """Before the first piece."""
        await self._service.database.execute(QUERIES["prepare_proof"])
        self._mark_ns = await self._service.mark_ns()

    async def keep(self, files: list[Path]) -> None:
        """A piece was posted."""
        after_ns, self._mark_ns = self._mark_ns, await self._service.mark_ns()
        self.pieces.append((files, after_ns, self._mark_ns))

    async def prove(self) -> None:
        """All that is not proven yet. Raises `ProofFailed`."""
        while self.pieces:
            await self._prove(*self.pieces.pop(0))

    async def _prove(self, files: list[Path], after_ns: int, until_ns: int) -> None:
        database, part = self._service.database, (after_ns, until_ns)
        await database.execute(QUERIES["prepare_proof"])
        for path in files:
            with path.open("rb") as source:
                await database.copy_to_table("acknowledged", source=source, format="binary")
            path.unlink()
        await database.execute(QUERIES["analyze_proof"])
        acknowledged = await database.fetchval(QUERIES["acknowledged_ids"])
        recorded = await database.fetchval(QUERIES["rows_of_part"], *part)
        found = dict(await database.fetchrow(QUERIES["found_in_part"], *part, timeout=PROOF_S_MAX))
        if found["lost"] or found["other_outcome"] or not found["found"] == acknowledged == recorded:
            raise ProofFailed("ids", [f"{acknowledged} acknowledged, {recorded} recorded, {found}"])
        self.proven += acknowledged
