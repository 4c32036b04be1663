"""Work on a GPU that is recorded as CUDA graphs where it comes again and again.

What a step of one member computes is little, and a GPU would wait for the processor that starts its
hundreds of kernels one by one. A recorded function is replayed: its arguments are copied into those
that it was recorded with, all its kernels are started at once, and what they gave is copied out. No
Python runs in a replay, so that a function must depend on nothing but its arguments, as those of
algorithms do. One that asks for what was computed, or draws random numbers, runs as it is.

Source: https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs.
"""

from __future__ import annotations

import gc
import threading
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import cache
from itertools import cycle
from typing import Any, ClassVar
from weakref import WeakValueDictionary

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from unlearning.execution import Execution, Function, Mapper

LANES = 4  # members whose steps a GPU takes at a time, where they come one by one
OFTEN = 8  # calls that each lane takes: to record one lasts as long as a few
STREAMS = 32  # that torch has for a device; of more, one would be another one's
_ONE_AT_A_TIME = threading.Lock()  # a rule of torch's for captures of a process
_ATEN = torch.ops.aten
_COPIES = (_ATEN._to_copy.default, _ATEN.copy_.default)
_MASKING = (_ATEN.index_put.default, _ATEN.index_put_.default)


def records(device: torch.device) -> bool:
    """Whether work on a device is recorded."""
    return device.type == "cuda"


class Lane:
    """A stream of a GPU that no other lane has, on which work is done beside that of others.

    Graphs of one lane end together: with the first one that ends, some versions of torch, 2.13 for
    one, give back what cuBLAS keeps for the stream, where others would go on writing
    (pytorch#193402).

    Raises RuntimeError where no stream is left.
    """

    _taken: ClassVar[WeakValueDictionary[torch.cuda.Stream, Lane]] = WeakValueDictionary()
    _lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, device: torch.device) -> None:
        self.device = device
        with self._lock:
            free = (stream for stream in _streams(device) if stream not in self._taken)
            found = next(free, None)
            if found is None:
                raise RuntimeError(f"more than {STREAMS} streams of {device} are in use")
            self.stream, self._taken[found] = found, self

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


@cache
def _streams(device: torch.device) -> list[torch.cuda.Stream]:
    return [torch.cuda.Stream(device) for _ in range(STREAMS)]


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


def capture(run: Callable[[], Any], lane: Lane) -> tuple[Any, Callable[[], None]]:
    """Record the kernels of a run: its outputs, and what computes them anew in the same place.

    Raises RuntimeError where that cannot be done.
    """
    with (
        _ONE_AT_A_TIME,
        torch.cuda.device(lane.device),
        beside_each_other([lane]),
        lane.work(),
    ):
        rehearse(run, lane.device)
        lane.stream.synchronize()
        torch.cuda.empty_cache()  # what is only kept by others, a recording could not have
        graph = torch.cuda.CUDAGraph()
        with _no_garbage_collected():  # no graph may end now, which were left to the collector
            graph.capture_begin(capture_error_mode="thread_local")
            try:
                outputs = run()
            finally:
                graph.capture_end()
    return outputs, graph.replay


@contextmanager
def _no_garbage_collected() -> Iterator[None]:
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def rehearse(run: Callable[[], Any], device: torch.device) -> None:
    """Run what is to be recorded, so that libraries have set themselves up.

    Raises RuntimeError for what no graph does, and for random numbers, which graphs that run beside
    each other would not draw in order; they are there again afterwards. To find that while
    recording would be too late: up to 2.12 torch is then left believing for good that something is
    being recorded.
    """
    gpu = device.type == "cuda"
    with torch.random.fork_rng([device] if gpu else []):
        before = torch.cuda.get_rng_state(device) if gpu else torch.get_rng_state()
        with _Rehearsal(device):
            run()
        after = torch.cuda.get_rng_state(device) if gpu else torch.get_rng_state()
    if not torch.equal(before, after):
        raise RuntimeError("what draws random numbers cannot be recorded")


class _Rehearsal(TorchDispatchMode):
    """Raises RuntimeError where the processor looks at what the device computed, or adds to it."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.device = device

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if _looks(func, args) or self._is_elsewhere(func, args, found):
            raise RuntimeError(f"{func} cannot be recorded")
        return found

    def _is_elsewhere(self, func: Any, args: Any, found: Any) -> bool:
        """Whether data come from the processor, or go there; a single number may come."""
        given, made = _tensors(args), _tensors(found)
        if torch.Tag.nondeterministic_seeded in func.tags:
            return any(tensor.device.type != self.device.type for tensor in made)
        places = {t.device.type for t in (*given, *made) if t.ndim or func in _COPIES}
        return len(places) > 1


def _looks(func: Any, args: Any) -> bool:
    """Whether a value, or how much there is of something, is asked for."""
    if func is _ATEN.index.Tensor or func in _MASKING:
        a_number = func in _MASKING and args[2].numel() == 1
        return not a_number and any(part.dtype == torch.bool for part in _tensors(args[1]))
    tags = func.tags
    return torch.Tag.data_dependent_output in tags or torch.Tag.dynamic_output_shape in tags


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, Tensor)]


def give_memory_back() -> None:
    """Give a GPU's memory back that nothing uses: not while something is recorded."""
    if torch.cuda.is_available():
        with _ONE_AT_A_TIME, suppress(RuntimeError):  # up to torch 2.12, after a failed recording
            torch.cuda.empty_cache()


class Recorded:
    """A function of tensors, or of trees of them, that was recorded.

    Attributes:
        arguments, outputs: leaves that stay where they are; a replay reads those and writes these.
        given, found: the trees that they are the leaves of.
        lane: on which it was recorded, and which it keeps.

    Args:
        changes: tensors that the function changes beside; recording leaves them as they were.

    Raises RuntimeError for a function that cannot be recorded, or that writes into its arguments:
    what a replay would write into are copies.
    """

    def __init__(
        self,
        function: Function,
        arguments: tuple[Any, ...],
        lane: Lane,
        changes: Sequence[Tensor] = (),
    ) -> None:
        leaves, self.given = pytree.tree_flatten(arguments)
        self.arguments, self.lane = [leaf.detach().clone() for leaf in leaves], lane
        statics = pytree.tree_unflatten(self.arguments, self.given)
        before = [tensor.clone() for tensor in changes]
        try:
            outputs, self.replay = capture(lambda: function(*statics), lane)
        finally:
            copy_all(changes, before)
        if any(static._version for static in self.arguments):
            raise RuntimeError("a function that writes into its arguments cannot be recorded")
        leaves, self.found = pytree.tree_flatten(outputs)
        self.outputs = [leaf.detach() for leaf in leaves]

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
        self.lane: Lane | None = None
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
                self.lane = self.lane or Lane(self.device)
                self.recorded[key] = Recorded(self.function, arguments, self.lane, self.changes)
            except RuntimeError:
                self.records = False
                self.recorded.clear()
        return self.recorded.get(key)


class GraphMapper(Mapper):
    """Maps functions over the members of one chunk on a GPU; its graphs end with it.

    What comes once is not recorded: many a member flips at its first step, and there are losses
    that are others at each step.

    Stacked members are replayed with as many rows as were recorded: those of members that ended are
    computed for nothing, until half of them are such. One by one, a few go on beside each other,
    each by a graph of its own.
    """

    def __init__(self, execution: Execution, device: torch.device) -> None:
        super().__init__(execution)
        self.device, self.records = device, True
        self.lanes: list[Lane] = []
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
        before = self.calls[of]
        self.calls[of] += size
        try:
            if self.execution is Execution.STACKED:
                if before:
                    return self._together(of, function, arguments)
            elif lanes := min(LANES, size, before // OFTEN):
                return self._one_by_one(self.graphs[of], lanes, function, arguments)
        except RuntimeError:  # there is no graph of it, or no memory for one
            self.records = False
            self.graphs.clear()
        return None

    def _together(self, of: Hashable, function: Function, arguments: tuple[Any, ...]) -> Any:
        """K members at once, and with them those whose rows nobody needs any longer."""
        leaves = pytree.tree_leaves(arguments)
        size = len(leaves[0])
        if self.graphs[of] and not size <= len(self.graphs[of][0].arguments[0]) < 2 * size:
            self.graphs.clear()  # all of the lane; their memory goes first
        graphs = self.graphs[of]
        if not graphs:
            graphs.append(self._recorded(function, arguments, 0))
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
        while len(graphs) < count:
            graphs.append(self._recorded(function, first, len(graphs)))
        results = [rows_like(output, len(leaves[0])) for output in graphs[0].outputs]
        with beside_each_other(self.lanes[: len(graphs)]) as lanes:
            turns = cycle(zip(lanes, graphs, strict=True))
            for k, (lane, graph) in zip(range(len(leaves[0])), turns, strict=False):
                with lane.work():
                    copy_all(graph.arguments, [leaf[k] for leaf in leaves])
                    graph.replay()
                    copy_all([result[k] for result in results], graph.outputs)
        return pytree.tree_unflatten(results, graphs[0].found)

    def _recorded(self, function: Function, arguments: tuple[Any, ...], lane: int) -> Recorded:
        if lane == len(self.lanes):
            self.lanes.append(Lane(self.device))
        with torch.enable_grad():
            return Recorded(function, arguments, self.lanes[lane])


def mapper(execution: Execution, device: torch.device) -> Mapper:
    """What maps functions over the members of a chunk on a device."""
    return GraphMapper(execution, device) if records(device) else Mapper(execution)


def aside(device: torch.device) -> AbstractContextManager[None]:
    """A context for copies that wait for what was asked of a device before this call, and no more.

    What others ask of it before the context is entered, they do not wait for, as long as there is a
    stream for them.
    """
    if records(device):
        with suppress(RuntimeError):
            lane = Lane(device)
            lane.begin()
            return lane.work()
    return nullcontext()


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
