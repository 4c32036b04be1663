"""In what numbers a network computes: its weights and inputs, and its evaluation."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from unlearning.errors import UserError


class EvalPrecision(StrEnum):
    """In what a network is evaluated; its last linear layer never in less than float32.

    Training and unlearning are in the precision of the weights, whatever this is.
    """

    SAME = "float32"  # as the weights are, of which float32 is the rule
    TF32 = "tf32"  # factors of 10 bits of mantissa, sums of 23: NVIDIA GPUs from Ampere on
    FLOAT16 = "float16"  # weights and activations of 10 bits, up to 65,504


class Precision(NamedTuple):
    """As text `float32`, `float64`, or `float32/float16` where evaluation is in another one."""

    weights: str = "float32"
    evaluation: EvalPrecision = EvalPrecision.SAME

    def __str__(self) -> str:
        """What runs are tagged with, and members' keys are made of."""
        same = self.evaluation is EvalPrecision.SAME
        return self.weights if same else f"{self.weights}/{self.evaluation}"

    @classmethod
    def parse(cls, text: str) -> Precision:
        """The precision of that name. Raises UserError."""
        if text not in map(str, CHOICES):  # from Python it may be anything
            raise UserError(f"precision is {text!r}: choose {', '.join(map(str, CHOICES))}")
        weights, _, evaluation = text.partition("/")
        return cls(weights, EvalPrecision(evaluation or EvalPrecision.SAME))

    @property
    def options(self) -> list[tuple[str, str]]:
        """The options that ask a command for it, with their values; none for float32."""
        options = [] if self.weights == "float32" else [("--precision", self.weights)]
        if self.evaluation is not EvalPrecision.SAME:
            options.append(("--eval-precision", str(self.evaluation)))
        return options


CHOICES = (*(Precision("float32", each) for each in EvalPrecision), Precision("float64"))
