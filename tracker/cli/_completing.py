"""What a shell offers for the beginning of a word.

It is asked at each press of a key: neither torch, MLflow nor DuckDB is imported, and a store is
looked into without writing anything, also beside its file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import click

from unlearning import algorithms, architectures, datasets, presets
from unlearning.naming import LATEST

NAMES = """
    select distinct r.name from runs as r
    join tags as t on t.run_uuid = r.run_uuid and t.key = 'kind' and t.value = ?
    where r.lifecycle_stage = 'active' order by r.start_time desc
"""

Completion = Callable[[click.Context, click.Parameter, str], list[str]]


def _runs(kind: str, *words: str) -> Completion:
    """Completes to these words, and to the names of the store's runs of a kind, newest first.

    To no run where the store is no file, or cannot be read.
    """

    def complete(context: click.Context, option: click.Parameter, begun: str) -> list[str]:
        given, names = context.find_root().params, [*words]
        if given.get("store") and not given.get("tracking_uri"):
            file = Path(given["store"]).absolute() / "mlflow.db"
            # Immutable: no lock is taken, and no file -wal or -shm is made beside it.
            uri = f"{file.as_uri()}?mode=ro&immutable=1"
            with suppress(sqlite3.Error), closing(sqlite3.connect(uri, uri=True)) as database:
                names += [name for (name,) in database.execute(NAMES, (kind,))]
        return [name for name in names if name.startswith(begun)]

    return complete


def _listed(names: Callable[[], list[str]]) -> Completion:
    """Completes to these names."""
    return lambda context, option, begun: [name for name in names() if name.startswith(begun)]


COMPLETIONS: dict[str, Completion] = {  # by what a command's option says that it completes to
    "sweeps": _runs("sweep", LATEST),
    "all sweeps": _runs("sweep", LATEST, "all"),
    "models": _runs("base_model", LATEST),
    "algorithms": _listed(algorithms.names),
    "presets": _listed(presets.names),
    "datasets": _listed(datasets.names),
    "architectures": _listed(architectures.names),
}
