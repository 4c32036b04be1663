"""What a factor family is: columns declared, and one function that computes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from unlearning.base_model import BaseModel, logits, outputs
from unlearning.engine import Status, Unlearned
from unlearning.losses import log_prob, log_prob_each, wide

Phase = Literal["pre", "post"]

PAPER = "Rizwan et al. 2024 (arXiv 2410.03043)"


@dataclass(frozen=True)
class Column:
    """One factor, under its name in SQL.

    Attributes:
        title: what tables and figures call it; the paper's name where the paper has it.
        harder: whether `high` or `low` values go with hard samples, in the paper's findings or,
            where it has none, by the factor's own idea.
        undefined: when the value is NULL, in words; empty where it never is.
        source: where the definition comes from, where it is not the paper's own.
        family, phase: filled in by the family.
    """

    name: str
    title: str
    unit: str
    harder: Literal["high", "low"]
    description: str
    undefined: str = ""
    source: str = PAPER
    family: str = ""
    phase: Phase = "post"

    @property
    def metric(self) -> str:
        """Its name in MLflow, whose charts are grouped by what is before the slash."""
        return self.name if self.family == "outcome" else f"{self.family}/{self.name}"


@dataclass(frozen=True)
class Chunk:
    """Attempts to unlearn K samples with one algorithm, and the one pass over all data of each.

    Attributes:
        positions: (K,), the forget samples' in the training split.
        seen: (R,), the positions of the training samples that stand for the remaining data, all
            or some; a member's own forget sample among them does not count.
        test_features: (K, N, D), test_logits: (K, N, classes), train_logits: (K, R, classes),
        forget_logits: (K, classes), of the unlearned models.
    """

    base: BaseModel
    positions: Tensor
    unlearned: Unlearned
    seen: Tensor
    test_features: Tensor
    test_logits: Tensor
    train_logits: Tensor
    forget_logits: Tensor

    @property
    def ran(self) -> Tensor:
        """(K,) bool: the members for which unlearning was run at all."""
        return torch.tensor([s is not Status.ALREADY_WRONG for s in self.unlearned.status])

    def change(self, values: Tensor) -> Tensor:
        """Differences or distances from the base model, (K,): 0 where nothing moved.

        Sums over a stack are taken in another order than those over the base model's outputs, so
        that equal outputs would come to a difference of rounding.
        """
        return values.where(self.unlearned.moved.to(values.device), 0.0)

    @property
    def train_labels(self) -> Tensor:
        """(R,), of the training samples seen."""
        return self.base.train_labels[self.seen]

    @cached_property
    def remaining(self) -> Tensor:
        """(K, R) bool: the training samples seen that are not the member's own forget sample."""
        return self.seen != self.positions[:, None]

    @cached_property
    def test_log_prob(self) -> Tensor:
        """(K, test samples) float64: log-probability of the true labels."""
        return log_prob_each(self.test_logits, self.base.test_labels)

    @cached_property
    def train_log_prob(self) -> Tensor:
        """(K, R) float64: log-probability of the true labels."""
        return log_prob_each(self.train_logits, self.train_labels)

    @cached_property
    def forget_log_prob(self) -> Tensor:
        """(K,) float64: log p(x_f) of each unlearned model."""
        labels = self.base.train_labels[self.positions]
        return log_prob(self.forget_logits[:, None], labels[:, None]).squeeze(1)

    @property
    def forget_prob(self) -> Tensor:
        """(K,) float64: p(x_f) of each unlearned model."""
        return self.forget_log_prob.exp()

    @cached_property
    def test_prob_diff(self) -> Tensor:
        """(K,) float64: mean p over the test set, before minus after."""
        before = log_prob(self.base.test_logits, self.base.test_labels).exp().mean()
        return self.change(before - self.test_log_prob.exp().mean(dim=1))

    @cached_property
    def forget_prob_diff(self) -> Tensor:
        """(K,) float64: p(x_f), before minus after."""
        before = log_prob(self.base.train_logits, self.base.train_labels).exp()
        return self.change(before[self.positions] - self.forget_prob)

    def over_remaining(self, values: Tensor) -> Tensor:
        """The mean over each member's remaining data: (K, R) to (K,) float64."""
        counted = values.double().masked_fill(~self.remaining, 0.0)
        return counted.sum(dim=1) / self.remaining.sum(dim=1)


def softmax_distance(a: Tensor, b: Tensor) -> Tensor:
    """Mean L2 distance of class probabilities: logits (..., N, classes) twice to (...) float64."""
    difference = torch.softmax(wide(a), dim=-1) - torch.softmax(wide(b), dim=-1)
    distance: Tensor = torch.linalg.vector_norm(difference, dim=-1).mean(dim=-1)
    return distance


def evaluate(base: BaseModel, positions: Tensor, unlearned: Unlearned, seen: Tensor) -> Chunk:
    """Pass the test set, what is seen of the training set and x_f through each model once.

    Models that did not move give what the base model gave, without another pass.
    """
    whole = len(seen) == len(base.train_labels)
    train_inputs = base.train_inputs if whole else base.train_inputs[seen]

    def of_member(k: int, position: int) -> tuple[Tensor, ...]:
        if not unlearned.moved[k]:
            of_train = base.train_logits
            return *base.test_outputs, of_train if whole else of_train[seen], of_train[position]
        model = base.model.at(unlearned.state_of(k))
        of_test, of_train = outputs(model, base.test_inputs), logits(model, train_inputs)
        own = base.train_inputs[position : position + 1]
        return *of_test, of_train, of_train[position] if whole else logits(model, own)[0]

    each = [of_member(k, position) for k, position in enumerate(positions.tolist())]
    test_features, test_logits, train_logits, forget_logits = map(
        torch.stack, zip(*each, strict=True)
    )
    return Chunk(
        base, positions, unlearned, seen, test_features, test_logits, train_logits, forget_logits
    )


Pre = Callable[[BaseModel, Tensor], Mapping[str, Tensor]]
Post = Callable[[Chunk], Mapping[str, Tensor]]


@dataclass(frozen=True)
class Family:
    """A family's columns and the function that computes them, one value a member, (K,) each.

    Exactly one of `pre` (base model, positions) and `post` (chunk) is given. NaN is undefined.

    Attributes:
        lasting: whether the `pre` values of a sample stay what they are. Those that come from the
            base model's companions do not: there may be more of them later.
    """

    name: str
    declared: tuple[Column, ...]
    pre: Pre | None = None
    post: Post | None = None
    lasting: bool = True

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
