"""A stand-in for CUDA graphs on a machine without a GPU: operations are taped, and done again.

As with a graph no Python runs in a replay: each operation is done again on the tensors that it was
recorded with, and what it gives is written where it was written then. What was recorded was not
computed, and what would have the processor wait for the device cannot be recorded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from unlearning import graphs

WAITS = {
    torch.ops.aten._local_scalar_dense.default,
    torch.ops.aten.nonzero.default,
    torch.ops.aten.masked_select.default,
    torch.ops.aten.equal.default,
}


def tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, Tensor)]


class Tape(TorchDispatchMode):
    """Tapes all operations below autograd and vmap."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.done: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in WAITS:
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing")
        found = func(*args, **(kwargs or {}))
        self.done.append((func, args, kwargs or {}, found))
        return found

    def made(self) -> Iterator[tuple[Any, Any, Any, list[tuple[int, Tensor]]]]:
        """Each operation, with those of its results that lie in memory of their own."""
        for func, args, kwargs, found in self.done:
            given = {t.untyped_storage().data_ptr() for t in tensors((args, kwargs))}
            own = [
                (at, t)
                for at, t in enumerate(tensors(found))
                if t.untyped_storage().data_ptr() not in given
            ]
            yield func, args, kwargs, own

    @torch.no_grad()
    def replay(self) -> None:
        for func, args, kwargs, own in self.made():
            found = tensors(func(*args, **kwargs))
            for at, before in own:
                before.copy_(found[at])


class Taping:
    """How often each recording was replayed."""

    def __init__(self) -> None:
        self.replays: list[int] = []

    def capture(self, run: Callable[[], Any], device: torch.device, lane: Any = None) -> Any:
        run()
        tape, number = Tape(), len(self.replays)
        with tape:
            outputs = run()
        self.replays.append(0)
        with torch.no_grad():
            for *_, own in tape.made():
                for _, tensor in own:
                    if tensor.is_floating_point():
                        tensor.fill_(torch.nan)

        def replay() -> None:
            self.replays[number] += 1
            tape.replay()

        return outputs, replay


class Lane:
    """A lane without a stream, which holds that whoever works on it has others wait."""

    def __init__(self, device: torch.device) -> None:
        self.open = False

    def begin(self) -> None:
        assert not self.open
        self.open = True

    def end(self) -> None:
        assert self.open
        self.open = False

    @contextmanager
    def work(self) -> Iterator[None]:
        assert self.open
        yield


def install(monkeypatch: pytest.MonkeyPatch) -> Taping:
    """Have everything recorded that a GPU would have recorded."""
    taping = Taping()
    monkeypatch.setattr(graphs, "records", lambda device: True)
    monkeypatch.setattr(graphs, "capture", taping.capture)
    monkeypatch.setattr(graphs, "Lane", Lane)
    return taping
