"""Measure factors of what is in the store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tracker.cli._completing import factor_names, runs_completed
from tracker.cli._engines import Computing, engine_options
from tracker.cli._members import ids_requested, requests_option, sample_ids_option
from tracker.cli._options import (
    WordOrNumber,
    as_one,
    completed,
    device_option,
    format_option,
    read_ids,
    refuse,
)
from tracker.cli._output import progress, show, with_short_ids
from tracker.cli._session import Session, pass_session, say
from unlearning.errors import Failure, UserError
from unlearning.naming import LATEST, nearest

if TYPE_CHECKING:
    import torch
    from mlflow.entities import Run

    from factors.family import Family
    from tracker.base.base_models import BaseRun
    from tracker.base.workers import Engine
    from tracker.store.write import Store


@dataclass(frozen=True)
class Arguments(Computing):
    """The options of the command, by the names that they have there.

    Attributes:
        names: of factors. own_factors: `module:package.module:FAMILY` each.
        samples: `all` or a number, of a base model.
    """

    sweep: str | None
    model: str | None
    samples: str | None
    sample_ids: Path | None
    requests: Path | None
    names: tuple[str, ...]
    own_factors: tuple[str, ...]
    recompute: bool
    style: str

    def check(self) -> None:
        """Raise UserError for options that exclude each other."""
        super().check()
        ways = (self.samples, self.sample_ids, self.requests)
        of_model = sum(way is not None for way in ways)
        if self.model is None:
            refuse(["samples", "sample_ids", "requests"], "without --model")
        if self.model is not None and not of_model:
            raise UserError("--model is given: say which of its samples, e.g. --samples all")
        if of_model > 1:
            raise UserError("--samples, --sample-ids and --requests exclude each other: give one")
        if self.model is not None:
            refuse(["sweep", "recompute"], "with --model")

    def families(self) -> list[Family]:
        """Whose factors are measured. Raises UserError for a name that no factor has."""
        import factors

        every = factors.families(self.own_factors)
        known = {column.name: family for family in every for column in family.columns}
        for name in self.names:
            if name not in known:
                raise UserError(
                    f"--factor is '{name}'{nearest(name, known)}: 'indelible factors' lists the "
                    "names that there are"
                )
        chosen = [known[name].key for name in self.names]
        return [family for family in every if family.key in chosen or not chosen]


@click.command()
@click.option(
    "--sweep",
    metavar="SWEEP|all",
    shell_complete=runs_completed("sweep", LATEST, "all"),
    help="Whose members are measured.  [default: latest]",
)
@click.option(
    "--model",
    metavar="MODEL",
    shell_complete=runs_completed("base_model", LATEST),
    help="Measure samples of a base model instead.",
)
@click.option("--samples", metavar="all|N", help="Of the base model: all, or N drawn by seed 0.")
@sample_ids_option
@requests_option
@click.option(
    "--factor",
    "names",
    multiple=True,
    metavar="NAME",
    shell_complete=completed(factor_names),
    help="Only the family of this factor.  [default: all]",
)
@click.option(
    "--factors",
    "own_factors",
    multiple=True,
    metavar="module:package.module:FAMILY",
    help="Also a factor family of your own.",
)
@click.option(
    "--recompute",
    is_flag=True,
    help="Unlearn members again that have no checkpoint, or no histories, to measure.",
)
@engine_options
@device_option
@format_option
@pass_session
@as_one(Arguments)
def command(session: Session, arguments: Arguments) -> None:
    """Measure the factors that members lack, or have of another version of the code.

    Factors that are known beforehand come from the base model; others from the checkpoint, which is
    restored and evaluated; those of cost from what is logged. A sweep called again does the same
    for its own members. With --model the factors that are known beforehand are measured of
    samples that no sweep has asked for, and `samples` has them after the next load.

    \b
    Example:
      indelible measure --sweep all
      indelible measure --model latest --samples all
    """
    arguments.check()
    families = arguments.families()
    try:
        with session.store() as store, arguments.computing() as engine:
            from tracker.base.devices import pick_device

            device = pick_device(arguments.device)
            if arguments.model is not None:
                rows = [_of_model(session, store, arguments, families, device, engine)]
            else:
                rows = list(_of_sweeps(session, store, arguments, families, device, engine))
    except KeyboardInterrupt:
        raise Failure("stopped; the same command goes on where it stopped") from None
    shown = with_short_ids(rows, "sweep_id" if arguments.model is None else "base_run_id")
    show(rows, arguments.style, shown)


def _of_model(
    session: Session,
    store: Store,
    arguments: Arguments,
    families: Sequence[Family],
    device: torch.device,
    engine: Engine,
) -> dict[str, Any]:
    """Measure samples of a base model; a row that says of how many."""
    from tracker.base import base_models
    from tracker.base.beforehand import pre_factors
    from tracker.sweep.choosing import choose_samples
    from unlearning.requests import read_requests

    assert arguments.model is not None
    base_run = base_models.load(store, arguments.model, device, session.data_dir)
    named = [] if arguments.sample_ids is None else read_ids(arguments.sample_ids)
    if arguments.requests is not None:
        asked, where = read_requests(arguments.requests), arguments.requests
        named = ids_requested(asked, base_run.model.dataset, where)
    count = WordOrNumber("all", "samples").convert(arguments.samples or "all", None, None)
    ids = choose_samples(base_run.model, named, count, 0, only_correct=False)
    families = [family for family in families if family.phase == "pre"]
    if not families:
        raise UserError("--factor names factors of attempts: of samples there are none of them")
    with progress("measuring", len(set(ids))) as advance:
        pre_factors(store, base_run, ids, families, engine, advance)
    names = [column.name for family in families for column in family.columns]
    return {"base_run_id": base_run.run_id, "name": base_run.name, "samples": len(set(ids))} | {
        "factors": len(names)
    }


def _of_sweeps(
    session: Session,
    store: Store,
    arguments: Arguments,
    families: Sequence[Family],
    device: torch.device,
    engine: Engine,
) -> Iterator[dict[str, Any]]:
    """Measure the members of sweeps; a row for each that says of how many.

    Of all sweeps those that cannot be measured are left out, with a line for each; of one it is an
    error.
    """
    from tracker.base import base_models

    @cache
    def load(base_run_id: str, precision: str) -> BaseRun:
        return base_models.load(store, base_run_id, device, session.data_dir, precision)

    reference = arguments.sweep or LATEST
    for sweep in _sweeps(store, reference):
        try:
            yield _of_sweep(store, sweep, load, arguments, families, engine)
        except UserError as error:
            if reference != "all":
                raise
            say(f"sweep {sweep.info.run_id} is left out: {error}")


def _of_sweep(
    store: Store,
    sweep: Run,
    load: Callable[[str, str], BaseRun],
    arguments: Arguments,
    families: Sequence[Family],
    engine: Engine,
) -> dict[str, Any]:
    from tracker.sweep.measuring import measure_sweep, sum_up
    from tracker.sweep.plan import load_plan
    from tracker.sweep.sweep import recompute

    params, run_id = sweep.data.params, sweep.info.run_id
    plan = load_plan(store.artifacts, sweep.info.artifact_uri, run_id, sweep.data.tags["key"])
    base_run = load(params["base_run_id"], params.get("precision", "float32"))
    bar, again = partial(_bar, sweep), 0
    outcome = measure_sweep(store, base_run, sweep, plan, families, engine, bar)
    if arguments.recompute and outcome.lacking:
        members, own = outcome.lacking, arguments.own_factors
        with bar(len(members)) as advance:
            again = recompute(store, base_run, sweep, plan, members, own, engine, advance)
        outcome.lacking = []
        sum_up(store, sweep, plan, base_run.test_accuracy)
    for line in outcome.said():
        say(line)
    return {
        "sweep_id": run_id,
        "name": sweep.info.run_name,
        "up_to_date": outcome.current,
        "measured": outcome.measured,
        "recomputed": again,
        "without_checkpoint": sum(bool(member.of_weights) for member in outcome.lacking),
        "without_histories": sum(bool(member.of_histories) for member in outcome.lacking),
        "lost": len(outcome.lost),
    }


def _bar(sweep: Run, size: int) -> AbstractContextManager[Any]:
    return progress(f"measuring {sweep.info.run_name}", size)


def _sweeps(store: Store, reference: str) -> list[Run]:
    """The sweep that is meant, or all. Raises UserError where there is none."""
    from tracker.reading.listing import sweep_of
    from tracker.store.records import Kind

    ids = [experiment.experiment_id for experiment in store.experiments()]
    found = {run.info.run_id: run for run in store.runs(ids, f"tags.kind = '{Kind.SWEEP}'")}
    if reference == "all" and found:
        return list(found.values())
    named = [(run_id, run.info.run_name) for run_id, run in found.items()]
    return [found[sweep_of(LATEST if reference == "all" else reference, named)]]
