"""What `predict`, `advise`, `tune` and `unlearn` do: from a command to what came of it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from analysis.atomic import write_atomically
from tracker.api.place import Place
from tracker.api.verbs import (
    base_run_of,
    computing,
    named,
    plans,
    refer,
    requested_ids,
)
from tracker.base import logged_models
from tracker.base.base_models import BaseRun
from tracker.base.references import making
from tracker.base.workers import THREADS
from tracker.commands.make import Advise, Audit, Predict, Tune, Unlearn
from tracker.reading.listing import find_sweep
from tracker.store.records import Finished, Run
from tracker.store.registry import refuse_name, register
from tracker.store.write import Store
from tracker.studies import audit as audits
from tracker.studies.advise import ADVICE, usual
from tracker.studies.advise import advise as advice_on
from tracker.studies.handover import (
    WEIGHTS,
    as_safetensors,
    hand_over,
    record_in,
    refuse_folder,
)
from tracker.studies.predict import only_new, refuse_hopeless
from tracker.studies.predict import predict as predict_plan
from tracker.studies.predicted import Prediction
from tracker.studies.requests import (
    USUAL,
    Earlier,
    Order,
    Requests,
    at_rates,
    order_of,
    retraining,
)
from tracker.studies.search import tasks
from tracker.studies.tune import BEGINS, USUAL_SAMPLES, Tuned, as_toml
from tracker.studies.tune import tune as search
from tracker.studies.unlearn import Forgotten, find, forget, read, run_of
from tracker.sweep.choosing import configure, draw_to_try
from tracker.sweep.options import Options, Reporter
from tracker.sweep.plan import FLIP, Plan, load_plan
from tracker.sweep.sweep import run as run_plan
from tracker.sweep.trials import choose_presets
from unlearning import algorithms
from unlearning.algorithm import Algorithm
from unlearning.dataset import Dataset
from unlearning.errors import UserError
from unlearning.naming import counted
from unlearning.recipe import Recipe
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


def advise(place: Place, command: Advise) -> list[dict[str, Any]]:
    """Say with which algorithm to unlearn each sample, a row each."""
    with place.store() as store:
        base_run = base_run_of(place, store, command)
        with computing(place, command) as engine:
            (plan,) = plans(place, store, base_run, command, usual(command.until))
            plan = replace(plan, name=f"{ADVICE}-{plan.name}", study=ADVICE)
            done: dict[str, Finished] = {}
            with place.progress("unlearning", plan.size) as advance:
                reporter = Reporter(advance, ended=done.update)
                run_plan(store, base_run, plan, Options(engine=engine), reporter)
    path_of = base_run.model.dataset.train.path_of
    return advice_on(plan, done, base_run.test_accuracy, command.max_loss, path_of)


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
            made = search(store, base_run, todo, ids, seed, engine, advance, command.until)
    write_atomically(path, as_toml(made, base_run))
    return Searched(made, [found.row() for found in made.found], base_run)


# Audits


def audit(place: Place, command: Audit) -> tuple[str, list[dict[str, Any]]]:
    """Audit a sweep: the audit's run id, and a row for each algorithm and control."""
    with place.store() as store, computing(place, command) as engine:
        sweep = find_sweep(store.reader, command.sweep)
        params, tags, run_id = sweep.params, sweep.tags, sweep.run_id
        plan = load_plan(store.artifacts, sweep.artifact_uri, run_id, tags["key"])
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
        before = _goes_on_from(store, command.model)
        if before is not None:
            command = replace(command, model=before.params["base_run_id"])
        base_run = base_run_of(place, store, command)
        ids = named(place, command, base_run.model.dataset)  # before anything is computed
        names = algorithms.named(command.algorithms or (USUAL,))
        if any(not algorithm.is_exact for algorithm in map(algorithms.get, names)):
            base_run = _with_references(place, store, base_run, command)
        earlier = read(store, base_run, before).earlier if before else None
        requests = _requests(place, store, base_run, command, names, ids, earlier)
        also = [earlier.key] if earlier else []
        refuse_folder(command.output, {requests.key, *also})
        done = find(store, base_run, requests)
        if done is None:
            done = _forget(place, store, base_run, requests)
        else:
            place.say(f"it was done before: run {done.run_id}")
        hand_over(command.output, done, also)
        arch = store.run(base_run.run_id).params["arch"]
        logged_models.keep(store, done.run_id, arch, base_run.model.dataset, done.state)
        if command.register is None:
            return done, None
        files = {WEIGHTS: as_safetensors(done.state, done.key)}
        return done, register(store, done.run_id, command.register, files)


def _goes_on_from(store: Store, reference: str) -> Run | None:
    """The unlearning of that run id, or whose folder it is; None where it is a base model."""
    record = record_in(Path(reference))
    run = run_of(store, record["run"] if record else reference)
    if record and run is None:
        raise UserError(f"unlearning {record['run']} of {reference} is not in this store")
    return run


def _with_references(place: Place, store: Store, base_run: BaseRun, command: Unlearn) -> BaseRun:
    """The base model with reference models, which are trained if there are none and they matter."""
    if command.until == FLIP or base_run.model.companions.references is not None:
        return base_run
    count, origin = command.references, base_run.model.origin
    how = f"training {count} reference models, once for this base model"
    if not base_run.is_trained and "epochs" not in command.recipe:
        raise UserError(
            "whether a request is forgotten is told by reference models, and this base model was "
            "imported: give the recipe that trained it, --epochs, and --lr, --batch-size and "
            "--optimizer where they are not the usual ones"
        )
    place.say(f"{how}; --algorithm retrain would train one model without the requests instead")
    recipe = origin.recipe if origin else Recipe(**command.recipe)
    refer(place, store, base_run, count, None, command.recipe, recipe, THREADS)
    return base_run_of(place, store, command)


def _requests(
    place: Place,
    store: Store,
    base_run: BaseRun,
    command: Unlearn,
    names: Sequence[str],
    ids: Sequence[int],
    earlier: Earlier | None,
) -> Requests:
    preset = choose_presets(store, base_run, names, command.preset, command.settings, place.say)
    chosen = configure(names, preset, command.settings)
    before = earlier.sample_ids if earlier else ()
    asked, ids = [*map(str, ids)], [*dict.fromkeys((*before, *ids))]
    is_exact = all(algorithm.is_exact for algorithm in chosen)
    until = FLIP if is_exact else command.until
    seed, last = command.seed, None

    def plan(algorithm: Algorithm, order: Order) -> Plan:
        name = f"unlearning-{algorithm.name}-{len(ids)}-{order}"
        own = FLIP if algorithm.is_exact else until
        return Plan.on(base_run, [algorithm], ids, seed, name, None, preset, until=own)

    trials = list(chosen) if command.algorithms else at_rates(chosen[0])
    orders = [order_of(algorithm, command.order, until) for algorithm in trials]
    if (
        base_run.model.origin is not None
        and not is_exact
        and (command.retrain or not command.algorithms)
    ):
        last = plan(retraining(), Order.TOGETHER)
    elif command.retrain and base_run.model.origin is None:
        raise UserError("--retrain needs the recipe of an imported model: give --epochs and so on")
    plans = tuple(map(plan, trials, orders))
    for line in () if command.requests else remarks(base_run.model.dataset, asked, ids):
        place.say(line)
    if before:
        place.say(f"the model was asked to forget {counted(len(before), 'sample')} before")
    place.say(str(preset))
    return Requests(
        plans,
        tuple(orders),
        command.rounds,
        command.max_loss,
        last,
        command.retrain,
        earlier,
    )


def _forget(place: Place, store: Store, base_run: BaseRun, requests: Requests) -> Forgotten:
    steps = len(requests.sample_ids) * len(requests.plans)
    with place.progress("unlearning", steps) as advance:
        return forget(store, base_run, requests, advance)
