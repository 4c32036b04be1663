"""SCRUB: a student of the base model, which forgets one sample of what it was taught."""

import copy
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from tests.oracles.loops import Result, Steps, Task, cross_entropy, make_optimizer, run, start

SETTINGS: list[dict[str, Any]] = [
    {"optimizer": "sgd", "lr": 8e-3, "temperature": 8.0, "alpha": 0.5},
    {"lr": 1e-3, "retain_batches": 2, "max_steps_forget": 3, "retain_batch": 16},
]


class Settings(Steps):
    """The hyper-parameters of SCRUB."""

    gamma: float
    alpha: float
    temperature: float
    retain_batches: int
    max_steps_forget: int


def teacher_kl(teacher: nn.Module, student: nn.Module, images: Tensor, t: float) -> Tensor:
    """t^2 times the mean over the batch of sum_c p_c (log p_c - log q_c).

    p = softmax(teacher / t), q = softmax(student / t).
    """
    with torch.no_grad():
        log_p = torch.log_softmax(teacher(images) / t, dim=1)
    log_q = torch.log_softmax(student(images) / t, dim=1)
    per_image = (log_p.exp() * (log_p - log_q)).sum(dim=1)
    return per_image.mean() * t**2


def unlearn(task: Task, **settings: Unpack[Settings]) -> Result:
    """Min updates first; all updates share one optimiser and the teacher is the base.

    One step: for each slot an optimiser step on gamma CE(retain) + alpha KL(teacher || student);
    then, while step <= max_steps_forget, an optimiser step on -KL(teacher || student) on x_f.
    """
    result = start(task)
    if result.status:
        return result
    model, temperature = result.model, settings["temperature"]
    teacher = copy.deepcopy(task.base)
    optimizer = make_optimizer(model, settings)

    def one_step(step: int) -> None:
        for slot in range(settings["retain_batches"]):
            images, labels = task.retain(step, slot)
            optimizer.zero_grad()
            retain_loss = cross_entropy(model(images), labels)
            distillation = teacher_kl(teacher, model, images, temperature)
            loss = settings["gamma"] * retain_loss + settings["alpha"] * distillation
            torch.autograd.backward(loss)
            optimizer.step()
        if step <= settings["max_steps_forget"]:
            optimizer.zero_grad()
            loss = -teacher_kl(teacher, model, task.image.unsqueeze(0), temperature)
            torch.autograd.backward(loss)
            optimizer.step()

    return run(task, result, one_step, settings["max_steps"])
