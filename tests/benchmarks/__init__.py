"""Benchmarks, run by hand: `python -m tests.benchmarks [part ...]`.

Each part prints figures and ratios of alternatives that ran side by side in one process, the
best or the median of several rounds as it says. Nothing here is a test.
"""
