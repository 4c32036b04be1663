"""A store that a team shares: an MLflow server, whose database is written in bulk.

Experiments, their inputs and all files go through the server, so that its permissions apply; child
runs go into the database behind it, a chunk in one transaction.
"""

from __future__ import annotations

import uuid
from typing import Any, cast

from mlflow import MlflowClient
from mlflow.store.tracking.dbmodels.models import SqlExperimentTag
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from sqlalchemy import select
from sqlalchemy.orm import Session

from tracker.access.addresses import Address
from tracker.access.database import another_database
from tracker.access.patience import Patience
from tracker.record.bulk import SqlStore

PROOF = "indelible.bulk"  # the tag of an experiment by which both are seen to be one
ATTEMPTS = 5  # to see it, where other processes set it too


class ServedStore(SqlStore):
    """A server's store whose runs are written into the database behind it.

    Args:
        address: of the server. database: behind it.

    Raises UserError, as soon as there is an experiment, where it is another server's database.
    """

    def __init__(
        self, address: Address, database: Address, patience: Patience, store_id: str | None = None
    ) -> None:
        super().__init__(address, patience, store_id)
        self.database = database
        self._behind = self.patience(lambda: MlflowClient(tracking_uri=database.uri))
        for experiment in self.experiments()[:1]:
            self._prove(experiment.experiment_id)

    @property
    def _sql(self) -> SqlAlchemyStore:
        """MLflow's own store of the database."""
        return cast("SqlAlchemyStore", self._behind._tracking_client.store)

    def _create_experiment(self, name: str, location: str | None, tags: dict[str, str]) -> str:
        experiment_id = super()._create_experiment(name, location, tags)
        self._prove(experiment_id)
        return experiment_id

    def _prove(self, experiment_id: str) -> None:
        """Raise UserError where what is told to the server is not seen in the database.

        A copy of the database has all experiments that the server has, up to this moment.
        """
        for _ in range(ATTEMPTS):
            told = uuid.uuid4().hex
            self.client.set_experiment_tag(experiment_id, PROOF, told)
            if self._ask(lambda session: _seen(session, experiment_id)) == told:
                return
        raise another_database(
            self.address, self.database, f"what the server writes into {experiment_id} is not there"
        )


def _seen(session: Session, experiment_id: str) -> str | None:
    query: Any = select(SqlExperimentTag.value).where(
        SqlExperimentTag.experiment_id == int(experiment_id), SqlExperimentTag.key == PROOF
    )
    return cast("str | None", session.scalar(query))
