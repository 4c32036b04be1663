"""One model that forgets all of a list of samples: a parent run, and a child run a step.

Several algorithms or settings may be tried, one after the other, each from the same weights. A step
is written whole, with the weights that it came to; those of the step before are dropped then. So an
unlearning that was stopped goes on with its next step, and the parent run is finished only when the
last weights, the table and the record are there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tracker.base.base_models import BaseRun
from tracker.store.files import Damaged
from tracker.store.records import (
    PARENT,
    Kind,
    Record,
    Run,
    code_version,
    milliseconds,
    this_process,
)
from tracker.store.weights import read_checkpoint
from tracker.store.write import PROCESS, Store
from tracker.studies import RECORD, REQUESTS
from tracker.studies.evidence import Standing, evidence, goals, standing
from tracker.studies.record import as_record, as_tried
from tracker.studies.request_table import TABLE, TAG, Ended, Row, as_csv, read_rows
from tracker.studies.requests import Earlier, Order, Requests
from tracker.studies.study import at_work, begun
from tracker.sweep.chunks import Checkpoint
from tracker.sweep.plan import FLIP, Plan, as_file
from unlearning import algorithms
from unlearning.base_model import logits
from unlearning.checkpoints import decode
from unlearning.engine import SLACK
from unlearning.losses import log_odds, prob_and_loss, wide, widest
from unlearning.outcome import Status
from unlearning.several import network_of, unlearn_at_once, unlearn_next

KEPT = "kept"  # the tag of an unlearning with the algorithm and settings that were kept

Told = Callable[[int, str], None]  # how many requests were just done, and which


@dataclass(frozen=True)
class Forgotten:
    """An unlearning that is done.

    Attributes:
        metrics: of its run. state: the state dict that it came to. record: what was done, and what
            came out, as `record.json` has it.
    """

    run_id: str
    name: str
    key: str
    rows: Sequence[Row]
    metrics: Mapping[str, float]
    state: Mapping[str, Tensor]
    record: Mapping[str, Any]

    def ids(self, ended: str) -> list[int]:
        """The requests that ended so."""
        return [row.sample_id for row in self.rows if row.ended == ended]

    @property
    def learned(self) -> list[int]:
        """The requests that the base model got wrong, and this model gets right."""
        return [
            row.sample_id for row in self.rows if row.ended == Ended.WRONG and not row.is_wrong_now
        ]

    @property
    def earlier(self) -> Earlier:
        """This, for one that goes on from it."""
        ids = tuple(row.sample_id for row in self.rows)
        return Earlier(self.key, ids, self.state, self.record)


def find(store: Store, base_run: BaseRun, requests: Requests) -> Forgotten | None:
    """What became of these requests, if that is known. Raises Damaged where files are lost."""
    experiment_id = store.experiment_id(base_run.dataset, base_run.arch)
    run = store.find_sweep(experiment_id, requests.key, Kind.UNLEARNING)
    if run is None or run.status != "FINISHED":
        return None
    return read(store, base_run, run)


def read(store: Store, base_run: BaseRun, run: Run) -> Forgotten:
    """A finished unlearning of a base model. Raises Damaged where files are lost."""
    rows = read_rows(store.artifacts, run.artifact_uri, run.run_id, run.tags)
    state = _weights(store, base_run, run)
    record = json.loads(store.artifacts.read(run.artifact_uri, RECORD) or b"{}")
    return Forgotten(run.run_id, run.name, run.tags["key"], rows, run.metrics, state, record)


def run_of(store: Store, run_id: str) -> Run | None:
    """The run of a finished unlearning; None where there is none of that id."""
    runs = store.finished_runs(Kind.UNLEARNING)
    return next((run for run in runs if run.run_id == run_id), None)


def _weights(store: Store, base_run: BaseRun, run: Run) -> dict[str, Tensor]:
    """The state dict of an unlearning, or of a step of one. Raises Damaged where it is lost."""
    unlearning = run.tags.get(PARENT, run.run_id)
    try:
        checkpoint = read_checkpoint(store.artifacts, run.artifact_uri, run.tags)
    except Damaged as damage:
        raise Damaged(
            f"of unlearning {unlearning}, {damage}: delete run {unlearning} in MLflow, and call "
            "the same command again"
        ) from damage
    return decode(base_run.weights, checkpoint or b"")


def forget(
    store: Store,
    base_run: BaseRun,
    requests: Requests,
    told: Told = lambda count, what: None,
) -> Forgotten:
    """Unlearn all samples, or go on where that was stopped, and log it.

    Raises UserError where another process is at it, on this machine or another.
    """
    experiment_id = store.experiment_id(base_run.dataset, base_run.arch)
    known = store.find_sweep(experiment_id, requests.key, Kind.UNLEARNING)
    kept = known and store.artifacts.read(known.artifact_uri, REQUESTS)
    first, names = requests.plans[0], requests.algorithms
    how = {"order": str(requests.orders[0]), "rounds": requests.rounds}
    if requests.until != FLIP:
        how |= {"until": requests.until, "max_loss": requests.max_loss}
    only = first.algorithms[0].settings() if len(requests.plans) == 1 else {}
    record = begun(
        base_run,
        first.name,
        params={
            "algorithm": ",".join(names),
            **how,
            "samples": len(requests.sample_ids),
            "seed": first.seed,
            **(first.preset.params if first.preset else {}),
            **{f"{names[0]}.{name}": value for name, value in only.items()},
        },
        tags={"key": requests.key, PROCESS: this_process(), **first.providers_of(first.algorithms)},
        artifacts={REQUESTS: as_file({**first.as_json(), **how})},
    )
    run = store.run(store.begin_sweep(experiment_id, record, base_run.data, Kind.UNLEARNING))
    if known and not kept:  # the process that began it died before it wrote the file
        store.artifacts.write(run.artifact_uri, record.artifacts)
    run_id, what = run.run_id, f"unlearning {run.name}"
    with at_work(store, run_id, what, lambda line: told(0, line)) as check_driver:
        _Unlearning(store, base_run, requests, run, told, check_driver).go_on()
    done = find(store, base_run, requests)
    assert done is not None
    return done


@dataclass
class _Unlearning:
    """An unlearning on its way.

    Attributes:
        run: the parent. check_driver: raises Failure once another process drives the unlearning.
    """

    store: Store
    base_run: BaseRun
    requests: Requests
    run: Run
    told: Told
    check_driver: Callable[[], None]

    def go_on(self) -> None:
        """Make all trials that are left, keep one, and finish the run."""
        asked, run_id = self.requests, self.run.run_id
        mine = f"tags.`{PARENT}` = '{run_id}'"
        steps = [*self.store.finished_runs(Kind.STEP, mine)]
        trials = list[_Trial]()

        def made(plan: Plan, order: Order) -> None:
            number = len(trials) + 1
            own = [run for run in steps if int(run.params["trial"]) == number]
            trials.append(_Trial(self, plan, order, number, own))
            trials[-1].go_on()

        for plan, order in zip(asked.plans, asked.orders, strict=True):
            made(plan, order)
        is_open = asked.until != FLIP and not any(map(self.does_it, trials))
        if asked.last is not None and (asked.is_compared or is_open):
            made(asked.last, Order.TOGETHER)
        self._finish(trials)

    def does_it(self, trial: _Trial) -> bool:
        """Whether a trial forgot every request, and for what it may cost."""
        are_forgotten = all(row.is_forgotten(self.requests.until) for row in trial.rows)
        return are_forgotten and trial.points_lost <= self.requests.max_loss

    def _kept(self, trials: Sequence[_Trial]) -> _Trial:
        """The one that loses the least of those that do it; else the one without the requests."""
        does = [trial for trial in trials if self.does_it(trial)]
        exact = [trial for trial in trials if trial.is_exact]
        return min(does or exact or trials, key=lambda one: (one.is_exact, one.points_lost))

    def _finish(self, trials: Sequence[_Trial]) -> None:
        """Write what it all came to, and end the parent run."""
        store, run_id, base_run = self.store, self.run.run_id, self.base_run
        kept, models = self._kept(trials), {"before": base_run.model.state}
        rows = list(kept.rows)
        models["after"], took = kept.state, dict[str, float]()
        for other in trials:
            if other.is_exact:
                took["retrain_seconds"] = other.seconds
            if other.is_exact and other is not kept:
                models["retrained"] = other.state
                z = {row.sample_id: row.z for row in other.rows}
                rows = [replace(row, z_retrained=z[row.sample_id]) for row in rows]
        ends = [row.ended for row in rows]
        metrics = {
            **{
                f"{when}/{name}": value
                for when, state in models.items()
                for name, value in evidence(base_run.model, state, kept.positions).items()
            },
            **{str(ended): float(ends.count(ended)) for ended in Ended},
            "requests": float(len(rows)),
            "points_lost": kept.points_lost,
            "steps": float(sum(step.steps for step in kept.taken)),
            "rounds": float(max(step.round_ for step in kept.taken)),
            "seconds": sum(trial.seconds for trial in trials),
            **took,
            "is_done": float(self.does_it(kept)),
        }
        weights, table = kept.checkpoint(), as_csv(rows)
        record = as_record(
            self.run,
            store.run(base_run.run_id),
            base_run,
            self.requests,
            [as_tried(trial, trial is kept) for trial in trials],
            rows,
            metrics,
            weights.tags["weights_sha256"],
        )
        files = {TABLE: table, RECORD: as_file(record), **weights.file}
        store.artifacts.write(self.run.artifact_uri, files)
        how = {"algorithm": kept.algorithm.name, "settings": kept.algorithm.settings()}
        own = {TAG: hashlib.sha256(table).hexdigest(), KEPT: json.dumps(how)}
        for tag in (weights.tags | own).items():
            store.client.set_tag(run_id, *tag)
        store.close_sweep(run_id, metrics, NOTE.format(base=base_run.run_id, of=kept, said=metrics))
        store.discard_half_written(run_id)
        for trial in trials:
            trial.drop_weights(keep=0)


class _Step(NamedTuple):
    """A step that was taken for the request at a place, or for all; both numbers from 1."""

    round_: int
    place: int
    steps: int
    points_lost: float
    seconds: float


class _Trial:
    """One algorithm on all requests, from the weights that are there: M rows in the steps' order.

    Attributes:
        number: of the trial, from 1.
        state: parameters and buffers by name, as they are now.
        prob: p of the labels, (M,) float64. wrong: predicted otherwise, (M,) bool.
        accuracy: of the test. remembered: what is still to be unlearned, (M,) bool: what is
            predicted as by the base model, and rightly; or what is above its goal.
        goals: log-odds that requests are brought to, (M,); None until the flip.
        taken: the steps that are done, in order. holders: the ids of those that keep weights.
    """

    def __init__(
        self, job: _Unlearning, plan: Plan, order: Order, number: int, steps: Sequence[Run]
    ) -> None:
        """Go on after the last step that is there. Raises Damaged where its weights are lost."""
        self.job, self.plan, self.order, self.number = job, plan, order, number
        self.store, self.base_run = job.store, job.base_run
        self.base, self.algorithm = self.base_run.model, plan.algorithms[0]
        self.ids, self.is_exact = list(plan.sample_ids), self.algorithm.is_exact
        device = self.base.device
        self.positions = self.base.dataset.train.positions(self.ids).to(device)
        self.labels = self.base.train_labels[self.positions]
        self.right = self.base.train_logits[self.positions].argmax(dim=1) == self.labels
        self.together = order is Order.TOGETHER
        self.goals = None
        if plan.until != FLIP:
            self.goals = goals(self.base, self.positions).to(device, widest(device))
        self.state: dict[str, Tensor] = dict(self.base.state)
        self.taken: list[_Step] = []
        self.holders: list[str] = []
        self._take_over(job.requests.earlier.state if job.requests.earlier else {})
        last = None
        for run in sorted(steps, key=lambda run: run.tags["key"]):
            at, said = run.params, run.metrics
            lost, seconds = said["points_lost_by_step"], said.get("seconds", 0.0)
            where = int(at["round"]), int(at["place"])
            self.taken.append(_Step(*where, int(said["steps"]), lost, seconds))
            last = run if said["steps"] else last
            self.holders += [run.run_id] if "checkpoint" in run.tags else []
        if last is not None:
            self._take_over(_weights(self.store, self.base_run, last))
        self.drop_weights(keep=1)  # of steps before it, which a process that died still kept
        self._look()

    def _take_over(self, weights: Mapping[str, Tensor]) -> None:
        for name in self.state.keys() & weights.keys():
            self.state[name] = weights[name].to(self.base.device)

    def _look(self) -> None:
        """See what the weights come to."""
        model = self.base.model.at(self.state)
        asked = logits(model, self.base.train_inputs[self.positions])
        test = logits(model, self.base.test_inputs).argmax(dim=1)
        self.prob = prob_and_loss(asked, self.labels)[0]
        self.wrong = asked.argmax(dim=1) != self.labels
        self.accuracy = wide(test == self.base.test_labels).mean().item()
        self.remembered = self.right & ~self.wrong
        if self.goals is not None:
            self.remembered = log_odds(asked, self.labels) > self.goals + SLACK

    @property
    def points_lost(self) -> float:
        """Of test accuracy since the base model, in percentage points."""
        return 100 * (self.base_run.test_accuracy - self.accuracy)

    @property
    def seconds(self) -> float:
        """That its steps took."""
        return sum(step.seconds for step in self.taken)

    def drop_weights(self, keep: int) -> None:
        """Drop those of steps but for the last ones."""
        while len(self.holders) > keep:
            self.store.drop_checkpoint(self.holders.pop(0))

    def go_on(self) -> None:
        """Take all steps that are left."""
        first = sum(step.round_ == 1 for step in self.taken)
        self.job.told(len(self.ids) if first and self.together else first, "")
        at = self.taken[-1][:2] if self.taken else (0, 0)
        rounds = 1 if self.is_exact else self.job.requests.rounds
        for round_ in range(1, 1 + rounds):
            for place in range(1, 1 + (1 if self.together else len(self.ids))):
                is_left = round_ == 1 or bool(self.remembered[self._rows(place)].any())
                if (round_, place) > at and is_left:
                    self._take(round_, place)

    def _rows(self, place: int) -> Tensor:
        """The requests that the step at a place is for."""
        return torch.arange(len(self.ids)) if self.together else torch.tensor([place - 1])

    def _take(self, round_: int, place: int) -> None:
        """Take a step, and write it with its weights; then those of the step before are dropped."""
        rows, started_ms, accuracy = self._rows(place), milliseconds(), self.accuracy
        prob, kept = self.prob[rows].mean().item(), Checkpoint({}, {})
        status, steps, changed = self._unlearned(rows)
        seconds = (milliseconds() - started_ms) / 1000
        if steps:
            self.state |= changed
            self._look()
            kept = self.checkpoint()
        step = _Step(round_, place, steps, 100 * (accuracy - self.accuracy), seconds)
        name, sample = self.algorithm.name, self.ids[rows[0]]
        record = Record(
            name=f"{name}-{round_}-{place:05d}",
            params={
                "algorithm": name,
                "trial": self.number,
                "samples": len(rows),
                "round": round_,
                "place": place,
                "seed": self.plan.seed,
                **{f"{name}.{setting}": v for setting, v in self.algorithm.settings().items()},
            },
            tags={
                PARENT: self.job.run.run_id,
                "key": f"{self.job.requests.key}-{self.number:03d}{round_:04d}{place:06d}",
                "status": status,
                "code_version": code_version(),
                **({"sample_id": str(sample)} if len(rows) == 1 else {}),
                **kept.tags,
            },
            metrics={
                "steps": steps,
                "seconds": seconds,
                "test_accuracy": self.accuracy,
                "points_lost": self.points_lost,
                "points_lost_by_step": step.points_lost,
                "forget_prob_before": prob,
                "forget_prob": self.prob[rows].mean().item(),
                "remembered": float(self.remembered.sum()),
                "requests": float(len(self.ids)),
            },
            artifacts=kept.file,
            started_ms=started_ms,
            ended_ms=milliseconds(),
        )
        self.job.check_driver()
        experiment_id = self.job.run.experiment_id
        run_id = self.store.log_once(Kind.STEP, experiment_id, record, self.base_run.data)
        self.taken.append(step)
        if steps:
            self.holders.append(run_id)
            self.drop_weights(keep=1)
        what = f"sample {sample}" if len(rows) == 1 else f"{name}, {len(rows)} at once"
        self.job.told(len(rows) if round_ == 1 else 0, what)

    def _unlearned(self, rows: Tensor) -> tuple[str, int, Mapping[str, Tensor]]:
        """Status, steps and changed weights of unlearning the requests at these rows."""
        what, seed, goals = (self.base, self.state, self.algorithm), self.plan.seed, self.goals
        if not self.is_exact and not self.remembered[rows].any():
            if goals is not None:
                return Status.NOTHING_TO_FORGET, 0, {}
            return (Ended.MISCLASSIFIED if self.right[rows].any() else Ended.WRONG), 0, {}
        if self.together:
            chosen = self.remembered if goals is None else torch.ones_like(self.remembered)
            asked = self.positions if self.is_exact else self.positions[chosen]
            with algorithms.REGISTRY.by(self.algorithm.name):
                result = unlearn_at_once(*what, asked, self.positions, seed, target=goals)
        else:
            goal = None if goals is None else goals[rows]
            one = int(self.positions[rows])
            result = unlearn_next(*what, one, self.positions, seed, target=goal)
        return str(result.status[0]), int(result.steps[0]), result.state_of(0)

    def checkpoint(self) -> Checkpoint:
        """The weights as they are now."""
        state = {n: t.cpu() for n, t in network_of(self.base, self.state).state_dict().items()}
        return Checkpoint.of(self.base_run.weights, state, self.base_run.weights_sha256)

    @cached_property
    def rows(self) -> list[Row]:
        """What became of each request, once all steps are taken."""
        now = standing(self.base, self.state, self.positions)
        untouched = standing(self.base, self.base.state, self.positions)
        return [*self._made(now, untouched)]

    def _made(self, now: Standing | None, untouched: Standing | None) -> Iterator[Row]:
        for row, sample in enumerate(self.ids):
            of_it = [s for s in self.taken if s.steps and (self.together or s.place == row + 1)]
            is_its = self.goals is not None or self.is_exact or bool(self.right[row])
            own = of_it if is_its else []
            yield Row(
                sample_id=sample,
                label=int(self.labels[row]),
                ended=self._ended(row, bool(own), now),
                is_wrong_now=bool(self.wrong[row]),
                rounds=len(own),
                steps=sum(step.steps for step in own),
                points_lost=None if self.together else float(sum(s.points_lost for s in own)),
                forget_prob=float(self.prob[row]),
                sample_path=self.base.dataset.train.path_of(sample),
                z=_defined(now and now.z, row),
                z_error=_defined(now and now.z_error, row),
                z_limit=_defined(now and now.limit, row),
                z_untouched=_defined(untouched and untouched.z, row),
            )

    def _ended(self, row: int, has_own: bool, now: Standing | None) -> Ended:
        """What became of a request: by z, where that ends it, else by its prediction."""
        if self.is_exact and has_own:
            return Ended.NEVER
        if self.goals is not None and now is not None:
            z, limit = float(now.z[row]), float(now.limit[row])
            if abs(z) <= limit:
                return Ended.FORGOTTEN
            return Ended.REMEMBERED if z > 0 else Ended.OVER_FORGOTTEN
        if not self.right[row]:
            return Ended.WRONG
        if self.remembered[row]:
            return Ended.REMEMBERED
        return Ended.FORGOTTEN if has_own else Ended.MISCLASSIFIED


def _defined(values: Tensor | None, row: int) -> float | None:
    """A number of a request; None where too few reference models tell."""
    return None if values is None or values[row].isnan() else float(values[row])


NOTE = """\
### One model that was asked to forget {said[requests]:.0f} samples

Unlearned from base model `{base}` with {of.algorithm.name}, order {of.order}, until \
{of.plan.until}, seed {of.plan.seed}: {said[forgotten]:.0f} are forgotten, \
{said[over_forgotten]:.0f} over-forgotten, {said[misclassified]:.0f} misclassified after steps for \
others alone, {said[remembered]:.0f} are remembered, {said[already_wrong]:.0f} the base model got \
wrong before, and {said[never_seen]:.0f} were never seen, for the model was trained without them. \
Test accuracy was {said[before/test_accuracy]:.1%} and is {said[after/test_accuracy]:.1%} now, \
{said[points_lost]:z.1f} points less. Each child run is a step; `record.json` says all.
"""
