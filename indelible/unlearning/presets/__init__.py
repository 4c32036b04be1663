"""Named sets of hyper-parameters, as data: one TOML file each, a table an algorithm."""

from __future__ import annotations

import tomllib
from pathlib import Path

from indelible.errors import UserError
from indelible.unlearning.algorithm import Setting

_FOLDER = Path(__file__).parent


def names() -> list[str]:
    """The presets there are."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def load(name: str) -> dict[str, dict[str, Setting]]:
    """Hyper-parameters by algorithm; what a preset leaves out keeps the algorithm's default."""
    if name not in names():
        raise UserError(f"unknown preset '{name}': choose one of {', '.join(names())}")
    settings: dict[str, dict[str, Setting]] = tomllib.loads(
        (_FOLDER / f"{name}.toml").read_text("utf-8")
    )
    return settings
