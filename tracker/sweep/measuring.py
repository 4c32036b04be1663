"""Factors of members that are in the store: what is missing or out of date is measured.

`pre` factors come from the base model, `post` factors from the checkpoint, which is restored and
evaluated as in the sweep, so that the numbers are the same. Those of cost come from what is logged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

import factors
from factors.evaluation import Chunk, not_kept
from factors.family import Family, post_values, versions
from tracker.base.base_models import BaseRun
from tracker.base.beforehand import pre_factors
from tracker.base.workers import THREADS, Engine, Stop
from tracker.store import views
from tracker.store.records import (
    AVERAGED,
    KEPT_STEP,
    MEASURED_AT,
    Finished,
    Measured,
    Run,
    in_blocks,
    milliseconds,
    read_tag,
)
from tracker.store.runs import IN_FLIGHT
from tracker.store.weights import read_checkpoint
from tracker.store.write import Store
from tracker.sweep.memory import LARGEST_CHUNK, evaluation, halved
from tracker.sweep.plan import KeptPlan, add_to_catalog, finished_of
from tracker.sweep.summary import aggregates
from unlearning import algorithms
from unlearning.base_model import BaseModel
from unlearning.checkpoints import decode
from unlearning.errors import Stopped, UserError
from unlearning.execution import stacked_copies
from unlearning.outcome import Status, Unlearned

NOTHING_RUN = (Status.ALREADY_WRONG, Status.NOTHING_TO_FORGET)  # the base model's weights
WRITTEN = 500  # members that are written at a time where none is evaluated

Progress = Callable[[int, str], None]
Families = tuple[Family, ...]


@dataclass(frozen=True)
class Lacking:
    """A member that lacks the values of families, or has them of another version.

    Attributes:
        measurable: those that can be measured of what is kept. unmeasurable: those that could be if
            there were a checkpoint, or histories.
    """

    algorithm: str
    sample: int
    key: str
    member: Finished
    measurable: Families
    unmeasurable: Families


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
        if self.lacking:
            counts = Counter(family.name for m in self.lacking for family in m.unmeasurable)
            some = ", ".join(f"{name} of {count}" for name, count in counts.items())
            yield (
                f"{len(self.lacking)} members keep no checkpoint or histories, and lack {some}: "
                "'indelible measure --recompute' unlearns them again"
            )
        if self.lost:
            yield f"{len(self.lost)} members cannot be measured; of the first: {self.lost[0]}"


def lacking(
    base: BaseModel,
    planned: Mapping[str, Mapping[str, int]],
    done: Mapping[str, Finished],
    families: Sequence[Family],
) -> list[Lacking]:
    """The members that lack values of some families, in the order of the plan.

    Args:
        planned: by algorithm, the keys of its members with the samples.
    """
    expected: dict[int, dict[str, str]] = {}
    found = []
    for algorithm, keys in planned.items():
        for key, sample in keys.items():
            if (member := done.get(key)) is None:
                continue
            if sample not in expected:
                expected[sample] = versions(families, base.companions, sample)
            now, told = expected[sample], read_tag(member.versions)
            has_weights = member.has_checkpoint or member.status in NOTHING_RUN
            ways: dict[bool, list[Family]] = {True: [], False: []}
            for family in families:
                if told.get(family.key) != now[family.key]:
                    looks_at_kept = has_weights or family.phase == "pre" or family.is_logged
                    lacks_history = family.of_histories and not member.has_histories
                    ways[looks_at_kept and not lacks_history].append(family)
            if ways[True] or ways[False]:
                each = tuple(ways[True]), tuple(ways[False])
                found.append(Lacking(algorithm, sample, key, member, *each))
    return found


def measure_sweep(
    store: Store,
    base_run: BaseRun,
    sweep: Run,
    plan: KeptPlan,
    families: Sequence[Family],
    engine: Engine = THREADS,
    bar: Callable[[int], AbstractContextManager[Progress]] = lambda size: nullcontext(
        lambda members, doing: None
    ),
) -> Outcome:
    """Measure what members of a sweep that is in the store lack, and bring its run up to date.

    Args:
        families: whose factors.
        bar: is given how many members lack something, and gives who is told of progress.
    """
    add_to_catalog(store, sweep, map(factors.described, factors.columns(families)))
    done = finished_of(store, plan)
    members = lacking(base_run.model, plan.planned(), done, families)
    outcome = Outcome()
    if members:
        with bar(len(members)) as progress:
            outcome = measure(store, base_run, members, plan.remaining_count, engine, progress)
        planned, done = plan.planned(), finished_of(store, plan)
        if views.TAGGED in sweep.tags:  # GT may be another one by now
            views.tag_members(store, sweep.run_id, planned, done)
        metrics = aggregates(planned, done, base_run.test_accuracy)
        if store.note_metrics(sweep.run_id, metrics):
            store.client.set_tag(sweep.run_id, MEASURED_AT, str(milliseconds()))
    outcome.current = len(done) - len(members)
    return outcome


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
    if not todo:
        return outcome
    samples, pre = [*dict.fromkeys(member.sample for member in todo)], dict[str, Tensor]()
    if families := {f: None for m in todo for f in m.measurable if f.phase == "pre"}:
        told = (engine, lambda _, doing: progress(0, doing))
        pre = pre_factors(store, base_run, samples, [*families], *told)
    stop, base = Stop(), base_run.model
    rows = {sample: row for row, sample in enumerate(samples)}
    measurer = _Measurer(base_run, remaining_count, pre, rows, stop.is_set)
    one, room = evaluation(base, remaining_count), engine.room(base)
    with engine.pool(base, stop, max(1, int(room // (one.member + one.once)))) as pool:
        size = max(1, min(LARGEST_CHUNK, one.members_within(room / pool.count)))
        chunks = _chunks(store, todo, size, outcome.lost)
        for chunk, found in pool.map(measurer.measured, chunks):
            if isinstance(found, str):
                outcome.lost += [found] * len(chunk)
            else:
                outcome.measured += store.add_factors(found)
            progress(len(chunk), chunk[0].lacking.algorithm)
    return outcome


@dataclass(frozen=True)
class _Member:
    """A member that lacks something, its run, and its checkpoint where one is needed."""

    lacking: Lacking
    run: Run
    checkpoint: bytes | None


def _chunks(
    store: Store, members: Sequence[Lacking], size: int, lost: list[str]
) -> Iterator[list[_Member]]:
    """Members of one algorithm that lack the same, in chunks, with what the store has of them.

    Those of a chunk have histories, or none of them has. They are read here, since whoever computes
    may be on a machine that cannot.

    Args:
        lost: is told why a checkpoint cannot be read.
    """

    def read(member: Lacking, run: Run) -> _Member | None:
        if all(f.phase == "pre" or f.is_logged for f in member.measurable):
            return _Member(member, run, None)
        try:
            uri, tags = run.artifact_uri, run.tags
            return _Member(member, run, read_checkpoint(store.artifacts, uri, tags))
        except UserError as damage:
            lost.append(str(damage))
            return None

    alike: dict[tuple[str, Families, bool], list[Lacking]] = {}
    for member in members:
        same = (member.algorithm, member.measurable, member.member.has_histories)
        alike.setdefault(same, []).append(member)
    for (_, families, _), some in alike.items():
        evaluated = any(f.phase == "post" for f in families)
        for block in in_blocks(some, size if evaluated else WRITTEN):
            by_id = {member.member.run_id: member for member in block}
            runs = store.logged([*by_id], factors.HISTORIES)
            with ThreadPoolExecutor(IN_FLIGHT) as pool:
                read_now = pool.map(read, [by_id[run.run_id] for run in runs], runs)
                if chunk := [member for member in read_now if member is not None]:
                    yield chunk


@dataclass(frozen=True)
class _Measurer:
    """Turns members that lack something into what is to be written, in any thread or process.

    Attributes:
        remaining_count: how many training samples the models are evaluated on; all if None.
        pre: the `pre` factors that are lacking, by name. rows: of samples in these.
    """

    base_run: BaseRun
    remaining_count: int | None
    pre: Mapping[str, Tensor]
    rows: Mapping[int, int]
    stop: Callable[[], bool]

    def measured(self, base: BaseModel, work: list[_Member]) -> list[Measured] | str:
        """What is to be written of members, or why they cannot be measured."""
        if self.stop():
            raise Stopped
        try:
            return halved(partial(self._measured, base), work, work[0].lacking.algorithm)
        except UserError as error:  # the algorithm is not installed, or a factor refuses
            return str(error)

    def _measured(self, base: BaseModel, members: list[_Member]) -> list[Measured]:
        families, values = members[0].lacking.measurable, dict[str, list[float]]()
        if any(family.phase == "post" for family in families):
            found = post_values(self._restored(base, members), families)
            values = {name: column.tolist() for name, column in found.items()}
        columns, results = factors.columns(families), list[Measured]()
        for row, member in enumerate(members):
            sample, run = member.lacking.sample, member.run
            own = {name: column[self.rows[sample]].item() for name, column in self.pre.items()}
            own |= {name: column[row] for name, column in values.items()}
            metrics = {column.metric: own[column.name] for column in columns}
            now = versions(families, base.companions, sample)
            results.append(Measured(run.run_id, metrics, now, run.tags.get("checkpoint")))
        return results

    def _restored(self, base: BaseModel, members: Sequence[_Member]) -> Chunk:
        """What unlearning came to, from what is kept of it.

        Raises UserError for an algorithm that is not installed.
        """
        runs, start = [member.run for member in members], base.state
        of = algorithms.get(members[0].lacking.algorithm)
        before = {name: tensor.cpu() for name, tensor in start.items()}
        weights, files = self.base_run.weights, [member.checkpoint for member in members]
        whole = [before | (decode(weights, file) if file else {}) for file in files]
        changed = [{n for n in before if not torch.equal(state[n], before[n])} for state in whole]
        buffers = sorted(set().union(*changed) - base.params.keys())
        stacked = {}
        for name in (*base.params, *buffers):
            # In the memory format that the engine gives it: that decides how sums are rounded.
            stacked[name] = stacked_copies(start[name], len(whole), channels_last=True)
            for copy, state in zip(stacked[name], whole, strict=True):
                copy.copy_(state[name])
        steps = [int(run.metrics.get(AVERAGED["steps"], 0)) for run in runs]
        kept = [int(r.tags.get(KEPT_STEP, s)) for r, s in zip(runs, steps, strict=True)]
        prob, loss = (_curve(runs, name) for name in factors.HISTORIES)
        unlearned = Unlearned(
            params={name: stacked[name] for name in base.params},
            buffers={name: stacked[name] for name in buffers},
            status=[Status(run.tags["status"]) for run in runs],
            steps=torch.tensor(steps),
            kept=torch.tensor(kept),
            elapsed_s=_numbers(runs, AVERAGED["elapsed_s"]),
            forget_prob=prob,
            forget_loss=loss,
            moved=torch.tensor([bool(names) for names in changed]),
            details={name: _numbers(runs, f"{of.name}/{name}").float() for name in of.logged},
            is_exact=of.is_exact,
        )
        positions = base.dataset.train.positions([member.lacking.sample for member in members])
        return Chunk(base, positions.to(base.device), unlearned, base.some(self.remaining_count))


def _numbers(runs: Sequence[Run], metric: str) -> Tensor:
    """A metric of K members, (K,) float64; NaN where one has none."""
    values = [run.metrics.get(metric, torch.nan) for run in runs]
    return torch.tensor(values, dtype=torch.float64)


def _curve(runs: Sequence[Run], name: str) -> Tensor:
    """A history of K members, (K, most steps) float64; NaN past a member's last step."""
    if not all(run.histories for run in runs):
        return not_kept()  # of none in a chunk
    values = [torch.tensor(run.histories.get(name, []), dtype=torch.float64) for run in runs]
    return torch.nn.utils.rnn.pad_sequence(values, batch_first=True, padding_value=torch.nan)
