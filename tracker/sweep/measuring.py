"""Factors of members that are in the store: what is missing or out of date is measured.

`pre` factors come from the base model, `post` factors from the checkpoint, which is restored and
evaluated as in the sweep, so that the numbers are the same. Those of cost come from what is logged.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial

from mlflow.entities import Run

import factors
from factors.evaluation import Chunk
from factors.family import Column, Family, post_values
from factors.versions import versions
from tracker.base.base_models import BaseRun
from tracker.base.beforehand import pre_factors
from tracker.base.workers import THREADS, Engine, Stop
from tracker.store import extremes
from tracker.store.blocks import in_blocks
from tracker.store.files import Artifacts
from tracker.store.records import MEASURED_AT, Finished, Measured, milliseconds, read_tag
from tracker.store.records import Known as Logged
from tracker.store.weights import read_checkpoint
from tracker.store.write import IN_FLIGHT, Store
from tracker.sweep.memory import LARGEST_CHUNK, evaluation, halved
from tracker.sweep.summary import aggregates
from tracker.sweep.plan import PLAN, KeptPlan, as_file
from tracker.sweep.measuring import State, restored
from unlearning.base_model import BaseModel
from unlearning.checkpoints import decode
from unlearning.errors import Stopped, UserError
from unlearning.outcome import Status

WRITTEN = 500  # members that are written at a time where none is evaluated

Planned = Mapping[str, Mapping[str, int]]  # by algorithm, the keys of its members with the samples
Progress = Callable[[int, str], None]


@dataclass(frozen=True)
class Lacking:
    """A member with the families whose values it lacks, or has of another version."""

    algorithm: str
    sample: int
    member: Finished
    families: tuple[Family, ...]

    @property
    def has_weights(self) -> bool:
        """Whether its weights are known: by a checkpoint, or since nothing was run."""
        return self.member.has_checkpoint or self.member.status == Status.ALREADY_WRONG

    @property
    def measurable(self) -> tuple[Family, ...]:
        """The families that can be measured without unlearning the sample again."""
        there = [f for f in self.families if f not in self.of_histories]
        if self.has_weights:
            return tuple(there)
        return tuple(f for f in there if f.phase == "pre" or f.is_logged)

    @property
    def needs_weights(self) -> bool:
        """Whether the weights are looked at for what can be measured."""
        return any(f.phase == "post" and not f.is_logged for f in self.measurable)

    @property
    def of_histories(self) -> tuple[Family, ...]:
        """The families that could be measured if histories were kept."""
        return tuple(f for f in self.families if f.of_histories and not self.member.has_histories)

    @property
    def of_weights(self) -> tuple[Family, ...]:
        """The families that could be measured if there were a checkpoint."""
        others = (*self.measurable, *self.of_histories)
        return tuple(f for f in self.families if f not in others)

    @property
    def unmeasurable(self) -> tuple[Family, ...]:
        """The families that can be measured only by unlearning the sample again."""
        return self.of_weights + self.of_histories


@dataclass
class Outcome:
    """What measuring came to.

    Attributes:
        current: members that lacked nothing. measured: members that were written.
        lacking: members of which something cannot be measured, for their weights or their
            histories are not kept.
        lost: why others cannot be measured, such as for damaged checkpoints.
    """

    current: int = 0
    measured: int = 0
    lacking: list[Lacking] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    def said(self) -> Iterator[str]:
        """What the user has to know, a line each."""
        for what, members in (
            ("checkpoint", [member.of_weights for member in self.lacking]),
            ("histories", [member.of_histories for member in self.lacking]),
        ):
            counts = Counter(family.name for families in members for family in families)
            if counts:
                some = ", ".join(f"{name} of {count}" for name, count in counts.items())
                yield (
                    f"{sum(map(bool, members))} members have no {what}, and lack {some}: "
                    "'indelible measure --recompute' unlearns them again"
                )
        if self.lost:
            yield f"{len(self.lost)} members cannot be measured; of the first: {self.lost[0]}"


def lacking(
    base: BaseModel, planned: Planned, done: Mapping[str, Finished], families: Sequence[Family]
) -> list[Lacking]:
    """The members that lack values of some families, in the order of the plan."""
    expected: dict[int, dict[str, str]] = {}
    found = []
    for algorithm, keys in planned.items():
        for key, sample in keys.items():
            if key not in done:
                continue
            if sample not in expected:
                expected[sample] = versions(families, base.companions, sample)
            now, told = expected[sample], read_tag(done[key].versions)
            missing = tuple(f for f in families if told.get(f.key) != now[f.key])
            if missing:
                found.append(Lacking(algorithm, sample, done[key], missing))
    return found


def measure(
    store: Store,
    base_run: BaseRun,
    members: Sequence[Lacking],
    remaining_count: int | None,
    engine: Engine = THREADS,
    progress: Progress = lambda members, doing: None,
) -> Outcome:
    """Measure what is lacking, chunk by chunk, and write it onto the members' runs.

    What was written stays where this is interrupted, and the next time goes on.

    Args:
        remaining_count: how many training samples stood for the remaining data in the sweep.
        progress: is told how many members are done.
    """
    outcome = Outcome(lacking=[member for member in members if member.unmeasurable])
    todo = [member for member in members if member.measurable]
    progress(len(members) - len(todo), "left alone")
    pre = _pre(store, base_run, todo, engine, progress)
    stop = Stop()
    base = base_run.model
    measurer = _Measurer(base_run, remaining_count, pre, stop.is_set)
    one, room = evaluation(base, remaining_count), engine.room(base)
    with engine.pool(base, stop, max(1, int(room // (one.member + one.once)))) as pool:
        size = max(1, min(LARGEST_CHUNK, one.members_within(room / pool.count)))
        for chunk, results in pool.map(measurer.measured, _chunks(store, todo, size)):
            measured = [result for result in results if isinstance(result, Measured)]
            outcome.lost += [str(result) for result in results if isinstance(result, UserError)]
            outcome.measured += store.add_factors(measured)
            progress(len(chunk), chunk[0].lacking.algorithm)
    return outcome


def _pre(
    store: Store,
    base_run: BaseRun,
    members: Sequence[Lacking],
    engine: Engine,
    progress: Progress,
) -> dict[int, dict[str, float]]:
    """The `pre` factors that are lacking, by sample and name."""
    found: dict[int, dict[str, float]] = {}
    asked: dict[tuple[Family, ...], dict[int, None]] = {}
    for member in members:
        families = tuple(f for f in member.families if f.phase == "pre")
        if families:
            asked.setdefault(families, {})[member.sample] = None
    for families, samples in asked.items():
        columns = pre_factors(
            store, base_run, list(samples), families, engine, lambda _, doing: progress(0, doing)
        )
        for row, sample in enumerate(samples):
            values = {name: column[row].item() for name, column in columns.items()}
            found.setdefault(sample, {}).update(values)
    return found


@dataclass(frozen=True)
class _Member:
    """A member that lacks something, with what the store has of it.

    Attributes:
        checkpoint: the file, if it is needed; None where nothing was run. Or why it is lost.
    """

    lacking: Lacking
    run: Logged
    checkpoint: bytes | UserError | None


Work = list[_Member]  # members of one algorithm that lack the same


def _chunks(store: Store, members: Sequence[Lacking], size: int) -> Iterator[Work]:
    """Members that lack the same, in chunks, with what is logged of them and their checkpoints.

    Those of a chunk have histories, or none of them has.
    They are read here, since whoever computes may be on a machine that cannot.
    """
    alike: dict[tuple[str, tuple[Family, ...], bool], list[Lacking]] = {}
    for member in members:
        same = (member.algorithm, member.measurable, member.member.has_histories)
        alike.setdefault(same, []).append(member)
    for (_, families, _), some in alike.items():
        evaluated = any(f.phase == "post" for f in families)
        for block in in_blocks(some, size if evaluated else WRITTEN):
            run_ids = [lacking.member.run_id for lacking in block]
            logged = {run.run_id: run for run in store.logged(run_ids, factors.HISTORIES)}
            found = [(m, logged[m.member.run_id]) for m in block if m.member.run_id in logged]
            if found:
                with ThreadPoolExecutor(IN_FLIGHT) as pool:
                    yield list(pool.map(partial(_read, store.artifacts), found))


def _read(artifacts: Artifacts, member: tuple[Lacking, Logged]) -> _Member:
    lacking, run = member
    if not lacking.needs_weights:
        return _Member(lacking, run, None)
    try:
        return _Member(lacking, run, read_checkpoint(artifacts, run.artifact_uri, run.tags))
    except UserError as damage:
        return _Member(lacking, run, damage)


@dataclass(frozen=True)
class _Measurer:
    """Turns members that lack something into what is to be written, in any thread or process.

    Attributes:
        remaining_count: how many training samples the models are evaluated on; all if None.
        pre: the `pre` factors that are lacking, by sample and name.
    """

    base_run: BaseRun
    remaining_count: int | None
    pre: Mapping[int, Mapping[str, float]]
    stop: Callable[[], bool]

    def measured(self, base: BaseModel, work: Work) -> list[Measured | UserError]:
        """For each member what is to be written, or why it cannot be measured."""
        if self.stop():
            raise Stopped
        results: list[Measured | UserError] = []
        whole: list[tuple[Lacking, Logged, State]] = []
        for member in work:
            try:
                whole.append((member.lacking, member.run, self._state(member)))
            except UserError as damage:
                results.append(damage)
        if not whole:
            return results
        try:
            return results + halved(partial(self._measured, base), whole, whole[0][0].algorithm)
        except UserError as error:  # the algorithm is not installed
            return results + [error] * len(whole)

    def _state(self, member: _Member) -> State:
        """The weights of a member; none if nothing was run, or they are not needed.

        Raises UserError where they are lost.
        """
        if isinstance(member.checkpoint, UserError):
            raise member.checkpoint
        if member.checkpoint is None:
            return {}
        what = f"the checkpoint of {member.run.run_id}"
        return decode(self.base_run.weights, member.checkpoint, what)

    def _measured(
        self, base: BaseModel, members: list[tuple[Lacking, Logged, State]]
    ) -> list[Measured | UserError]:
        columns, failed = self._post(base, members)
        families = [f for f in members[0][0].measurable if f.key not in failed]
        metrics = {c.name: c.metric for family in families for c in family.columns}
        written: list[Measured | UserError] = []
        for _, run, _ in members if failed else ():
            name, error = next(iter(failed.items()))
            written.append(UserError(f"{name} of {run.run_id}: {error}"))
        if not families:
            return written
        for row, (lacking, run, _) in enumerate(members):
            values = dict(self.pre.get(lacking.sample, {}))
            values |= {name: column[row] for name, column in columns.items()}
            written.append(
                Measured(
                    run.run_id,
                    {metric: values[name] for name, metric in metrics.items()},
                    versions(families, base.companions, lacking.sample),
                    run.tags.get("checkpoint"),
                )
            )
        return written

    def _post(
        self, base: BaseModel, members: list[tuple[Lacking, Logged, State]]
    ) -> tuple[dict[str, list[float]], dict[str, UserError]]:
        """The `post` factors that are lacking, by name; and why there are none, by family's key."""
        families = [f for f in members[0][0].measurable if f.phase == "post"]
        columns, failed = dict[str, list[float]](), dict[str, UserError]()
        if not families:
            return columns, failed
        runs = [run for _, run, _ in members]
        positions = base.dataset.train.positions([lacking.sample for lacking, *_ in members])
        unlearned = restored(base, members[0][0].algorithm, runs, [s for *_, s in members])
        seen = base.some(self.remaining_count)
        chunk = Chunk(base, positions.to(base.device), unlearned, seen)
        for family in families:
            try:
                found = post_values(chunk, [family])
            except UserError as error:
                failed[family.key] = error
            else:
                columns |= {name: values.tolist() for name, values in found.items()}
        return columns, failed


def measure_sweep(
    store: Store,
    base_run: BaseRun,
    sweep: Run,
    plan: KeptPlan,
    families: Sequence[Family],
    engine: Engine = THREADS,
    bar: Callable[[int], AbstractContextManager[Progress]] = lambda size: nullcontext(_silent),
) -> Outcome:
    """Measure what members of a sweep that is in the store lack, and bring its run up to date.

    Args:
        families: whose factors.
        bar: is given how many members lack something, and gives who is told of progress.
    """
    keep_catalog(store, sweep, factors.columns(families))
    done = finished_of(store, plan)
    members = lacking(base_run.model, plan.planned(), done, families)
    outcome = Outcome()
    if members:
        with bar(len(members)) as progress:
            outcome = measure(store, base_run, members, plan.remaining_count, engine, progress)
        sum_up(store, sweep, plan, base_run.test_accuracy)
    outcome.current = len(done) - len(members)
    return outcome


def finished_of(store: Store, plan: KeptPlan) -> dict[str, Finished]:
    """The members of a plan that are in the store, by key."""
    keys = set(plan.member_keys())
    found = store.finished_members(plan.digests.values())
    return {key: member for key, member in found.items() if key in keys}


def sum_up(store: Store, sweep: Run, plan: KeptPlan, test_accuracy: float) -> None:
    """Bring the aggregates of a sweep's run up to date; test_accuracy: the base model's."""
    planned, done = plan.planned(), finished_of(store, plan)
    now = aggregates(planned, done, test_accuracy)
    if extremes.TAGGED in sweep.data.tags:  # GT may be another one by now
        extremes.tag_members(store, sweep.info.run_id, planned, done)
    if store.note_metrics(sweep.info.run_id, now):
        store.client.set_tag(sweep.info.run_id, MEASURED_AT, str(milliseconds()))


def _silent(members: int, doing: str) -> None:
    """Nobody is told."""


def keep_catalog(store: Store, sweep: Run, columns: Iterable[Column]) -> None:
    """Bring the catalog of factors in a sweep's plan up to date, for what is measured now."""
    add_to_catalog(store, sweep, map(factors.described, columns))


def add_to_catalog(store: Store, sweep: Run, rows: Iterable[Mapping[str, str]]) -> None:
    """Add factors to the catalog in a sweep's plan, or replace what it says of them.

    Args:
        rows: of the catalog.
    """
    uri = sweep.info.artifact_uri
    content = store.artifacts.read(uri, PLAN)
    assert content is not None  # whoever calls has read it
    kept = json.loads(content)
    now = {row["factor"]: dict(row) for row in rows}
    before = {column["factor"]: column for column in kept["factors"]}
    if kept["factors"] != (catalog := [*(before | now).values()]):  # in the order of before
        kept["factors"] = catalog
        store.artifacts.write(uri, {PLAN: as_file(kept)})
        store.client.set_tag(sweep.info.run_id, MEASURED_AT, str(milliseconds()))
