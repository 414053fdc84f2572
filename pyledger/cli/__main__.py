"""`python -m pyledger.cli` is `pyledger`."""

import sys

from pyledger.cli import main

if __name__ == "__main__":
    sys.exit(main())
