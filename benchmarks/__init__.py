"""Benchmarks: what the README's numbers come from, with the baselines that free them of noise.

`python -m benchmarks` starts its own server and PostgreSQL, drives the workloads W1 to W9 over HTTP, proves
after each run that the books add up, and writes one JSON, one table and one page under `benchmarks/out/`.
"""
