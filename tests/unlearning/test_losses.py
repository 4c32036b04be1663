"""Losses against decimal arithmetic of fifty digits, for samples that a network is sure of."""

import copy
import math
from decimal import Decimal, getcontext

import numpy as np
import pytest
import torch
from torch import Tensor

from unlearning import algorithms, losses
from unlearning.algorithm import Forget, Retain, Stepwise
from unlearning.base_model import BaseModel
from unlearning.testing import small_base

getcontext().prec = 50
MARGINS = [0.0, 12.0, 80.0]


def exact(row: list[float]) -> list[Decimal]:
    """Probabilities of one row of logits."""
    powers = [Decimal(value).exp() for value in row]
    return [power / sum(powers, Decimal(0)) for power in powers]


def sure(margin: float, classes: int = 5) -> Tensor:
    """Logits in float32 whose first is higher than the others by about the margin."""
    rest = np.random.default_rng(int(margin)).normal(-margin, 0.5, classes - 1)
    return torch.tensor([[0.25, *rest]], dtype=torch.float32)


def close(value: float, expected: Decimal, relative: float = 1e-13) -> bool:
    return math.isclose(value, float(expected), rel_tol=relative, abs_tol=1e-300)


@pytest.mark.parametrize("margin", MARGINS)
def test_log_prob_and_its_gradient_do_not_cancel(margin: float) -> None:
    row = sure(margin)
    for label in range(row.shape[1]):
        logits = row.clone().requires_grad_()
        labels = torch.tensor([label])
        log_p = losses.log_prob(logits, labels)
        (gradient,) = torch.autograd.grad(losses.cross_entropy(logits, labels), logits)
        p = exact(row[0].tolist())
        rest = sum((value for k, value in enumerate(p) if k != label), Decimal(0))
        assert log_p.dtype == torch.float64
        if label == 0:  # the log of what is nearly one
            ratio = rest / p[0]
            series = (ratio**k * (-1) ** (k + 1) / k for k in range(1, 400))
            expected = -sum(series, Decimal(0)) if margin >= 3 else p[0].ln()
        else:
            expected = p[label].ln()
        assert close(log_p.item(), expected)
        for k, value in enumerate(gradient[0].tolist()):
            assert close(value, -rest if k == label else p[k], 1e-6)  # as float32 has it


@pytest.mark.parametrize("gap", MARGINS)
def test_prob_errors_do_not_cancel(gap: float) -> None:
    row = sure(gap)
    p = exact(row[0].tolist())
    for label in range(row.shape[1]):
        errors = losses.prob_errors(row, torch.tensor([label]))[0].tolist()
        others = sum((value for k, value in enumerate(p) if k != label), Decimal(0))
        for k, error in enumerate(errors):
            assert close(error, -others if k == label else p[k])


def test_margin_by_hand() -> None:
    logits = torch.tensor([[5.0, 2.0, -1.0], [5.0, 2.0, -1.0], [4.0, 4.0, 0.0]], requires_grad=True)
    margins = losses.margin(logits, torch.tensor([0, 2, 1]))
    assert margins.tolist() == [3.0, -6.0, 0.0]
    (gradient,) = torch.autograd.grad(margins.sum(), logits)
    assert gradient.tolist() == [[1, -1, 0], [-1, 0, 1], [-1, 1, 0]]


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_divergence(temperature: float) -> None:
    teacher, student = sure(12.0), sure(9.5)
    t, s = (
        exact([value / temperature for value in part[0].double().tolist()])
        for part in (teacher, student)
    )
    terms = (a * (a.ln() - b.ln()) for a, b in zip(t, s, strict=True))
    expected = sum(terms, Decimal(0))
    divergence = losses.divergence(teacher, student, temperature)
    assert close(divergence.item(), expected * Decimal(temperature) ** 2, 1e-10)
    moving = teacher.clone().requires_grad_()
    (at_teacher,) = torch.autograd.grad(losses.divergence(teacher, moving, temperature), moving)
    assert at_teacher.abs().max() < 1e-15


def test_losses_of_algorithms_are_wide() -> None:
    exact_one = small_base()
    base = BaseModel(copy.deepcopy(exact_one.network).float(), exact_one.dataset, exact_one.device)
    image, label, logits = base.train_inputs[0], base.train_labels[0], base.train_logits[0]
    uniform, target = torch.tensor(0.5), torch.tensor(-2.0, dtype=torch.float64)
    held_out_prob = base.held_out_prob[label]
    forget = Forget(image, label, logits, torch.tensor(0), uniform, held_out_prob, target)
    retain = Retain(
        base.train_inputs[None, :4], base.train_labels[None, :4], base.train_logits[None, :4]
    )
    for name in algorithms.names():
        algorithm = algorithms.get(name)()
        if isinstance(algorithm, Stepwise):
            state = algorithm.prepare(base.model, forget, algorithm.shared(base))
            for loss in algorithm.losses(1):
                assert loss(base.model, forget, retain, state).dtype == torch.float64, name
