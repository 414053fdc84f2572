"""pyledger: a double-entry ledger core on plain PostgreSQL.

The package holds everything that is true about money and nothing about HTTP. Importing it opens no
connection and starts nothing; each room is imported by its own name.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
