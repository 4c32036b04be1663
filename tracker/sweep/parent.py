"""The parent run of a sweep: how it begins, is found again, and ends."""

from __future__ import annotations

import json
from collections.abc import Mapping

import torch

from tracker.base.base_models import BaseRun
from tracker.store import views
from tracker.store.files import Damaged
from tracker.store.records import Finished, Record, Run, code_version, milliseconds, this_process
from tracker.store.write import PROCESS, Store
from tracker.sweep.choosing import TRIAL
from tracker.sweep.chunks import EXECUTION, executions_of
from tracker.sweep.memory import chunk_size
from tracker.sweep.options import Options
from tracker.sweep.plan import PLAN, STUDY, Plan, as_file, load_plan
from tracker.sweep.shards import tell
from tracker.sweep.summary import aggregates, sweep_note
from unlearning.engine import faster_execution
from unlearning.errors import Raised, UserError
from unlearning.execution import Execution, by_device
from unlearning.version import VERSION


def chosen_executions(base_run: BaseRun, plan: Plan, options: Options) -> dict[str, Execution]:
    """How each algorithm's members are executed: as asked, or what is faster."""
    base, asked, found = base_run.model, options.execution, dict[str, Execution]()
    positions = base.dataset.train.positions(list(plan.sample_ids))
    room, threads = options.engine.room(base) / options.engine.count(base), torch.get_num_threads()
    torch.set_num_threads(1)  # as the workers have
    try:
        for algorithm in plan.algorithms:
            # No more of them than a chunk would have: the measurement has to fit as well.
            how = (base, algorithm, Execution.STACKED, plan.remaining_count, room)
            some = positions if asked else positions[: options.chunk or chunk_size(*how)]
            try:
                fast = asked or faster_execution(base, algorithm, some, plan.seed)
            except Raised:  # it does so again when it is swept, which goes on with the others
                fast = by_device(base.device)
            found[algorithm.name] = fast
    finally:
        torch.set_num_threads(threads)
    return found


def parent_record(
    base_run: BaseRun, plan: Plan, executions: Mapping[str, Execution], options: Options
) -> Record:
    """The parent run as it begins."""
    now = milliseconds()
    return Record(
        name=plan.name,
        params={
            "dataset": base_run.dataset,
            "arch": base_run.arch,
            "base_run_id": base_run.run_id,
            "algorithms": ",".join(algorithm.name for algorithm in plan.algorithms),
            "samples": len(plan.sample_ids),
            "seed": plan.seed,
            "remaining": plan.remaining_count or "all",
            "engine_version": VERSION,
            "precision": plan.precision,
            **({"until": plan.until} if plan.references else {}),
            **(plan.preset.params if plan.preset else {}),
        },
        tags={
            "key": plan.sweep_key,
            "code_version": code_version(),
            EXECUTION: json.dumps(executions),
            PROCESS: this_process(),
            **plan.providers_of(plan.algorithms),
            **dict([options.retention.tag]),
            **({TRIAL: plan.preset.trial} if plan.preset and plan.preset.trial else {}),
            **({STUDY: plan.study} if plan.study else {}),
        },
        metrics={},
        artifacts={PLAN: as_file(plan.as_json())},
        started_ms=now,
        ended_ms=now,
    )


def found(store: Store, sweep: Run, plan: Plan, asked: Execution | None) -> str:
    """The id of a parent run that is there, which has its plan again if that was lost.

    Raises UserError where its members are executed otherwise than it is asked for.
    """
    how, uri, run_id = executions_of(sweep), sweep.artifact_uri, sweep.run_id
    if asked is not None and set(how.values()) != {asked}:
        said = ", ".join(f"{name} {execution}" for name, execution in how.items())
        raise UserError(
            f"--execution is {asked}, but this sweep was begun otherwise ({said}): leave it out"
        )
    try:
        load_plan(store.artifacts, uri, run_id, plan.sweep_key)
    except Damaged:
        store.artifacts.write(uri, {PLAN: as_file(plan.as_json())})
    return run_id


def close(
    store: Store,
    sweep_id: str,
    done: Mapping[str, Finished],
    test_accuracy: float,
    share: str = "",
    ended_ms: int | None = None,
) -> None:
    """Write aggregates and description into a sweep's run, and mark it as finished.

    Args:
        done: its members, by key, and perhaps others. test_accuracy: the base model's.
        share: what was done of it, such as 3/16; empty if all. ended_ms: when; now if None.
    """
    sweep = store.run(sweep_id)
    base = store.run(sweep.params["base_run_id"])
    plan = load_plan(store.artifacts, sweep.artifact_uri, sweep_id, sweep.tags.get("key"))
    planned, experiment_id = plan.planned(), sweep.experiment_id
    if {*plan.keys()} <= done.keys():
        views.tag_members(store, sweep_id, planned, done)
        store.discard_half_written(sweep_id)
    views.add(store, experiment_id, sweep_id)
    outcome = aggregates(planned, done, test_accuracy)
    children = views.link(experiment_id, sweep_id)
    note = sweep_note(sweep, base, test_accuracy, plan, outcome, children, done)
    begins = tell(store, sweep_id, share, plan.keys(), done)
    store.close_sweep(sweep_id, outcome, begins + note, ended_ms)
