"""Base models that are in a store: found again, and loaded with their data."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from tracker.base import companions
from tracker.base.given import network_for, where_it_is
from tracker.base.references import making
from tracker.store.files import Damaged
from tracker.store.records import Data, Kind, Run
from tracker.store.weights import read_weights
from unlearning import datasets, naming
from unlearning.architectures import as_name
from unlearning.base_model import BaseModel, Origin
from unlearning.errors import UserError
from unlearning.losses import log_prob, wide
from unlearning.recipe import Recipe

if TYPE_CHECKING:
    from tracker.store.read import Reader
    from tracker.store.write import Store


PRECISIONS = ("float32", "float64")
OUTPUTS_APART = 1e-2  # of a base model's test loss: other devices and precisions are far nearer


@dataclass(frozen=True)
class BaseRun:
    """A base model and the run it was logged as.

    Attributes:
        weights, weights_sha256: the state dict as the run keeps it; the model's own may be wider.
        is_trained: whether it was trained here; it was imported if not.
    """

    run_id: str
    name: str
    arch: str
    model: BaseModel
    weights: Mapping[str, torch.Tensor]
    weights_sha256: str
    is_trained: bool

    @property
    def dataset(self) -> str:
        """The data set's name."""
        return self.model.dataset.name

    @property
    def precision(self) -> str:
        """Of weights and inputs: `float32` or `float64`."""
        return str(self.model.train_inputs.dtype).removeprefix("torch.")

    @property
    def test_accuracy(self) -> float:
        """The share of the test set that it gets right."""
        return accuracies(self.model)["test_accuracy"]

    @property
    def data(self) -> Data:
        """The data set as an MLflow input."""
        return as_input(self.model.dataset)


def as_input(dataset: datasets.Dataset) -> Data:
    """A data set as an MLflow input."""
    profile = {"train": len(dataset.train), "test": len(dataset.test)}
    return Data(dataset.name, dataset.fingerprint, profile)


def load(
    store: Store,
    reference: str,
    device: torch.device,
    data_dir: Path = datasets.AS_IT_IS.data_dir,
    precision: str = "float32",
    own: nn.Module | None = None,
) -> BaseRun:
    """The base model of that run id, or the `latest`, on a device, with what is kept beside it.

    Args:
        precision: `float32`, in which models are trained and kept, or `float64`.
        own: the network, if Python gave it to this process.

    Raises UserError if there is none, if weights, data or outputs are not what they were in
    training, if it needs what another process was given, or if the device lacks the precision.
    """
    if precision not in PRECISIONS:  # from Python it may be anything
        raise UserError(f"precision is {precision!r}: choose {', '.join(PRECISIONS)}")
    if precision == "float64" and device.type == "mps":
        raise UserError("device 'mps' has no float64: use --device cpu or --precision float32")
    run = find(store.reader, reference)
    run_id, params, tags = run.run_id, run.params, run.tags
    where = params["source"], tags["data_fingerprint"], data_dir, store.address.folder
    dataset = load_data(run_id, *where)
    network = network_for(run_id, params["arch"], dataset, own)
    try:
        weights = read_weights(store.artifacts, run.artifact_uri, tags)
    except Damaged as damage:
        raise Damaged(
            f"of base model {run_id}, {damage}: 'indelible train' with its settings makes it again"
        ) from damage
    fill(network, weights, f"of run {run_id}")
    network = network.double() if precision == "float64" else network
    is_trained, how = "epochs" in params, making(store, run)
    recipe = Recipe.read(params) if is_trained else how and how.recipe
    origin = Origin(params["arch"], recipe) if recipe else None
    beside = companions.load(store, run)
    base = BaseModel(network, dataset, device, origin, beside)
    before, now = run.metrics.get("test_loss"), accuracies(base)["test_loss"]
    _ = base.held_out_prob  # with all threads of torch, which a worker does not have
    near = {"rel_tol": OUTPUTS_APART, "abs_tol": 1e-6}
    if before is not None and not math.isclose(now, before, **near):
        raise UserError(
            f"base model {run_id} had the test loss {before:.4g} when it was logged, and has "
            f"{now:.4g} now: its architecture '{params['arch']}' has changed. Bring back what it "
            "was, or train the changed one under another name"
        )
    arch = as_name(params["arch"])
    sha256 = tags["weights_sha256"]
    return BaseRun(run_id, run.name, arch, base, weights, sha256, is_trained)


def load_data(
    base_run_id: str,
    described: str,
    fingerprint: str | None,
    data_dir: Path = datasets.AS_IT_IS.data_dir,
    folder: Path | None = None,
) -> datasets.Dataset:
    """The data set that a base model was trained on.

    Args:
        described: the data set, in the words of the base model's run.
        fingerprint: of the data set in training, if that is known.
        folder: of the store, with which data may be kept.

    Raises UserError where it is not here, or is not what it was in training.
    """
    dataset = datasets.load_described(where_it_is(described, folder), data_dir)
    if fingerprint is not None and dataset.fingerprint != fingerprint:
        raise UserError(
            f"base model {base_run_id} was trained on another version of {dataset.name} "
            f"({fingerprint[:12]}..., here {dataset.fingerprint[:12]}...)"
        )
    return dataset


def fill(network: nn.Module, weights: Mapping[str, torch.Tensor], whose: str) -> None:
    """Load a state dict into a network. Raises UserError where names or shapes differ."""
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        said = textwrap.shorten(str(error).partition("\n")[2], 300, placeholder=" ...")
        raise UserError(f"the weights {whose} do not fit the architecture: {said}") from error


def find(reader: Reader, reference: str) -> Run:
    """The finished run of a base model, as `unlearning.naming` finds it. Raises UserError."""
    finished = (run for run in reader.of_kind(Kind.BASE_MODEL) if run.status == "FINISHED")
    runs = {run.run_id: run for run in finished}
    if not runs:
        raise UserError("there is no base model in this store yet: run 'indelible train' first")
    named = [(run_id, run.name) for run_id, run in runs.items()]
    return runs[naming.find(reference, named, "base model", "'indelible models' lists them")]


def accuracies(base: BaseModel) -> dict[str, float]:
    """The metrics of a base model's run."""
    train_right = base.train_logits.argmax(dim=1) == base.train_labels
    test_right = base.test_logits.argmax(dim=1) == base.test_labels
    test = log_prob(base.test_logits, base.test_labels)
    return {
        "train_accuracy": wide(train_right).mean().item(),
        "test_accuracy": wide(test_right).mean().item(),
        "test_loss": -test.mean().item(),
    }
