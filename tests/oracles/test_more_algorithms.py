"""Cases worked out by hand that check the further references themselves.

The two-weight model is that of `test_oracles`: logits (w0 x, w1 x), at first w = (1, 0), with
d = w0 - w1 and p(class 0 | x) = sigmoid(d x). Every gradient is a multiple of u = (1, -1):
d CE(x, 0) / dw = -x (1 - sigmoid(d x)) u and d CE(x, 1) / dw = x sigmoid(d x) u.
"""

import copy
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from . import algorithms, more_algorithms
from .test_oracles import (
    convolutional,
    forget_sample,
    linear,
    pixels,
    random_retain,
    retain_two,
    scrub_move,
    sigmoid,
    two_weights,
    weights,
)

Q = 1 - sigmoid(1)
"""1 - p(class 0) of pixel 1 under the two-weight model."""


def retain_nan(step: int, slot: int) -> tuple[Tensor, Tensor]:
    """A batch that makes every step non-finite."""
    return pixels(math.nan).unsqueeze(0), torch.tensor([1])


def pair(d: float) -> list[float]:
    """Both weights at the difference d: they move by opposite amounts from (1, 0)."""
    return [(1 + d) / 2, (1 - d) / 2]


def class_one(*values: float) -> tuple[Tensor, Tensor]:
    """One-pixel images, all of class 1."""
    images = torch.stack([pixels(value) for value in values])
    return images, torch.ones(len(values), dtype=torch.long)


# ft, ft_l1, random_label


def run_ft(base: nn.Module, retain: algorithms.Retain, lr: float, steps: int) -> algorithms.Result:
    """Fine-tuning by plain SGD, pixel 1 of class 0 forgotten."""
    return more_algorithms.ft(
        base,
        pixels(1.0),
        0,
        retain,
        optimizer="sgd",
        lr=lr,
        momentum=0,
        weight_decay=0,
        max_steps=steps,
    )


def test_ft_by_hand() -> None:
    # Pixel 2 of class 1: gradient 2 sigmoid(2 d) u, so d <- d - 2 lr 2 sigmoid(2 d).
    # lr 0.2: 1 -> 0.29536 -> -0.21946, flipped at step 2.
    d1 = 1 - 0.8 * sigmoid(2)
    d2 = d1 - 0.8 * sigmoid(2 * d1)
    assert (d1, d2) == pytest.approx((0.29536, -0.21946), abs=1e-5)
    base = two_weights()
    result = run_ft(base, retain_two, 0.2, 9)
    assert (result.status, result.steps) == ("flipped", 2)
    assert weights(result.model) == pytest.approx(pair(d2))
    assert result.forget_probs == pytest.approx([sigmoid(1), sigmoid(d1), sigmoid(d2)])
    assert weights(base) == [1.0, 0.0]


def test_ft_means_over_the_batch_and_asks_for_slot_0_of_each_step() -> None:
    # Pixels 2 and 0 of class 1: the second has no gradient, so the mean is half of the first's.
    asked = []

    def retain(step: int, slot: int) -> tuple[Tensor, Tensor]:
        asked.append((step, slot))
        return class_one(2.0, 0.0)

    result = run_ft(two_weights(), retain, 0.2, 1)
    assert weights(result.model) == pytest.approx(pair(1 - 0.4 * sigmoid(2)))
    run_ft(two_weights(), retain, 0.0, 2)
    assert asked == [(1, 0), (1, 0), (2, 0)]


def test_ft_ends() -> None:
    assert run_ft(two_weights(), retain_two, 0.0, 3).status == "max_steps"
    wrong = run_ft(linear([[0.0], [1.0]]), retain_two, 0.1, 3)
    assert (wrong.status, wrong.steps, len(wrong.forget_probs)) == ("already_wrong", 0, 1)
    broken = run_ft(two_weights(), retain_nan, 0.1, 3)
    assert (broken.status, broken.steps) == ("non_finite", 0)
    assert weights(broken.model) == [1.0, 0.0]


def run_ft_l1(base: nn.Module, x: float, alpha: float, steps: int) -> algorithms.Result:
    """L1-sparse fine-tuning by plain SGD (lr 0.1) with a retain batch of pixel x of class 1."""
    return more_algorithms.ft_l1(
        base,
        pixels(1.0),
        0,
        lambda step, slot: class_one(x),
        alpha=alpha,
        optimizer="sgd",
        lr=0.1,
        momentum=0,
        weight_decay=0,
        max_steps=steps,
    )


def test_ft_l1_decays() -> None:
    # A retain image of pixel 0 has no gradient: what is left is the subgradient a_t sign(w).
    # alpha 1, four steps: a_t = 1, 3/4, 1/2, 1/4, their sum is 2.5. lr 0.1: (2, -1) loses 0.25 in
    # both magnitudes. A weight of 0 stays.
    result = run_ft_l1(linear([[2.0], [-1.0]]), 0.0, 1.0, 4)
    assert weights(result.model) == pytest.approx([1.75, -0.75])
    assert result.forget_probs == pytest.approx([sigmoid(d) for d in (3, 2.8, 2.65, 2.55, 2.5)])
    assert weights(run_ft_l1(two_weights(), 0.0, 1.0, 4).model) == pytest.approx([0.75, 0.0])


def test_ft_l1_adds_the_retain_loss() -> None:
    # First step of two, alpha 0.4: a_1 = 0.4, a_2 = 0.2. sign (1, 0) at first, then (1, 1).
    result = run_ft_l1(two_weights(), 2.0, 0.4, 2)
    w0 = 1 - 0.1 * (2 * sigmoid(2) + 0.4)
    w1 = 0.1 * 2 * sigmoid(2)
    move = 2 * sigmoid(2 * (w0 - w1))
    expected = [w0 - 0.1 * (move + 0.2), w1 - 0.1 * (0.2 - move)]
    assert weights(result.model) == pytest.approx(expected)


def test_l1_norm_counts_weights_and_biases() -> None:
    layer = nn.Linear(2, 1)
    layer.weight.data = torch.tensor([[1.0, -2.0]])
    layer.bias.data = torch.tensor([-0.5])
    assert float(more_algorithms.l1_norm(layer).detach()) == 3.5


def test_random_label_by_hand() -> None:
    # CE(x_f, 1) on pixel 1 has gradient sigmoid(d) u, the retain batch 2 sigmoid(2 d) u.
    # lr 0.05, momentum 0.5, two steps: v <- 0.5 v + g, d <- d - 0.1 v.
    d, v = 1.0, 0.0
    for _ in range(2):
        v = 0.5 * v + sigmoid(d) + 2 * sigmoid(2 * d)
        d -= 0.1 * v
    result = more_algorithms.random_label(
        two_weights(),
        pixels(1.0),
        0,
        retain_two,
        relabel_target=1,
        optimizer="sgd",
        lr=0.05,
        momentum=0.5,
        weight_decay=0,
        max_steps=2,
    )
    assert (result.status, result.steps) == ("max_steps", 2)
    assert weights(result.model) == pytest.approx(pair(d))


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_random_label_is_salun_with_every_weight(optimizer: str) -> None:
    base = convolutional()
    before = copy.deepcopy(base.state_dict())
    image, label = forget_sample(base)
    settings = {"optimizer": optimizer, "lr": 1e-3, "momentum": 0.9, "weight_decay": 5e-4}
    args = (base, image, label, random_retain)
    target = (label + 1) % 4
    ours = more_algorithms.random_label(*args, relabel_target=target, max_steps=3, **settings)  # type: ignore[arg-type]
    theirs = algorithms.salun(
        *args,
        relabel_target=target,
        mask_fraction=1.0,
        max_steps=3,
        **settings,  # type: ignore[arg-type]
    )
    assert ours.steps == theirs.steps > 0
    assert weights(ours.model) == weights(theirs.model)
    for name, value in base.state_dict().items():
        assert torch.equal(value, before[name]), name


# boundary_shrink

# Pixels (0.5, 0.5) have logits (1, 0.9, -0.5, -2.5): class 0, runner-up 1. The gradient of CE(x, 0)
# is p1 (w1 - w0) + p2 (w2 - w0) + p3 (w3 - w0) = p1 (-0.5, 0.3) + p2 (-4, 1) + p3 (-7, 0), of sign
# (-1, 1). At (0, 1), where epsilon = 0.5 leads, the logits are (0, 0.3, 1, 0): class 2.
FOUR_CLASSES = [[2.0, 0.0], [1.5, 0.3], [-2.0, 1.0], [-5.0, 0.0]]


def test_nearest_class_by_hand() -> None:
    base = linear(FOUR_CLASSES)
    image = pixels(0.5, 0.5)
    assert more_algorithms.nearest_class(base, image, 0, 0.5) == 2
    # Without the clamp epsilon = 2 would lead to (-1.5, 2.5) and logits (-3, -1.5, 5.5, 7.5).
    assert more_algorithms.nearest_class(base, image, 0, 2.0) == 2
    # At (0.49, 0.51): (0.98, 0.888, ...), still class 0, so the runner-up.
    assert more_algorithms.nearest_class(base, image, 0, 0.01) == 1
    assert torch.equal(image, pixels(0.5, 0.5))
    assert not image.requires_grad
    assert all(parameter.grad is None for parameter in base.parameters())


def test_nearest_class_takes_the_first_of_equal_runners_up() -> None:
    # One pixel 0.5, which epsilon 0.1 moves to 0.4: no flip. Logits (-0.5, -0.5, 0.5, -0.5).
    base = linear([[-1.0], [-1.0], [1.0], [-1.0]])
    assert more_algorithms.nearest_class(base, pixels(0.5), 2, 0.1) == 0
    # Logits (0.5, -0.5, -1, -0.5).
    base = linear([[1.0], [-1.0], [-2.0], [-1.0]])
    assert more_algorithms.nearest_class(base, pixels(0.5), 0, 0.1) == 1


def run_boundary(base: nn.Module, image: Tensor, epsilon: float, steps: int) -> algorithms.Result:
    """Boundary shrink of class 0 by plain SGD at lr 0.1."""
    return more_algorithms.boundary_shrink(
        base,
        image,
        0,
        epsilon=epsilon,
        optimizer="sgd",
        lr=0.1,
        momentum=0,
        weight_decay=0,
        max_steps=steps,
    )


@pytest.mark.parametrize(("epsilon", "target"), [(0.5, 2), (0.01, 1)])
def test_boundary_shrink_by_hand(epsilon: float, target: int) -> None:
    # The gradient of CE(x, y') for row k is (p_k - [k = y']) x. lr 0.1, at most three steps.
    x, w = np.array([0.5, 0.5]), np.array(FOUR_CLASSES)
    result = run_boundary(linear(FOUR_CLASSES), pixels(0.5, 0.5), epsilon, 3)
    for _ in range(result.steps):
        p = np.exp(w @ x) / np.exp(w @ x).sum()
        w = w - 0.1 * np.outer(p - np.eye(4)[target], x)
    assert result.details == {"relabel_target": target}
    assert weights(result.model) == pytest.approx(w.flatten().tolist())
    # A step moves logits k and y' together by 0.1 |x|^2 (p_k - p_y' + 1), |x|^2 = 0.5. Classes 0
    # and 1 are 0.1 apart, with p0 - p1 below 0.1: two steps of 0.05 and more. Class 2 is 1.5 away.
    expected = ("flipped", 2) if target == 1 else ("max_steps", 3)
    assert (result.status, result.steps) == expected


def test_boundary_shrink_already_wrong() -> None:
    result = run_boundary(linear([[0.0], [1.0]]), pixels(1.0), 0.1, 3)
    assert (result.status, result.steps, result.details) == ("already_wrong", 0, {})


# scrub_r


def test_held_out_prob_by_hand() -> None:
    # p(0) = sigmoid(x) of pixels 1 and 3, p(1) = 1 - sigmoid(2) of pixel 2.
    images = torch.stack([pixels(1.0), pixels(2.0), pixels(3.0)])
    labels = torch.tensor([0, 1, 0])
    expected = (sigmoid(1) + sigmoid(3)) / 2
    base = two_weights()
    assert more_algorithms.held_out_prob(base, images, labels, 0) == pytest.approx(expected)
    assert more_algorithms.held_out_prob(base, images, labels, 1) == pytest.approx(1 - sigmoid(2))
    with pytest.raises(ValueError, match="class 2"):
        more_algorithms.held_out_prob(base, images, labels, 2)


def run_scrub_r(
    retain: algorithms.Retain, held_out: float, lr: float, max_steps: int
) -> algorithms.Result:
    """SCRUB-R on the two-weight model, gamma 0.9, alpha 0.3, T 2, max updates in step 1 only."""
    return more_algorithms.scrub_r(
        two_weights(),
        pixels(1.0),
        0,
        retain,
        held_out,
        gamma=0.9,
        alpha=0.3,
        temperature=2.0,
        retain_batches=1,
        max_steps_forget=1,
        optimizer="sgd",
        lr=lr,
        momentum=0,
        weight_decay=0,
        max_steps=max_steps,
    )


def scrub_differences(lr: float, steps: int) -> list[float]:
    """d of the two-weight model before the first and after each of these SCRUB steps."""
    d = 1.0
    found = [d]
    for step in range(1, steps + 1):
        d -= 2 * lr * (0.9 * 2 * sigmoid(2 * d) + 0.3 * scrub_move(d, 2.0))
        if step == 1:
            d += 2 * lr * scrub_move(d, 1.0)
        found.append(d)
    return found


@pytest.mark.parametrize(("offset", "step"), [(-0.5, 4), (0.0, 2), (0.001, 2), (0.5, 1)])
def test_scrub_r_keeps_the_nearest_step(offset: float, step: int) -> None:
    # d falls in every step; the aim is p of step 2 plus an offset, or beyond one of the ends.
    ds = scrub_differences(0.02, 4)
    assert ds == sorted(ds, reverse=True)
    result = run_scrub_r(retain_two, sigmoid(ds[2]) + offset, 0.02, 4)
    assert result.details == {"rewind_step": step}
    assert (result.status, result.steps) == ("max_steps", 4)
    assert weights(result.model) == pytest.approx(pair(ds[step]))
    assert result.forget_probs == pytest.approx([sigmoid(d) for d in ds])
    assert result.forget_losses == pytest.approx([-math.log(sigmoid(d)) for d in ds])


def test_scrub_r_is_flipped_rewound_or_out_of_steps() -> None:
    # lr 0.1: SCRUB itself flips; with an aim of 0 the flipped model is kept, with 0.99 step 1.
    steps = run_scrub_r(retain_two, 0.4, 0.1, 20).steps
    ds = scrub_differences(0.1, steps)
    assert ds[-2] > 0 > ds[-1]
    assert steps > 1
    flipped = run_scrub_r(retain_two, 0.0, 0.1, 20)
    assert (flipped.status, flipped.steps) == ("flipped", steps)
    assert flipped.details == {"rewind_step": steps}
    assert weights(flipped.model) == pytest.approx(pair(ds[-1]))
    rewound = run_scrub_r(retain_two, 0.99, 0.1, 20)
    assert (rewound.status, rewound.steps) == ("rewound", steps)
    assert rewound.details == {"rewind_step": 1}
    assert weights(rewound.model) == pytest.approx(pair(ds[1]))
    # A step earlier there is no flip, whichever step is kept.
    for held_out, step in ((0.0, steps - 1), (0.99, 1)):
        spent = run_scrub_r(retain_two, held_out, 0.1, steps - 1)
        assert (spent.status, spent.steps) == ("max_steps", steps - 1)
        assert spent.details == {"rewind_step": step}


def test_scrub_r_takes_the_earliest_of_equal_steps() -> None:
    # At lr 0 all steps have the same probability.
    result = run_scrub_r(retain_two, 0.3, 0.0, 3)
    assert (result.status, result.steps, result.details) == ("max_steps", 3, {"rewind_step": 1})


def test_scrub_r_non_finite() -> None:
    def retain(step: int, slot: int) -> tuple[Tensor, Tensor]:
        return retain_two(step, slot) if step < 3 else retain_nan(step, slot)

    ds = scrub_differences(0.02, 2)
    late = run_scrub_r(retain, 0.99, 0.02, 9)
    assert (late.status, late.steps, late.details) == ("non_finite", 2, {"rewind_step": 1})
    assert weights(late.model) == pytest.approx(pair(ds[1]))
    assert len(late.forget_probs) == 3
    first = run_scrub_r(retain_nan, 0.99, 0.02, 9)
    assert (first.status, first.steps, first.details) == ("non_finite", 0, {"rewind_step": 0})
    assert weights(first.model) == [1.0, 0.0]


# influence


def run_influence(
    base: nn.Module, images: Tensor, labels: Tensor, layers: str, damping: float, alpha_max: float
) -> algorithms.Result:
    """Pixel 1 of class 0 forgotten, 10 training samples, alpha from 1, last layer "2."."""
    return more_algorithms.influence(
        base,
        pixels(1.0),
        0,
        images,
        labels,
        10,
        layers=layers,
        last="2.",
        damping=damping,
        alpha_start=1.0,
        alpha_max=alpha_max,
    )


def two_weight_direction(xs: tuple[float, ...], damping: float) -> float:
    """The direction's multiple of u for pixels xs of class 1.

    g_i = c_i u with c_i = x_i sigmoid(x_i), g_f = -Q u, and F u = (damping + 2 mean c_i^2) u.
    """
    c = [x * sigmoid(x) for x in xs]
    curvature = damping + 2 * sum(v * v for v in c) / len(c)
    return (-Q - sum(c) / len(c)) / curvature


def test_influence_in_closed_form() -> None:
    # d_t = 1 + 2 r alpha_t / 10 with r < 0, alpha_t = 1, 2, 4, ...; flipped where it is below 0.
    r = two_weight_direction((2.0, 0.5), 0.3)
    ds = [1.0] + [1 + 2 * r * 2**t / 10 for t in range(10)]
    flip = next(t for t in range(11) if ds[t] < 0)
    assert flip > 2
    base = two_weights()
    result = run_influence(base, *class_one(2.0, 0.5), "all", 0.3, 1e6)
    assert (result.status, result.steps) == ("flipped", flip)
    assert result.details == {"alpha": 2.0 ** (flip - 1)}
    assert weights(result.model) == pytest.approx(pair(ds[flip]))
    assert result.forget_probs == pytest.approx([sigmoid(d) for d in ds[: flip + 1]])
    assert weights(base) == [1.0, 0.0]
    assert all(parameter.grad is None for parameter in base.parameters())


def test_influence_is_ascent_on_the_forget_sample() -> None:
    # An influence image of pixel 0 has no gradient: F = 0.5 I and the direction is g_f / 0.5.
    result = run_influence(two_weights(), *class_one(0.0), "all", 0.5, 1.0)
    assert weights(result.model) == pytest.approx(pair(1 - 2 * Q / 0.5 / 10))
    assert result.forget_losses[1] > result.forget_losses[0]


@pytest.mark.parametrize(
    ("alpha_max", "steps", "alpha"), [(0.5, 0, 0.0), (1.0, 1, 1.0), (3.9, 2, 2.0), (4.0, 3, 4.0)]
)
def test_influence_ends_when_alpha_max_is_passed(
    alpha_max: float, steps: int, alpha: float
) -> None:
    # Damping 100: nothing flips. alpha_max itself is still used.
    r = two_weight_direction((2.0,), 100.0)
    result = run_influence(two_weights(), *class_one(2.0), "all", 100.0, alpha_max)
    assert (result.status, result.steps) == ("max_steps", steps)
    assert result.details == {"alpha": alpha}
    assert weights(result.model) == pytest.approx(pair(1 + 2 * r * alpha / 10))


def two_layers() -> nn.Module:
    """Hidden h = 0.5 x, logits (2 h, 0): the two-weight model's logits, in three weights."""
    hidden, out = nn.Linear(1, 1, bias=False), nn.Linear(1, 2, bias=False)
    hidden.weight.data = torch.tensor([[0.5]])
    out.weight.data = torch.tensor([[2.0], [0.0]])
    return nn.Sequential(nn.Flatten(), hidden, out).double().eval()


def test_influence_of_the_last_layer() -> None:
    # The last layer sees h = x / 2: g_f = -Q / 2 u, and pixel 2 of class 1 has sigmoid(2) u.
    g = sigmoid(2)
    r = (-Q / 2 - g) / (0.3 + 2 * g * g)
    result = run_influence(two_layers(), *class_one(2.0), "last", 0.3, 1.0)
    assert weights(result.model) == pytest.approx([0.5, 2 + r / 10, -r / 10])


def test_influence_of_all_layers() -> None:
    # Weights (a, w0, w1). CE(x, 0) with 1 - p = Q: d/da = -Q x (w0 - w1) = -2 Q, d/dw = -Q a x u.
    # Pixel 2 of class 1, p = sigmoid(2): d/da = p x (w0 - w1) = 4 p, d/dw = p a x u = p u.
    # Sherman-Morrison: (c I + g g')^-1 v = (v - g (g'v) / (c + g'g)) / c.
    p = sigmoid(2)
    g_forget = np.array([-2 * Q, -Q / 2, Q / 2])
    g = np.array([4 * p, p, -p])
    v = g_forget - g
    direction = (v - g * (g @ v) / (0.3 + g @ g)) / 0.3
    result = run_influence(two_layers(), *class_one(2.0), "all", 0.3, 1.0)
    expected = np.array([0.5, 2.0, 0.0]) + direction / 10
    assert weights(result.model) == pytest.approx(expected.tolist())


def test_influence_ends_without_a_step() -> None:
    wrong = run_influence(linear([[0.0], [1.0]]), *class_one(2.0), "all", 0.3, 9.0)
    assert (wrong.status, wrong.steps, wrong.details) == ("already_wrong", 0, {})
    broken = run_influence(two_weights(), *class_one(math.inf), "all", 0.3, 9.0)
    assert (broken.status, broken.steps, broken.details) == ("non_finite", 0, {"alpha": 0.0})
    assert weights(broken.model) == [1.0, 0.0]


@pytest.mark.parametrize("layers", ["last", "all"])
def test_influence_moves_the_chosen_layers_only(layers: str) -> None:
    base = convolutional()
    before = copy.deepcopy(base.state_dict())
    image, label = forget_sample(base)
    result = more_algorithms.influence(
        base,
        image,
        label,
        *random_retain(1, 0),
        5,
        layers=layers,
        last="4.",
        damping=10.0,
        alpha_start=0.1,
        alpha_max=0.2,
    )
    assert result.steps > 0
    for name, value in base.state_dict().items():
        assert torch.equal(value, before[name]), name
    parameters = [name for name, _ in base.named_parameters()]
    for name, value in result.model.state_dict().items():
        moves = name in parameters and (layers == "all" or name.startswith("4."))
        assert torch.equal(value, before[name]) != moves, name


# ssd

# Pixels (1, 3) of class 0 with weights (1, 1; 0.5, 0): logits (4, 0.5). The squared gradient is
# q^2 (1, 9; 1, 9). Importance: pixels (2, 0) of class 0, logits (2, 1), squared gradient
# r^2 (4, 0; 4, 0), and pixels (0, 0) without a gradient: the mean is r^2 (2, 0; 2, 0).
SSD_WEIGHTS = [[1.0, 1.0], [0.5, 0.0]]
SSD_Q = 1 - sigmoid(3.5)
SSD_R = 1 - sigmoid(1)
FIRST_RATIO = SSD_Q**2 / (2 * SSD_R**2)
"""imp_f / imp_D of the first column, about 0.0059."""


def run_ssd(alpha: float, dampening: float) -> algorithms.Result:
    """SSD on the model of the comment above."""
    images = torch.stack([pixels(2.0, 0.0), pixels(0.0, 0.0)])
    return more_algorithms.ssd(
        linear(SSD_WEIGHTS),
        pixels(1.0, 3.0),
        0,
        images,
        torch.tensor([0, 0]),
        alpha=alpha,
        dampening=dampening,
    )


def test_ssd_by_hand() -> None:
    # The second column has imp_D = 0: always selected, always multiplied by 0. The first is
    # selected if alpha is below its ratio, and multiplied by dampening / ratio.
    result = run_ssd(0.9 * FIRST_RATIO, 0.5 * FIRST_RATIO)
    assert result.details == {"selected_weights": 4}
    assert weights(result.model) == pytest.approx([0.5, 0.0, 0.25, 0.0])
    assert (result.status, result.steps) == ("max_steps", 1)
    assert result.forget_probs == pytest.approx([1 - SSD_Q, sigmoid(0.25)])


def test_ssd_selects_by_alpha_and_never_enlarges() -> None:
    half = run_ssd(1.1 * FIRST_RATIO, 0.5 * FIRST_RATIO)
    assert half.details == {"selected_weights": 2}
    assert weights(half.model) == pytest.approx([1.0, 0.0, 0.5, 0.0])
    capped = run_ssd(0.9 * FIRST_RATIO, 2 * FIRST_RATIO)
    assert capped.details == {"selected_weights": 4}
    assert weights(capped.model) == pytest.approx([1.0, 0.0, 0.5, 0.0])


def run_two_weight_ssd(weight: list[list[float]], alpha: float) -> algorithms.Result:
    """SSD of a one-pixel model, the importance set being the forget sample itself."""
    image = pixels(1.0)
    return more_algorithms.ssd(
        linear(weight), image, 0, image.unsqueeze(0), torch.tensor([0]), alpha=alpha, dampening=0.1
    )


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
    images, labels = pixels(0.0, 1.0).unsqueeze(0), torch.tensor([0])
    args = (base, pixels(1.0, 1.0))
    result = more_algorithms.ssd(*args, 0, images, labels, alpha=0.1, dampening=1e9)
    assert (result.status, result.steps, len(result.forget_probs)) == ("flipped", 1, 2)
    assert weights(result.model) == [0.0, 0.0, 0.0, 0.5]
    wrong = more_algorithms.ssd(*args, 1, images, labels, alpha=0.1, dampening=1e9)
    assert (wrong.status, wrong.steps, wrong.details) == ("already_wrong", 0, {})


# retrain and memorization


def run_retrain(optimizer: str, batch_size: int) -> nn.Module:
    """Two epochs at lr 0.1, seed 5, on pixels 1, nan, 2, 3 of classes 0, 0, 1, 0 without nan."""
    images = torch.stack([pixels(value) for value in (1.0, math.nan, 2.0, 3.0)])
    labels = torch.tensor([0, 0, 1, 0])
    return more_algorithms.retrain(
        two_weights,
        images,
        labels,
        1,
        epochs=2,
        lr=0.1,
        batch_size=batch_size,
        optimizer=optimizer,
        seed=5,
    )


def batches_of_pairs(batch_size: int) -> list[list[tuple[float, int]]]:
    """The (pixel, class) pairs of each batch of the two epochs, without the one that is left out.

    Of batches of one, one is empty in each epoch.
    """
    data = [(1.0, 0), None, (2.0, 1), (3.0, 0)]
    generator = torch.Generator().manual_seed(5)
    batches = []
    for _ in range(2):
        order = torch.randperm(4, generator=generator).tolist()
        chunks = [order[begin : begin + batch_size] for begin in range(0, 4, batch_size)]
        batches.extend([[pair for i in chunk if (pair := data[i])] for chunk in chunks])
    return batches


def gradient_along_u(d: float, batch: list[tuple[float, int]]) -> float:
    """The mean gradient's multiple of u, that is d CE / d w0: (p(0) - [class is 0]) x."""
    return sum((sigmoid(d * x) - (y == 0)) * x for x, y in batch) / len(batch)


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_retrain_by_sgd(batch_size: int) -> None:
    # v <- 0.9 v + g, w <- w - rate (g + 0.9 v); in step t from 0 the rate is
    # 0.1 (1 + cos(pi t / T)) / 2. d moves twice as far as w0. A batch of nothing is no step.
    batches = batches_of_pairs(batch_size)
    d, v = 1.0, 0.0
    for t, batch in enumerate(batches):
        if not batch:
            continue
        g = gradient_along_u(d, batch)
        v = 0.9 * v + g
        d -= 2 * 0.05 * (1 + math.cos(math.pi * t / len(batches))) * (g + 0.9 * v)
    network = run_retrain("sgd", batch_size)
    assert weights(network) == pytest.approx(pair(d))
    assert not network.training


@pytest.mark.parametrize("batch_size", [1, 2])
def test_retrain_by_adam(batch_size: int) -> None:
    # m, s with betas 0.9 and 0.999, corrected for their start at 0 by the number of steps taken.
    batches = batches_of_pairs(batch_size)
    d, m, s, n = 1.0, 0.0, 0.0, 0
    for t, batch in enumerate(batches):
        if not batch:
            continue
        n += 1
        g = gradient_along_u(d, batch)
        m, s = 0.9 * m + 0.1 * g, 0.999 * s + 0.001 * g * g
        step = m / (1 - 0.9**n) / (math.sqrt(s / (1 - 0.999**n)) + 1e-8)
        d -= 2 * 0.05 * (1 + math.cos(math.pi * t / len(batches))) * step
    assert weights(run_retrain("adam", batch_size)) == pytest.approx(pair(d))


@pytest.mark.parametrize("position", [0, 3, 6])
def test_retrain_is_training_on_the_rest_in_train_mode(position: int) -> None:
    images = torch.randn(7, 1, 6, 6, generator=torch.Generator().manual_seed(1))
    labels = torch.tensor([0, 1, 2, 3, 0, 1, 2])

    def trained(fill: float) -> nn.Module:
        changed = images.clone()
        changed[position] = fill
        return more_algorithms.retrain(
            convolutional,
            changed,
            labels,
            position,
            epochs=3,
            lr=0.01,
            batch_size=4,
            optimizer="sgd",
            seed=2,
        )

    one, other = trained(math.nan), trained(5.0)
    assert all(not module.training for module in one.modules())
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name
    assert int(one.state_dict()["1.num_batches_tracked"]) == 3 * 2
    assert weights(one) != weights(convolutional())


def test_memorization_by_hand() -> None:
    # Sample 0: in models 0 and 1 (1 and 1 correct), not in 2 and 3 (1, 0): 1 - 1/2.
    # Sample 1: in model 2 only (wrong), not in 0, 1, 3 (1, 1, 0): 0 - 2/3. Samples 2 and 3: nan.
    correct = np.array([[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 1, 1], [0, 0, 1, 1]], dtype=bool)
    included = np.array([[1, 0, 1, 0], [1, 0, 1, 0], [0, 1, 1, 0], [0, 0, 1, 0]], dtype=bool)
    values = more_algorithms.memorization(correct, included)
    assert values[:2] == pytest.approx([0.5, -2 / 3])
    assert all(math.isnan(value) for value in values[2:])
    assert len(values) == 4
