"""The base model with everything that is computed of it once, and a pure view of a network."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import cached_property

import torch
from torch import Tensor
from torch.func import functional_call

from indelible.unlearning.datasets import Dataset, Split
from indelible.unlearning.models import Classifier, weights_sha256

Params = Mapping[str, Tensor]

BLOCK = 256  # images that pass through a network at a time


class Model:
    """A network under given parameters: a pure function from images to logits.

    Called inside `torch.func` transforms, where parameters are those of one member. `tied` says
    whether some parameter has two names, so that both change together.
    """

    def __init__(self, network: Classifier, params: Params, tied: bool = True) -> None:
        self.network, self.params, self.tied = network, params, tied

    def __call__(self, images: Tensor) -> Tensor:
        """Logits: (N, C, H, W) to (N, classes)."""
        logits: Tensor = functional_call(
            self.network, dict(self.params), (images,), tie_weights=self.tied
        )
        return logits

    def at(self, params: Params) -> Model:
        """The same network under other parameters."""
        return Model(self.network, params, self.tied)


class BaseModel:
    """f_theta on its data: the network in eval mode, its inputs on the device, its outputs.

    Attributes:
        params: detached parameters by name, theta.
        train_inputs, test_inputs: (N, C, H, W) in [0, 1]; train_labels, test_labels: (N,).
    """

    def __init__(self, network: Classifier, dataset: Dataset, device: torch.device) -> None:
        self.network = network.to(device).eval()
        for p in self.network.parameters():
            if p.ndim == 4:  # images of one channel alone do not say that they are channels-last
                p.data = p.data.contiguous(memory_format=torch.channels_last)
        self.dataset, self.device = dataset, device
        self.params = {name: p.detach() for name, p in self.network.named_parameters()}
        dtype = next(iter(self.params.values())).dtype
        self.train_inputs, self.train_labels = self._on_device(dataset.train, dtype)
        self.test_inputs, self.test_labels = self._on_device(dataset.test, dtype)

    def _on_device(self, split: Split, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        inputs = self.dataset.inputs(split).to(self.device, dtype)
        return inputs.contiguous(memory_format=torch.channels_last), split.labels.to(self.device)

    def twin(self) -> BaseModel:
        """The same base model for another thread: all tensors shared, the module its own.

        A functional call puts other parameters into a module for a moment, so two threads must
        not use one.
        """
        _ = self.train_logits, self.test_logits, self.train_features  # computed once for all
        twin = copy.copy(self)
        twin.network = copy.deepcopy(self.network)
        return twin

    @property
    def model(self) -> Model:
        """The base model as a pure function."""
        every = list(self.network.named_parameters(remove_duplicate=False))
        # Looking for tied weights takes a third of a call, so look once.
        return Model(self.network, self.params, tied=len(every) > len(self.params))

    @cached_property
    def weights_sha256(self) -> str:
        """The fingerprint of the whole state dict, buffers included."""
        return weights_sha256(self.network.state_dict())

    @cached_property
    def train_logits(self) -> Tensor:
        """(train samples, classes); also the logits of a distillation teacher."""
        return logits(self.model, self.train_inputs)

    @cached_property
    def test_logits(self) -> Tensor:
        """(test samples, classes)."""
        return logits(self.model, self.test_inputs)

    @cached_property
    @torch.no_grad()
    def train_features(self) -> Tensor:
        """Penultimate features of the training samples, (train samples, D)."""
        return torch.cat([self.network.features(block) for block in self.train_inputs.split(BLOCK)])


@torch.no_grad()
def logits(model: Model, inputs: Tensor) -> Tensor:
    """Logits of all inputs in blocks: (N, C, H, W) to (N, classes)."""
    return torch.cat([model(block) for block in inputs.split(BLOCK)])
