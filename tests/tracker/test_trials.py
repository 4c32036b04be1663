"""Settings are judged by flips and by what is lost, in that order, and the best is found."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.oracles.algorithms import ga
from tests.oracles.loops import Task as Sample
from tracker.base.workers import Stop
from tracker.studies import tuning
from tracker.studies.trials import Attempts, Trial
from tracker.sweep.choosing import draw_samples, draw_to_try, misclassified
from unlearning import algorithms
from unlearning.algorithm import Algorithm
from unlearning.base_model import logits
from unlearning.errors import UserError
from unlearning.testing import small_base, some_positions

GA = algorithms.get("ga")


def trial(flip_rate: float, points: float, prob: float = 0.0, samples: int = 20) -> Trial:
    return Trial(GA(), samples, flip_rate, points, prob, 1.0)


def is_better(one: Trial, other: Trial) -> bool:
    """The rule in words: enough flips first, then what is lost; else more flips."""
    if one.flip_rate >= 0.95 and other.flip_rate < 0.95:
        return True
    if one.flip_rate < 0.95 and other.flip_rate >= 0.95:
        return False
    if one.flip_rate < 0.95 and one.flip_rate != other.flip_rate:
        return one.flip_rate > other.flip_rate
    if one.points_lost != other.points_lost:
        return one.points_lost < other.points_lost
    return one.prob_lost < other.prob_lost


def test_hand_made_trials_come_in_this_order() -> None:
    ordered = [
        trial(0.95, -0.1),  # a model may gain
        trial(1.0, 2.0, 0.01),
        trial(0.99, 2.0, 0.02),  # as coarse as accuracy is, probability decides
        trial(1.0, 60.0),
        trial(0.94, 0.0),  # not enough, whatever it costs
        trial(0.5, 30.0),
        trial(0.5, 31.0),
        trial(0.0, 0.0),
        trial(0.0, 98.0),
    ]
    assert all(is_better(one, other) for one, other in itertools.pairwise(ordered))
    for turned in (ordered[::-1], ordered[3:] + ordered[:3]):
        assert sorted(turned, key=lambda trial: trial.rank) == ordered
    assert sorted(ordered, key=lambda trial: trial.value) == ordered


def test_any_trials_are_ordered_as_the_rule_says() -> None:
    random = np.random.default_rng(0)
    rates, points = (0.0, 0.4, 0.94, 0.95, 1.0), (0.0, 0.5, 7.25)
    trials = [
        trial(random.choice(rates), random.choice(points), random.choice((0.0, 0.1)))
        for _ in range(60)
    ]
    for one, other in itertools.product(trials, trials):
        assert (one.rank < other.rank) == is_better(one, other)


def samples() -> tuple[list[int], list[Sample]]:
    """Ids of samples of the small base model, and each as the oracle takes it."""
    base, positions = small_base(), some_positions()
    found = [
        Sample(base.network, base.train_inputs[at], int(base.train_labels[at]))
        for at in positions.tolist()
    ]
    return base.dataset.train.ids[positions].tolist(), found


@pytest.mark.parametrize("settings", [{"lr": 1e-3}, {"optimizer": "sgd", "lr": 0.3}])
def test_what_a_sample_comes_to_is_what_a_plain_loop_says(settings: dict[str, Any]) -> None:
    base, (ids, each) = small_base(), samples()
    algorithm = GA.from_text(settings)
    found = Attempts(0, Stop())(base, (0, algorithm, ids[1:]))  # the first is wrong already
    before = base.network(base.test_inputs).softmax(1).detach()
    for attempt, sample in zip(found, each[1:], strict=True):
        steps: Any = {n: v for n, v in algorithm.settings().items() if n != "batch_norm"}
        result = ga.unlearn(sample, **steps)
        after = result.model(base.test_inputs).softmax(1).detach()
        rows = range(len(base.test_labels))
        right = [float((p.argmax(1) == base.test_labels).double().mean()) for p in (before, after)]
        probs = [float(p[rows, base.test_labels].mean()) for p in (before, after)]
        assert attempt.flipped == (result.status == "flipped")
        assert attempt.points_lost == pytest.approx(100 * (right[0] - right[1]), abs=1e-9)
        assert attempt.prob_lost == pytest.approx(probs[0] - probs[1], abs=1e-9)


def test_what_leaves_the_finite_numbers_has_lost_all() -> None:
    base, (ids, _) = small_base(), samples()
    algorithm = GA.from_text({"optimizer": "sgd"})
    object.__setattr__(algorithm, "lr", 1e300)  # larger than is accepted, to get there in a step
    found = Attempts(0, Stop())(base, (0, algorithm, ids[1:]))
    right = (logits(base.model, base.test_inputs).argmax(1) == base.test_labels).double().mean()
    for attempt in found:
        assert not attempt.flipped
        assert attempt.points_lost == pytest.approx(100 * float(right), abs=1e-9)
        assert 0 < attempt.prob_lost <= 1


def test_only_what_is_shared_for_the_settings_at_hand_is_remembered() -> None:
    base, (ids, _) = small_base(), samples()
    each = [algorithms.get("ssd").from_text({"alpha": alpha}) for alpha in (1.0, 2.0, 3.0)]
    for algorithm in each:
        Attempts(0, Stop())(base, (0, algorithm, ids[1:]))
    assert [what for what in base._remembered if isinstance(what, Algorithm)] == each[-1:]


# The search


def task(name: str = "ga", trials: int = 40, changes: tuple[str, ...] = ()) -> tuning.Task:
    (found,) = tuning.tasks([name], changes, trials)
    return found


def as_if_best_at(lr: float, optimizer: str = "sgd") -> Callable[[Algorithm, bool], Trial]:
    """Trials of which those at that rate flip all and lose nothing."""

    def tried(algorithm: Algorithm, whole: bool) -> Trial:
        settings = algorithm.settings()
        off = abs(math.log10(float(settings["lr"]) / lr)) + (settings["optimizer"] != optimizer)
        return Trial(algorithm, 20, 1.0 if off < 1 else 0.9 / (1 + off), 10 * off, 0.0, 0.5)

    return tried


@pytest.mark.parametrize("lr", [3e-5, 2e-3, 0.05])
def test_the_best_rate_is_found_and_the_same_seed_finds_the_same(lr: float) -> None:
    done: list[int] = []
    found = tuning.search(task(), 0, as_if_best_at(lr), lambda n, _: done.append(n))
    settings = found.best.algorithm.settings()
    assert settings["optimizer"] == "sgd"
    assert abs(math.log10(float(settings["lr"]) / lr)) < 0.25
    assert sum(done) == 40
    assert found.best.rank <= min(trial.rank for trial in found.shipped.values())
    again = tuning.search(task(), 0, as_if_best_at(lr), lambda n, _: None)
    assert again == found
    assert float(f"{settings['lr']:.3g}") == settings["lr"]
    assert found.settings() == {"optimizer": "sgd", "lr": settings["lr"]}


def test_what_is_shipped_is_tried_first_on_all_samples() -> None:
    tried: list[tuple[Algorithm, bool]] = []

    def note(algorithm: Algorithm, whole: bool) -> Trial:
        tried.append((algorithm, whole))
        return trial(1.0, 5.0)

    found = tuning.search(task(trials=1), 0, note, lambda n, _: None)
    assert [algorithm.settings()["lr"] for algorithm, _ in tried] == [1e-4, 3e-4]
    assert all(whole for _, whole in tried)
    assert set(found.shipped) == {"defaults", "digits", "paper"}
    assert found.shipped["defaults"] == found.shipped["paper"]  # the same settings


def test_what_was_stopped_is_tried_on_all_before_it_is_taken() -> None:
    whole = list[Algorithm]()

    def tried(algorithm: Algorithm, on_all: bool) -> Trial:
        if on_all:
            whole.append(algorithm)
            return Trial(algorithm, 20, 0.1 if len(whole) < 4 else 0.3, 0.0, 0.0, 1.0)
        return Trial(algorithm, 5, 0.4, 0.0, 0.0, 1.0)

    found = tuning.search(task(trials=8), 0, tried, lambda n, _: None)
    assert found.best.samples == 20
    assert found.best.flip_rate == 0.3
    assert len(whole) == 8  # each that seemed better than it


def test_where_nothing_flips_nothing_is_found() -> None:
    def tried(algorithm: Algorithm, whole: bool) -> Trial:
        return replace(trial(0.0, 0.0), algorithm=algorithm)

    found = tuning.search(task("ft", 5), 0, tried, lambda n, _: None)
    assert found.flips_nothing
    assert found.settings() == {}
    given = tuning.search(task("ft", 5, ("ft.max_steps=3",)), 0, tried, lambda n, _: None)
    assert given.settings() == {"max_steps": 3}


def test_what_is_given_is_not_searched_but_kept() -> None:
    given = task("scrub", 4, ("scrub.lr=2e-3", "scrub.retain_batch=7"))
    assert set(given.space) == {"optimizer", "alpha", "temperature"}
    tried = list[Algorithm]()

    def note(algorithm: Algorithm, whole: bool) -> Trial:
        tried.append(algorithm)
        return Trial(algorithm, 20, 1.0, 0.0, 0.0, 1.0)

    found = tuning.search(given, 0, note, lambda n, _: None)
    assert {(a.settings()["lr"], a.settings()["retain_batch"]) for a in tried} == {(2e-3, 7)}
    assert found.settings().items() >= {"lr": 2e-3, "retain_batch": 7}.items()


def test_what_has_nothing_to_search_is_said() -> None:
    said: list[str] = []
    assert [each.name for each in tuning.tasks(["retrain", "ga"], (), 5, said.append)] == ["ga"]
    assert said == ["retrain has nothing to search: it is left as it is"]
    with pytest.raises(UserError, match="nothing to search"):
        tuning.tasks(["retrain"], ())
    with pytest.raises(UserError, match="nothing to search"):
        tuning.tasks(["ga"], ("ga.lr=1e-3", "ga.optimizer=sgd"))


@pytest.mark.parametrize("name", algorithms.names())
def test_all_that_is_searched_is_accepted(name: str) -> None:
    algorithm = algorithms.get(name)
    space = tuning._space(algorithm, {})
    assert (len(space) in (2, 3, 4)) == (name != "retrain")
    for setting, among in space.items():
        for value in among if isinstance(among[0], str) else among[:2]:
            assert algorithm.from_text({setting: value}).settings()[setting] == value


# The samples


def test_samples_are_others_than_a_sweep_draws() -> None:
    base = small_base()
    ids, wrong = base.dataset.train.ids.tolist(), misclassified(base)
    right = len(ids) - len(wrong)
    tried = draw_to_try(base, 20, 20, seed=3)
    assert len(set(tried)) == 20
    assert not wrong & set(tried)
    assert not set(tried) & set(draw_samples(ids, right - 20, 3, wrong))
    assert draw_to_try(base, 5, 20, seed=3) == tried[:5]
    assert draw_to_try(base, 5, 20, seed=3, avoided=tried[:2]) == tried[2:7]
    assert draw_to_try(base, None, 20, seed=3) == tried
    assert len(draw_to_try(base, None, 10**6, seed=3)) == right


def test_more_samples_than_there_are_are_refused() -> None:
    base = small_base()
    ids, wrong = base.dataset.train.ids.tolist(), misclassified(base)
    right = len(ids) - len(wrong)
    said = f"{right} samples are asked for: of 300 in .* gets {right} right, and {right - 1} of"
    (first,) = draw_to_try(base, 1, 1, 0)
    with pytest.raises(UserError, match=said):
        draw_to_try(base, right, 20, 0, [first])
    with pytest.raises(UserError, match="no sample to try"):
        draw_to_try(base, None, 20, 0, ids)
    with pytest.raises(UserError, match="99999"):
        draw_to_try(base, None, 20, 0, [99999])
