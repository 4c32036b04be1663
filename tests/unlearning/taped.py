"""A stand-in for CUDA graphs on a machine without a GPU: operations are taped, and done again.

As with a graph no Python runs in a replay: each operation is done again on the tensors that it was
recorded with, and what it gives is written where it was written then. What was recorded was not
computed. It is as strict as any torch from 2.6 on: to have the processor wait for the device while
something is recorded is an error that nothing is done about, and so is a graph that goes on after
one of the same lane has ended.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from unlearning import graphs

ATEN = torch.ops.aten
WAITS = {
    ATEN._local_scalar_dense.default,
    ATEN.nonzero.default,
    ATEN.masked_select.default,
    ATEN.equal.default,
    ATEN._unique2.default,
    ATEN.bincount.default,
}
INDEXING = {ATEN.index.Tensor, ATEN.index_put.default, ATEN.index_put_.default}


def tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, Tensor)]


class Tape(TorchDispatchMode):
    """Tapes all operations below autograd and vmap."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.done: list[tuple[Any, Any, Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        masks = func in INDEXING and any(t.dtype == torch.bool for t in tensors(args[1]))
        assert func not in WAITS, f"{func} while something is recorded"
        assert not masks or len(args) > 2, f"{func} by a mask while something is recorded"
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

    def capture(self, run: Callable[[], Any], lane: Lane) -> Any:
        graphs.rehearse(run, lane.device)
        tape, number = Tape(), len(self.replays)
        with tape:
            outputs = run()
        self.replays.append(0)
        ended = lane.ended
        with torch.no_grad():
            for *_, own in tape.made():
                for _, tensor in own:
                    if tensor.is_floating_point():
                        tensor.fill_(torch.nan)

        def replay() -> None:
            assert lane.ended == ended, "another graph of its lane has ended"
            self.replays[number] += 1
            tape.replay()

        weakref.finalize(replay, lane.one_ended)
        return outputs, replay


class Lane:
    """A lane without a stream, which holds that whoever works on it has others wait.

    Attributes:
        ended: how many graphs that were recorded on it have ended.
    """

    def __init__(self, device: torch.device) -> None:
        self.device, self.open, self.ended = device, False, 0

    def one_ended(self) -> None:
        self.ended += 1

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
