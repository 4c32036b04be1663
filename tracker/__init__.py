"""Sweeps, their record in MLflow and the command line: the only package that knows both.

Its rooms, each of which knows those before it only: access, record, base, sweeping, reading, cli.
"""

__version__ = "0.1.0"
