"""What the command line prints of predictions, advice, tunings and deletion requests."""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tracker.api.studies import Advised, Predicted, Searched
from tracker.cli._output import between, only, show
from tracker.cli._session import Session, say
from tracker.commands.make import Advise, Audit, Predict, Tune, Unlearn
from tracker.studies.request_table import Ended
from tracker.studies.search import as_words
from tracker.studies.tune import Tuned
from tracker.studies.unlearn import Forgotten
from unlearning.errors import Failure, UserError
from unlearning.naming import counted

Row = dict[str, Any]


# Predictions

TOP = 10  # rows of each algorithm in a table
GRADES = (
    *("algorithm", "target", "n", "rho", "ci_low", "ci_high", "rho_of_ceiling"),
    *("precision_10", "coverage", "brier"),
)
NUMBERS = ("gt", "steps", "flips", "prob_lost", "points_lost")


def predict(session: Session, command: Predict, made: Iterable[Predicted]) -> None:
    """The hardest of each algorithm, or the grades of predictions."""
    if command.score is not None:
        _grade(session, command, command.score)
        return
    rows, top = list[Row](), command.top or (TOP if command.style == "table" else None)
    for each in made:
        rows += each.rows(top)
        spoilt, count = each.made.spoilt, each.made.rows.num_rows
        what = "attempts that begin now grade it"
        if spoilt:
            what = (
                f"no sweep grades it that has any of {spoilt} of its {count} attempts, which were "
                "made before, or which it comes from"
            )
        say(f"prediction {each.made.run_id} is in the store: {what}")
    first = [row for row in rows if row["seed"] == command.seed]  # a table is alike for all seeds
    table = only(first, "algorithm", "rank", "sample_id", "label")
    for line, row in zip(table, first, strict=True):
        for name in NUMBERS:
            ends = (row.get(f"{name}_low"), row.get(f"{name}_high"))
            line[name] = between(row.get(name), *ends, ".3g", ".3g", "")
    show(rows, command.style, table, "The hardest samples")


def _grade(session: Session, command: Predict, reference: str) -> None:
    """Grade what was predicted of a sweep's attempts, and print it."""
    with session.warehouse() as warehouse:
        sweep_id = session.sweep_id(warehouse, reference)
        rows = warehouse.report("prediction_scores", sweep=sweep_id).records()
    rows = [row for row in rows if row["algorithm"] in (command.algorithms or row["algorithm"])]
    if not rows:
        raise UserError(
            f"there is no prediction of an attempt of sweep {sweep_id}: 'indelible predict' makes "
            "one before it, with its base model, algorithms, settings, seed and samples"
        )
    graded = [row for row in rows if not row["refused"]]
    refused = dict.fromkeys(
        f"prediction {row['prediction_id']} of {row['algorithm']}: {row['refused']}"
        for row in rows
        if row["refused"]
    )
    if not graded:
        raise UserError(f"this is not graded: {next(iter(refused))}")
    for line in refused:
        say(f"not graded: {line}")
    ids = ("prediction_id",) if len({row["prediction_id"] for row in graded}) > 1 else ()
    show(graded, command.style, only(graded, *ids, *GRADES), "How well it was known")


# Advice


def advise(session: Session, command: Advise, made: Advised) -> None:
    """With what to unlearn each sample, and what that comes to."""
    numbers = ("steps", "seconds", "points_lost", "predicted_points_lost")
    table = only(made.rows, "sample_id", "sample_path", "advice", "algorithm", *numbers)
    spare = ("predicted_points_lost",)
    show(made.rows, command.style, table, "How to unlearn each sample", spare)
    for remark in _outlook(session, command, made):
        say(remark)


def _outlook(session: Session, command: Advise, made: Advised) -> Iterator[str]:
    """What the table comes to, and how to go on."""
    limit, begins = command.max_loss, session.command
    open_ = [one for one in made.found if not one.was_wrong]
    done = [one for one in open_ if one.is_fulfilled]
    yield (
        f"{len(done)} of {counted(len(open_), 'sample')} can be unlearned, each alone, for "
        f"{limit:g} points of test accuracy or less"
    )
    if wrong := len(made.found) - len(open_):
        yield f"{counted(wrong, 'sample')} the base model gets wrong: there is nothing to unlearn"
    if missing := [one.sample_id for one in open_ if one not in done]:
        cost = f", which took {made.seconds:.3g} s for the base model" if made.seconds else ""
        yield (
            f"not within the limit: {_listed(missing)}; other settings may do it (--set, "
            f"--preset), or else training a model without them{cost}"
        )
    if best := [one.best for one in done if one.best]:
        yield (
            f"a model without one of them: {begins} restore {best[0].run_id} --output FILE; "
            f"without all: {begins} unlearn"
        )
    if tried := Counter(each.algorithm for one in open_ for each in one.tried):
        yield (
            "ranks and factors are of one sweep, and these attempts are in several, named "
            f"advice-...: for all of the samples in one, {begins} sweep --algorithm "
            f"{tried.most_common(1)[0][0]} on them, which finds the attempts that are there"
        )


# Audits

AUDIT = (
    *("algorithm", "AUC, ratio", "AUC, z", "copies", "neighbours"),
    *("forgotten", "lost", "worst", "TPR at 1%", "epsilon", "KLOM"),
)


def audit(session: Session, command: Audit, made: tuple[str, Sequence[Row]]) -> None:
    """How far models that forgot can be told from models that never saw the sample."""
    run_id, rows = made
    say(
        "AUC: .5 tells nothing apart; by the likelihood ratio, by z of the sample, of its copies "
        "moved by a pixel, and of its nearest test samples. Lost: points of test accuracy"
    )
    table = []
    for row in rows:
        line = {"algorithm": row["algorithm"]}
        for name, score in zip(AUDIT[1:5], ("ratio", "z", "copies_z", "neighbours_z"), strict=True):
            ends = (row[f"auc_{score}_low"], row[f"auc_{score}_high"])
            line[name] = between(row[f"auc_{score}"], *ends, ".2f", ".2f", "")
        line["forgotten"] = f"{row['forgotten']:.0%}"
        for name, column in (("lost", "points_lost"), ("worst", "worst_points_lost")):
            line[name] = "" if math.isnan(row[column]) else f"{row[column]:.2f}"
        line["TPR at 1%"] = f"{row['tpr_at_1']:.0%}"
        line["epsilon"], line["KLOM"] = f"{row['epsilon']:.1f}", f"{row['klom']:.2f}"
        table.append(line)
    show(list(rows), command.style, table, "Can they be told apart?", ("KLOM", "epsilon", "worst"))
    say(f"audit {run_id} is in the store")


# Tunings

SETTINGS = (
    *("algorithm", "flip_rate", "points_lost"),
    *("shipped", "shipped_flip_rate", "shipped_points_lost"),
)


def tune(session: Session, command: Tune, searched: Searched) -> None:
    """The settings that were found, and the sweep with them."""
    table = only(searched.rows, *SETTINGS)
    for line, row in zip(table, searched.rows, strict=True):
        line["settings"] = as_words(row["settings"]) or "defaults"
    show(searched.rows, command.style, table, "Settings")
    for remark in _remarks(searched.made, command.max_loss):
        say(remark)
    names = {each.task.name for each in searched.made.found}
    left = [each for each in command.settings if each.partition(".")[0] not in names]
    words = ["sweep", *(word for name in command.algorithms for word in ("--algorithm", name))]
    words += ["--model", searched.base_run.run_id, "--preset", str(command.output)]
    words += [word for each in left for word in ("--set", each)]
    say(f"next: {session.command} {shlex.join(words)} --samples 100")


def _remarks(made: Tuned, max_loss: float) -> Iterator[str]:
    """A line for each algorithm whose settings flip too few samples or cost too much."""
    for found in made.found:
        name, best = found.task.name, found.best
        if found.flips_nothing:
            yield f"{name}: nothing that was tried flips a sample: it is left as it is"
        elif not best.is_enough:
            yield f"{name}: no settings that were tried flip more than {best.flip_rate:.0%}"
        if best.flip_rate and best.points_lost > max_loss:
            yield (
                f"{name}: what was found loses {best.points_lost:.1f} points of test accuracy on "
                f"average, more than {max_loss:g} (--max-loss): more --trials may find better"
            )


# Deletion requests

SHOWN = 10  # samples that a line names
REQUEST = (
    *("sample_id", "sample_path", "label", "ended"),
    *("rounds", "steps", "points_lost", "forget_prob"),
)
REFERENCE = (
    "trained without the requests: test accuracy {reference_test_accuracy:.1%}, accuracy on the "
    "requests {reference_requests_accuracy:.1%};\ndistance from that model on the test set: "
    "{unlearning_gap:.3g}, of the base model {untouched_gap:.3g}"
)


def unlearn(session: Session, command: Unlearn, made: tuple[Forgotten, str | None]) -> None:
    """What became of each request. Raises Failure where that is not strictly what was asked."""
    done, version = made
    rows = [vars(row) for row in done.rows]
    show(rows, command.style, only(rows, *REQUEST))
    for line in _summary(done, command):
        say(line)
    if version is not None:
        say(f"registered as version {version} of {command.register}")
    right = [*done.ids(Ended.REMEMBERED), *(() if done.ids(Ended.NEVER) else done.learned)]
    if command.strict and right:
        raise Failure(f"the model gets {counted(len(right), 'request')} right: {_listed(right)}")


def _summary(done: Forgotten, command: Unlearn) -> Iterator[str]:
    """What it came to, a line each."""
    said, asked = done.metrics, len(done.rows)
    first = f"{len(done.ids(Ended.FORGOTTEN))} of {asked} requests are forgotten"
    if done.ids(Ended.NEVER):
        first = f"the model was trained without any of the {asked} requests"
    if remembered := done.ids(Ended.REMEMBERED):
        first += f"; NOT forgotten: {_listed(remembered)} (try more --rounds, or another algorithm)"
    yield first
    for what, ids in (
        ("misclassified after steps for others alone", done.ids(Ended.MISCLASSIFIED)),
        ("nothing was unlearned of what the base model got wrong", done.ids(Ended.WRONG)),
        ("of these the unlearned model gets right", done.learned),
    ):
        if ids:
            yield f"{what}: {_listed(ids)}"
    for name in [each.partition("/")[2] for each in said if each.startswith("before/")]:
        before, after = said[f"before/{name}"], said.get(f"after/{name}", math.nan)
        yield f"{name.replace('_', ' ')}: {before:.4g} before, {after:.4g} now"
    yield f"{said['points_lost']:z.1f} percentage points of test accuracy lost"
    if said["points_lost"] > command.max_loss:
        yield (
            f"the model is damaged: it lost more than {command.max_loss:g} points; another "
            "algorithm or --order may cost less, and '--algorithm retrain --order together' trains "
            "a model without the requests"
        )
    if "unlearning_gap" in said:
        yield REFERENCE.format(**said)
    yield f"run {done.run_id}; files are in {command.output}"


def _listed(ids: Sequence[int]) -> str:
    named = ", ".join(map(str, ids[:SHOWN]))
    return f"{named}, ... ({len(ids)} in all)" if len(ids) > SHOWN else named
