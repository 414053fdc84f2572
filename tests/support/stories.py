"""Stories in SQL: what happens over HTTP and what an analyst with psql then sees, in one file that runs.

A file of docs/stories is SQL for psql. Besides, `--> POST /v1/... {...}` is a call that the runner makes, where
`:name` stands for what `\\set name` said; `--<` is what was answered, and `--|` what psql printed. The last two are
written by the runner: a story is right if running it gives the file again.
"""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from tests.server.talk import Talker
from tests.support.clusters import Database

STORIES = sorted((Path(__file__).resolve().parents[2] / "docs" / "stories").glob("*.sql"))
CALL, ANSWER, OUTPUT = "-->", "--<", "--|"
PSQL_TIMEOUT_S = 60.0


def psql_of(database: Database) -> Path:
    """PostgreSQL's own tool, if it came with this PostgreSQL."""
    return database.postgres.cluster.binaries.bin_dir / "psql"


def psql(database: Database, dsn: str, script: str) -> str:
    """What psql prints; it must find nothing wrong."""
    command = [psql_of(database), "--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "--file", "-", dsn]
    done = subprocess.run(command, input=script, capture_output=True, text=True, check=False, timeout=PSQL_TIMEOUT_S)
    assert done.returncode == 0, f"{script}\n{done.stderr}"
    return done.stdout


@dataclass
class Teller:
    """Runs one story after the other against one server."""

    database: Database
    talker: Talker
    told: list[str] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)

    def tell(self, story: str) -> str:
        """The story as it is when its answers and outputs are those of now."""
        self.told, self.names = [], {}
        lines = [line for line in story.splitlines() if not line.startswith((ANSWER, OUTPUT))]
        statement: list[str] = []
        settings: list[str] = []
        for place, line in enumerate(lines):
            self.told.append(line)
            following = lines[place + 1] if place + 1 < len(lines) else ""
            if line.startswith(CALL):
                statement.append(line.removeprefix(CALL).strip())
                if not re.match(rf"{CALL} {{2,}}", following):
                    self._call(" ".join(statement))
                    statement = []
            elif found := re.match(r"\\set (\w+) '?([^']*)'?$", line):
                self.names[found[1]] = found[2]
                settings.append(line)
            elif line.startswith("SET "):
                settings.append(line)
            elif line.strip() and not line.startswith("--"):
                statement.append(line)
                if line.endswith(";"):
                    self._show("\n".join([*settings, *statement]) + "\n")
                    statement = []
        assert not statement, f"this statement has no end: {statement}"
        return "\n".join(self.told) + "\n"

    def _call(self, call: str) -> None:
        for name in sorted(self.names, key=len, reverse=True):
            call = call.replace(f":{name}", self.names[name])
        method, path, body = call.split(maxsplit=2)
        answer = self.talker.call(method, path, json.loads(body))
        said = answer.json
        words = [str(answer.status)] + ([said["code"]] if answer.status >= 400 else [])
        if "results" in said:
            words.append(f"{said['accepted']} accepted, {said['declined'] + said['refused']} not")
        self.told.append(f"{ANSWER} {' '.join(words)}")

    def _show(self, script: str) -> None:
        for line in psql(self.database, self.database.reader_dsn, script).rstrip("\n").splitlines():
            self.told.append(f"{OUTPUT} {line}".rstrip())
