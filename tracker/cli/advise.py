"""Which samples will be hard to unlearn, and with what to unlearn each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from tracker.cli._engines import engine_options
from tracker.cli._members import (
    Members,
    algorithm_option,
    load_base,
    model_option,
    plans,
    precision_option,
    preset_option,
    remaining_option,
    requests_option,
    sample_ids_option,
    sample_option,
    samples_option,
    seed_option,
    set_option,
)
from tracker.cli._options import as_one, device_option, format_option, max_loss_option
from tracker.cli._output import progress, show, without
from tracker.cli._session import Session, pass_session, say
from tracker.cli.predict import bar
from unlearning.errors import Failure
from unlearning.naming import counted

if TYPE_CHECKING:
    from tracker.base.base_models import BaseRun
    from tracker.store.records import Finished
    from tracker.store.write import Store
    from tracker.studies.advise import Advice
    from tracker.sweep.options import Options
    from tracker.sweep.plan import Plan

SHOWN = 5  # samples that a line names


@dataclass(frozen=True)
class Arguments(Members):
    """The options of the command, by the names that they have there."""

    tries: int
    max_loss: float
    style: str


@click.command()
@model_option
@algorithm_option(required=False)
@samples_option
@sample_ids_option
@requests_option
@sample_option
@remaining_option
@preset_option
@set_option
@seed_option
@device_option
@precision_option
@engine_options
@click.option(
    "--tries",
    type=click.IntRange(1),
    default=2,
    show_default=True,
    help="Algorithms that are tried on each sample in any case, those that look best.",
)
@max_loss_option
@format_option
@pass_session
@as_one(partial(Arguments, only_correct=False, repeats=1))
def command(session: Session, arguments: Arguments) -> None:
    """Say with which algorithm to unlearn each sample, and what that costs.

    All algorithms are predicted for all samples first (see 'indelible predict'). Then those that
    look best are tried on each sample, and the next best while none has flipped it for --max-loss
    points of test accuracy or less. The best is the one that loses the fewest points. Attempts are
    child runs of sweeps, as those of 'indelible sweep', and found again.

    Without --algorithm all are considered of which the index knows something. What nothing flips
    within the limit is named, with what training a model without it takes.

    \b
    Example:
      indelible advise --requests FILE --max-loss 1
    """
    arguments.check()
    named = arguments.named_samples()
    with session.store() as store, arguments.computing() as engine:
        from tracker.studies.advise import advise, as_row, predictable
        from tracker.studies.predict import predict
        from tracker.sweep.options import Options

        base_run = load_base(store, arguments, session.data_dir)
        chosen = arguments.names or predictable()
        (plan,) = plans(store, base_run, replace(arguments, names=tuple(chosen)), named)
        try:
            prediction = predict(store, base_run, plan, engine, bar)
            found = advise(
                plan,
                prediction,
                base_run.test_accuracy,
                lambda part: _attempts(store, base_run, part, Options(engine=engine)),
                arguments.tries,
                arguments.max_loss,
            )
        except KeyboardInterrupt:
            raise Failure("stopped; the same command goes on where it stopped") from None
        seconds = _training_seconds(store, base_run)
    paths = base_run.model.dataset.train.path_of
    rows = [as_row(one, paths(one.sample_id), arguments.max_loss) for one in found]
    table = [_shown(row) for row in rows]
    if not any(row["sample_path"] for row in rows):
        table = without(table, "sample_path")
    show(rows, arguments.style, table, "How to unlearn each sample", below=["sample_path"])
    for line in _summary(session, found, arguments, seconds):
        say(line)


def _attempts(
    store: Store, base_run: BaseRun, plan: Plan, options: Options
) -> Mapping[str, Finished]:
    """The members of a sweep, by key, once all are in the store."""
    from tracker.sweep import sweep
    from tracker.sweep.options import Reporter

    done: dict[str, Finished] = {}
    with progress(f"trying {plan.algorithms[0].name}", plan.size) as advance:
        reporter = Reporter(advance, lambda line: None, ended=done.update)
        sweep.run(store, base_run, plan, options, reporter)
    return done


def _training_seconds(store: Store, base_run: BaseRun) -> float | None:
    """What training the base model took; None where it was imported."""
    if base_run.model.origin is None:
        return None
    info = store.run(base_run.run_id).info
    return float(info.end_time - info.start_time) / 1000


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """What a table has room for."""
    lost, seconds, predicted = row["points_lost"], row["seconds"], row["predicted_points_lost"]
    return {
        "sample_id": row["sample_id"],
        "sample_path": row["sample_path"],
        "advice": row["advice"],
        "algorithm": row["algorithm"],
        "steps": row["steps"],
        "seconds": None if seconds is None else f"{seconds:.2g}",
        "points lost": None if lost is None else f"{lost:.2f}",
        "predicted": None if predicted is None else f"{predicted:.2f}",
    }


def _summary(
    session: Session, found: Sequence[Advice], arguments: Arguments, seconds: float | None
) -> list[str]:
    """What the table comes to, and how to go on."""
    limit = f"{arguments.max_loss:g} points of test accuracy or less"
    open_ = [one for one in found if not one.was_wrong]
    done = [one for one in open_ if one.is_fulfilled(arguments.max_loss)]
    lines = [
        f"{len(done)} of {counted(len(open_), 'sample')} can be unlearned, each alone, for {limit}"
    ]
    if wrong := len(found) - len(open_):
        lines.append(
            f"{counted(wrong, 'sample')} the base model gets wrong: there is nothing to unlearn"
        )
    if missing := [one.sample_id for one in open_ if one not in done]:
        names = ", ".join(map(str, missing[:SHOWN])) + (" ..." if len(missing) > SHOWN else "")
        cost = "" if seconds is None else f", which took {seconds:.3g} s for the base model"
        lines.append(
            f"not within the limit: {names}; other settings may do it (--set, --preset), or else "
            f"training a model without them{cost}"
        )
    if best := [one.best for one in done if one.best]:
        ((most, _),) = Counter(each.algorithm for each in best).most_common(1)
        begins = session.command
        lines += [
            f"a model without one of them: {begins} restore {best[0].run_id} --output FILE",
            f"one without all: {begins} unlearn --algorithm {most}, with the same model, samples "
            f"and settings, where the losses add up; or {begins} unlearn --algorithm retrain "
            "--order together, which trains it anew",
        ]
    if tried := Counter(each.algorithm for one in open_ for each in one.tried):
        lines.append(
            "ranks and factors are of one sweep, and these attempts are in several, named "
            f"advice-...: for all of the samples in one, {session.command} sweep --algorithm "
            f"{tried.most_common(1)[0][0]} on them, which finds the attempts that are there"
        )
    return lines
