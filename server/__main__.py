"""`python -m pyledger.server`: the same as `pyledger serve`."""

import sys

from pyledger.server.main import main

if __name__ == "__main__":
    sys.exit(main())
