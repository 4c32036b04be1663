"""What `train`, `sweep` and `measure` do: from a command to what came of it.

The command line and Python call these functions, by `Command.do`: one prints what they give, the
other wraps it. What is built on sweeps is in `studies`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import factors
from analysis.words import no_reference
from factors.family import Family
from tracker.api.place import Place
from tracker.base import companions, references, training
from tracker.base.base_models import BaseRun
from tracker.base.beforehand import pre_factors
from tracker.base.given import is_named
from tracker.base.ray_engine import RayEngine
from tracker.base.workers import Clock, Engine, Threads, pick_device
from tracker.commands.make import Measure, Members, Named, Sweep, Train, Tune, Unlearn
from tracker.commands.shared import Computing
from tracker.reading.listing import find_sweep
from tracker.store.records import Finished, Histories, Kind, Run
from tracker.store.write import Store
from tracker.sweep.choosing import choose_samples
from tracker.sweep.measuring import measure_sweep
from tracker.sweep.options import Options, Reporter
from tracker.sweep.plan import Plan, load_plan
from tracker.sweep.planning import plans as plans_of
from tracker.sweep.retention import Retention
from tracker.sweep.shards import SHARD, Shard, Share
from tracker.sweep.summary import after_sweep, summed_up
from tracker.sweep.sweep import run as run_plan
from unlearning import architectures, presets
from unlearning.dataset import Dataset
from unlearning.datasets import Source
from unlearning.errors import Raised, UserError
from unlearning.execution import Execution
from unlearning.naming import LATEST, nearest
from unlearning.recipe import Recipe
from unlearning.requests import read_requests, remarks, requested

# Base models


def train(place: Place, command: Train) -> Run:
    """Train or import a base model, and models beside it; its run."""
    request, source = _training(place, command)
    pick_device(command.device, on_ray=command.engine == "ray")  # before anything is begun
    with place.store(begins=True) as store:
        run_id = train_base_model(place, store, request, source, command.device)
        if command.leave_out or command.references:
            base = place.bases.load(store, run_id, command.device)
            with computing(place, command) as engine:
                if command.leave_out:
                    _leave_out(place, store, base, command.leave_out, engine)
                if command.references:
                    how = command.references, command.reference_share
                    refer(place, store, base, *how, command.recipe, request.recipe, engine)
        return store.run(run_id)


def _leave_out(
    place: Place, store: Store, base: BaseRun, ids: Sequence[int], engine: Engine
) -> None:
    """Train leave-one-out models, and say how far they are from the base model."""
    how = store, base.run_id, base.model, ids
    with place.progress("training", len(ids)) as advance:
        companions.leave_out(*how, advance, engine)
    with place.progress("training", companions.SEEDS_FOR) as advance:
        gaps = companions.measure_chance(*how, advance, engine)
    place.say(
        "mean gap to a leave-one-out model: "
        f"{gaps[companions.UNTOUCHED]:.2g} from the untouched base model, "
        f"{gaps[companions.SECOND]:.2g} from another seed's"
    )


def refer(
    place: Place,
    store: Store,
    base: BaseRun,
    count: int,
    share: float | None,
    given: Mapping[str, Any],
    recipe: Recipe,
    engine: Engine,
) -> None:
    """Train reference models, and say how good they are beside the base model.

    Args:
        share: of the samples that each sees; the usual one if None.
        given: of a recipe, by name. recipe: all of it.

    Raises UserError for an imported model whose recipe is not given.
    """
    run = store.run(base.run_id)
    known, is_imported = references.making(store, run), not base.is_trained
    if is_imported and known is not None and not given:
        recipe = known.recipe
    elif is_imported and "epochs" not in given:
        raise UserError(
            "reference models of an imported model are trained by the recipe that it was trained "
            "by, which is not known: give --epochs, and --lr, --batch-size and the like"
        )
    share = share or (known.share if known else references.SHARE)
    how = references.Making(run.params["arch"], recipe, share)
    with place.progress("training", count) as advance:
        accuracy = references.refer(store, base.run_id, base.model, how, count, advance, engine)
    place.say(
        no_reference(accuracy, base.test_accuracy)
        or f"reference models get {accuracy:.1%} of the test set right on average, the base model "
        f"{base.test_accuracy:.1%}"
    )


def train_base_model(
    place: Place, store: Store, request: training.Request, source: Source, device: str
) -> str:
    """Train or import a base model, or find it, with a progress bar; its run id."""
    epochs = 1 if request.weights else request.recipe.epochs
    with place.progress("training", epochs, "epoch ") as advance:
        run_id, known = training.train(
            store,
            request,
            source,
            pick_device(device),
            lambda loss: advance(1, f"loss {loss:.4f}"),
            place.say,
        )
        advance(epochs if known or request.weights else 0, "found" if known else "done")
    return run_id


def _training(place: Place, command: Train) -> tuple[training.Request, Source]:
    """What is to be trained, and on what data; what no option says is the preset's."""
    preset, dataset = command.preset, command.dataset
    known = presets.recipe(preset, dataset) if preset else {}
    usual, train_samples = known.pop("arch", None), known.pop("train_samples", None)
    arch = command.arch or str(usual or training.usual_arch(dataset))
    if command.stem is not None and arch != "resnet18":
        raise UserError(f"stem is for resnet18, not for {arch}: leave it out")
    if command.stem == "imagenet":
        arch = "resnet18-imagenet"
    arch = architectures.with_options(arch, command.arch_options)
    if preset:
        place.say(f"preset {preset}: {presets.standing(preset, dataset, arch)}")
    names = ("download", "train_samples", "test_samples", "image_size", "label", "split_column")
    of_data = {name: getattr(command, name) for name in names}
    if command.train_samples is None:
        of_data["train_samples"] = train_samples
    recipe = Recipe(**known | command.recipe)
    ids, events = command.leave_out or (), command.learning_events
    request = training.Request(dataset, arch, recipe, command.from_weights, ids, events)
    return request, Source(place.data_dir, **of_data)


# What is asked for, as the rooms below take it


@contextmanager
def computing(place: Place, command: Computing) -> Iterator[Engine]:
    """Who computes: threads of this process, or a Ray cluster."""
    pick_device(command.device, on_ray=command.engine == "ray")
    if command.engine == "threads":
        yield Threads(command.workers)
        return
    with RayEngine(command.address, command.slots, place.say) as engine:
        yield engine


def base_run_of(place: Place, store: Store, command: Members | Tune | Unlearn) -> BaseRun:
    """The base model that is asked for.

    Raises UserError where there is none, or for one that the nodes of a cluster cannot make.
    """
    is_on_cluster = isinstance(command, Computing) and command.engine == "ray"
    pick_device(command.device, is_on_cluster)
    precision = "float32" if isinstance(command, Tune) else command.precision
    base_run = place.bases.load(store, command.model, command.device, precision)
    if is_on_cluster and not is_named(arch := store.run(base_run.run_id).params["arch"]):
        raise UserError(
            f"{arch} is a network that only this process knows: leave Ray out, or define its class "
            "in a module that the nodes can import"
        )
    return base_run


def named(place: Place, command: Named, dataset: Dataset) -> list[int]:
    """The ids of the samples that are named; none where they are to be drawn.

    Raises UserError where a request is for no training sample, or for several.
    """
    asked = command.requests
    if asked is None:
        return [*(command.sample_ids or ()), *command.ones]
    if isinstance(asked, Path):
        return requested_ids(place, read_requests(asked), dataset, str(asked))
    return requested_ids(place, asked, dataset, "requests")


def requested_ids(place: Place, asked: Sequence[str], dataset: Dataset, where: str) -> list[int]:
    """The ids of samples by what they are called; `where` they come from, for messages."""
    ids = requested(dataset, asked, where)
    for line in remarks(dataset, asked, ids):
        place.say(f"{where}: {line}")
    return ids


def plans(
    place: Place, store: Store, base_run: BaseRun, command: Members, names: Sequence[str] = ()
) -> Iterator[Plan]:
    """The plan of each repeat. What is found out on the way is said.

    Args:
        names: of the algorithms, where the command names none.
    """
    own = named(place, command, base_run.model.dataset)
    return plans_of(store, base_run, command, own, place.say, names)


# Sweeps


@dataclass(frozen=True)
class Swept:
    """A sweep that is done.

    Attributes:
        run_id: of its parent run. done: its members in the store, by key.
        clock: where the time went, which began so many seconds of `perf_counter`.
        test_accuracy: the base model's.
    """

    run_id: str
    plan: Plan
    share: Share
    test_accuracy: float
    done: dict[str, Finished] = field(default_factory=dict)
    clock: Clock = field(default_factory=Clock)
    began: float = field(default_factory=time.perf_counter)

    def came_to(self, max_loss: float) -> dict[str, dict[str, float]]:
        """What the attempts of each algorithm came to, by its name: see `summed_up`."""
        return {
            name: summed_up(
                [self.done[key] for key in keys if key in self.done], self.test_accuracy, max_loss
            )
            for name, keys in self.plan.planned().items()
        }

    def advice(self, max_loss: float) -> list[str]:
        """Which settings to change; nothing where they fit."""
        return list(after_sweep(self.plan, self.done, self.test_accuracy, max_loss))


def sweep(place: Place, command: Sweep) -> Iterator[Swept]:
    """Run a sweep and its repeats."""
    options = Options(
        chunk=command.chunk,
        execution=None if command.execution == "auto" else Execution(command.execution),
        retention=Retention.parse(command.checkpoints),
        shard=None if command.shard is None else Shard.parse(command.shard),
        histories=Histories(command.histories),
    )
    first: Raised | None = None
    with place.store() as store:
        base_run = base_run_of(place, store, command)
        with computing(place, command) as engine:
            own = replace(options, engine=engine)
            for plan in plans(place, store, base_run, command):
                try:
                    yield run_sweep(place, store, base_run, plan, own)
                except Raised as raised:  # other repeats go on
                    first = first or raised
    if first is not None:
        raise first


def run_sweep(place: Place, store: Store, base_run: BaseRun, plan: Plan, options: Options) -> Swept:
    """Run a sweep with a progress bar."""
    swept = Swept("", plan, Share.of(plan, options.shard, options.chunk), base_run.test_accuracy)
    with place.progress("unlearning", swept.share.size) as advance:
        reporter = Reporter(advance, place.say, swept.clock, swept.done.update)
        return replace(swept, run_id=run_plan(store, base_run, plan, options, reporter))


# Factors of what is there


def measure(place: Place, command: Measure) -> list[dict[str, Any]]:
    """Measure factors; a row a sweep, or one of a base model."""
    families = _families(command)
    with place.store() as store, computing(place, command) as engine:
        if command.model is not None:
            return [_of_model(place, store, command, families, engine)]
        return list(_of_sweeps(place, store, command, families, engine))


def _families(command: Measure) -> list[Family]:
    """Whose factors are measured. Raises UserError for a name that no factor has."""
    every = factors.every(command.factors)
    known = {column.name: family for family in every for column in family.columns}
    for name in command.factor:
        if name not in known:
            raise UserError(
                f"factor is '{name}'{nearest(name, known)}: 'indelible factors' lists the names "
                "that there are"
            )
    chosen = {known[name].key for name in command.factor}
    measured = factors.families(command.factors)
    return [family for family in every if family.key in chosen] if chosen else measured


def _of_model(
    place: Place, store: Store, command: Measure, families: Sequence[Family], engine: Engine
) -> dict[str, Any]:
    """Measure samples of a base model; a row that says of how many."""
    base_run = place.bases.load(store, str(command.model), command.device)
    own = named(place, command, base_run.model.dataset)
    ids = choose_samples(base_run.model, own, command.samples, 0, only_correct=False)
    families = [family for family in families if family.phase == "pre"]
    if not families:
        raise UserError("factor names those of attempts: of samples there are none of them")
    with place.progress("measuring", len(set(ids))) as advance:
        pre_factors(store, base_run, ids, families, engine, advance)
    return {
        "base_run_id": base_run.run_id,
        "name": base_run.name,
        "samples": len(set(ids)),
        "factors": sum(len(family.columns) for family in families),
    }


def _of_sweeps(
    place: Place, store: Store, command: Measure, families: Sequence[Family], engine: Engine
) -> Iterator[dict[str, Any]]:
    """Measure the members of sweeps; a row for each that says of how many.

    Of all sweeps those that cannot be measured are left out, with a line for each; of one it is an
    error.
    """

    @cache
    def load(base_run_id: str, precision: str) -> BaseRun:
        return place.bases.load(store, base_run_id, command.device, precision)

    def of(run: Run) -> dict[str, Any]:
        params, run_id = run.params, run.run_id
        plan = load_plan(store.artifacts, run.artifact_uri, run_id, run.tags["key"])
        base_run = load(params["base_run_id"], params.get("precision", "float32"))
        bar, again = partial(place.progress, f"measuring {run.name}"), 0
        outcome = measure_sweep(store, base_run, run, plan, families, engine, bar)
        if command.recompute and outcome.lacking:
            if SHARD in run.tags or run.status != "FINISHED":
                raise UserError(f"sweep {run_id} is incomplete: run it to its end first")
            again = len(outcome.lacking)
            options = Options(engine=engine, retention=Retention("all"))
            run_sweep(place, store, base_run, Plan.again(base_run, run, plan, families), options)
            outcome.lacking = measure_sweep(store, base_run, run, plan, families).lacking
        for line in outcome.said():
            place.say(line)
        return {
            "sweep_id": run_id,
            "name": run.name,
            "up_to_date": outcome.current,
            "measured": outcome.measured,
            "recomputed": again - len(outcome.lacking) if again else 0,
            "not_kept": len(outcome.lacking),
            "lost": len(outcome.lost),
        }

    reference = command.sweep or LATEST
    every = store.reader.of_kind(Kind.SWEEP) if reference == "all" else []
    is_all = bool(every)
    for run in every or [find_sweep(store.reader, reference)]:
        try:
            yield of(run)
        except UserError as error:
            if not is_all:
                raise
            place.say(f"sweep {run.run_id} is left out: {error}")
