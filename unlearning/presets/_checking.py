"""Whether a preset's file of the user's holds hyper-parameters of algorithms and nothing else."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Collection, Mapping
from typing import Any

from unlearning import algorithms
from unlearning.algorithm import Algorithm
from unlearning.errors import UserError
from unlearning.naming import nearest


def check(tables: Mapping[str, Any], path: str, others: Collection[str] = ()) -> None:
    """Raise UserError for a table that is no algorithm's, and for what no algorithm accepts.

    Args:
        others: names of algorithms beside those that are listed.
    """
    known = sorted({*algorithms.names(), *others})
    for name, table in tables.items():
        if not isinstance(table, dict):
            raise UserError(
                f"preset {path} has '{name}' outside of a table: write it below the name of its "
                "algorithm, such as [ga]"
            )
        if name not in known:
            raise UserError(
                f"preset {path} has a table of the algorithm '{name}'{nearest(name, known)}, which "
                f"is none of {', '.join(known)}: change it, or ask for your own with --algorithm"
            )
        _check_settings(algorithms.get(name), table, path)


def _check_settings(algorithm: type[Algorithm], table: Mapping[str, Any], path: str) -> None:
    types = typing.get_type_hints(algorithm)
    for field in dataclasses.fields(algorithm):
        value, wanted = table.get(field.name, field.default), types[field.name]
        accepted = (int, float) if wanted is float else wanted
        if isinstance(value, bool) or not isinstance(value, accepted):
            raise UserError(
                f"preset {path}: {algorithm.name}.{field.name} is {value!r}: it takes a value of "
                f"type {wanted.__name__}"
            )
    try:
        algorithm.from_text(table)
    except UserError as error:
        raise UserError(f"preset {path}: {error}") from error
