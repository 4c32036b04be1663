"""The base model with what is computed of it once, and a network as a pure function."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad

from unlearning.dataset import Dataset, Split, some_of
from unlearning.errors import UserError
from unlearning.execution import Function, make_ready, one_by_one, vmapped
from unlearning.losses import cross_entropy, log_odds, wide
from unlearning.models import (
    as_channels_last,
    captured_inputs,
    last_linear,
    own_buffers,
    unstackable,
    weights_sha256,
)
from unlearning.recipe import Recipe
from unlearning.references import References
from unlearning.registry import remark
from unlearning.training import Learning

Params = Mapping[str, Tensor]
T = TypeVar("T")

BLOCK = 256  # images that pass through a network at a time
GRADIENTS = 2**27  # bytes of per-sample gradients that are computed at a time
_LOCK = threading.RLock()  # held while what is remembered of a base model is computed


class Model:
    """A network under given parameters: a pure function from images to logits.

    Called inside `torch.func` transforms, where parameters are those of one member. `tied` says
    whether some parameter has two names, so that both change together. `head` is the network's
    last linear layer, if its logits come out of one. `stacks` says whether vmap can call it.
    """

    def __init__(
        self,
        network: nn.Module,
        params: Params,
        head: nn.Linear | None = None,
        tied: bool = True,
        stacks: bool = True,
    ) -> None:
        self.network, self.params, self.head = network, params, head
        self.tied, self.stacks = tied, stacks

    def __call__(self, images: Tensor) -> Tensor:
        """Logits: (N, C, H, W) to (N, classes)."""
        buffers = {} if self.stacks else own_buffers(self.network)
        logits: Tensor = functional_call(
            self.network, buffers | dict(self.params), (images,), tie_weights=self.tied
        )
        return logits

    def each(self, function: Function, in_dims: Any = 0) -> Function:
        """A function of one member as one of K: by vmap, or one by one where that is impossible."""
        return (vmapped if self.stacks else one_by_one)(function, in_dims)

    def outputs(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Penultimate features and logits: (N, C, H, W) to (N, D) and (N, classes).

        The features of a network that has none are one NaN.
        """
        if self.head is None:
            logits = self(images)
            return torch.full_like(logits[:, :1], torch.nan), logits
        with captured_inputs(self.head) as seen:
            logits = self(images)
        return seen[-1], logits

    def at(self, params: Params) -> Model:
        """The same network under other parameters, and buffers where they are among them."""
        return Model(self.network, params, self.head, self.tied, self.stacks)


@dataclass(frozen=True)
class Companions:
    """What is known of training samples beside the base model itself.

    Most of it is what other models, trained by the same recipe, say of them.

    Attributes:
        left_out: by sample id, the logits of the test set, (test samples, classes), of a model
            that was trained without the sample.
        references: what reference models say of all samples; None where there are none.
        learning: how the samples were learned in the base model's own training; None where that was
            not recorded.
    """

    left_out: Mapping[int, Tensor] = field(default_factory=dict)
    references: References | None = None
    learning: Learning | None = None


@dataclass(frozen=True)
class Origin:
    """How a base model came to be: the architecture's name and the recipe."""

    arch: str
    recipe: Recipe


class BaseModel:
    """f_theta with its data on the device: the network in eval mode, inputs and outputs.

    Attributes:
        params: detached parameters by name, theta.
        train_inputs, test_inputs: (N, C, H, W) in [0, 1]; train_labels, test_labels: (N,).
        origin: how it was trained; None where that is not known.
    """

    def __init__(
        self,
        network: nn.Module,
        dataset: Dataset,
        device: torch.device,
        origin: Origin | None = None,
        companions: Companions | None = None,
    ) -> None:
        make_ready(device)
        self.network = network.to(device).eval()
        as_channels_last(self.network)
        self.dataset, self.device, self.origin = dataset, device, origin
        self.companions = companions or Companions()
        self.params = {name: p.detach() for name, p in self.network.named_parameters()}
        dtype = next(iter(self.params.values())).dtype
        self.train_inputs, self.train_labels = self._on_device(dataset.train, dtype)
        self.test_inputs, self.test_labels = self._on_device(dataset.test, dtype)
        self.head_name = last_linear(self.network, self.test_inputs[:2])
        self._remembered: dict[Hashable, Any] = {}

    def _on_device(self, split: Split, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        inputs = self.dataset.inputs(split).to(self.device, dtype)
        return inputs.contiguous(memory_format=torch.channels_last), split.labels.to(self.device)

    def __getstate__(self) -> dict[str, Any]:
        """Everything for another process but what is remembered."""
        _ = self.train_outputs, self.test_outputs, self.held_out_prob  # computed once for all
        return {**vars(self), "_remembered": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        make_ready(self.device)  # in the process that it came to

    def replica(self) -> BaseModel:
        """The same base model for another thread: it shares all tensors, but not the network.

        A functional call puts other parameters into a network for a moment, so that two threads
        must not call the same one.
        """
        _ = self.train_outputs, self.held_out_prob  # computed once for all
        replica = object.__new__(type(self))
        vars(replica).update(vars(self))  # what is remembered too
        replica.network = copy.deepcopy(self.network)
        return replica

    @cached_property
    def references(self) -> References | None:
        """What reference models say, as seen from this model; None where there are none."""
        found = self.companions.references
        if found is None:
            return None
        return found.seen_from(log_odds(self.test_logits, self.test_labels).cpu().double())

    def targets(self, positions: Tensor) -> Tensor:
        """Log-odds that the model would have of samples at `positions` (K,), had it not seen them.

        See `References.mapped`. Raises UserError where there are no reference models, or too few
        that saw one of the samples, or that did not.

        Returns: (K,) float64 in main memory.
        """
        references, more = self.references, "'indelible train' as before with --references 32"
        if references is None:
            raise UserError(f"the base model has no reference models to end at: {more} trains some")
        at = positions.to(self.device)
        phi = log_odds(self.train_logits[at], self.train_labels[at]).cpu().double()
        found = references.mapped(phi, positions.cpu())
        if unknown := int(found.isnan().sum()):
            raise UserError(
                f"of {unknown} samples fewer than two of the {len(references)} reference models "
                f"saw them, or did not: more are needed, such as by {more}"
            )
        return found

    def some(self, count: int | None) -> Tensor:
        """Positions of `count` training samples, always the same ones, in order; all if None."""
        return some_of(len(self.train_labels), count).to(self.device)

    def once(self, what: Hashable, compute: Callable[[], T]) -> T:
        """The result of `compute`, computed once for this base model and all its replicas.

        Args:
            what: the key under which the result is remembered.
        """
        with _LOCK:
            if what not in self._remembered:
                self._remembered[what] = compute()
            remembered: T = self._remembered[what]
        return remembered

    def forget(self, is_past: Callable[[Hashable], bool]) -> None:
        """Let go of what is remembered under keys that are past."""
        with _LOCK:
            for what in filter(is_past, [*self._remembered]):
                del self._remembered[what]

    @property
    def head(self) -> nn.Linear | None:
        """The last linear layer; None where the logits do not come straight out of one."""
        return self._head_of(self.network)

    def _head_of(self, network: nn.Module) -> nn.Linear | None:
        if self.head_name is None:
            return None
        head = network.get_submodule(self.head_name)
        assert isinstance(head, nn.Linear)
        return head

    @property
    def head_parameters(self) -> list[str]:
        """The names of the last linear layer's parameters. Raises UserError where there is none."""
        if self.head is None:
            raise UserError("the network's logits do not come straight out of a linear layer")
        return [f"{self.head_name}.{name}" for name, _ in self.head.named_parameters()]

    @property
    def stacks(self) -> bool:
        """Whether members can take their steps together; where they cannot, it is said once."""
        return self.once("stacks", self._stacks)

    def _stacks(self) -> bool:
        images = torch.cat([self.train_inputs[:1], self.train_inputs[:1]])
        reason = unstackable(self.network, images)
        if reason:
            remark(f"the members of this network are computed one by one, not stacked: {reason}")
        return not reason

    @property
    def model(self) -> Model:
        """The base model as a pure function."""
        return self.as_model(self.network)

    def as_model(self, network: nn.Module) -> Model:
        """A pure function of a network like the base model's, under the base model's parameters."""
        names = list(network.named_parameters(remove_duplicate=False))
        # To search for tied weights in every call would take a third of its time.
        tied = len(names) > len(self.params)
        return Model(network, self.params, self._head_of(network), tied, self.stacks)

    @cached_property
    def weights_sha256(self) -> str:
        """The fingerprint of the whole state dict, buffers included."""
        return weights_sha256(self.network.state_dict())

    @property
    def state(self) -> dict[str, Tensor]:
        """Parameters and buffers by name."""
        return self.params | dict(self.network.named_buffers())

    @cached_property
    def held_out_prob(self) -> Tensor:
        """Mean probability of the true label over the test samples of each class, (classes,).

        float64; NaN for a class that the test set lacks.
        """
        prob = torch.softmax(wide(self.test_logits), dim=1)
        return torch.stack(
            [prob[self.test_labels == label, label].mean() for label in range(prob.shape[1])]
        )

    @cached_property
    def train_outputs(self) -> tuple[Tensor, Tensor]:
        """Penultimate features (train samples, D) and logits (train samples, classes)."""
        return outputs(self.model, self.train_inputs)

    @cached_property
    def test_outputs(self) -> tuple[Tensor, Tensor]:
        """Penultimate features (test samples, D) and logits (test samples, classes)."""
        return outputs(self.model, self.test_inputs)

    @property
    def train_features(self) -> Tensor:
        """(train samples, D)."""
        return self.train_outputs[0]

    @property
    def train_logits(self) -> Tensor:
        """(train samples, classes); also the logits of a distillation teacher."""
        return self.train_outputs[1]

    @property
    def test_features(self) -> Tensor:
        """(test samples, D)."""
        return self.test_outputs[0]

    @property
    def test_logits(self) -> Tensor:
        """(test samples, classes)."""
        return self.test_outputs[1]


@torch.no_grad()
def logits(model: Model, inputs: Tensor) -> Tensor:
    """Logits of all inputs in blocks: (N, C, H, W) to (N, classes)."""
    return torch.cat([model(block) for block in inputs.split(BLOCK)])


@torch.no_grad()
def outputs(model: Model, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Features and logits of all inputs in blocks: (N, C, H, W) to (N, D) and (N, classes)."""
    features, logits = zip(*(model.outputs(block) for block in inputs.split(BLOCK)), strict=True)
    return torch.cat(features), torch.cat(logits)


def sample_gradients(
    model: Model, images: Tensor, labels: Tensor, names: tuple[str, ...]
) -> Iterator[dict[str, Tensor]]:
    """The gradient of each sample's cross-entropy in the named parameters, block by block.

    Args:
        images: (N, C, H, W). labels: (N,).

    Yields: the gradients of the next B samples by name, (B, ...) each.
    """
    moving = {name: model.params[name] for name in names}

    def loss(params: Params, image: Tensor, label: Tensor) -> Tensor:
        logits = model.at({**model.params, **params})(image[None])
        return cross_entropy(logits, label[None])

    gradient = model.each(grad(loss), in_dims=(None, 0, 0))
    size = sum(p.numel() * p.element_size() for p in moving.values())
    block = max(1, min(64, GRADIENTS // size))
    for some_images, some_labels in zip(images.split(block), labels.split(block), strict=True):
        yield gradient(moving, some_images, some_labels)
