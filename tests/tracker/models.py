"""Models that are logged in a store, as a user has them who knows MLflow only."""

from __future__ import annotations

from pathlib import Path

import mlflow
import torch
from mlflow.entities import LoggedModel

from tracker.store.opening import open_store


def models(folder: Path, uri: str | None = None) -> list[LoggedModel]:
    """All that are logged, the first first."""
    store = open_store(folder, uri)
    ids = [experiment.experiment_id for experiment in store.experiments()]
    order = [{"field_name": "creation_timestamp", "ascending": True}]
    return list(store.client.search_logged_models(ids, order_by=order))


def logits(uri: str, model: LoggedModel, images: torch.Tensor) -> torch.Tensor:
    """What a model gives of images (N, C, H, W): (N, classes)."""
    mlflow.set_tracking_uri(uri)
    try:
        loaded = mlflow.pyfunc.load_model(model.model_uri)
    finally:
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]  # else the environment says it
    return torch.from_numpy(loaded.predict(images.numpy()))
