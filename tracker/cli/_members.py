"""Which members a command is about: base model, algorithms with settings, samples, seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tracker.cli._completing import runs_completed
from tracker.cli._engines import Computing
from tracker.cli._options import WordOrNumber, completed, read_ids
from tracker.cli._session import say, say_if_ahead
from tracker.sweep import planning
from tracker.sweep.planning import LAST_SEED, Wanted
from unlearning import algorithms, presets
from unlearning.errors import UserError
from unlearning.naming import LATEST

if TYPE_CHECKING:
    from tracker.base.base_models import BaseRun
    from tracker.store.write import Store
    from tracker.sweep.plan import Plan
    from unlearning.dataset import Dataset

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True)
class Members(Computing, Wanted):
    """The options that say which members, by the names that they have there.

    Attributes:
        ones: sample ids that were given one by one. requests: a file with what samples are called.
    """

    model: str
    sample_ids: Path | None
    requests: Path | None
    ones: tuple[int, ...]
    precision: str

    def check(self) -> None:
        """Raise UserError for options that exclude each other, or a value out of range."""
        super().check()
        ways = (self.samples, self.sample_ids, self.requests, self.ones or None)
        if sum(way is not None for way in ways) > 1:
            raise UserError(
                "--samples, --sample-ids, --requests and --sample exclude each other: give one"
            )
        if self.seed + self.repeats - 1 > LAST_SEED:
            raise UserError(
                f"--seed is {self.seed}: with {self.repeats} repeats it is at most "
                f"2^63 - {self.repeats}"
            )

    def named_samples(self) -> list[str]:
        """What samples are called that were named, in a file or one by one. Raises UserError."""
        if self.requests is not None:
            from unlearning.requests import read_requests

            return read_requests(self.requests)
        ids = list(self.ones) if self.sample_ids is None else read_ids(self.sample_ids)
        return [str(sample) for sample in ids]

    def ids_of(self, named: Sequence[str], dataset: Dataset) -> list[int]:
        """The ids of samples that were named. Raises UserError."""
        if self.requests is None:
            return [int(sample) for sample in named]
        return ids_requested(named, dataset, self.requests)


def ids_requested(asked: Sequence[str], dataset: Dataset, where: Path) -> list[int]:
    """The ids of the samples that a file of requests asks for. Raises UserError."""
    from unlearning.requests import remarks, requested

    ids = requested(dataset, asked, str(where))
    for line in remarks(dataset, asked, ids):
        say(f"{where}: {line}")
    return ids


def plans(
    store: Store,
    base_run: BaseRun,
    members: Members,
    named: Sequence[str],
    name: str | None = None,
    own_factors: Sequence[str] = (),
) -> Iterator[Plan]:
    """The plan of each repeat. What is found out on the way is said.

    Args:
        named: what samples are called that were named. name: of the plans; what they do if None.
        own_factors: `module:package.module:FAMILY` each.
    """
    own = members.ids_of(named, base_run.model.dataset)
    return planning.plans(store, base_run, members, own, say, name, own_factors)


def load_base(store: Store, members: Members, data_dir: Path) -> BaseRun:
    """The base model that was asked for, on its device. Raises UserError."""
    from tracker.base import base_models, devices

    device = devices.pick_device(members.device)
    found = base_models.load(store, members.model, device, data_dir, members.precision)
    if members.model == LATEST:
        began_ms = store.run(found.run_id).info.start_time
        say_if_ahead(f"base model {found.name}", datetime.fromtimestamp(began_ms / 1000, UTC))
    return found


model_option = click.option(
    "--model",
    default="latest",
    show_default=True,
    metavar="MODEL",
    shell_complete=runs_completed("base_model", LATEST),
    help="Base model: its name, id, or the beginning of its id.",
)


def algorithm_option(required: bool) -> Callable[[Command], Command]:
    """The option that names algorithms."""
    return click.option(
        "--algorithm",
        "names",
        multiple=True,
        required=required,
        metavar="NAME",
        shell_complete=completed(algorithms.names),
        help=f"Algorithm, once for each: {', '.join(algorithms.names())}, or "
        "module:package.module:Class.",
    )


samples_option = click.option(
    "--samples",
    type=WordOrNumber("all", "samples"),
    default="all",
    show_default=True,
    metavar="all|N",
    help="How many samples, drawn by the seed, or all training samples.",
)

sample_ids_option = click.option(
    "--sample-ids",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="File with sample ids, separated by white space.",
)

requests_option = click.option(
    "--requests",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="File with samples by what they are called, one a line: the path or name of an image "
    "file, or an id; # begins a comment.",
)

sample_option = click.option(
    "--sample", "ones", type=int, multiple=True, metavar="ID", help="One sample id."
)

only_correct_option = click.option(
    "--only-correct",
    is_flag=True,
    help="Choose among the samples that the base model gets right: of no other is any unlearned.",
)

remaining_option = click.option(
    "--remaining",
    type=WordOrNumber("all", "samples"),
    default="all",
    show_default=True,
    metavar="all|N",
    help="Training samples that stand for the remaining data in the factors; N drawn once.",
)

preset_option = click.option(
    "--preset",
    shell_complete=completed(presets.names),
    metavar="NAME|FILE.toml",
    help="Hyper-parameters: digits or paper, or a file such as 'indelible tune' writes.  [default: "
    "the one for data set and architecture, or what flips most in a trial on a few samples]",
)

set_option = click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="ALGORITHM.NAME=VALUE",
    help="Change a hyper-parameter, e.g. neggrad.lr=1e-3.",
)

seed_option = click.option(
    "--seed", type=click.IntRange(0, LAST_SEED), default=0, show_default=True, help="Of unlearning."
)

repeats_option = click.option(
    "--repeats",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="The same samples under this many seeds, one after the other.",
)

precision_option = click.option(
    "--precision",
    type=click.Choice(["float32", "float64"]),
    default="float32",
    show_default=True,
    help="Of weights and inputs, in unlearning and evaluation; a part of every member's key.",
)
