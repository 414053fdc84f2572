"""`python -m tests.faults.planted BUG serve ...` is `pyledger serve`, with a bug: see server.py."""

import sys

from tests.faults.planted.server import PLANTS

if __name__ == "__main__":
    PLANTS[sys.argv[1]]()
    from pyledger import cli

    sys.exit(cli.main(sys.argv[2:]))
