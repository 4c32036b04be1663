"""Benchmarks, run by hand: `python -m tests.benchmarks [part ...]`.

Each part prints figures and ratios of alternatives that ran side by side in one process, the
best or the median of several rounds as it says. Nothing here is a test; but one sees that each part
runs: it gives a part's own names the values of its `SMALLEST`, and its `main` each of its `WORDS`.
"""
