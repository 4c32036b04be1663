"""How much memory members take: how many are computed at a time, and what if it runs out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from unlearning import algorithms
from unlearning.algorithm import Algorithm
from unlearning.base_model import BLOCK, BaseModel
from unlearning.errors import Failure, Raised, UserError, words_of
from unlearning.execution import Execution
from unlearning.memory import CPU_SHARE, Memory, activations, is_told, size_of

Item = TypeVar("Item")
Result = TypeVar("Result")

SURELY = 2  # times that what is counted may be more than what is taken
LARGEST_CHUNK = 32  # more members at a time are not faster on a CPU


def halved(
    compute: Callable[[list[Item]], list[Result]], members: list[Item], algorithm: str
) -> list[Result]:
    """What is computed of members. Where memory runs out, of one half after the other.

    Raises Failure if one member alone does not fit, and what other people's code raised as it is.
    """
    try:
        return compute(members)
    except (MemoryError, RuntimeError, Raised) as error:
        cause = error.__cause__ if isinstance(error, Raised) else error
        ran_out = isinstance(cause, (MemoryError, torch.cuda.OutOfMemoryError))
        if not ran_out and "can't allocate memory" not in words_of(cause or error):
            raise
        if len(members) == 1 and isinstance(error, Raised):
            raise
        if len(members) == 1:
            raise Failure(f"one {algorithm} member alone does not fit: {error}") from error
    half = len(members) // 2
    halves = members[:half], members[half:]
    return [result for some in halves for result in halved(compute, some, algorithm)]


def chunk_size(
    base: BaseModel,
    algorithm: Algorithm,
    execution: Execution,
    remaining_count: int | None,
    room: float,
) -> int:
    """How many members of an algorithm a worker computes at a time: one at least.

    As many as fit into its room, while they are unlearned and while they are evaluated.

    Args:
        room: bytes that the chunk of one worker may take.
    """
    phases = _phases(base, algorithm, execution, remaining_count)
    return max(1, min(LARGEST_CHUNK, *(phase.members_within(room) for phase in phases)))


def workers_within(
    base: BaseModel, chosen: Sequence[Algorithm], remaining_count: int | None, room: float
) -> tuple[int, float]:
    """How many workers a machine has room for that compute one member each, and the room of all.

    Args:
        room: bytes for them, and for what all members of the chosen algorithms share.

    Raises UserError where there is not even room for one.
    """
    left, largest, free = room, 0.0, room / CPU_SHARE
    for algorithm in chosen:
        with algorithms.REGISTRY.by(algorithm.name):
            shared = algorithm.shared_memory(base)
        phases = _phases(base, algorithm, Execution.SEQUENTIAL, remaining_count)
        one = max(phase.member + phase.once for phase in phases)
        if base.device.type == "cpu" and is_told() and shared + one / SURELY > free:
            raise UserError(
                f"one sample of {algorithm.name} takes up to {(shared + one) / 1e9:.2g} GB of "
                f"memory, {shared / 1e9:.2g} of them for what all samples share, and "
                f"{free / 1e9:.2g} GB are free: change its settings (see 'indelible "
                "algorithms'), use a larger machine, or leave it out"
            )
        left, largest = max(0.0, left - shared), max(largest, one)
    return max(1, int(left // largest)), left


def _phases(
    base: BaseModel, algorithm: Algorithm, execution: Execution, remaining_count: int | None
) -> tuple[Memory, Memory]:
    with algorithms.REGISTRY.by(algorithm.name):
        return algorithm.memory(base, execution), evaluation(base, remaining_count)


def evaluation(base: BaseModel, remaining_count: int | None) -> Memory:
    """An upper bound of the memory that the evaluation and the factors of a chunk take.

    Each member takes its weights twice, with the checkpoint that waits to be written; distances in
    float64, of all parameters and three times of the largest tensor; and its logits and features,
    each with two copies in float64. The chunk as a whole takes the activations of one block.
    """
    weights = size_of(base.state.values())
    entries = [p.numel() for p in base.params.values()]
    samples = len(base.some(remaining_count)) + len(base.test_labels)
    logits = samples * base.train_logits.shape[1] * (base.train_logits.element_size() + 2 * 8)
    features = base.test_features.numel() * (base.test_features.element_size() + 2 * 8)
    member = 2 * weights + 8 * sum(entries) + 3 * 8 * max(entries) + logits + features
    return Memory(member, once=3 * BLOCK * max(activations(base)))
