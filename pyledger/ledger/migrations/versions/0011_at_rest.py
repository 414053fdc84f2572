"""A partition is closed or moved on, never both. What it does is in the .sql file of the same name."""

from pathlib import Path

from pyledger.ledger.migrations import run_script

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward; there is no way back."""
    run_script(Path(__file__).with_suffix(".sql"))
