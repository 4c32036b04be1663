"""What unlearning came to: how each member ended, with which weights and after how many steps."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


class Status(StrEnum):
    """How the unlearning of a member ended."""

    FLIPPED = "flipped"  # the prediction of the forget sample changed
    REWOUND = "rewound"  # it changed, but the weights of an earlier step are kept
    AT_REFERENCE = "at_reference"  # the log-odds of its label fell to those asked for
    NOTHING_TO_FORGET = "nothing_to_forget"  # they were there before the first step
    MAX_STEPS = "max_steps"  # none of this came about within the budget of steps
    UNCHANGED = "unchanged"  # nor did a single bit of the weights that are kept
    NON_FINITE = "non_finite"  # a step gave infinity or NaN; the weights before it are kept
    ALREADY_WRONG = "already_wrong"  # the base model misclassifies the sample: nothing was run


ARRIVED = (Status.FLIPPED, Status.AT_REFERENCE)  # ways to end where it was to end
UNTIL_REFERENCE = (Status.AT_REFERENCE, Status.NOTHING_TO_FORGET)  # to stand there in the end
FLIPPED = (Status.FLIPPED, Status.REWOUND)  # ways to end in which the prediction changed


@dataclass(frozen=True)
class Unlearned:
    """The results of K members.

    The weights are on the device of the base model, all other tensors in main memory.

    Attributes:
        params: unlearned parameters by name, (K, ...) each.
        buffers: the buffers that the algorithm changes, by name, (K, ...) each.
        status: K statuses.
        steps: (K,) int64, steps taken.
        kept: (K,) int64, the step whose weights are kept; the last one taken, unless the algorithm
            goes back to an earlier one.
        elapsed_s: (K,) float64, seconds: the wall time of a step divided by the number of members
            that took it together, summed over a member's steps.
        forget_prob, forget_loss: (K, max_steps + 1) float64, p(x_f) and CE(x_f) before the first
            step and after each; NaN past a member's last step.
        moved: (K,) bool, whether a bit of the weights differs from the base model's.
        details: numbers that the algorithm reports, by name, (K,) each.
        is_exact: whether the algorithm gives models that never saw their sample.
    """

    params: dict[str, Tensor]
    buffers: dict[str, Tensor]
    status: list[Status]
    steps: Tensor
    kept: Tensor
    elapsed_s: Tensor
    forget_prob: Tensor
    forget_loss: Tensor
    moved: Tensor
    details: dict[str, Tensor]
    is_exact: bool = False

    def cpu(self) -> Unlearned:
        """The same results with the weights in main memory."""
        return dataclasses.replace(
            self,
            params={name: stacked.cpu() for name, stacked in self.params.items()},
            buffers={name: stacked.cpu() for name, stacked in self.buffers.items()},
        )

    def state_of(self, member: int) -> dict[str, Tensor]:
        """The unlearned parameters of one member, and the buffers that changed."""
        return {name: stacked[member] for name, stacked in (self.params | self.buffers).items()}
