"""Partitions that end, and their indexes. What it does stands in the .sql file of the same name."""

from pathlib import Path

from pyledger.ledger.migrations import run_script

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward; there is no way back."""
    run_script(Path(__file__).with_suffix(".sql"))
