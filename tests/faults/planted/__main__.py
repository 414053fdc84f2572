"""`python -m tests.faults.planted BUG serve ...` is `pyledger serve`, with a bug of server.py or core.py."""

import sys

from tests.faults.planted.extension import load
from tests.faults.planted.server import PLANTS

if __name__ == "__main__":
    if sys.argv[1] in PLANTS:
        PLANTS[sys.argv[1]]()
    else:
        load(sys.argv[1])
    from pyledger import cli

    sys.exit(cli.main(sys.argv[2:]))
