"""What a factor family is: columns declared, and one function that computes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from indelible.unlearning.base import BaseModel, logits
from indelible.unlearning.engine import Status, Unlearned

Phase = Literal["pre", "post"]


@dataclass(frozen=True)
class Column:
    """One factor: its metric name in MLflow, which is also its name in SQL.

    Attributes:
        title: what tables and figures call it; the paper's name where the paper has it.
        harder: whether `high` or `low` values go with hard samples, in the paper's findings or,
            where it has none, by the factor's own idea.
        undefined: when the value is NULL, in words; empty where it never is.
        family, phase: filled in by the family.
    """

    name: str
    title: str
    unit: str
    harder: Literal["high", "low"]
    description: str
    undefined: str = ""
    family: str = ""
    phase: Phase = "post"


@dataclass(frozen=True)
class Chunk:
    """Attempts to unlearn K samples with one algorithm, and the one pass over all data of each.

    Attributes:
        positions: (K,), the forget samples' in the training split.
        test_logits, train_logits: (K, N, classes), of the unlearned models.
    """

    base: BaseModel
    positions: Tensor
    unlearned: Unlearned
    test_logits: Tensor
    train_logits: Tensor

    @property
    def ran(self) -> Tensor:
        """(K,) bool: the members for which unlearning was run at all."""
        return torch.tensor([s is not Status.ALREADY_WRONG for s in self.unlearned.status])

    @cached_property
    def test_log_prob(self) -> Tensor:
        """(K, test samples) float64: log-probability of the true labels."""
        return log_prob(self.test_logits, self.base.test_labels)

    @cached_property
    def train_log_prob(self) -> Tensor:
        """(K, train samples) float64: log-probability of the true labels."""
        return log_prob(self.train_logits, self.base.train_labels)

    @property
    def forget_log_prob(self) -> Tensor:
        """(K,) float64: log p(x_f) of each unlearned model."""
        return self.of_forget(self.train_log_prob)

    @property
    def forget_prob(self) -> Tensor:
        """(K,) float64: p(x_f) of each unlearned model."""
        return self.forget_log_prob.exp()

    @cached_property
    def test_prob_diff(self) -> Tensor:
        """(K,) float64: mean p over the test set, before minus after."""
        before = log_prob(self.base.test_logits, self.base.test_labels).exp().mean()
        return before - self.test_log_prob.exp().mean(dim=1)

    @cached_property
    def forget_prob_diff(self) -> Tensor:
        """(K,) float64: p(x_f), before minus after."""
        before = log_prob(self.base.train_logits, self.base.train_labels).exp()
        return before[self.positions] - self.forget_prob

    def of_forget(self, values: Tensor) -> Tensor:
        """Each member's entry for its own forget sample: (K, train samples) to (K,)."""
        return values.gather(1, self.positions[:, None]).squeeze(1)


def log_prob(logits: Tensor, labels: Tensor) -> Tensor:
    """Log-probability of the true labels: (..., N, classes) and (N,) to (..., N) float64."""
    index = labels.expand(logits.shape[:-1]).unsqueeze(-1)
    return torch.log_softmax(logits.double(), dim=-1).gather(-1, index).squeeze(-1)


def evaluate(base: BaseModel, positions: Tensor, unlearned: Unlearned) -> Chunk:
    """Pass the test and the training set through each unlearned model once."""
    models = [base.model.at(unlearned.params_of(k)) for k in range(len(positions))]
    return Chunk(
        base=base,
        positions=positions,
        unlearned=unlearned,
        test_logits=torch.stack([logits(model, base.test_inputs) for model in models]),
        train_logits=torch.stack([logits(model, base.train_inputs) for model in models]),
    )


Pre = Callable[[BaseModel, Tensor], Mapping[str, Tensor]]
Post = Callable[[Chunk], Mapping[str, Tensor]]


@dataclass(frozen=True)
class Family:
    """A family's columns and the function that computes them, one value a member, (K,) each.

    Exactly one of `pre` (base model, positions) and `post` (chunk) is given. NaN is undefined.
    """

    name: str
    declared: tuple[Column, ...]
    pre: Pre | None = None
    post: Post | None = None

    @property
    def columns(self) -> list[Column]:
        """The declared columns with family and phase filled in."""
        phase: Phase = "post" if self.pre is None else "pre"
        return [replace(column, family=self.name, phase=phase) for column in self.declared]


def before(base: BaseModel, families: list[Family], positions: Tensor) -> dict[str, Tensor]:
    """All `pre` factors of the samples at `positions` (K,): float64 (K,) by name."""
    found: dict[str, Tensor] = {}
    for family in families:
        if family.pre is not None:
            found |= {n: v.to("cpu", torch.float64) for n, v in family.pre(base, positions).items()}
    return found


def after(chunk: Chunk, families: list[Family]) -> dict[str, Tensor]:
    """All `post` factors of a chunk: float64 (K,) by name, NaN where nothing was run."""
    found: dict[str, Tensor] = {}
    for family in families:
        if family.post is not None:
            for name, value in family.post(chunk).items():
                found[name] = value.to("cpu", torch.float64).where(chunk.ran, torch.nan)
    return found
