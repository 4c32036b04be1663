"""Selective synaptic dampening."""

from typing import Any

import torch

from tests.oracles.loops import Result, Task, run, sample_gradient, some_of, start, working_copy

SETTINGS: list[dict[str, Any]] = [
    {"importance_samples": 30},
    {"alpha": 2.0, "dampening": 0.5, "importance_samples": 30},
]


def unlearn(task: Task, *, importance_samples: int, alpha: float, dampening: float) -> Result:
    """In one step: where imp_f > alpha imp_D, theta <- theta min(dampening imp_D / imp_f, 1).

    imp_D is the mean of the squared per-sample gradients of some of the training data, imp_f the
    squared gradient of x_f.
    """
    result = start(task)
    if result.status:
        return result
    images, labels = some_of(task.train, importance_samples)
    probe = working_copy(task.base)
    forget = sample_gradient(probe, task.image, task.label)
    total = {name: torch.zeros_like(gradient) for name, gradient in forget.items()}
    m = len(labels)
    for i in range(m):
        for name, gradient in sample_gradient(probe, images[i], int(labels[i])).items():
            total[name] = total[name] + gradient**2
    importance_d = {name: value / m for name, value in total.items()}
    importance_f = {name: gradient**2 for name, gradient in forget.items()}
    selected = {name: importance_f[name] > alpha * importance_d[name] for name in forget}

    def one_step(step: int) -> None:
        with torch.no_grad():
            for name, parameter in result.model.named_parameters():
                chosen = selected[name]
                ratio = dampening * importance_d[name][chosen] / importance_f[name][chosen]
                parameter[chosen] = parameter[chosen] * torch.clamp(ratio, max=1.0)

    result.details["selected_weights"] = sum(int(mask.sum()) for mask in selected.values())
    return run(task, result, one_step, 1)
