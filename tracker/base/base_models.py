"""Base models that are in a store: found again, and loaded with their data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from tracker.base import companions
from tracker.base.given import NOTHING, Given, refuse_given, where_it_is
from tracker.store.files import Damaged
from tracker.store.records import Data, Kind
from tracker.store.weights import read_weights
from unlearning import datasets, naming
from unlearning.base_model import BaseModel, Origin
from unlearning.errors import UserError
from unlearning.losses import log_prob, wide
from unlearning.recipe import Recipe
from unlearning.registry import MODULE

if TYPE_CHECKING:
    from mlflow.entities import Run

    from tracker.store.write import Store


PRECISIONS = ("float32", "float64")
OUTPUTS_APART = 1e-2  # of a base model's test loss: other devices and precisions are far nearer


@dataclass(frozen=True)
class BaseRun:
    """A base model and the run it was logged as.

    Attributes:
        weights, weights_sha256: the state dict as the run keeps it; the model's own may be wider.
    """

    run_id: str
    name: str
    arch: str
    model: BaseModel
    weights: Mapping[str, torch.Tensor]
    weights_sha256: str

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
    given: Given = NOTHING,
) -> BaseRun:
    """The base model of that run id, or the `latest`, on a device, with what is kept beside it.

    Args:
        precision: `float32`, in which models are trained and kept, or `float64`.
        given: what this process was given of it.

    Raises UserError if there is none, if weights, data or outputs are not what they were in
    training, if it needs what another process was given, or if the device lacks the precision.
    """
    if precision not in PRECISIONS:  # from Python it may be anything
        raise UserError(f"precision is {precision!r}: choose {', '.join(PRECISIONS)}")
    double = precision == "float64"
    if double and device.type == "mps":
        raise UserError("device 'mps' has no float64: use --device cpu or --precision float32")
    run = find(store, reference)
    params, tags = run.data.params, run.data.tags
    dataset = data_of(run.info.run_id, params, tags, data_dir, store.address.folder, given)
    network = given.network_for(run.info.run_id, params["arch"], dataset)
    try:
        weights = read_weights(store.artifacts, run.info.artifact_uri, tags)
    except Damaged as damage:
        raise Damaged(
            f"of base model {run.info.run_id}, {damage}: 'indelible train' with its settings "
            "makes it again"
        ) from damage
    fill(network, weights, f"of run {run.info.run_id}")
    beside = companions.load(store, run)
    network = network.double() if double else network
    base = BaseModel(network, dataset, device, _origin(params), beside)
    _check_outputs(base, run)
    return BaseRun(
        run_id=run.info.run_id,
        name=run.info.run_name,
        arch=as_name(params["arch"]),
        model=base,
        weights=weights,
        weights_sha256=tags["weights_sha256"],
    )


def _check_outputs(base: BaseModel, run: Run) -> None:
    """Raise UserError where the same weights on the same data give another loss than in training.

    Then the architecture is another one: a file of the user's was edited, or a package updated.
    """
    before, now = run.data.metrics.get("test_loss"), accuracies(base)["test_loss"]
    _ = base.held_out_prob  # with all threads of torch, which a worker does not have
    if before is not None and not abs(now - before) <= OUTPUTS_APART * max(1.0, abs(before)):
        raise UserError(
            f"base model {run.info.run_id} had the test loss {before:.4g} when it was logged, and "
            f"has {now:.4g} now: its architecture '{run.data.params['arch']}' has changed. Bring "
            "back what it was, or train the changed one under another name"
        )


def data_of(
    base_run_id: str,
    params: Mapping[str, str],
    tags: Mapping[str, str],
    data_dir: Path,
    folder: Path,
    given: Given = NOTHING,
) -> datasets.Dataset:
    """The data set of a base model's run: the one that this process was given, or as `load_data`.

    Args:
        folder: of the store.
    """
    fingerprint = tags["data_fingerprint"]
    if given.dataset is not None and given.dataset.fingerprint == fingerprint:
        return given.dataset
    return load_data(base_run_id, params["source"], fingerprint, data_dir, folder)


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
    refuse_given(base_run_id, described)
    dataset = datasets.load_described(where_it_is(described, folder), data_dir)
    if fingerprint is not None and dataset.fingerprint != fingerprint:
        raise UserError(
            f"base model {base_run_id} was trained on another version of {dataset.name} "
            f"({fingerprint[:12]}..., here {dataset.fingerprint[:12]}...)"
        )
    return dataset


def _origin(params: Mapping[str, str]) -> Origin | None:
    """How the base model of these params was trained; None if it was imported."""
    if "epochs" not in params:
        return None
    return Origin(params["arch"], Recipe.read(params))


def as_name(arch: str) -> str:
    """An architecture as part of names and paths."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", arch.removeprefix(MODULE))


def fill(network: nn.Module, weights: Mapping[str, torch.Tensor], whose: str) -> None:
    """Load a state dict into a network.

    Raises UserError where names or shapes differ: it names the first that does, and `whose` the
    weights are.
    """
    if difference := misfit(network.state_dict(), weights):
        raise UserError(f"the weights {whose} do not fit the architecture: {difference}")
    network.load_state_dict(weights)


def misfit(own: Mapping[str, torch.Tensor], weights: Mapping[str, torch.Tensor]) -> str | None:
    """The first name, in order, by which weights differ from a network's own; None if by none."""
    for name in sorted(own.keys() | weights.keys()):
        shapes = [tuple(part[name].shape) if name in part else None for part in (own, weights)]
        if shapes[0] != shapes[1]:
            expected, given = ("nothing" if shape is None else shape for shape in shapes)
            return f"'{name}' is {given}, where {expected} is expected"
    return None


def find(store: Store, reference: str) -> Run:
    """The finished run of a base model, as `unlearning.naming` finds it. Raises UserError."""
    runs = {run.info.run_id: run for run in store.finished_runs(Kind.BASE_MODEL)}
    if not runs:
        raise UserError("there is no base model in this store yet: run 'indelible train' first")
    named = [(run_id, run.info.run_name) for run_id, run in runs.items()]
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
