"""Number of unlearning steps (NUS, NUE) and the time they took."""

from __future__ import annotations

from torch import Tensor

from factors.evaluation import Chunk
from factors.family import Column, Family


def cost(chunk: Chunk) -> dict[str, Tensor]:
    """Steps and seconds of each member."""
    return {"steps": chunk.unlearned.steps, "elapsed_s": chunk.unlearned.elapsed_s}


FAMILY = Family(
    name="cost",
    post=cost,
    is_logged=True,
    declared=(
        Column(
            "steps",
            "Epochs Elapsed in Steps (NUE)",
            unit="steps",
            harder="high",
            description="unlearning steps to the flip, or the budget; a step sees the sample once, "
            "as an epoch of the paper's does",
        ),
        Column(
            "elapsed_s",
            "Elapsed Time (NUE)",
            unit="s",
            harder="high",
            description="wall time of each step over the members then in the stack, summed",
        ),
    ),
)
