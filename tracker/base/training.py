"""Base models are trained, or imported, and logged as MLflow runs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from mlflow.utils.validation import MAX_TAG_VAL_LENGTH
from safetensors.torch import save

from tracker.base.base_models import accuracies, as_input
from tracker.base.importing import import_weights
from tracker.base.logged_models import keep
from tracker.base.parts import LEARNING
from tracker.store.files import Damaged
from tracker.store.records import Kind, Record, Run, code_version, milliseconds, sha256_of
from tracker.store.weights import file_name, read_weights
from tracker.store.write import Store
from unlearning import architectures, datasets, models, training
from unlearning.architectures import as_name
from unlearning.architectures.libraries import entrance
from unlearning.base_model import BaseModel
from unlearning.errors import Failure, UserError
from unlearning.execution import make_ready
from unlearning.recipe import Recipe
from unlearning.training import Learning, Recorder


@dataclass(frozen=True)
class Request:
    """A base model to be trained, or to be imported if `weights` are given.

    Attributes:
        dataset: name, or `folder:PATH` and the like. weights: a file with the state dict, as
            `tracker.base.importing` takes it.
        leave_out: samples without which models are to be trained afterwards.
        learning_events: whether training is to record how it learned each sample. If None it does,
            but a model that is there without them is not trained again; if True that is, too.
    """

    dataset: str
    arch: str
    recipe: Recipe = field(default_factory=Recipe)
    weights: Path | None = None
    leave_out: tuple[int, ...] = ()
    learning_events: bool | None = None


def usual_arch(dataset: str) -> str:
    """The architecture of a data set, by its name, where none is asked for."""
    return "mlp" if dataset.startswith(f"{datasets.TABLE}:") else "small-cnn"


def train(
    store: Store,
    request: Request,
    data_source: datasets.Source,
    device: torch.device,
    on_epoch: Callable[[float], None] = lambda loss: None,
    say: Callable[[str], None] = lambda remark: None,
) -> tuple[str, bool]:
    """Train or import a base model and log it; its run id, and whether it was there already.

    One that is there without its weights, for they were lost, or without its learning events, if
    those are asked for, is trained again. It gets them if the same weights come out.

    Args:
        say: is told how imported weights were read, and how good the model is beside chance.
    """
    dataset = datasets.load(request.dataset, data_source)
    dataset.train.positions(list(request.leave_out))  # before any work, that they are there
    make_ready(device)
    started, losses, network, recorder = milliseconds(), list[float](), None, None
    made_of: object = request.recipe.settings
    if request.weights is not None:
        network = models.build(request.arch, dataset)
        weights, remarks = import_weights(request.weights, network)
        if images := entrance(network):
            remarks.append(f"the network normalises its images by {images}, as it was pretrained")
        for remark in remarks:
            say(remark)
        network.load_state_dict(weights)
        made_of = models.weights_sha256(weights)
    brought = [str(who) for who in [architectures.provider(request.arch)] if who]
    key = sha256_of(dataset.fingerprint, request.arch, made_of, *brought)[:32]
    known = _known(store, key)
    is_there = known is not None and _is_whole(store, known, bool(request.learning_events))
    if known is not None and is_there:
        run_id = known.run_id
    else:

        def remember(loss: float) -> None:
            losses.append(loss)
            on_epoch(loss)

        if network is None:
            recorder = None if request.learning_events is False else Recorder()
            how = request.arch, request.recipe, device, remember, recorder
            network = training.train(dataset, *how)
        base = BaseModel(network, dataset, device)
        learning = None if recorder is None else recorder.learning
        described = datasets.described(request.dataset, data_source)
        record = _record(request, base, key, described, started, losses, learning)
        run_id = _logged(store, record, base, request.arch, known)
    keep(store, run_id, request.arch, dataset)
    if request.weights is not None:
        say_chance(dataset, store.run(run_id).metrics, say)
    return run_id, is_there


def say_chance(
    dataset: datasets.Dataset, metrics: Mapping[str, float], say: Callable[[str], None]
) -> None:
    """Say how good an imported model is, by the metrics of its run, beside chance."""
    (label, most), *_ = Counter(dataset.test.labels.tolist()).most_common(1)
    say(
        f"the imported model gets {metrics['test_accuracy']:.1%} of the test set right; "
        f"always '{dataset.classes[label]}', the most frequent class, would get "
        f"{most / len(dataset.test):.1%}"
    )


def import_network(store: Store, base: BaseModel, arch: str, described: str) -> str:
    """Log a network that Python was given; its run id. The same one with the same data is found.

    Args:
        arch: what its architecture is called. described: where the data come from.
    """
    started, data = milliseconds(), base.dataset
    key = sha256_of(data.fingerprint, arch, base.weights_sha256)[:32]
    known = _known(store, key)
    if known is not None and _is_whole(store, known):
        return known.run_id
    request = Request(data.name, arch, weights=Path(type(base.network).__name__))
    record = _record(request, base, key, described, started)
    return _logged(store, record, base, arch, known)


def _known(store: Store, key: str) -> Run | None:
    """The run of the base model with this key."""
    return next(iter(store.finished_runs(Kind.BASE_MODEL, f"tags.key = '{key}'")), None)


def _is_whole(store: Store, run: Run, with_events: bool = False) -> bool:
    """Whether a base model's run has its weights, and how its samples were learned if need be."""
    try:
        read_weights(store.artifacts, run.artifact_uri, run.tags)
        return not with_events or any(LEARNING.of(store, run))
    except Damaged:
        return False


def _record(
    request: Request,
    base: BaseModel,
    key: str,
    described: str,
    started_ms: int,
    losses: Sequence[float] = (),
    learning: Learning | None = None,
) -> Record:
    """All that is logged of a base model; `described` is its data set in words.

    Raises UserError for a model whose weights or outputs are not numbers.
    """
    parts = (*base.state.values(), base.train_logits, base.test_logits)
    if not all(part.isfinite().all() for part in parts):
        raise UserError(
            "the model has weights or outputs that are not finite: train with a smaller --lr, or "
            "import other weights"
        )
    dataset, weights = base.dataset, request.weights
    names = json.dumps(dataset.classes)
    how = "imported" if weights else f"seed{request.recipe.seed}"
    # Clones, for safetensors refuses a tensor that has two names.
    state = {n: t.cpu().contiguous().clone() for n, t in base.network.state_dict().items()}
    files, tags = {file_name("weights", base.weights_sha256): save(state)}, dict[str, str]()
    providers = {
        "dataset_provider": datasets.provider(request.dataset),
        "arch_provider": architectures.provider(request.arch),
    }
    if learning is not None:
        events = {"losses": learning.losses, "margins": learning.margins}
        name, part, (tag, says) = LEARNING.made_of(events, str(len(learning.losses)))
        files[name], tags[tag] = part, says
    return Record(
        name=f"base-{dataset.name}-{as_name(request.arch)}-{how}",
        params={
            "dataset": dataset.name,
            "source": described,
            "arch": request.arch,
            **({"weights": weights.name} if weights else request.recipe.settings),
            "device": base.device.type,
            "train_samples": len(dataset.train),
            "test_samples": len(dataset.test),
        },
        tags={
            "key": key,
            "weights_sha256": base.weights_sha256,
            "data_fingerprint": dataset.fingerprint,
            **({"class_names": names} if len(names) <= MAX_TAG_VAL_LENGTH else {}),
            "code_version": code_version(),
            **{name: str(provider) for name, provider in providers.items() if provider},
            **tags,
        },
        metrics=accuracies(base),
        histories={"train_loss": list(losses)} if losses else {},
        artifacts=files,
        started_ms=started_ms,
        ended_ms=milliseconds(),
    )


def _logged(store: Store, record: Record, base: BaseModel, arch: str, known: Run | None) -> str:
    """Log a base model, or write its files again where its run is known; its run id.

    Raises Failure where that has other weights.
    """
    if known is None:
        experiment_id = store.experiment_id(base.dataset.name, as_name(arch))
        note = BASE_NOTE.format(dataset=base.dataset.name, arch=arch, run_id="{run_id}")
        return store.log_base_model(experiment_id, record, as_input(base.dataset), note)
    run_id = known.run_id
    if base.weights_sha256 != known.tags["weights_sha256"]:
        raise Failure(
            f"base model {run_id} cannot get back what it lacks: training it again came to other "
            "weights, as another machine or version of torch does. To begin anew, delete that run "
            "in MLflow: its sweeps can then not be restored"
        )
    store.artifacts.write(known.artifact_uri, record.artifacts)
    for name in LEARNING.names(record.tags):  # tags of parts after their files
        store.client.set_tag(run_id, LEARNING.tag(name), record.tags[LEARNING.tag(name)])
    return run_id


BASE_NOTE = """\
Base model: a **{arch}** trained on the whole training split of **{dataset}**, the network that is \
asked to forget one sample at a time. Start a sweep from it with

    indelible sweep --model {run_id} --algorithm ga --algorithm salun
"""
