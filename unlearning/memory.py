"""How much memory a chunk of members takes, an upper bound, and how much a machine has free."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from unlearning.base_model import BaseModel
from unlearning.execution import Execution

BACKWARD = 2  # a backward pass needs the kept activations, and about as much for their gradients
CPU_SHARE = 1 / 2  # of the main memory that is free, for what is computed at a time
GPU_SHARE = 1 / 2  # of a GPU's memory, likewise
LEAST = 2**30  # bytes of main memory that are counted on where the system does not say
READ_AGAIN = ("inactive_file", "active_file", "slab_reclaimable")  # counted as taken, but is not


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
    return base.once("activations", lambda: _activations(base))


def _activations(base: BaseModel) -> list[int]:
    sizes: dict[int, int] = {}  # by address, so that what two layers keep counts once

    def keep(tensor: Tensor) -> Tensor:
        sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    params = {name: p.detach().requires_grad_() for name, p in base.params.items()}
    image = base.train_inputs[:1].clone()  # a storage of its own
    model = base.model.at(params)
    with torch.enable_grad(), saved_tensors_hooks(keep, lambda tensor: tensor):
        logits = model(image)
    weights = {tensor.untyped_storage().data_ptr() for tensor in base.state.values()}
    kept = [size for address, size in sizes.items() if address not in weights]
    del logits  # not before, or a freed address could be used a second time
    return kept


def budget(device: torch.device) -> float:
    """Bytes that all that is computed at a time may take together, where it runs on that device."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return GPU_SHARE * float(free + kept)
    return CPU_SHARE * free_memory()


def is_told() -> bool:
    """Whether the system says what is free."""
    return Path("/proc/meminfo").exists()


def free_memory(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> float:
    """Bytes of main memory that are free, or hold files that can be read again.

    Where the process is in a control group (version 2) with a limit, as a container or a job of
    Slurm is, no more than is left of that.
    """
    free: list[int] = []
    with suppress(OSError):
        lines = (proc / "meminfo").read_text().splitlines()
        free += [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
        path = (proc / "self" / "cgroup").read_text().splitlines()[-1].partition("::")[2]
        own = groups / path.lstrip("/")
        for folder in (own, *own.parents):
            with suppress(OSError, ValueError):  # no limit, or none of ours to read
                most, used = (int((folder / f"memory.{n}").read_text()) for n in ("max", "current"))
                stat = map(str.split, (folder / "memory.stat").read_text().splitlines())
                free.append(most - used + sum(int(n) for name, n in stat if name in READ_AGAIN))
    return float(max(0, min(free, default=LEAST)))
