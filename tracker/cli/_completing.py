"""What a shell offers for the beginning of a word.

It is asked at each press of a key: neither torch, MLflow nor DuckDB is imported, and a store is
looked into without writing anything, also beside its file.
"""

from __future__ import annotations

import ast
import sqlite3
from collections.abc import Callable
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

import click

from unlearning import algorithms, architectures, datasets, presets
from unlearning.naming import LATEST

NAMED = """
    select r.run_uuid, r.name
    from runs as r
    join experiments as e on e.experiment_id = r.experiment_id
    join tags as t on t.run_uuid = r.run_uuid and t.key = 'kind'
    where
        e.name like 'indelible/%' and r.lifecycle_stage = 'active' and t.value = ?1
        and (substr(r.name, 1, length(?2)) = ?2 or substr(r.run_uuid, 1, length(?2)) = ?2)
    order by r.start_time desc, r.run_uuid
    limit 50
"""

Completion = Callable[[click.Context, click.Parameter, str], list[str]]


def runs_completed(kind: str, *words: str) -> Completion:
    """Completes to these words, and to the names of the store's runs of a kind, newest first.

    An id is offered where the word begins one, or where several runs have a name.
    """

    def complete(context: click.Context, option: click.Parameter, begun: str) -> list[str]:
        runs = _runs(context, kind, begun)
        names = [name for _, name in runs]
        offered = [
            name if name.startswith(begun) and names.count(name) == 1 else run_id
            for run_id, name in runs
        ]
        return [*(word for word in words if word.startswith(begun)), *offered]

    return complete


def _offered(names: Callable[[], list[str]]) -> Completion:
    """What a shell offers for the beginning of one of these names."""
    return lambda context, option, begun: [name for name in names() if name.startswith(begun)]


def _runs(context: click.Context, kind: str, begun: str) -> list[tuple[str, str]]:
    """Ids and names; nothing where the store is no file, or cannot be read."""
    given = context.find_root().params
    if given.get("tracking_uri") or not given.get("store"):
        return []
    file = Path(given["store"]).absolute() / "mlflow.db"
    # Immutable: no lock is taken, and no file -wal or -shm is made beside it.
    uri = f"{file.as_uri()}?mode=ro&immutable=1"
    try:
        with closing(sqlite3.connect(uri, uri=True)) as database:
            return database.execute(NAMED, (kind, begun)).fetchall()
    except sqlite3.Error:
        return []


def factor_names() -> list[str]:
    """The names of our factors, read from the source: importing it takes torch."""
    spec = find_spec("factors")
    folders = spec.submodule_search_locations or [] if spec else []
    files = [file for folder in folders for file in Path(folder).glob("*.py")]
    calls = [
        node
        for file in files
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Column" and node.args
    ]
    names = (call.args[0].value for call in calls if isinstance(call.args[0], ast.Constant))
    return sorted(name for name in names if isinstance(name, str))


COMPLETIONS: dict[str, Completion] = {  # by what a command's option says that it completes to
    "sweeps": runs_completed("sweep", LATEST),
    "all sweeps": runs_completed("sweep", LATEST, "all"),
    "models": runs_completed("base_model", LATEST),
    "algorithms": _offered(algorithms.names),
    "factors": _offered(factor_names),
    "presets": _offered(presets.names),
    "datasets": _offered(datasets.names),
    "architectures": _offered(architectures.names),
}
