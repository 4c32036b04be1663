"""Which members a command is about: base model, algorithms with settings, samples, seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tracker.cli._completing import runs_completed
from tracker.cli._engines import Computing
from tracker.cli._options import WordOrNumber, completed, read_ids
from tracker.cli._session import say
from unlearning import algorithms, presets
from unlearning.errors import UserError
from unlearning.naming import LATEST

if TYPE_CHECKING:
    from tracker.base.base_models import BaseRun
    from tracker.record.store import Store
    from tracker.sweeping.plan import Plan
    from unlearning.algorithm import Algorithm

Command = TypeVar("Command", bound=Callable[..., Any])

LAST_SEED = 2**63 - 1  # as MLflow's readers take them


@dataclass(frozen=True)
class Members(Computing):
    """The options that say which members, by the names that they have there.

    Attributes:
        names: of the algorithms. ones: sample ids that were given one by one.
        remaining: None for all training samples.
    """

    model: str
    names: tuple[str, ...]
    samples: int | None
    sample_ids: Path | None
    ones: tuple[int, ...]
    only_correct: bool
    remaining: int | None
    preset: str | None
    changes: tuple[str, ...]
    seed: int
    repeats: int
    device: str
    precision: str

    def check(self) -> None:
        """Raise UserError for options that exclude each other, or a value out of range."""
        super().check()
        if sum((self.samples is not None, self.sample_ids is not None, bool(self.ones))) > 1:
            raise UserError("--samples, --sample-ids and --sample exclude each other: give one")
        if self.seed + self.repeats - 1 > LAST_SEED:
            raise UserError(
                f"--seed is {self.seed}: with {self.repeats} repeats it is at most "
                f"2^63 - {self.repeats}"
            )

    def named_samples(self) -> list[int]:
        """The ids of samples that were named, in a file or one by one. Raises UserError."""
        return list(self.ones) if self.sample_ids is None else read_ids(self.sample_ids)

    def remaining_of(self, size: int) -> int | None:
        """How many of `size` training samples stand for the remaining data; None for all."""
        if self.remaining is not None and self.remaining > size:
            raise UserError(
                f"--remaining is '{self.remaining}': it takes all or a number of samples from 1 to "
                f"{size}, which the training split has"
            )
        return None if self.remaining == size else self.remaining


def plans(
    store: Store,
    base_run: BaseRun,
    members: Members,
    named: Sequence[int],
    name: str | None = None,
    own_factors: Sequence[str] = (),
) -> Iterator[Plan]:
    """The plan of each repeat. What is found out on the way is said.

    Args:
        named: the ids of samples that were named. name: of the plans; what they do if None.
        own_factors: `module:package.module:FAMILY` each.
    """
    import factors
    from tracker.sweeping.choosing import choose_samples
    from tracker.sweeping.plan import Plan
    from tracker.sweeping.settings import choose_presets, configure

    base, names = base_run.model, algorithms.named(members.names)
    families = factors.families(own_factors)
    ids = choose_samples(base, named, members.samples, members.seed, members.only_correct)
    preset = choose_presets(store, base_run, names, members.preset, members.changes, say)
    chosen = configure(names, preset, members.changes)
    say(str(preset))
    others = (members.remaining_of(len(base.dataset.train)), preset, families)
    called = name or default_name(chosen, len(ids))
    for repeat in range(members.repeats):
        seed = members.seed + repeat
        own = f"{called}-seed{seed}" if members.repeats > 1 else called
        yield Plan.on(base_run, chosen, ids, seed, own, *others)


def load_base(store: Store, members: Members, data_dir: Path) -> BaseRun:
    """The base model that was asked for, on its device. Raises UserError."""
    from tracker.base import base_models

    device = base_models.pick_device(members.device)
    return base_models.load(store, members.model, device, data_dir, members.precision)


def default_name(chosen: Sequence[Algorithm], samples: int) -> str:
    """What a sweep is called that was given no name: what it does to how many."""
    names = "-".join(algorithm.name for algorithm in chosen)
    return f"{names if len(chosen) <= 4 else f'{len(chosen)}-algorithms'}-{samples}-samples"


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
    help="File with the sample ids to unlearn, separated by white space.",
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
    "the data set's, or what flips most in a trial on a few samples]",
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
