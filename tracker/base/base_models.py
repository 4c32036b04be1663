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
from safetensors.torch import save
from torch import nn

from tracker.access.artifacts import Damaged
from tracker.base import base_data, companions
from tracker.record.records import Kind, Record, code_version, sha256_of
from tracker.record.store import Data, Store
from tracker.record.weights import file_name, read_weights
from unlearning import datasets, models, training
from unlearning.base_model import BaseModel, Origin
from unlearning.checkpoints import read_tensors
from unlearning.errors import Failure, UserError
from unlearning.losses import log_prob
from unlearning.recipe import Recipe


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
        """Of the model's weights and inputs: `float32` or `float64`."""
        return str(self.model.train_inputs.dtype).removeprefix("torch.")

    @property
    def test_accuracy(self) -> float:
        """The share of the test set that it gets right."""
        return _accuracies(self.model)["test_accuracy"]

    @property
    def data(self) -> Data:
        """The data set as an MLflow input."""
        return as_input(self.model.dataset)


@dataclass(frozen=True)
class Request:
    """A base model to be trained, or to be imported if `weights` are given.

    Attributes:
        dataset: name, `folder:PATH` or `npz:PATH`. weights: a safetensors file with the state dict.
        leave_out: samples without which models are to be trained afterwards.
    """

    dataset: str
    arch: str
    recipe: Recipe = field(default_factory=Recipe)
    weights: Path | None = None
    leave_out: tuple[int, ...] = ()

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
    """Train or import a base model and log it; its run id, and whether it was there already.

    One whose weights were lost is trained again, if it comes to the same weights.
    """
    dataset = datasets.load(request.dataset, source)
    dataset.train.positions(list(request.leave_out))  # before any work, that they are there
    weights = None if request.weights is None else _read_file(request.weights)
    made_of = asdict(request.recipe) if weights is None else models.weights_sha256(weights)
    key = sha256_of(dataset.fingerprint, request.arch, made_of)[:32]
    known = _known(store, key)
    if known is not None and _is_whole(store, known):
        return _active(store, known), True
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
    _check_finite(base)
    content = save({n: t.cpu().contiguous() for n, t in network.state_dict().items()})
    file = {file_name("weights", base.weights_sha256): content}
    if known is not None and _can_be_mended(known, base):
        store.artifacts.write(known.info.artifact_uri, file)
        return _active(store, known), False
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
        },
        metrics=_accuracies(base),
        histories={"train_loss": losses} if losses else {},
        artifacts=file,
        started_ms=started,
        ended_ms=time.time_ns() // 1_000_000,
    )
    experiment_id = store.experiment_id(dataset.name, arch)
    note = BASE_NOTE.format(dataset=dataset.name, arch=request.arch, run_id="{run_id}")
    return store.log_base_model(experiment_id, record, as_input(dataset), note), False


def _check_finite(base: BaseModel) -> None:
    """Raise UserError for a model whose weights or outputs are not numbers."""
    parts = (*base.state.values(), base.train_logits, base.test_logits)
    if not all(part.isfinite().all() for part in parts):
        raise UserError(
            "the model has weights or outputs that are not finite: train with a smaller --lr, or "
            "import other weights"
        )


def _is_whole(store: Store, run: Run) -> bool:
    try:
        read_weights(store.artifacts, run.info.artifact_uri, run.data.tags)
    except Damaged:
        return False
    return True


def _known(store: Store, key: str) -> Run | None:
    """The run of the base model with this key; one that was deleted in MLflow if there is no other.

    What is kept beside a base model, and every checkpoint of its members, goes with its run.
    """
    same = list(store.finished_runs(Kind.BASE_MODEL, f"tags.key = '{key}'", deleted_too=True))
    return next((run for run in same if _is_active(run)), next(iter(same), None))


def _is_active(run: Run) -> bool:
    return bool(run.info.lifecycle_stage == "active")


def _active(store: Store, run: Run) -> str:
    """The id of a run, which is brought back where it was deleted in MLflow."""
    if not _is_active(run):
        store.client.restore_run(run.info.run_id)
    return str(run.info.run_id)


def _can_be_mended(run: Run, base: BaseModel) -> bool:
    """Whether a model that was trained again has the weights that its run has lost.

    Raises Failure where it has others, unless the run was deleted: then this one is another.
    """
    if base.weights_sha256 == run.data.tags["weights_sha256"]:
        return True
    if not _is_active(run):
        return False
    raise Failure(
        f"the weights of base model {run.info.run_id} are lost or damaged, and training it "
        "again came to other ones, as another machine or version of torch does: delete that "
        "run in MLflow to begin anew; its sweeps cannot be restored"
    )


def load(
    store: Store,
    reference: str,
    device: torch.device,
    data_dir: Path = datasets.AS_IT_IS.data_dir,
    precision: str = "float32",
) -> BaseRun:
    """The base model of that run id, or the `latest`, on a device, with what is kept beside it.

    Args:
        precision: `float32`, in which models are trained and kept, or `float64`.

    Raises UserError if there is none, if weights or data are not what they were in training, or
    if the device lacks the precision.
    """
    double = precision == "float64"
    if double and device.type == "mps":
        raise UserError("device 'mps' has no float64: use --device cpu or --precision float32")
    run = find(store, reference)
    params, tags = run.data.params, run.data.tags
    dataset = base_data.load(run.info.run_id, params["source"], tags["data_fingerprint"], data_dir)
    network = models.build(params["arch"], dataset)
    try:
        weights = read_weights(store.artifacts, run.info.artifact_uri, tags)
    except Damaged as damage:
        raise Damaged(
            f"of base model {run.info.run_id}, {damage}: 'indelible train' with its settings "
            "makes it again"
        ) from damage
    _fill(network, weights, f"of run {run.info.run_id}")
    beside = companions.load(store, run)
    network = network.double() if double else network
    base = BaseModel(network, dataset, device, _origin(params), beside)
    return BaseRun(
        run_id=run.info.run_id,
        name=run.info.run_name,
        arch=_as_name(params["arch"]),
        model=base,
        weights=weights,
        weights_sha256=tags["weights_sha256"],
    )


def _origin(params: Mapping[str, str]) -> Origin | None:
    """How the base model of these params was trained; None if it was imported."""
    if "epochs" not in params:
        return None
    types = typing.get_type_hints(Recipe)
    recipe = {f.name: types[f.name](params[f.name]) for f in fields(Recipe)}
    return Origin(params["arch"], Recipe(**recipe))


def _as_name(arch: str) -> str:
    """An architecture as part of names and paths."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", arch.removeprefix(models.OWN))


def _read_file(path: Path) -> dict[str, torch.Tensor]:
    try:
        return read_tensors(path.read_bytes(), str(path))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error


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

    indelible sweep --model {run_id} --algorithm ga --algorithm salun
"""
