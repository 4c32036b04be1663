"""Base models as Python has them in hand: what was given of them, and the one used last."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracker.base import base_models, devices, given, training
from tracker.base.given import NOTHING, Given
from tracker.base.parts import LEARNING, LEFT_OUT, MEMORIZATION
from tracker.face import remarks
from unlearning import datasets, models
from unlearning import given as own
from unlearning.base_model import BaseModel
from unlearning.dataset import Samples
from unlearning.datasets import Source
from unlearning.errors import UserError
from unlearning.models import weights_sha256

if TYPE_CHECKING:
    import torch
    from mlflow.entities import Run
    from torch import nn

    from tracker.base.base_models import BaseRun
    from tracker.store.read import Reader
    from tracker.store.write import Store
    from unlearning.dataset import Dataset

BESIDE = (LEARNING, LEFT_OUT, MEMORIZATION)  # of what is kept with a base model's run


@dataclass(frozen=True)
class Data:
    """The data of a network that is imported.

    Attributes:
        source: where others find them, if they have a place already. keep: whether they are copied
            into the store where they have none.
    """

    dataset: Dataset
    source: str | None = None
    keep: bool = True

    @classmethod
    def named(cls, name: str, source: Source) -> Data:
        """Data of that name or place. Raises UserError where there are none."""
        return cls(datasets.load(name, source), datasets.described(name, source))

    @classmethod
    def of(
        cls,
        network: nn.Module,
        parts: tuple[Samples, Samples],
        classes: Iterable[str] | None,
        keep: bool,
    ) -> Data:
        """Data that Python gives, with a name for each class of a network. Raises UserError."""
        count = own.outputs_of(network, parts[0][0][0])
        names = [str(name) for name in (range(count) if classes is None else classes)]
        if len(names) != count:
            raise UserError(
                f"there are {len(names)} classes, and the network {type(network).__name__} gives "
                f"the logits of {count}"
            )
        return cls(own.dataset_of(*parts, names), keep=keep)

    def described(self, folder: Path) -> str:
        """Where they come from, as a base model's run tells it; from now on, where they are kept.

        Args:
            folder: of the store.
        """
        if self.source is not None:
            return self.source
        return given.keep(self.dataset, folder) if self.keep else given.as_given(self.dataset)


@dataclass
class Bases:
    """The base models of one store.

    Attributes:
        data_dir: of torchvision's data sets. folder: of the store.
    """

    data_dir: Path
    folder: Path
    _given: dict[str, Given] = field(default_factory=dict)
    _last: tuple[tuple[Any, ...], BaseRun] | None = None

    def load(self, store: Store, reference: str, device: str, precision: str) -> BaseRun:
        """A base model on a device; the one that was loaded last is still at hand.

        Raises UserError as `base_models.load` does.
        """
        run, where = base_models.find(store, reference), pick(device)
        beside = [sorted(kind.names(run.data.tags)) for kind in BESIDE]
        asked = (run.info.run_id, str(where), precision, beside)
        if self._last is None or self._last[0] != asked:
            self._last = None  # before another takes as much memory
            known = self._given.get(run.info.run_id, NOTHING)
            loaded = base_models.load(
                store, run.info.run_id, where, self.data_dir, precision, known
            )
            self._last = (asked, loaded)
        return self._last[1]

    def forget(self) -> None:
        """Let go of the base model that is at hand: something went wrong with it."""
        self._last = None

    def take(self, store: Store, network: nn.Module, data: Data, device: str) -> str:
        """Log a network and its data as a base model, or find it; its run id."""
        dataset = data.dataset
        models.check(network, type(network).__name__, dataset)
        models.check_gradients(network, type(network).__name__, dataset)
        arch = given.arch_of(network, dataset)
        described = data.described(self.folder)
        base = BaseModel(copy.deepcopy(network), dataset, pick(device))
        run_id, called = training.import_network(store, base, arch, described)
        training.say_chance(dataset, base_models.accuracies(base), remarks.say)
        training.say_frozen(network, remarks.say)
        self._given[run_id] = Given(dataset, None if given.is_named(called) else network)
        return run_id

    def take_again(
        self, run: Run, network: Any, data: tuple[Any, Any] | None, classes: Any
    ) -> None:
        """Take what another process was given of a base model. Raises UserError."""
        run_id, arch = str(run.info.run_id), run.data.params["arch"]
        known = self._given.get(run_id, NOTHING)
        if network is not None:
            if given.is_named(arch):
                raise UserError(f"base model {run_id} is a {arch}, which is found without network=")
            known = replace(known, network=own.network_of(network))
        if data is not None:
            parts = samples(*data)
            names = range(_count(parts)) if classes is None else classes
            dataset = own.dataset_of(*parts, [str(name) for name in names])
            if dataset.fingerprint != run.data.tags["data_fingerprint"]:
                raise UserError(
                    f"these are not the data of base model {run_id}: give the same images, labels "
                    "and classes as in import_model, in the same order"
                )
            known = replace(known, dataset=dataset)
        self._given[run_id] = known

    def restored(self, reader: Reader, run_id: str) -> nn.Module:
        """The unlearned network of a child run, on the CPU. Raises UserError."""
        from tracker.store.weights import restored

        base, state = restored(reader, run_id)
        return self._network(base.run_id, base.params, base.tags, state)

    def network(self, store: Store, reference: str) -> nn.Module:
        """The network of a base model, on the CPU. Raises UserError."""
        from tracker.store.weights import read_weights

        run = base_models.find(store, reference)
        params, tags = run.data.params, run.data.tags
        state = read_weights(store.artifacts, run.info.artifact_uri, tags)
        return self._network(str(run.info.run_id), params, tags, state)

    def _network(
        self, run_id: str, params: Any, tags: Any, state: dict[str, torch.Tensor]
    ) -> nn.Module:
        """A network of a base model's architecture with these weights, to the last bit."""
        known = self._given.get(run_id, NOTHING)
        where = (self.data_dir, self.folder, known)
        dataset = base_models.data_of(run_id, params, tags, *where)
        network = known.network_for(run_id, params["arch"], dataset)
        if any(str(tensor.dtype) == "torch.float64" for tensor in state.values()):
            network = network.double()
        base_models.fill(network, state, f"for base model {run_id}")
        assert weights_sha256(network.state_dict()) == weights_sha256(state)
        return network.cpu().eval()


def samples(train: Any, test: Any) -> tuple[Samples, Samples]:
    """Both parts of data that are given. Raises UserError."""
    return own.samples_of(train, "train"), own.samples_of(test, "test")


def pick(device: str) -> torch.device:
    """The device of that name. Raises UserError."""
    return devices.pick_device(str(device))


def _count(parts: Sequence[Samples]) -> int:
    """How many classes there are, by the largest label."""
    return int(max(labels.max().item() for _, labels in parts)) + 1
