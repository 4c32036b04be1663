"""One model that forgets all of a list of samples: a parent run, and a child run a step.

A step is written whole, with the weights that it came to; those of the step before are dropped
then. So an unlearning that was stopped goes on with its next step, and the parent run is finished
only when the last weights and the table are there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from mlflow.entities import Run
from torch import Tensor

from tracker.base.base_models import BaseRun
from tracker.store.files import Damaged
from tracker.store.records import PARENT, Kind, Record, code_version, milliseconds, this_process
from tracker.store.weights import read_checkpoint
from tracker.store.write import PROCESS, Store
from tracker.studies import REQUESTS
from tracker.studies.evidence import evidence
from tracker.studies.request_table import (
    TABLE,
    TAG,
    Ended,
    Row,
    as_csv,
    read_rows,
)
from tracker.studies.requests import Order, Requests
from tracker.studies.study import at_work, begun
from tracker.sweep.chunks import Checkpoint
from tracker.sweep.plan import as_file
from unlearning import algorithms
from unlearning.base_model import logits
from unlearning.checkpoints import decode
from unlearning.losses import prob_and_loss, wide
from unlearning.several import network_of, unlearn_at_once, unlearn_next

Told = Callable[[int, str], None]  # how many requests were just done, and which


@dataclass(frozen=True)
class Forgotten:
    """An unlearning that is done.

    Attributes:
        metrics: of its run. state: the state dict that it came to.
    """

    run_id: str
    name: str
    key: str
    rows: Sequence[Row]
    metrics: Mapping[str, float]
    state: Mapping[str, Tensor]

    def ids(self, ended: str) -> list[int]:
        """The requests that ended so."""
        return [row.sample_id for row in self.rows if row.ended == ended]

    @property
    def learned(self) -> list[int]:
        """The requests that the base model got wrong, and this model gets right."""
        return [
            row.sample_id for row in self.rows if row.ended == Ended.WRONG and not row.is_wrong_now
        ]


def find(store: Store, base_run: BaseRun, requests: Requests) -> Forgotten | None:
    """What became of these requests, if that is known. Raises Damaged where files are lost."""
    experiment_id = store.experiment_id(base_run.dataset, base_run.arch)
    run = store.find_sweep(experiment_id, requests.key, Kind.UNLEARNING)
    if run is None or run.info.status != "FINISHED":
        return None
    info, data = run.info, run.data
    rows = read_rows(store.artifacts, info.artifact_uri, info.run_id, data.tags)
    state = _weights(store, base_run, run)
    return Forgotten(info.run_id, info.run_name, requests.key, rows, data.metrics, state)


def _weights(store: Store, base_run: BaseRun, run: Run) -> dict[str, Tensor]:
    """The state dict of an unlearning, or of a step of one. Raises Damaged where it is lost."""
    unlearning = run.data.tags.get(PARENT, run.info.run_id)
    try:
        checkpoint = read_checkpoint(store.artifacts, run.info.artifact_uri, run.data.tags)
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
    in_order: Callable[[], list[int]],
    told: Told = lambda count, what: None,
) -> Forgotten:
    """Unlearn all samples, or go on where that was stopped, and log it.

    Args:
        in_order: finds out the order of the steps, if that is not known yet.

    Raises UserError where another process is at it, on this machine or another.
    """
    experiment_id = store.experiment_id(base_run.dataset, base_run.arch)
    known = store.find_sweep(experiment_id, requests.key, Kind.UNLEARNING)
    kept = known and store.artifacts.read(known.info.artifact_uri, REQUESTS)
    ids, algorithm = json.loads(kept)["sample_ids"] if kept else in_order(), requests.algorithm
    plan = replace(requests.plan, sample_ids=tuple(ids))
    how = {"order": str(requests.order), "rounds": requests.rounds}
    record = begun(
        base_run,
        plan.name,
        params={
            "algorithm": algorithm.name,
            **how,
            "samples": len(plan.sample_ids),
            "seed": plan.seed,
            **(plan.preset.params if plan.preset else {}),
            **{f"{algorithm.name}.{name}": v for name, v in algorithm.settings().items()},
        },
        tags={"key": requests.key, PROCESS: this_process(), **plan.providers_of(plan.algorithms)},
        artifacts={REQUESTS: as_file({**plan.as_json(), **how})},
    )
    run = store.run(store.begin_sweep(experiment_id, record, base_run.data, Kind.UNLEARNING))
    if known and not kept:  # the process that began it died before it wrote the file
        store.artifacts.write(run.info.artifact_uri, record.artifacts)
    run_id, what = str(run.info.run_id), f"unlearning {run.info.run_name}"
    with at_work(store, run_id, what, lambda line: told(0, line)) as check_driver:
        requests = replace(requests, plan=plan)
        _Unlearning(store, base_run, requests, run, told, check_driver).go_on()
    done = find(store, base_run, requests)
    assert done is not None
    return done


class _Step(NamedTuple):
    """A step that was taken for the request at a place, or for all; both numbers from 1."""

    round_: int
    place: int
    steps: int
    points_lost: float


@dataclass
class _Unlearning:
    """An unlearning on its way. Its requests are rows: M of them, in the order of the steps.

    Attributes:
        run: the parent. check_driver: raises Failure once another process drives the unlearning.
        state: parameters and buffers by name, as they are now.
        prob: p of the labels, (M,) float64. wrong: predicted otherwise, (M,) bool.
        remembered: predicted as by the base model, and rightly, (M,) bool. accuracy: of the test.
        taken: the steps that are done, in order. holders: the ids of those that keep weights.
    """

    store: Store
    base_run: BaseRun
    requests: Requests
    run: Run
    told: Told
    check_driver: Callable[[], None]

    def __post_init__(self) -> None:
        """Go on after the last step that is there. Raises Damaged where its weights are lost."""
        self.base, self.algorithm = self.base_run.model, self.requests.algorithm
        self.ids, self.seed = list(self.requests.plan.sample_ids), self.requests.plan.seed
        self.positions = self.base.dataset.train.positions(self.ids).to(self.base.device)
        self.labels = self.base.train_labels[self.positions]
        self.right = self.base.train_logits[self.positions].argmax(dim=1) == self.labels
        self.together = self.requests.order is Order.TOGETHER
        self.run_id = str(self.run.info.run_id)
        self.state: dict[str, Tensor] = dict(self.base.state)
        self.taken: list[_Step] = []
        self.holders: list[str] = []
        last, mine = None, f"tags.`{PARENT}` = '{self.run_id}'"
        steps = [*self.store.finished_runs(Kind.STEP, mine)]
        for run in sorted(steps, key=lambda run: run.data.tags["key"]):
            at, said = run.data.params, run.data.metrics
            lost = said["points_lost_by_step"]
            self.taken.append(_Step(int(at["round"]), int(at["place"]), int(said["steps"]), lost))
            last = run if said["steps"] else last
            self.holders += [run.info.run_id] if "checkpoint" in run.data.tags else []
        if last is not None:
            weights = _weights(self.store, self.base_run, last)
            for name in self.state.keys() & weights.keys():
                self.state[name] = weights[name].to(self.base.device)
        self._drop_weights(keep=1)  # of steps before it, which a process that died still kept
        self._look()

    def _look(self) -> None:
        """See what the weights come to."""
        model = self.base.model.at(self.state)
        asked = logits(model, self.base.train_inputs[self.positions])
        test = logits(model, self.base.test_inputs).argmax(dim=1)
        self.prob = prob_and_loss(asked, self.labels)[0]
        self.wrong = asked.argmax(dim=1) != self.labels
        self.remembered = self.right & ~self.wrong
        self.accuracy = wide(test == self.base.test_labels).mean().item()

    def _drop_weights(self, keep: int) -> None:
        """Drop those of steps but for the last ones."""
        while len(self.holders) > keep:
            self.store.drop_checkpoint(self.holders.pop(0))

    def go_on(self) -> None:
        """Take all steps that are left, and finish the run."""
        first = sum(step.round_ == 1 for step in self.taken)
        self.told(len(self.ids) if first and self.together else first, "")
        at = self.taken[-1][:2] if self.taken else (0, 0)
        for round_ in range(1, 1 + (1 if self.algorithm.is_exact else self.requests.rounds)):
            for place in range(1, 1 + (1 if self.together else len(self.ids))):
                is_left = round_ == 1 or bool(self.remembered[self._rows(place)].any())
                if (round_, place) > at and is_left:
                    self._take(round_, place)
        self._finish()

    def _rows(self, place: int) -> Tensor:
        """The requests that the step at a place is for."""
        return torch.arange(len(self.ids)) if self.together else torch.tensor([place - 1])

    def _take(self, round_: int, place: int) -> None:
        """Take a step, and write it with its weights; then those of the step before are dropped."""
        rows, started_ms, accuracy = self._rows(place), milliseconds(), self.accuracy
        prob, kept = self.prob[rows].mean().item(), Checkpoint({}, {})
        status, steps, changed = self._unlearned(rows)
        if steps:
            self.state |= changed
            self._look()
            kept = self._checkpoint()
        step = _Step(round_, place, steps, 100 * (accuracy - self.accuracy))
        name, sample = self.algorithm.name, self.ids[rows[0]]
        record = Record(
            name=f"{name}-{round_}-{place:05d}",
            params={
                "algorithm": name,
                "samples": len(rows),
                "round": round_,
                "place": place,
                "seed": self.seed,
            },
            tags={
                PARENT: self.run_id,
                "key": f"{self.requests.key}-{round_:04d}{place:06d}",
                "status": status,
                "code_version": code_version(),
                **({"sample_id": str(sample)} if len(rows) == 1 else {}),
                **kept.tags,
            },
            metrics={
                "steps": steps,
                "test_accuracy": self.accuracy,
                "points_lost": 100 * (self.base_run.test_accuracy - self.accuracy),
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
        self.check_driver()
        experiment_id = str(self.run.info.experiment_id)
        run_id = self.store.log_once(Kind.STEP, experiment_id, record, self.base_run.data)
        self.taken.append(step)
        if steps:
            self.holders.append(run_id)
            self._drop_weights(keep=1)
        what = f"sample {sample}" if len(rows) == 1 else f"{len(rows)} at once"
        self.told(len(rows) if round_ == 1 else 0, what)

    def _unlearned(self, rows: Tensor) -> tuple[str, int, Mapping[str, Tensor]]:
        """Status, steps and changed weights of unlearning the requests at these rows."""
        what, is_exact = (self.base, self.state, self.algorithm), self.algorithm.is_exact
        if not is_exact and not self.remembered[rows].any():
            return (Ended.MISCLASSIFIED if self.right[rows].any() else Ended.WRONG), 0, {}
        if self.together:
            asked = self.positions if is_exact else self.positions[self.remembered]
            with algorithms.REGISTRY.by(self.algorithm.name):
                result = unlearn_at_once(*what, asked, self.positions, self.seed)
        else:
            result = unlearn_next(*what, int(self.positions[rows]), self.positions, self.seed)
        return str(result.status[0]), int(result.steps[0]), result.state_of(0)

    def _checkpoint(self) -> Checkpoint:
        """The weights as they are now."""
        state = {n: t.cpu() for n, t in network_of(self.base, self.state).state_dict().items()}
        return Checkpoint.of(self.base_run.weights, state, self.base_run.weights_sha256)

    def _finish(self) -> None:
        """Write what it all came to, and end the parent run."""
        store, run_id = self.store, self.run_id
        rows = [self._row(row) for row in range(len(self.ids))]
        ends, kept, table = [row.ended for row in rows], self._checkpoint(), as_csv(rows)
        before = evidence(self.base, self.base.state, self.positions)
        after = evidence(self.base, self.state, self.positions)
        metrics = {
            **{f"before/{name}": value for name, value in before.items()},
            **{f"after/{name}": value for name, value in after.items()},
            **{str(ended): float(ends.count(ended)) for ended in Ended},
            "requests": float(len(rows)),
            "points_lost": 100 * (before["test_accuracy"] - after["test_accuracy"]),
            "steps": float(sum(step.steps for step in self.taken)),
            "rounds": float(max(step.round_ for step in self.taken)),
        }
        store.artifacts.write(self.run.info.artifact_uri, {TABLE: table, **kept.file})
        for tag in (*kept.tags.items(), (TAG, hashlib.sha256(table).hexdigest())):
            store.client.set_tag(run_id, *tag)
        note = NOTE.format(base=self.base_run.run_id, asked=self.requests, said=metrics)
        store.close_sweep(run_id, metrics, note)
        store.discard_half_written(run_id)
        self._drop_weights(keep=0)

    def _row(self, row: int) -> Row:
        """What became of a request."""
        of_it = [s for s in self.taken if s.steps and (self.together or s.place == row + 1)]
        own = of_it if self.right[row] or self.algorithm.is_exact else []
        if self.algorithm.is_exact and own:
            ended = Ended.NEVER
        elif not self.right[row]:
            ended = Ended.WRONG
        elif self.remembered[row]:
            ended = Ended.REMEMBERED
        else:
            ended = Ended.FORGOTTEN if own else Ended.MISCLASSIFIED
        return Row(
            sample_id=self.ids[row],
            label=int(self.labels[row]),
            ended=ended,
            is_wrong_now=bool(self.wrong[row]),
            rounds=len(own),
            steps=sum(step.steps for step in own),
            points_lost=None if self.together else float(sum(step.points_lost for step in own)),
            forget_prob=float(self.prob[row]),
            sample_path=self.base.dataset.train.path_of(self.ids[row]),
        )


NOTE = """\
### One model that was asked to forget {said[requests]:.0f} samples

Unlearned from base model `{base}` with {asked.algorithm.name}, order {asked.order}, seed \
{asked.plan.seed}: {said[forgotten]:.0f} are forgotten, {said[misclassified]:.0f} are \
misclassified after steps for others alone, {said[remembered]:.0f} are remembered, \
{said[already_wrong]:.0f} the base model got wrong before, and {said[never_seen]:.0f} were never \
seen, for the model was trained without them. Test accuracy was \
{said[before/test_accuracy]:.1%} and is {said[after/test_accuracy]:.1%} now, \
{said[points_lost]:z.1f} points less. Each child run is a step.
"""
