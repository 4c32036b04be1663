"""What a sweep came to: its aggregates, and the descriptions of runs that MLflow shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import fmean

from tracker.base.base_models import BaseRun
from tracker.record.records import AVERAGED, Finished
from tracker.sweeping.plan import PLAN, Plan
from unlearning import algorithms
from unlearning.algorithm import Algorithm
from unlearning.outcome import Status


def aggregates(
    planned: Mapping[str, Iterable[str]], done: Mapping[str, Finished]
) -> dict[str, float]:
    """Metrics of the parent run: for each algorithm counts of statuses, the flip rate and means.

    The flip rate is over the samples that the base model gets right. A mean over no value is
    left out.

    Args:
        planned: the keys of members by the names of algorithms.
    """
    metrics: dict[str, float] = {}
    for algorithm, keys in planned.items():
        members = [done[key] for key in keys if key in done]
        statuses = [member.status for member in members]
        counts = {status: statuses.count(status) for status in Status}
        attempts = len(members) - counts[Status.ALREADY_WRONG]
        if attempts:
            metrics[f"{algorithm}/flip_rate"] = counts[Status.FLIPPED] / attempts
        metrics |= {f"{algorithm}/{status}": float(n) for status, n in counts.items()}
        for name, metric in AVERAGED.items():
            values = [m.metrics[metric] for m in members if metric in m.metrics]
            if values:
                metrics[f"{algorithm}/mean_{name}"] = fmean(values)
    return metrics


def sweep_note(
    base_run: BaseRun, plan: Plan, sweep_id: str, outcome: Mapping[str, float], children: str
) -> str:
    """The parent run's description: what was done, on what, what came out, how to go on.

    Args:
        children: link to the UI's table of the child runs.
    """
    rows = "\n".join(_row(algorithm.name, outcome) for algorithm in plan.algorithms)
    settings = "\n".join(
        f"- `{a.name}`: " + ", ".join(f"{name} {value}" for name, value in a.settings().items())
        for a in plan.algorithms
    )
    return SWEEP_NOTE.format(
        samples=len(plan.sample_ids),
        algorithms=len(plan.algorithms),
        dataset=base_run.dataset,
        arch=base_run.arch,
        base_name=base_run.name,
        base_id=base_run.run_id,
        sweep_id=sweep_id,
        rows=rows,
        settings=settings,
        seed=plan.seed,
        children=children,
        done=DONE,
        plan_file=PLAN,
    )


def member_note(base_run_id: str, plan: Plan, algorithm: Algorithm, sample_id: int) -> str:
    """A child run's description: the command that does the same again."""
    words = [
        f"indelible sweep --model {base_run_id}",
        f"--algorithm {algorithms.reference(algorithm.name)}",
        *(f"--factors {name}" for name in plan.asked_families),
        f"--sample {sample_id} --seed {plan.seed} --remaining {plan.remaining_count or 'all'}",
        *([] if plan.precision == "float32" else [f"--precision {plan.precision}"]),
        *(f"--set {algorithm.name}.{name}={value}" for name, value in algorithm.settings().items()),
        "--again",
    ]
    return f"    {' '.join(words)}"


def _row(name: str, outcome: Mapping[str, float]) -> str:
    cells = [outcome.get(f"{name}/{column}") for column in ("flip_rate", "mean_steps")]
    cells += [outcome.get(f"{name}/mean_test_accuracy"), outcome.get(f"{name}/mean_gt")]
    shown = ["" if cell is None else f"{cell:.4g}" for cell in cells]
    counted = (Status.REWOUND, Status.UNCHANGED, Status.NON_FINITE, Status.ALREADY_WRONG)
    counts = [f"{outcome[f'{name}/{status}']:.0f}" for status in counted]
    return f"| {name} | {' | '.join(shown + counts)} |"


DONE = "#### What was done"  # begins what was written when the sweep ended

# MLflow's UI breaks lines where the text does, so a paragraph is one long line here. Of a long text
# it shows only the beginning until the reader asks for more.
SWEEP_NOTE = """\
### {samples} training samples of {dataset}, each unlearned on its own with {algorithms} algorithms

**[All child runs, the hardest first]({children})**

{done}

Base model: `{base_name}` ({arch}, run `{base_id}`). \
Each child run is one attempt: one sample, one algorithm, stopped at the first flip of the \
prediction or when the budget of steps was used up.

| algorithm | flip rate | mean steps | mean test accuracy | mean GT | rewound | unchanged \
| non-finite | already wrong |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
{rows}

Rewound: the prediction flipped, but a step before the flip is the one that is kept; the flip rate \
does not count it. Unchanged: not a bit of the weights moved.

#### How to read the child runs

`gt` is the outcome: small means hard to unlearn. \
Add `and params.algorithm = 'ga'` to the search for one algorithm. \
`forget_prob` and `forget_loss` are histories over the steps. \
`{plan_file}` among the artifacts says exactly what was planned.

#### How to analyse it

    indelible load
    indelible correlate --sweep {sweep_id}
    indelible rank --sweep {sweep_id}

#### Settings (seed {seed})

{settings}
"""
