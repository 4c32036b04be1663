"""Factors of members that are in the store: what is missing or out of date is measured.

`pre` factors come from the base model, `post` factors from the checkpoint, which is restored and
evaluated as in the sweep, so that the numbers are the same. Those of cost come from what is logged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from mlflow.entities import Run
from torch import Tensor

import factors
from factors.evaluation import Chunk, not_kept
from factors.family import Family, post_values, versions
from tracker.base.base_models import BaseRun
from tracker.base.beforehand import pre_factors
from tracker.base.workers import THREADS, Engine, Stop
from tracker.store import views
from tracker.store.files import Artifacts
from tracker.store.records import (
    AVERAGED,
    KEPT_STEP,
    MEASURED_AT,
    Known,
    Measured,
    in_blocks,
    milliseconds,
)
from tracker.store.runs import IN_FLIGHT
from tracker.store.weights import read_checkpoint
from tracker.store.write import Store
from tracker.sweep.measuring import Families, Lacking, Outcome, lacking
from tracker.sweep.memory import LARGEST_CHUNK, evaluation, halved
from tracker.sweep.plan import KeptPlan, add_to_catalog, finished_of
from tracker.sweep.summary import aggregates
from unlearning import algorithms
from unlearning.base_model import BaseModel
from unlearning.checkpoints import decode
from unlearning.errors import Stopped, UserError
from unlearning.execution import stacked_copies
from unlearning.outcome import Status, Unlearned

WRITTEN = 500  # members that are written at a time where none is evaluated

Progress = Callable[[int, str], None]
State = Mapping[str, Tensor]  # parameters and buffers


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
    pre: dict[int, dict[str, float]] = {}
    asked = [(m.sample, f) for m in todo for f in m.measurable if f.phase == "pre"]
    if asked:
        samples, families = ([*dict.fromkeys(each)] for each in zip(*asked, strict=True))
        columns = pre_factors(
            store, base_run, samples, families, engine, lambda _, doing: progress(0, doing)
        )
        for row, sample in enumerate(samples):
            pre[sample] = {name: column[row].item() for name, column in columns.items()}
    stop, base = Stop(), base_run.model
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


class _Member(NamedTuple):
    """A member that lacks something, with what the store has of it.

    Attributes:
        checkpoint: the file, if it is needed; None where nothing was run. Or why it is lost.
    """

    lacking: Lacking
    run: Known
    checkpoint: bytes | UserError | None


def _read(artifacts: Artifacts, lacking: Lacking, run: Known) -> _Member:
    if all(f.phase == "pre" or f.is_logged for f in lacking.measurable):
        return _Member(lacking, run, None)
    try:
        return _Member(lacking, run, read_checkpoint(artifacts, run.artifact_uri, run.tags))
    except UserError as damage:
        return _Member(lacking, run, damage)


def _chunks(store: Store, members: Sequence[Lacking], size: int) -> Iterator[list[_Member]]:
    """Members of one algorithm that lack the same, in chunks, with what the store has of them.

    Those of a chunk have histories, or none of them has. They are read here, since whoever computes
    may be on a machine that cannot.
    """
    alike: dict[tuple[str, Families, bool], list[Lacking]] = {}
    for member in members:
        same = (member.algorithm, member.measurable, member.member.has_histories)
        alike.setdefault(same, []).append(member)
    for (_, families, _), some in alike.items():
        evaluated = any(f.phase == "post" for f in families)
        for block in in_blocks(some, size if evaluated else WRITTEN):
            run_ids = [lacking.member.run_id for lacking in block]
            logged = {run.run_id: run for run in store.logged(run_ids, factors.HISTORIES)}
            there = [member for member in block if member.member.run_id in logged]
            runs = [logged[member.member.run_id] for member in there]
            if runs:
                with ThreadPoolExecutor(IN_FLIGHT) as pool:
                    yield list(pool.map(partial(_read, store.artifacts), there, runs))


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

    def measured(self, base: BaseModel, work: list[_Member]) -> list[Measured | UserError]:
        """For each member what is to be written, or why it cannot be measured."""
        if self.stop():
            raise Stopped
        results: list[Measured | UserError] = []
        whole: list[tuple[_Member, State]] = []
        for member in work:
            content, what = member.checkpoint, f"the checkpoint of {member.run.run_id}"
            try:
                if isinstance(content, UserError):
                    raise content
                state = decode(self.base_run.weights, content, what) if content else {}
                whole.append((member, state))
            except UserError as damage:
                results.append(damage)
        if not whole:
            return results
        try:
            compute = partial(self._measured, base)
            return results + halved(compute, whole, work[0].lacking.algorithm)
        except UserError as error:  # the algorithm is not installed
            return results + [error] * len(whole)

    def _measured(
        self, base: BaseModel, members: list[tuple[_Member, State]]
    ) -> list[Measured | UserError]:
        runs, first = [member.run for member, _ in members], members[0][0].lacking
        columns, failed = dict[str, list[float]](), dict[str, UserError]()
        post = [f for f in first.measurable if f.phase == "post"]
        if post:
            samples = [member.lacking.sample for member, _ in members]
            positions = base.dataset.train.positions(samples).to(base.device)
            unlearned = _restored(base, first.algorithm, runs, [state for _, state in members])
            chunk = Chunk(base, positions, unlearned, base.some(self.remaining_count))
            for family in post:
                try:
                    found = post_values(chunk, [family])
                except UserError as error:
                    failed[family.key] = error
                else:
                    columns |= {name: values.tolist() for name, values in found.items()}
        families = [f for f in first.measurable if f.key not in failed]
        metrics = {c.name: c.metric for family in families for c in family.columns}
        written: list[Measured | UserError] = []
        if failed:
            name, why = next(iter(failed.items()))
            written += [UserError(f"{name} of {run.run_id}: {why}") for run in runs]
        for row, (member, _) in enumerate(members) if families else ():
            sample, run = member.lacking.sample, member.run
            values = {**self.pre.get(sample, {}), **{n: c[row] for n, c in columns.items()}}
            own = {metric: values[name] for name, metric in metrics.items()}
            now = versions(families, base.companions, sample)
            written.append(Measured(run.run_id, own, now, run.tags.get("checkpoint")))
        return written


def _restored(
    base: BaseModel, algorithm: str, runs: Sequence[Known], states: Sequence[State]
) -> Unlearned:
    """What unlearning came to, from what is kept of it.

    Args:
        runs: all of them with histories, or none: whoever looks at these is told so then.
        states: parameters and buffers of each member; empty where there is no checkpoint.

    Raises UserError for an algorithm that is not installed.
    """
    of, start = algorithms.get(algorithm), base.state
    before = {name: tensor.cpu() for name, tensor in start.items()}
    whole = [{name: state.get(name, before[name]) for name in before} for state in states]
    changed = [{n for n in before if not torch.equal(state[n], before[n])} for state in whole]
    buffers = sorted(set().union(*changed) - base.params.keys())
    stacked = {}
    for name in (*base.params, *buffers):
        # In the memory format that the engine gives it: that decides how sums are rounded.
        stacked[name] = stacked_copies(start[name], len(whole), channels_last=True)
        for member, state in zip(stacked[name], whole, strict=True):
            member.copy_(state[name])
    steps = [int(run.metrics.get(AVERAGED["steps"], 0)) for run in runs]
    kept = [int(r.tags.get(KEPT_STEP, s)) for r, s in zip(runs, steps, strict=True)]
    prob, loss = (_curve(runs, name) for name in factors.HISTORIES)
    return Unlearned(
        params={name: stacked[name] for name in base.params},
        buffers={name: stacked[name] for name in buffers},
        status=[Status(run.tags["status"]) for run in runs],
        steps=torch.tensor(steps),
        kept=torch.tensor(kept),
        elapsed_s=_numbers(runs, AVERAGED["elapsed_s"]),
        forget_prob=prob,
        forget_loss=loss,
        moved=torch.tensor([bool(names) for names in changed]),
        details={name: _numbers(runs, f"{algorithm}/{name}").float() for name in of.logged},
        is_exact=of.is_exact,
    )


def _numbers(runs: Sequence[Known], metric: str) -> Tensor:
    """A metric of K members, (K,) float64; NaN where one has none."""
    values = [run.metrics.get(metric, torch.nan) for run in runs]
    return torch.tensor(values, dtype=torch.float64)


def _curve(runs: Sequence[Known], name: str) -> Tensor:
    """A history of K members, (K, most steps) float64; NaN past a member's last step."""
    if not all(run.histories for run in runs):
        return not_kept()
    values = [torch.tensor(run.histories.get(name, []), dtype=torch.float64) for run in runs]
    return torch.nn.utils.rnn.pad_sequence(values, batch_first=True, padding_value=torch.nan)


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
        sum_up(store, sweep, plan, base_run.test_accuracy)
    outcome.current = len(done) - len(members)
    return outcome


def sum_up(store: Store, sweep: Run, plan: KeptPlan, test_accuracy: float) -> None:
    """Bring the aggregates of a sweep's run up to date; test_accuracy: the base model's."""
    planned, done = plan.planned(), finished_of(store, plan)
    if views.TAGGED in sweep.data.tags:  # GT may be another one by now
        views.tag_members(store, sweep.info.run_id, planned, done)
    if store.note_metrics(sweep.info.run_id, aggregates(planned, done, test_accuracy)):
        store.client.set_tag(sweep.info.run_id, MEASURED_AT, str(milliseconds()))
