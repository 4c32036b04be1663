"""Unlearn samples one at a time, and log every attempt."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import click

from tracker.cli._engines import engine_options
from tracker.cli._members import (
    Members,
    algorithm_option,
    load_base,
    model_option,
    only_correct_option,
    plans,
    precision_option,
    preset_option,
    remaining_option,
    repeats_option,
    requests_option,
    sample_ids_option,
    sample_option,
    samples_option,
    seed_option,
    set_option,
)
from tracker.cli._options import WordOrNumber, as_one, device_option, max_loss_option
from tracker.cli._output import progress
from tracker.cli._session import STARTED, Session, pass_session, say
from tracker.cli._summary import table_of
from tracker.sweep.planning import check_name
from unlearning.errors import Failure, Raised, UserError

if TYPE_CHECKING:
    from tracker.base.base_models import BaseRun
    from tracker.store.records import Finished
    from tracker.store.write import Store
    from tracker.sweep.options import Options
    from tracker.sweep.plan import Plan


@dataclass(frozen=True)
class Arguments(Members):
    """The options of the command, by the names that they have there.

    Attributes:
        own_factors: `module:package.module:FAMILY` each. chunk: None where it is to be found out.
        shard: K/N; None for the whole sweep.
    """

    own_factors: tuple[str, ...]
    chunk: int | None
    checkpoints: str
    execution: str
    histories: str
    name: str | None
    again: bool
    shard: str | None
    max_loss: float

    def check(self) -> None:
        """Raise UserError for options that exclude each other, or a value out of range."""
        super().check()
        if self.name is not None:
            check_name(self.name, "--name")
        if self.shard is not None and self.again:
            raise UserError(
                "--again and --shard exclude each other: a share does what its store lacks; leave "
                "--again out, or do the whole sweep again"
            )

    def options(self) -> Options:
        """How the sweep is run. Raises UserError."""
        from tracker.store.records import Histories
        from tracker.sweep.options import Options
        from tracker.sweep.retention import Retention
        from tracker.sweep.shards import Shard
        from unlearning.execution import Execution

        return Options(
            chunk=self.chunk,
            execution=None if self.execution == "auto" else Execution(self.execution),
            retention=Retention.parse(self.checkpoints),
            again=self.again,
            shard=None if self.shard is None else Shard.parse(self.shard),
            histories=Histories(self.histories),
        )


@click.command()
@model_option
@algorithm_option(required=True)
@click.option(
    "--factors",
    "own_factors",
    multiple=True,
    metavar="module:package.module:FAMILY",
    help="Also measure a factor family of your own, of members that are not in the store.",
)
@samples_option
@sample_ids_option
@requests_option
@sample_option
@only_correct_option
@remaining_option
@preset_option
@set_option
@seed_option
@repeats_option
@device_option
@precision_option
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
@click.option(
    "--histories",
    type=click.Choice(["runs", "none"]),
    default="runs",
    show_default=True,
    help="Where to keep probability and loss after each step: as metrics of the child runs, or "
    "not at all; their final values are always kept.",
)
@engine_options
@click.option("--name", help="What to call the sweep.")
@click.option(
    "--again",
    is_flag=True,
    help="Do members again that are in the store, and say how they compare.",
)
@click.option(
    "--shard",
    metavar="K/N",
    help="Do only the K-th of N shares, to be merged later: see 'indelible merge'.",
)
@max_loss_option
@pass_session
@as_one(Arguments)
def command(session: Session, arguments: Arguments) -> None:
    """Unlearn samples one at a time and print the sweep's id, the run id of its parent run.

    Repeats are sweeps of their own: they tell how far GT agrees with itself.

    Every attempt becomes a child run. The same sweep called again goes on where it stopped.

    With --shard it is one of N shares, each into a store of its own: give all of them the same
    --chunk, or none, and to have the last bits of the whole sweep also the same --execution. The
    same sweep without --shard does what is missing.

    \b
    Example:
      indelible sweep --algorithm ga --algorithm salun --samples 100
      indelible --store shard-3 sweep --algorithm ga --samples 4000 --shard 3/16
    """
    arguments.check()
    named = arguments.named_samples()
    options = arguments.options()
    with session.store() as store, arguments.computing() as engine:
        base_run = load_base(store, arguments, session.data_dir)
        own, most = (arguments.name, arguments.own_factors), arguments.max_loss
        first: Raised | None = None
        for plan in plans(store, base_run, arguments, named, *own):
            try:
                swept = run_sweep(store, base_run, plan, replace(options, engine=engine), most)
            except Raised as raised:  # other repeats go on
                first = first or raised
                continue
            click.echo(swept.sweep_id)
            swept.say_table()
            swept.say_advice()
        if first is not None:
            raise first


@dataclass(frozen=True)
class Swept:
    """A sweep that is done: its id, and what is to be said of it in the end."""

    sweep_id: str
    table: list[str]
    advice: list[str]

    def say_table(self) -> None:
        """What the attempts came to, on stderr."""
        for line in self.table:
            say(line)

    def say_advice(self) -> None:
        """Which settings to change, on stderr; nothing where they fit."""
        for line in ("", *self.advice) if self.advice else ():
            say(line)


def run_sweep(
    store: Store, base_run: BaseRun, plan: Plan, options: Options, max_loss: float
) -> Swept:
    """Run a sweep with a progress bar, and say where the time went.

    Args:
        max_loss: percentage points of test accuracy that a flip may cost.
    """
    from tracker.base.workers import Clock
    from tracker.sweep import sweep
    from tracker.sweep.summary import after_sweep
    from tracker.sweep.options import Reporter
    from tracker.sweep.shards import Share

    clock, own = Clock(), Share.of(plan, options.shard, options.chunk)
    done: dict[str, Finished] = {}
    clock.add("start-up", time.perf_counter() - STARTED)
    try:
        with progress("unlearning", own.size) as advance:
            reporter = Reporter(advance, say, clock, done.update)
            sweep_id = sweep.run(store, base_run, plan, options, reporter)
    except KeyboardInterrupt:
        how = "does all of it again" if options.again else "goes on where it stopped"
        raise Failure(f"stopped; the same command {how}") from None
    parts = ", ".join(f"{doing} {share:.0%}" for doing, share in clock.shares().items())
    say(f"time of all threads: {parts}")
    accuracy = base_run.test_accuracy
    return Swept(
        sweep_id,
        own.said(done) + table_of(plan, done, accuracy, max_loss),
        list(after_sweep(plan, done, accuracy, max_loss)),
    )
