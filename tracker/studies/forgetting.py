"""One model that forgets all of a list of samples: a parent run, and a child run a step.

A step is written whole, with the weights that it came to; those of the step before are let go of
then. So an unlearning that was stopped goes on with its next step, and the parent run is finished
only when the last weights and the table are there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from mlflow.entities import Run
from torch import Tensor

from tracker.base.base_models import BaseRun
from tracker.store.driver import driving
from tracker.store.files import Damaged
from tracker.store.records import PARENT, Kind, milliseconds
from tracker.store.weights import read_checkpoint
from tracker.store.write import Store
from tracker.studies.request_table import ENDS, FORGOTTEN, MISCLASSIFIED, NEVER, REMEMBERED, TABLE, TAG, WRONG, Row, as_csv
from tracker.studies.evidence import evidence
from tracker.studies.unlearn import Forgotten
from tracker.studies.requests import REQUESTS, Order, Requests, read_order
from tracker.studies.unlearn import Look, Step, note, parent_record, place_of
from tracker.sweep.chunks import Checkpoint
from unlearning import algorithms
from unlearning.base_model import BaseModel, logits
from unlearning.checkpoints import decode
from unlearning.losses import prob_and_loss, wide
from unlearning.outcome import Status
from unlearning.several import network_of, unlearn_at_once, unlearn_next

Told = Callable[[int, str], None]  # how many requests were just done, and which


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
    if known is None:
        begun = requests.with_order(in_order())
        known = store.find_sweep(experiment_id, requests.key, Kind.UNLEARNING)  # begun meanwhile
    if known is None:
        record = parent_record(base_run, begun)
        run_id = store.begin_sweep(experiment_id, record, base_run.data, Kind.UNLEARNING)
        known = store.run(run_id)
    uri, run_id = known.info.artifact_uri, known.info.run_id
    order = read_order(store.artifacts.read(uri, REQUESTS), run_id, requests.plan.sample_ids)
    what = f"unlearning {known.info.run_name} ({run_id})"
    with driving(store, run_id, what, say=lambda line: told(0, line)) as is_alone:
        store.resume_sweep(run_id)
        try:
            requests = requests.with_order(order)
            return _Course(store, base_run, requests, known, told, is_alone).done()
        except BaseException:
            store.interrupt(run_id)
            raise


@dataclass
class _Course:
    """An unlearning on its way.

    Attributes:
        run: the parent. taken: the child runs of the steps that are done, in order.
        state: parameters and buffers by name, as they are now; now: what they come to.
        check_driver: raises Failure once another process drives the unlearning.
        holder: the id of the step that has these weights; None while they are the base model's.
    """

    store: Store
    base_run: BaseRun
    requests: Requests
    run: Run
    told: Told
    check_driver: Callable[[], None]
    taken: list[Run] = field(default_factory=list)
    holder: str | None = None

    def __post_init__(self) -> None:
        self.base: BaseModel = self.base_run.model
        self.ids = list(self.requests.plan.sample_ids)
        self.positions = self.base.dataset.train.positions(self.ids).to(self.base.device)
        self.labels = self.base.train_labels[self.positions]
        self.right = self.base.train_logits[self.positions].argmax(dim=1) == self.labels
        self.together = self.requests.order is Order.TOGETHER
        self.is_exact = self.requests.algorithm.is_exact
        self.experiment_id = str(self.run.info.experiment_id)
        self.state: dict[str, Tensor] = dict(self.base.state)
        self._take_up()
        self.now = self._look()

    def _look(self) -> Look:
        model = self.base.model.at(self.state)
        asked = logits(model, self.base.train_inputs[self.positions])
        test = logits(model, self.base.test_inputs).argmax(dim=1)
        wrong = asked.argmax(dim=1) != self.labels
        return Look(
            prob=prob_and_loss(asked, self.labels)[0],
            wrong=wrong,
            remembered=self.right & ~wrong,
            test_accuracy=wide(test == self.base.test_labels).mean().item(),
        )

    def _take_up(self) -> None:
        """Go on after the last step that is there; begin anew where its weights are lost."""
        mine = f"tags.kind = '{Kind.STEP}' and tags.`{PARENT}` = '{self.run.info.run_id}'"
        done = f"{mine} and attributes.status = 'FINISHED'"
        found = {run.data.tags["key"]: run for run in self.store.runs([self.experiment_id], done)}
        steps = [found[key] for key in sorted(found)]
        moved = [run for run in steps if run.data.metrics["steps"]]
        try:
            if moved:
                self.holder = moved[-1].info.run_id
                self._load(moved[-1])
            self.taken = steps
            for run in moved[:-1]:
                if "checkpoint" in run.data.tags:  # the process died before it let go of it
                    self.store.drop_checkpoint(run.info.run_id)
        except Damaged:
            self.holder = None
            self.store.discard(run.info.run_id for run in steps)

    def _load(self, step: Run) -> None:
        """Take the weights of a step. Raises Damaged where they are lost."""
        tags, uri = step.data.tags, step.info.artifact_uri
        checkpoint = read_checkpoint(self.store.artifacts, uri, tags)
        if checkpoint is None:
            raise Damaged("the last step has no weights")
        weights = decode(self.base_run.weights, checkpoint)
        for name in self.state.keys() & weights.keys():
            self.state[name] = weights[name].to(self.base.device)

    def done(self) -> Forgotten:
        """Take all steps that are left, and finish the run."""
        at = place_of(self.taken[-1]) if self.taken else (1, 0)
        first = sum(place_of(run)[0] == 1 for run in self.taken)
        self.told(len(self.ids) if first and self.together else first, "")
        for round_, place in self._places(*at):
            self._take(round_, place)
        return self._finish()

    def _places(self, round_: int, place: int) -> Iterator[tuple[int, int]]:
        """The steps after this one that are to be taken: round and place, from 1."""
        last = 1 if self.together else len(self.ids)
        while round_ <= (1 if self.is_exact else self.requests.rounds):
            while place < last:
                place += 1
                if round_ == 1 or self.now.remembered[self._rows(place)].any():
                    yield round_, place
            round_, place = round_ + 1, 0

    def _rows(self, place: int) -> Tensor:
        """The requests that the step at a place is for."""
        return torch.arange(len(self.ids)) if self.together else torch.tensor([place - 1])

    def _take(self, round_: int, place: int) -> None:
        """Take a step, and write it."""
        started, before, rows = milliseconds(), self.now, self._rows(place)
        status, steps, changed = self._unlearned(rows)
        if steps:
            self.state |= changed
            self.now = self._look()
        ids = [self.ids[row] for row in rows.tolist()]
        step = Step(round_, place, rows, ids, status, steps, before, self.now, started)
        self.check_driver()
        self._write(step)
        what = f"sample {ids[0]}" if len(ids) == 1 else f"{len(ids)} at once"
        self.told(len(ids) if round_ == 1 else 0, what)

    def _unlearned(self, rows: Tensor) -> tuple[str, int, Mapping[str, Tensor]]:
        """Status, steps and changed weights of unlearning the requests at these rows."""
        what = (self.base, self.state, self.requests.algorithm)
        seed = self.requests.plan.seed
        if not self.is_exact and not self.right[rows].any():
            return str(Status.ALREADY_WRONG), 0, {}
        if not self.is_exact and not self.now.remembered[rows].any():
            return MISCLASSIFIED, 0, {}
        if self.together:
            asked = self.positions if self.is_exact else self.positions[self.now.remembered]
            with algorithms.REGISTRY.by(self.requests.algorithm.name):
                found = unlearn_at_once(*what, asked, self.positions, seed)
            return str(found.status), found.steps, found.state
        result = unlearn_next(*what, int(self.positions[rows]), self.positions, seed)
        return str(result.status[0]), int(result.steps[0]), result.state_of(0)

    def _checkpoint(self) -> Checkpoint:
        """The weights as they are now."""
        state = {n: t.cpu() for n, t in network_of(self.base, self.state).state_dict().items()}
        return Checkpoint.of(self.base_run.weights, state, self.base_run.weights_sha256)

    def _write(self, step: Step) -> None:
        """Write a step with its weights, of which the last one lets go then."""
        kept = self._checkpoint() if step.steps else Checkpoint({}, {})
        accuracy, parent = self.base_run.test_accuracy, self.run.info.run_id
        record = step.record(self.requests, parent, accuracy, kept.tags, kept.file)
        run_id = self.store.log_once(Kind.STEP, self.experiment_id, record, self.base_run.data)
        self.taken.append(self.store.run(run_id))
        if step.steps:
            self._let_go()
            self.holder = run_id

    def _let_go(self) -> None:
        if self.holder is not None:
            self.store.drop_checkpoint(self.holder)

    def _finish(self) -> Forgotten:
        """Write what it all came to, and end the parent run."""
        store, run_id, rows = self.store, self.run.info.run_id, self._table()
        kept, table = self._checkpoint(), as_csv(rows)
        store.artifacts.write(self.run.info.artifact_uri, {TABLE: table, **kept.file})
        for tag in (*kept.tags.items(), (TAG, hashlib.sha256(table).hexdigest())):
            store.client.set_tag(run_id, *tag)
        metrics = self._metrics(rows)
        store.close_sweep(run_id, metrics, note(self.base_run, self.requests, metrics))
        store.discard_half_written(run_id)
        self._let_go()
        (content,) = kept.file.values()
        state = decode(self.base_run.weights, content)
        return Forgotten(run_id, self.run.info.run_name, self.requests.key, rows, metrics, state)

    def _metrics(self, rows: list[Row]) -> dict[str, float]:
        before, after = (
            evidence(self.base, state, self.positions) for state in (self.base.state, self.state)
        )
        ends = [row.ended for row in rows]
        return {
            **{f"before/{name}": value for name, value in before.items()},
            **{f"after/{name}": value for name, value in after.items()},
            **{ended: float(ends.count(ended)) for ended in ENDS},
            "requests": float(len(rows)),
            "points_lost": 100 * (before["test_accuracy"] - after["test_accuracy"]),
            "steps": float(sum(run.data.metrics["steps"] for run in self.taken)),
            "rounds": float(max((place_of(run)[0] for run in self.taken), default=0)),
        }

    def _table(self) -> list[Row]:
        """What became of each request."""
        return [self._row(row) for row in range(len(self.ids))]

    def _row(self, row: int) -> Row:
        own = [
            run.data.metrics
            for run in self.taken
            if run.data.metrics["steps"]
            and (self.together or place_of(run)[1] == row + 1)
            and (self.right[row] or self.is_exact)
        ]
        lost = None if self.together else float(sum(of["points_lost_by_step"] for of in own))
        return Row(
            sample_id=self.ids[row],
            label=int(self.labels[row]),
            ended=self._ended(row, bool(own)),
            is_wrong_now=bool(self.now.wrong[row]),
            rounds=len(own),
            steps=int(sum(of["steps"] for of in own)),
            points_lost=lost,
            forget_prob=float(self.now.prob[row]),
            sample_path=self.base.dataset.train.path_of(self.ids[row]),
        )

    def _ended(self, row: int, was_unlearned: bool) -> str:
        if self.is_exact and was_unlearned:
            return NEVER
        if not self.right[row]:
            return WRONG
        if self.now.remembered[row]:
            return REMEMBERED
        return FORGOTTEN if was_unlearned else MISCLASSIFIED
