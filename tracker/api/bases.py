"""Base models in hand: the one that was used last, and networks that Python gave."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from analysis.words import no_reference
from tracker.base import base_models, given, logged_models, training
from tracker.base.base_models import BaseRun
from tracker.base.parts import LEARNING, LEFT_OUT, REFERENCES
from tracker.base.references import ACCURACY
from tracker.base.workers import pick_device
from tracker.reading.listing import member_of
from tracker.store.read import Reader
from tracker.store.weights import read_weights, restored
from tracker.store.write import Store
from unlearning import models
from unlearning.base_model import BaseModel
from unlearning.dataset import Dataset
from unlearning.datasets.npz import dataset_of, samples_of
from unlearning.errors import UserError
from unlearning.models import network_of, outputs_of

BESIDE = (LEARNING, LEFT_OUT, REFERENCES)  # of what is kept with a base model's run


@dataclass
class Bases:
    """The base models of one store.

    Attributes:
        data_dir: of torchvision's data sets. folder: of the store. say: takes remarks.
    """

    data_dir: Path
    folder: Path
    say: Callable[[str], None]
    _networks: dict[str, nn.Module] = field(default_factory=dict)  # that Python gave, by run
    _last: tuple[tuple[Any, ...], BaseRun] | None = None

    def load(
        self, store: Store, reference: str, device: str, precision: str = "float32"
    ) -> BaseRun:
        """A base model on a device; the one that was loaded last is still at hand.

        Raises UserError as `base_models.load` does.
        """
        where = pick_device(device)
        run = base_models.find(store.reader, reference)
        run_id, beside = run.run_id, [sorted(kind.names(run.tags)) for kind in BESIDE]
        asked = (run_id, str(where), precision, beside)
        if self._last is None or self._last[0] != asked:
            self._last = None  # before another takes as much memory
            own = self._networks.get(run_id)
            loaded = base_models.load(store, run_id, where, self.data_dir, precision, own)
            self._last = (asked, loaded)
            accuracies = run.metrics.get(ACCURACY), run.metrics["test_accuracy"]
            if doubt := no_reference(*accuracies):
                self.say(doubt)
        return self._last[1]

    def data(self, network: Any, train: Any, test: Any, classes: Iterable[str] | None) -> Dataset:
        """Data that Python gives for a network. Raises UserError for data of another form."""
        parts = samples_of(train, "train"), samples_of(test, "test")
        count = outputs_of(network_of(network), parts[0][0][0])
        names = [str(name) for name in (range(count) if classes is None else classes)]
        if len(names) != count:
            raise UserError(
                f"there are {len(names)} classes, and the network {type(network).__name__} gives "
                f"the logits of {count}"
            )
        return dataset_of(*parts, names)

    def take(
        self, store: Store, network: Any, dataset: Dataset, source: str | None, device: str
    ) -> str:
        """Log a network and its data as a base model, or find it; its run id.

        Args:
            source: where the data are; they are kept in the store's folder if None.
        """
        own, name = network_of(network), type(network).__name__
        models.check(own, name, dataset)
        models.check_gradients(own, name, dataset)
        arch = given.arch_of(own, dataset)
        base = BaseModel(copy.deepcopy(own), dataset, pick_device(device))
        source = source or given.keep(dataset, self.folder)
        run_id = training.import_network(store, base, arch, source)
        logged_models.keep(store, run_id, arch, dataset)
        training.say_chance(dataset, base_models.accuracies(base), self.say)
        if not given.is_named(arch):
            self._networks[run_id] = own
        return run_id

    def take_again(self, run_id: str, arch: str, network: Any) -> None:
        """Take the network that another process was given of a base model. Raises UserError."""
        if given.is_named(arch):
            raise UserError(f"base model {run_id} is a {arch}, which is found without network=")
        self._networks[run_id] = network_of(network)

    def restored(self, reader: Reader, reference: str) -> nn.Module:
        """The unlearned network of a child run, on the CPU. Raises UserError."""
        base, state = restored(reader, member_of(reader, reference))
        return self._network(base.run_id, base.params, base.tags, state)

    def network(self, store: Store, reference: str) -> nn.Module:
        """The network of a base model, on the CPU. Raises UserError."""
        run = base_models.find(store.reader, reference)
        params, tags = run.params, run.tags
        state = read_weights(store.artifacts, run.artifact_uri, tags)
        return self._network(run.run_id, params, tags, state)

    def _network(
        self, run_id: str, params: Any, tags: Any, state: dict[str, torch.Tensor]
    ) -> nn.Module:
        """A network of a base model's architecture with these weights, to the last bit."""
        where = params["source"], tags["data_fingerprint"], self.data_dir, self.folder
        dataset = base_models.load_data(run_id, *where)
        own = self._networks.get(run_id)
        network = given.network_for(run_id, params["arch"], dataset, own)
        if any(tensor.dtype == torch.float64 for tensor in state.values()):
            network = network.double()
        base_models.fill(network, state, f"for base model {run_id}")
        return network.cpu().eval()
