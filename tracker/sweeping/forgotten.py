"""What became of deletion requests: a row each, the numbers of the model, and its weights."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from tracker.access.artifacts import Damaged
from tracker.base.base_models import BaseRun
from tracker.record.records import Kind
from tracker.record.store import Store
from tracker.record.weights import read_checkpoint
from tracker.sweeping.requests import Requests
from unlearning.checkpoints import decode
from unlearning.outcome import Status

TABLE = "requests.csv"  # the artifact of an unlearning with its rows

FORGOTTEN, REMEMBERED, NEVER = "forgotten", "remembered", "never_seen"
WRONG = str(Status.ALREADY_WRONG)
ENDS = (FORGOTTEN, REMEMBERED, WRONG, NEVER)


@dataclass(frozen=True)
class Row:
    """What became of a request.

    Attributes:
        ended: FORGOTTEN: it is predicted otherwise than by the base model; REMEMBERED; WRONG: the
            base model got it wrong, and nothing was unlearned; or NEVER: the model was trained
            without it.
        forgotten: whether its prediction is not its label now, whatever the base model said.
        rounds, steps: that it took part in, and steps that were taken in these; of several samples
            at once, those of all of them.
        points_lost: by these steps, percentage points of test accuracy; of steps for several
            samples at once it is nobody's.
        forget_prob: p of its label, of the last weights. sample_path: of its file, if it has one.
    """

    sample_id: int
    label: int
    ended: str
    forgotten: bool
    rounds: int
    steps: int
    points_lost: float | None
    forget_prob: float
    sample_path: str | None

    @classmethod
    def read(cls, row: Mapping[str, str]) -> Row:
        """From a line of the table. Raises ValueError, KeyError."""
        lost = row["points_lost"]
        return cls(
            sample_id=int(row["sample_id"]),
            label=int(row["label"]),
            ended=row["ended"],
            forgotten=row["forgotten"] == str(True),
            rounds=int(row["rounds"]),
            steps=int(row["steps"]),
            points_lost=float(lost) if lost else None,
            forget_prob=float(row["forget_prob"]),
            sample_path=row["sample_path"] or None,
        )


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
        return [row.sample_id for row in self.rows if row.ended == WRONG and not row.forgotten]


def as_csv(rows: Sequence[Row]) -> bytes:
    """The rows as a file."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [*vars(rows[0])], lineterminator="\n")
    writer.writeheader()
    writer.writerows(vars(row) for row in rows)
    return text.getvalue().encode()


def find(store: Store, base_run: BaseRun, requests: Requests) -> Forgotten | None:
    """What became of these requests, if that is known. Raises Damaged where files are lost."""
    experiment_id = store.experiment_id(base_run.dataset, base_run.arch)
    run = store.find_sweep(experiment_id, requests.key, Kind.UNLEARNING)
    if run is None or run.info.status != "FINISHED":
        return None
    uri, run_id = run.info.artifact_uri, run.info.run_id
    checkpoint = read_checkpoint(store.artifacts, uri, run.data.tags)
    content = store.artifacts.read(uri, TABLE)
    try:
        rows = [Row.read(row) for row in csv.DictReader(io.StringIO((content or b"").decode()))]
    except (ValueError, KeyError):
        rows = []
    if checkpoint is None or [*requests.ids()] != sorted(row.sample_id for row in rows):
        raise Damaged(
            f"{TABLE} or the weights of unlearning {run_id} are lost or damaged: delete that run "
            "in MLflow, and call the same command again"
        )
    state = decode(base_run.weights, checkpoint)
    return Forgotten(run_id, run.info.run_name, requests.key, rows, run.data.metrics, state)
