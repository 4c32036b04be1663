"""How far can any prediction go?"""

from __future__ import annotations

import click

from indelible.tracker.cli._options import format_option
from indelible.tracker.cli._output import only, show
from indelible.tracker.cli._session import Session, pass_session

SHOWN = ("source", "dataset", "algorithm", "repeats", "n", "mean_rho", "split_half", "icc")
NONE = (
    "no sweep was repeated yet: give 'indelible sweep' --repeats N, "
    "or a base model of 'indelible train' with another --seed"
)


@click.command()
@format_option
@pass_session
def command(session: Session, style: str) -> None:
    """How far the ranking by GT agrees with itself, where only a seed is another.

    A row for each algorithm with its settings that was repeated: with other seeds of unlearning
    from one base model, or from base models that were trained with other seeds. The mean rho is
    Spearman's of GT between two repeats; its root, the ceiling, is the most that can be expected of
    a factor's own rho with one measurement: of a factor that is known before unlearning where seeds
    of unlearning were varied, of one that does not look at the base model where base models were.
    Spearman-Brown is the reliability of the mean over all repeats,
    split half the same from two halves of them, icc ICC(2,1). csv and json also have settings and
    ids.

    \b
    Example:
      indelible reliability --format json
    """
    with session.warehouse() as warehouse:
        found = warehouse.report("reliability").records()
    if not found and style == "table":
        click.echo(NONE, err=True)
        return
    show(found, style, only(found, *SHOWN, "spearman_brown", "ceiling"), "Reliability of GT")
