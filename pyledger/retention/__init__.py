"""Retention: what leaves the database, when, and how it comes back or is proven without it.

Read `archiving.py` first: the order of the steps, which is all that keeps a row from being lost. An archive is a
directory that stands by itself (`writing.py`, `reading.py`, `manifest.py`); `policy.py` says what may go, `plan.py`
what is done next.
"""
