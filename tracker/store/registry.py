"""MLflow's model registry: the weights of a run as a version of a model with a name."""

from __future__ import annotations

import json
from collections.abc import Mapping

from mlflow.exceptions import MlflowException

from tracker.store.records import MEASURED_AT, milliseconds
from tracker.store.write import Store
from unlearning.errors import UserError

REGISTERED = "registered_models"  # the tag of a run with the names that it was registered by
FORBIDDEN = ("/", ":")  # in the name of a registered model


def refuse_name(name: str) -> None:
    """Raise UserError for a name that MLflow's registry does not take."""
    if not name.strip() or any(sign in name for sign in FORBIDDEN):
        raise UserError(
            f"--register is {name!r}: it takes a name without {' and '.join(FORBIDDEN)}"
        )


def register(store: Store, run_id: str, name: str, files: Mapping[str, bytes]) -> str:
    """The version of the model of that name that is this run's: made if there is none.

    A tag of the run then has the name too.

    Args:
        files: of the version, which become artifacts of the run.

    Raises UserError where the registry does not take it.
    """
    uri = store.run(run_id).info.artifact_uri
    try:
        _make_model(store, name)
        found = list(store.client.search_model_versions(f"run_id = '{run_id}'"))
        own = [version for version in found if version.name == name]
        if not own:
            store.artifacts.write(uri, files)
            own = [store.client.create_model_version(name, uri, run_id)]
        _tell(store, run_id, sorted({version.name for version in (*found, *own)}))
    except MlflowException as error:
        if error.error_code != "INVALID_PARAMETER_VALUE":
            raise
        raise UserError(
            f"MLflow does not register the model as '{name}': {str(error).splitlines()[0]}"
        ) from error
    return str(own[0].version)


def _tell(store: Store, run_id: str, names: list[str]) -> None:
    """Have the run tell of the names that it is registered by."""
    said = json.dumps(names)
    if store.run(run_id).data.tags.get(REGISTERED) != said:
        store.client.set_tag(run_id, REGISTERED, said)
        store.client.set_tag(run_id, MEASURED_AT, str(milliseconds()))


def _make_model(store: Store, name: str) -> None:
    try:
        store.client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
