"""Base models in hand: the one that was used last, and what Python gave of others."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from mlflow.entities import Run
from torch import nn

from tracker.base import base_models, given, training
from tracker.base.base_models import BaseRun
from tracker.base.given import NOTHING, Given
from tracker.base.parts import LEARNING, LEFT_OUT, MEMORIZATION
from tracker.base.workers import pick_device
from tracker.reading.listing import member_of
from tracker.store.read import Reader
from tracker.store.weights import read_weights, restored
from tracker.store.write import Store
from unlearning import datasets, models
from unlearning.base_model import BaseModel
from unlearning.dataset import Dataset
from unlearning.datasets import Source
from unlearning.errors import UserError
from unlearning.datasets.npz import dataset_of, samples_of
from unlearning.models import network_of, outputs_of

BESIDE = (LEARNING, LEFT_OUT, MEMORIZATION)  # of what is kept with a base model's run


@dataclass(frozen=True)
class Data:
    """The data of a network that is imported.

    Attributes:
        described: where others find them, as a base model's run tells it.
    """

    dataset: Dataset
    described: str


@dataclass
class Bases:
    """The base models of one store.

    Attributes:
        data_dir: of torchvision's data sets. folder: of the store. say: takes remarks.
    """

    data_dir: Path
    folder: Path
    say: Callable[[str], None]
    _given: dict[str, Given] = field(default_factory=dict)
    _last: tuple[tuple[Any, ...], BaseRun] | None = None

    def load(
        self, store: Store, reference: str, device: str, precision: str = "float32"
    ) -> BaseRun:
        """A base model on a device; the one that was loaded last is still at hand.

        Raises UserError as `base_models.load` does.
        """
        where = pick_device(device)
        run = base_models.find(store, reference)
        run_id, beside = run.info.run_id, [sorted(kind.names(run.data.tags)) for kind in BESIDE]
        asked = (run_id, str(where), precision, beside)
        if self._last is None or self._last[0] != asked:
            self._last = None  # before another takes as much memory
            known = self._given.get(run_id, NOTHING)
            loaded = base_models.load(store, run_id, where, self.data_dir, precision, known)
            self._last = (asked, loaded)
        return self._last[1]

    def data_named(
        self, name: str, image_size: int | None, label: str | None, split_column: str | None
    ) -> Data:
        """Data of that name or place. Raises UserError where there are none."""
        source = Source(
            self.data_dir, image_size=image_size, label=label, split_column=split_column
        )
        return Data(datasets.load(name, source), datasets.described(name, source))

    def data_given(
        self, network: Any, parts: tuple[Any, Any], classes: Iterable[str] | None, keep: bool
    ) -> Data:
        """Data that Python gives, training and test set, with a name for each class of a network.

        Args:
            keep: whether they are copied into the store.

        Raises UserError for data of another form.
        """
        train, test = samples_of(parts[0], "train"), samples_of(parts[1], "test")
        count = outputs_of(network_of(network), train[0][0])
        names = [str(name) for name in (range(count) if classes is None else classes)]
        if len(names) != count:
            raise UserError(
                f"there are {len(names)} classes, and the network {type(network).__name__} gives "
                f"the logits of {count}"
            )
        dataset = dataset_of(train, test, names)
        return Data(dataset, given.keep(dataset, self.folder) if keep else given.as_given(dataset))

    def take(self, store: Store, network: Any, data: Data, device: str) -> str:
        """Log a network and its data as a base model, or find it; its run id."""
        own, dataset, name = network_of(network), data.dataset, type(network).__name__
        models.check(own, name, dataset)
        models.check_gradients(own, name, dataset)
        arch = given.arch_of(own, dataset)
        base = BaseModel(copy.deepcopy(own), dataset, pick_device(device))
        run_id = training.import_network(store, base, arch, data.described)
        training.say_chance(dataset, base_models.accuracies(base), self.say)
        self._given[run_id] = Given(dataset, None if given.is_named(arch) else own)
        return run_id

    def take_again(
        self, run: Run, network: Any, parts: tuple[Any, Any] | None, classes: Any
    ) -> None:
        """Take what another process was given of a base model. Raises UserError."""
        run_id, arch = str(run.info.run_id), run.data.params["arch"]
        known = self._given.get(run_id, NOTHING)
        if network is not None:
            if given.is_named(arch):
                raise UserError(f"base model {run_id} is a {arch}, which is found without network=")
            known = replace(known, network=network_of(network))
        if parts is not None:
            train, test = samples_of(parts[0], "train"), samples_of(parts[1], "test")
            most = max(int(labels.max()) for _, labels in (train, test))
            names = range(most + 1) if classes is None else classes
            dataset = dataset_of(train, test, [str(name) for name in names])
            if dataset.fingerprint != run.data.tags["data_fingerprint"]:
                raise UserError(
                    f"these are not the data of base model {run_id}: give the same images, labels "
                    "and classes as in import_model, in the same order"
                )
            known = replace(known, dataset=dataset)
        self._given[run_id] = known

    def restored(self, reader: Reader, reference: str) -> nn.Module:
        """The unlearned network of a child run, on the CPU. Raises UserError."""
        base, state = restored(reader, member_of(reader, reference))
        return self._network(base.run_id, base.params, base.tags, state)

    def network(self, store: Store, reference: str) -> nn.Module:
        """The network of a base model, on the CPU. Raises UserError."""
        run = base_models.find(store, reference)
        params, tags = run.data.params, run.data.tags
        state = read_weights(store.artifacts, run.info.artifact_uri, tags)
        return self._network(str(run.info.run_id), params, tags, state)

    def _network(
        self, run_id: str, params: Any, tags: Any, state: dict[str, torch.Tensor]
    ) -> nn.Module:
        """A network of a base model's architecture with these weights, to the last bit."""
        known = self._given.get(run_id, NOTHING)
        where = params["source"], tags["data_fingerprint"], self.data_dir, self.folder
        dataset = base_models.load_data(run_id, *where, known)
        network = known.network_for(run_id, params["arch"], dataset)
        if any(tensor.dtype == torch.float64 for tensor in state.values()):
            network = network.double()
        base_models.fill(network, state, f"for base model {run_id}")
        return network.cpu().eval()
