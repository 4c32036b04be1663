"""How functions of one member are mapped over many: by vmap, or one member after the other."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor
from torch.func import vmap
from torch.utils import _pytree as pytree

Function = Callable[..., Any]


class Execution(StrEnum):
    """How the members of a chunk take their steps."""

    STACKED = "stacked"  # together, by vmap over their stacked parameters
    SEQUENTIAL = "sequential"  # one after the other; only the optimiser's part is taken together


def by_device(device: torch.device) -> Execution:
    """The execution where it is not worth measuring: on a CPU stacking gains little."""
    return Execution.SEQUENTIAL if device.type == "cpu" else Execution.STACKED


class Stopped(Exception):  # noqa: N818 - nothing went wrong
    """Unlearning was asked to stop, and did between two steps."""


def each(function: Function, execution: Execution) -> Function:
    """A function of one member as a function of many: every argument has a leading axis of K."""
    return _vmapped(function) if execution is Execution.STACKED else _one_by_one(function)


def gradients(loss: Function, execution: Execution) -> Function:
    """The gradients of K members' losses in their first argument, a mapping of stacked tensors.

    The other arguments have a leading axis of K as well. Buffers among them may be changed in
    place by the loss: the stacked ones change with them.
    """
    if execution is Execution.SEQUENTIAL:
        return _one_by_one(_of_one(loss))
    summed = _vmapped(loss)

    def of_the_sum(params: Mapping[str, Tensor], *rest: Any) -> dict[str, Tensor]:
        # The gradient of the sum of members' losses is each member's own.
        return _of_one(lambda *given: summed(*given).sum())(params, *rest)

    return of_the_sum


def stacked_copies(tensor: Tensor, size: int, channels_last: bool = False) -> Tensor:
    """(...) to (size, ...), copies of the tensor; convolution weights in either memory format."""
    if tensor.ndim != 4 or not channels_last:
        return tensor.contiguous().expand(size, *tensor.shape).clone()
    last = tensor.permute(0, 2, 3, 1)
    return last.expand(size, *last.shape).clone().permute(0, 1, 4, 2, 3)


def _vmapped(function: Function) -> Function:
    """The function over the leading axis of all its arguments, by vmap."""
    # Of adaptive pooling to one pixel, which ResNets end with, on channels-last images: a call for
    # each member on a tensor of one number a channel, next to nothing beside the convolutions.
    warnings.filterwarnings("ignore", r"There is a performance drop .* aten::as_strided_\. ")
    return vmap(function)


def _one_by_one(function: Function) -> Function:
    """Map a function of one member over the leading axis of all its arguments, as vmap would."""

    def mapped(*stacked: Any) -> Any:
        size = len(pytree.tree_leaves(stacked)[0])
        results = [
            function(*pytree.tree_map(lambda part, k=k: part[k], stacked)) for k in range(size)
        ]
        return pytree.tree_map(lambda *parts: torch.stack(parts), *results)

    return mapped


def _of_one(loss: Function) -> Callable[..., dict[str, Tensor]]:
    """The gradient of one member's loss in its first argument, a mapping of tensors."""

    def gradient(params: Mapping[str, Tensor], *rest: Any) -> dict[str, Tensor]:
        leaves = {name: p.detach().requires_grad_() for name, p in params.items()}
        value = loss(leaves, *rest)
        found = torch.autograd.grad(value, list(leaves.values()), materialize_grads=True)
        return dict(zip(leaves, found, strict=True))

    return gradient
