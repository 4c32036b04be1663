"""The runs of this tool in an MLflow store, as MLflow's client reads them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from mlflow import MlflowClient
from mlflow.entities import Experiment, Run, ViewType
from mlflow.exceptions import MlflowException

from tracker.store import identity
from tracker.store.addresses import Address
from tracker.store.artifacts import Artifacts
from tracker.store.patience import Patience
from tracker.store.records import HISTORIES, Finished, Kind, Logged
from tracker.store.settings import settle_mlflow
from unlearning.errors import UserError

PREFIX = "indelible/"  # begins the names of this tool's experiments
PAGE = 1000  # runs a search answers with


class Runs:
    """An MLflow store with the artifacts of what this tool logs into it.

    Whatever MLflow is asked is asked again while the store is away: see Patience.

    Args:
        address: of the store. patience: with it. store_id: as `identity.verify` gives it.
    """

    def __init__(
        self, address: Address, patience: Patience | None = None, store_id: str | None = None
    ) -> None:
        self.address, self.store_id = address, store_id
        self.patience = patience or Patience(address.shown)
        self.artifacts = Artifacts(address, self.patience)
        settle_mlflow(self.patience.limit_s if address.is_server else None)
        client = self.patience(lambda: MlflowClient(tracking_uri=address.uri))
        self.client = self.patience.with_all_of(client)

    def experiments(self) -> list[Experiment]:
        """The experiments of this tool."""
        experiments = self.client.search_experiments(filter_string=f"name LIKE '{PREFIX}%'")
        return sorted(experiments, key=lambda experiment: experiment.name)

    def identities(self) -> list[identity.Experiment]:
        """The experiments of this tool, deleted ones too, as what tells whose store it is."""
        experiments = self.client.search_experiments(
            ViewType.ALL, filter_string=f"name LIKE '{PREFIX}%'"
        )
        return [
            identity.Experiment(e.name, e.artifact_location, e.tags.get(identity.TAG))
            for e in sorted(experiments, key=lambda experiment: int(experiment.experiment_id))
        ]

    def every_experiment_id(self) -> list[str]:
        """The ids of all experiments, whosever they are and deleted ones too."""
        return [e.experiment_id for e in self.client.search_experiments(ViewType.ALL)]

    def runs(
        self, experiment_ids: list[str], filter_string: str = "", deleted_too: bool = False
    ) -> Iterator[Run]:
        """All runs that match a filter, newest first; those that are not deleted, if not asked."""
        token: str | None = None
        while experiment_ids:
            page = self.client.search_runs(
                experiment_ids,
                filter_string,
                ViewType.ALL if deleted_too else ViewType.ACTIVE_ONLY,
                PAGE,
                ["attributes.start_time DESC"],
                token,
            )
            yield from page
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

    def finished_members(self, digests: Collection[str]) -> dict[str, Finished]:
        """Members that are done, by key, of all sweeps, with any of these digests."""
        done = {}
        for digest in digests:
            for run in self.finished_runs(Kind.MEMBER, f"tags.key LIKE '{digest}-%'"):
                tags, metrics = run.data.tags, run.data.metrics
                done[tags["key"]] = Finished.told(run.info.run_id, tags, metrics)
        return done

    def logged(self, run_ids: Sequence[str], histories: Sequence[str]) -> list[Logged]:
        """All that is logged of these members, in order, with the histories of those names."""
        found = []
        for run in map(self.run, run_ids):
            run_id = str(run.info.run_id)
            names = () if HISTORIES in run.data.tags else histories
            points = {name: self.client.get_metric_history(run_id, name) for name in names}
            found.append(
                Logged(
                    run_id,
                    run.info.start_time,
                    run.info.artifact_uri,
                    run.data.tags,
                    run.data.metrics,
                    {
                        name: [p.value for p in sorted(some, key=lambda p: p.step)]
                        for name, some in points.items()
                    },
                ).to_last_step()
            )
        return found

    def run(self, run_id: str) -> Run:
        """The run of that id. Raises UserError where there is none."""
        try:
            return self.client.get_run(run_id)
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
            raise UserError(f"there is no run '{run_id}' in {self.address.shown}") from None
