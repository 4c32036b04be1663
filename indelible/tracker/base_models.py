"""Base models as MLflow runs: trained and logged, found again, and loaded with their data."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from mlflow.entities import Run
from safetensors.torch import load_file, save

from indelible.errors import UserError
from indelible.factors.family import log_prob
from indelible.tracker.plan import sha256_of
from indelible.tracker.records import Kind, Record, code_version
from indelible.tracker.store import Data, Store
from indelible.unlearning import datasets, models, training
from indelible.unlearning.base import BaseModel

WEIGHTS = "weights.safetensors"


@dataclass(frozen=True)
class BaseRun:
    """A base model and the run it was logged as."""

    run_id: str
    name: str
    dataset: str
    arch: str
    model: BaseModel

    @property
    def data(self) -> Data:
        """The data set as an MLflow input."""
        return as_input(self.model.dataset)


def as_input(dataset: datasets.Dataset) -> Data:
    """A data set as an MLflow input."""
    profile = {"train": len(dataset.train), "test": len(dataset.test)}
    return Data(dataset.name, dataset.fingerprint, profile)


def pick_device(name: str) -> torch.device:
    """The device of that name; `auto` is a GPU where there is one. Raises UserError."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError("device 'cuda' is asked for, but torch sees no GPU: use --device cpu")
    return torch.device(name)


def train(
    store: Store,
    dataset_name: str,
    arch: str,
    recipe: training.Recipe,
    device: torch.device,
    on_epoch: Callable[[float], None] = lambda loss: None,
) -> tuple[str, bool]:
    """Train and log a base model; its run id, and whether it was in the store already."""
    dataset = datasets.load(dataset_name)
    key = sha256_of(dataset.fingerprint, arch, asdict(recipe))[:32]
    for run in store.finished_runs(Kind.BASE_MODEL, f"tags.key = '{key}'"):
        return str(run.info.run_id), True
    started, losses = time.time_ns() // 1_000_000, []

    def remember(loss: float) -> None:
        losses.append(loss)
        on_epoch(loss)

    network = training.train(dataset, arch, recipe, device, remember)
    base = BaseModel(network, dataset, device)
    record = Record(
        name=f"base-{dataset_name}-{arch}-seed{recipe.seed}",
        params={
            "dataset": dataset_name,
            "arch": arch,
            **asdict(recipe),
            "device": device.type,
            "train_samples": len(dataset.train),
            "test_samples": len(dataset.test),
        },
        tags={
            "key": key,
            "weights_sha256": base.weights_sha256,
            "data_fingerprint": dataset.fingerprint,
            "code_version": code_version(),
            "mlflow.note.content": BASE_NOTE.format(dataset=dataset_name, arch=arch),
        },
        metrics=_accuracies(base),
        histories={"train_loss": losses},
        artifacts={
            WEIGHTS: save({n: t.cpu().contiguous() for n, t in network.state_dict().items()})
        },
        started_ms=started,
        ended_ms=time.time_ns() // 1_000_000,
    )
    experiment_id = store.experiment_id(dataset_name, arch)
    return store.log_base_model(experiment_id, record, as_input(dataset)), False


def load(store: Store, reference: str, device: torch.device) -> BaseRun:
    """The base model of that run id, or the `latest`, on a device.

    Raises UserError if there is none, or if weights or data are not what they were in training.
    """
    run = find(store, reference)
    params, tags = run.data.params, run.data.tags
    dataset = datasets.load(params["dataset"])
    if dataset.fingerprint != tags["data_fingerprint"]:
        raise UserError(
            f"base model {run.info.run_id} was trained on another version of {dataset.name} "
            f"({tags['data_fingerprint'][:12]}..., here {dataset.fingerprint[:12]}...)"
        )
    network = models.build(params["arch"], dataset)
    with store.artifact(run, WEIGHTS) as path:
        network.load_state_dict(load_file(path))
    base = BaseModel(network, dataset, device)
    if base.weights_sha256 != tags["weights_sha256"]:
        raise UserError(f"the weights of base model {run.info.run_id} are damaged")
    return BaseRun(run.info.run_id, run.info.run_name, params["dataset"], params["arch"], base)


def find(store: Store, reference: str) -> Run:
    """The finished run of a base model by id, or the `latest`. Raises UserError."""
    if reference == "latest":
        for run in store.finished_runs(Kind.BASE_MODEL):
            return run
        raise UserError("there is no base model in this store yet: run 'indelible train' first")
    run = store.run(reference)
    if run.data.tags.get("kind") != Kind.BASE_MODEL or run.info.status != "FINISHED":
        raise UserError(
            f"run {reference} is not a finished base model: 'indelible models' lists those"
        )
    return run


def _accuracies(base: BaseModel) -> dict[str, float]:
    train_right = base.train_logits.argmax(dim=1) == base.train_labels
    test_right = base.test_logits.argmax(dim=1) == base.test_labels
    test = log_prob(base.test_logits, base.test_labels)
    return {
        "train_accuracy": train_right.double().mean().item(),
        "test_accuracy": test_right.double().mean().item(),
        "test_loss": -test.mean().item(),
    }


BASE_NOTE = """\
Base model: a **{arch}** trained on the whole training split of **{dataset}**, the network that is \
asked to forget one sample at a time. Start a sweep from it with

    indelible sweep --model latest --algorithm ga --algorithm salun
"""
