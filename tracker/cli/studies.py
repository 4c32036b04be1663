"""What the command line prints of advice, tunings and deletion requests."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tracker.api.studies import Advised, Searched
from tracker.cli._output import show, without
from tracker.cli._session import Session, say
from tracker.commands.make import Advise, Tune, Unlearn
from tracker.studies.request_table import Ended
from tracker.studies.search import as_words
from tracker.studies.tune import Tuned
from tracker.studies.unlearn import Forgotten
from unlearning.errors import Failure
from unlearning.naming import counted

SHOWN = 10  # samples that a line names
SUMMED = {
    "remaining_accuracy": "accuracy on the remaining training samples: {:.1%} before, {:.1%} now",
    "requests_loss": "mean loss of the requests: {:.3g} before, {:.3g} now",
    "classes_loss": "mean loss of test samples of their classes: {:.3g} before, {:.3g} now",
    "called_unseen": "requests that an attack by confidence calls never seen: {:.0%} before, "
    "{:.0%} now",
}
REFERENCE = (
    "trained without the requests: test accuracy {reference_test_accuracy:.1%}, accuracy on the "
    "requests {reference_requests_accuracy:.1%};\ndistance from that model on the test set: "
    "{unlearning_gap:.3g}, of the base model {untouched_gap:.3g}"
)


# Advice


def advised(session: Session, command: Advise, made: Advised) -> None:
    """With what to unlearn each sample, and what that comes to."""
    table = [_advice(row) for row in made.rows]
    if not any(row["sample_path"] for row in made.rows):
        table = without(table, "sample_path")
    title = "How to unlearn each sample"
    show(made.rows, command.style, table, title, below=["sample_path"])
    for line in _outlook(session, command, made):
        say(line)


def _advice(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as a table has it."""
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
        ((most, _),) = Counter(each.algorithm for each in best).most_common(1)
        yield f"a model without one of them: {begins} restore {best[0].run_id} --output FILE"
        yield (
            f"one without all: {begins} unlearn --algorithm {most}, with the same model, samples "
            f"and settings, where the losses add up; or {begins} unlearn --algorithm retrain "
            "--order together, which trains it anew"
        )
    if tried := Counter(each.algorithm for one in open_ for each in one.tried):
        yield (
            "ranks and factors are of one sweep, and these attempts are in several, named "
            f"advice-...: for all of the samples in one, {begins} sweep --algorithm "
            f"{tried.most_common(1)[0][0]} on them, which finds the attempts that are there"
        )


# Tunings


def tuned(session: Session, command: Tune, searched: Searched) -> None:
    """The settings that were found, and the sweep with them."""
    table = [_settings(row) for row in searched.rows]
    show(searched.rows, command.style, table, "Settings", below=("settings",))
    for line in _remarks(searched.made, command.max_loss):
        say(line)
    names = {each.task.name for each in searched.made.found}
    left = [each for each in command.settings if each.partition(".")[0] not in names]
    words = ["sweep", *(word for name in command.algorithms for word in ("--algorithm", name))]
    words += ["--model", searched.base_run.run_id, "--preset", str(command.output)]
    words += [word for each in left for word in ("--set", each)]
    say(f"next: {session.command} {shlex.join(words)} --samples 100")


def _settings(row: dict[str, Any]) -> dict[str, Any]:
    """A row as a table has it."""
    return {
        "algorithm": row["algorithm"],
        "flips": f"{row['flip_rate']:.0%}",
        "points lost": f"{row['points_lost']:.2f}",
        "shipped": row["shipped"],
        "its flips": f"{row['shipped_flip_rate']:.0%}",
        "its points lost": f"{row['shipped_points_lost']:.2f}",
        "settings": as_words(row["settings"]) or "defaults",
    }


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


def unlearned(session: Session, command: Unlearn, made: tuple[Forgotten, str | None]) -> None:
    """What became of each request. Raises Failure where that is not strictly what was asked."""
    done, version = made
    rows = [vars(row) for row in done.rows]
    show(rows, command.style, [_request(row) for row in rows], below=["file"])
    for line in _summary(done, command):
        say(line)
    if version is not None:
        say(f"registered as version {version} of {command.register}")
    right = [*done.ids(Ended.REMEMBERED), *(() if done.ids(Ended.NEVER) else done.learned)]
    if command.strict and right:
        raise Failure(f"the model gets {counted(len(right), 'request')} right: {_listed(right)}")


def _request(row: dict[str, Any]) -> dict[str, Any]:
    """A row as a table has it."""
    lost = row["points_lost"]
    return {
        "sample": row["sample_id"],
        "label": row["label"],
        "ended": row["ended"].replace("_", " "),
        "rounds": row["rounds"],
        "steps": row["steps"],
        "points lost": None if lost is None else f"{lost:z.2f}",
        "p of label": f"{row['forget_prob']:.3g}",
        **({"file": row["sample_path"]} if row["sample_path"] else {}),
    }


def _summary(done: Forgotten, command: Unlearn) -> Iterator[str]:
    """What it came to, a line each."""
    said, asked = done.metrics, len(done.rows)
    first = f"{len(done.ids(Ended.FORGOTTEN))} of {asked} requests are forgotten"
    if done.ids(Ended.NEVER):
        first = f"the model was trained without any of the {asked} requests"
    if remembered := done.ids(Ended.REMEMBERED):
        first += f"; NOT forgotten: {_listed(remembered)} (try more --rounds, or another algorithm)"
    yield first
    if missed := done.ids(Ended.MISCLASSIFIED):
        yield f"misclassified after steps for others alone: {_listed(missed)}"
    if wrong := done.ids(Ended.WRONG):
        yield f"nothing was unlearned of what the base model got wrong: {_listed(wrong)}"
    if done.learned:
        yield f"of these the unlearned model gets right: {_listed(done.learned)}"
    before, after = said["before/test_accuracy"], said["after/test_accuracy"]
    lost = said["points_lost"]
    yield f"test accuracy: {before:.1%} before, {after:.1%} now, {lost:z.1f} points lost"
    if lost > command.max_loss:
        yield (
            f"the model is damaged: it lost more than {command.max_loss:g} points; another "
            "algorithm or --order may cost less, and '--algorithm retrain --order together' trains "
            "a model without the requests"
        )
    for name, what in SUMMED.items():
        ends = [said.get(f"{when}/{name}") for when in ("before", "after")]
        if None not in ends:
            yield what.format(*ends, asked)
    if "unlearning_gap" in said:
        yield REFERENCE.format(**said)
    yield f"run {done.run_id}; files are in {command.output}"


def _listed(ids: Sequence[int]) -> str:
    named = ", ".join(map(str, ids[:SHOWN]))
    return f"{named}, ... ({len(ids)} in all)" if len(ids) > SHOWN else named
