"""The stacked engine against plain loops that share no code with it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.oracles import algorithms as plain
from tests.oracles import more_algorithms as more
from unlearning import algorithms, datasets, models, training
from unlearning.algorithm import Algorithm, Setting
from unlearning.base_model import BaseModel, Origin
from unlearning.engine import Status, Unlearned, retain_positions, unlearn
from unlearning.execution import Execution
from unlearning.recipe import Recipe

SEED, SAMPLES = 3, 20
CPU = torch.device("cpu")
SETTINGS: dict[str, list[dict[str, Any]]] = {
    "ga": [{"lr": 1e-3}, {"optimizer": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4}],
    "neggrad": [{"lr": 1e-3, "alpha": 0.05}, {"optimizer": "sgd", "lr": 0.1, "retain_batch": 16}],
    "scrub": [
        {"optimizer": "sgd", "lr": 8e-3, "temperature": 8.0, "alpha": 0.5},
        {"lr": 1e-3, "retain_batches": 2, "max_steps_forget": 3, "retain_batch": 16},
    ],
    "scrub_r": [
        {"optimizer": "sgd", "lr": 8e-3, "temperature": 8.0, "alpha": 0.5},
        {"lr": 1e-3},  # some are flipped, some rewound, and some run out of steps
    ],
    "salun": [
        {"optimizer": "sgd", "lr": 1e-3},
        {"lr": 3e-4, "weight_decay": 5e-4, "mask_fraction": 0.3, "retain_batch": 16},
        {"optimizer": "sgd", "lr": 1e-2, "momentum": 0.9, "combine": "joint"},
    ],
    "random_label": [
        {"optimizer": "sgd", "lr": 1e-3},
        {"lr": 1e-3, "combine": "joint", "retain_batch": 16},
    ],
    "ft": [{"lr": 1e-3, "max_steps": 5}],
    "ft_l1": [{"lr": 1e-3, "alpha": 1e-3, "max_steps": 5}],
    "boundary_shrink": [{"optimizer": "sgd", "lr": 1e-3}, {"lr": 1e-3, "epsilon": 0.3}],
    "influence": [{"fisher_samples": 40}, {"damping": 0.1, "fisher_samples": 60}],
    "ssd": [{"importance_samples": 30}, {"alpha": 2.0, "dampening": 0.5, "importance_samples": 30}],
}
CASES = [(name, setting) for name in SETTINGS for setting in SETTINGS[name]]


@pytest.fixture(scope="module", params=["small-cnn", pytest.param("mlp", marks=pytest.mark.slow)])
def exact(request: pytest.FixtureRequest, digits: datasets.Dataset) -> BaseModel:
    """A base model in float64 of either architecture; its recipe is quick to repeat."""
    recipe = Recipe(epochs=4)
    network = training.train(digits, request.param, recipe, CPU)
    return BaseModel(network.double(), digits, CPU, Origin(request.param, recipe))


@pytest.fixture(scope="module")
def positions() -> Tensor:
    return torch.from_numpy(np.random.default_rng(1).permutation(1000)[:SAMPLES].copy())


def fisher_positions(base: BaseModel, count: int) -> Tensor:
    """The training samples that stand for the data in influence and ssd."""
    order = np.random.default_rng(0).permutation(len(base.train_labels))[:count]
    return torch.from_numpy(np.sort(order))


def loop(
    base: BaseModel, algorithm: Algorithm, position: int, result: Unlearned, member: int
) -> plain.Result:
    """The oracle's run of one member, given the same retain draws and relabel target."""
    settings: dict[str, Any] = algorithm.settings()
    image, label = base.train_inputs[position], int(base.train_labels[position])
    batch, draws = int(settings.pop("retain_batch", 0)), int(settings.get("retain_batches", 1))
    order = retain_positions(
        SEED,
        int(base.dataset.train.ids[position]),
        position,
        len(base.train_labels),
        algorithm.budget * draws * batch,
    ).reshape(algorithm.budget, draws, batch)

    def retain(step: int, slot: int) -> tuple[Tensor, Tensor]:
        at = torch.from_numpy(order[step - 1, slot])
        return base.train_inputs[at], base.train_labels[at]

    settings.pop("batch_norm", None)
    data: tuple[Any, ...] = (image, label, retain)
    if algorithm.name in ("ga", "boundary_shrink"):
        data = (image, label)
    elif algorithm.name in ("salun", "random_label"):
        settings["relabel_target"] = int(result.details["relabel_target"][member].nan_to_num())
    elif algorithm.name == "scrub_r":
        held_out = more.held_out_prob(base.network, base.test_inputs, base.test_labels, label)
        data = (image, label, retain, held_out)
    elif algorithm.name == "influence":
        at = fisher_positions(base, settings.pop("fisher_samples"))
        settings["last"] = f"{base.head_name}."
        data = (image, label, base.train_inputs[at], base.train_labels[at], len(base.train_labels))
    elif algorithm.name == "ssd":
        at = fisher_positions(base, settings.pop("importance_samples"))
        data = (image, label, base.train_inputs[at], base.train_labels[at])
    function: Callable[..., plain.Result] = getattr(plain, algorithm.name, None) or getattr(
        more, algorithm.name
    )
    return function(base.network, *data, **settings)


def assert_same_weights(
    found: dict[str, Tensor], expected: Mapping[str, Tensor], tolerance: float = 1e-9
) -> None:
    for key, value in expected.items():
        scale = float(value.detach().abs().max())
        torch.testing.assert_close(
            found[key], value.detach(), rtol=tolerance, atol=tolerance * scale
        )


@pytest.mark.parametrize(("name", "setting"), CASES)
def test_stack_equals_plain_loop(
    exact: BaseModel, positions: Tensor, name: str, setting: dict[str, Any]
) -> None:
    algorithm = algorithms.get(name)(**setting)
    result = unlearn(exact, algorithm, positions, SEED)
    for member, position in enumerate(positions.tolist()):
        expected = loop(exact, algorithm, position, result, member)
        steps = int(result.steps[member])
        still = all(torch.equal(w, exact.state[n]) for n, w in result.state_of(member).items())
        is_idle = still and expected.status == "max_steps"
        assert result.status[member] == (Status.UNCHANGED if is_idle else expected.status)
        assert steps == expected.steps
        assert_same_weights(result.state_of(member), dict(expected.model.named_parameters()))
        for found, wanted in (
            (result.forget_prob, expected.forget_probs),
            (result.forget_loss, expected.forget_losses),
        ):
            np.testing.assert_allclose(found[member, : steps + 1], wanted, rtol=1e-7, atol=1e-12)
            assert found[member, steps + 1 :].isnan().all()
        for detail in expected.details:
            value = result.details[detail][member]
            assert value == pytest.approx(expected.details[detail], rel=1e-6), detail


def test_retrain_equals_a_plain_loop_over_the_other_samples(exact: BaseModel) -> None:
    assert exact.origin is not None
    arch, recipe = exact.origin.arch, exact.origin.recipe

    def make_network() -> torch.nn.Module:
        return models.build(arch, exact.dataset, recipe.seed).double()

    positions = torch.tensor([0, 500, 999])
    for execution in Execution:
        result = unlearn(exact, algorithms.get("retrain")(), positions, SEED, execution)
        for member, position in enumerate(positions.tolist()):
            expected = more.retrain(
                make_network,
                exact.train_inputs,
                exact.train_labels,
                position,
                **dataclasses.asdict(recipe),
            )
            if result.status[member] is not Status.ALREADY_WRONG:
                # A hundred steps of Adam turn rounding into more than twenty do.
                weights = dict(expected.named_parameters())
                assert_same_weights(result.state_of(member), weights, tolerance=1e-6)


@pytest.mark.parametrize("name", SETTINGS)
def test_size_and_order_of_the_stack_do_not_matter(
    base64: BaseModel, positions: Tensor, name: str
) -> None:
    algorithm = algorithms.get(name)(**SETTINGS[name][0])
    whole = unlearn(base64, algorithm, positions, SEED)
    for order, size in ((torch.arange(SAMPLES), 1), (torch.arange(SAMPLES).flip(0), 7)):
        for rows in order.split(size):
            part = unlearn(base64, algorithm, positions[rows], SEED)
            assert torch.equal(part.steps, whole.steps[rows])
            assert part.status == [whole.status[row] for row in rows]
            for key in base64.params:
                torch.testing.assert_close(
                    part.params[key], whole.params[key][rows], rtol=1e-9, atol=1e-11
                )


def test_masked_out_weights_of_salun_do_not_move_a_bit(base64: BaseModel) -> None:
    position = 11
    settings: list[dict[str, Setting]] = [
        {"optimizer": "sgd", "lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4},
        {"optimizer": "adam", "lr": 1e-3, "weight_decay": 5e-4},
    ]
    for setting in settings:
        algorithm = algorithms.get("salun").from_text({"mask_fraction": 0.2, **setting})
        result = unlearn(base64, algorithm, torch.tensor([position, 12]), SEED)
        image, label = base64.train_inputs[position], int(base64.train_labels[position])
        masks = plain.saliency_masks(base64.network, image, label, 0.2)
        for key, mask in masks.items():
            assert torch.equal(result.params[key][0][~mask], base64.params[key][~mask])
        moved = [(result.params[key][0] != base64.params[key])[masks[key]].any() for key in masks]
        assert any(moved)


def test_a_wrong_label_is_never_the_true_one_and_takes_every_other(base: BaseModel) -> None:
    algorithm = algorithms.get("salun").from_text({"max_steps": 1, "retain_batch": 1})
    zeros = (base.train_labels == 0).nonzero().squeeze(1)
    right = zeros[base.train_logits[zeros].argmax(1) == 0]
    target = unlearn(base, algorithm, right, SEED).details["relabel_target"]
    assert set(target.tolist()) == set(range(1, 10))


def test_already_wrong_samples_are_not_run(base: BaseModel) -> None:
    wrong = (base.train_logits.argmax(1) != base.train_labels).nonzero().squeeze(1)
    assert len(wrong)
    positions = torch.cat([torch.tensor([0]), wrong[:1], torch.tensor([1])])
    result = unlearn(base, algorithms.get("ga").from_text({"lr": 1e-3}), positions, SEED)
    assert result.status[1] is Status.ALREADY_WRONG
    assert Status.ALREADY_WRONG not in (result.status[0], result.status[2])
    assert result.steps[1] == 0
    assert all(torch.equal(result.params[key][1], base.params[key]) for key in base.params)
    only = unlearn(base, algorithms.get("ga")(), wrong[:1], SEED)
    assert only.status == [Status.ALREADY_WRONG]


def test_a_step_out_of_the_finite_numbers_is_taken_back(base: BaseModel) -> None:
    algorithm = algorithms.get("scrub").from_text({"optimizer": "sgd", "lr": 1e30})
    result = unlearn(base, algorithm, torch.arange(3), SEED)
    assert result.status == [Status.NON_FINITE] * 3
    for member in range(3):
        steps = int(result.steps[member])
        assert all(result.params[key][member].isfinite().all() for key in base.params)
        assert result.forget_prob[member, : steps + 1].isfinite().all()
        assert result.forget_prob[member, steps + 1 :].isnan().all()


def test_a_non_finite_member_does_not_touch_its_neighbours(base: BaseModel) -> None:
    class Exploding(algorithms.get("ga")):  # type: ignore[misc]
        def losses(self, step: int) -> Any:
            (ascend,) = super().losses(step)
            return (
                lambda model, forget, *rest: (
                    ascend(model, forget, *rest)
                    * torch.where(forget.label == base.train_labels[0], torch.nan, 1.0)
                ),
            )

    other = int((base.train_labels != base.train_labels[0]).nonzero()[0])
    result = unlearn(base, Exploding(lr=1e-3), torch.tensor([0, other]), SEED)
    alone = unlearn(base, algorithms.get("ga").from_text({"lr": 1e-3}), torch.tensor([other]), SEED)
    assert result.status == [Status.NON_FINITE, alone.status[0]]
    assert result.steps.tolist() == [0, alone.steps[0]]
    for key in base.params:
        torch.testing.assert_close(result.params[key][1], alone.params[key][0])


def test_budget_ends_a_run(base: BaseModel) -> None:
    algorithm = algorithms.get("ga").from_text({"lr": 1e-8, "max_steps": 2})
    result = unlearn(base, algorithm, torch.arange(3), SEED)
    assert result.status == [Status.MAX_STEPS] * 3
    assert result.steps.tolist() == [2, 2, 2]
    assert (result.elapsed_s > 0).all()


def one_pixel(train: list[int], test: list[int]) -> BaseModel:
    """Logits (w0 x, w1 x) with w = (1, 0), in float64, on pixels in hundredths, all of class 0."""

    def split(pixels: list[int]) -> datasets.Split:
        images = torch.tensor(pixels, dtype=torch.uint8).reshape(-1, 1, 1, 1)
        ids = torch.arange(len(pixels))
        return datasets.Split(images, torch.zeros_like(ids), ids)

    layer = torch.nn.Linear(1, 2, bias=False)
    layer.weight.data = torch.tensor([[1.0], [0.0]])
    network = torch.nn.Sequential(torch.nn.Flatten(), layer).double()
    data = datasets.Dataset("pixels", split(train), split(test), ("0", "1"), white=100)
    return BaseModel(network, data, CPU)


class RewoundAscent(algorithms.get("ga")):  # type: ignore[misc]
    """Gradient ascent, rewound as scrub_r is."""

    prepare, regret = (getattr(algorithms.get("scrub_r"), name) for name in ("prepare", "regret"))


@pytest.mark.parametrize("execution", Execution)
def test_flipped_rewound_and_out_of_steps_by_hand(execution: Execution) -> None:
    # A step takes d = w0 - w1 from 1 by 2 lr x (1 - sigmoid(x d)). Under lr 1.8 it becomes, with
    # x = 1.28: -0.003, with 1: 0.032 and -0.854, with 0.35: 0.48 and -0.10, and with 0.1: 0.83,
    # 0.66 and 0.49. Test pixels of 0 have p = 1/2: to that the last steps are nearest, but for x=1.
    base = one_pixel([128, 100, 35, 10], [0, 0])
    ascent = RewoundAscent(optimizer="sgd", lr=1.8, max_steps=3)
    found = unlearn(base, ascent, torch.arange(4), SEED, execution)
    assert found.status == ["flipped", "rewound", "flipped", "max_steps"]
    assert found.steps.tolist() == [1, 2, 2, 3]
    assert found.kept.tolist() == [1, 1, 2, 3]
    for member, x in enumerate((1.28, 1.0, 0.35, 0.1)):
        d = 1.0
        for _ in range(int(found.kept[member])):
            d -= 2 * 1.8 * x / (1 + math.exp(x * d))
        (weights,) = found.state_of(member).values()
        assert weights.flatten().tolist() == pytest.approx([(1 + d) / 2, (1 - d) / 2], rel=1e-6)
    # Where the flip is just out of reach, the same member is one of those that ran out of steps.
    for algorithm in (dataclasses.replace(ascent, max_steps=1), RewoundAscent(lr=1e-9)):
        assert unlearn(base, algorithm, torch.tensor([1]), SEED, execution).status == ["max_steps"]


def test_retain_draws_leave_the_sample_out_and_use_the_rest_evenly() -> None:
    drawn = retain_positions(seed=0, sample_id=42, position=4, size=10, draws=9 * 5)
    rounds = drawn.reshape(5, 9)
    assert (np.sort(rounds, axis=1) == [0, 1, 2, 3, 5, 6, 7, 8, 9]).all()
    assert len({tuple(order) for order in rounds.tolist()}) == 5
    again = retain_positions(seed=0, sample_id=42, position=4, size=10, draws=7)
    assert (again == drawn[:7]).all()
    assert (retain_positions(1, 42, 4, 10, 45) != drawn).any()
    assert (retain_positions(0, 43, 4, 10, 45) != drawn).any()
    assert len(retain_positions(0, 42, 4, 10, 0)) == 0
