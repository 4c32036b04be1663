"""How much memory a chunk of members takes: an upper bound, rarely twice as high as needed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from unlearning.execution import Execution

if TYPE_CHECKING:
    from unlearning.base_model import BaseModel

BACKWARD = 2  # a backward pass needs the kept activations, and about as much for their gradients


@dataclass(frozen=True)
class Memory:
    """Bytes that a chunk takes.

    Attributes:
        member: for each of its members. once: for all of them together.
    """

    member: float
    once: float = 0.0

    def __add__(self, other: Memory) -> Memory:
        return Memory(self.member + other.member, self.once + other.once)

    def members_within(self, budget: float) -> int:
        """How many members fit into `budget` bytes; zero or less where not even one does."""
        return int((budget - self.once) // self.member)


def at_work(size: float, execution: Execution) -> Memory:
    """`size` bytes for each member that computes at the same time: all of them, or one."""
    return Memory(size) if execution is Execution.STACKED else Memory(0.0, size)


def size_of(tensors: Iterable[Tensor]) -> int:
    """How many bytes the tensors have together."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def differentiated(base: BaseModel, images: int) -> int:
    """Bytes for computing the gradient of a loss over `images` images, without the gradient."""
    return BACKWARD * images * sum(activations(base))


def activations(base: BaseModel) -> list[int]:
    """Bytes of each tensor that a forward pass of one image keeps for the backward pass."""
    return base.once("activations", lambda: _kept_in_a_pass(base))


def _kept_in_a_pass(base: BaseModel) -> list[int]:
    sizes: dict[int, int] = {}  # by address, so that what two layers keep counts once

    def keep(tensor: Tensor) -> Tensor:
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    params = {name: p.detach().requires_grad_() for name, p in base.params.items()}
    image = base.train_inputs[:1].clone()  # a storage of its own
    with torch.enable_grad(), saved_tensors_hooks(keep, lambda tensor: tensor):
        logits = base.model.at(params)(image)
    weights = {tensor.untyped_storage().data_ptr() for tensor in base.state.values()}
    kept = [size for address, size in sizes.items() if address not in weights]
    del logits  # not before, or a freed address could be used a second time
    return kept
