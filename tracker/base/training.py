"""Base models are trained, or imported, and logged as MLflow runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from mlflow.entities import Run
from safetensors.torch import save

from tracker.access.artifacts import Damaged
from tracker.base.base_models import accuracies, as_input, as_name, fill
from tracker.record.records import Kind, Record, code_version, milliseconds, sha256_of
from tracker.record.store import Store
from tracker.record.weights import file_name, read_weights
from unlearning import architectures, datasets, models, training
from unlearning.base_model import BaseModel
from unlearning.checkpoints import read_tensors
from unlearning.errors import Failure, UserError
from unlearning.recipe import Recipe


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


def train(
    store: Store,
    request: Request,
    data_source: datasets.Source,
    device: torch.device,
    on_epoch: Callable[[float], None] = lambda loss: None,
) -> tuple[str, bool]:
    """Train or import a base model and log it; its run id, and whether it was there already.

    One that is there without its weights, for they were lost, is trained again. It gets them back
    if they come out the same.
    """
    dataset = datasets.load(request.dataset, data_source)
    dataset.train.positions(list(request.leave_out))  # before any work, that they are there
    weights = None if request.weights is None else _read_file(request.weights)
    made_of = asdict(request.recipe) if weights is None else models.weights_sha256(weights)
    brought = [who for name, who in _providers(request).items() if name == "arch_provider"]
    key = sha256_of(dataset.fingerprint, request.arch, made_of, *brought)[:32]
    known = _known(store, key)
    if known is not None and _is_whole(store, known):
        return _active(store, known), True
    started, losses = milliseconds(), list[float]()

    def remember(loss: float) -> None:
        losses.append(loss)
        on_epoch(loss)

    if weights is None:
        network = training.train(dataset, request.arch, request.recipe, device, remember)
    else:
        network = models.build(request.arch, dataset)
        fill(network, weights, str(request.weights))
    base = BaseModel(network, dataset, device)
    _check_finite(base)
    described = datasets.described(request.dataset, data_source)
    record = _record(request, base, key, described, losses, started)
    if known is not None and _can_be_mended(known, base):
        store.artifacts.write(known.info.artifact_uri, record.artifacts)
        return _active(store, known), False
    arch = as_name(request.arch)
    experiment_id = store.experiment_id(dataset.name, arch)
    note = BASE_NOTE.format(dataset=dataset.name, arch=request.arch, run_id="{run_id}")
    return store.log_base_model(experiment_id, record, as_input(dataset), note), False


def _record(
    request: Request,
    base: BaseModel,
    key: str,
    described: str,
    losses: Sequence[float],
    started_ms: int,
) -> Record:
    """All that is logged of a base model; `described` is its data set in words."""
    dataset, state = base.dataset, base.network.state_dict()
    how = "imported" if request.weights else f"seed{request.recipe.seed}"
    content = save({name: tensor.cpu().contiguous() for name, tensor in state.items()})
    return Record(
        name=f"base-{dataset.name}-{as_name(request.arch)}-{how}",
        params={
            "dataset": dataset.name,
            "source": described,
            "arch": request.arch,
            **request.described,
            "device": base.device.type,
            "train_samples": len(dataset.train),
            "test_samples": len(dataset.test),
        },
        tags={
            "key": key,
            "weights_sha256": base.weights_sha256,
            "data_fingerprint": dataset.fingerprint,
            "code_version": code_version(),
            **_providers(request),
        },
        metrics=accuracies(base),
        histories={"train_loss": list(losses)} if losses else {},
        artifacts={file_name("weights", base.weights_sha256): content},
        started_ms=started_ms,
        ended_ms=milliseconds(),
    )


def _providers(request: Request) -> dict[str, str]:
    """Who brings data set and architecture, where we do not: tags of the run."""
    who = {
        "dataset_provider": datasets.provider(request.dataset),
        "arch_provider": architectures.provider(request.arch),
    }
    return {name: str(provider) for name, provider in who.items() if provider}


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

    To bring that back is better than a new run: companions and checkpoints belong to it.
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


def _read_file(path: Path) -> dict[str, torch.Tensor]:
    try:
        return read_tensors(path.read_bytes(), str(path))
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error


BASE_NOTE = """\
Base model: a **{arch}** trained on the whole training split of **{dataset}**, the network that is \
asked to forget one sample at a time. Start a sweep from it with

    indelible sweep --model {run_id} --algorithm ga --algorithm salun
"""
