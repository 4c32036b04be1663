"""SCRUB-R: SCRUB, rewound to where the sample looks like one that was held out."""

from typing import Any, Unpack

import torch
from torch import nn

from tests.oracles.algorithms import scrub
from tests.oracles.loops import Data, Result, Task, forget_logits

SETTINGS: list[dict[str, Any]] = [
    {"optimizer": "sgd", "lr": 8e-3, "temperature": 8.0, "alpha": 0.5},
    {"lr": 1e-3},  # some are flipped, some rewound, and some run out of steps
]


def held_out_prob(base: nn.Module, test: Data, label: int) -> float:
    """Mean of p(label | x) under the base over the test samples of class `label`."""
    probs = []
    for image, other in zip(*test, strict=True):
        if int(other) == label:
            logits = forget_logits(base, image).double()
            probs.append(float(torch.softmax(logits, dim=0)[label]))
    if not probs:
        raise ValueError(f"no test sample of class {label}")
    return sum(probs) / len(probs)


def unlearn(task: Task, **settings: Unpack[scrub.Settings]) -> Result:
    """SCRUB, rewound to the step whose forget probability is nearest to `held_out_prob`."""
    return rewound(task, held_out_prob(task.base, task.test, task.label), **settings)


def rewound(task: Task, aim: float, **settings: Unpack[scrub.Settings]) -> Result:
    """SCRUB, rewound to the step whose forget probability is nearest to the aim.

    SCRUB is run to its end, and then once more from the base to the chosen step, so `task.retain`
    has to give the same batch for the same step and slot. Where it flips, but the model of the
    chosen step has the base's class: status `rewound`.
    """
    result = scrub.unlearn(task, **settings)
    if result.status == "already_wrong" or task.target is not None:  # the last step is kept
        return result
    best = 0
    for step in range(1, result.steps + 1):
        distance = abs(result.forget_probs[step] - aim)
        if best == 0 or distance < abs(result.forget_probs[best] - aim):
            best = step
    result.details["rewind_step"] = best
    shorter: scrub.Settings = {**settings, "max_steps": best}
    result.model = scrub.unlearn(task, **shorter).model
    if result.status == "flipped":
        base_class = int(forget_logits(task.base, task.image).argmax())
        kept_class = int(forget_logits(result.model, task.image).argmax())
        result.status = "flipped" if kept_class != base_class else "rewound"
    return result
