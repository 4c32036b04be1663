"""What a shell offers for the beginning of a word.

It is asked at each press of a key: neither torch, MLflow nor DuckDB is imported, and a store is
looked into without writing anything, also beside its file.
"""

from __future__ import annotations

import ast
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from importlib.util import find_spec
from pathlib import Path

import click

from unlearning import algorithms, architectures, datasets, presets
from unlearning.naming import LATEST

NAMED = """
    select
        case
            when r.name like ?2 || '%' and count(*) over (partition by r.name) = 1 then r.name
            else r.run_uuid
        end
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

    An id is offered where the word begins one, or where several runs have a name; no run where the
    store is no file, or cannot be read.
    """

    def complete(context: click.Context, option: click.Parameter, begun: str) -> list[str]:
        given, runs = context.find_root().params, []
        if given.get("store") and not given.get("tracking_uri"):
            file = Path(given["store"]).absolute() / "mlflow.db"
            # Immutable: no lock is taken, and no file -wal or -shm is made beside it.
            uri = f"{file.as_uri()}?mode=ro&immutable=1"
            with suppress(sqlite3.Error), closing(sqlite3.connect(uri, uri=True)) as database:
                runs = [run for (run,) in database.execute(NAMED, (kind, begun))]
        return [*(word for word in words if word.startswith(begun)), *runs]

    return complete


def completed(names: Callable[[], list[str]]) -> Completion:
    """Completes to these names."""
    return lambda context, option, begun: [name for name in names() if name.startswith(begun)]


def factor_names() -> list[str]:
    """The names of our factors, read from the source: importing it takes torch."""
    spec = find_spec("factors")
    folders = spec.submodule_search_locations or [] if spec else []
    calls = [
        node
        for folder in folders
        for file in Path(folder).glob("*.py")
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Column" and node.args
    ]
    names = (call.args[0].value for call in calls if isinstance(call.args[0], ast.Constant))
    return sorted(name for name in names if isinstance(name, str))


COMPLETIONS: dict[str, Completion] = {  # by what a command's option says that it completes to
    "sweeps": runs_completed("sweep", LATEST),
    "all sweeps": runs_completed("sweep", LATEST, "all"),
    "models": runs_completed("base_model", LATEST),
    "algorithms": completed(algorithms.names),
    "factors": completed(factor_names),
    "presets": completed(presets.names),
    "datasets": completed(datasets.names),
    "architectures": completed(architectures.names),
}
