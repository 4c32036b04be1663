"""Cases worked out by hand that check the further references themselves."""

import math

import numpy as np
import pytest
import scipy.special
import scipy.stats
import sklearn.metrics
import torch
import torch.nn.functional as F
from torch import nn

from . import factors, more_factors

LOG3 = math.log(3)


def linear(weight: list[list[float]], bias: list[float]) -> nn.Module:
    """Logits W x + b of a flattened image, in float64."""
    layer = nn.Linear(len(weight[0]), len(weight))
    layer.weight.data = torch.tensor(weight, dtype=torch.float64)
    layer.bias.data = torch.tensor(bias, dtype=torch.float64)
    return nn.Sequential(nn.Flatten(), layer)


# The forget sample's own prediction


def test_prediction_by_hand() -> None:
    # Logits (log 3, 0, 0): softmax (3, 1, 1) / 5.
    logits = [LOG3, 0.0, 0.0]
    assert more_factors.confidence(logits, 0) == pytest.approx(0.6)
    assert more_factors.confidence(logits, 2) == pytest.approx(0.2)
    assert more_factors.loss(logits, 0) == pytest.approx(math.log(5 / 3))
    assert more_factors.loss(logits, 1) == pytest.approx(math.log(5))
    expected = -0.6 * math.log(0.6) - 0.4 * math.log(0.2)
    assert more_factors.entropy(logits) == pytest.approx(expected)
    # Uniform over four classes: log 4.
    assert more_factors.entropy([7.0] * 4) == pytest.approx(math.log(4))


def test_margin_by_hand() -> None:
    # Highest other logit: 2 for class 0, 5 for the other classes; a tie at the top is 0.
    logits = [5.0, 2.0, -1.0]
    assert more_factors.margin(logits, 0) == 3.0
    assert more_factors.margin(logits, 1) == -3.0
    assert more_factors.margin(logits, 2) == -6.0
    assert more_factors.margin([4.0, 4.0, 0.0], 1) == 0.0


def test_prediction_at_extremes() -> None:
    # p = (1, 0): exp(-2000) is 0 in float64, the loss of class 1 is 2000 all the same.
    logits = [1000.0, -1000.0]
    assert more_factors.confidence(logits, 0) == 1.0
    assert more_factors.confidence(logits, 1) == 0.0
    assert more_factors.loss(logits, 0) == 0.0
    assert more_factors.loss(logits, 1) == 2000.0
    assert more_factors.entropy(logits) == 0.0


@pytest.mark.parametrize("seed", range(3))
def test_prediction_against_scipy_and_torch(seed: int) -> None:
    logits = torch.tensor(np.random.default_rng(seed).normal(size=10) * 5)
    probs = scipy.special.softmax(logits.numpy())
    target = torch.tensor([3])
    assert more_factors.confidence(logits, 3) == pytest.approx(probs[3])
    assert more_factors.entropy(logits) == pytest.approx(scipy.stats.entropy(probs))
    expected = float(F.cross_entropy(logits.unsqueeze(0), target))
    assert more_factors.loss(logits, 3) == pytest.approx(expected)
    assert math.exp(-more_factors.loss(logits, 3)) == pytest.approx(probs[3])


def test_grad_norm_by_hand() -> None:
    # Logits (x, 0) with x = 2: d CE(x, 0) / d logits = (-q, q), q = 1 / (1 + e^2). The weights'
    # gradient is that times x, the biases' that times 1: norm q sqrt(2 (x^2 + 1)) = q sqrt(10).
    model = linear([[1.0], [0.0]], [0.0, 0.0])
    image = torch.tensor([[[2.0]]])
    q = 1 / (1 + math.exp(2))
    assert more_factors.grad_norm(model, image, 0) == pytest.approx(q * math.sqrt(10))
    assert more_factors.grad_norm(model, image, 1) == pytest.approx((1 - q) * math.sqrt(10))


def test_grad_norm_counts_frozen_parameters_and_leaves_the_model_alone() -> None:
    # Dropout and old gradients play no part; the model keeps its mode, dtype and gradients.
    torch.manual_seed(0)
    layers = [nn.Flatten(), nn.Linear(4, 3), nn.Dropout(0.5), nn.Linear(3, 2)]
    model = nn.Sequential(*layers).train()
    image = torch.randn(1, 2, 2)
    first = more_factors.grad_norm(model, image, 1)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    model[1].requires_grad_(False)
    assert more_factors.grad_norm(model, image, 1) == first
    assert model.training
    assert not model[1].weight.requires_grad
    for parameter in model.parameters():
        assert parameter.dtype == torch.float32
        assert parameter.grad is not None
        assert torch.equal(parameter.grad, torch.ones_like(parameter))


def test_grad_norm_against_finite_differences() -> None:
    # Central differences of the loss in each parameter, batch norm with its running statistics.
    torch.manual_seed(1)
    layers = [nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Tanh(), nn.Flatten(), nn.Linear(8, 3)]
    model = nn.Sequential(*layers).double().eval()
    image = torch.randn(1, 4, 4, dtype=torch.float64)
    squares = 0.0
    h = 1e-5
    with torch.no_grad():
        for parameter in model.parameters():
            flat = parameter.view(-1)
            for i in range(len(flat)):
                value = float(flat[i])
                losses = []
                for moved in (value + h, value - h):
                    flat[i] = moved
                    losses.append(more_factors.loss(model(image.unsqueeze(0))[0], 2))
                flat[i] = value
                squares += ((losses[0] - losses[1]) / (2 * h)) ** 2
    assert more_factors.grad_norm(model, image, 2) == pytest.approx(math.sqrt(squares), rel=1e-7)


# Before and after


def test_remaining_loss_diff_by_hand() -> None:
    # CE before: log 4/3, log 2, log 4. CE after: log 2, log 4/3, log 2.
    before = [[LOG3, 0.0], [0.0, 0.0], [LOG3, 0.0]]
    after = [[0.0, 0.0], [0.0, LOG3], [5.0, 5.0]]
    labels = [0, 1, 1]
    # Without row 2: (log 4/3 + log 2) / 2 - (log 2 + log 4/3) / 2 = 0.
    assert more_factors.remaining_loss_diff(before, after, labels, 2) == pytest.approx(0.0)
    # Without row 0: (log 2 + log 4 - log 4/3 - log 2) / 2 = log 3 / 2.
    found = more_factors.remaining_loss_diff(before, after, labels, 0)
    assert found == pytest.approx(LOG3 / 2)
    # The other way around the sign turns: the loss has grown.
    found = more_factors.remaining_loss_diff(after, before, labels, 0)
    assert found == pytest.approx(-LOG3 / 2)
    assert math.isnan(more_factors.remaining_loss_diff([[1.0, 0.0]], [[1.0, 0.0]], [0], 0))


def test_model_distance_l2_by_hand() -> None:
    # 1 + 4 + 4 + 16 = 25 over both tensors.
    before = {"a": torch.tensor([1.0, 3.0]), "b": torch.tensor([[2.0], [0.0]])}
    after = {"a": torch.tensor([0.0, 1.0]), "b": torch.tensor([[4.0], [-4.0]])}
    assert more_factors.model_distance_l2(before, after) == 5.0
    assert more_factors.model_distance_l2(after, before) == 5.0
    assert more_factors.model_distance_l2(before, before) == 0.0


def test_activation_distance_by_hand() -> None:
    # Row 0: (3/4, 1/4) to (1/2, 1/2): sqrt(2) / 4. Row 1: the logits move, the softmax does not.
    before = [[LOG3, 0.0], [0.0, 0.0]]
    after = [[0.0, 0.0], [9.0, 9.0]]
    expected = math.sqrt(2) / 8
    assert more_factors.activation_distance(before, after) == pytest.approx(expected)
    assert more_factors.unlearning_gap(before, after) == pytest.approx(expected)
    assert more_factors.unlearning_gap(after, before) == pytest.approx(expected)
    assert more_factors.unlearning_gap(before, before) == 0.0
    # Opposite corners are sqrt(2) apart.
    found = more_factors.activation_distance([[900.0, 0.0]], [[0.0, 900.0]])
    assert found == pytest.approx(math.sqrt(2))


def test_feature_distance_by_hand() -> None:
    # ||(3, 4)|| = 5 and 0 and ||(0, 1)|| = 1: mean 2.
    before = [[3.0, 4.0], [1.0, 1.0], [0.0, 1.0]]
    after = [[0.0, 0.0], [1.0, 1.0], [0.0, 0.0]]
    assert more_factors.feature_distance(before, after) == 2.0
    with pytest.raises(ValueError, match="shorter"):
        more_factors.feature_distance(before, after[:2])


def test_row_distances_against_numpy() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(20, 7)), rng.normal(size=(20, 7))
    expected = np.mean(np.linalg.norm(a - b, axis=1))
    assert more_factors.feature_distance(a, b) == pytest.approx(expected)
    moved = scipy.special.softmax(a, axis=1) - scipy.special.softmax(b, axis=1)
    expected = np.mean(np.linalg.norm(moved, axis=1))
    assert more_factors.activation_distance(torch.tensor(a), b) == pytest.approx(expected)


# Distance to the decision boundary


def test_pairwise_boundary_distance_by_hand() -> None:
    # phi = (1, 1), logits (8, 2, 0). From class 0: 6 / ||(3, 2)|| = 1.664 and 8 / ||(3, 4)|| = 1.6.
    weight, bias, phi = [[3.0, 4.0], [0.0, 2.0], [0.0, 0.0]], [1.0, 0.0, 0.0], [1.0, 1.0]
    assert more_factors.pairwise_boundary_distance(weight, bias, phi, 0) == pytest.approx(1.6)
    # Not the predicted class: from class 1, 6 / sqrt(13) and 2 / 2 = 1; from class 2 1.6 and 1.
    assert more_factors.pairwise_boundary_distance(weight, bias, phi, 1) == pytest.approx(1.0)
    assert more_factors.pairwise_boundary_distance(weight, bias, phi, 2) == pytest.approx(1.0)
    # Only the biases' difference: (1, 0) . (0, 5) + 2 - 5 = -3, over 1.
    found = more_factors.pairwise_boundary_distance([[1.0, 0.0], [0.0, 0.0]], [2, 5], [0, 5], 0)
    assert found == pytest.approx(3.0)
    # phi on the boundary.
    found = more_factors.pairwise_boundary_distance([[1.0], [-1.0]], [0.0, 0.0], [0.0], 0)
    assert found == 0.0


def test_pairwise_boundary_distance_skips_equal_rows() -> None:
    # Class 1 has the weights of class 0; the boundary with class 2 is 2 / 2 = 1 away.
    weight, bias = [[1.0], [1.0], [-1.0]], [0.0, 0.0, 0.0]
    assert more_factors.pairwise_boundary_distance(weight, bias, [1.0], 0) == 1.0
    found = more_factors.pairwise_boundary_distance([[1.0], [1.0]], [0.0, 1.0], [1.0], 0)
    assert math.isnan(found)


@pytest.mark.parametrize("seed", range(3))
def test_pairwise_boundary_distance_is_deepfool_from_the_predicted_class(seed: int) -> None:
    rng = np.random.default_rng(seed)
    weight, bias, phi = rng.normal(size=(10, 6)), rng.normal(size=10), rng.normal(size=6)
    predicted = int(np.argmax(weight @ phi + bias))
    expected = factors.linear_deepfool_norm(weight, bias, phi)
    found = more_factors.pairwise_boundary_distance(weight, bias, phi, predicted)
    assert found == pytest.approx(expected)


# Membership inference


def test_membership_attack_by_hand() -> None:
    # Members 0.9, 0.8, 0.6; others 0.95, 0.6, 0.3. (members >= t) + (others < t):
    # t 0.3: 3 + 0; 0.6: 3 + 1; 0.8: 2 + 2; 0.9: 1 + 2; 0.95: 0 + 2. A tie at 4 of 6: t = 0.6.
    members, others = [0.9, 0.8, 0.6], [0.95, 0.6, 0.3]
    found = more_factors.membership_attack(members, others, 0.5)
    assert found == pytest.approx((0.6, 1.0, 0.1, 4 / 6))
    # At the threshold it is still a member, with margin 0.
    assert more_factors.membership_attack(members, others, 0.6) == (0.6, 0.0, 0.0, 4 / 6)
    found = more_factors.membership_attack(members, others, 0.85)
    assert found == pytest.approx((0.6, 0.0, -0.25, 4 / 6))


def test_membership_attack_counts_sides_equally() -> None:
    # Members 0.5 (three times), others 0.4 and 0.7: t 0.4: 1 + 0; 0.5: 1 + 1/2; 0.7: 0 + 1/2.
    found = more_factors.membership_attack([0.5] * 3, [0.4, 0.7], 0.25)
    assert found == (0.5, 1.0, 0.25, 0.75)


def test_membership_attack_with_unequal_sides() -> None:
    # Ten members, three others. t 1: 10/10 + 0/3; 2: 10/10 + 1/3 = 40/30; 3: 7/10 + 1/3;
    # 4: 7/10 + 2/3 = 41/30; 5: 1/10 + 2/3; 6: 1/10 + 3/3.
    members = [2.0] * 3 + [4.0] * 6 + [6.0]
    found = more_factors.membership_attack(members, [1.0, 3.0, 5.0], 0.0)
    assert found == pytest.approx((4.0, 1.0, 4.0, 41 / 60))


def test_membership_attack_ties_are_exact() -> None:
    # t 1: 5/5 + 0/5; 2: 5/5 + 1/5 = 6/5; 3: 4/5 + 1/5; 4: 4/5 + 2/5 = 6/5; 9: 0/5 + 2/5.
    # In floating point 4/5 + 2/5 exceeds 5/5 + 1/5, and t would be 4.
    assert 4 / 5 + 2 / 5 > 5 / 5 + 1 / 5
    members, others = [2.0, 4.0, 4.0, 4.0, 4.0], [1.0, 3.0, 9.0, 9.0, 9.0]
    assert more_factors.membership_attack(members, others, 3.0) == (2.0, 0.0, -1.0, 0.6)


def test_membership_attack_edges() -> None:
    # Perfectly separated: the smallest member. The reverse: the smallest value, all members.
    assert more_factors.membership_attack([3.0, 4.0], [1.0, 2.0], 2.5) == (3.0, 1.0, 0.5, 1.0)
    assert more_factors.membership_attack([1.0, 2.0], [3.0, 4.0], 1.5) == (1.0, 0.0, -0.5, 0.5)
    # Indistinguishable: t is the one value there is.
    assert more_factors.membership_attack([1.0], [1.0, 1.0], 1.0) == (1.0, 0.0, 0.0, 0.5)
    assert all(map(math.isnan, more_factors.membership_attack([], [1.0], 0.5)))
    assert all(map(math.isnan, more_factors.membership_attack([1.0], [], 0.5)))


@pytest.mark.parametrize("decimals", [1, 8])
@pytest.mark.parametrize("seed", range(5))
def test_membership_attack_against_sklearn(seed: int, decimals: int) -> None:
    rng = np.random.default_rng(seed)
    members = np.round(rng.beta(4, 2, size=15), decimals)
    others = np.round(rng.beta(2, 2, size=11), decimals)
    truth = np.array([1] * 15 + [0] * 11)
    values = np.concatenate([members, others])
    best = (math.nan, -1.0)
    for t in np.unique(values):
        score = float(sklearn.metrics.balanced_accuracy_score(truth, values >= t))
        if score > best[1] + 1e-12:
            best = (float(t), score)
    threshold, forgotten, margin, accuracy = more_factors.membership_attack(members, others, 0.5)
    assert (threshold, accuracy) == pytest.approx(best)
    assert forgotten == (threshold > 0.5)
    assert margin == threshold - 0.5
    # The pooled search of the older reference finds the same.
    found = factors.membership_threshold(members, [0] * 15, others, [0] * 11, 0)
    assert found == pytest.approx((threshold, accuracy))


# Entanglement


def test_entanglement_two_sets_by_hand() -> None:
    # R: (0, 0), (2, 0): mu_R (1, 0), Var 1. S: (1, 2), (1, 6): mu_S (1, 4), Var 4. mu = (1, 2),
    # both means 4 from it squared: (1 + 4) / (1/2 (4 + 4)) = 5/4.
    retain, forget = [[0.0, 0.0], [2.0, 0.0]], [[1.0, 2.0], [1.0, 6.0]]
    assert more_factors.entanglement_two_sets(retain, forget) == 1.25
    assert more_factors.entanglement_two_sets(forget, retain) == 1.25
    # Each set counts by its own mean, whatever its size: R three times gives the same.
    assert more_factors.entanglement_two_sets(retain * 3, forget) == pytest.approx(1.25)


def test_entanglement_one_by_hand() -> None:
    # R as above, phi_f (1, 4): 4 * 1 / 16.
    retain = [[0.0, 0.0], [2.0, 0.0]]
    assert more_factors.entanglement_one(retain, [1.0, 4.0]) == 0.25
    assert more_factors.entanglement_two_sets(retain, [[1.0, 4.0]]) == 0.25
    # R collapsed to a point elsewhere.
    assert more_factors.entanglement_one([[1.0, 1.0]], [2.0, 2.0]) == 0.0


def test_entanglement_without_distance() -> None:
    retain = [[0.0, 0.0], [2.0, 0.0]]
    assert math.isnan(more_factors.entanglement_one(retain, [1.0, 0.0]))
    assert math.isnan(more_factors.entanglement_two_sets(retain, [[1.0, 0.0]]))
    assert math.isnan(more_factors.entanglement_two_sets(retain, [[1.0, 3.0], [1.0, -3.0]]))


@pytest.mark.parametrize("seed", range(5))
def test_entanglements_agree_for_one_sample(seed: int) -> None:
    rng = np.random.default_rng(seed)
    retain, forget = rng.normal(size=(40, 8)) * 3, rng.normal(size=8) + 1
    one = more_factors.entanglement_one(retain, forget)
    assert one == pytest.approx(more_factors.entanglement_two_sets(retain, forget[np.newaxis]))
    # Var(R) is the sum of the columns' population variances.
    distance = np.sum((forget - retain.mean(axis=0)) ** 2)
    assert one == pytest.approx(4 * np.sum(np.var(retain, axis=0)) / distance)
