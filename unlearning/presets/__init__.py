"""Named sets of hyper-parameters, as data: one TOML file each, a table an algorithm."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearning.errors import UserError
from unlearning.naming import nearest

if TYPE_CHECKING:
    from unlearning.algorithm import Setting

OWN = "own"  # stands for all data sets of the user's own
_FOLDER = Path(__file__).parent


def names() -> list[str]:
    """The presets there are."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def load(name: str) -> dict[str, dict[str, Setting]]:
    """Hyper-parameters by algorithm; what a preset leaves out keeps the algorithm's default."""
    return {key: table for key, table in _read(name).items() if key != "train"}


def recipe(name: str, dataset: str) -> dict[str, Any]:
    """How the preset trains on a data set: `arch`, `train_samples`, and fields of a Recipe.

    All of the user's own, folder:PATH and npz:PATH, are trained on alike. Raises UserError where it
    says nothing of the data set.
    """
    known = _read(name).get("train", {})
    key = OWN if ":" in dataset else dataset
    if key not in known:
        raise UserError(
            f"preset '{name}' says nothing of training on '{dataset}'"
            + (f": it does of {', '.join(_said(known))}" if known else "")
        )
    return dict(known[key])


def made_for(dataset: str) -> list[str]:
    """The presets that were made for a data set: of its name, or with its training."""
    return [name for name in names() if dataset in (name, *_read(name).get("train", {}))]


def standing(name: str, dataset: str) -> str:
    """Whether the preset was made for the data set, in words."""
    return f"{'made for' if name in made_for(dataset) else 'untested on'} {dataset}"


def _said(known: Mapping[str, Any]) -> list[str]:
    """The data sets, as they are given to `train`."""
    own = ["folder:PATH", "npz:PATH"] if OWN in known else []
    return sorted(known.keys() - {OWN}) + own


def _read(name: str) -> dict[str, Any]:
    if name not in names():
        raise UserError(
            f"unknown preset '{name}'{nearest(name, names())}: choose one of {', '.join(names())}"
        )
    return tomllib.loads((_FOLDER / f"{name}.toml").read_text("utf-8"))
