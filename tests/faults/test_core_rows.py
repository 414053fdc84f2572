"""The rows about the core can fail: each planted bug of it is caught, as soon as is said, by the row that is said.

Guarded here too: none of them is in what is shipped.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

from pyledger import _rust
from tests.faults import cargo
from tests.faults.planted import Bug
from tests.faults.planted.core import BUGS
from tests.faults.rows.a4_same_in_all_builds import differences

SEED: Final = "20261121"
SOURCE: Final = cargo.ROOT / "rust_ext/core/src"
pytestmark = pytest.mark.skipif(cargo.needs() is not None, reason=str(cargo.needs()))


def test_every_planted_bug_is_listed() -> None:
    text = "".join(path.read_text("utf-8") for path in SOURCE.rglob("*.rs") if path.name != "planted.rs")
    planted = re.findall(r'planted!\(\s*"(\w+)"', text)
    assert sorted(planted) == sorted(bug.name for bug in BUGS)


def test_none_is_in_the_library_that_is_shipped() -> None:
    library = Path(_rust.__file__).read_bytes()
    assert b"idempotency_conflict" in library, "names can be found in it"
    assert not [bug.name for bug in BUGS if bug.name.encode() in library]
    assert not hasattr(_rust, "plant")


def test_all_are_in_the_program_that_is_planted() -> None:
    program = cargo.built("campaign", planted=True).read_bytes()
    assert not [bug.name for bug in BUGS if bug.name.encode() not in program]


@pytest.mark.parametrize("bug", [bug for bug in BUGS if bug.row == "A2"], ids=lambda bug: bug.name)
async def test_the_oracle_catches_it(bug: Bug) -> None:
    program = cargo.built("campaign", planted=True)
    operations = str(bug.within)
    said = await cargo.said(program, "oracle", "--seed", SEED, "--operations", operations, "--planted", bug.name)
    assert said["wrong"], f"{bug.what}: not seen in {said['operations']} operations"


async def test_without_a_bug_there_is_no_difference() -> None:
    program = cargo.built("campaign", planted=True)
    said = await cargo.said(program, "oracle", "--seed", SEED, "--operations", "300000")
    assert not said["wrong"]
    assert said["operations"] >= 300_000


@pytest.mark.parametrize("bug", [bug for bug in BUGS if bug.row == "A4"], ids=lambda bug: bug.name)
async def test_two_builds_differ_by_it(bug: Bug) -> None:
    programs = [cargo.built(profile, planted=True) for profile in ("campaign", "dev")]
    arguments = ["sameness", "--seed", SEED, "--rows", str(bug.within), "--hash-seed"]
    bugged = [await cargo.said(each, *arguments, str(at), "--planted", bug.name) for at, each in enumerate(programs)]
    assert differences(bugged), bug.what
    assert not differences([await cargo.said(each, *arguments, str(at)) for at, each in enumerate(programs)])
