"""One model that has forgotten all of a list of samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tracker.cli._members import (
    Members,
    algorithm_option,
    load_base,
    model_option,
    precision_option,
    preset_option,
    requests_option,
    sample_ids_option,
    sample_option,
    seed_option,
    set_option,
)
from tracker.cli._options import OutputPath, as_one, device_option, format_option, max_loss_option
from tracker.cli._output import progress, show
from tracker.cli._session import Session, pass_session, say
from unlearning.errors import Failure, UserError
from unlearning.naming import counted

if TYPE_CHECKING:
    from tracker.base.base_models import BaseRun
    from tracker.store.write import Store
    from tracker.studies.unlearn import Forgotten
    from tracker.studies.requests import Requests

SHOWN = 10  # samples that a line names


@dataclass(frozen=True)
class Arguments(Members):
    """The options of the command, by the names that they have there."""

    order: str
    rounds: int
    output: Path
    register: str | None
    reference: bool
    strict: bool
    max_loss: float
    style: str

    @classmethod
    def given(cls, **options: Any) -> Arguments:
        """From the options; those of a sweep that this command has not are as if left out."""
        left_out = {"samples": None, "only_correct": False, "remaining": None, "repeats": 1}
        threads = {"workers": None, "engine": "threads", "address": None, "slots": None}
        every: dict[str, Any] = {**left_out, **threads, **options}
        return cls(**every)

    def check(self) -> None:
        """Raise UserError for options that exclude each other, or that are missing."""
        super().check()
        if len(self.names) != 1:
            raise UserError(
                f"--algorithm is given {len(self.names)} times: one model is made by one algorithm"
            )
        if self.sample_ids is None and self.requests is None and not self.ones:
            raise UserError(
                "name what is to be forgotten with --requests FILE, --sample-ids FILE or --sample"
            )
        if self.register is not None:
            from tracker.store.registry import refuse_name

            refuse_name(self.register)


@click.command()
@model_option
@algorithm_option(required=True)
@preset_option
@set_option
@sample_ids_option
@requests_option
@sample_option
@click.option(
    "--order",
    type=click.Choice(["given", "easy", "hard", "together"]),
    default="given",
    show_default=True,
    help="One after the other as given, or by the GT that 'indelible predict' foretells; or all "
    "at once.",
)
@click.option(
    "--rounds",
    type=click.IntRange(1, 1000),
    default=3,
    show_default=True,
    help="Passes over the requests, at most: those that are still or again remembered are "
    "unlearned once more.",
)
@seed_option
@click.option(
    "--output",
    type=OutputPath(path_type=Path, file_okay=False),
    required=True,
    metavar="DIR",
    help="Folder for the weights, the table and a note.",
)
@click.option("--register", metavar="NAME", help="Also register it in MLflow as that model.")
@click.option(
    "--reference",
    is_flag=True,
    help="Also train a model without the requests, and say how near the unlearned one is.",
)
@click.option(
    "--strict",
    is_flag=True,
    help="End with exit code 1 where the model gets a request right that it has seen.",
)
@max_loss_option
@device_option
@precision_option
@format_option
@pass_session
@as_one(Arguments.given)
def command(session: Session, arguments: Arguments) -> None:
    """Unlearn several samples from one model, and write the model that has forgotten all.

    Each step begins with the weights that the last one left, and what it rehearses never has any
    of the requests. The command called again goes on where it stopped, and if it was done writes
    the same files again.

    \b
    Example:
      indelible unlearn --algorithm ga --sample 15 --sample 126 --output forgotten
      indelible unlearn --algorithm neggrad --sample-ids ids.txt --order easy --output forgotten
    """
    arguments.check()
    named = arguments.named_samples()
    with session.store() as store:
        from tracker.studies import request_table as asked, unlearn as forgotten, handover as handing

        base_run = load_base(store, arguments, session.data_dir)
        requests = _requests(store, base_run, arguments, named)
        handing.refuse_folder(arguments.output, requests.key)
        done = forgotten.find(store, base_run, requests)
        if done is None:
            done = _forget(store, base_run, requests)
        else:
            say(f"it was done before: run {done.run_id}")
        if arguments.reference:
            handing.hand_over(arguments.output, base_run, requests, done)  # what follows takes long
            done = _with_reference(store, base_run, requests, done)
        handing.hand_over(arguments.output, base_run, requests, done)
        version = _registered(store, done, arguments.register)
    rows = [vars(row) for row in done.rows]
    show(rows, arguments.style, [_shown(row) for row in rows], below=["file"])
    for line in _summary(done, arguments, version):
        say(line)
    right = [*done.ids(asked.REMEMBERED), *(() if done.ids(asked.NEVER) else done.learned)]
    if arguments.strict and right:
        raise Failure(f"the model gets {counted(len(right), 'request')} right: {_listed(right)}")


def _requests(
    store: Store, base_run: BaseRun, arguments: Arguments, named: Sequence[str]
) -> Requests:
    from tracker.studies.requests import Order, Requests
    from tracker.sweep.plan import Plan
    from tracker.sweep.trials import choose_presets
    from tracker.sweep.settings import configure
    from unlearning.requests import remarks

    names = arguments.names
    preset = choose_presets(store, base_run, names, arguments.preset, arguments.changes, say)
    chosen = configure(names, preset, arguments.changes)
    data = base_run.model.dataset
    ids = arguments.ids_of(named, data)
    name = f"unlearning-{chosen[0].name}-{len(ids)}-{arguments.order}"
    plan = Plan.on(base_run, chosen, ids, arguments.seed, name, None, preset)
    requests = Requests.of(plan, Order(arguments.order), arguments.rounds)
    if arguments.reference and base_run.model.origin is None:
        raise UserError(
            "--reference trains by the base model's recipe, and this one was imported: leave it out"
        )
    for line in () if arguments.requests else remarks(data, named, ids):
        say(line)
    say(str(preset))
    return requests


def _forget(store: Store, base_run: BaseRun, requests: Requests) -> Forgotten:
    from tracker.base.workers import THREADS
    from tracker.studies.unlearn import forget
    from tracker.studies.requests import in_order

    def order() -> list[int]:
        if requests.is_predicted:
            say("finding out which requests are easy ...")
        return in_order(store, base_run, requests, THREADS)

    total = len(requests.plan.sample_ids)
    try:
        with progress("unlearning", total) as advance:
            return forget(store, base_run, requests, order, advance)
    except KeyboardInterrupt:
        raise Failure("stopped; the same command goes on where it stopped") from None


def _with_reference(
    store: Store, base_run: BaseRun, requests: Requests, done: Forgotten
) -> Forgotten:
    """The same with the numbers of a model that never saw the requests, which are kept."""
    from dataclasses import replace

    from tracker.store.records import MEASURED_AT, milliseconds
    from tracker.studies.evidence import GAP, reference

    if GAP in done.metrics:
        return done
    say("training a model without the requests ...")
    base = base_run.model
    positions = base.dataset.train.positions(requests.ids()).to(base.device)
    state = {name: tensor.to(base.device) for name, tensor in done.state.items()}
    found = reference(base, state, positions)
    if store.note_metrics(done.run_id, found):
        store.client.set_tag(done.run_id, MEASURED_AT, str(milliseconds()))
    return replace(done, metrics={**done.metrics, **found})


def _registered(store: Store, done: Forgotten, name: str | None) -> str | None:
    """The version that the model has in MLflow's registry, if it is to be there."""
    if name is None:
        return None
    from tracker.store.registry import register
    from tracker.studies.handover import WEIGHTS, as_safetensors

    content = as_safetensors(done.state, done.key)
    return register(store, done.run_id, name, {WEIGHTS: content})


def _shown(row: dict[str, Any]) -> dict[str, Any]:
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


def _summary(done: Forgotten, arguments: Arguments, version: str | None) -> list[str]:
    """What it came to, a line each."""
    from tracker.studies.request_table import FORGOTTEN, MISCLASSIFIED, NEVER, REMEMBERED, WRONG

    said, asked = done.metrics, len(done.rows)
    remembered, wrong = done.ids(REMEMBERED), done.ids(WRONG)
    first = f"{len(done.ids(FORGOTTEN))} of {asked} requests are forgotten"
    if done.ids(NEVER):
        first = f"the model was trained without any of the {asked} requests"
    if remembered:
        first += f"; NOT forgotten: {_listed(remembered)} (try more --rounds, or another algorithm)"
    lines = [first]
    if missed := done.ids(MISCLASSIFIED):
        lines.append(f"misclassified after steps for others alone: {_listed(missed)}")
    if wrong:
        lines.append(f"nothing was unlearned of what the base model got wrong: {_listed(wrong)}")
    if done.learned:
        lines.append(f"of these the unlearned model gets right: {_listed(done.learned)}")
    before, after = said["before/test_accuracy"], said["after/test_accuracy"]
    lost = said["points_lost"]
    lines.append(f"test accuracy: {before:.1%} before, {after:.1%} now, {lost:z.1f} points lost")
    if lost > arguments.max_loss:
        lines.append(
            f"the model is damaged: it lost more than {arguments.max_loss:g} points; another "
            "algorithm or --order may cost less, and '--algorithm retrain --order together' trains "
            "a model without the requests"
        )
    for name, what in SUMMED.items():
        ends = [said.get(f"{when}/{name}") for when in ("before", "after")]
        if None not in ends:
            lines.append(what.format(*ends, asked))
    if "unlearning_gap" in said:
        lines.append(REFERENCE.format(**said))
    lines.append(f"run {done.run_id}; files are in {arguments.output}")
    if version is not None:
        lines.append(f"registered as version {version} of {arguments.register}")
    return lines


def _listed(ids: Sequence[int]) -> str:
    named = ", ".join(map(str, ids[:SHOWN]))
    return f"{named}, ... ({len(ids)} in all)" if len(ids) > SHOWN else named


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
