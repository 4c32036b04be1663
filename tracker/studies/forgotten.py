"""What an unlearning came to: its rows, the numbers of the model, and its weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from tracker.base.base_models import BaseRun
from tracker.store.files import Damaged
from tracker.store.records import Kind
from tracker.store.weights import read_checkpoint
from tracker.store.write import Store
from tracker.studies.request_table import TABLE, WRONG, Row, read_rows
from tracker.studies.requests import Requests
from unlearning.checkpoints import decode


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
        return [row.sample_id for row in self.rows if row.ended == WRONG and not row.is_wrong_now]


def find(store: Store, base_run: BaseRun, requests: Requests) -> Forgotten | None:
    """What became of these requests, if that is known. Raises Damaged where files are lost."""
    experiment_id = store.experiment_id(base_run.dataset, base_run.arch)
    run = store.find_sweep(experiment_id, requests.key, Kind.UNLEARNING)
    if run is None or run.info.status != "FINISHED":
        return None
    uri, run_id = run.info.artifact_uri, run.info.run_id
    checkpoint = read_checkpoint(store.artifacts, uri, run.data.tags)
    rows = read_rows(store.artifacts, uri, run_id, run.data.tags)
    if checkpoint is None or [*requests.ids()] != sorted(row.sample_id for row in rows):
        raise Damaged(
            f"{TABLE} or the weights of unlearning {run_id} are lost or damaged: delete that run "
            "in MLflow, and call the same command again"
        )
    state = decode(base_run.weights, checkpoint)
    return Forgotten(run_id, run.info.run_name, requests.key, rows, run.data.metrics, state)
