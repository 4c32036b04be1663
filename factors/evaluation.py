"""The evaluation of unlearned models: one pass over all data, of which every factor has a part."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from unlearning.base_model import BaseModel, logits, outputs
from unlearning.losses import log_prob, log_prob_of_models
from unlearning.outcome import Status, Unlearned


@dataclass(frozen=True)
class Chunk:
    """K members of one algorithm, unlearned and evaluated.

    Attributes:
        positions: (K,), of the forget samples in the training split.
        seen: (R,), positions of the training samples that the models were evaluated on: all, or
            some that stand for them. Those that are not the forget sample are the remaining data.
        test_features: (K, N, D), penultimate features of the N test samples.
        test_logits: (K, N, classes). train_logits: (K, R, classes), of the samples seen.
        forget_logits: (K, classes), of the forget samples.
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
        """Differences or distances from the base model, (K,), with an exact 0 where nothing moved.

        Sums over stacked outputs are not taken in the same order as those over the base model's,
        so the difference of equal outputs may otherwise be a rounding error.
        """
        return values.where(self.unlearned.moved.to(values.device), 0.0)

    @property
    def train_labels(self) -> Tensor:
        """(R,), of the training samples seen."""
        return self.base.train_labels[self.seen]

    @cached_property
    def remaining_mask(self) -> Tensor:
        """(K, R) bool: the training samples seen that are not the member's own forget sample."""
        return self.seen != self.positions[:, None]

    @cached_property
    def test_log_prob(self) -> Tensor:
        """(K, test samples) float64: log-probability of the true labels."""
        return log_prob_of_models(self.test_logits, self.base.test_labels)

    @cached_property
    def train_log_prob(self) -> Tensor:
        """(K, R) float64: log-probability of the true labels."""
        return log_prob_of_models(self.train_logits, self.train_labels)

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
        counted = values.double().masked_fill(~self.remaining_mask, 0.0)
        return counted.sum(dim=1) / self.remaining_mask.sum(dim=1)


def evaluate(base: BaseModel, positions: Tensor, unlearned: Unlearned, seen: Tensor) -> Chunk:
    """Pass the test set, the training samples at `seen` (R,) and x_f through each model once.

    A model that did not move has the outputs of the base model, without another pass.
    """
    sees_all = len(seen) == len(base.train_labels)
    train_inputs = base.train_inputs if sees_all else base.train_inputs[seen]

    def outputs_of(member: int, position: int) -> tuple[Tensor, ...]:
        """Features and logits of the test set, and logits of the training samples and x_f."""
        if not unlearned.moved[member]:
            return *base.test_outputs, base.train_logits[seen], base.train_logits[position]
        model = base.model.at(unlearned.state_of(member))
        features, test_logits = outputs(model, base.test_inputs)
        train_logits = logits(model, train_inputs)
        if sees_all:
            return features, test_logits, train_logits, train_logits[position]
        forget_logits = logits(model, base.train_inputs[position : position + 1])[0]
        return features, test_logits, train_logits, forget_logits

    each_member = [outputs_of(*member) for member in enumerate(positions.tolist())]
    stacked = (torch.stack(parts) for parts in zip(*each_member, strict=True))
    return Chunk(base, positions, unlearned, seen, *stacked)
