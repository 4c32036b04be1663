"""A sweep's correlations beside the paper's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click

from tracker.cli._completing import runs_completed
from tracker.cli._options import as_one, format_option, refuse, sweep_option
from tracker.cli._output import named, show
from tracker.cli._session import Session, pass_session, say
from tracker.cli._tables import Cell
from tracker.cli._two_sweeps import compare_sweeps
from unlearning.errors import UserError
from unlearning.naming import LATEST

AGAINST = ("svhn", "mnist", "cifar10")
LEGEND = (
    "ours / the paper's; ! the signs differ; ≉ our 95% interval excludes "
    "the paper's value; † GT is made of this factor"
)
BELOW = ("title",)  # a column for which a narrow terminal has no room
POPULATIONS = {"all": "all samples", "flipped": "those that flipped"}


@dataclass(frozen=True)
class Arguments:
    """The options of the command, by the names that they have there."""

    sweeps: tuple[str, ...]
    sweep: str
    against: str | None
    style: str

    def pair(self) -> tuple[str, str]:
        """The two sweeps. Raises UserError for others than two, and for what they exclude."""
        if len(self.sweeps) != 2:
            raise UserError(f"{len(self.sweeps)} given: name two sweeps, or none for the paper")
        refuse(["against", "sweep"], "with two sweeps")
        return self.sweeps[0], self.sweeps[1]


@click.command()
@click.argument("sweeps", nargs=-1, metavar="[A B]", shell_complete=runs_completed("sweep", LATEST))
@sweep_option
@click.option(
    "--against",
    type=click.Choice(AGAINST),
    help="The paper's data set.  [default: the sweep's own, or all three]",
)
@format_option
@pass_session
@as_one(Arguments)
def command(session: Session, arguments: Arguments) -> None:
    """The correlations of sweep A beside those of B, or of a sweep beside the paper's.

    Of two sweeps, a name, id or beginning of an id each: rho of each factor in both, for each
    algorithm that both have, and how much larger it is in B, with an interval. csv and json
    also have the populations of samples that flipped, and that did not.

    Without them the sweep of --sweep beside the 108 correlations of the paper's Table 1 (Rizwan et
    al. 2024). The paper does not say whether it takes all samples or
    only those whose prediction flipped, so each comes on its own: the population `all`, and
    `flipped`. For each algorithm: how many signs agree, and how many would by chance; how many of
    our 95% intervals exclude the paper's value; and Spearman's rho of our rho with the paper's.

    \b
    Example:
      indelible compare --against svhn
      indelible compare ga-100-samples ga-200-samples
    """
    if arguments.sweeps:
        compare_sweeps(session, *arguments.pair(), arguments.style)
    else:
        _beside_the_paper(session, arguments.sweep, arguments.against, arguments.style)


def _beside_the_paper(session: Session, sweep: str, against: str | None, style: str) -> None:
    """Print a sweep's correlations beside the paper's. Raises UserError where it has none."""
    from analysis.answers import about
    from analysis.findings import beside_paper

    with session.warehouse() as warehouse:
        sweep_id = session.sweep_id(warehouse, sweep)
        own = about(warehouse, sweep_id)["dataset"]
        asked = {"sweep": sweep_id, "against": against or (own if own in AGAINST else None)}
        correlations = warehouse.report("compare", population=None, **asked).records()
        summary = warehouse.report("compare_algorithms", **asked).records()
    if not correlations:
        raise UserError("the sweep has none of the paper's algorithms: ga, neggrad, scrub, salun")
    if style != "table":
        show(correlations, style)
        return
    for name, population in dict.fromkeys(
        (row["against"], row["population"]) for row in correlations
    ):
        rows = [r for r in correlations if (r["against"], r["population"]) == (name, population)]
        if population == "all" or _flipped(correlations) == "some":
            show(rows, style, as_table(rows), _title(name, population), BELOW)
            click.echo()
    if summary:
        show(summary, style, [_summed(row) for row in summary], "How far they agree")
    for row in correlations:
        if row["remark"]:
            place = f"{row['against']}, {row['algorithm']}, {row['factor']}"
            click.echo(f"the paper's value for {place}: {row['remark']}", err=True)
    say(LEGEND)
    for finding in beside_paper([r for r in correlations if r["population"] == "all"]):
        say(finding)
    if _flipped(correlations) == "all":
        click.echo("all samples flipped: over those that flipped it is the same", err=True)


def _flipped(rows: Sequence[dict[str, Any]]) -> str:
    """Whether `all`, `some` or `none` of the samples flipped."""
    sizes = {name: [r["n"] for r in rows if r["population"] == name] for name in POPULATIONS}
    if not any(sizes["flipped"]):
        return "none"
    return "all" if sizes["all"] == sizes["flipped"] else "some"


def _title(against: str, population: str) -> str:
    whom = POPULATIONS[population]
    return f"Spearman's rho with GT over {whom}, ours / the paper's on {against}"


def as_table(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row a factor and a column an algorithm."""
    table: dict[str, dict[str, Any]] = {}
    for row in rows:
        line = table.setdefault(row["factor"], named(row))
        line[row["algorithm"]] = _cell(row)
    return list(table.values())


def _cell(row: dict[str, Any]) -> Cell:
    if row["rho"] is None:
        return Cell(f"{row['undefined']}/{row['paper_rho']:+.2f}", "dim")
    marks = ("" if row["signs_agree"] else "!") + ("≉" if row["excludes"] else "")
    text = f"{row['rho']:+.2f}/{row['paper_rho']:+.2f}{marks}"
    return Cell.by_sign(text, row["rho"])


def _summed(row: dict[str, Any]) -> dict[str, Any]:
    rho = row["rho_of_rhos"]
    return {
        "samples": row["population"],
        "the paper's": row["against"],
        "algorithm": row["algorithm"],
        "signs agree": f"{row['signs_agree']} of {row['factors']}",
        "by chance": f"{row['chance_low']} to {row['chance_high']}",
        "intervals exclude": f"{row['excluded']} of {row['factors']}",
        "rho of the rhos": None if rho is None else Cell.by_sign(f"{rho:+.2f}", rho),
    }
