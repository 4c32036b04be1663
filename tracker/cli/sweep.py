"""Unlearn samples one at a time, and log every attempt."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tracker.cli._options import WordOrNumber, as_one, completed, device_option, read_ids
from tracker.cli._output import progress
from tracker.cli._session import STARTED, Session, pass_session, say
from unlearning import algorithms
from unlearning.errors import Failure, UserError

LAST_SEED = 2**63 - 1  # as MLflow's readers take them
LONGEST_NAME = 250  # of a run, in MLflow's databases

if TYPE_CHECKING:
    from tracker.base.base_models import BaseRun
    from tracker.record.store import Store
    from tracker.sweeping.plan import Plan
    from tracker.sweeping.sweep import Options
    from unlearning.algorithm import Algorithm


@dataclass(frozen=True)
class Arguments:
    """The options of the command, by the names that they have there.

    Attributes:
        names: of the algorithms. own_factors: `module:package.module:FAMILY` each.
        ones: sample ids that were given one by one.
        remaining: None for all training samples. chunk: None where it is to be found out.
    """

    model: str
    names: tuple[str, ...]
    own_factors: tuple[str, ...]
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
    chunk: int | None
    checkpoints: str
    execution: str
    workers: int | None
    name: str | None
    again: bool
    take_over: bool

    def check(self) -> None:
        """Raise UserError for options that exclude each other, or a value out of range."""
        if sum((self.samples is not None, self.sample_ids is not None, bool(self.ones))) > 1:
            raise UserError("--samples, --sample-ids and --sample exclude each other: give one")
        if self.seed + self.repeats - 1 > LAST_SEED:
            raise UserError(
                f"--seed is {self.seed}: with {self.repeats} repeats it is at most "
                f"2^63 - {self.repeats}"
            )
        if self.name is not None:
            _check_name(self.name)

    def named_samples(self) -> list[int]:
        """The ids of samples that were named, in a file or one by one. Raises UserError."""
        return list(self.ones) if self.sample_ids is None else read_ids(self.sample_ids)

    def options(self) -> Options:
        """How the sweep is run. Raises UserError."""
        from tracker.sweeping.retention import Retention
        from tracker.sweeping.sweep import Options
        from unlearning.execution import Execution

        return Options(
            chunk=self.chunk,
            execution=None if self.execution == "auto" else Execution(self.execution),
            workers=self.workers,
            retention=Retention.parse(self.checkpoints),
            again=self.again,
            take_over=self.take_over,
        )

    def remaining_of(self, size: int) -> int | None:
        """How many of `size` training samples stand for the remaining data; None for all."""
        if self.remaining is not None and self.remaining > size:
            raise UserError(
                f"--remaining is '{self.remaining}': it takes all or a number of samples from 1 to "
                f"{size}, which the training split has"
            )
        return None if self.remaining == size else self.remaining


@click.command()
@click.option(
    "--model", default="latest", show_default=True, metavar="ID", help="Base model's run id."
)
@click.option(
    "--algorithm",
    "names",
    multiple=True,
    required=True,
    metavar="NAME",
    shell_complete=completed(algorithms.names),
    help=f"Algorithm, once for each: {', '.join(algorithms.names())}, or "
    "module:package.module:Class.",
)
@click.option(
    "--factors",
    "own_factors",
    multiple=True,
    metavar="module:package.module:FAMILY",
    help="Also measure a factor family of your own, of members that are not in the store.",
)
@click.option(
    "--samples",
    type=click.IntRange(1),
    help="How many samples, drawn by the seed.  [default: all training samples]",
)
@click.option(
    "--sample-ids",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="File with the sample ids to unlearn, separated by white space.",
)
@click.option("--sample", "ones", type=int, multiple=True, metavar="ID", help="One sample id.")
@click.option(
    "--only-correct",
    is_flag=True,
    help="Choose among the samples that the base model gets right: of no other is any unlearned.",
)
@click.option(
    "--remaining",
    type=WordOrNumber("all", "samples"),
    default="all",
    show_default=True,
    metavar="all|N",
    help="Training samples that stand for the remaining data in the factors; N drawn once.",
)
@click.option(
    "--preset",
    help="Hyper-parameters: digits or paper.  [default: the data set's, or what flips most in a "
    "trial on a few samples]",
)
@click.option(
    "--set",
    "changes",
    multiple=True,
    metavar="ALGORITHM.NAME=VALUE",
    help="Change a hyper-parameter, e.g. neggrad.lr=1e-3.",
)
@click.option(
    "--seed", type=click.IntRange(0, LAST_SEED), default=0, show_default=True, help="Of unlearning."
)
@click.option(
    "--repeats",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Sweep the same samples under this many seeds, one after the other.",
)
@device_option
@click.option(
    "--precision",
    type=click.Choice(["float32", "float64"]),
    default="float32",
    show_default=True,
    help="Of weights and inputs, in unlearning and evaluation; a part of every member's key.",
)
@click.option(
    "--chunk",
    type=WordOrNumber("auto", "members"),
    default="auto",
    show_default=True,
    metavar="auto|N",
    help="Members at a time.",
)
@click.option(
    "--checkpoints",
    default="all",
    show_default=True,
    metavar="all|none|flipped|hardest:K|easiest:K",
    help="Whose unlearned weights to keep, for each algorithm.",
)
@click.option(
    "--execution",
    type=click.Choice(["auto", "stacked", "sequential"]),
    default="auto",
    show_default=True,
    help="Members of a chunk together, or one by one; auto measures which is faster.",
)
@click.option("--workers", type=click.IntRange(1), help="Threads.  [default: one a core]")
@click.option("--name", help="What to call the sweep.")
@click.option(
    "--again",
    is_flag=True,
    help="Do members again that are in the store, and say how they compare.",
)
@click.option(
    "--take-over", is_flag=True, help="Go on with a sweep whose process on another machine is gone."
)
@pass_session
@as_one(Arguments)
def command(session: Session, arguments: Arguments) -> None:
    """Unlearn samples one at a time and print the sweep's id, the run id of its parent run.

    Repeats are sweeps of their own: they tell how far GT agrees with itself.

    Every attempt becomes a child run. The same sweep called again goes on where it stopped.

    \b
    Example:
      indelible sweep --algorithm ga --algorithm salun --samples 100
    """
    arguments.check()
    named = arguments.named_samples()
    options = arguments.options()
    with session.store() as store:
        from tracker.base import base_models, companions

        device = base_models.pick_device(arguments.device)
        base_run = base_models.load(
            store, arguments.model, device, session.data_dir, arguments.precision
        )
        if remark := companions.remark_on(base_run.model.companions):
            say(remark)
        for plan in _plans(store, base_run, arguments, named):
            click.echo(run_sweep(store, base_run, plan, options))


def _plans(
    store: Store, base_run: BaseRun, arguments: Arguments, named: Sequence[int]
) -> Iterator[Plan]:
    """The plan of each repeat. What is found out on the way is said."""
    import factors
    from tracker.sweeping.choosing import choose_samples
    from tracker.sweeping.plan import Plan
    from tracker.sweeping.settings import choose_presets, configure

    seed, base = arguments.seed, base_run.model
    names = algorithms.named(arguments.names)
    families = factors.families(arguments.own_factors)
    ids = choose_samples(base, named, arguments.samples, seed, arguments.only_correct)
    presets = choose_presets(store, base_run, names, arguments.preset, arguments.changes, say)
    chosen = configure(names, presets, arguments.changes)
    say(str(presets))
    remaining = arguments.remaining_of(len(base.dataset.train))
    name = arguments.name or default_name(chosen, len(ids))
    for repeat in range(arguments.repeats):
        called = f"{name}-seed{seed + repeat}" if arguments.repeats > 1 else name
        yield Plan.on(base_run, chosen, ids, seed + repeat, called, remaining, presets, families)


def run_sweep(store: Store, base_run: BaseRun, plan: Plan, options: Options) -> str:
    """Run a sweep with a progress bar, and say where the time went; its id."""
    from tracker.base.workers import Clock
    from tracker.sweeping import sweep

    clock = Clock()
    clock.add("start-up", time.perf_counter() - STARTED)
    try:
        with progress("unlearning", plan.size) as advance:
            reporter = sweep.Reporter(advance, say, clock)
            sweep_id = sweep.run(store, base_run, plan, options, reporter)
    except KeyboardInterrupt:
        how = "does all of it again" if options.again else "goes on where it stopped"
        raise Failure(f"stopped; the same command {how}") from None
    parts = ", ".join(f"{doing} {share:.0%}" for doing, share in clock.shares().items())
    say(f"time of all threads: {parts}")
    return sweep_id


def default_name(chosen: Sequence[Algorithm], samples: int) -> str:
    """What a sweep is called that was given no name: what it does to how many."""
    names = "-".join(algorithm.name for algorithm in chosen)
    return f"{names if len(chosen) <= 4 else f'{len(chosen)}-algorithms'}-{samples}-samples"


def _check_name(name: str) -> None:
    try:
        size = len(name.encode())
    except UnicodeEncodeError as error:
        raise UserError(f"--name is {name!r}: it takes text in UTF-8") from error
    if not name.strip() or size > LONGEST_NAME:
        raise UserError(f"--name has {size} bytes: it takes a name of 1 to {LONGEST_NAME}")
