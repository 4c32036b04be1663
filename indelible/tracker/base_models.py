"""Base models as MLflow runs: trained and logged, found again, and loaded with their data."""

from __future__ import annotations

import re
import time
import typing
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import torch
from mlflow.entities import Run
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from indelible.errors import UserError
from indelible.factors.family import log_prob
from indelible.tracker import companions
from indelible.tracker.plan import sha256_of
from indelible.tracker.records import Kind, Record, code_version
from indelible.tracker.store import Data, Store
from indelible.unlearning import datasets, models, training
from indelible.unlearning.base import BaseModel, Origin

WEIGHTS = "weights.safetensors"


@dataclass(frozen=True)
class BaseRun:
    """A base model and the run it was logged as."""

    run_id: str
    name: str
    arch: str
    model: BaseModel

    @property
    def dataset(self) -> str:
        """The data set's name."""
        return self.model.dataset.name

    @property
    def data(self) -> Data:
        """The data set as an MLflow input."""
        return as_input(self.model.dataset)


@dataclass(frozen=True)
class Request:
    """A base model to be trained, or to be imported if `weights` are given.

    Attributes:
        dataset: name or `folder:PATH`. weights: a safetensors file with the state dict.
    """

    dataset: str
    arch: str
    recipe: training.Recipe = field(default_factory=training.Recipe)
    weights: Path | None = None

    @property
    def described(self) -> dict[str, object]:
        """How the model came to be, as params of its run."""
        return {"weights": self.weights.name} if self.weights else asdict(self.recipe)


def as_input(dataset: datasets.Dataset) -> Data:
    """A data set as an MLflow input."""
    profile = {"train": len(dataset.train), "test": len(dataset.test)}
    return Data(dataset.name, dataset.fingerprint, profile)


def pick_device(name: str) -> torch.device:
    """The device of that name; `auto` is a GPU where there is one. Raises UserError."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return torch.device(next((kind for kind, is_there in there.items() if is_there), "cpu"))
    if not there.get(name, True):
        raise UserError(f"device '{name}' is asked for, but torch sees none: use --device cpu")
    return torch.device(name)


def train(
    store: Store,
    request: Request,
    source: datasets.Source,
    device: torch.device,
    on_epoch: Callable[[float], None] = lambda loss: None,
) -> tuple[str, bool]:
    """Train or import a base model and log it; its run id, and whether it was there already."""
    dataset = datasets.load(request.dataset, source)
    weights = None if request.weights is None else _read_weights(request.weights)
    made_of = asdict(request.recipe) if weights is None else models.weights_sha256(weights)
    key = sha256_of(dataset.fingerprint, request.arch, made_of)[:32]
    for run in store.finished_runs(Kind.BASE_MODEL, f"tags.key = '{key}'"):
        return str(run.info.run_id), True
    started, losses = time.time_ns() // 1_000_000, []

    def remember(loss: float) -> None:
        losses.append(loss)
        on_epoch(loss)

    if weights is None:
        network = training.train(dataset, request.arch, request.recipe, device, remember)
    else:
        network = models.build(request.arch, dataset)
        _fill(network, weights, str(request.weights))
    base = BaseModel(network, dataset, device)
    arch = _as_name(request.arch)
    how = f"seed{request.recipe.seed}" if weights is None else "imported"
    record = Record(
        name=f"base-{dataset.name}-{arch}-{how}",
        params={
            "dataset": dataset.name,
            "source": datasets.described(request.dataset, source),
            "arch": request.arch,
            **request.described,
            "device": device.type,
            "train_samples": len(dataset.train),
            "test_samples": len(dataset.test),
        },
        tags={
            "key": key,
            "weights_sha256": base.weights_sha256,
            "data_fingerprint": dataset.fingerprint,
            "code_version": code_version(),
            "mlflow.note.content": BASE_NOTE.format(dataset=dataset.name, arch=request.arch),
        },
        metrics=_accuracies(base),
        histories={"train_loss": losses} if losses else {},
        artifacts={
            WEIGHTS: save({n: t.cpu().contiguous() for n, t in network.state_dict().items()})
        },
        started_ms=started,
        ended_ms=time.time_ns() // 1_000_000,
    )
    experiment_id = store.experiment_id(dataset.name, arch)
    return store.log_base_model(experiment_id, record, as_input(dataset)), False


def load(
    store: Store,
    reference: str,
    device: torch.device,
    data_dir: Path = datasets.AS_IT_IS.data_dir,
) -> BaseRun:
    """The base model of that run id, or the `latest`, on a device, with what is kept beside it.

    Raises UserError if there is none, or if weights or data are not what they were in training.
    """
    run = find(store, reference)
    params, tags = run.data.params, run.data.tags
    dataset = datasets.load_described(params["source"], data_dir)
    if dataset.fingerprint != tags["data_fingerprint"]:
        raise UserError(
            f"base model {run.info.run_id} was trained on another version of {dataset.name} "
            f"({tags['data_fingerprint'][:12]}..., here {dataset.fingerprint[:12]}...)"
        )
    network = models.build(params["arch"], dataset)
    with store.artifact(run, WEIGHTS) as path:
        _fill(network, _read_weights(path), f"of run {run.info.run_id}")
    beside = companions.load(store, run)
    base = BaseModel(network, dataset, device, _origin(params), beside)
    if base.weights_sha256 != tags["weights_sha256"]:
        raise UserError(f"the weights of base model {run.info.run_id} are damaged")
    return BaseRun(run.info.run_id, run.info.run_name, _as_name(params["arch"]), base)


def _origin(params: Mapping[str, str]) -> Origin | None:
    """How the base model of these params was trained; None if it was imported."""
    if "epochs" not in params:
        return None
    types = typing.get_type_hints(training.Recipe)
    recipe = {f.name: types[f.name](params[f.name]) for f in fields(training.Recipe)}
    return Origin(params["arch"], training.Recipe(**recipe))


def _as_name(arch: str) -> str:
    """An architecture as part of names and paths."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", arch.removeprefix(models.OWN))


def _read_weights(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} is not a safetensors file that can be read: {error}") from error


def _fill(network: nn.Module, weights: Mapping[str, torch.Tensor], whose: str) -> None:
    """Load a state dict. Raises UserError where names or shapes differ, with the first that do."""
    own = network.state_dict()
    for name in sorted(own.keys() | weights.keys()):
        shapes = [tuple(part[name].shape) if name in part else None for part in (own, weights)]
        if shapes[0] != shapes[1]:
            expected, given = ("nothing" if shape is None else shape for shape in shapes)
            raise UserError(
                f"the weights {whose} do not fit the architecture: '{name}' is {given}, "
                f"where {expected} is expected"
            )
    network.load_state_dict(weights)


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
