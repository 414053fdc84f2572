"""Bulk in and out: files of transfers and accounts, by the million, in a bounded memory.

`import` sends them over HTTP with the client, `export` reads the database as a reader may. Nothing of money is
decided here: a row is what the API would take, and the ledger says what becomes of it.
"""
