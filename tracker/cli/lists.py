"""What there is: sweeps and base models in the store, algorithms, factors."""

from __future__ import annotations

import dataclasses
from contextlib import suppress
from typing import Any

from analysis.warehouse import open_warehouse
from factors import columns
from factors import provider as brings_family
from tracker.api.answers import Rows
from tracker.cli._output import only, show, with_short_ids
from tracker.cli._session import Session
from tracker.commands.ask import Algorithms, Factors, Models, Sweeps
from unlearning.algorithms import every, provider
from unlearning.errors import Failure, UserError

NO_SETTING = dict.fromkeys(("setting", "default", "accepts", "searched", "description"))


def sweeps(session: Session, asked: Sweeps, rows: Rows) -> None:
    """Print the sweeps of the store."""
    versions = ("engine_version", "precision")  # which tell sweeps apart
    told_apart = [name for name in versions if len({row[name] for row in rows}) > 1]
    came_to = ("status", "attempts", "flipped", "damaged", "mean_points_lost", "worst_points_lost")
    shown = only(rows, "run_id", "name", *told_apart, *came_to, "algorithms", "started")
    spare = ("algorithms", "started", "worst_points_lost")
    show(rows, asked.style, with_short_ids(shown, "run_id"), spare=spare)


def models(session: Session, asked: Models, rows: Rows) -> None:
    """Print the base models of the store, or where one was exported."""
    shown = rows if asked.export else only(rows, "run_id", "name", "test_accuracy", "started")
    show(rows, asked.style, with_short_ids(shown, "run_id"))


def algorithms(session: Session, asked: Algorithms) -> None:
    """Print the algorithms: a row a hyper-parameter, and one for an algorithm that has none."""
    rows = []
    for name, found in every().items():
        brings = provider(name)
        about = {
            "source": found.citation,
            "what": " ".join((found.__doc__ or "").split()),
            "provider": str(brings) if brings else None,
        }
        settings = [_setting(field) for field in dataclasses.fields(found)] or [NO_SETTING]
        rows += [{"algorithm": name} | setting | about for setting in settings]
    names = ("algorithm", "setting", "default", "accepts", "description")
    others = ("provider",) if any(row["provider"] for row in rows) else ()
    show(rows, asked.style, only(rows, *names, *others))


def _setting(field: dataclasses.Field[Any]) -> dict[str, Any]:
    """A hyper-parameter, and among which values `tune` looks for good ones."""
    accepts = field.metadata["accepts"]
    among = accepts.searched
    is_words = among is not None and isinstance(among[0], str)
    return {
        "setting": field.name,
        "default": field.default,
        "accepts": str(accepts),
        "searched": " or ".join(among) if is_words else str(among) if among else None,
        "description": accepts.description,
    }


def factors(session: Session, asked: Factors) -> None:
    """Print the factors, with what those known beforehand cost where the warehouse knows it."""
    costs: dict[str, float] = {}
    with suppress(UserError, Failure), open_warehouse(session.warehouse_path) as warehouse:
        costs = dict(warehouse.report("costs").rows)
    rows: list[dict[str, Any]] = []
    table: list[dict[str, Any]] = []
    for column in columns():
        cost = costs.get(column.family) if column.phase == "pre" else None
        row = {**dataclasses.asdict(column), "provider": brings_family(column.family)}
        row |= {"cost": cost} if costs else {}
        rows.append({name: str(value) if value else None for name, value in row.items()})
        table.append(rows[-1] | {"cost": cost})
    others = [name for name in ("cost", "provider") if any(row.get(name) for row in rows)]
    names = ("name", "title", "phase", "harder", *others, "family", "unit", "description")
    show(rows, asked.style, only(table, *names))
