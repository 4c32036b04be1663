"""Work on a GPU that is recorded as CUDA graphs where it comes again and again.

What a step of one member computes is little, and a GPU would wait for the processor that starts its
hundreds of kernels one by one. A recorded function is replayed: its arguments are copied into those
that it was recorded with, all its kernels are started at once, and what they gave is copied out. No
Python runs in a replay, so that a function must depend on nothing but its arguments, as those of
algorithms do. One that asks for what was computed cannot be recorded and runs as it is.

Source: https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import cycle
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from unlearning.execution import Execution, Function, Mapper

LANES = 4  # members whose steps a GPU takes at a time, where they come one by one
OFTEN = 8  # calls that each lane takes: to record one lasts as long as a few
_ONE_AT_A_TIME = threading.Lock()  # a rule of torch's for captures of a process


def records(device: torch.device) -> bool:
    """Whether work on a device is recorded."""
    return device.type == "cuda"


def capture(
    run: Callable[[], Any], device: torch.device, lane: Lane | None = None
) -> tuple[Any, Callable[[], None]]:
    """Record the kernels of a run: its outputs, and what computes them anew in the same place.

    Args:
        lane: on which they will be, where others are at the same time: what libraries keep for a
            stream, its graphs share.
    """
    graph = torch.cuda.CUDAGraph()
    with _ONE_AT_A_TIME, torch.cuda.device(device):
        here, beside = torch.cuda.current_stream(), lane.stream if lane else torch.cuda.Stream()
        beside.wait_stream(here)
        with torch.cuda.stream(beside):
            run()  # so that libraries have set themselves up
            beside.synchronize()
            graph.capture_begin(capture_error_mode="thread_local")
            try:
                outputs = run()
            finally:
                graph.capture_end()
        here.wait_stream(beside)
    return outputs, graph.replay


class Recorded:
    """A function of tensors, or of trees of them, that was recorded.

    Attributes:
        arguments, outputs: leaves that stay where they are; a replay reads those and writes these.
        given, found: the trees that they are the leaves of.

    Args:
        changes: tensors that the function changes beside; recording leaves them as they were.

    Raises RuntimeError for a function that cannot be recorded.
    """

    def __init__(
        self,
        function: Function,
        arguments: tuple[Any, ...],
        device: torch.device,
        changes: Sequence[Tensor] = (),
        lane: Lane | None = None,
    ) -> None:
        leaves, self.given = pytree.tree_flatten(arguments)
        self.arguments = [leaf.detach().clone() for leaf in leaves]
        statics = pytree.tree_unflatten(self.arguments, self.given)
        before = [tensor.clone() for tensor in changes]
        outputs, self.replay = capture(lambda: function(*statics), device, lane)
        leaves, self.found = pytree.tree_flatten(outputs)
        self.outputs = [leaf.detach() for leaf in leaves]
        copy_all(changes, before)

    def __call__(self, *arguments: Any) -> Any:
        """What the function gives for these arguments; raises RuntimeError for another tree."""
        leaves, given = pytree.tree_flatten(arguments)
        if given != self.given:
            raise RuntimeError(f"recorded with {self.given}, called with {given}")
        copy_all(self.arguments, leaves)
        self.replay()
        return pytree.tree_unflatten([output.clone() for output in self.outputs], self.found)


class Repeated:
    """A function of tensors that is called many times: recorded on a GPU, for each of their shapes.

    Args:
        changes: tensors that it changes beside what it gives.
    """

    def __init__(
        self, function: Function, device: torch.device, changes: Iterable[Tensor] = ()
    ) -> None:
        self.function, self.device, self.changes = function, device, list(changes)
        self.records = records(device)
        self.recorded: dict[Hashable, Recorded | None] = {}

    def __call__(self, *arguments: Any) -> Any:
        """What the function gives: by its graph from the second time on."""
        graph = self._graph(arguments) if self.records else None
        return self.function(*arguments) if graph is None else graph(*arguments)

    def _graph(self, arguments: tuple[Any, ...]) -> Recorded | None:
        key = tuple((leaf.shape, leaf.dtype) for leaf in pytree.tree_leaves(arguments))
        if key not in self.recorded:
            self.recorded[key] = None
        elif self.recorded[key] is None:
            try:
                self.recorded[key] = Recorded(self.function, arguments, self.device, self.changes)
            except RuntimeError:
                self.records = False
                self.recorded.clear()
        return self.recorded.get(key)


class Lane:
    """A stream of a GPU, on which work is done beside that of other lanes."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.stream = device, torch.cuda.Stream(device)

    def begin(self) -> None:
        """Have its work wait for what was asked of the device so far."""
        self.stream.wait_stream(torch.cuda.current_stream(self.device))

    def end(self) -> None:
        """Have what is asked of the device from now on wait for its work."""
        torch.cuda.current_stream(self.device).wait_stream(self.stream)

    @contextmanager
    def work(self) -> Iterator[None]:
        """What is asked in this context is the lane's work."""
        with torch.cuda.stream(self.stream):
            yield


class GraphMapper(Mapper):
    """Maps functions over the members of one chunk on a GPU; its graphs end with it.

    Stacked members are replayed with as many rows as were recorded: those of members that ended are
    computed for nothing, until half of them are such. One by one, a few go on beside each other,
    each by a graph of its own.
    """

    def __init__(self, execution: Execution, device: torch.device, lanes: list[Lane]) -> None:
        super().__init__(execution)
        self.device, self.lanes, self.records = device, lanes, True
        self.calls: defaultdict[Hashable, int] = defaultdict(int)
        self.graphs: defaultdict[Hashable, list[Recorded]] = defaultdict(list)

    def over(self, function: Function, key: Hashable) -> Function:
        """The same as of a Mapper, recorded where it has a key."""
        plain = super().over(function, key)

        def mapped(*arguments: Any) -> Any:
            found = self._by_graph(key, function, arguments) if self.records else None
            return plain(*arguments) if found is None else found

        return plain if key is None else mapped

    @torch.no_grad()
    def _by_graph(
        self, key: Hashable, function: Function, arguments: tuple[Any, ...]
    ) -> Any | None:
        """What a graph gives; None where the function was not called often enough for one."""
        leaves, given = pytree.tree_flatten(arguments)
        shapes = tuple((leaf.shape[1:], leaf.dtype) for leaf in leaves)
        of, size = (key, str(given), shapes), len(leaves[0])
        try:
            if self.execution is Execution.STACKED:
                self.calls[of] += 1
                if self.calls[of] > 1:
                    return self._together(self.graphs[of], function, arguments)
            else:
                self.calls[of] += size
                lanes = min(LANES, size, self.calls[of] // OFTEN)
                if lanes:
                    return self._one_by_one(self.graphs[of], lanes, function, arguments)
        except RuntimeError:  # there is no graph of it, or no memory for one
            self.records = False
            self.graphs.clear()
        return None

    def _together(
        self, graphs: list[Recorded], function: Function, arguments: tuple[Any, ...]
    ) -> Any:
        """K members at once, and with them those whose rows nobody needs any longer."""
        leaves = pytree.tree_leaves(arguments)
        size = len(leaves[0])
        if not graphs or not size <= len(graphs[0].arguments[0]) < 2 * size:
            graphs.clear()  # its memory goes first
            with torch.enable_grad():
                graphs.append(Recorded(function, arguments, self.device))
        (graph,) = graphs
        copy_all([static[:size] for static in graph.arguments], leaves)
        graph.replay()
        return pytree.tree_unflatten([out[:size].clone() for out in graph.outputs], graph.found)

    def _one_by_one(
        self, graphs: list[Recorded], count: int, function: Function, arguments: tuple[Any, ...]
    ) -> Any:
        """One member after the other, so many beside each other."""
        leaves = pytree.tree_leaves(arguments)
        first = pytree.tree_map(lambda part: part[0], arguments)
        while len(self.lanes) < count:
            self.lanes.append(Lane(self.device))
        while len(graphs) < count:
            with torch.enable_grad():
                lane = self.lanes[len(graphs)]
                graphs.append(Recorded(function, first, self.device, lane=lane))
        results = [rows_like(output, len(leaves[0])) for output in graphs[0].outputs]
        with beside_each_other(self.lanes[: len(graphs)]) as lanes:
            turns = cycle(zip(lanes, graphs, strict=True))
            for k, (lane, graph) in zip(range(len(leaves[0])), turns, strict=False):
                with lane.work():
                    copy_all(graph.arguments, [leaf[k] for leaf in leaves])
                    graph.replay()
                    copy_all([result[k] for result in results], graph.outputs)
        return pytree.tree_unflatten(results, graphs[0].found)


def mapper(execution: Execution, device: torch.device, lanes: list[Lane] | None = None) -> Mapper:
    """What maps functions over the members of a chunk on a device.

    Args:
        lanes: those there are, to which further ones are added.
    """
    if not records(device):
        return Mapper(execution)
    return GraphMapper(execution, device, [] if lanes is None else lanes)


def aside(device: torch.device) -> AbstractContextManager[None]:
    """A context for copies that wait for what was asked of a device before this call, and no more.

    What others ask of it before the context is entered, they do not wait for.
    """
    if not records(device):
        return nullcontext()
    lane = Lane(device)
    lane.begin()
    return lane.work()


@contextmanager
def beside_each_other(lanes: Sequence[Lane]) -> Iterator[Sequence[Lane]]:
    """Lanes that wait for what was asked before, and for which waits what is asked afterwards."""
    for lane in lanes:
        lane.begin()
    try:
        yield lanes
    finally:
        for lane in lanes:
            lane.end()


@torch.no_grad()
def copy_all(into: Sequence[Tensor], given: Sequence[Tensor]) -> None:
    """Copy tensors into others of the same shapes, all of a type at once."""
    pairs: defaultdict[torch.dtype, tuple[list[Tensor], list[Tensor]]]
    pairs = defaultdict(lambda: ([], []))
    for target, source in zip(into, given, strict=True):
        targets, sources = pairs[target.dtype]
        targets.append(target)
        sources.append(source)
    for targets, sources in pairs.values():
        torch._foreach_copy_(targets, sources)


def rows_like(tensor: Tensor, size: int) -> Tensor:
    """Room for so many tensors like this one, (...) to (size, ...), each laid out as this one."""
    strides = torch.empty_like(tensor).stride()  # without gaps, and without rows that are one
    shape = (size, *tensor.shape)
    return torch.empty_strided(
        shape, (tensor.numel(), *strides), dtype=tensor.dtype, device=tensor.device
    )
