"""What the attempts of a sweep came to, an algorithm each: flips, damage, cost; advice on it; and
the descriptions of sweeps and their child runs that MLflow shows, by the templates beside this.

MLflow's UI breaks lines where the text does, so a paragraph is one long line. Of a long text it
shows only the beginning until the reader asks for more.

The report `summary` of the warehouse says the same of a sweep that was loaded; this is what is
known when a sweep ends, before anything is loaded.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean

import jinja2

from analysis.words import MAX_LOSS
from tracker.base.base_models import BaseRun
from tracker.base.images import in_note
from tracker.store.records import AVERAGED, READ, Finished, Run
from tracker.store.views import COUNT, EASIEST, TAG, is_large
from tracker.sweep.choosing import misclassified
from tracker.sweep.plan import PLAN, REFERENCE, KeptPlan, Plan
from unlearning import algorithms
from unlearning.algorithm import Algorithm
from unlearning.base_model import BaseModel
from unlearning.naming import counted
from unlearning.outcome import ARRIVED, FLIPPED, UNTIL_REFERENCE, Status

MANY_WRONG = 0.2  # of the samples
FEW_FLIPS = 0.1  # of the attempts
MANY_DAMAGED = 0.2  # of the members that flipped
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

# Why the reference looks bad by GT; of an algorithm that is exact.
EXACT = (
    "It is exact unlearning, the reference: a model that never saw a sample mostly gets it right "
    "all the same, so it seldom flips, F is small, and GT ranks it as the hardest"
)


def points_lost(before: float, after: float) -> float:
    """Test accuracy that was lost, in percentage points, without what rounding adds."""
    return round(100 * (before - after), 9)


def summed_up(
    members: Sequence[Finished], test_accuracy: float, max_loss: float = MAX_LOSS
) -> dict[str, float]:
    """What members of one algorithm came to, as a sweep's metrics; a mean of nothing is left out.

    Counts of every status; `damaged`: of those that arrived, those that lost more test accuracy
    than they may; `same_outputs`: weights moved, but none of the mean probabilities by which GT is
    measured. Of the attempts that were run, not of samples that the base model misclassifies: the
    flip rate, the mean and worst percentage points of test accuracy that were lost, and means of
    what AVERAGED names and of the factors `unlearning_gap`, `forgotten` and `z`; `verdicts`: how
    many have the last two.

    Args:
        test_accuracy: the base model's. max_loss: percentage points that a flip may cost.
    """
    tried = [member for member in members if member.status != Status.ALREADY_WRONG]
    arrived = [member for member in tried if member.status in ARRIVED]
    lost = [points_lost(test_accuracy, a) for a in _values(tried, AVERAGED["test_accuracy"])]
    means = {
        "flip_rate": [float(member.status == Status.FLIPPED) for member in tried],
        **{f"mean_{name}": _values(members, metric) for name, metric in AVERAGED.items()},
        "mean_points_lost": lost,
        "mean_unlearning_gap": _values(tried, READ["unlearning_gap"]),
        "forgotten_rate": _values(tried, READ["forgotten"]),
        "mean_z": _values(tried, READ["z"]),
    }
    counts, verdicts = Counter(member.status for member in members), len(means["forgotten_rate"])
    return {
        **{s: float(counts[s]) for s in Status if counts[s] or s not in UNTIL_REFERENCE},
        "damaged": float(len(_damaged(arrived, test_accuracy, max_loss))),
        "same_outputs": float(sum(map(_has_same_outputs, tried))),
        **({"verdicts": float(verdicts)} if verdicts else {}),
        **{name: fmean(values) for name, values in means.items() if values},
        **({"worst_points_lost": max(lost)} if lost else {}),
    }


def aggregates(
    planned: Mapping[str, Iterable[str]], done: Mapping[str, Finished], test_accuracy: float
) -> dict[str, float]:
    """Metrics of the parent run: what the members of each algorithm came to, as `algorithm/name`.

    What counts as damage is always MAX_LOSS here, so that sweeps can be compared.

    Args:
        planned: the keys of members by the names of algorithms.
        test_accuracy: the base model's.
    """
    return {
        f"{algorithm}/{name}": value
        for algorithm, keys in planned.items()
        for name, value in summed_up(
            [done[key] for key in keys if key in done], test_accuracy
        ).items()
    }


def before_sweep(base: BaseModel, sample_ids: Sequence[int]) -> Iterator[str]:
    """A line where the base model misclassifies many of the samples."""
    wrong = len(misclassified(base).intersection(sample_ids))
    if wrong > MANY_WRONG * len(sample_ids):
        yield (
            f"{wrong} of {len(sample_ids)} samples are misclassified by the base model: nothing is "
            "unlearned for those; --only-correct chooses among the others"
        )


def after_sweep(
    plan: Plan, done: Mapping[str, Finished], test_accuracy: float, max_loss: float = MAX_LOSS
) -> Iterator[str]:
    """A line for each algorithm with which few attempts arrive, or many damage the model.

    Args:
        done: members by key. test_accuracy: the base model's. max_loss: percentage points of it
            that a flip may cost.
    """
    for algorithm, keys in zip(plan.algorithms, plan.planned().values(), strict=True):
        members = [done[key] for key in keys if key in done]
        tried = [member for member in members if member.status != Status.ALREADY_WRONG]
        ends, how_ended = FLIPPED, "flipped"
        if plan.until == REFERENCE:
            ends, how_ended = UNTIL_REFERENCE, "are at the reference"
        arrived = [member for member in tried if member.status in ends]
        damaged = _damaged(arrived, test_accuracy, max_loss)
        said = f"{algorithm.name}: {len(arrived)} of {len(tried)} {how_ended}"
        if len(arrived) < FEW_FLIPS * len(tried):
            is_lost = Counter(m.status for m in tried)[Status.NON_FINITE] > len(tried) / 2
            how = ("a lower", "lr") if is_lost else ("a higher", "lr", "max_steps")
            advice = f". {EXACT}" if algorithm.is_exact else f": try {_other(algorithm, *how)}"
            yield said + advice
        elif len(damaged) > MANY_DAMAGED * len(arrived):
            other = _other(algorithm, "a lower", "lr")
            yield f"{said}, {len(damaged)} of them damaged: try {other}"


def _other(algorithm: Algorithm, how: str, *names: str) -> str:
    """Which settings to change: the named ones if the algorithm has them, else any."""
    own = [f"{algorithm.name}.{name}" for name in names if name in algorithm.settings()]
    return f"{how} {' or '.join(own)}" if own else "other settings ('indelible algorithms')"


def _damaged(members: Iterable[Finished], test_accuracy: float, max_loss: float) -> list[Finished]:
    """Those members that lost more test accuracy than they may."""
    name = AVERAGED["test_accuracy"]
    known = (member for member in members if name in member.metrics)
    return [m for m in known if points_lost(test_accuracy, m.metrics[name]) > max_loss]


def _has_same_outputs(member: Finished) -> bool:
    """Whether the weights moved, but neither part of GT did: U is 1 and F is 0.

    What left the finite numbers did move, though the weights from before that are kept.
    """
    if member.status in (Status.UNCHANGED, Status.NON_FINITE, Status.NOTHING_TO_FORGET):
        return False
    forget, test = (member.metrics.get(READ[n]) for n in ("forget_prob_diff", "test_prob_diff"))
    return forget == 0 and test is not None and 1 - test == 1


def _values(members: Iterable[Finished], metric: str) -> list[float]:
    return [member.metrics[metric] for member in members if metric in member.metrics]


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
