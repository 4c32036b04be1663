"""Selective synaptic dampening by hand.

Pixels (1, 3) of class 0 with weights (1, 1; 0.5, 0): logits (4, 0.5). The squared gradient is
q^2 (1, 9; 1, 9). Importance: pixels (2, 0) of class 0, logits (2, 1), squared gradient
r^2 (4, 0; 4, 0), and pixels (0, 0) without a gradient: the mean is r^2 (2, 0; 2, 0).
"""

import pytest
import torch

from tests.oracles.algorithms import ssd
from tests.oracles.loops import Result, Task
from tests.oracles.small_models import linear, pixels, sigmoid, weights

WEIGHTS = [[1.0, 1.0], [0.5, 0.0]]
Q = 1 - sigmoid(3.5)
R = 1 - sigmoid(1)
FIRST_RATIO = Q**2 / (2 * R**2)
"""imp_f / imp_D of the first column, about 0.0059."""


def run_ssd(alpha: float, dampening: float) -> Result:
    """SSD on the model of the docstring above."""
    train = torch.stack([pixels(2.0, 0.0), pixels(0.0, 0.0)]), torch.tensor([0, 0])
    task = Task(linear(WEIGHTS), pixels(1.0, 3.0), 0, train=train)
    return ssd.unlearn(task, importance_samples=2, alpha=alpha, dampening=dampening)


def test_ssd_by_hand() -> None:
    # The second column has imp_D = 0: always selected, always multiplied by 0. The first is
    # selected if alpha is below its ratio, and multiplied by dampening / ratio.
    result = run_ssd(0.9 * FIRST_RATIO, 0.5 * FIRST_RATIO)
    assert result.details == {"selected_weights": 4}
    assert weights(result.model) == pytest.approx([0.5, 0.0, 0.25, 0.0])
    assert (result.status, result.steps) == ("max_steps", 1)
    assert result.forget_probs == pytest.approx([1 - Q, sigmoid(0.25)])


def test_ssd_selects_by_alpha_and_never_enlarges() -> None:
    half = run_ssd(1.1 * FIRST_RATIO, 0.5 * FIRST_RATIO)
    assert half.details == {"selected_weights": 2}
    assert weights(half.model) == pytest.approx([1.0, 0.0, 0.5, 0.0])
    capped = run_ssd(0.9 * FIRST_RATIO, 2 * FIRST_RATIO)
    assert capped.details == {"selected_weights": 4}
    assert weights(capped.model) == pytest.approx([1.0, 0.0, 0.5, 0.0])


def run_two_weight_ssd(weight: list[list[float]], alpha: float) -> Result:
    """SSD of a one-pixel model, the importance set being the forget sample itself."""
    image = pixels(1.0)
    task = Task(linear(weight), image, 0, train=(image.unsqueeze(0), torch.tensor([0])))
    return ssd.unlearn(task, importance_samples=1, alpha=alpha, dampening=0.1)


def test_ssd_selects_nothing_on_a_tie() -> None:
    # imp_f = imp_D: with alpha 1 none is strictly greater, and the base stays.
    result = run_two_weight_ssd([[1.0], [0.0]], 1.0)
    assert (result.status, result.steps) == ("max_steps", 1)
    assert result.details == {"selected_weights": 0}
    assert weights(result.model) == [1.0, 0.0]
    assert result.forget_probs == pytest.approx([sigmoid(1)] * 2)
    # With alpha below 1 all are, and both are multiplied by the dampening.
    result = run_two_weight_ssd([[1.0], [0.5]], 0.9)
    assert result.details == {"selected_weights": 2}
    assert weights(result.model) == pytest.approx([0.1, 0.05])


def test_ssd_flips_and_is_already_wrong() -> None:
    # Pixels (1, 1), logits (1, 0.8). Importance (0, 1) of class 0: the first column goes to 0, and
    # the logits are (0, 0.5) with a second column (0, 0.5) that a large dampening leaves alone.
    base = linear([[1.0, 0.0], [0.3, 0.5]])
    train = pixels(0.0, 1.0).unsqueeze(0), torch.tensor([0])
    result, wrong = (
        ssd.unlearn(
            Task(base, pixels(1.0, 1.0), label, train=train),
            importance_samples=1,
            alpha=0.1,
            dampening=1e9,
        )
        for label in (0, 1)
    )
    assert (result.status, result.steps, len(result.forget_probs)) == ("flipped", 1, 2)
    assert weights(result.model) == [0.0, 0.0, 0.0, 0.5]
    assert (wrong.status, wrong.steps, wrong.details) == ("already_wrong", 0, {})
