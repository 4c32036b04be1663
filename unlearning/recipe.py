"""How a base model is trained, as plain values: the command line reads them without torch."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from unlearning.errors import UserError

OPTIMIZERS = ("adam", "sgd")
SEEDS = 2**63  # from 0


@dataclass(frozen=True)
class Recipe:
    """The settings of a training; see `training` for what is done with them.

    Attributes:
        epochs: passes over the data. lr: the first learning rate. batch_size: samples a step.
        optimizer: one of OPTIMIZERS. seed: of the first weights and the order of the batches.

    Raises UserError for a value out of range.
    """

    epochs: int = 30
    lr: float = 2e-3
    batch_size: int = 64
    optimizer: str = "adam"
    seed: int = 0

    def __post_init__(self) -> None:
        at_least_one = min(self.epochs, self.batch_size) >= 1
        if not at_least_one or not 0 < self.lr < math.inf or not 0 <= self.seed < SEEDS:
            raise UserError(
                f"epochs={self.epochs}, batch size={self.batch_size}, lr={self.lr}, "
                f"seed={self.seed}: the first three must be above zero and finite, the seed at "
                "least zero and below 2^63"
            )
        if self.optimizer not in OPTIMIZERS:
            raise UserError(
                f"unknown optimizer '{self.optimizer}': choose {' or '.join(OPTIMIZERS)}"
            )

    def with_seed(self, further: int) -> Recipe:
        """The same recipe with `further` added to its seed; after the largest seed comes 0."""
        return dataclasses.replace(self, seed=(self.seed + further) % SEEDS)
