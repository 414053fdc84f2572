"""Load tests: Locust users, load shapes, and gates for latency, durability, balance and cost.

`make load` starts a server of its own, drives it with `locustfile.py`, proves the books, judges the run
against `slo.toml`, prices it with `prices.toml`, and writes a report to `out/`. The locustfile by itself runs
against any URL, as Locust files do.
"""
