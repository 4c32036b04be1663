"""What a machine has free of its memory, as far as this process may take it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import torch

CPU_SHARE = 1 / 2  # of the main memory that is free, for what is computed at a time
GPU_SHARE = 1 / 2  # of a GPU's memory, likewise
READ_AGAIN = ("inactive_file", "active_file", "slab_reclaimable")  # counted as taken, but is not
LEAST = 2**30  # bytes of main memory that are counted on where the system does not say


def budget(device: torch.device) -> float:
    """Bytes that all that is computed at a time may take together, where it runs on that device."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return GPU_SHARE * float(free + kept)
    return CPU_SHARE * free_memory()


def rule_out_chance(device: torch.device) -> None:
    """Have float32 be float32 on a GPU, and the same work give the same bits, in all of a process.

    By default torch rounds the factors of convolutions to TF32's 10 bits of mantissa on an NVIDIA
    GPU, as coarse as float16's, and takes kernels that add up in an order of their own.
    """
    plain_attention()
    if device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.deterministic = True


def plain_attention() -> None:
    """Have torch compute attention as products of matrices, in all of a process.

    Its other forms have no second derivative, some no gradient under `torch.func`, and on a GPU
    some add up in an order of their own.
    """
    torch.backends.mha.set_fastpath_enabled(False)
    for enable in ("flash", "mem_efficient", "cudnn"):
        getattr(torch.backends.cuda, f"enable_{enable}_sdp")(False)  # on a CPU too


def free_memory(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> float:
    """Bytes of main memory that are free, or hold files that can be read again.

    Where the process is in a group with a limit, as a container or a job of Slurm is, no more than
    is left of that. LEAST where the system does not say.
    """
    found = [*_of_machine(proc), *_of_groups(proc, groups)]
    return float(max(0, min(found))) if found else float(LEAST)


def is_told() -> bool:
    """Whether the system says what is free."""
    return any(True for _ in _of_machine(Path("/proc")))


def _of_machine(proc: Path) -> Iterator[int]:
    with suppress(OSError, ValueError, IndexError):
        for line in (proc / "meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                yield 1024 * int(line.split()[1])
                return
    with suppress(OSError, ValueError, AttributeError):  # all of it, where nothing better is known
        yield os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _of_groups(proc: Path, groups: Path) -> Iterator[int]:
    """What is left of each limit on memory that the process is under."""
    with suppress(OSError, ValueError):
        for line in (proc / "self" / "cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":
                root, limit, used, begins = groups, "memory.max", "memory.current", ""
            elif "memory" in controllers.split(","):
                root, limit = groups / "memory", "memory.limit_in_bytes"
                used, begins = "memory.usage_in_bytes", "total_"
            else:
                continue
            own = root / path.lstrip("/")
            for folder in (own, *own.parents):
                if folder.is_relative_to(root):
                    yield from _left(folder, limit, used, begins)


def _left(folder: Path, limit: str, used: str, begins: str) -> Iterator[int]:
    with suppress(OSError, ValueError):  # no limit, or none of ours to read
        most = int((folder / limit).read_text())
        lines = (folder / "memory.stat").read_text().splitlines()
        stat = dict(line.split(" ", 1) for line in lines)
        again = sum(int(stat.get(f"{begins}{name}", 0)) for name in READ_AGAIN)
        yield most - int((folder / used).read_text()) + again
