"""The runs of this tool in an MLflow store, as MLflow's client reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from mlflow import MlflowClient, entities
from mlflow.entities import Experiment, ViewType
from mlflow.exceptions import MlflowException

from tracker.store.addresses import Address
from tracker.store.files import Artifacts
from tracker.store.records import Kind, Run
from tracker.store.retry import Retry
from tracker.store.settings import settle_mlflow
from unlearning.errors import UserError

PREFIX = "indelible/"  # begins the names of this tool's experiments
PAGE = 1000  # runs a search answers with
IN_FLIGHT = 8  # requests at a time

Item = TypeVar("Item")
Result = TypeVar("Result")


class Runs:
    """An MLflow store with the artifacts of what this tool logs into it.

    Whatever MLflow is asked is asked again while the store is away: see Retry.

    Args:
        address: of the store. retry: with it. store_id: as `identity.verify` gives it.
    """

    def __init__(
        self, address: Address, retry: Retry | None = None, store_id: str | None = None
    ) -> None:
        self.address, self.store_id = address, store_id
        self.retry = retry or Retry(address.shown)
        self.artifacts = Artifacts(address, self.retry)
        settle_mlflow(self.retry.limit_s if address.is_server else None)
        client = self.retry(lambda: MlflowClient(tracking_uri=address.uri))
        self.client = self.retry.of_all_methods(client)

    def experiments(self, **view: Any) -> list[Experiment]:
        """The experiments of this tool, by name; with a `view_type` of MLflow's others too."""
        named = f"name LIKE '{PREFIX}%'"
        found = self.client.search_experiments(filter_string=named, **view)
        return sorted(found, key=lambda experiment: experiment.name)

    def runs(
        self, experiment_ids: list[str], filter_string: str = "", deleted_too: bool = False
    ) -> Iterator[Run]:
        """All runs that match a filter, newest first; those that are not deleted, if not asked."""
        view, token = ViewType.ALL if deleted_too else ViewType.ACTIVE_ONLY, None
        while experiment_ids:
            order = ["attributes.start_time DESC"]
            page = self.client.search_runs(experiment_ids, filter_string, view, PAGE, order, token)
            yield from map(_as_read, page)
            token = page.token
            if not token:
                return

    def finished_runs(
        self, kind: Kind, condition: str = "", deleted_too: bool = False
    ) -> Iterator[Run]:
        """Finished runs of a kind in all experiments, newest first."""
        ids = [experiment.experiment_id for experiment in self.experiments()]
        both = f"tags.kind = '{kind}' and attributes.status = 'FINISHED'"
        return self.runs(ids, f"{both} and {condition}" if condition else both, deleted_too)

    def run(self, run_id: str) -> Run:
        """The run of that id. Raises UserError where there is none."""
        try:
            return _as_read(self.client.get_run(run_id))
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
            raise UserError(f"there is no run '{run_id}' in {self.address.shown}") from None

    def at_once(self, write: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """Do several things at a time, and wait for all."""
        with ThreadPoolExecutor(IN_FLIGHT) as pool:
            try:
                return list(pool.map(write, items))
            except BaseException:
                self.retry.give_up()  # the pool waits for all that are in flight
                raise


def _as_read(run: entities.Run) -> Run:
    """A run of MLflow's as plain values."""
    info, data = run.info, run.data
    return Run(
        run_id=info.run_id,
        name=info.run_name,
        kind=data.tags.get("kind", ""),
        status=info.status,
        experiment_id=info.experiment_id,
        started_ms=info.start_time,
        ended_ms=info.end_time,
        artifact_uri=info.artifact_uri or "",
        params=data.params,
        tags=data.tags,
        metrics=data.metrics,
    )
