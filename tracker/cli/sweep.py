"""Unlearn samples one at a time, and log every attempt."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tracker.cli._options import device_option, read_ids
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
    help=f"Algorithm, once for each: {', '.join(algorithms.names())}.",
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
    "--chunk", default="auto", show_default=True, metavar="auto|N", help="Members at a time."
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
def command(
    session: Session,
    model: str,
    names: tuple[str, ...],
    samples: int | None,
    sample_ids: Path | None,
    ones: tuple[int, ...],
    only_correct: bool,
    remaining: str,
    preset: str | None,
    changes: tuple[str, ...],
    seed: int,
    repeats: int,
    device: str,
    precision: str,
    chunk: str,
    checkpoints: str,
    execution: str,
    workers: int | None,
    name: str | None,
    again: bool,
    take_over: bool,
) -> None:
    """Unlearn samples one at a time and print the sweep's id, the run id of its parent run.

    Repeats are sweeps of their own: they tell how far GT agrees with itself.

    Every attempt becomes a child run. The same sweep called again goes on where it stopped.

    \b
    Example:
      indelible sweep --algorithm ga --algorithm salun --samples 100
    """
    if sum((samples is not None, sample_ids is not None, bool(ones))) > 1:
        raise UserError("--samples, --sample-ids and --sample exclude each other: give one")
    ids = list(ones) if sample_ids is None else read_ids(sample_ids)
    if seed + repeats - 1 > LAST_SEED:
        raise UserError(f"--seed is {seed}: with {repeats} repeats it is at most 2^63 - {repeats}")
    if name is not None:
        _check_name(name)
    from tracker.sweeping.choosing import choose_samples
    from tracker.sweeping.plan import Plan
    from tracker.sweeping.retention import Retention
    from tracker.sweeping.settings import choose_presets, configure
    from tracker.sweeping.sweep import Options
    from unlearning.execution import Execution

    options = Options(
        chunk=_chunk(chunk),
        execution=None if execution == "auto" else Execution(execution),
        workers=workers,
        retention=Retention.parse(checkpoints),
        again=again,
        take_over=take_over,
    )
    with session.store() as store:
        from tracker.base import base_models, companions

        where = base_models.pick_device(device)
        base = base_models.load(store, model, where, session.data_dir, precision)
        if remark := companions.remark_on(base.model.companions):
            say(remark)
        ids = choose_samples(base.model, ids, samples, seed, only_correct)
        which = list(dict.fromkeys(names))
        presets = choose_presets(store, base, which, preset, changes, say)
        chosen = configure(which, presets, changes)
        say(str(presets))
        name = name or default_name(chosen, len(ids))
        seen = _remaining(remaining, len(base.model.dataset.train))
        for repeat in range(repeats):
            called = f"{name}-seed{seed + repeat}" if repeats > 1 else name
            plan = Plan.on(base, chosen, ids, seed + repeat, called, seen, presets)
            click.echo(run(store, base, plan, options))


def run(store: Store, base: BaseRun, plan: Plan, options: Options) -> str:
    """Run a sweep with a progress bar, and say where the time went; its id."""
    from tracker.sweeping import sweep
    from tracker.sweeping.clock import Clock

    clock = Clock()
    clock.add("start-up", time.perf_counter() - STARTED)
    try:
        with progress("unlearning", plan.size) as advance:
            sweep_id = sweep.run(store, base, plan, options, advance, clock, say)
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


def _remaining(text: str, size: int) -> int | None:
    """How many of `size` training samples are looked at; None for all."""
    if text == "all":
        return None
    if not text.isdecimal() or not 1 <= int(text) <= size:
        raise UserError(
            f"--remaining is '{text}': it takes all or a number of samples from 1 to {size}, "
            "which the training split has"
        )
    return int(text) if int(text) < size else None


def _chunk(text: str) -> int | None:
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise UserError(f"--chunk is '{text}': it takes auto or a number of members from 1")
    return int(text)
