"""SCRUB and rewind: back to the step at which the sample looks like one never seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from unlearning.algorithm import Forget, State
from unlearning.algorithms.scrub import Scrub
from unlearning.base_model import BaseModel, Model


@dataclass(frozen=True, kw_only=True)
class ScrubAndRewind(Scrub):
    """SCRUB, keeping the step after which p(x_f) is nearest to that of samples never seen.

    That is the mean p of the test samples of its class under the base model; where the test set has
    none, the mean over the classes that it has. `steps` counts all that were taken; where the last
    of them flips and an earlier one is kept, the status is `rewound`.
    """

    name = "scrub_r"
    citation = "Kurmanji et al. 2023 (arXiv 2302.09880), SCRUB+R"
    logged = ("rewind_step",)
    takes_sets = False  # the step nearest for each of several samples is not one step

    def shared(self, base: BaseModel) -> State:
        """The mean p of a class's test samples, over the classes that have some."""
        return {"of_classes": base.held_out_prob.nanmean()}

    def prepare(self, model: Model, forget: Forget, shared: State) -> State:
        """The probability that p(x_f) should have."""
        of_class = forget.held_out_prob
        return {"held_out_prob": torch.where(of_class.isnan(), shared["of_classes"], of_class)}

    def regret(self, forget_prob: Tensor, state: State) -> Tensor:
        """How far p(x_f) is from that probability."""
        distance: Tensor = (forget_prob - state["held_out_prob"].cpu()).abs()
        return distance

    def report(self, state: State, steps: Tensor, kept: Tensor) -> Mapping[str, Tensor]:
        """The step that was kept."""
        return {"rewind_step": kept}


ALGORITHM = ScrubAndRewind
