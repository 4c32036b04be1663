"""What a sweep came to: its aggregates, and the descriptions of runs that MLflow shows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from statistics import fmean

from mlflow.entities import Run

from analysis.statuses import MAX_LOSS
from tracker.base.base_models import BaseRun
from tracker.base.images import in_note
from tracker.store.extremes import COUNT, EASIEST, TAG, is_large
from tracker.store.records import AVERAGED, Finished
from tracker.sweep.plan import PLAN, KeptPlan, Plan
from tracker.sweep.summary import EXACT, Summary, summed_up
from unlearning import algorithms
from unlearning.algorithm import Algorithm
from unlearning.errors import UserError
from unlearning.naming import counted
from unlearning.outcome import Status

WIDTH = 80  # characters of a command's line: more than MLflow's page has room for at 1400 pixels


def aggregates(
    planned: Mapping[str, Iterable[str]], done: Mapping[str, Finished], test_accuracy: float
) -> dict[str, float]:
    """Metrics of the parent run: for each algorithm counts, the flip rate, means and damage.

    The flip rate is over the samples that the base model gets right, and so are the points of test
    accuracy that were lost. A mean over no value is left out. What counts as damage is always
    MAX_LOSS here, so that sweeps can be compared.

    Args:
        planned: the keys of members by the names of algorithms.
        test_accuracy: the base model's.
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
        metrics |= _damage(summed_up(algorithm, members, test_accuracy))
    return metrics


def _damage(summary: Summary) -> dict[str, float]:
    """What attempts with one algorithm cost, and how many changed nothing, as metrics."""
    found = {
        "damaged": summary.damaged,
        "same_outputs": summary.same_outputs,
        "mean_points_lost": summary.mean_lost,
        "worst_points_lost": summary.worst_lost,
        "mean_unlearning_gap": summary.gap,
    }
    return {f"{summary.algorithm}/{n}": float(v) for n, v in found.items() if v is not None}


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
        test_accuracy: of the base model.
        children: link to the UI's table of the child runs. done: the members, by key.
    """
    settings = "\n".join(
        f"- `{algorithm}`: " + ", ".join(f"{name} {value}" for name, value in of.items())
        for algorithm, of in plan.settings.items()
    )
    names, samples = [*plan.settings], len(plan.sample_ids)
    return SWEEP_NOTE.format(
        samples=counted(samples, "training sample"),
        algorithms=counted(len(names), "algorithm"),
        dataset=sweep.data.params["dataset"],
        arch=sweep.data.params["arch"],
        base_name=base.info.run_name,
        base_id=base.info.run_id,
        sweep_id=sweep.info.run_id,
        table=_table(names, outcome),
        max_loss=MAX_LOSS,
        test_accuracy=test_accuracy,
        exact="".join(f" {name}: {EXACT}." for name in names if _is_exact(name)),
        settings=settings,
        seed=sweep.data.params["seed"],
        shown=LARGEST if is_large(samples * len(names)) else ALL_SHOWN,
        children=children,
        done=DONE,
        plan_file=PLAN,
        histories=_curves({done[k].has_histories for k in plan.member_keys() if k in done}),
    )


def _is_exact(name: str) -> bool:
    """Whether an algorithm is exact; one that is not installed here counts as not."""
    with suppress(UserError):
        return bool(algorithms.get(name).is_exact)
    return False


def _curves(kept: Collection[bool]) -> str:
    """What the description of a sweep says of histories."""
    what = "`forget_prob` and `forget_loss`"
    if all(kept):
        return f"{what} {KEPT}."
    if any(kept):
        return f"Of some child runs {what} {KEPT}; of others they {LAST}."
    return f"{what} {LAST}."


def member_note(
    base_run: BaseRun, plan: Plan, algorithm: Algorithm, sample_id: int, ended: str
) -> str:
    """A child run's description: what was done to which sample, how it ended, how to do it again.

    Args:
        ended: how, as `ending` says it.
    """
    words = [
        f"indelible sweep --model {base_run.run_id}",
        f"--algorithm {algorithms.reference(algorithm.name)}",
        *(f"--factors {name}" for name in plan.asked_families),
        f"--sample {sample_id} --seed {plan.seed} --remaining {plan.remaining_count or 'all'}",
        *([] if plan.precision == "float32" else [f"--precision {plan.precision}"]),
        *(f"--set {algorithm.name}.{name}={value}" for name, value in algorithm.settings().items()),
        "--again",
    ]
    command = " \\\n".join(f"    {line}" for line in _lines(words))
    data = base_run.model.dataset
    path = data.train.path_of(sample_id)
    # Below the image, of which a page would else cut the lower part.
    file = "" if path is None else f"Its file: `{path.replace('`', '')}`\n\n"
    what = f"Training sample {sample_id}, unlearned with {algorithm.name}"
    shown = in_note(base_run.run_id, data, sample_id)
    return f"{what}: {ended}.\n\n{shown}\n\n{file}This does it again:\n\n{command}"


def ending(status: Status, steps: int, kept: int) -> str:
    """How an attempt ended, in words.

    Args:
        steps: that were taken. kept: the step whose weights are kept.
    """
    within = f"within {counted(steps, 'step')}"
    return {
        Status.FLIPPED: f"the prediction flipped at step {steps}",
        Status.REWOUND: f"the prediction flipped at step {steps}, but step {kept} is kept",
        Status.MAX_STEPS: f"the prediction did not flip {within}",
        Status.UNCHANGED: f"not a bit of the weights changed {within}",
        Status.NON_FINITE: f"step {steps} left the finite numbers",
        Status.ALREADY_WRONG: "the base model misclassifies it, so nothing was run",
    }[status]


def _lines(words: Iterable[str]) -> list[str]:
    """Parts of a command in lines that a page has room for; a part is never broken."""
    lines: list[str] = []
    for word in words:
        if lines and len(lines[-1]) + 1 + len(word) <= WIDTH:
            lines[-1] += f" {word}"
        else:
            lines.append(f"  {word}" if lines else word)
    return lines


def _table(names: Sequence[str], outcome: Mapping[str, float]) -> str:
    """The table in a sweep's description; a column that has nothing for any algorithm is left out.

    Args:
        names: of the algorithms. outcome: metrics of the parent run.
    """
    cells = {
        head: [outcome.get(f"{name}/{metric}") for name in names]
        for head, metric in COLUMNS.items()
    }
    shown = {head: values for head, values in cells.items() if set(values) != {None}}
    rows = [
        [name, *map(_cell, row)]
        for name, row in zip(names, zip(*shown.values(), strict=True), strict=True)
    ]
    lines = [["algorithm", *shown], ["---"] * (1 + len(shown)), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: float | None) -> str:
    """A number with three digits, but a count with all that it has."""
    if value is None:
        return ""
    return f"{value:.0f}" if value.is_integer() else f"{value:.3g}"


# Of the table in a sweep's description: headings, and the metrics of the parent run.
COLUMNS = {
    "flip rate": "flip_rate",
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

# What the two metrics of a child run are, where its histories are kept and where they are not.
KEPT = "are histories over the steps"
LAST = "have the value after the last step, and those of the steps before were not kept"

DONE = "#### What was done"  # begins what was written when the sweep ended

ALL_SHOWN = "All child runs, the hardest first"
LARGEST = (  # and the sweep is large
    f"The {COUNT} hardest child runs of each algorithm, or any of them while the sweep runs: with "
    f"tags.`{TAG}` = '{EASIEST}' in the search, the easiest"
)

# MLflow's UI breaks lines where the text does, so a paragraph is one long line here. Of a long text
# it shows only the beginning until the reader asks for more.
SWEEP_NOTE = """\
### {samples} of {dataset}, each unlearned on its own with {algorithms}

**[{shown}]({children})**

{done}

Base model: `{base_name}` ({arch}, run `{base_id}`). \
Each child run is one attempt: one sample, one algorithm, stopped at the first flip of the \
prediction or when the budget of steps was used up.

{table}

Damaged: how many flipped, but at more than {max_loss:g} percentage points of test accuracy; the \
base model has {test_accuracy:.1%}. Points lost: of test accuracy, a mean over the attempts that \
were run, as are steps, seconds, unlearning gap and GT. Rewound: the prediction flipped, but a \
step before the flip is the one that is kept; the flip rate does not count it. Unchanged: not a \
bit of the weights moved. Same outputs: they moved, but none of the mean probabilities did.{exact}

#### How to read the child runs

`gt` is the outcome: small means hard to unlearn. \
Add `and params.algorithm = 'ga'` to the search for one algorithm. \
{histories} \
`{plan_file}` among the artifacts says exactly what was planned.

#### How to analyse it

    indelible load
    indelible correlate --sweep {sweep_id}
    indelible rank --sweep {sweep_id}

#### Settings (seed {seed})

{settings}
"""
