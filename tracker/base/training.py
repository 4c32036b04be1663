"""Base models are trained, or imported, and logged as MLflow runs."""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from mlflow.entities import Run
from safetensors.torch import save
from torch import nn

from tracker.base.base_models import accuracies, as_input, as_name
from tracker.base.given import ALIKE, GIVEN, is_kept, is_named
from tracker.base.importing import import_weights
from tracker.base.parts import LEARNING
from tracker.store.files import Damaged
from tracker.store.records import Kind, Record, code_version, milliseconds, sha256_of
from tracker.store.weights import file_name, read_weights
from tracker.store.write import Store
from unlearning import architectures, datasets, models, training
from unlearning.base_model import BaseModel
from unlearning.errors import Failure, UserError
from unlearning.naming import counted
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

    @property
    def described(self) -> dict[str, object]:
        """How the model came to be, as params of its run."""
        return {"weights": self.weights.name} if self.weights else self.recipe.settings


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
    network: nn.Module | None = None
    made_of: object = request.recipe.settings
    if request.weights is not None:
        network = models.build(request.arch, dataset)
        weights, remarks = import_weights(request.weights, network)
        for remark in remarks:
            say(remark)
        network.load_state_dict(weights)
        made_of = models.weights_sha256(weights)
    brought = [who for name, who in _providers(request).items() if name == "arch_provider"]
    key = sha256_of(dataset.fingerprint, request.arch, made_of, *brought)[:32]
    known, described = _known(store, key), datasets.described(request.dataset, data_source)
    if known is not None and _is_whole(store, known, request.learning_events):
        _say_place(known, described, say)
        if request.weights is not None:
            say_chance(dataset, known.data.metrics, say)
        return _active(store, known), True
    started, losses, recorder = milliseconds(), list[float](), None

    def remember(loss: float) -> None:
        losses.append(loss)
        on_epoch(loss)

    if network is None:
        recorder = None if request.learning_events is False else Recorder()
        network = training.train(dataset, request.arch, request.recipe, device, remember, recorder)
    base = BaseModel(network, dataset, device)
    say_frozen(network, say)
    learning = None if recorder is None else recorder.learning
    record = _record(request, base, key, described, started, losses, learning)
    if request.weights is not None:
        say_chance(dataset, record.metrics, say)
    return _logged(store, record, base, request.arch, known), False


def _say_place(known: Run, described: str, say: Callable[[str], None]) -> None:
    """Say where the data of a base model are looked for, if they are given from elsewhere."""
    place = known.data.params["source"]
    there, here = (json.loads(text).get("name") for text in (place, described))
    if there != here:
        say(
            f"the base model is there with the same data from {there}, where sweeps will look for "
            "them: if that has moved, put a link to it in its place"
        )


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


def say_frozen(network: nn.Module, say: Callable[[str], None]) -> None:
    """Say which parameters of a network training does not change, and unlearning may."""
    if frozen := [name for name, p in network.named_parameters() if not p.requires_grad]:
        say(
            f"{counted(len(frozen), 'parameter')} of the network that training is not to change, "
            f"{frozen[0]} first, may change in unlearning: it takes all"
        )


def import_network(store: Store, base: BaseModel, arch: str, described: str) -> str:
    """Log a network that Python was given; its run id. The same one with the same data is found.

    Networks that no other process can make, with the same name and weights, are told apart by what
    they give: a number follows the name.

    Args:
        arch: what its architecture is called. described: where the data come from.
    """
    started, data, name = milliseconds(), base.dataset, type(base.network).__name__
    for number in itertools.count(1):
        called = f"{arch}-{number}" if number > 1 else arch
        key = sha256_of(data.fingerprint, called, base.weights_sha256)[:32]
        # Of data that are not kept it is another run, beside which one with its data counts.
        keys = [key] if is_kept(described) else [key, sha256_of(key, GIVEN)[:32]]
        known = next(filter(None, (_known(store, each) for each in keys)), None)
        if known is None or is_named(arch) or _has_loss(known, base):
            break
    if known is not None and _is_whole(store, known):
        return _active(store, known)
    request = Request(data.name, called, weights=Path(name))
    record = _record(request, base, keys[-1], described, started)
    return _logged(store, record, base, called, known)


def _has_loss(run: Run, base: BaseModel) -> bool:
    """Whether a base model's run has the test loss of this one, but for the last bits."""
    before, now = run.data.metrics["test_loss"], accuracies(base)["test_loss"]
    return math.isclose(before, now, rel_tol=ALIKE, abs_tol=ALIKE)


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
    dataset, state = base.dataset, base.network.state_dict()
    how = "imported" if request.weights else f"seed{request.recipe.seed}"
    # Clones, for safetensors refuses a tensor that has two names.
    content = save({name: t.cpu().contiguous().clone() for name, t in state.items()})
    files, tags = {file_name("weights", base.weights_sha256): content}, dict[str, str]()
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
            **tags,
        },
        metrics=accuracies(base),
        histories={"train_loss": list(losses)} if losses else {},
        artifacts=files,
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


def _is_whole(store: Store, run: Run, with_events: bool | None = False) -> bool:
    """Whether a base model's run has its weights, and how its samples were learned if need be."""
    try:
        read_weights(store.artifacts, run.info.artifact_uri, run.data.tags)
        return not with_events or any(LEARNING.of(store, run))
    except Damaged:
        return False


def remark_on_events(store: Store, run_id: str, request: Request) -> str | None:
    """A remark on a base model that has no learning events; None if it cannot or shall not."""
    tags = store.run(run_id).data.tags
    if request.learning_events is False or request.weights or LEARNING.names(tags):
        return None
    return (
        f"how base model {run_id} learned its samples was not recorded: 'indelible train' with the "
        "same settings and --learning-events trains it again and adds that"
    )


def _known(store: Store, key: str) -> Run | None:
    """The run of the base model with this key.

    One that was deleted in MLflow is better than a new one, if it has its weights: companions and
    checkpoints belong to it.
    """
    same = list(store.finished_runs(Kind.BASE_MODEL, f"tags.key = '{key}'", deleted_too=True))
    active = [run for run in same if run.info.lifecycle_stage == "active"]
    return next(iter(active or [run for run in same if _is_whole(store, run)]), None)


def _active(store: Store, run: Run) -> str:
    """The id of a run, which is brought back where it was deleted in MLflow."""
    if run.info.lifecycle_stage != "active":
        store.client.restore_run(run.info.run_id)
    return str(run.info.run_id)


def _logged(store: Store, record: Record, base: BaseModel, arch: str, known: Run | None) -> str:
    """Log a base model, or write its files again where its run is known; its run id.

    Raises Failure where that has other weights.
    """
    if known is None:
        experiment_id = store.experiment_id(base.dataset.name, as_name(arch))
        note = BASE_NOTE.format(dataset=base.dataset.name, arch=arch, run_id="{run_id}")
        return store.log_base_model(experiment_id, record, as_input(base.dataset), note)
    run_id = known.info.run_id
    if base.weights_sha256 != known.data.tags["weights_sha256"]:
        raise Failure(
            f"base model {run_id} cannot get back what it lacks: training it again came to other "
            "weights, as another machine or version of torch does. To begin anew, delete that run "
            "in MLflow: its sweeps can then not be restored"
        )
    store.artifacts.write(known.info.artifact_uri, record.artifacts)
    for name in LEARNING.names(record.tags):  # tags of parts after their files
        store.client.set_tag(run_id, LEARNING.tag(name), record.tags[LEARNING.tag(name)])
    return _active(store, known)


BASE_NOTE = """\
Base model: a **{arch}** trained on the whole training split of **{dataset}**, the network that is \
asked to forget one sample at a time. Start a sweep from it with

    indelible sweep --model {run_id} --algorithm ga --algorithm salun
"""
