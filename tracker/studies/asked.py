"""The table of an unlearning: a row a request, what became of it."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tracker.store.files import Artifacts, Damaged
from unlearning.outcome import Status

TABLE = "requests.csv"  # the artifact of an unlearning with its rows
TAG = "requests_sha256"  # of its run: the SHA-256 of that file

FORGOTTEN, REMEMBERED, NEVER = "forgotten", "remembered", "never_seen"
WRONG, MISCLASSIFIED = str(Status.ALREADY_WRONG), "misclassified"
ENDS = (FORGOTTEN, MISCLASSIFIED, REMEMBERED, WRONG, NEVER)


@dataclass(frozen=True)
class Row:
    """What became of a request.

    Attributes:
        ended: FORGOTTEN: it is predicted otherwise than by the base model; MISCLASSIFIED: so it is,
            but after steps for others alone; REMEMBERED; WRONG: the base model got it wrong, and
            nothing was unlearned; or NEVER: the model was trained without it.
        is_wrong_now: whether its prediction is not its label now, whatever the base model said.
        rounds, steps: that it took part in, and steps that were taken in these; of several samples
            at once, those of all of them.
        points_lost: by these steps, percentage points of test accuracy; of steps for several
            samples at once it is nobody's.
        forget_prob: p of its label, of the last weights. sample_path: of its file, if it has one.
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

    @classmethod
    def read(cls, row: Mapping[str, str]) -> Row:
        """From a line of the table. Raises ValueError, KeyError, TypeError."""
        lost = row["points_lost"]
        return cls(
            sample_id=int(row["sample_id"]),
            label=int(row["label"]),
            ended=row["ended"],
            is_wrong_now=row["is_wrong_now"] == str(True),
            rounds=int(row["rounds"]),
            steps=int(row["steps"]),
            points_lost=float(lost) if lost else None,
            forget_prob=float(row["forget_prob"]),
            sample_path=row["sample_path"] or None,
        )


def as_csv(rows: Sequence[Row]) -> bytes:
    """The rows as a file."""
    text = io.StringIO()
    has_returns = any("\r" in (row.sample_path or "") for row in rows)  # which csv leaves bare
    writer = csv.DictWriter(
        text,
        [*vars(rows[0])],
        lineterminator="\n",
        quoting=csv.QUOTE_ALL if has_returns else csv.QUOTE_MINIMAL,
    )
    writer.writeheader()
    writer.writerows(vars(row) for row in rows)
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
        rows = tuple(Row.read(line) for line in csv.DictReader(io.StringIO(content.decode())))
    except Damaged as damage:
        raise Damaged(f"of unlearning {run_id}, {damage}") from damage
    except (ValueError, KeyError, TypeError, csv.Error):
        rows = ()
    if not rows:
        raise Damaged(f"{TABLE} of unlearning {run_id} is lost or damaged: {lost}")
    return rows
