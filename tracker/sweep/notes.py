"""The descriptions of sweeps and their child runs that MLflow shows, by the templates beside this.

MLflow's UI breaks lines where the text does, so a paragraph is one long line. Of a long text it
shows only the beginning until the reader asks for more.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import jinja2

from analysis.words import MAX_LOSS
from tracker.base.base_models import BaseRun
from tracker.base.images import in_note
from tracker.store.records import Finished, Run
from tracker.store.views import COUNT, EASIEST, TAG, is_large
from tracker.sweep.plan import PLAN, KeptPlan, Plan
from unlearning import algorithms
from unlearning.algorithm import Algorithm
from unlearning.naming import counted
from unlearning.outcome import Status

DONE = "#### What was done"  # begins what was written when the sweep ended

# Of the table in a sweep's description: headings, and the metrics of the parent run.
COLUMNS = {
    "flip rate": "flip_rate",
    "at the reference": Status.AT_REFERENCE,
    "nothing to forget": Status.NOTHING_TO_FORGET,
    "forgotten": "forgotten_rate",
    "damaged": "damaged",
    "test accuracy": "mean_test_accuracy",
    "points lost": "mean_points_lost",
    "at worst": "worst_points_lost",
    "steps": "mean_steps",
    "seconds": "mean_elapsed_s",
    "unlearning gap": "mean_unlearning_gap",
    "GT": "mean_gt",
    "rewound": Status.REWOUND,
    "unchanged": Status.UNCHANGED,
    "same outputs": "same_outputs",
    "non-finite": Status.NON_FINITE,
    "already wrong": Status.ALREADY_WRONG,
}

TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=jinja2.select_autoescape(),  # not of Markdown
    trim_blocks=True,
    keep_trailing_newline=True,
    undefined=jinja2.StrictUndefined,
)


def sweep_note(
    sweep: Run,
    base: Run,
    test_accuracy: float,
    plan: KeptPlan,
    outcome: Mapping[str, float],
    children: str,
    done: Mapping[str, Finished],
) -> str:
    """The parent run's description: what was done, on what, what came out, how to go on.

    Args:
        test_accuracy: of the base model. outcome: the aggregates.
        children: link to the UI's table of the child runs. done: the members, by key.
    """
    samples, names = len(plan.sample_ids), [*plan.settings]
    columns = {n: c for n, c in COLUMNS.items() if any(f"{a}/{c}" in outcome for a in names)}
    rows = [[a, *(_cell(outcome.get(f"{a}/{c}")) for c in columns.values())] for a in names]
    kept = {done[key].has_histories for key in done.keys() & plan.keys()}
    return TEMPLATES.get_template("sweep_note.md.j2").render(
        samples=counted(samples, "training sample"),
        algorithms=counted(len(names), "algorithm"),
        params=sweep.params,
        sweep_id=sweep.run_id,
        base=base,
        table=[["algorithm", *columns], ["---"] * (1 + len(columns)), *rows],
        max_loss=f"{MAX_LOSS:g}",
        test_accuracy=f"{test_accuracy:.1%}",
        settings=plan.settings,
        until=plan.until,
        is_large=is_large(samples * len(names)),
        count=COUNT,
        easiest=f"tags.`{TAG}` = '{EASIEST}'",
        children=children,
        done=DONE,
        plan_file=PLAN,
        histories="all" if all(kept) else "some" if any(kept) else "none",
    )


def _cell(value: float | None) -> str:
    """A number with three digits, but a count with all that it has."""
    if value is None:
        return ""
    return f"{value:.0f}" if value.is_integer() else f"{value:.3g}"


def member_note(
    base_run: BaseRun,
    plan: Plan,
    algorithm: Algorithm,
    sample_id: int,
    status: Status,
    steps: int,
    kept: int,
) -> str:
    """A child run's description: what was done to which sample, and how it ended.

    Args:
        steps: that were taken. kept: the step whose weights are kept.
    """
    return TEMPLATES.get_template("member_note.md.j2").render(
        sample_id=sample_id,
        algorithm=algorithm.name,
        status=status,
        until=plan.until,
        steps=steps,
        kept=kept,
        within=counted(steps, "step"),
        shown=in_note(base_run.run_id, base_run.model.dataset, sample_id),
    )


def member_command(base_run: BaseRun, plan: Plan, algorithm: Algorithm, sample_id: int) -> str:
    """What does a child run again, where it is not."""
    name = algorithm.name
    words = [
        f"indelible sweep --model {base_run.run_id} --algorithm {algorithms.reference(name)}",
        *(f"--factors {family}" for family in plan.asked_families),
        f"--sample {sample_id} --seed {plan.seed} --remaining {plan.remaining_count or 'all'}",
        *([] if plan.references is None else [f"--until {plan.until}"]),
        *([] if plan.precision == "float32" else [f"--precision {plan.precision}"]),
        *(f"--set {name}.{setting}={value}" for setting, value in algorithm.settings().items()),
    ]
    return " ".join(words)
