"""HTTP in front of the ledger: bytes to verbs and back. No rule about money lives here.

Read `operations.py` first: the one table of what can be asked. `router.py` finds the row, `handlers/`
does what it says, `main.py` starts and stops the whole. Imported as `pyledger.server` only.
"""
