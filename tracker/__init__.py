"""Sweeps, their record in MLflow, and the command line. No other package imports MLflow or click.

Its packages are access, record, base, sweeping, reading and cli; each imports only those before it.
"""

__version__ = "0.1.0"
