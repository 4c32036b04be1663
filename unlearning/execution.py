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


def make_ready(device: torch.device) -> None:
    """Have float32 be float32 on a GPU, and the same work give the same bits, in all of a process.

    What torch imports for its first optimiser is imported here: else those seconds would be counted
    as some sample's, trial's or training's.

    By default torch rounds the factors of convolutions to TF32's 10 bits of mantissa on an NVIDIA
    GPU, as coarse as float16's, and takes kernels that add up in an order of their own. Attention
    is computed as products of matrices: its other forms have no second derivative, some no gradient
    under `torch.func`, and on a GPU some add up in an order of their own.
    """
    torch.optim.SGD([torch.zeros(1)])
    torch.backends.mha.set_fastpath_enabled(False)
    for enable in ("flash", "mem_efficient", "cudnn"):
        getattr(torch.backends.cuda, f"enable_{enable}_sdp")(False)  # on a CPU too
    if device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.deterministic = True


def by_device(device: torch.device) -> Execution:
    """The execution where measuring is not worth it: one after the other on a CPU, else stacked.

    On a CPU stacking gains little.
    """
    return Execution.SEQUENTIAL if device.type == "cpu" else Execution.STACKED


def map_members(function: Function, execution: Execution) -> Function:
    """A function of one member as a function of K: every argument has a leading axis of K.

    Its results, tensors or mappings of them, are stacked likewise.
    """
    return vmapped(function) if execution is Execution.STACKED else one_by_one(function)


def gradients(loss: Function, execution: Execution) -> Callable[..., dict[str, Tensor]]:
    """A function that gives the gradients of K members' losses, as a mapping of stacked tensors.

    They are taken in the first argument of the loss, a mapping of tensors; all arguments of the
    function have a leading axis of K. A loss may change buffers among its arguments in place; the
    stacked ones are then changed.
    """
    if execution is Execution.SEQUENTIAL:
        return one_by_one(_gradient(loss))
    # A member's parameters are in its own loss only, so the gradient of the sum has them all.
    return _gradient(lambda *stacked: vmapped(loss)(*stacked).sum())


def stacked_copies(tensor: Tensor, size: int, channels_last: bool = False) -> Tensor:
    """Copies of a tensor, (...) to (size, ...).

    Args:
        channels_last: the memory format of each copy, where the tensor has four axes.
    """
    if tensor.ndim != 4 or not channels_last:
        return tensor.contiguous().expand(size, *tensor.shape).clone()
    last = tensor.permute(0, 2, 3, 1)
    return last.expand(size, *last.shape).clone().permute(0, 1, 4, 2, 3)


def vmapped(function: Function, in_dims: Any = 0) -> Function:
    """The function over the leading axis of its arguments, by vmap, without a warning of no use."""
    # A part of the adaptive pooling at the end of a ResNet, on channels-last images: vmap has no
    # rule for it and calls it once for each member, which takes little time beside convolutions.
    # The filter comes last, so that those of a user's own go before it.
    slow = r"There is a performance drop .* aten::as_strided_\. "
    warnings.filterwarnings("ignore", slow, append=True)
    return vmap(function, in_dims)


def one_by_one(function: Function, in_dims: Any = 0) -> Function:
    """Apply a function of one member to each in turn; arguments and results are as with vmap."""

    def mapped(*given: Any) -> Any:
        dims = in_dims if isinstance(in_dims, tuple) else (in_dims,) * len(given)
        stacked = [part for part, dim in zip(given, dims, strict=True) if dim is not None]
        size = len(pytree.tree_leaves(stacked)[0])

        def of(k: int) -> Any:
            own = iter(pytree.tree_map(lambda part: part[k], stacked))
            return function(
                *(part if dim is None else next(own) for part, dim in zip(given, dims, strict=True))
            )

        return pytree.tree_map(lambda *parts: torch.stack(parts), *map(of, range(size)))

    return mapped


def _gradient(loss: Function) -> Callable[..., dict[str, Tensor]]:
    """The gradient of a loss in its first argument, a mapping of tensors."""

    def gradient(params: Mapping[str, Tensor], *rest: Any) -> dict[str, Tensor]:
        leaves = {name: p.detach().requires_grad_() for name, p in params.items()}
        value = loss(leaves, *rest)
        parts = torch.autograd.grad(value, list(leaves.values()), materialize_grads=True)
        return dict(zip(leaves, parts, strict=True))

    return gradient
