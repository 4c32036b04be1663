"""MLflow's model registry: the weights of a run as a version of a model with a name."""

from __future__ import annotations

import json
from collections.abc import Mapping

from mlflow.exceptions import MlflowException

from tracker.store.records import MEASURED_AT, milliseconds
from tracker.store.write import Store
from unlearning.errors import UserError

REGISTERED = "registered_models"  # the tag of a run with the names that it was registered by


def refuse_name(name: str) -> None:
    """Raise UserError for a name that MLflow's registry does not take."""
    if not name.strip() or {"/", ":"} & {*name}:
        raise UserError(f"--register is {name!r}: it takes a name without / and :")


def register(store: Store, run_id: str, name: str, files: Mapping[str, bytes]) -> str:
    """The version of the model of that name that is this run's: made if there is none.

    A tag of the run then has the name too.

    Args:
        files: of the version, which become artifacts of the run.

    Raises UserError where the registry does not take it.
    """
    run, client = store.run(run_id), store.client
    try:
        try:
            client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        found = list(client.search_model_versions(f"run_id = '{run_id}'"))
        own = [version for version in found if version.name == name]
        if not own:
            store.artifacts.write(run.artifact_uri, files)
            own = [client.create_model_version(name, run.artifact_uri, run_id)]
    except MlflowException as error:
        if error.error_code != "INVALID_PARAMETER_VALUE":
            raise
        raise UserError(
            f"MLflow does not register the model as '{name}': {str(error).splitlines()[0]}"
        ) from error
    said = json.dumps(sorted({version.name for version in (*found, *own)}))
    if run.tags.get(REGISTERED) != said:
        client.set_tag(run_id, REGISTERED, said)
        client.set_tag(run_id, MEASURED_AT, str(milliseconds()))
    return str(own[0].version)
