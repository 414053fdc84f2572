"""Named SQL: each room's statements stand in its `queries.sql`, under lines that read `-- name: ...`.

Guards: a name stands once, a statement is not empty, and no SQL hides in Python.
"""

from __future__ import annotations

import re
from importlib import resources

_NAME = re.compile(r"^-- name: ([a-z][a-z0-9_]*)\s*$", re.MULTILINE)


def named_queries(package: str, file: str = "queries.sql") -> dict[str, str]:
    """The statements of a package's file, by name. A file that is not of this form is a bug."""
    parts = _NAME.split((resources.files(package) / file).read_text("utf-8"))
    names, bodies = parts[1::2], [body.strip() for body in parts[2::2]]
    assert len(set(names)) == len(names), f"{package}/{file}: a name stands twice"
    assert all(bodies), f"{package}/{file}: a name without a statement"
    return dict(zip(names, bodies, strict=True))
