"""What MLflow says and how long it waits while a store is open. It takes both from the process."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

QUIET = {
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # stdout is data
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",  # one a file
}
WAITING = ("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "MLFLOW_HTTP_REQUEST_TIMEOUT")
# Below these levels are remarks on every new table, and tracebacks of errors that we get too.
LEVELS = {
    "mlflow": logging.WARNING,
    "alembic": logging.WARNING,
    "mlflow.store.db.utils": logging.CRITICAL,
    "urllib3": logging.ERROR,
}


def settle_mlflow(limit_s: float | None = None) -> None:
    """Set what MLflow says, and how long it waits for a server; done when a store is opened."""
    os.environ.update(QUIET)
    if limit_s is not None:  # else it would wait by itself, for minutes and in silence
        os.environ.update(zip(WAITING, ("0", f"{max(1, round(limit_s))}"), strict=True))
    for name, level in LEVELS.items():
        logging.getLogger(name).setLevel(level)


@contextmanager
def given_back() -> Iterator[None]:
    """A context in which stores are opened: after it all settings are as before."""
    variables = {name: os.environ.get(name) for name in (*QUIET, *WAITING)}
    levels = {name: logging.getLogger(name).level for name in LEVELS}
    try:
        yield
    finally:
        os.environ.update({name: value for name, value in variables.items() if value is not None})
        for name in [name for name, value in variables.items() if value is None]:
            os.environ.pop(name, None)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
