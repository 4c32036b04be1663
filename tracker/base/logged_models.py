"""Networks as models that MLflow's pages list, and `mlflow.pyfunc.load_model` loads.

A model has weights of its own as safetensors, and what its network is made of: nothing is pickled.
It is READY when all of it is there; one whose process died stays PENDING, and another is made.
"""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import torch
from mlflow.entities import LoggedModelOutput, LoggedModelStatus
from numpy.typing import NDArray
from safetensors.torch import load_file, save
from torch import Tensor, nn

from tracker.base.base_models import fill
from tracker.base.given import is_named
from tracker.store.weights import read_weights
from tracker.store.write import Store
from unlearning import models
from unlearning.dataset import Dataset, Split

WEIGHTS, NETWORK = "weights.safetensors", "network.json"
REFUSED = r"""[/:.%"']"""  # by MLflow in the name of a model


def keep(
    store: Store, run_id: str, arch: str, dataset: Dataset, own: Mapping[str, Tensor] | None = None
) -> None:
    """Log the network of a finished run as a model, unless it is there, or nobody else can make it.

    Args:
        own: the state dict; if None, that of the run of a base model.
    """
    client, run = store.client, store.run(run_id)
    found = client.search_logged_models([run.experiment_id], f"source_run_id = '{run_id}'")
    if not is_named(arch) or any(model.status == LoggedModelStatus.READY for model in found):
        return
    state = own or read_weights(store.artifacts, run.artifact_uri, run.tags)
    name = re.sub(REFUSED, "-", run.name)
    named: dict[str, Any] = {"name": name, "source_run_id": run_id, "params": run.params}
    tags = {name: run.tags[name] for name in ("kind", "weights_sha256")}
    model = client.create_logged_model(run.experiment_id, **named, tags=tags)
    flavor = {"loader_module": __name__, "python_version": platform.python_version()}
    ids = {"model_id": model.model_id, "run_id": run_id, "mlflow_version": mlflow.__version__}
    network = {"arch": arch, "image_shape": dataset.image_shape, "classes": dataset.classes}
    files = {
        WEIGHTS: save({n: t.cpu().contiguous().clone() for n, t in state.items()}),
        NETWORK: json.dumps(
            network | {"white": dataset.white, "features": dataset.features}
        ).encode(),
        "MLmodel": json.dumps({**ids, "flavors": {"python_function": flavor}}).encode(),  # is YAML
    }
    store.artifacts.write(model.artifact_location, files)
    client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])


@dataclass(frozen=True)
class Predictor:
    """What `mlflow.pyfunc` wraps: a network on the CPU, in eval mode."""

    network: nn.Module

    def predict(self, inputs: NDArray[Any], params: Any = None) -> NDArray[np.float32]:
        """The logits (N, classes) of inputs (N, C, H, W), images within 0 and 1."""
        with torch.no_grad():
            logits: Tensor = self.network(torch.as_tensor(inputs, dtype=torch.float32))
        return logits.numpy()


def _load_pyfunc(path: str) -> Predictor:
    """The network of a model's files; the name is MLflow's."""
    said = json.loads((Path(path) / NETWORK).read_text("utf-8"))
    images = torch.zeros((2, *said["image_shape"]), dtype=torch.uint8)
    split = Split(images, torch.zeros(2, dtype=torch.int64), torch.arange(2))
    data = Dataset("none", split, split, tuple(said["classes"]), said["white"])
    network = models.build(said["arch"], data)
    fill(network, load_file(Path(path) / WEIGHTS), f"in {path}")
    return Predictor(network.eval())
