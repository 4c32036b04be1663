"""Every factor against an oracle that shares no code with it, and hand-worked cases."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor, nn

import factors
from factors.boundary import deepfool_norm, linear_boundary_distance
from factors.density import entanglement, kde_density, median_distance, standardise
from factors.distance import parameter_kl
from factors.family import Chunk, after, before, evaluate
from factors.initial import grad_norm
from factors.membership import best_attack
from factors.memorization import memorization_estimate
from factors.outcome import ground_truth
from tests.oracles import factors as plain
from tests.oracles import more_algorithms as plain_algorithms
from tests.oracles import more_factors as more
from unlearning import algorithms
from unlearning.algorithm import Setting
from unlearning.base_model import BaseModel, Companions, Model, Origin
from unlearning.engine import unlearn
from unlearning.execution import Execution
from unlearning.losses import log_prob
from unlearning.recipe import Recipe

SAMPLES = 24
MIA = ("mia_forgotten", "mia_margin", "mia_attack_accuracy", "mia_attack_strength")
NEED_COMPANIONS = {"memorization", "unlearning_gap", "untouched_gap", "relative_gap"}


@pytest.fixture(scope="module")
def positions(base: BaseModel) -> Tensor:
    """Random samples, the first of them one that the base model gets wrong."""
    wrong = (base.train_logits.argmax(1) != base.train_labels).nonzero().squeeze(1)
    some = torch.from_numpy(np.random.default_rng(1).permutation(1000)[:SAMPLES].copy())
    return torch.cat([wrong[:1], some[~torch.isin(some, wrong)]])


@pytest.fixture(scope="module", params=["ga", "scrub"])
def chunk(base: BaseModel, positions: Tensor, request: pytest.FixtureRequest) -> Chunk:
    settings: dict[str, dict[str, Setting]] = {
        "ga": {"lr": 1e-3},
        "scrub": {"optimizer": "sgd", "lr": 0.01, "temperature": 8.0},
    }
    algorithm = algorithms.get(request.param).from_text(settings[request.param])
    return evaluate(base, positions, unlearn(base, algorithm, positions, 0), base.some(None))


@pytest.fixture(scope="module")
def post(chunk: Chunk) -> dict[str, Tensor]:
    return after(chunk, factors.families())


@pytest.fixture(scope="module")
def pre(base: BaseModel, positions: Tensor) -> dict[str, Tensor]:
    return before(base, factors.families(), positions)


def test_columns_are_documented_and_have_unique_names() -> None:
    columns = factors.columns()
    assert len({column.name for column in columns}) == len(columns)
    for column in columns:
        assert column.title
        assert column.description
        assert column.family
        assert column.harder in ("high", "low")
        assert column.phase in ("pre", "post")


def test_the_families_compute_exactly_what_they_declare(
    pre: dict[str, Tensor], post: dict[str, Tensor], positions: Tensor
) -> None:
    phases = {column.name: column.phase for column in factors.columns()}
    assert {n for n, phase in phases.items() if phase == "pre"} == set(pre)
    assert {n for n, phase in phases.items() if phase == "post"} == set(post)
    for values in (pre | post).values():
        assert values.shape == positions.shape
        assert values.dtype == torch.float64


def test_a_factor_is_undefined_only_where_it_says_so(
    pre: dict[str, Tensor], post: dict[str, Tensor]
) -> None:
    for column in factors.columns():
        values = (pre | post)[column.name]
        if column.name in NEED_COMPANIONS:
            assert values.isnan().all()
            continue
        assert values[1:].isfinite().all(), column.name
        already_wrong = bool(values[0].isnan())
        assert already_wrong == (column.phase == "post" or "already_wrong" in column.undefined)


def test_performance_equals_the_oracle(chunk: Chunk, post: dict[str, Tensor]) -> None:
    base = chunk.base
    for k, position in list(enumerate(chunk.positions.tolist()))[1:]:
        test, train = chunk.test_logits[k], chunk.train_logits[k]
        labels, position_only = base.train_labels, slice(position, position + 1)
        expected = {
            "test_accuracy": plain.accuracy(test, base.test_labels),
            "test_loss_diff": plain.mean_cross_entropy(base.test_logits, base.test_labels)
            - plain.mean_cross_entropy(test, base.test_labels),
            "test_prob_diff": plain.mean_true_probability(base.test_logits, base.test_labels)
            - plain.mean_true_probability(test, base.test_labels),
            "remaining_accuracy": plain.remaining_accuracy(train, labels, position),
            "remaining_loss_diff": more.remaining_loss_diff(
                base.train_logits, train, labels, position
            ),
            "forget_prob_diff": plain.mean_true_probability(
                base.train_logits[position_only], labels[position_only]
            )
            - plain.mean_true_probability(train[position_only], labels[position_only]),
            "forget_loss_diff": plain.mean_cross_entropy(
                base.train_logits[position_only], labels[position_only]
            )
            - plain.mean_cross_entropy(train[position_only], labels[position_only]),
        }
        for name, value in expected.items():
            assert post[name][k].item() == pytest.approx(value, rel=1e-10, abs=1e-12), name


def test_the_one_pass_equals_a_plain_forward(chunk: Chunk) -> None:
    base = chunk.base
    state = base.network.state_dict() | chunk.unlearned.state_of(3)
    twin = copy.deepcopy(base.network)
    twin.load_state_dict(state)
    with torch.no_grad():
        torch.testing.assert_close(
            chunk.test_logits[3], twin(base.test_inputs.contiguous()), rtol=1e-4, atol=1e-4
        )


def test_gt_equals_the_oracle(chunk: Chunk, post: dict[str, Tensor]) -> None:
    for k in range(1, len(chunk.positions)):
        u, f = 1 - post["test_prob_diff"][k].item(), post["forget_prob_diff"][k].item()
        expected = plain.gt(u, f, plain.lambda_set_sizes(797))
        assert expected is not None
        assert post["gt"][k].item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("u", "f", "lam", "gt"),
    [
        (1.0, 1.0, 1.0, 0.5),
        (0.5, 0.25, 1.0, 1 / 6),  # 0.125 / 0.75
        (0.8, 0.4, 0.5, 0.2),  # 0.16 / 0.8
        (0.0, 0.5, 1.0, 0.0),
        (-0.1, 0.5, 1.0, 0.0),
        (0.5, 0.0, 1.0, 0.0),
        (0.5, -0.5, 1.0, 0.0),
        (-0.5, -0.5, 1.0, 0.0),
        (0.0, 0.0, 1.0, 0.0),
        (math.nan, 0.5, 1.0, math.nan),
        (0.5, math.nan, 1.0, math.nan),
    ],
)
def test_gt_by_hand(u: float, f: float, lam: float, gt: float) -> None:
    utility, forgetting = torch.tensor([u, f], dtype=torch.float64)
    found = ground_truth(utility, forgetting, lam).item()
    assert found == pytest.approx(gt, rel=1e-12, nan_ok=True)


def test_distances_equal_the_oracle(chunk: Chunk, post: dict[str, Tensor]) -> None:
    for k in (1, 5, 9):
        after_ = chunk.unlearned.state_of(k)
        expected_abs = plain.model_distance_abs(chunk.base.params, after_)
        expected_kl = plain.model_distance_kl(chunk.base.params, after_)
        assert post["model_distance_abs"][k].item() == pytest.approx(expected_abs, rel=1e-9)
        assert post["model_distance_kl"][k].item() == pytest.approx(expected_kl, rel=1e-6)
        expected_l2 = more.model_distance_l2(chunk.base.params, after_)
        assert post["model_distance_l2"][k].item() == pytest.approx(expected_l2, rel=1e-9)


def test_output_and_feature_distances_equal_the_oracle(
    chunk: Chunk, post: dict[str, Tensor]
) -> None:
    base = chunk.base
    for k in (1, 5, 9):
        twin = copy.deepcopy(base.network)
        twin.load_state_dict(base.network.state_dict() | chunk.unlearned.state_of(k))
        with torch.no_grad():
            expected = more.feature_distance(
                base.network.get_submodule("features")(base.test_inputs),
                twin.get_submodule("features")(base.test_inputs),
            )
        assert post["feature_distance"][k].item() == pytest.approx(expected, rel=1e-5)
        expected = more.activation_distance(base.test_logits, chunk.test_logits[k])
        assert post["activation_distance"][k].item() == pytest.approx(expected, rel=1e-9)


def test_the_remaining_data_can_be_some_of_it(base: BaseModel, positions: Tensor) -> None:
    seen = base.some(200)
    assert len(seen) == 200
    assert torch.equal(seen, base.some(200))
    own = torch.cat([seen[:2], positions[1:3]])  # two of them are among those seen
    unlearned = unlearn(base, algorithms.get("ga").from_text({"lr": 1e-3}), own, 0)
    some, whole = (evaluate(base, own, unlearned, base.some(n)) for n in (200, None))
    torch.testing.assert_close(some.forget_logits, whole.forget_logits, rtol=1e-4, atol=1e-4)
    found = after(some, factors.families())
    for k, position in enumerate(own.tolist()):
        others = seen[seen != position]
        right = (some.train_logits[k].argmax(1) == base.train_labels[seen])[seen != position]
        assert found["remaining_accuracy"][k].item() == pytest.approx(right.double().mean().item())
        before_, after_ = (
            plain.mean_cross_entropy(logits, base.train_labels[others])
            for logits in (base.train_logits[others], some.train_logits[k][seen != position])
        )
        loss = found["remaining_loss_diff"][k].item()
        assert loss == pytest.approx(before_ - after_, rel=1e-9, abs=1e-12)
        label = base.train_labels[position]
        prob = log_prob(some.train_logits[k], base.train_labels[seen]).exp()
        members = prob[(seen != position) & (base.train_labels[seen] == label)]
        test = log_prob(some.test_logits[k], base.test_labels).exp()[base.test_labels == label]
        attack = more.membership_attack(members, test, some.forget_prob[k].item())
        for name, value in zip(MIA[:3], attack[1:], strict=True):
            assert found[name][k].item() == pytest.approx(value, rel=1e-12), name


def test_initial_factors_equal_the_oracle(
    base: BaseModel, positions: Tensor, pre: dict[str, Tensor]
) -> None:
    for k, position in enumerate(positions.tolist()):
        logits, label = base.train_logits[position].double(), int(base.train_labels[position])
        expected = {
            "confidence": more.confidence(logits, label),
            "margin": more.margin(logits, label),
            "loss": more.loss(logits, label),
            "entropy": more.entropy(logits),
            "pairwise_boundary_distance": more.pairwise_boundary_distance(
                base.head.weight.detach(),
                base.head.bias.detach(),
                base.train_features[position],
                label,
            ),
        }
        for name, value in expected.items():
            assert pre[name][k].item() == pytest.approx(value, rel=1e-4, abs=1e-9), name


def test_grad_norm_equals_the_oracle(base64: BaseModel, positions: Tensor) -> None:
    # In float32 the gradient of a very confident sample is off by up to a percent.
    found = grad_norm(base64, positions)
    for k, position in enumerate(positions.tolist()):
        image, label = base64.train_inputs[position], int(base64.train_labels[position])
        expected = more.grad_norm(base64.network, image, label)
        assert found[k].item() == pytest.approx(expected, rel=1e-9)


def test_entanglement_equals_the_two_set_formula(
    base: BaseModel, positions: Tensor, pre: dict[str, Tensor]
) -> None:
    features = base.train_features.double()
    for k, position in enumerate(positions.tolist()[:6]):
        others = torch.cat([features[:position], features[position + 1 :]])
        expected = more.entanglement_two_sets(others, features[position : position + 1])
        assert pre["entanglement"][k].item() == pytest.approx(expected, rel=1e-9)


def test_entanglement_at_the_centre_is_undefined() -> None:
    square = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1], [0, 0]]).double()
    assert entanglement(square, torch.tensor([4])).isnan()


def test_memorization_equals_the_oracle_and_is_undefined_in_all_or_none() -> None:
    rng = np.random.default_rng(0)
    correct, included = rng.random((12, 30)) < 0.7, rng.random((12, 30)) < 0.7
    included[:, 0], included[:, 1] = True, False
    found = memorization_estimate(torch.from_numpy(correct), torch.from_numpy(included))
    expected = plain_algorithms.memorization(correct, included)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert found[:2].isnan().all()


def test_companions_give_memorization_and_the_unlearning_gap(base: BaseModel) -> None:
    positions = torch.tensor([0, 1])
    first = int(base.dataset.train.ids[0])
    others = base.test_logits.flip(0)
    friends = Companions(left_out={first: others}, memorization={first: 0.25})
    known = BaseModel(base.network, base.dataset, base.device, companions=friends)
    unlearned = unlearn(known, algorithms.get("ga").from_text({"lr": 1e-3}), positions, 0)
    chunk = evaluate(known, positions, unlearned, known.some(None))
    found = before(known, factors.families(), positions) | after(chunk, factors.families())
    gap = more.unlearning_gap(chunk.test_logits[0], others)
    untouched = more.unlearning_gap(base.test_logits, others)
    expected = {
        "memorization": 0.25,
        "unlearning_gap": gap,
        "untouched_gap": untouched,
        "relative_gap": gap / untouched,
    }
    assert expected.keys() == NEED_COMPANIONS
    for name, value in expected.items():
        assert found[name][0].item() == pytest.approx(value, rel=1e-9)
        assert found[name][1].isnan()


def test_gaps_of_exact_unlearning_and_of_a_model_that_the_sample_did_not_change(
    base: BaseModel,
) -> None:
    positions, quick = torch.arange(2), Recipe(epochs=1)
    ids = base.dataset.train.ids[:2].tolist()
    friends = Companions(left_out={ids[0]: base.test_logits.flip(0), ids[1]: base.test_logits})
    origin = Origin("small-cnn", quick)
    known = BaseModel(base.network, base.dataset, base.device, origin, friends)
    untouched = before(known, factors.families(), positions)["untouched_gap"]
    assert untouched[0] > 0
    assert untouched[1] == 0
    for name, has_gap in {"ga": True, "retrain": False}.items():
        algorithm = algorithms.get(name)()
        assert algorithm.is_exact is not has_gap
        unlearned = unlearn(known, algorithm, positions, 0, Execution.SEQUENTIAL)
        found = after(evaluate(known, positions, unlearned, known.some(None)), factors.families())
        assert found["unlearning_gap"].isfinite().tolist() == [has_gap, has_gap]
        assert found["relative_gap"].isfinite().tolist() == [has_gap, False]


def test_parameter_kl_by_hand() -> None:
    before_, after_ = torch.log(torch.tensor([0.5, 0.5])), torch.log(torch.tensor([[0.25, 0.75]]))
    expected = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
    assert parameter_kl(before_, after_).item() == pytest.approx(expected, rel=1e-6)


def test_cost_is_what_the_engine_counted(chunk: Chunk, post: dict[str, Tensor]) -> None:
    assert torch.equal(post["steps"][1:], chunk.unlearned.steps[1:].double())
    assert torch.equal(post["elapsed_s"][1:], chunk.unlearned.elapsed_s[1:])


def test_deepfool_agrees_with_foolbox(base: BaseModel, pre: dict[str, Tensor]) -> None:
    samples = torch.arange(200)
    found = deepfool_norm(base.model, base.train_inputs[samples])
    for position in samples.tolist():
        expected = plain.deepfool_norm(base.network, base.train_inputs[position])
        assert expected is not None
        # foolbox adds 1e-4 to the length of every step.
        assert found[position].item() == pytest.approx(expected, rel=0.01, abs=5e-4)


class Linear(nn.Module):
    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ self.weight.T + self.bias


def test_deepfool_of_a_linear_model_is_the_closed_form() -> None:
    generator = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(5, 16, generator=generator), torch.randn(5, generator=generator)
    network = Linear(weight, bias).double()
    images = torch.randn(40, 1, 4, 4, generator=generator).double()
    params = {name: p.detach() for name, p in network.named_parameters()}
    found = deepfool_norm(Model(network, params), images)
    for image, norm in zip(images, found, strict=True):
        expected = plain.linear_deepfool_norm(weight.double(), bias.double(), image.flatten())
        assert norm.item() == pytest.approx(expected, rel=1e-5)


def test_deepfool_without_another_class_to_reach_is_undefined() -> None:
    network = Linear(torch.zeros(3, 4), torch.tensor([1.0, 0.0, 0.0])).double()
    params = {name: p.detach() for name, p in network.named_parameters()}
    norm = deepfool_norm(Model(network, params), torch.ones(2, 1, 2, 2).double())
    assert norm.isnan().all()


def test_linear_boundary_distance_equals_the_oracle(
    base: BaseModel, positions: Tensor, pre: dict[str, Tensor]
) -> None:
    last = base.head
    for k, position in enumerate(positions.tolist()):
        phi = base.train_features[position]
        expected = plain.linear_boundary_distance(last.weight, last.bias, phi)
        assert pre["linear_boundary_distance"][k].item() == pytest.approx(expected, rel=1e-4)


def test_linear_boundary_distance_by_hand() -> None:
    weight, bias = torch.tensor([[3.0, 4.0], [0.0, 2.0]]), torch.tensor([5.0, -1.0])
    # |3 + 8 + 5| / 5 = 3.2 and |4 - 1| / 2 = 1.5
    assert linear_boundary_distance(weight, bias, torch.tensor([[1.0, 2.0]])).item() == 1.5


def test_membership_equals_an_exhaustive_search(chunk: Chunk, post: dict[str, Tensor]) -> None:
    base = chunk.base
    for k, position in list(enumerate(chunk.positions.tolist()))[1:]:
        train = np.exp(chunk.train_log_prob[k].numpy())
        test = np.exp(chunk.test_log_prob[k].numpy())
        rest = np.delete(np.arange(len(train)), position)
        label = int(base.train_labels[position])
        answer = plain.membership_threshold(
            train[rest], base.train_labels[rest], test, base.test_labels, label
        )
        assert answer is not None
        assert post["mia_forgotten"][k].item() == plain.mia_forgotten(train[position], answer[0])
        members = train[rest][base.train_labels[rest].numpy() == label]
        others = test[base.test_labels.numpy() == label]
        smirnov = scipy.stats.ks_2samp(members, others, alternative="less").statistic
        size = scipy.stats.hmean([len(members), len(others)]) / 2
        strength = post["mia_attack_strength"][k].item()
        assert strength == pytest.approx(smirnov * math.sqrt(size), abs=1e-9)


@pytest.mark.parametrize("seed", range(20))
def test_best_attack_with_ties_equals_an_exhaustive_search(seed: int) -> None:
    random = np.random.default_rng(seed)
    members = random.integers(0, 6, random.integers(1, 12)) / 5
    others = random.integers(0, 6, random.integers(1, 12)) / 5
    found = best_attack(torch.from_numpy(members), torch.from_numpy(others))[0].item()
    zeros = (np.zeros(len(members), dtype=int), np.zeros(len(others), dtype=int))
    expected = plain.membership_threshold(members, zeros[0], others, zeros[1], 0)
    assert expected is not None
    assert found == expected[0]


def test_best_attack_without_one_side_is_undefined() -> None:
    some, none = torch.tensor([0.5]).double(), torch.empty(0).double()
    assert best_attack(some, none)[0].isnan()
    assert best_attack(none, some)[0].isnan()


def test_density_equals_scikit_learns(
    base: BaseModel, positions: Tensor, pre: dict[str, Tensor]
) -> None:
    features = base.train_features.numpy()
    for k in (0, 3, 11):
        expected = plain.kde_density(features, int(positions[k]))
        assert pre["kde_density"][k].item() == pytest.approx(expected, rel=1e-9, abs=1e-9)
    given = kde_density(standardise(base.train_features), positions[:3], bandwidth=0.7)
    for k in range(3):
        expected = plain.kde_density(features, int(positions[k]), bandwidth=0.7)
        assert given[k].item() == pytest.approx(expected, rel=1e-9)


def test_density_by_hand() -> None:
    features = torch.tensor([[0.0], [1.0], [3.0]]).double()
    expected = math.log((math.exp(-0.5) + math.exp(-4.5)) / 2)
    assert kde_density(features, torch.tensor([0]), bandwidth=1.0).item() == pytest.approx(expected)
    assert median_distance(features) == 2.0  # of 1, 2 and 3


def test_constant_features_are_left_at_zero() -> None:
    features = torch.tensor([[1.0, 5.0], [3.0, 5.0]])
    assert torch.equal(standardise(features), torch.tensor([[-1.0, 0.0], [1.0, 0.0]]).double())
