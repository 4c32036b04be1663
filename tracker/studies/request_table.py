"""The table of an unlearning: a row a request, what became of it."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tracker.store.files import Artifacts, Damaged
from tracker.sweep.plan import FLIP

TABLE = "requests.csv"  # the artifact of an unlearning with its rows
TAG = "requests_sha256"  # of its run: the SHA-256 of that file


class Ended(StrEnum):
    """What became of a request; until the flip it is told by the prediction, else by z."""

    FORGOTTEN = "forgotten"  # its own steps made its prediction another than the base model's; or
    # it stands where models stand that never saw it
    OVER_FORGOTTEN = "over_forgotten"  # below these
    MISCLASSIFIED = "misclassified"  # so it is, but after steps for others alone
    REMEMBERED = "remembered"  # the prediction is as before; or it is above these models
    WRONG = "already_wrong"  # under the base model: nothing was unlearned
    NEVER = "never_seen"  # the model was trained without it


@dataclass(frozen=True)
class Row:
    """What became of a request.

    Attributes:
        is_wrong_now: whether its prediction is not its label now, whatever the base model said.
        rounds, steps: that it took part in, and steps that were taken in these; of several samples
            at once, those of all of them.
        points_lost: by these steps, percentage points of test accuracy; of steps for several
            samples at once it is nobody's.
        forget_prob: p of its label, of the last weights. sample_path: of its file, if it has one.
        z, z_error: where it stands among models that never saw it, and the standard error of that;
            None without reference models. z_limit: |z| within which 90% of these models are.
        z_untouched, z_retrained: z in the base model, and in one that was trained without the
            requests, where that was made.
    """

    sample_id: int
    label: int
    ended: str
    is_wrong_now: bool
    rounds: int
    steps: int
    points_lost: float | None
    forget_prob: float
    sample_path: str | None
    z: float | None = None
    z_error: float | None = None
    z_limit: float | None = None
    z_untouched: float | None = None
    z_retrained: float | None = None

    def is_forgotten(self, until: str) -> bool:
        """Whether it is as it was asked for; until the flip a wrong prediction is enough."""
        is_so = self.ended in (Ended.FORGOTTEN, Ended.NEVER)
        return is_so or (until == FLIP and self.is_wrong_now)


def _number(text: str) -> float | None:
    return float(text) if text else None


READ: Mapping[str, Callable[[str], Any]] = {  # what a column's text means
    **dict.fromkeys(("sample_id", "label", "rounds", "steps"), int),
    "is_wrong_now": "True".__eq__,
    **dict.fromkeys(
        ("points_lost", "z", "z_error", "z_limit", "z_untouched", "z_retrained"), _number
    ),
    "forget_prob": float,
    "sample_path": lambda text: text or None,
}


def as_csv(rows: Sequence[Row]) -> bytes:
    """The rows as a file."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [*vars(rows[0])], lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(vars, rows))
    return text.getvalue().encode()


def read_rows(
    artifacts: Artifacts, uri: str, run_id: str, tags: Mapping[str, str]
) -> tuple[Row, ...]:
    """The rows of a finished unlearning, in the order of its steps.

    Raises Damaged if the file is lost, or is not what was written.
    """
    lost = "delete that run in MLflow, and call the same command again"
    try:
        content = artifacts.checked(uri, TABLE, tags.get(TAG, ""), lost)
    except Damaged as damage:
        raise Damaged(f"of unlearning {run_id}, {damage}") from damage
    lines = csv.DictReader(io.StringIO(content.decode()))
    return tuple(Row(**{n: READ.get(n, str)(text) for n, text in line.items()}) for line in lines)
