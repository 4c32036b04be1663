"""What `predict`, `advise`, `tune` and `unlearn` do: from a command to what came of it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from analysis.atomic import write_atomically
from tracker.api.place import Place
from tracker.api.verbs import base_run_of, computing, named, plans, requested_ids, sweep_run
from tracker.base.base_models import BaseRun
from tracker.base.references import making
from tracker.base.workers import THREADS
from tracker.commands.make import Advise, Audit, Predict, Tune, Unlearn
from tracker.store.records import MEASURED_AT, Finished, milliseconds
from tracker.store.registry import refuse_name, register
from tracker.store.write import Store
from tracker.studies import audit as audits
from tracker.studies.advise import Advice, predictable
from tracker.studies.advise import advise as advice_on
from tracker.studies.evidence import GAP, reference
from tracker.studies.handover import WEIGHTS, as_safetensors, hand_over, refuse_folder
from tracker.studies.predict import only_new, refuse_hopeless
from tracker.studies.predict import predict as predict_plan
from tracker.studies.predicted import Prediction
from tracker.studies.requests import Order, Requests, in_order
from tracker.studies.search import tasks
from tracker.studies.tune import BEGINS, USUAL_SAMPLES, Tuned, as_toml
from tracker.studies.tune import tune as search
from tracker.studies.unlearn import Forgotten, find, forget
from tracker.sweep.choosing import configure, draw_to_try
from tracker.sweep.options import Options, Reporter
from tracker.sweep.plan import Plan, load_plan
from tracker.sweep.sweep import run as run_plan
from tracker.sweep.trials import choose_presets
from unlearning import algorithms
from unlearning.dataset import Dataset
from unlearning.errors import UserError
from unlearning.requests import read_requests, remarks

# Predictions


@dataclass(frozen=True)
class Predicted:
    """A prediction that is in the store, under one seed."""

    made: Prediction
    seed: int
    dataset: Dataset

    def rows(self, top: int | None = None) -> list[dict[str, Any]]:
        """The hardest of each algorithm, or all; with the samples' files, where they have some."""
        train, of_all = self.dataset.train, {"prediction_id": self.made.run_id, "seed": self.seed}
        return [
            {
                **of_all,
                **row,
                **({"sample_path": train.path_of(row["sample_id"])} if train.paths else {}),
            }
            for ranked in self.made.ranked().values()
            for row in ranked[:top]
        ]


def predict(place: Place, command: Predict) -> Iterator[Predicted]:
    """Predict what attempts come to; nothing where predictions are to be graded instead."""
    if command.score is not None:
        return
    with place.store() as store:
        base_run = base_run_of(place, store, command)
        data = base_run.model.dataset
        refuse_hopeless(base_run.model, data.train.ids.tolist())
        bar = partial(place.progress, "predicting")
        with computing(place, command) as engine:
            for plan in plans(place, store, base_run, command):
                wanted = only_new(store, plan) if command.only_new else plan
                made = predict_plan(store, base_run, wanted, engine, bar, place.say)
                yield Predicted(made, plan.seed, data)


# Advice


@dataclass(frozen=True)
class Advised:
    """What is advised for each sample.

    Attributes:
        seconds: that training the base model took; None where it was imported.
    """

    found: Sequence[Advice]
    rows: list[dict[str, Any]]
    seconds: float | None


def advise(place: Place, command: Advise) -> Advised:
    """Say with which algorithm to unlearn each sample."""
    with place.store() as store:
        base_run = base_run_of(place, store, command)
        with computing(place, command) as engine:
            bar = partial(place.progress, "predicting")
            (plan,) = plans(place, store, base_run, command, predictable())
            prediction = predict_plan(store, base_run, plan, engine, bar)

            def attempt(part: Plan) -> Mapping[str, Finished]:
                done: dict[str, Finished] = {}
                title = f"trying {part.algorithms[0].name}"
                with place.progress(title, part.size) as advance:
                    reporter = Reporter(advance, ended=done.update)
                    run_plan(store, base_run, part, Options(engine=engine), reporter)
                return done

            limits = (command.tries, command.max_loss)
            accuracy = base_run.test_accuracy
            found = advice_on(plan, prediction, accuracy, attempt, *limits)
        info = store.run(base_run.run_id).info
    path_of = base_run.model.dataset.train.path_of
    rows = [one.row(path_of(one.sample_id)) for one in found]
    was_trained = base_run.model.origin is not None
    return Advised(found, rows, (info.end_time - info.start_time) / 1000 if was_trained else None)


# Tunings


@dataclass(frozen=True)
class Searched:
    """What a tuning found, with a row an algorithm."""

    made: Tuned
    rows: list[dict[str, Any]]
    base_run: BaseRun


def tune(place: Place, command: Tune) -> Searched:
    """Look for settings, and write them as a preset."""
    path = command.output
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"output is {path}: {path.parent} is no folder that can be written")
    if path.exists() and not path.read_bytes().startswith(BEGINS.encode()):
        raise UserError(
            f"output is {path}, which is there and was not written by 'indelible tune': give "
            "another name, or move it away"
        )
    left_out = [(read_requests(file), str(file)) for file in command.leave_out_samples]
    with place.store() as store, computing(place, command) as engine:
        chosen = algorithms.named(command.algorithms)
        todo = tasks(chosen, command.settings, command.trials, place.say)
        base_run = base_run_of(place, store, command)
        base, seed = base_run.model, command.seed
        data = base.dataset
        out = {i for names, file in left_out for i in requested_ids(place, names, data, file)}
        ids = draw_to_try(base, command.samples, USUAL_SAMPLES, seed, out)
        place.say(f"trying settings on {len(ids)} samples of {base_run.name}")
        with place.progress("tuning", sum(task.size for task in todo)) as advance:
            made = search(store, base_run, todo, ids, seed, engine, advance)
    write_atomically(path, as_toml(made, base_run))
    return Searched(made, [found.row() for found in made.found], base_run)


# Audits


def audit(place: Place, command: Audit) -> tuple[str, list[dict[str, Any]]]:
    """Audit a sweep: the audit's run id, and a row for each algorithm and control."""
    with place.store() as store, computing(place, command) as engine:
        sweep = sweep_run(store, command.sweep)
        params, tags, run_id = sweep.data.params, sweep.data.tags, sweep.info.run_id
        plan = load_plan(store.artifacts, sweep.info.artifact_uri, run_id, tags["key"])
        precision = params.get("precision", "float32")
        base_run = place.bases.load(store, params["base_run_id"], command.device, precision)
        known = base_run.model.companions.references
        how = making(store, store.run(base_run.run_id))
        if known is None or how is None:
            raise UserError(
                f"base model {base_run.run_id} has no reference models to audit: "
                "'indelible train --references 64 --reference-share 0.5' with its settings"
            )
        asked = audits.Audit(base_run, sweep, plan, how, known, command.models or len(known) // 2)
        with place.progress("auditing", len(known)) as advance:
            return audits.audit(store, asked, engine, advance, place.say)


# Deletion requests


def unlearn(place: Place, command: Unlearn) -> tuple[Forgotten, str | None]:
    """Unlearn several samples from one model; and its version in MLflow's registry, if any."""
    if command.register is not None:
        refuse_name(command.register)
    with place.store() as store:
        base_run = base_run_of(place, store, command)
        requests = _requests(place, store, base_run, command)
        refuse_folder(command.output, requests.key)
        done = find(store, base_run, requests)
        if done is None:
            done = _forget(place, store, base_run, requests)
        else:
            place.say(f"it was done before: run {done.run_id}")
        hand_over(command.output, base_run, requests, done)
        if command.reference and GAP not in done.metrics:
            place.say("training a model without the requests ...")
            done = _with_reference(store, base_run, requests, done)
            hand_over(command.output, base_run, requests, done)
        if command.register is None:
            return done, None
        files = {WEIGHTS: as_safetensors(done.state, done.key)}
        return done, register(store, done.run_id, command.register, files)


def _requests(place: Place, store: Store, base_run: BaseRun, command: Unlearn) -> Requests:
    names, data = command.algorithms, base_run.model.dataset
    preset = choose_presets(store, base_run, names, command.preset, command.settings, place.say)
    chosen = configure(names, preset, command.settings)
    ids = named(place, command, data)
    name = f"unlearning-{chosen[0].name}-{len(ids)}-{command.order}"
    plan = Plan.on(base_run, chosen, ids, command.seed, name, None, preset)
    requests = Requests(plan, Order(command.order), command.rounds)
    if command.reference and base_run.model.origin is None:
        raise UserError(
            "a reference is trained by the base model's recipe, and this one was imported: leave "
            "it out"
        )
    for line in () if command.requests else remarks(data, list(map(str, ids)), ids):
        place.say(line)
    place.say(str(preset))
    return requests


def _forget(place: Place, store: Store, base_run: BaseRun, requests: Requests) -> Forgotten:
    order = partial(in_order, store, base_run, requests, THREADS, place.say)
    with place.progress("unlearning", len(requests.plan.sample_ids)) as advance:
        return forget(store, base_run, requests, order, advance)


def _with_reference(
    store: Store, base_run: BaseRun, requests: Requests, done: Forgotten
) -> Forgotten:
    """The same with the numbers of a model that never saw the requests, which are kept."""
    base = base_run.model
    positions = base.dataset.train.positions(sorted(requests.plan.sample_ids)).to(base.device)
    state = {name: tensor.to(base.device) for name, tensor in done.state.items()}
    found = reference(base, state, positions)
    if store.note_metrics(done.run_id, found):
        store.client.set_tag(done.run_id, MEASURED_AT, str(milliseconds()))
    return replace(done, metrics={**done.metrics, **found})
