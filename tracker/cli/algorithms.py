"""The algorithms there are."""

from __future__ import annotations

import dataclasses
from typing import Any

import click

from tracker.cli._options import format_option
from tracker.cli._output import only, show


@click.command()
@format_option
def command(style: str) -> None:
    """List the algorithms with their hyper-parameters.

    One row a hyper-parameter; csv and json also hold what the algorithm does, and among which
    values 'indelible tune' looks for good ones.

    \b
    Example:
      indelible algorithms
    """
    rows = described()
    shown = only(rows, "algorithm", "setting", "default", "accepts", "description", "source")
    shown = [
        {**cells, "source": f"{row['source']}; {row['provider']}"} if row["provider"] else cells
        for row, cells in zip(rows, shown, strict=True)
    ]
    show(rows, style, _grouped(shown), below=("source",))


def described() -> list[dict[str, Any]]:
    """A row for each hyper-parameter, and one for an algorithm that has none."""
    from unlearning import algorithms

    rows = []
    for name, found in algorithms.every().items():
        provider = algorithms.provider(name)
        about = {
            "source": found.citation,
            "what": " ".join((found.__doc__ or "").split()),
            "provider": str(provider) if provider else None,
        }
        for field in dataclasses.fields(found) or [None]:
            accepts = field and field.metadata["accepts"]
            rows.append(
                {
                    "algorithm": name,
                    "setting": field and field.name,
                    "default": field and field.default,
                    "accepts": accepts and str(accepts),
                    "searched": _searched(accepts and accepts.searched),
                    "description": accepts and accepts.description,
                    **about,
                }
            )
    return rows


def _searched(among: Any) -> str | None:
    """Among which values `tune` looks for good ones, in words; None where it does not."""
    return (" or ".join(among) if isinstance(among[0], str) else str(among)) if among else None


def _grouped(rows: Any) -> list[dict[str, Any]]:
    """The algorithm and its source on its first row only."""
    grouped, last = [], None
    for row in rows:
        repeated = row["algorithm"] == last
        last = row["algorithm"]
        grouped.append({**row, "algorithm": "", "source": ""} if repeated else dict(row))
    return grouped
