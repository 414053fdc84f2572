"""The fault program: what must be survived, done to real parts, again and again, and what it came to.

`python -m tests.faults C1 --cycles 300 --seed 7` runs a row; `tests/faults/nouns.py` says how one is written.
"""
