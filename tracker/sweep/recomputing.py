"""Members without a checkpoint are unlearned again, to measure what needs their weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from mlflow.entities import Run

import factors
from factors.family import Family
from tracker.base.base_models import BaseRun
from tracker.base.beforehand import pre_factors
from tracker.base.workers import THREADS, Clock, Engine, Stop
from tracker.store.blocks import in_blocks
from tracker.store.records import VERSIONS, Finished, Measured, Record, read_tag
from tracker.store.records import Known as Logged
from tracker.store.write import Store
from tracker.sweep.again import is_the_same, with_additions
from tracker.sweep.chunks import ChunkRunner, Work, executions_of
from tracker.sweep.memory import chunk_size, workers_within
from tracker.sweep.lacking import Lacking
from tracker.sweep.measuring import Progress
from tracker.sweep.plan import KeptPlan, Plan
from unlearning import algorithms
from unlearning.errors import UserError


def recompute(
    store: Store,
    base_run: BaseRun,
    sweep: Run,
    kept: KeptPlan,
    members: Sequence[Lacking],
    own_families: Sequence[str] = (),
    engine: Engine = THREADS,
    progress: Progress = lambda members, doing: None,
) -> int:
    """Unlearn samples of a sweep again, and measure what their members lack; of how many.

    A member that comes to the same weights as before is given what it lacks. One that does not, as
    on another machine, is written anew in place of its run.

    Args:
        own_families: the user's own families, `module:package.module:FAMILY` each.

    Raises UserError where this version of the code would not do the same, or memory has no room.
    """
    names, families = {member.algorithm for member in members}, factors.families(own_families)
    plan = _plan(base_run, sweep, kept, names, families)
    executions, stop = executions_of(sweep), Stop()
    pre = pre_factors(store, base_run, plan.sample_ids, plan.families, engine)
    runner = ChunkRunner(base_run, plan, executions, pre, True, Clock(), stop.is_set)
    by_key = {
        plan.key(algorithm, member.sample): member
        for algorithm in plan.algorithms
        for member in members
        if member.algorithm == algorithm.name
    }
    measured = 0
    most, room = workers_within(
        base_run.model, plan.algorithms, plan.remaining_count, engine.room(base_run.model)
    )
    with engine.pool(base_run.model, stop, most) as pool:
        work: list[Work] = []
        for algorithm in plan.algorithms:
            how = executions[algorithm.name]
            size = chunk_size(
                base_run.model, algorithm, how, plan.remaining_count, room / pool.count
            )
            samples = [m.sample for m in members if m.algorithm == algorithm.name]
            work += [(algorithm, block) for block in in_blocks(samples, size)]
        for (algorithm, _), records in pool.map(runner.records, work):
            measured += _write(store, sweep, records, by_key, plan)
            progress(len(records), algorithm.name)
    return measured


def _plan(
    base_run: BaseRun, sweep: Run, kept: KeptPlan, names: set[str], families: Sequence[Family]
) -> Plan:
    """The plan of a sweep for some of its algorithms, by name. Raises UserError as above."""
    chosen = [
        algorithms.get(name).from_text(settings)
        for name, settings in kept.settings.items()
        if name in names
    ]
    ids, seed = kept.sample_ids, int(sweep.data.params["seed"])
    plan = Plan.on(base_run, chosen, ids, seed, kept.name, kept.remaining_count, families=families)
    for algorithm in plan.algorithms:
        if plan.digest(algorithm) != kept.digests[algorithm.name]:
            raise UserError(
                f"the members of {algorithm.name} in sweep {sweep.info.run_id} were made by "
                "another version of the engine or the algorithm, and would come out otherwise: "
                "sweep them anew, or measure without --recompute"
            )
    return plan


def _write(
    store: Store,
    sweep: Run,
    records: Sequence[Record],
    members: Mapping[str, Lacking],
    plan: Plan,
) -> int:
    """Write what members lack, or those anew that came out otherwise; how many were written."""
    run_ids = [members[record.key].member.run_id for record in records]
    logged = {run.run_id: run for run in store.logged(run_ids, ())}
    same, others = list[Measured](), list[Record]()
    before: dict[str, Finished] = {}
    measured = [column.metric for column in plan.columns]
    for record in records:
        member = members[record.key]
        run = logged.get(member.member.run_id)
        if run is not None and is_the_same(run, record):
            same.append(_lacking(member, run, record))
        elif run is not None:
            before[record.key] = member.member
            new = with_additions(record.without_checkpoint(), run, measured)
            others.append(new if member.member.has_histories else new.without_histories())
    for families in dict.fromkeys(members[record.key].unmeasurable for record in records):
        keys = {m.member.run_id for m in members.values() if m.unmeasurable == families}
        store.add_factors([one for one in same if one.run_id in keys])
    if others:
        store.write_members(sweep.info.experiment_id, sweep.info.run_id, others, before)
    return len(same) + len(others)


def _lacking(member: Lacking, run: Logged, record: Record) -> Measured:
    """What a member lacks, from the record of the same member."""
    now = read_tag(record.tags[VERSIONS])
    families = member.unmeasurable
    return Measured(
        run.run_id,
        {
            column.metric: record.metrics.get(column.metric, math.nan)
            for family in families
            for column in family.columns
        },
        {family.key: now[family.key] for family in families},
        run.tags.get("checkpoint"),
    )
