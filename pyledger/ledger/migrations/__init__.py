"""Forward-only migrations: each revision executes the .sql file beside it, in one transaction."""

from pathlib import Path
from typing import Any

from alembic import op


def run_script(path: Path) -> None:
    """Execute a file of statements in the transaction of the migration.

    The driver's own `execute` takes many statements at once; SQLAlchemy's would only take one. Its
    transaction is already open: alembic has read the version in it."""
    script = path.read_text(encoding="utf-8")
    adapted: Any = op.get_bind().connection.dbapi_connection
    adapted.run_async(lambda driver: driver.execute(script))
