"""What MLflow says and how long it waits while a store is open. It takes both from the process."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

QUIET = {
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # stdout is data
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",  # one a file
}
# Below these levels are remarks on every new table, and tracebacks of errors that we get too.
LEVELS = {
    "mlflow": logging.WARNING,
    "alembic": logging.WARNING,
    "mlflow.store.db.utils": logging.CRITICAL,
    "urllib3": logging.ERROR,
}
DELETED_TWICE = "DELETE statement on table 'tags' expected to delete"  # by two processes at once

_open: list[None] = []  # an entry for each context of `given_back`
_before = ExitStack()  # puts back what the program had set itself


def settle_mlflow(limit_s: float | None) -> None:
    """Set what MLflow says, and how long it waits for a server; done when a store is opened."""
    variables = dict(QUIET)
    if limit_s is not None:  # else it would wait by itself, for minutes and in silence
        variables["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
        variables["MLFLOW_HTTP_REQUEST_TIMEOUT"] = f"{max(1, round(limit_s))}"
    _before.callback(os.environ.update, {k: v for k, v in os.environ.items() if k in variables})
    for variable, value in variables.items():
        _before.callback(os.environ.pop, variable, None)
        os.environ[variable] = value
    for name, level in LEVELS.items():
        logger = logging.getLogger(name)
        _before.callback(logger.setLevel, logger.level)
        logger.setLevel(level)
    warnings.filterwarnings("ignore", DELETED_TWICE, append=True)


@contextmanager
def given_back() -> Iterator[None]:
    """A context in which stores are opened: after the last one all settings are as before."""
    if not _open:
        _before.pop_all()  # what was opened outside of any stays as it is
    _open.append(None)
    try:
        yield
    finally:
        _open.pop()
        if not _open:
            _before.close()
