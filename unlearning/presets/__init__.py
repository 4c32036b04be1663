"""Named sets of hyper-parameters, as data: one TOML file each, a table an algorithm.

Ours are the files of this folder. A file of the user's, such as `indelible tune` writes, is one as
well: what ends in `.toml` or has a path separator in it is a path.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Collection
from pathlib import Path
from typing import Any

from unlearning import algorithms
from unlearning.architectures import as_name
from unlearning.errors import UserError
from unlearning.hyperparameters import Setting
from unlearning.naming import nearest

OWN = "own"  # stands for all data sets of the user's own
TRAINING = "train"  # the table that is no algorithm's
_FOLDER = Path(__file__).parent
_SUFFIX = ".toml"


def names() -> list[str]:
    """The presets there are."""
    return sorted(path.stem for path in _FOLDER.glob(f"*{_SUFFIX}"))


def is_file(name: str) -> bool:
    """Whether a preset is a file of the user's, and its name a path."""
    return name.endswith(_SUFFIX) or os.sep in name or "/" in name


def load(name: str, others: Collection[str] = ()) -> dict[str, dict[str, Setting]]:
    """Hyper-parameters by algorithm; what a preset leaves out keeps the algorithm's default.

    Args:
        others: names of algorithms that are asked for, which may be known by no list of names.

    Raises UserError where there is no such preset, or where its file is none.
    """
    tables = {key: table for key, table in _read(name).items() if key != TRAINING}
    if not is_file(name):
        return tables
    known = sorted({*algorithms.names(), *others})
    for algorithm, table in tables.items():
        if algorithm not in known or not isinstance(table, dict):
            raise UserError(
                f"preset {name} has '{algorithm}'{nearest(algorithm, known)}, which is no table of "
                f"an algorithm, one of {', '.join(known)}: ask for your own with --algorithm"
            )
        try:
            algorithms.get(algorithm).from_text(table)
        except UserError as error:
            raise UserError(f"preset {name}: {error}") from error
    return tables


def recipe(name: str, dataset: str) -> dict[str, Any]:
    """How the preset trains on a data set: `arch`, `train_samples`, and fields of a Recipe.

    All of the user's own, folder:PATH and npz:PATH, are trained on alike. Raises UserError where it
    says nothing of the data set.
    """
    if is_file(name):
        raise UserError(f"--preset is {name}: training takes one of {', '.join(names())}")
    known = _read(name).get(TRAINING, {})
    key = OWN if ":" in dataset else dataset
    if key not in known:
        others = ", ".join(sorted(known.keys() - {OWN})) or "none"
        raise UserError(
            f"preset '{name}' says nothing of training on '{dataset}': it knows {others}"
        )
    return dict(known[key])


def made_for(dataset: str, arch: str) -> list[str]:
    """The presets that were made for an architecture on a data set: it is the one they train."""
    trained = {name: _read(name).get(TRAINING, {}).get(dataset, {}) for name in names()}
    return [name for name, r in trained.items() if as_name(r.get("arch", "")) == as_name(arch)]


def standing(name: str, dataset: str, arch: str) -> str:
    """Whether the preset was made for the architecture on the data set, in words."""
    made = name in made_for(dataset, arch)
    return f"{'made for' if made else 'untested on'} {dataset} with {arch}"


def _read(name: str) -> dict[str, Any]:
    if not is_file(name) and name not in names():
        raise UserError(
            f"unknown preset '{name}'{nearest(name, names())}: choose one of {', '.join(names())}, "
            f"or give the path of a file that ends in {_SUFFIX}"
        )
    path = Path(name) if is_file(name) else _FOLDER / f"{name}{_SUFFIX}"
    try:
        return tomllib.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError) as error:  # ValueError: of the encoding, or of TOML
        raise UserError(f"preset {path} cannot be read as TOML in UTF-8: {error}") from error
