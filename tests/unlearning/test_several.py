"""Several samples unlearned from one model: against plain loops, and never rehearsed."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.oracles import sets
from tests.oracles.algorithms.retrain import retrain
from tests.oracles.loops import Data, Task
from tests.oracles.small_models import linear, sigmoid
from tests.unlearning.plain_loops import assert_same_weights
from unlearning import algorithms, models, presets, training
from unlearning.algorithm import Algorithm
from unlearning.base_model import BaseModel, Origin, Params
from unlearning.dataset import Dataset, Split
from unlearning.engine import unlearn
from unlearning.errors import Stopped, UserError
from unlearning.losses import log_odds
from unlearning.outcome import Status
from unlearning.recipe import Recipe
from unlearning.sampling import forget_samples, shuffled
from unlearning.several import moved, refuse_unable, unlearn_at_once, unlearn_next

CPU, SEED = torch.device("cpu"), 4
ABLE = [name for name in algorithms.names() if algorithms.get(name).takes_sets]
SMALL = {
    "retain_batch": 8,
    "importance_samples": 20,
    "fisher_samples": 20,
    "max_steps": 6,
    "damping": 0.1,
    "layers": "last",  # of all weights the oracle's matrix is large
}


@pytest.fixture(scope="module")
def exact(digits: Dataset) -> BaseModel:
    """A base model in float64 of 200 of the digits; its recipe is quick to repeat."""
    few = dataclasses.replace(digits, train=digits.train.draw(200), test=digits.test.draw(100))
    recipe = Recipe(epochs=8, batch_size=32)
    network = training.train(few, "mlp", recipe, CPU)
    return BaseModel(network.double(), few, CPU, Origin("mlp", recipe))


@pytest.fixture(scope="module")
def right(exact: BaseModel) -> Tensor:
    """Positions of samples that the base model gets right."""
    found = (exact.train_logits.argmax(1) == exact.train_labels).nonzero().squeeze(1)
    return found[:30]


def made(name: str, **settings: Any) -> Algorithm:
    fields = {field.name for field in dataclasses.fields(algorithms.get(name))}
    chosen = {**presets.load("digits").get(name, {}), **SMALL, **settings}
    return algorithms.get(name).from_text({k: v for k, v in chosen.items() if k in fields})


def state_after(base: BaseModel, changed: Params) -> dict[str, Tensor]:
    return {**base.state, **changed}


def tasks_of(
    base: BaseModel, algorithm: Algorithm, positions: Tensor, target: Tensor | None
) -> list[Task]:
    """The samples with the engine's draws: wrong labels, and retain batches of the rest."""
    settings = algorithm.settings()
    stays = torch.ones(len(base.train_labels), dtype=torch.bool)
    stays[positions] = False
    rest = (base.train_inputs[stays], base.train_labels[stays])
    ids = sorted(base.dataset.train.ids[positions].tolist())
    batch, slots = int(settings.get("retain_batch", 1)), int(settings.get("retain_batches", 1))
    draws = algorithm.budget * slots * batch
    order = shuffled([SEED, *ids], len(rest[1]), draws).reshape(algorithm.budget, slots, batch)

    def retain(step: int, slot: int) -> Data:
        at = torch.from_numpy(order[step - 1, slot])
        return rest[0][at], rest[1][at]

    forget = forget_samples(base, positions, SEED)
    offsets = 1 + (forget.uniform * (base.train_logits.shape[1] - 1)).long()
    wrong = (forget.label + offsets) % base.train_logits.shape[1]
    ends = [None] * len(positions) if target is None else target.tolist()
    return [
        Task(
            base.network,
            image,
            int(label),
            retain,
            train=rest,
            head=f"{base.head_name}.",
            relabel_target=int(other),
            target=end,
        )
        for image, label, other, end in zip(forget.image, forget.label, wrong, ends, strict=True)
    ]


# Log-odds below the base model's at which a set ends: at the flip, and where it may be before it.
BELOW = [None, torch.tensor([0.2, 0.5, 1.0], dtype=torch.float64)]


@pytest.mark.parametrize("below", BELOW, ids=["flip", "targets"])
@pytest.mark.parametrize("name", sorted({*ABLE} - {"retrain"}))
def test_at_once_equals_a_plain_loop_over_the_samples(
    exact: BaseModel, right: Tensor, name: str, below: Tensor | None
) -> None:
    algorithm, positions = made(name), right[[1, 4, 9]]
    labels = exact.train_labels[positions]
    target = None if below is None else log_odds(exact.train_logits[positions], labels) - below
    found = unlearn_at_once(
        exact, exact.state, algorithm, positions, positions, SEED, target=target
    )
    settings: dict[str, Any] = algorithm.settings()
    for other in ("batch_norm", "retain_batch"):
        settings.pop(other, None)
    model, steps = sets.unlearn(name, tasks_of(exact, algorithm, positions, target), settings)
    assert int(found.steps) == steps
    assert_same_weights(state_after(exact, found.state_of(0)), dict(model.named_parameters()), 1e-7)
    with torch.no_grad():
        logits = model(exact.train_inputs[positions])
    prob = logits.softmax(1)[torch.arange(3), labels]
    torch.testing.assert_close(found.forget_prob[0, steps], prob.mean(), rtol=1e-6, atol=1e-9)
    if target is None:
        arrived, status = logits.argmax(1) != labels, Status.FLIPPED
    else:
        arrived, status = log_odds(logits, labels) <= target + 0.25, Status.AT_REFERENCE
    assert (found.status == [status]) == bool(arrived.all())


def test_retraining_without_several_equals_a_plain_loop(exact: BaseModel, right: Tensor) -> None:
    assert exact.origin is not None
    positions, origin = right[:3], exact.origin
    found = unlearn_at_once(exact, exact.state, made("retrain"), positions, positions, SEED)
    expected = retrain(
        lambda: models.build(origin.arch, exact.dataset, origin.recipe.seed).double(),
        (exact.train_inputs, exact.train_labels),
        int(positions[0]),
        **origin.recipe.settings,
        others=positions[1:].tolist(),
    )
    assert_same_weights(found.state_of(0), dict(expected.named_parameters()), tolerance=1e-6)


@pytest.mark.parametrize("name", ["scrub", "salun", "influence", "ssd"])
def test_no_other_request_is_looked_at(exact: BaseModel, right: Tensor, name: str) -> None:
    """With noise in place of the other requests it comes to the same."""
    algorithm, requests = made(name, max_steps=3, retain_batch=150), right[:5]
    images = exact.dataset.train.images.clone()
    images[requests[2:]] = 16 - images[requests[2:]]
    noisy = dataclasses.replace(
        exact.dataset, train=dataclasses.replace(exact.dataset.train, images=images)
    )
    other = BaseModel(copy.deepcopy(exact.network), noisy, CPU, exact.origin)
    position = int(requests[0])
    ones = [
        unlearn_next(base, base.state, algorithm, position, requests, SEED).params
        for base in (exact, other)
    ]
    assert all(torch.equal(ones[0][key], ones[1][key]) for key in ones[0])
    if algorithm.takes_sets:
        both = [
            unlearn_at_once(base, base.state, algorithm, requests[:2], requests, SEED).params
            for base in (exact, other)
        ]
        assert all(torch.equal(both[0][key], both[1][key]) for key in both[0])


def test_a_step_begins_with_the_weights_that_are_there(exact: BaseModel, right: Tensor) -> None:
    """The second of two is unlearned from what the first one left, as from a base model."""
    algorithm, requests = made("scrub"), right[:2]
    first = unlearn_next(exact, exact.state, algorithm, int(requests[0]), requests, SEED)
    state = state_after(exact, first.state_of(0))
    second = unlearn_next(exact, state, algorithm, int(requests[1]), requests, SEED)
    current = moved(exact, state, requests[:1])
    assert len(current.train_labels) == len(exact.train_labels) - 1
    prob = current.train_logits.softmax(1)
    at = current.dataset.train.positions(exact.dataset.train.ids[requests[1:]].tolist())
    label = current.train_labels[at]
    assert second.forget_prob[0, 0] == pytest.approx(prob[at, label].item(), rel=1e-9)
    expected = unlearn(current, algorithm, at, SEED)
    assert torch.equal(second.steps, expected.steps)
    assert_same_weights(second.state_of(0), expected.state_of(0))
    assert all(torch.equal(p, exact.network.get_parameter(k)) for k, p in exact.params.items())


def pixel_base(*pixels: int) -> BaseModel:
    """Logits (x, 0) of one-pixel images of class 0, with a white of 4; the last one remains."""
    images = torch.tensor(pixels, dtype=torch.uint8).reshape(-1, 1, 1, 1)
    split = Split(images, torch.zeros(len(pixels), dtype=torch.int64), torch.arange(len(pixels)))
    data = Dataset("pixels", split, split, ("0", "1"), white=4)
    return BaseModel(linear([[1.0], [0.0]]), data, CPU)


def test_a_step_of_gradient_ascent_on_two_pixels_by_hand() -> None:
    """d CE(x, 0) / d w0 = -x (1 - sigmoid(x)); the mean of both is climbed with rate 1."""
    base = pixel_base(4, 2, 4)
    pair = torch.tensor([0, 1])
    ga = made("ga", optimizer="sgd", lr=1.0, max_steps=1)
    found = unlearn_at_once(base, base.state, ga, pair, pair, SEED)
    move = (-1.0 * (1 - sigmoid(1.0)) - 0.5 * (1 - sigmoid(0.5))) / 2
    (weight,) = found.params.values()
    assert weight.flatten().tolist() == pytest.approx([1 + move, -move], rel=1e-12)
    assert (found.status, int(found.steps)) == ([Status.MAX_STEPS], 1)
    difference = 1 + 2 * move
    mean = (sigmoid(difference) + sigmoid(difference / 2)) / 2
    assert found.forget_prob[0, 1].item() == pytest.approx(mean, rel=1e-12)


@pytest.mark.parametrize(("above", "steps"), [(0.26, 2), (0.24, 1)])
def test_a_set_ends_near_its_targets_by_hand(above: float, steps: int) -> None:
    """phi of pixels 1 and 1/2 are d and d / 2, with d = 1 at first; d falls by twice the move.

    The first pixel is far below its target after a step. The set ends where the second one is less
    than a quarter above its own, at the end of the whole step.
    """
    base, both = pixel_base(4, 2, 4), torch.tensor([0, 1])
    d = [1.0]
    for _ in range(2):
        climbed = (1 - sigmoid(d[-1])) + 0.5 * (1 - sigmoid(d[-1] / 2))
        d.append(d[-1] - climbed)
    target = torch.tensor([0.9, d[1] / 2 - above], dtype=torch.float64)
    ga = made("ga", optimizer="sgd", lr=1.0, max_steps=5)
    found = unlearn_at_once(base, base.state, ga, both, both, SEED, target=target)
    (weight,) = found.params.values()
    assert (found.status, int(found.steps)) == ([Status.AT_REFERENCE], steps)
    assert (weight[0, 0] - weight[0, 1]).item() == pytest.approx(d[steps], rel=1e-12)


def test_what_cannot_be_done_is_said(exact: BaseModel, right: Tensor) -> None:
    assert ABLE
    with pytest.raises(UserError, match=f"scrub_r unlearns one sample .* {', '.join(ABLE)}$"):
        unlearn_at_once(exact, exact.state, made("scrub_r"), right[:2], right[:2], SEED)
    with pytest.raises(UserError, match="batch_norm is 'batch'"):
        refuse_unable(made("ga", batch_norm="batch"))
    everything = torch.arange(len(exact.train_labels))
    with pytest.raises(UserError, match="all 200 training samples are to be forgotten"):
        unlearn_at_once(exact, exact.state, made("ga"), right[:2], everything, SEED)
    with pytest.raises(Stopped):
        unlearn_at_once(exact, exact.state, made("ga"), right[:2], right[:2], SEED, lambda: True)
