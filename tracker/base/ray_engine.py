"""A Ray cluster computes: each piece of work is a Ray task, on a CPU or, if asked for, on a GPU.

Ray gives tasks to its nodes, those that join later too, and repeats a task whose process or node
died. Only this process writes into the store.
"""

from __future__ import annotations

import copy
import importlib
import os
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import factors
from tracker.base.workers import Clock, Compute, Pool, Results, Stop
from tracker.store.records import code_version
from unlearning import algorithms, architectures
from unlearning.base_model import BaseModel
from unlearning.errors import Failure, UserError
from unlearning.memory import CPU_SHARE, budget
from unlearning.naming import counted
from unlearning.registry import Registry

TRIES = 3  # times that a task may end the process that computes it
LOOK_S = 2.0  # between two looks at what the cluster has
REGISTRIES: Sequence[Registry[Any]] = algorithms.REGISTRY, factors.REGISTRY, architectures.REGISTRY


class RayEngine:
    """A cluster that this process is connected to, as a context.

    Args:
        address: of the cluster, if this process is not connected to one; `local` begins one on
            this machine, None takes RAY_ADDRESS or one that runs here, or else begins one.
        slots: tasks at a time at most. say: is told, a line each, how many there can be.

    Raises UserError where Ray is not installed or is of another version than the cluster's, Failure
    where the cluster does not answer.
    """

    def __init__(
        self,
        address: str | None = None,
        slots: int | None = None,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.slots, self.say, self.told = slots, say, ""
        self.sent: tuple[BaseModel, Any] | None = None
        for name in ("RAY_USAGE_STATS_ENABLED", "RAY_ENABLE_UV_RUN_RUNTIME_ENV"):
            os.environ.setdefault(name, "0")
        try:
            self.ray: Any = importlib.import_module("ray")
        except ImportError as error:
            raise UserError(
                "--engine ray needs Ray, which is not installed: pip install 'indelible[ray]'"
            ) from error
        self.is_ours = not self.ray.is_initialized()
        if self.is_ours:
            _connect(self.ray, address)
        self.head = getattr(self.ray.get_runtime_context(), "gcs_address", "auto")

    def __enter__(self) -> RayEngine:
        self.ray.util.register_serializer(BaseModel, serializer=self.send, deserializer=_arrived)
        self.stdout, sys.stdout = sys.stdout, _WithoutRay(sys.stdout)
        return self

    def __exit__(self, *_: object) -> None:
        self.ray.util.deregister_serializer(BaseModel)
        with redirect_stdout(sys.stderr):  # where Ray writes what it held back
            if self.is_ours:
                self.ray.shutdown()
        sys.stdout = self.stdout

    def send(self, base: BaseModel) -> Any:
        """The reference to a base model in the cluster, whose tensors a node's tasks share."""
        if self.sent is None or self.sent[0] is not base:
            how = {"serializer": _as_bytes, "deserializer": _as_tensor}
            self.ray.util.register_serializer(Tensor, **how)
            self.sent = base, self.ray.put(base.__getstate__())
            self.ray.util.deregister_serializer(Tensor)
        return self.sent[1]

    def nodes(self, base: BaseModel) -> list[tuple[int, float]]:
        """The CPUs of each node that has any, or GPUs for a base model on one; and its memory."""
        kind = "GPU" if base.device.type == "cuda" else "CPU"
        alive = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        return [(int(has[kind]), has.get("memory", 0)) for has in alive if has.get(kind, 0) >= 1]

    def count(self, base: BaseModel) -> int:
        """The most slots that one node has, one at least: they share its memory."""
        most = max((slots for slots, _ in self.nodes(base)), default=1)
        return min(most, self.slots or most)

    def room(self, base: BaseModel) -> float:
        """A share of what Ray says that the smallest node has, or of a GPU like that of here."""
        least = min((memory for _, memory in self.nodes(base)), default=0)
        is_known = least and base.device.type != "cuda"
        return CPU_SHARE * least if is_known else budget(base.device)

    @contextmanager
    def pool(self, base: BaseModel, stop: Stop, most: int | None = None) -> Iterator[Pool]:
        """Tasks with this base model; their results come in any order."""
        slots, running = self.count(base), dict[Any, Any]()  # pieces in hand by their references
        count = max(1, min(slots, most or slots))
        needs: dict[str, Any] = {"num_cpus": 1}
        if base.device.type == "cuda":  # by itself Ray begins a process for each task on a GPU
            needs = {"num_gpus": 1, "num_cpus": 0, "max_calls": 0}
        elif count < slots:
            needs["memory"] = int(self.room(base) / CPU_SHARE / count)
        task = self.ray.remote(max_retries=TRIES - 1, **needs)(_computed)
        try:
            yield Pool(count, partial(self._map, base, task.remote, running))
        except BaseException as error:
            stop.set()
            if not isinstance(error, Failure):  # else the head may be gone, which takes a minute
                for reference in running:  # what they compute is for nobody
                    self.ray.cancel(reference, force=True)
            raise

    def _map(
        self,
        base: BaseModel,
        begin: Callable[..., Any],
        running: dict[Any, Any],
        compute: Compute,
        work: Iterable[Any],
        clock: Clock | None = None,
    ) -> Results:
        """Raises Failure at the end where pieces ended the processes that computed them."""
        ray, counting, lost = self.ray, clock or Clock(), list[str]()
        self.send(base)
        own = [[who.name for who in each.asked_for().values()] for each in REGISTRIES]
        here = [*sys.path, str(Path.cwd())], own, code_version()
        job = ray.put((*here, [ray.put((base, compute, counting))]))
        todo, at_a_time, looked = iter(work), 0, -LOOK_S
        while True:
            if time.monotonic() - looked > LOOK_S:
                at_a_time, looked = self.look(base, len(running)), time.monotonic()
            for piece in islice(todo, max(0, at_a_time - len(running))):
                running[begin([job], piece)] = piece
            if not running:
                break
            for reference in ray.wait([*running], timeout=LOOK_S)[0]:
                piece = running.pop(reference)
                try:
                    result, seconds = ray.get(reference)
                except ray.exceptions.RayTaskError as error:
                    raise error.cause from None
                except ray.exceptions.RayError as error:
                    lost.append(f"{_named(piece)} ({str(error).strip().splitlines()[0]})")
                    continue
                for doing, spent in seconds.items():
                    counting.add(doing, spent)
                yield piece, result
        if lost:
            raise Failure(
                f"the process that computed it ended {TRIES} times, for {'; '.join(lost)}. All "
                "else is done; the same command tries these again"
            )

    def look(self, base: BaseModel, in_hand: int) -> int:
        """How many tasks the cluster is given at a time; what it has is said where that is new.

        Raises Failure where its head is gone: a minute later Ray would end this process.
        """
        _check_answers(
            self.head,
            f"the head of the Ray cluster, {self.head}, is gone, and with it "
            f"{counted(in_hand, 'piece')} of work in hand; all else is in the store: with another "
            "cluster the same command goes on",
        )
        slots = [each for each, _ in self.nodes(base)]
        there = min(sum(slots), self.slots or sum(slots))
        line = f"Ray: {counted(there, 'slot')} on {counted(min(len(slots), there), 'node')}"
        if line != self.told:
            self.say(line)
            self.told = line
        return self.slots or 2 * max(1, there)  # one that is computed and one that waits


class _WithoutRay:
    """A stream for our data, on which Ray writes pages about a process that died: it does not."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> Any:
        """Write what is not of Ray's threads."""
        is_rays = threading.current_thread().name.startswith("ray_")
        return len(text) if is_rays else self.stream.write(text)


def _named(piece: Any) -> str:
    """A piece of work, in words: an algorithm with sample ids, or a list of members or ids."""
    whose, some = (f"{piece[0].name} of ", piece[1]) if isinstance(piece, tuple) else ("", piece)
    ids = (getattr(getattr(one, "lacking", one), "sample", one) for one in some)
    return f"{whose}samples {', '.join(map(str, ids))}"


def _connect(ray: Any, address: str | None) -> None:
    """Connect this process to a cluster. Raises as RayEngine does."""
    shown = address or os.environ.get("RAY_ADDRESS") or "local"
    whose, ends = f"the Ray cluster at '{shown}'", signal.getsignal(signal.SIGTERM)
    _check_answers(
        shown,
        f"{whose} does not answer: give auto, HOST:PORT, ray://HOST:PORT, or local, which computes "
        "on this machine",
    )
    begins = {"include_dashboard": False} if address == "local" else {}
    try:
        ray.init(address, log_to_driver=False, logging_level="ERROR", **begins)
    except (OSError, RuntimeError, ValueError, AssertionError, ImportError) as error:
        said = " ".join(str(error).split())[:300]
        raise UserError(f"{whose} cannot be used: {said}") from error
    with suppress(TypeError, ValueError):  # it is not Python's, or this is not the main thread
        signal.signal(signal.SIGTERM, ends)  # Ray has put its own in place of it


def _check_answers(address: str, otherwise: str) -> None:
    """Raise Failure where nothing listens at HOST:PORT: Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        if address not in ("auto", "local"):
            socket.create_connection((host, port), timeout=10).close()
    except OSError as error:
        raise Failure(otherwise) from error


# What runs in the processes of the nodes


def _computed(job: list[Any], piece: Any) -> tuple[Any, dict[str, float]]:
    """What becomes of a piece of work, with the seconds that went by, by what was done."""
    torch.set_num_threads(1)
    base, compute, clock = _received(job[0])
    return compute(base, piece), clock.taken()


@lru_cache(maxsize=1)
def _received(reference: Any) -> tuple[BaseModel, Compute, Clock]:
    """What the tasks of one `map` share. Raises UserError where the driver has other code."""
    import ray

    path, own, version, (job,) = ray.get(reference)
    if version != code_version():
        raise UserError(
            f"Indelible is {version} in this process, and {code_version()} on the Ray node "
            f"{socket.gethostname()}: install the same on all nodes"
        )
    sys.path += [folder for folder in path if folder not in sys.path]
    for registry, names in zip(REGISTRIES, own, strict=True):
        for name in names:
            registry.get(name)
    received: tuple[Any, Any, Any] = ray.get(job)
    return received


@lru_cache(maxsize=1)
def _arrived(reference: Any) -> BaseModel:
    """The base model. Its weights are copies, all else is memory that is only read."""
    import ray

    base = object.__new__(BaseModel)
    base.__setstate__(ray.get(reference))
    base.network = copy.deepcopy(base.network)
    base.params = {name: p.detach() for name, p in base.network.named_parameters()}
    return base


def _as_bytes(tensor: Tensor) -> tuple[Any, ...]:
    """A tensor as bytes and a layout: strides stay, for last bits of a convolution follow them."""
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    size = 1 + sum((size - 1) * step for size, step in steps)
    flat = tensor.detach().as_strided((size,), (1,)) if tensor.numel() else tensor.new_zeros(1)
    layout = (tuple(tensor.shape), tensor.stride())
    return flat.cpu().view(torch.uint8).numpy(), tensor.dtype, layout, tensor.device.type


def _as_tensor(sent: tuple[Any, ...]) -> Tensor:
    flat, dtype, layout, device = sent
    with warnings.catch_warnings(action="ignore"):  # that it must not be written
        return torch.from_numpy(flat).view(dtype).as_strided(*layout).to(device)
