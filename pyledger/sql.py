"""Named queries: SQL stands in .sql files, a query under each line `-- name: <name>`.

Guarded here: a name is unique in its file and its query is not empty, or the import fails.
"""

import re
from importlib.resources import files
from types import MappingProxyType
from typing import Final

_NAME: Final = re.compile(r"^-- name: ([a-z][a-z0-9_]*)$", re.MULTILINE)


def parse(text: str) -> MappingProxyType[str, str]:
    """Split a file's text into its queries by name; comments at the top of a query stay out of it."""
    parts = _NAME.split(text)
    queries: dict[str, str] = {}
    for name, body in zip(parts[1::2], parts[2::2], strict=True):
        lines = [line for line in body.strip().splitlines() if not line.startswith("--")]
        query = "\n".join(lines).strip().removesuffix(";")
        if name in queries or not query:
            raise ValueError(f"query {name!r} is empty or named twice")
        queries[name] = query
    return MappingProxyType(queries)


def load(package: str, file: str = "queries.sql") -> MappingProxyType[str, str]:
    """Read the named queries of a package's file."""
    return parse(files(package).joinpath(file).read_text(encoding="utf-8"))
