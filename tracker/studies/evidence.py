"""What tells whether a model still knows the samples that it was to forget, beside its flips."""

from __future__ import annotations

import torch
from torch import Tensor

from factors.distance import softmax_distance
from factors.outcome import best_attack
from unlearning.algorithms.retrain import left_out_models
from unlearning.base_model import BaseModel, Params, logits
from unlearning.execution import Execution
from unlearning.losses import log_prob, wide

GAP = "unlearning_gap"  # of `reference`


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


def reference(base: BaseModel, state: Params, requests: Tensor) -> dict[str, float]:
    """A model against one that was trained without the requests, which is trained here.

    `reference_test_accuracy`; `reference_requests_accuracy`, which is what a model that never saw
    them says of them; `unlearning_gap`, and `untouched_gap` of the base model: the distance of
    class probabilities on the test set, as the factor `unlearning_gap` has it.

    Args:
        state: as of `evidence`, or a state dict, which has tied weights under each of their names.

    Raises UserError where the base model's recipe is not known.
    """
    stacked = left_out_models(base, requests[None], Execution.SEQUENTIAL)
    other = base.model.at({name: part[0] for name, part in stacked.items()})
    once = {name: state[name] for name in base.state.keys() & state.keys()}
    test, own = logits(other, base.test_inputs), logits(base.model.at(once), base.test_inputs)
    asked = logits(other, base.train_inputs[requests]).argmax(dim=1)
    found = {
        "reference_test_accuracy": wide(test.argmax(dim=1) == base.test_labels).mean(),
        "reference_requests_accuracy": wide(asked == base.train_labels[requests]).mean(),
        GAP: softmax_distance(own, test),
        "untouched_gap": softmax_distance(base.test_logits, test),
    }
    return {name: float(value) for name, value in found.items()}
