"""The runs of an unlearning of several samples: its parent run, and those of its steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mlflow.entities import Run
from torch import Tensor

from tracker.base.base_models import BaseRun
from tracker.store.records import PARENT, Record, code_version, milliseconds, this_process
from tracker.store.write import PROCESS
from tracker.studies.requests import REQUESTS, Requests
from tracker.sweep.plan import as_file
from unlearning.version import VERSION


@dataclass(frozen=True)
class Look:
    """A model on M requests and on the test set.

    Attributes:
        prob: (M,) float64, p of the labels. wrong: (M,) bool, predicted otherwise.
        remembered: (M,) bool, predicted as by the base model, and rightly.
    """

    prob: Tensor
    wrong: Tensor
    remembered: Tensor
    test_accuracy: float


@dataclass(frozen=True)
class Step:
    """A step that was taken.

    Attributes:
        round_, place: of its request among all, or 1; both from 1.
        rows: (n,), of its samples among the requests. sample_ids: theirs.
        before, after: what the weights come to.
    """

    round_: int
    place: int
    rows: Tensor
    sample_ids: list[int]
    status: str
    steps: int
    before: Look
    after: Look
    started_ms: int

    def record(
        self,
        requests: Requests,
        parent: str,
        test_accuracy: float,
        tags: Mapping[str, str],
        files: Mapping[str, bytes],
    ) -> Record:
        """The step as a child run.

        Args:
            parent: the id of its run. test_accuracy: the base model's.
            tags, files: of the weights.
        """
        first, size = self.sample_ids[0], len(self.sample_ids)
        name = requests.algorithm.name
        ended = self.after.test_accuracy
        before, after = (
            look.prob[self.rows.to(look.prob.device)].mean().item()
            for look in (self.before, self.after)
        )
        asked = len(requests.plan.sample_ids)
        return Record(
            name=f"{name}-{self.round_}-{self.place:05d}",
            params={
                "algorithm": name,
                "samples": size,
                "round": self.round_,
                "place": self.place,
                "seed": requests.plan.seed,
            },
            tags={
                PARENT: parent,
                "key": f"{requests.key}-{self.round_:04d}{self.place:06d}",
                "status": self.status,
                "code_version": code_version(),
                **({"sample_id": str(first)} if size == 1 else {}),
                **tags,
            },
            metrics={
                "steps": self.steps,
                "test_accuracy": ended,
                "points_lost": 100 * (test_accuracy - ended),
                "points_lost_by_step": 100 * (self.before.test_accuracy - ended),
                "forget_prob_before": before,
                "forget_prob": after,
                "remembered": float(self.after.remembered.sum()),
                "requests": float(asked),
            },
            artifacts=files,
            started_ms=self.started_ms,
            ended_ms=milliseconds(),
        )


def place_of(step: Run) -> tuple[int, int]:
    """Round and place of a step that is in the store."""
    return int(step.data.params["round"]), int(step.data.params["place"])


def parent_record(base_run: BaseRun, requests: Requests) -> Record:
    """The parent run as it begins."""
    now, plan, algorithm = milliseconds(), requests.plan, requests.algorithm
    return Record(
        name=plan.name,
        params={
            "dataset": base_run.dataset,
            "arch": base_run.arch,
            "base_run_id": base_run.run_id,
            "algorithm": algorithm.name,
            "order": str(requests.order),
            "rounds": requests.rounds,
            "samples": len(plan.sample_ids),
            "seed": plan.seed,
            "engine_version": VERSION,
            "precision": plan.precision,
            **(plan.preset.params if plan.preset else {}),
            **{f"{algorithm.name}.{name}": v for name, v in algorithm.settings().items()},
        },
        tags={
            "key": requests.key,
            "code_version": code_version(),
            "base_weights_sha256": base_run.weights_sha256,
            "data_fingerprint": plan.fingerprint,
            PROCESS: this_process(),
            **plan.providers_of(plan.algorithms),
        },
        metrics={},
        artifacts={REQUESTS: as_file(requests.as_json())},
        started_ms=now,
        ended_ms=now,
    )


def note(base_run: BaseRun, requests: Requests, metrics: Mapping[str, float]) -> str:
    """The description of the parent run.

    Args:
        metrics: of it.
    """
    return NOTE.format(
        base=base_run.run_id,
        algorithm=requests.algorithm.name,
        order=requests.order,
        seed=requests.plan.seed,
        requests=int(metrics["requests"]),
        forgotten=int(metrics["forgotten"]),
        misclassified=int(metrics["misclassified"]),
        remembered=int(metrics["remembered"]),
        wrong=int(metrics["already_wrong"]),
        never=int(metrics["never_seen"]),
        lost=metrics["points_lost"],
        before=metrics["before/test_accuracy"],
        after=metrics["after/test_accuracy"],
    )


NOTE = """\
### One model that was asked to forget {requests} samples

Unlearned from base model `{base}` with {algorithm}, order {order}, seed {seed}: {forgotten} are \
forgotten, {misclassified} are misclassified after steps for others alone, {remembered} are \
remembered, {wrong} the base model got wrong before, and {never} were never seen, for the model \
was trained without them. Test accuracy was {before:.1%} and is {after:.1%} now, {lost:z.1f} \
points less. Each child run is a step.
"""
