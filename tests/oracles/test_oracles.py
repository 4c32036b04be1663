"""Cases worked out by hand that check the references themselves."""

import copy
import math
from collections.abc import Callable

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor, nn

from . import algorithms, factors

# The two-weight model: logits (w0 x, w1 x) of a one-pixel image x, at first w = (1, 0).
# With d = w0 - w1, p(class 0 | x) = sigmoid(d x), and with q = 1 - p(class 0 | x)
# d CE(x, 0) / d (w0, w1) = x (-q, q), and d CE(x, 1) / d (w0, w1) = x (1 - q, -(1 - q)).


def sigmoid(z: float) -> float:
    """1 / (1 + exp(-z))."""
    return 1 / (1 + math.exp(-z))


def linear(weight: list[list[float]]) -> nn.Module:
    """Logits W x without a bias, in eval mode and in float64."""
    layer = nn.Linear(len(weight[0]), len(weight), bias=False)
    layer.weight.data = torch.tensor(weight, dtype=torch.float64)
    return nn.Sequential(nn.Flatten(), layer).double().eval()


def pixels(*values: float) -> Tensor:
    """An image (1, 1, W)."""
    return torch.tensor([[list(values)]], dtype=torch.float64)


def two_weights() -> nn.Module:
    """The model of the comment above."""
    return linear([[1.0], [0.0]])


def weights(model: nn.Module) -> list[float]:
    """All weights, flat."""
    return torch.cat([p.detach().flatten() for p in model.parameters()]).tolist()


def retain_two(step: int, slot: int) -> tuple[Tensor, Tensor]:
    """One image, pixel 2, of class 1."""
    return pixels(2.0).unsqueeze(0), torch.tensor([1])


def convolutional() -> nn.Module:
    """A small float32 network with a batch norm, in eval mode."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 4)]
    return nn.Sequential(*layers).eval()


def random_retain(step: int, slot: int) -> tuple[Tensor, Tensor]:
    """Five random images, different for each step and slot."""
    generator = torch.Generator().manual_seed(100 * step + slot)
    images = torch.randn(5, 1, 6, 6, generator=generator)
    return images, torch.randint(0, 4, (5,), generator=generator)


def forget_sample(model: nn.Module) -> tuple[Tensor, int]:
    """A random image and the class that the model gives it."""
    image = torch.randn(1, 6, 6, generator=torch.Generator().manual_seed(7))
    return image, int(model(image.unsqueeze(0)).argmax())


def sgd_ga(model: nn.Module, image: Tensor, lr: float, max_steps: int) -> algorithms.Result:
    """Plain SGD gradient ascent on class 0."""
    return algorithms.ga(
        model, image, 0, optimizer="sgd", lr=lr, momentum=0, weight_decay=0, max_steps=max_steps
    )


# Algorithms


def test_ga_by_hand() -> None:
    # Each step takes lr q from w0 and gives it to w1: d <- d - 2 q(d).
    # d: 1 -> 1 - 2 * 0.26894 = 0.46212 -> 0.46212 - 2 * 0.38648 = -0.31086, flipped at step 2.
    base = two_weights()
    result = sgd_ga(base, pixels(1.0), 1.0, 20)
    d1 = 1 - 2 * (1 - sigmoid(1))
    d2 = d1 - 2 * (1 - sigmoid(d1))
    assert d2 == pytest.approx(-0.31086, abs=1e-5)
    assert (result.status, result.steps) == ("flipped", 2)
    assert weights(result.model) == pytest.approx([(1 + d2) / 2, (1 - d2) / 2])
    assert result.forget_probs == pytest.approx([sigmoid(1), sigmoid(d1), sigmoid(d2)])
    assert result.forget_losses == pytest.approx([-math.log(p) for p in result.forget_probs])
    assert weights(base) == [1.0, 0.0]
    assert not base.training


def test_ga_with_momentum_and_decay_by_hand() -> None:
    # lr 0.1, momentum 0.5, decay 0.2. Ascent: g = (q, -q) + 0.2 w, v <- 0.5 v + g, w <- w - 0.1 v.
    result = algorithms.ga(
        two_weights(),
        pixels(1.0),
        0,
        optimizer="sgd",
        lr=0.1,
        momentum=0.5,
        weight_decay=0.2,
        max_steps=2,
    )
    w0, w1, v0, v1 = 1.0, 0.0, 0.0, 0.0
    for _ in range(2):
        q = 1 - sigmoid(w0 - w1)
        v0, v1 = 0.5 * v0 + q + 0.2 * w0, 0.5 * v1 - q + 0.2 * w1
        w0, w1 = w0 - 0.1 * v0, w1 - 0.1 * v1
    assert result.status == "max_steps"
    assert weights(result.model) == pytest.approx([w0, w1])


def test_ga_adam_first_step() -> None:
    # Adam's first step has length lr in every coordinate, whatever the gradient.
    result = algorithms.ga(
        two_weights(),
        pixels(1.0),
        0,
        optimizer="adam",
        lr=0.01,
        momentum=0.9,
        weight_decay=0,
        max_steps=1,
    )
    assert weights(result.model) == pytest.approx([0.99, 0.01], abs=1e-6)


def test_already_wrong_runs_nothing() -> None:
    result = sgd_ga(linear([[0.0], [1.0]]), pixels(1.0), 1.0, 20)
    assert (result.status, result.steps) == ("already_wrong", 0)
    assert result.forget_probs == pytest.approx([sigmoid(-1)])
    assert weights(result.model) == [0.0, 1.0]


def test_max_steps() -> None:
    result = sgd_ga(two_weights(), pixels(1.0), 1e-4, 3)
    assert (result.status, result.steps, len(result.forget_probs)) == ("max_steps", 3, 4)


def test_non_finite_at_the_first_step_keeps_the_base() -> None:
    # The pixel is 1e200 and lr 1e200: the update is about 1e400, infinite in float64.
    result = sgd_ga(linear([[1e-200], [0.0]]), pixels(1e200), 1e200, 20)
    assert (result.status, result.steps) == ("non_finite", 0)
    assert weights(result.model) == [1e-200, 0.0]
    assert len(result.forget_probs) == 1


def test_non_finite_later_keeps_the_last_finite_step() -> None:
    def retain(step: int, slot: int) -> tuple[Tensor, Tensor]:
        return pixels(math.nan if step == 2 else 0.5).unsqueeze(0), torch.tensor([0])

    args = (two_weights(), pixels(1.0), 0)
    settings = {"optimizer": "sgd", "lr": 0.01, "momentum": 0.0, "weight_decay": 0.0}
    bad = algorithms.neggrad(*args, retain, alpha=0.5, max_steps=9, **settings)  # type: ignore[arg-type]
    one = algorithms.neggrad(*args, retain, alpha=0.5, max_steps=1, **settings)  # type: ignore[arg-type]
    assert (bad.status, bad.steps) == ("non_finite", 1)
    assert weights(bad.model) == weights(one.model)
    assert bad.forget_probs == one.forget_probs


def test_train_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="eval"):
        sgd_ga(two_weights().train(), pixels(1.0), 1.0, 1)


def test_neggrad_by_hand() -> None:
    # Retain: x = 2, class 1, so 1 - q = sigmoid(2) and the gradient is 2 sigmoid(2) (1, -1).
    # Forget: x = 1, class 0, gradient q (-1, 1) with q = 1 - sigmoid(1).
    # alpha 0.75, lr 0.1: w0 falls by 0.1 (0.75 * 2 sigmoid(2) + 0.25 q), w1 rises by as much.
    result = algorithms.neggrad(
        two_weights(),
        pixels(1.0),
        0,
        retain_two,
        alpha=0.75,
        optimizer="sgd",
        lr=0.1,
        momentum=0,
        weight_decay=0,
        max_steps=1,
    )
    move = 0.1 * (0.75 * 2 * sigmoid(2) + 0.25 * (1 - sigmoid(1)))
    assert weights(result.model) == pytest.approx([1 - move, move])


def run_scrub(
    retain: algorithms.Retain, retain_batches: int, max_steps_forget: int, max_steps: int
) -> algorithms.Result:
    """SCRUB on the two-weight model, gamma 0.9, alpha 0.3, T 2, lr 0.02."""
    return algorithms.scrub(
        two_weights(),
        pixels(1.0),
        0,
        retain,
        gamma=0.9,
        alpha=0.3,
        temperature=2.0,
        retain_batches=retain_batches,
        max_steps_forget=max_steps_forget,
        optimizer="sgd",
        lr=0.02,
        momentum=0,
        weight_decay=0,
        max_steps=max_steps,
    )


def scrub_move(d: float, x: float) -> float:
    """d (T^2 KL) / d w0 on pixel x at T = 2: with p = sigmoid(x / T) of the teacher (d = 1) and
    s = sigmoid(d x / T) of the student, T^2 (s - p) x / T."""
    return 2.0 * (sigmoid(d * x / 2) - sigmoid(x / 2)) * x


def test_scrub_by_hand() -> None:
    # Two min updates (the KL's gradient is 0 in the first), then one max update on x = 1.
    # Both weights move by opposite amounts, so d moves by twice that.
    d = 1.0
    for _ in range(2):
        d -= 2 * 0.02 * (0.9 * 2 * sigmoid(2 * d) + 0.3 * scrub_move(d, 2.0))
    after_min = d
    d += 2 * 0.02 * scrub_move(d, 1.0)
    result = run_scrub(retain_two, 2, 20, 1)
    assert weights(result.model) == pytest.approx([(1 + d) / 2, (1 - d) / 2])
    without_max = run_scrub(retain_two, 2, 0, 1)
    assert weights(without_max.model) == pytest.approx([(1 + after_min) / 2, (1 - after_min) / 2])


def test_scrub_asks_for_each_slot_of_each_step() -> None:
    asked = []

    def retain(step: int, slot: int) -> tuple[Tensor, Tensor]:
        asked.append((step, slot))
        return retain_two(step, slot)

    run_scrub(retain, 3, 1, 2)
    assert asked == [(1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (2, 2)]


def test_scrub_stops_the_max_updates() -> None:
    # max_steps_forget 1: only step 1 has a max update.
    d = 1.0
    for step in (1, 2):
        d -= 2 * 0.02 * (0.9 * 2 * sigmoid(2 * d) + 0.3 * scrub_move(d, 2.0))
        if step == 1:
            d += 2 * 0.02 * scrub_move(d, 1.0)
    result = run_scrub(retain_two, 1, 1, 2)
    assert weights(result.model) == pytest.approx([(1 + d) / 2, (1 - d) / 2])


def test_teacher_kl_is_a_mean_over_images() -> None:
    # Student w = 0 is uniform; teacher p = sigmoid(x / 2): T^2 (log 2 - entropy of p), mean of two.
    images = torch.stack([pixels(1.0), pixels(3.0)])
    student = linear([[0.0], [0.0]])
    expected = 0.0
    for x in (1.0, 3.0):
        p = sigmoid(x / 2)
        entropy = -p * math.log(p) - (1 - p) * math.log(1 - p)
        expected += 4 * (math.log(2) - entropy) / 2
    value = algorithms.teacher_kl(two_weights(), student, images, 2.0)
    assert float(value.detach()) == pytest.approx(expected)


def test_scrub_leaves_teacher_and_running_statistics() -> None:
    base = convolutional()
    before = copy.deepcopy(base.state_dict())
    image, label = forget_sample(base)
    result = algorithms.scrub(
        base,
        image,
        label,
        random_retain,
        gamma=0.99,
        alpha=0.5,
        temperature=4.0,
        retain_batches=2,
        max_steps_forget=20,
        optimizer="sgd",
        lr=1e-3,
        momentum=0.9,
        weight_decay=5e-4,
        max_steps=4,
    )
    for name, value in base.state_dict().items():
        assert torch.equal(value, before[name]), name
    for name, value in result.model.named_buffers():
        assert torch.equal(value, before[name]), name
    for name, parameter in result.model.named_parameters():
        assert not torch.equal(parameter, before[name]), name
    assert all(parameter.grad is None for parameter in base.parameters())


def run_salun(
    base: nn.Module, image: Tensor, label: int, retain: algorithms.Retain, optimizer: str, lr: float
) -> algorithms.Result:
    """SalUn with momentum 0.9 and weight decay 5e-4, three steps."""
    return algorithms.salun(
        base,
        image,
        label,
        retain,
        relabel_target=(label + 1) % 2,
        mask_fraction=0.5,
        optimizer=optimizer,
        lr=lr,
        momentum=0.9,
        weight_decay=5e-4,
        max_steps=3,
    )


def test_salun_by_hand() -> None:
    # Pixels (1, 3), class 0: |grad| = q (1, 3; 1, 3). k = 2 and the third largest is q, so the
    # second column is selected. logits (4, 0): CE(x_f, 1) has gradient sigmoid(4) (1, -1) x.
    # Retain pixels (0, 1) of class 1: logits (1, 0), gradient sigmoid(1) (1, -1) x.
    # lr 0.01: the second column moves by 0.01 (3 sigmoid(4) + sigmoid(1)).
    def retain(step: int, slot: int) -> tuple[Tensor, Tensor]:
        return pixels(0.0, 1.0).unsqueeze(0), torch.tensor([1])

    result = algorithms.salun(
        linear([[1.0, 1.0], [0.0, 0.0]]),
        pixels(1.0, 3.0),
        0,
        retain,
        relabel_target=1,
        mask_fraction=0.5,
        optimizer="sgd",
        lr=0.01,
        momentum=0,
        weight_decay=0,
        max_steps=1,
    )
    move = 0.01 * (3 * sigmoid(4) + sigmoid(1))
    assert result.details == {"mask_density": 0.5}
    assert weights(result.model) == pytest.approx([1.0, 1.0 - move, 0.0, move])


def test_salun_ties_select_nothing() -> None:
    # Both magnitudes are q: none is strictly greater than the second largest.
    result = run_salun(two_weights(), pixels(1.0), 0, retain_two, "sgd", 0.1)
    assert result.details["mask_density"] == 0.0
    assert weights(result.model) == [1.0, 0.0]
    assert result.status == "max_steps"


def test_salun_zeros_are_never_selected() -> None:
    # Pixels (0, 0, 1): 2 of 6 gradients are not zero; k = 3, the fourth largest is 0, 2 selected.
    masks = algorithms.saliency_masks(linear([[0.0] * 3] * 2), pixels(0.0, 0.0, 1.0), 0, 0.5)
    assert algorithms.mask_density(masks) == pytest.approx(2 / 6)


def test_mask_fraction_one_selects_everything() -> None:
    masks = algorithms.saliency_masks(two_weights(), pixels(0.0), 0, 1.0)
    assert algorithms.mask_density(masks) == 1.0


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_salun_masked_out_weights_are_bit_identical(optimizer: str) -> None:
    base = convolutional()
    image, label = forget_sample(base)
    masks = algorithms.saliency_masks(base, image, label, 0.5)
    result = run_salun(base, image, label, random_retain, optimizer, 1e-4)
    assert result.steps > 0
    assert 0.1 < result.details["mask_density"] <= 0.5
    before = dict(base.named_parameters())
    for name, parameter in result.model.named_parameters():
        assert torch.equal(parameter[~masks[name]], before[name][~masks[name]]), name
        assert bool((parameter[masks[name]] != before[name][masks[name]]).any()), name


# Predictions and distances


def test_predictions_by_hand() -> None:
    # Rows (log 3, 0) and (0, 0): softmax (3/4, 1/4) and (1/2, 1/2); labels 0 and 1.
    logits = [[math.log(3), 0.0], [0.0, 0.0]]
    assert factors.probabilities(logits) == pytest.approx(np.array([[0.75, 0.25], [0.5, 0.5]]))
    assert factors.accuracy(logits, [0, 1]) == 0.5
    assert factors.mean_true_probability(logits, [0, 1]) == pytest.approx(0.625)
    expected = (math.log(4 / 3) + math.log(2)) / 2
    assert factors.mean_cross_entropy(logits, [0, 1]) == pytest.approx(expected)
    assert factors.remaining_accuracy(logits, [0, 1], 1) == 1.0
    assert factors.remaining_accuracy(logits, [0, 1], 0) == 0.0


def test_model_distances_by_hand() -> None:
    # abs: ((|1| + |3|) / 2 + |-5|) / 2 = 3.5, one mean for each tensor.
    before = {"a": torch.tensor([1.0, 3.0]), "b": torch.tensor([[-5.0]])}
    after = {"a": torch.zeros(2), "b": torch.zeros(1, 1)}
    assert factors.model_distance_abs(before, after) == pytest.approx(3.5)
    # KL: (3/4, 1/4) against (1/2, 1/2), and 0 for the second tensor, which has one element.
    before = {"a": torch.tensor([math.log(3), 0.0]), "b": torch.tensor([[-5.0]])}
    expected = (0.75 * math.log(1.5) + 0.25 * math.log(0.5)) / 2
    assert factors.model_distance_kl(before, after) == pytest.approx(expected, rel=1e-6)


def test_linear_boundary_distances_by_hand() -> None:
    # f = (3 * 1 + 4 * 1 + 1, 0 + 2, 0) = (8, 2, 0); ||w|| = 5, 2, 0: min of 8/5 and 2/2 is 1.
    weight, bias, phi = [[3.0, 4.0], [0.0, 2.0], [0.0, 0.0]], [1.0, 0.0, 0.0], [1.0, 1.0]
    assert factors.linear_boundary_distance(weight, bias, phi) == pytest.approx(1.0)
    # Pairwise from class 0: 6 / ||(3, 2)|| = 1.664 and 8 / 5 = 1.6.
    assert factors.linear_deepfool_norm(weight, bias, phi) == pytest.approx(1.6)
    assert factors.linear_boundary_distance([[0.0, 0.0]], [1.0], phi) is None


@pytest.mark.parametrize("seed", range(5))
def test_deepfool_of_a_linear_model(seed: int) -> None:
    # One step suffices; foolbox lengthens it by 1e-4.
    torch.manual_seed(seed)
    layer = nn.Linear(18, 12)
    model = nn.Sequential(nn.Flatten(), layer).eval()
    image = torch.randn(2, 3, 3)
    expected = factors.linear_deepfool_norm(layer.weight, layer.bias, image)
    assert expected is not None
    assert factors.deepfool_norm(model, image) == pytest.approx(expected + 1e-4, rel=1e-6)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_deepfool_that_cannot_flip() -> None:
    # All the logits' differences are constant: there is no direction to go.
    layer = nn.Linear(4, 3)
    layer.weight.data = torch.ones(3, 4)
    layer.bias.data = torch.tensor([2.0, 1.0, 0.0])
    model = nn.Sequential(nn.Flatten(), layer).eval()
    assert factors.deepfool_norm(model, torch.randn(1, 2, 2)) is None


# Membership and density


def test_membership_threshold_by_hand() -> None:
    # Class 1. Members 0.9, 0.8, 0.6; non-members 0.95, 0.6, 0.3. (members >= t) + (others < t):
    # t 0.3: 3 + 0; 0.6: 3 + 1; 0.8: 2 + 2; 0.9: 1 + 2; 0.95: 0 + 2. A tie at 4 of 6: t = 0.6.
    train_p, train_y = [0.9, 0.1, 0.8, 0.6], [1, 0, 1, 1]
    test_p, test_y = [0.3, 0.95, 0.99, 0.6], [1, 1, 2, 1]
    found = factors.membership_threshold(train_p, train_y, test_p, test_y, 1)
    assert found is not None
    assert found == pytest.approx((0.6, 4 / 6))
    assert factors.mia_forgotten(0.6, found[0]) == 0
    assert factors.mia_forgotten(0.59, found[0]) == 1
    assert factors.membership_threshold(train_p, train_y, test_p, test_y, 0) is None
    assert factors.membership_threshold(train_p, train_y, test_p, test_y, 2) is None


def test_membership_threshold_counts_sides_equally() -> None:
    # Members 0.5 (three times), non-members 0.4 and 0.7: t 0.4: 1 + 0; 0.5: 1 + 1/2; 0.7: 0 + 1/2.
    found = factors.membership_threshold([0.5] * 3, [0] * 3, [0.4, 0.7], [0, 0], 0)
    assert found == pytest.approx((0.5, 0.75))


def test_kde_by_hand() -> None:
    # Column 0 is (0, 1, 2) with population std s = sqrt(2/3), column 1 is constant. Distances
    # are 1/s, 1/s, 2/s, their median h = 1/s. From row 0: exp(-1/2) and exp(-4/2), the mean's log.
    features = [[0.0, 7.0], [1.0, 7.0], [2.0, 7.0]]
    expected = math.log((math.exp(-0.5) + math.exp(-2)) / 2)
    assert factors.kde_density(features, 0) == pytest.approx(expected)
    # From row 1 both are one step away; with h = 1 the distance is 1/s, d^2 = 3/2.
    assert factors.kde_density(features, 1) == pytest.approx(-0.5)
    assert factors.kde_density(features, 1, bandwidth=1.0) == pytest.approx(-0.75)
    assert factors.kde_density([[1.0], [1.0]], 0) is None


@pytest.mark.parametrize("dimensions", [3, 64, 512])
def test_kde_against_a_loop(dimensions: int) -> None:
    rng = np.random.default_rng(dimensions)
    features = rng.normal(size=(60, dimensions)) * rng.uniform(0.1, 10, size=dimensions)
    rows = factors.standardised(features)
    for h in (factors.median_distance(rows), 0.5):
        others = [rows[j] for j in range(60) if j != 4]
        exponents = [-float(np.sum((rows[4] - row) ** 2)) / (2 * h**2) for row in others]
        top = max(exponents)
        expected = top + math.log(sum(math.exp(e - top) for e in exponents) / 59)
        assert factors.kde_density(features, 4, bandwidth=h) == pytest.approx(expected, rel=1e-9)


# Ground truth


def test_gt_by_hand() -> None:
    assert factors.gt(1.0, 1.0, 1.0) == 0.5
    assert factors.gt(0.5, 0.25, 2.0) == pytest.approx(0.25 / 1.25)
    assert factors.gt(0.0, 1.0, 1.0) == 0.0
    assert factors.gt(1.0, -0.1, 1.0) == 0.0
    assert factors.gt(None, 0.5, 1.0) is None
    assert factors.gt(0.5, math.nan, 1.0) is None
    assert factors.gt(-1.0, math.nan, 1.0) is None


def test_utility_forgetting_and_lambda_by_hand() -> None:
    # Falls of 0.2 and -0.1: mean 0.05.
    assert factors.utility([0.9, 0.5], [0.7, 0.6]) == pytest.approx(0.95)
    assert factors.forgetting(0.9, 0.4) == pytest.approx(0.5)
    assert factors.lambda_set_sizes(200) == 0.005
    # Defined pairs: (1, 0.5) and (0.5, -0.25): 0.375 / 0.75.
    us, fs = [1.0, 0.5, None, 0.9], [0.5, -0.25, 0.3, math.nan]
    assert factors.lambda_mean_ratio(us, fs) == pytest.approx(0.5)
    assert factors.lambda_mean_ratio([None], [1.0]) is None
    assert factors.lambda_one() == 1.0


# Rank correlation


def test_spearman_by_hand() -> None:
    # Ranks (1, 2, 3, 4) and (1, 3, 2, 4): rho = 1 - 6 * 2 / (4 * 15) = 0.8.
    # t = 0.8 sqrt(2 / 0.36); with 2 degrees p = 1 - t / sqrt(2 + t^2) = 1 - 0.8 = 0.2.
    rho, p, n = factors.spearman([1, 2, 3, 4], [10, 30, 20, 40])
    assert rho == pytest.approx(0.8)
    assert p == pytest.approx(0.2)
    assert n == 4
    assert factors.average_ranks([5.0, 1.0, 5.0, 2.0]) == [3.5, 1.0, 3.5, 2.0]


def ordinary(rng: np.random.Generator) -> list[float]:
    """Thirty distinct numbers."""
    return [float(v) for v in rng.normal(size=30)]


def tied(rng: np.random.Generator) -> list[float]:
    """Thirty numbers with many ties."""
    return [float(v) for v in rng.integers(0, 4, size=30)]


@pytest.mark.parametrize("draw", [ordinary, tied])
@pytest.mark.parametrize("seed", range(5))
def test_spearman_against_scipy(
    draw: Callable[[np.random.Generator], list[float]], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x, y = draw(rng), draw(rng)
    expected = scipy.stats.spearmanr(x, y)
    rho, p, n = factors.spearman([*x, math.nan, 1.0], [*y, 3.0, None])
    assert rho == pytest.approx(expected.statistic)
    assert p == pytest.approx(expected.pvalue)
    assert n == 30


def test_spearman_edges() -> None:
    assert factors.spearman([], []) == (None, None, 0)
    assert factors.spearman([1.0], [2.0]) == (None, None, 1)
    assert factors.spearman([1.0, 2.0], [4.0, 3.0]) == (-1.0, None, 2)
    assert factors.spearman([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]) == (None, None, 3)
    assert factors.spearman([1.0, 2.0, 3.0], [1.0, 4.0, 9.0]) == (1.0, 0.0, 3)
