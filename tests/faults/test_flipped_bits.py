"""Row C10 and its tools: bits are really flipped, PostgreSQL does not notice, and a check or a server that is blind
is."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest

from tests.faults import damage, pages, values
from tests.faults.ground import Ground, ground
from tests.faults.nouns import Run
from tests.faults.rows import c10_flipped_bits as row

SEED = 11


@pytest.fixture
async def place(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ground]:
    from tests.faults.running import own_directory

    with own_directory() as directory:
        async with ground(directory) as made:
            yield made


async def relations(place: Ground) -> list[Path]:
    async with place.connected() as connection:
        await connection.execute("SELECT pyledger.open_shard(0::int2)")
        await connection.execute("CHECKPOINT")
        found = [row for kind in "ri" for row in await connection.fetch(damage.RELATIONS, kind, "")]
    return [place.cluster.directory / row["path"] for row in found]


async def test_our_checksum_is_postgresqls(place: Ground) -> None:
    paths = await relations(place)
    await place.cluster.stop()
    seen = 0
    for path in paths:
        for number in range(path.stat().st_size // pages.PAGE_BYTES):
            page = pages.read(path, number)
            if pages.used(page):
                stored = int.from_bytes(page[pages.CHECKSUM_AT : pages.CHECKSUM_AT + 2], "little")
                assert pages.checksum(page, number) == stored, path
                seen += 1
    assert seen > 5
    await place.cluster.start()


@pytest.mark.parametrize("fitting", [True, False])
async def test_a_flip_changes_one_bit_and_is_noticed_by_its_checksum_only(place: Ground, fitting: bool) -> None:
    paths = await relations(place)
    await place.cluster.stop()
    path = next(path for path in paths if path.stat().st_size)
    before = path.read_bytes()
    flip = pages.flip(path, random.Random(SEED), fitting=fitting)
    after = path.read_bytes()
    assert flip is not None
    start = flip.page * pages.PAGE_BYTES
    changed = {at - start for at, pair in enumerate(zip(before, after, strict=True)) if pair[0] != pair[1]}
    assert before[start + flip.byte] ^ after[start + flip.byte] == 1 << flip.bit
    assert changed - {pages.CHECKSUM_AT, pages.CHECKSUM_AT + 1} == {flip.byte}
    stored = int.from_bytes(after[start + pages.CHECKSUM_AT :][:2], "little")
    assert (stored == pages.checksum(after[start : start + pages.PAGE_BYTES], flip.page)) is fitting
    path.write_bytes(before)
    await place.cluster.start()


FLIPPED: list[tuple[object, str]] = [
    (7, "integer"),
    (-1, "bigint"),
    (0, "smallint"),
    (Decimal(12), "numeric"),
    (UUID(int=5), "uuid"),
]
FLIPPED += [("EUR", "text"), (b"\0\xff", "bytea"), (b"", "bytea"), (None, "bytea"), (None, "numeric")]


def test_a_value_is_another_in_one_bit() -> None:
    chance = random.Random(SEED)
    for value, kind in FLIPPED:
        for _ in range(100):
            assert values.flipped(value, kind, chance) != value
    assert {values.flipped(0, "smallint", chance) for _ in range(500)} == {*(1 << bit for bit in range(15)), -(1 << 15)}


async def test_it_notices_a_check_and_a_server_that_are_blind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: Ground
) -> None:
    asked = Run(SEED, 4, place.directory)
    books = await row.fill(place, asked)
    number = list(row.KINDS).index("checkpoint_value")
    sees = row.check_books

    async def blind(place: Ground) -> tuple[int | None, str]:
        return 0, "all is well"

    try:
        honest = await row.flipped(books, number, asked.chance(number))
        assert honest.violations == []
        assert honest.notes["harmful"] == honest.notes["refused"] == honest.notes["found"] == 1
        monkeypatch.setattr(row, "check_books", blind)
        cycle = await row.flipped(books, number, asked.chance(number))
        assert [each for each in cycle.violations if each.startswith("check finds nothing")]
        monkeypatch.setattr(row, "check_books", sees)
        # As if the server showed something else than it did before the flip.
        name = next(name for name in books.served if damage.is_state(name))
        books.served[name] = "{}"
        number = list(row.KINDS).index("journal_page")
        cycle = await row.flipped(books, number, asked.chance(number))
        assert [each for each in cycle.violations if each.startswith(f"served: {name}")], cycle
    finally:
        await books.drop()
