"""What the command line prints of predictions, advice, tunings and deletion requests."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from tracker.api.studies import Predicted, Searched
from tracker.cli._output import Session, between, only, say, show
from tracker.cli.options import given
from tracker.commands.make import Advise, Audit, Predict, Tune, Unlearn
from tracker.studies.advise import NEEDLESS, NOTHING_DOES, TOO_DEAR, UNLEARN
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
    path = ["sample_path"] if first and "sample_path" in first[0] else []
    table = only(first, "algorithm", "rank", *path, "sample_id", "label")
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


def advise(session: Session, command: Advise, made: list[Row]) -> None:
    """With what to unlearn each sample, and what that comes to."""

    def restore(row: Row) -> str:
        file = f"{row['sample_id']:05d}.safetensors"
        return session.line("restore", row["run_id"], "--output", file)

    said = defaultdict[str, list[object]](list)
    for row in made:
        said[row["advice"]].append(row["sample_path"] or row["sample_id"])
    rows = [{**row, "restore": row["run_id"] and restore(row)} for row in made]
    numbers = ("steps", "seconds", "points_lost", "z", "verdict")
    table = only(rows, "sample_path", "sample_id", "advice", "algorithm", *numbers)
    show(rows, command.style, table, "How to unlearn each sample", ("seconds", "steps"))
    needless = sum(len(said[why]) for why in NEEDLESS.values())
    say(
        f"{len(said[UNLEARN])} of {counted(len(made) - needless, 'sample')} can be unlearned, each "
        f"alone, for {command.max_loss:g} points of test accuracy or less"
    )
    for why in NEEDLESS.values():
        if said[why]:
            say(f"{why}, so that there is nothing to unlearn: {_listed(said[why])}")
    if missing := said[TOO_DEAR] + said[NOTHING_DOES]:
        say(
            f"not within the limit: {_listed(missing)}; other settings may do it (--set, "
            "--preset), or else training a model without them"
        )
    if fit := [row for row in rows if row["advice"] == UNLEARN]:
        say(f"next, a model without {said[UNLEARN][0]}:\n{fit[0]['restore']}", whole=True)
        if asked := given(command, "requests", "sample_ids", "ones"):
            how = given(command, "model", "preset", "precision", "seed")
            limit = ("--max-loss", f"{command.max_loss:g}")
            words = ("unlearn", *asked, *how, *limit, "--output", "forgotten")
            say(f"or without all:\n{session.line(*words)}", whole=True)


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
AFTER = 100  # samples of the sweep that may come next


def tune(session: Session, command: Tune, searched: Searched) -> None:
    """The settings that were found, and the sweep with them."""
    table = only(searched.rows, *SETTINGS)
    for line, row in zip(table, searched.rows, strict=True):
        line["settings"] = as_words(row["settings"]) or "defaults"
    show(searched.rows, command.style, table, "Settings")
    for remark in _remarks(searched.made, command.max_loss):
        say(remark)
    names = {each.task.name for each in searched.made.found}
    left = [
        word
        for each in command.settings
        if each.partition(".")[0] not in names
        for word in ("--set", each)
    ]
    base, found = searched.base_run, given(command, "until", "seed")
    model = ("--model", base.run_id, "--preset", command.output, *found, *left)
    samples = ("--samples", min(AFTER, len(base.model.dataset.train)))
    words = ("sweep", *given(command, "algorithms"), *model, *samples)
    say(f"next:\n{session.line(*words)}", whole=True)


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
    *("sample_path", "sample_id", "label", "ended", "z", "z_untouched"),
    *("rounds", "steps", "points_lost", "forget_prob"),
)


def unlearn(session: Session, command: Unlearn, made: tuple[Forgotten, str | None]) -> None:
    """What became of each request. Raises Failure where that is not what was asked."""
    done, version = made
    rows = [vars(row) for row in done.rows]
    table = only(rows, *(n for n in REQUEST if any(row[n] is not None for row in rows)))
    show(rows, command.style, table, "Requests", ("rounds", "steps", "forget_prob"))
    for line in _summary(done, command):
        say(line)
    if version is not None:
        say(f"registered as version {version} of {command.register}")
    if not done.record["is_done"]:
        if done.record["model"]["has_recipe"] and not done.ids(Ended.NEVER):
            words = given(command, "requests", "sample_ids", "ones", "model", "seed")
            output = ("--output", f"{command.output}-retrained")
            line = session.line("unlearn", *words, "--algorithm", "retrain", *output)
            say(f"a model that never saw them:\n{line}", whole=True)
        raise Failure("; ".join(_undone(command, done)))


def _summary(done: Forgotten, command: Unlearn) -> Iterator[str]:
    """What it came to, a line each."""
    said, asked, how = done.metrics, len(done.rows), done.record["how"]
    of = done.record["references"]
    if done.ids(Ended.NEVER):
        yield f"the model was trained without any of the {asked} requests"
    else:
        by = f", by z of {of['models']} reference models" if how["until"] != "flip" else ""
        yield f"{len(done.ids(Ended.FORGOTTEN))} of {asked} requests are forgotten{by}"
    for what, ids in (
        ("misclassified after steps for others alone", done.ids(Ended.MISCLASSIFIED)),
        ("nothing was unlearned of what the base model got wrong", done.ids(Ended.WRONG)),
        ("of these the unlearned model gets right", done.learned),
    ):
        if ids:
            yield f"{what}: {_listed(ids)}"
    for trial in done.record["trials"]:
        kept, rate = " (kept)" if trial["is_kept"] else "", trial["settings"].get("lr")
        ends = ", ".join(
            f"{count} {end.replace('_', '-')}" for end, count in trial["ended"].items()
        )
        yield (
            f"{trial['algorithm']}{f', lr {rate:.2g}' if rate else ''}{kept}: {ends}; "
            f"{trial['points_lost']:z.2f} points lost, {trial['seconds']:.2g} s"
        )
    yield (
        f"test accuracy: {said['before/test_accuracy']:.1%} before, "
        f"{said['after/test_accuracy']:.1%} now, {said['points_lost']:z.2f} points lost"
    )
    spent, other = done.record["spent"], done.record["retraining"]
    if other["seconds"] is not None:
        lost = "" if other["points_lost"] is None else f", {other['points_lost']:z.2f} points lost"
        yield (
            f"so far {counted(spent['calls'], 'call')} with {spent['seconds']:.1f} s of steps; "
            f"training without the requests: {other['seconds']:.1f} s{lost} ({other['by']})"
        )
        if other["seconds"] <= spent["seconds"] and not done.ids(Ended.NEVER):
            yield "training without them is the quicker way now: --algorithm retrain"
    yield f"run {done.run_id}; weights, table and record.html are in {command.output}"


def _undone(command: Unlearn, done: Forgotten) -> Iterator[str]:
    """What is not as it was asked for."""
    until = done.record["how"]["until"]
    if open_ := [row for row in done.rows if not row.is_forgotten(until)]:
        names = [str(row.sample_path or row.sample_id) for row in open_]
        yield f"{counted(len(open_), 'request')} not forgotten: {_listed(names)}"
    if (lost := done.metrics["points_lost"]) > command.max_loss:
        yield (
            f"the model lost {lost:.2f} points of test accuracy, more than {command.max_loss:g} "
            "(--max-loss)"
        )


def _listed(names: Sequence[object]) -> str:
    shown = ", ".join(map(str, names[:SHOWN]))
    return f"{shown}, ... ({len(names)} in all)" if len(names) > SHOWN else shown
