"""The judge of what clients saw: a program of its own, which shares no code with the server.

It reads the log of the clients and, through SQL, the journal; replays the journal through the model of
tests/model; and says of every attempt whether what was answered can be true. `judge.py` is where to begin.
"""
