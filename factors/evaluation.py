"""The evaluation of unlearned models: one pass over the data, of which every factor has a part."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from unlearning.base_model import BLOCK, BaseModel, Model, logits, outputs
from unlearning.losses import log_prob, log_prob_of_models, wide
from unlearning.outcome import Status, Unlearned


@dataclass(frozen=True)
class Chunk:
    """K members of one algorithm, unlearned. What is asked of their outputs is computed once.

    A model that did not move has the outputs of the base model, without another pass.

    Attributes:
        positions: (K,), of the forget samples in the training split.
        seen: (R,), positions of the training samples that the models are evaluated on: all, or
            some that stand for them. Those that are not the forget sample are the remaining data.
    """

    base: BaseModel
    positions: Tensor
    unlearned: Unlearned
    seen: Tensor

    @cached_property
    def test_outputs(self) -> tuple[Tensor, Tensor]:
        """Penultimate features (K, N, D) and logits (K, N, classes) of the N test samples."""
        pairs = [
            self.base.test_outputs if model is None else outputs(model, self.base.test_inputs)
            for model in self._models
        ]
        features, logits = zip(*pairs, strict=True)
        return torch.stack(features), torch.stack(logits)

    @property
    def test_features(self) -> Tensor:
        """(K, N, D), of the N test samples."""
        return self.test_outputs[0]

    @property
    def test_logits(self) -> Tensor:
        """(K, N, classes), of the N test samples."""
        return self.test_outputs[1]

    @cached_property
    def train_logits(self) -> Tensor:
        """(K, R, classes), of the training samples seen."""
        inputs = self.base.train_inputs if self.sees_all else self.base.train_inputs[self.seen]
        found = [
            self.base.train_logits[self.seen] if model is None else logits(model, inputs)
            for model in self._models
        ]
        return torch.stack(found)

    @cached_property
    def forget_logits(self) -> Tensor:
        """(K, classes), of the forget samples; the same bits whatever was computed before."""
        found = []
        for member, model in enumerate(self._models):
            position = int(self.positions[member])
            if model is None:
                found.append(self.base.train_logits[position])
            elif self.sees_all and "train_logits" in vars(self):
                found.append(self.train_logits[member, position])
            else:
                begin = position - position % BLOCK if self.sees_all else position
                end = begin + (BLOCK if self.sees_all else 1)
                block = logits(model, self.base.train_inputs[begin:end])
                found.append(block[position - begin])
        return torch.stack(found)

    @property
    def _models(self) -> list[Model | None]:
        """The unlearned models; None for one that is the base model."""
        return [
            self.base.model.at(self.unlearned.state_of(member)) if moved else None
            for member, moved in enumerate(self.unlearned.moved.tolist())
        ]

    @property
    def sees_all(self) -> bool:
        """Whether the models are evaluated on all training samples."""
        return len(self.seen) == len(self.base.train_labels)

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

    @property
    def flipped_to(self) -> list[int | None]:
        """The class that each unlearned model takes its sample for (K), where the base model took
        it for another; None where it did not, or where there are no finite logits.
        """
        before = self.base.train_logits[self.positions].argmax(dim=-1)
        after = self.forget_logits.argmax(dim=-1)
        is_other = (after != before) & self.forget_logits.isfinite().all(dim=-1)
        pairs = zip(after.tolist(), is_other.tolist(), strict=True)
        return [label if other else None for label, other in pairs]

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
        counted = wide(values).masked_fill(~self.remaining_mask, 0.0)
        return counted.sum(dim=1) / self.remaining_mask.sum(dim=1)


def evaluate(base: BaseModel, positions: Tensor, unlearned: Unlearned, seen: Tensor) -> Chunk:
    """Pass the test set, the training samples at `seen` (R,) and x_f through each model once."""
    chunk = Chunk(base, positions, unlearned, seen)
    _ = chunk.test_outputs, chunk.train_logits, chunk.forget_logits
    return chunk


def not_kept() -> Tensor:
    """In place of the histories of some members: it has not the shape of any."""
    return torch.empty(0, dtype=torch.float64)
