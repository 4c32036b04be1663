"""Named sets of hyper-parameters, as data: one TOML file each, a table an algorithm.

Ours are the files of this folder. A file of the user's, such as `indelible tune` writes, is one as
well: what ends in `.toml` or has a path separator in it is a path.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearning.errors import UserError
from unlearning.naming import nearest

if TYPE_CHECKING:
    from unlearning.algorithm import Setting

OWN = "own"  # stands for all data sets of the user's own
TRAINING = "train"  # the table that is no algorithm's
_FOLDER = Path(__file__).parent
_SUFFIX = ".toml"


def names() -> list[str]:
    """The presets there are."""
    return sorted(path.stem for path in _FOLDER.glob(f"*{_SUFFIX}"))


def is_file(name: str) -> bool:
    """Whether a preset is a file of the user's, and its name a path."""
    separators = (os.sep, os.altsep or os.sep)
    return name.endswith(_SUFFIX) or any(separator in name for separator in separators)


def load(name: str, others: Collection[str] = ()) -> dict[str, dict[str, Setting]]:
    """Hyper-parameters by algorithm; what a preset leaves out keeps the algorithm's default.

    Args:
        others: names of algorithms that are asked for, which may be known by no list of names.

    Raises UserError where there is no such preset, or where its file is none.
    """
    tables = {key: table for key, table in _read(name).items() if key != TRAINING}
    if is_file(name):
        from unlearning.presets._checking import check

        check(tables, name, others)
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
        raise UserError(
            f"preset '{name}' says nothing of training on '{dataset}'"
            + (f": it does of {', '.join(_said(known))}" if known else "")
        )
    return dict(known[key])


def made_for(dataset: str, arch: str) -> list[str]:
    """The presets that were made for an architecture on a data set: it is the one they train."""
    trained = {name: _read(name).get(TRAINING, {}).get(dataset, {}) for name in names()}
    return [name for name, recipe in trained.items() if recipe.get("arch") == arch]


def standing(name: str, dataset: str, arch: str) -> str:
    """Whether the preset was made for the architecture on the data set, in words."""
    made = name in made_for(dataset, arch)
    return f"{'made for' if made else 'untested on'} {dataset} with {arch}"


def _said(known: Mapping[str, Any]) -> list[str]:
    """The data sets, as they are given to `train`."""
    own = ["folder:PATH", "npz:PATH"] if OWN in known else []
    return sorted(known.keys() - {OWN}) + own


def _read(name: str) -> dict[str, Any]:
    if is_file(name):
        return _parsed(Path(name))
    if name not in names():
        raise UserError(
            f"unknown preset '{name}'{nearest(name, names())}: choose one of {', '.join(names())}, "
            f"or give the path of a file that ends in {_SUFFIX}"
        )
    return tomllib.loads((_FOLDER / f"{name}{_SUFFIX}").read_text("utf-8"))


def _parsed(path: Path) -> dict[str, Any]:
    """What a file of the user's holds. Raises UserError where it is no TOML."""
    try:
        return tomllib.loads(path.read_text("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise UserError(f"preset {path} is not a text in UTF-8: save it as one") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UserError(f"preset {path} is not TOML: {error}") from error
    except OSError as error:
        raise UserError(f"preset {path} cannot be read: {error.strerror}") from error
