"""Factors: named numbers that may explain how hard a sample is to unlearn.

One module a family. `pre` families see the base model only and are computed once a sample; `post`
families see the unlearned models of a chunk. Families are found by their modules: adding one is
one new file.
"""

from __future__ import annotations

import importlib
import pkgutil

from indelible.factors.family import Column, Family


def families() -> list[Family]:
    """Every family, in the order of the modules' names."""
    modules = sorted(m.name for m in pkgutil.iter_modules(__path__) if m.name != "family")
    return [importlib.import_module(f"{__name__}.{name}").FAMILY for name in modules]


def columns() -> list[Column]:
    """Every column of every family."""
    return [column for family in families() for column in family.columns]


__all__ = ["Column", "Family", "columns", "families"]
