"""What several commands are given: options, and lists of sample ids."""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from analysis.statuses import MAX_LOSS
from tracker.cli._completing import runs_completed
from tracker.cli._session import Session
from unlearning.errors import Failure, UserError
from unlearning.naming import LATEST

SHOWN = 20  # changes that are listed one by one

MOST_ROWS = 2**31 - 1  # what DuckDB takes in any place for a number of rows

format_option = click.option(
    "--format",
    "style",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
    help="How to print the data; json is a list of objects.",
)

sweep_option = click.option(
    "--sweep",
    default="latest",
    show_default=True,
    metavar="SWEEP",
    shell_complete=runs_completed("sweep", LATEST),
    help="The sweep to look at: its name, id, or the beginning of its id ('indelible sweeps').",
)


Arguments = TypeVar("Arguments")


def as_one(
    kind: Callable[..., Arguments],
) -> Callable[[Callable[[Any, Arguments], None]], Callable[..., None]]:
    """Give a command its options as one object: a dataclass with a field for each of them."""

    def decorate(command: Callable[[Any, Arguments], None]) -> Callable[..., None]:
        @functools.wraps(command)
        def with_arguments(session: Any, /, **options: Any) -> None:
            command(session, kind(**options))

        return with_arguments

    return decorate


def given() -> dict[str, str]:
    """The options that the command was given, as they are written, by their names."""
    context, default = click.get_current_context(), ParameterSource.DEFAULT
    written = {str(option.name): option.opts[0] for option in context.command.params}
    return {n: word for n, word in written.items() if context.get_parameter_source(n) != default}


def refuse(names: Collection[str], why: str) -> None:
    """Raise UserError where an option of these was given, for `why` it can have no effect."""
    for option in (word for name, word in given().items() if name in names):
        raise UserError(f"{option} has no effect {why}")


class OutputPath(click.Path):
    """A path to write to; not one of the store's own."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path. Fails where the store would lose something."""
        session = ctx and ctx.find_object(Session)
        if session and session.owns(Path(value)):
            self.fail(f"'{value}' is the store's own: name another.", param, ctx)
        return super().convert(value, param, ctx)


def a_number(context: click.Context, option: click.Parameter, value: float) -> float:
    """The number; refuses NaN, which click's ranges let through."""
    if math.isnan(value):
        raise click.BadParameter(f"{value} is not a number.")
    return value


max_loss_option = click.option(
    "--max-loss",
    type=click.FloatRange(0, 100),
    callback=a_number,
    default=MAX_LOSS,
    show_default=True,
    metavar="POINTS",
    help="A flip that costs more percentage points of test accuracy counts as damage.",
)

yes_option = click.option("--yes", is_flag=True, help="Do it without asking.")


def completed(
    names: Callable[[], list[str]],
) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """What a shell offers for the beginning of one of these names."""
    return lambda context, option, begun: [name for name in names() if name.startswith(begun)]


def confirm(deeds: Sequence[str], yes: bool, stop: str = "") -> None:
    """List on stderr what is to be done, and ask whether to do it, if a terminal can answer.

    Args:
        yes: do not ask. stop: why it is not to be done in any case; empty if it may be.

    Raises Failure where it is not to be done.
    """
    for deed in deeds[:SHOWN]:
        click.echo(f"  {deed}", err=True)
    if len(deeds) > SHOWN:
        click.echo(f"  ... and {len(deeds) - SHOWN} more", err=True)
    if stop:
        raise Failure(f"nothing was changed: {stop}")
    if yes:
        return
    if not sys.stdin.isatty():
        raise Failure("nothing was changed: --yes does what is listed above")
    if not click.confirm("Do this?", err=True):
        raise Failure("nothing was changed")
