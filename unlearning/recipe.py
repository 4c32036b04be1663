"""How a base model is trained, as plain values: the command line reads them without torch."""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from unlearning.errors import UserError

OPTIMIZERS = ("adam", "sgd")
SEEDS = 2**63  # from 0


@dataclass(frozen=True)
class Recipe:
    """The settings of a training; see `training` for what is done with them.

    Attributes:
        epochs: passes over the data. lr: the first learning rate. batch_size: samples a step.
        optimizer: one of OPTIMIZERS. seed: of the first weights and the order of the batches.
        mixed_precision: whether layers compute in bfloat16 and channels-last, where torch's
            autocast says that they may; weights, their updates and the loss stay as they are.

    Raises UserError for a value out of range.
    """

    epochs: int = 30
    lr: float = 2e-3
    batch_size: int = 64
    optimizer: str = "adam"
    seed: int = 0
    mixed_precision: bool = False

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

    @property
    def settings(self) -> dict[str, Any]:
        """What a base model is known by: what came later is left out where it is as before."""
        settings = dataclasses.asdict(self)
        if not self.mixed_precision:
            del settings["mixed_precision"]
        return settings

    @classmethod
    def read(cls, params: Mapping[str, str]) -> Recipe:
        """The recipe that a run's params tell."""
        types = typing.get_type_hints(cls)
        del types["mixed_precision"]
        given = {name: kind(params[name]) for name, kind in types.items()}
        return cls(**given, mixed_precision=params.get("mixed_precision") == "True")

    def with_seed(self, further: int) -> Recipe:
        """The same recipe with `further` added to its seed; after the largest seed comes 0."""
        return dataclasses.replace(self, seed=(self.seed + further) % SEEDS)
