"""The beginning of a sweep: its parent run, and how the members of each algorithm are executed."""

from __future__ import annotations

import json

import torch
from mlflow.entities import Run
from torch import Tensor

from tracker.base.base_models import BaseRun
from tracker.store.records import Record, code_version, milliseconds, this_process
from tracker.store.write import PROCESS
from tracker.sweep.chunks import EXECUTION, executions_of
from tracker.sweep.memory import chunk_size
from tracker.sweep.options import Options
from tracker.sweep.plan import PLAN, Plan, as_file
from tracker.sweep.settings import TRIAL
from unlearning import algorithms
from unlearning.algorithm import Algorithm
from unlearning.base_model import BaseModel
from unlearning.engine import faster_execution
from unlearning.errors import Raised, UserError
from unlearning.execution import Execution, by_device
from unlearning.version import VERSION


def chosen_executions(base_run: BaseRun, plan: Plan, options: Options) -> dict[str, Execution]:
    """How each algorithm's members are executed: as asked, or what is faster."""
    if options.execution is not None:
        return {algorithm.name: options.execution for algorithm in plan.algorithms}
    positions = base_run.model.dataset.train.positions(list(plan.sample_ids))
    engine = options.engine
    room = engine.room(base_run.model) / engine.count(base_run.model)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the workers have
    try:
        faster = {}
        for algorithm in plan.algorithms:
            # No more of them than a chunk would have: the measurement has to fit as well.
            size = options.chunk or chunk_size(
                base_run.model, algorithm, Execution.STACKED, plan.remaining_count, room
            )
            some = positions[:size]
            faster[algorithm.name] = _faster(base_run.model, algorithm, some, plan.seed)
        return faster
    finally:
        torch.set_num_threads(threads)


def _faster(base: BaseModel, algorithm: Algorithm, positions: Tensor, seed: int) -> Execution:
    """What is faster; where somebody else's algorithm raises something, what the device is for.

    It raises it again when it is swept, and does not keep others from being swept.
    """
    try:
        return faster_execution(base, algorithm, positions, seed)
    except Raised as raised:
        if (raised.kind, raised.name) != (algorithms.REGISTRY.kind, algorithm.name):
            raise
        return by_device(base.device)


def parent_record(
    base_run: BaseRun, plan: Plan, executions: dict[str, Execution], options: Options
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
        },
        metrics={},
        artifacts={PLAN: as_file(plan.as_json())},
        started_ms=now,
        ended_ms=now,
    )


def check_execution(sweep: Run, asked: Execution | None) -> None:
    """Raise UserError where a sweep's members are executed otherwise than it is asked for."""
    how = executions_of(sweep)
    if asked is not None and set(how.values()) != {str(asked)}:
        said = ", ".join(f"{name} {execution}" for name, execution in how.items())
        raise UserError(
            f"--execution is {asked}, but this sweep was begun otherwise ({said}): leave it out, "
            "or begin another sweep with --name, which does members anew with --again"
        )
