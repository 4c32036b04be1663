"""The index: exact where an attempt goes along a line, by the oracle, and where there is none."""

from __future__ import annotations

import pytest
import scipy.stats
import torch
from torch import Tensor

from factors.evaluation import evaluate
from factors.family import post_values
from factors.index import Forecast, forecast, is_known
from factors.outcome import OUTCOME
from tests.factors.small_bases import one_pixel
from tests.oracles import index as oracle
from tests.oracles.factors import probe
from unlearning import algorithms
from unlearning.algorithm import Algorithm
from unlearning.base_model import BaseModel
from unlearning.engine import unlearn
from unlearning.hyperparameters import Setting
from unlearning.losses import log_odds, wide
from unlearning.outcome import Status


def algorithm(name: str, **settings: Setting) -> Algorithm:
    return algorithms.get(name).from_text(settings)


def linear(weight: float = 4.0) -> BaseModel:
    return one_pixel([weight, 0.0], sizes=(2, 2), double=True)


def numbers(found: Forecast) -> Tensor:
    """The six of K samples, (6, K)."""
    return torch.stack([*found])


NOTHING_LOST = torch.tensor([1.0, 0.0, 0.0, 0.0, torch.nan])[:, None]  # all but the steps


def odds_of(base: BaseModel, positions: Tensor) -> Tensor:
    """The log-odds of the samples' labels, (K,)."""
    return log_odds(base.train_logits[positions], base.train_labels[positions])


@pytest.mark.parametrize("below", [None, 3.0])
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("ga", {"optimizer": "sgd", "lr": 0.5, "momentum": 0.9}),
        ("ga", {"optimizer": "adam", "lr": 0.15, "max_steps": 3}),
        ("boundary_shrink", {"optimizer": "adam", "lr": 0.15}),
    ],
)
def test_a_linear_model_goes_along_the_line(
    name: str, settings: dict[str, Setting], below: float | None
) -> None:
    """All entries have the same gradient but for the sign, so Adam and SGD stay on one line."""
    base, first, chosen = linear(), torch.tensor([0]), algorithm(name, **settings)
    target = None if below is None else odds_of(base, first) - below  # it is right there still
    attempt = unlearn(base, chosen, first, seed=0, target=target)
    chunk = evaluate(base, first, attempt, base.some(None))
    found = forecast(base, chosen, first, target=target)
    arrives = attempt.status[0] in (Status.FLIPPED, Status.AT_REFERENCE)
    assert arrives == ("max_steps" not in settings)
    assert found.flips.item() == arrives
    assert found.steps.item() == attempt.steps.item()
    near = 1e-6 if target is None else 5e-3
    assert found.prob_lost.item() == pytest.approx(chunk.test_prob_diff.item(), rel=near)
    assert found.forget_prob_diff.item() == pytest.approx(chunk.forget_prob_diff.item(), rel=near)
    assert found.points_lost.item() == (100 if arrives and target is None else 0)
    if target is None:
        gt = post_values(chunk, [OUTCOME])["gt"]
        assert found.gt.item() == pytest.approx(gt.item(), rel=near)


@pytest.mark.parametrize("below", [None, 0.5, 6.0, 14.0])
def test_gradient_ascent_follows_the_oracle(
    below: float | None, base64: BaseModel, positions: Tensor
) -> None:
    """Until the flip, or to a target; of the first sample the base model is wrong."""
    some = positions[1:4] if below is None else positions[:4]
    target = None if below is None else odds_of(base64, some) - below
    found = forecast(base64, algorithm("ga", lr=3e-4), some, target=target)
    for k, position in enumerate(some.tolist()):
        image, label = base64.train_inputs[position], int(base64.train_labels[position])
        goal = None if target is None else float(target[k])
        walked = oracle.adam_ascent(base64.network, image, label, 3e-4, 20, goal)
        assert found.steps[k].item() == walked.steps
        signs = probe.adam_direction(base64.network, image, label)
        moved = probe.moved(base64.network, signs, walked.end)
        before = probe.log_prob(base64.network, image, label)
        expected = torch.tensor([before, probe.log_prob(moved, image, label)]).double().exp()
        fall = (expected[0] - expected[1]).item()
        near = 1e-3 if goal is None else 1e-2
        assert found.forget_prob_diff[k].item() == pytest.approx(fall, rel=near)
        if goal is not None and found.flips[k]:
            assert oracle.log_odds(moved, image, label) == pytest.approx(goal, abs=1e-6)


def test_scrub_ends_in_the_middle_of_its_last_step(base64: BaseModel, positions: Tensor) -> None:
    settings: dict[str, Setting] = {"optimizer": "sgd", "lr": 8e-3, "temperature": 8.0}
    found = forecast(base64, algorithm("scrub", **settings), positions[1:3])
    for k, position in enumerate(positions[1:3].tolist()):
        image, label = base64.train_inputs[position], int(base64.train_labels[position])
        direction = oracle.hot_direction(base64.network, image, label, 8.0)
        flip = probe.flip_step(base64.network, direction, image, label)
        growth = oracle.scrub_growth(base64.network, image, direction, flip, 8e-3, 8.0)
        moved = probe.moved(base64.network, direction, flip * (1 + growth) / 2)
        before = probe.log_prob(base64.network, image, label)
        after = probe.log_prob(moved, image, label)
        fall = (torch.tensor(before).exp() - torch.tensor(after).exp()).item()
        assert found.flips[k].item() == 1
        assert found.forget_prob_diff[k].item() == pytest.approx(fall, rel=1e-3)


def test_scrub_ends_at_a_target(base64: BaseModel, positions: Tensor) -> None:
    settings: dict[str, Setting] = {"optimizer": "sgd", "lr": 8e-3, "temperature": 8.0}
    some = positions[:3]
    target = odds_of(base64, some) - 2
    found = forecast(base64, algorithm("scrub", **settings), some, target=target)
    before = base64.train_logits[some].softmax(dim=1)
    before = before[torch.arange(3), base64.train_labels[some]]
    torch.testing.assert_close(found.forget_prob_diff, before - target.sigmoid(), rtol=1e-2, atol=0)
    assert found.flips.tolist() == [1, 1, 1]
    for k, position in enumerate(some.tolist()):
        image, label = base64.train_inputs[position], int(base64.train_labels[position])
        direction = oracle.hot_direction(base64.network, image, label, 8.0)
        to = oracle.step_to(base64.network, direction, image, label, float(target[k]))
        lost = oracle.prob_lost(
            base64.network, direction, to, base64.test_inputs, base64.test_labels
        )
        assert found.prob_lost[k].item() == pytest.approx(lost, rel=1e-2)


def test_it_ranks_attempts_that_end_at_a_target(base: BaseModel, positions: Tensor) -> None:
    chosen, target = algorithm("ga"), 0.6 * odds_of(base, positions)
    attempt = unlearn(base, chosen, positions, 0, target=target)
    chunk = evaluate(base, positions, attempt, base.some(100))
    found = forecast(base, chosen, positions, target=target)
    ranks = scipy.stats.spearmanr(found.prob_lost, chunk.test_prob_diff)
    assert ranks.statistic > 0.95
    assert scipy.stats.spearmanr(found.steps, attempt.steps).statistic > 0.95


def test_what_is_there_already_takes_no_step(base64: BaseModel, positions: Tensor) -> None:
    odds = odds_of(base64, positions[:3])
    target = odds + torch.tensor([1.0, 0.0, -1.0])
    for name in ("ga", "scrub"):
        steps, *found = forecast(base64, algorithm(name), positions[:3], target=target)
        assert (steps > 0).tolist() == [False, False, True]
        still = torch.stack(found)[:, :2]
        torch.testing.assert_close(still, wide(NOTHING_LOST).expand(-1, 2), equal_nan=True)


def test_without_a_mask_salun_is_random_label(base64: BaseModel, positions: Tensor) -> None:
    settings: dict[str, Setting] = {"optimizer": "sgd", "lr": 1e-3}
    random_label = forecast(base64, algorithm("random_label", **settings), positions[:3])
    whole = algorithm("salun", mask_fraction=1.0, **settings)
    unmasked = forecast(base64, whole, positions[:3])
    torch.testing.assert_close(numbers(unmasked), numbers(random_label), equal_nan=True)
    tenth = algorithm("salun", mask_fraction=0.1, **settings)
    differs = forecast(base64, tenth, positions[:3]).prob_lost != random_label.prob_lost
    assert differs[1:].all()


def test_with_two_classes_there_is_one_wrong_label() -> None:
    settings: dict[str, Setting] = {"optimizer": "sgd", "lr": 0.1}
    only, first = algorithm("boundary_shrink", **settings), torch.tensor([0])
    expected = forecast(linear(), only, first)
    found = forecast(linear(), algorithm("random_label", **settings), first)
    torch.testing.assert_close(numbers(found), numbers(expected), rtol=1e-7, atol=1e-10)
    # All gradients are equally large, so that half of them are none above the rest.
    stays = forecast(linear(), algorithm("salun", **settings), first)
    assert (stays.flips.item(), stays.prob_lost.item()) == (0, 0)


@pytest.mark.parametrize("name", ["neggrad", "scrub"])
def test_a_sample_is_forecast_alike_alone_and_in_company(
    name: str, base64: BaseModel, positions: Tensor
) -> None:
    chosen, some = algorithm(name), positions[:3].split(1)
    together = forecast(base64, chosen, positions[:3])
    alone = [numbers(forecast(base64, chosen, one)) for one in some]
    torch.testing.assert_close(numbers(together), torch.cat(alone, dim=1), equal_nan=True)
    assert numbers(together)[:, 0].isnan().all()  # the base model is wrong on it
    assert numbers(together)[:, 1:].isfinite().all()
    target = odds_of(base64, positions[:2]) - 1
    together = forecast(base64, chosen, positions[:2], target=target)
    ends = zip(some, target.split(1), strict=False)
    alone = [numbers(forecast(base64, chosen, one, target=end)) for one, end in ends]
    torch.testing.assert_close(numbers(together), torch.cat(alone, dim=1))
    assert numbers(together).isfinite().all()


@pytest.mark.parametrize("name", ["ft", "influence"])
def test_of_what_has_no_closed_form_nothing_is_known(name: str, base: BaseModel) -> None:
    assert not is_known(algorithm(name))
    assert numbers(forecast(base, algorithm(name), base.some(2))).isnan().all()


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_without_a_gradient_there_is_no_forecast(optimizer: str) -> None:
    # p is 1 to the last bit, and so the gradient is zero.
    found = forecast(linear(4000.0), algorithm("ga", optimizer=optimizer), torch.tensor([0]))
    assert numbers(found).isnan().all()
