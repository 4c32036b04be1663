"""Who computes: the options of every command that computes much."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tracker.cli._session import say
from unlearning.errors import UserError

if TYPE_CHECKING:
    from tracker.base.workers import Engine

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True)
class Computing:
    """The options that say who computes, by the names that they have there."""

    workers: int | None
    engine: str
    address: str | None
    slots: int | None
    device: str

    def check(self) -> None:
        """Raise UserError for options of another engine than the one that is asked for."""
        if self.engine == "ray" and self.workers is not None:
            raise UserError("--workers is for threads: with --engine ray give --slots")
        for option, value in (("--address", self.address), ("--slots", self.slots)):
            if self.engine == "threads" and value is not None:
                raise UserError(f"{option} is of a Ray cluster: give --engine ray too")

    @contextmanager
    def computing(self) -> Iterator[Engine]:
        """The engine. Raises UserError, and Failure where a cluster does not answer."""
        from tracker.base.devices import pick_device

        pick_device(self.device, on_ray=self.engine == "ray")  # refused before a cluster is begun
        if self.engine == "threads":
            from tracker.base.workers import Threads

            yield Threads(self.workers)
            return
        from tracker.base.ray_engine import RayEngine

        with RayEngine(self.address, self.slots, say) as engine:
            yield engine


def engine_options(command: Command) -> Command:
    """Add the options of `Computing`."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option("--workers", type=click.IntRange(1), help="Threads.  [default: one a core]"),
    click.option(
        "--engine",
        type=click.Choice(["threads", "ray"]),
        default="threads",
        show_default=True,
        help="Who computes: threads of this process, or the nodes of a Ray cluster.",
    ),
    click.option(
        "--address",
        metavar="auto|local|HOST:PORT|ray://HOST:PORT",
        help="Of the Ray cluster; local begins one on this machine.  [default: RAY_ADDRESS, or one "
        "that runs here, or else local]",
    ),
    click.option(
        "--slots",
        type=click.IntRange(1),
        help="CPUs of the Ray cluster to take, or GPUs.  [default: all]",
    ),
)
