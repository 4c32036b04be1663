"""Predictors in a store: fitted on what is there and written as runs, found again, and refused."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace

from mlflow.entities import Run

from factors.family import Family
from factors.versions import fingerprint, version
from tracker.access.artifacts import Damaged
from tracker.base.base_models import BaseRun
from tracker.base.forecasts import formula
from tracker.base.workers import Engine
from tracker.record.records import (
    NOTE,
    Finished,
    Kind,
    Record,
    code_version,
    milliseconds,
    sha256_of,
)
from tracker.record.store import Store
from tracker.sweeping import card, features, fitting, ranks, regression
from tracker.sweeping.attempted import alike, attempts, measured, sample_of
from tracker.sweeping.features import INDEX, REFERENCE, Known, known_of
from tracker.sweeping.fitting import Examples, Part, examples, fit
from tracker.sweeping.plan import Plan
from tracker.sweeping.predicting import Bar
from tracker.sweeping.predictor import (
    TAG,
    Basis,
    OfAlgorithm,
    Predictor,
    file_name,
    read_predictor,
)
from unlearning.errors import UserError
from unlearning.naming import LATEST, find
from unlearning.version import VERSION

Members = Mapping[str, Mapping[str, Finished]]  # by algorithm and key

NEW = "new"
CARD = "card.md"
AGAIN = "--fitted new fits another"


@dataclass(frozen=True)
class Fitted:
    """A predictor in the store: the id of its run, the SHA-256 of its file, and what it holds."""

    run_id: str
    sha256: str
    predictor: Predictor


@dataclass(frozen=True)
class Source:
    """How a predictor is come by.

    Attributes:
        reference: NEW, LATEST, or the id of its run, the beginning of it or its name.
        load: loads another base model by the id of its run.
        engine: computes. bar: opens a progress bar.
        say: is told, a line each, what is to be known.
    """

    reference: str
    load: Callable[[str], BaseRun]
    engine: Engine
    bar: Bar
    say: Callable[[str], None]

    def predictor(self, store: Store, base_run: BaseRun, plan: Plan) -> Fitted:
        """A predictor for the algorithms of a plan.

        Raises UserError where there is none, or where it does not hold for the plan.
        """
        if self.reference == NEW:
            return self._new(store, base_run, plan)
        found = _found(store, base_run, self.reference)
        _refuse(found, basis_of(base_run, plan), plan)
        return found

    def known(
        self, store: Store, base_run: BaseRun, plan: Plan, sample_ids: Sequence[int]
    ) -> Known:
        """What is known of samples before the plan's algorithms unlearn them."""
        count = len({*sample_ids, *features.reference_samples(base_run.model)})
        with self.bar(count * (1 + len(plan.algorithms))) as progress:
            return known_of(
                store, base_run, plan.algorithms, sample_ids, _pre(plan), self.engine, progress
            )

    def _new(self, store: Store, base_run: BaseRun, plan: Plan) -> Fitted:
        """One that is fitted on all attempts that are there; found, if it was fitted before."""
        members = _members(store, base_run, plan)
        for algorithm in plan.algorithms:
            there = [key for of in members.values() for key in measured(of[algorithm.name])]
            fitting.refuse_few(algorithm.name, {*map(sample_of, there)})
        found = [*self._sources(store, base_run, plan, members)]
        names = [algorithm.name for algorithm in plan.algorithms]
        sets = {name: examples([of[name] for _, of in found], name) for name in names}
        keys = {
            name: {run.weights_sha256: of[name].keys for run, of in found if of[name].attempts}
            for name in names
        }
        key = _key(base_run, plan, sets, keys)
        if kept := _kept(store, key):
            return kept
        self.say(_doing(sets))
        of = {a.name: fit(a, sets[a.name], keys[a.name]) for a in plan.algorithms}
        predictor = Predictor(_with_versions(basis_of(base_run, plan), plan, of), of)
        about = _card(predictor, found)
        made = _logged(store, base_run, predictor, _record(predictor, key, about))
        self.say(f"predictor {made.run_id} is in the store, with its card")
        return made

    def _sources(
        self, store: Store, base_run: BaseRun, plan: Plan, members: Mapping[str, Members]
    ) -> Iterator[tuple[BaseRun, dict[str, Part]]]:
        """For each base model what is known of its samples and came of attempts, by algorithm."""
        for base_run_id, some in members.items():
            run = base_run if base_run_id == base_run.run_id else self.load(base_run_id)
            found = {name: attempts(store, run, plan.columns, of) for name, of in some.items()}
            ids = sorted({attempt.sample_id for of in found.values() for attempt in of})
            known = self.known(store, run, plan, ids)
            yield run, {name: Part(known, of) for name, of in found.items()}


def _kept(store: Store, key: str) -> Fitted | None:
    """The predictor of that key, if it is there. One whose file is damaged is deleted."""
    for run in store.finished_runs(Kind.PREDICTOR, f"tags.key = '{key}'"):
        with suppress(Damaged):
            return _read(store, run)
        store.discard([run.info.run_id])
    return None


def _card(predictor: Predictor, found: Sequence[tuple[BaseRun, Mapping[str, Part]]]) -> str:
    bases = {run.weights_sha256: run.run_id for run, _ in found}
    sweeps = {a.sweep_id for _, of in found for part in of.values() for a in part.attempts}
    return card.written(predictor, bases, sorted(sweeps))


def _logged(store: Store, base_run: BaseRun, predictor: Predictor, record: Record) -> Fitted:
    experiment_id = store.experiment_id(base_run.dataset, base_run.arch)
    run_id = store.log_once(Kind.PREDICTOR, experiment_id, record, base_run.data)
    return Fitted(run_id, record.tags[TAG], predictor)


def _members(store: Store, base_run: BaseRun, plan: Plan) -> dict[str, Members]:
    """Finished members done as the plan wants it, by base model and algorithm."""
    found = {
        base_run_id: {
            a.name: store.finished_members([each.digest(a) for each in plans])
            for a in plan.algorithms
        }
        for base_run_id, plans in alike(store, base_run, plan).items()
    }
    return {base: of for base, of in found.items() if any(map(measured, of.values()))}


def basis_of(base_run: BaseRun, plan: Plan) -> Basis:
    """What a predictor for these attempts holds for, with the versions of all families."""
    return Basis(
        dataset=base_run.dataset,
        fingerprint=plan.fingerprint,
        arch=base_run.arch,
        precision=plan.precision,
        remaining=str(plan.remaining_count or "all"),
        engine_version=VERSION,
        index=formula(),
        families={family.key: version(family) for family in _pre(plan)},
    )


def _pre(plan: Plan) -> list[Family]:
    return [family for family in plan.families if family.phase == "pre"]


def _with_versions(basis: Basis, plan: Plan, of: Mapping[str, OfAlgorithm]) -> Basis:
    """The basis with the versions of those families alone that features are of."""
    used = {name for models in of.values() for name in models.features}
    keys = {f.key for f in _pre(plan) if used & {column.name for column in f.columns}}
    families = {key: said for key, said in basis.families.items() if key in keys}
    return replace(basis, families=families)


def _found(store: Store, base_run: BaseRun, reference: str) -> Fitted:
    """The predictor of that run id, or the `latest` of the data set and architecture."""
    if reference == LATEST:
        experiment = [store.experiment_id(base_run.dataset, base_run.arch)]
        kind = f"tags.kind = '{Kind.PREDICTOR}' and attributes.status = 'FINISHED'"
        for run in store.runs(experiment, kind):
            return _read(store, run)
        raise UserError(
            f"there is no predictor of {base_run.dataset} and {base_run.arch} yet: --fitted new "
            "fits one"
        )
    runs = {str(run.info.run_id): run for run in store.finished_runs(Kind.PREDICTOR)}
    named = [(run_id, str(run.info.run_name)) for run_id, run in runs.items()]
    return _read(store, runs[find(reference, named, "predictor", AGAIN)])


def _read(store: Store, run: Run) -> Fitted:
    tags = run.data.tags
    predictor = read_predictor(store.artifacts, run.info.artifact_uri, tags)
    return Fitted(run.info.run_id, tags[TAG], predictor)


def _refuse(fitted: Fitted, basis: Basis, plan: Plan) -> None:
    """Raise UserError where a predictor does not hold for a plan."""
    own, whose = fitted.predictor.basis, f"predictor {fitted.run_id}"
    for name in (each.name for each in fields(Basis) if each.name not in ("index", "families")):
        there, here = getattr(own, name), getattr(basis, name)
        if there != here:
            said = name.replace("_", " ")
            raise UserError(f"{whose} was fitted for {said} {there}, not for {here}: {AGAIN}")
    for algorithm in plan.algorithms:
        of = fitted.predictor.algorithms.get(algorithm.name)
        if of is None:
            known = ", ".join(fitted.predictor.algorithms)
            raise UserError(f"{whose} knows {known}, and not {algorithm.name}: {AGAIN}")
        for name, value in algorithm.settings().items():
            if of.settings.get(name) != value:
                raise UserError(
                    f"{whose} was fitted on {algorithm.name} with {name}={of.settings.get(name)}, "
                    f"and {name}={value} is asked for: {AGAIN}"
                )
        index = any(name.startswith(INDEX) for name in of.features)
        if index and own.index != basis.index:
            raise UserError(f"{whose} was fitted with another version of the index: {AGAIN}")
    for key, said in own.families.items():
        if basis.families.get(key) != said:
            raise UserError(
                f"{whose} was fitted with another version of the factors {key}: {AGAIN}"
            )


def _key(
    base_run: BaseRun,
    plan: Plan,
    sets: Mapping[str, Examples],
    keys: Mapping[str, Mapping[str, Sequence[str]]],
) -> str:
    """The key of a predictor: of the code that fits it and of all that it is fitted on."""
    modules = (fitting, regression, features, ranks)
    code = [fingerprint(module.__name__) for module in modules]
    settings = {a.name: a.settings() for a in plan.algorithms}
    digest = hashlib.sha256()
    for of in sets.values():
        digest.update(of.as_bytes())
    basis = asdict(basis_of(base_run, plan))
    return sha256_of(code, basis, settings, keys, digest.hexdigest())[:32]


def _doing(sets: Mapping[str, Examples]) -> str:
    counts = ", ".join(
        f"{name} ({len(of.rows)} attempts on {of.samples} samples)" for name, of in sets.items()
    )
    return f"fitting a predictor: {counts}"


def _record(predictor: Predictor, key: str, about: str) -> Record:
    content, now = predictor.as_file(), milliseconds()
    sha256, basis, of = hashlib.sha256(content).hexdigest(), predictor.basis, predictor.algorithms
    names = ",".join(of)
    return Record(
        name=f"predictor-{names.replace(',', '-')}",
        params={
            "dataset": basis.dataset,
            "arch": basis.arch,
            "algorithms": names,
            "samples": max(models.samples for models in of.values()),
            "attempts": sum(len(models.keys) for models in of.values()),
            "reference_samples": REFERENCE,
            "remaining": basis.remaining,
            "engine_version": basis.engine_version,
            "precision": basis.precision,
        },
        tags={
            "key": key,
            "code_version": code_version(),
            "data_fingerprint": basis.fingerprint,
            TAG: sha256,
            NOTE: about,
        },
        metrics={
            f"{name}/{target}/{score}": value
            for name, models in of.items()
            for target, fitted in models.targets.items()
            for score, value in fitted.scores.items()
        },
        artifacts={file_name(sha256): content, CARD: about.encode()},
        started_ms=now,
        ended_ms=now,
    )
