"""What tells whether a model still knows the samples that it was to forget, beside its flips."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from factors.outcome import best_attack
from unlearning.base_model import BaseModel, Params, logits
from unlearning.engine import SLACK
from unlearning.losses import log_odds, log_prob, wide

ROOM = 0.1  # standard deviations from the ends of the middle 90% to where a request is brought


def evidence(base: BaseModel, state: Params, requests: Tensor) -> dict[str, float]:
    """Numbers of a model on the base model's data, by name; one that is undefined is left out.

    - `test_accuracy`, and `remaining_accuracy` of the training samples without the requests;
    - `requests_accuracy`: of the requests;
    - `requests_loss`, and `classes_loss`: the mean cross-entropy of the requests, and that of the
      test samples of their classes, each class as often as it is among the requests;
    - `called_unseen`: the share of the requests that an attack by confidence says were never
      trained on, which is right for none before unlearning. For each class it is the one that
      tells best the remaining training samples from the test samples: see `factors.outcome`.

    Args:
        state: parameters and buffers by name. requests: (M,), positions in the training split.
    """
    model = base.model.at(state)
    train, test = logits(model, base.train_inputs), logits(model, base.test_inputs)
    of_train, of_test = log_prob(train, base.train_labels), log_prob(test, base.test_labels)
    stays = torch.ones(len(of_train), dtype=torch.bool, device=base.device)
    stays[requests] = False
    right = train.argmax(dim=1) == base.train_labels
    unseen, losses, labels = [], [], base.train_labels[requests]
    for label in labels.unique():
        own, of_class = requests[labels == label], of_test[base.test_labels == label]
        members = of_train[stays & (base.train_labels == label)]
        threshold, _ = best_attack(members.exp(), of_class.exp())
        unseen.append(torch.where(threshold.isnan(), torch.nan, of_train[own].exp() < threshold))
        losses.append(-of_class.mean().expand(len(own)))
    found = {
        "test_accuracy": wide(test.argmax(dim=1) == base.test_labels).mean(),
        "remaining_accuracy": wide(right[stays]).mean(),
        "requests_accuracy": wide(right[requests]).mean(),
        "requests_loss": -of_train[requests].mean(),
        "classes_loss": torch.cat(losses).nanmean(),
        "called_unseen": wide(torch.cat(unseen)).nanmean(),
    }
    return {name: float(value) for name, value in found.items() if not value.isnan()}


class Standing(NamedTuple):
    """Where requests stand among models that never saw them, (M,) float64 each.

    Attributes:
        limit: |z| within which 90% of such models are.
    """

    z: Tensor
    z_error: Tensor
    limit: Tensor


def standing(base: BaseModel, state: Params, requests: Tensor) -> Standing | None:
    """Where the requests stand in a model; None where the base model has no reference models.

    Args:
        state: parameters and buffers by name. requests: (M,), positions in the training split.
    """
    if (references := base.references) is None:
        return None
    said, at = logits(base.model.at(state), base.train_inputs[requests]), requests.cpu()
    phi = log_odds(said, base.train_labels[requests]).cpu().double()
    out = references.outside
    z = out.z(phi, at)
    return Standing(z, out.z_error(z, at), out.limit(at))


def goals(base: BaseModel, requests: Tensor) -> Tensor:
    """Log-odds to bring requests to, (M,) float64 in main memory.

    Those that the base model would have had it never seen them (`BaseModel.targets`), but within
    the middle 90% of models that did not, whatever its place among its kind.

    Raises UserError as `BaseModel.targets` does.
    """
    wanted, at = base.targets(requests), requests.cpu()
    assert base.references is not None  # else there were no targets
    out = base.references.outside
    most = (out.limit(at) - ROOM - SLACK / out.sd[at]).clamp(min=0)
    return out.mean[at] + out.sd[at] * out.z(wanted, at).clamp(-most, most)
