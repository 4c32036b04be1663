"""How far the algorithms agree on which samples are hard."""

from __future__ import annotations

from typing import Any

import click

from tracker.cli._options import format_option, sweep_option
from tracker.cli._output import show
from tracker.cli._session import Session, pass_session
from tracker.cli._tables import Cell

NOTHING = "it takes two algorithms with a GT for the same samples: the sweep has fewer"


@click.command()
@sweep_option
@format_option
@pass_session
def command(session: Session, sweep: str, style: str) -> None:
    """How far the algorithms of a sweep agree on which samples are hard.

    For all of them Kendall's W, corrected for ties (1: the same order, 0: none in common); for each
    two Spearman's rho of their GT, and how many of the hardest tenth they have in common, beside
    the number to expect by chance.

    \b
    Example:
      indelible agree --format csv
    """
    with session.warehouse() as warehouse:
        pairs = warehouse.report("agree", sweep=session.sweep_id(warehouse, sweep)).records()
    if not pairs and style == "table":
        click.echo(NOTHING, err=True)
        return
    show(pairs, style, [_shown(row) for row in pairs], _title(pairs))


def _title(pairs: list[dict[str, Any]]) -> str | None:
    if not pairs or pairs[0]["concordance"] is None:
        return None
    row = pairs[0]
    return (
        f"Kendall's W of {row['concordance_algorithms']} algorithms over {row['concordance_n']} "
        f"samples: {row['concordance']:.3f} (p = {row['concordance_p_value']:.1g})"
    )


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    rho = row["rho"]
    return {
        "algorithms": f"{row['algorithm_a']}, {row['algorithm_b']}",
        "rho": None if rho is None else Cell.by_sign(f"{rho:+.4f}", rho),
        "p_value": None if row["p_value"] is None else f"{row['p_value']:.0e}",
        "samples": row["n"],
        "hardest in common": f"{row['top_overlap']:.3g} of {row['top_k']}",
        "by chance": f"{row['top_overlap_by_chance']:.2g}",
    }
