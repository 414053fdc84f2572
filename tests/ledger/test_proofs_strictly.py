"""A verifier takes one document in one way only, and a row is read no laxer than it is written."""

from __future__ import annotations

import asyncio
import json
import struct
import sys
from pathlib import Path

import pytest

from pyledger.ledger.proofs.document import BadProof, verify
from pyledger.ledger.proofs.rows import BadRow, read_row
from tests.ledger.test_proofs import a_batch_each, id_of, make_key, make_more, proof_of, signing
from tests.ledger.tools import fields, make_accounts, resolve, transfer, transfers
from tests.support.clusters import Database


async def test_a_document_says_everything_once_and_in_one_way(database: Database, tmp_path: Path) -> None:
    file, key = make_key(tmp_path)
    async with signing(database, file) as ledger:
        document = await proof_of(ledger, (await a_batch_each(ledger, 1))[0])
    verify(document, [key])
    twice = document.replace(b'"row_index":', b'"row_index":9,"row_index":')
    with pytest.raises(BadProof, match="stands twice"):
        verify(twice, [key])
    for changed in ("\n", "0", " "):
        for name in ("leaf", "hash", "first_ns"):
            told = json.loads(document)
            held = told if name == "leaf" else told["batch"]
            held[name] = changed + held[name] if name == "first_ns" else held[name] + changed
            with pytest.raises(BadProof, match="no document of this kind"):
                verify(json.dumps(told).encode(), [key])


async def test_a_declined_transfer_is_not_taken_for_an_accepted_one(database: Database, tmp_path: Path) -> None:
    file, key = make_key(tmp_path)
    async with signing(database, file) as ledger:
        debit, credit = await make_accounts(ledger)
        (poor, _) = await make_more(ledger, flags=["debits_must_not_exceed_credits"])
        declined, accepted = transfer(poor, credit, 5), transfer(debit, credit, 5)
        for asked, code in ((declined, 1), (accepted, 0)):
            await ledger.writer.submit(asked)
            path = tmp_path / "proof.json"
            path.write_bytes(await proof_of(ledger, asked.ids[0]))
            for more, expected in (((), 0), (("--accepted",), code)):
                done = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "pyledger.cli", "verify", "--proof", str(path), "--key", str(key), *more),
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.PIPE,
                )
                _, said = await done.communicate()
                assert done.returncode == expected, said
                assert (b"was declined: exceeds_credits" in said) == bool(expected)


Columns = list[bytes | None]


def columns(leaf: bytes) -> Columns:
    found: Columns = []
    at = 2
    while at < len(leaf):
        (length,) = struct.unpack_from(">i", leaf, at)
        at += 4 + max(0, length)
        found.append(None if length < 0 else leaf[at - length : at])
    return found


def packed(values: Columns) -> bytes:
    parts = [struct.pack(">i", -1) if each is None else struct.pack(">i", len(each)) + each for each in values]
    return struct.pack(">h", len(values)) + b"".join(parts)


def numeric(*parts: int) -> bytes:
    return struct.pack(f">{len(parts)}h", *parts)


WRONG: list[tuple[int, bytes | None]] = [
    (0, b"\xff\xff"), (1, bytes(8)), (2, b"\xff" * 8), (2, bytes(8)), (3, bytes(16)), (4, bytes(4)),
    (5, b"\0\x02"), (5, b"\0\x09"), (6, b"\0\x01"), (6, b"\0\x3b"), (6, b"\0\x3d"), (7, bytes(16)),
    (9, numeric(0, 1, 0, 0)), (9, numeric(1, 0, 0, 0, 0)), (9, numeric(1, 0, 0, 0, 10_000)),
    (9, numeric(1, 0, 0, 0, -1)), (9, numeric(2, 1, 0, 0, 0, 1)), (9, numeric(2, 1, 0, 0, 1, 0)),
    (9, numeric(1, 9, 0, 0, 341)), (10, bytes(16)), (11, b"\xff" * 4), (12, b"\0\1\0\0"), (13, b"\0\1\0\0"),
    (14, b"\xff" * 4), (15, bytes(8)), (15, b"\xff" * 8), (16, bytes(15)), (17, b""), (17, b"x" * 129),
    (18, b""), (18, b"x" * 1025), (19, None), (20, None), (19, b"\2\0\1\0\0\0"), (20, b"\x11" + b"\1" * 17 + bytes(3)),
]  # fmt: skip


async def test_a_row_is_read_no_laxer_than_it_is_written(database: Database, tmp_path: Path) -> None:
    file, _ = make_key(tmp_path)
    async with signing(database, file) as ledger:
        debit, credit = await make_accounts(ledger)
        rows = [fields(debit, credit, each) for each in (1, 10_000, 10**30, 2**64 + 1)]
        rows.append(fields(debit, credit, 2**120, flags=["pending"], timeout_s=60, reference="ä", metadata={"a": 1}))
        await ledger.writer.submit(transfers(rows))
        voided = id_of(await ledger.writer.submit(resolve("void", rows[-1]["id"])))
        leaves = [
            bytes.fromhex(json.loads(await proof_of(ledger, each))["leaf"])
            for each in (*(row["id"] for row in rows), voided)
        ]
    for leaf in leaves:
        read_row(leaf)
        for status, final in ((59, True), (1, False), (61, False)):
            declined = columns(leaf)
            declined[6], declined[19:] = struct.pack(">h", status), [None, None]
            if final:
                assert read_row(packed(declined))[2].outcome == "exceeds_credits"
                continue
            with pytest.raises(BadRow):
                read_row(packed(declined))
        assert packed(columns(leaf)) == leaf
        for column, value in WRONG:
            changed = columns(leaf)
            changed[column] = value
            with pytest.raises(BadRow):
                read_row(packed(changed))
