"""Settings are judged by flips and by what is lost, in that order, and the best is found."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.oracles.algorithms import ga
from tests.oracles.loops import Task as Sample
from tracker.base.workers import Stop
from tracker.studies import search
from tracker.sweep.choosing import draw_samples, draw_to_try, misclassified
from tracker.sweep.trials import Trial, attempts
from unlearning import algorithms
from unlearning.algorithm import Algorithm
from unlearning.base_model import BaseModel
from unlearning.errors import UserError
from unlearning.losses import log_odds
from unlearning.testing import small_base, some_positions

GA = algorithms.get("ga")


def is_better(one: Trial, other: Trial) -> bool:
    """The rule in words: enough flips first, then what is lost; else more flips."""
    if (one.flip_rate >= 0.95) != (other.flip_rate >= 0.95):
        return one.flip_rate >= 0.95
    if one.flip_rate < 0.95 and one.flip_rate != other.flip_rate:
        return one.flip_rate > other.flip_rate
    if one.points_lost != other.points_lost:
        return one.points_lost < other.points_lost
    return one.prob_lost < other.prob_lost


def test_trials_are_ordered_as_the_rule_says() -> None:
    rates, points, probs = (0.0, 0.4, 0.94, 0.95, 1.0), (-0.1, 0.5, 7.25), (0.0, 0.01)
    each = itertools.product(rates, points, probs)
    trials = [Trial(GA(), 20, rate, lost, prob, 1.0) for rate, lost, prob in each]
    for one, other in itertools.product(trials, trials):
        assert (one.rank < other.rank) == is_better(one, other)
    best_first = sorted(trials, key=lambda trial: trial.rank)
    assert sorted(trials, key=lambda trial: trial.value) == best_first


def samples() -> tuple[list[int], list[Sample]]:
    """Ids of samples that the small base model gets right, and each as the oracle takes it."""
    base, positions = small_base(), some_positions()[1:]
    found = [
        Sample(base.network, base.train_inputs[at], int(base.train_labels[at]))
        for at in positions.tolist()
    ]
    return base.dataset.train.ids[positions].tolist(), found


@pytest.mark.parametrize("settings", [{"lr": 1e-3}, {"optimizer": "sgd", "lr": 0.3}])
@pytest.mark.parametrize("references", [None, "digest"])
def test_what_a_sample_comes_to_is_what_a_plain_loop_says(
    settings: dict[str, Any], references: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, (ids, each) = small_base(), samples()
    algorithm, there = GA.from_text(settings), {"flipped"}
    if references:  # half are to fall by one, and half are there
        at = base.dataset.train.positions(ids)
        targets = log_odds(base.train_logits[at], base.train_labels[at]) + 1
        targets[::2] -= 2
        monkeypatch.setattr(BaseModel, "targets", lambda *_: targets)
        each = [replace(one, target=float(t)) for one, t in zip(each, targets, strict=True)]
        there = {"at_reference", "nothing_to_forget"}
    found = attempts(base, ids, algorithm, 0, Stop(), references)
    before = base.network(base.test_inputs).softmax(1).detach()
    for attempt, sample in zip(found, each, strict=True):
        steps: Any = {n: v for n, v in algorithm.settings().items() if n != "batch_norm"}
        result = ga.unlearn(sample, **steps)
        after = result.model(base.test_inputs).softmax(1).detach()
        rows = range(len(base.test_labels))
        right = [float((p.argmax(1) == base.test_labels).double().mean()) for p in (before, after)]
        probs = [float(p[rows, base.test_labels].mean()) for p in (before, after)]
        assert attempt.flipped == (result.status in there)
        assert attempt.points_lost == pytest.approx(100 * (right[0] - right[1]), abs=1e-9)
        assert attempt.prob_lost == pytest.approx(probs[0] - probs[1], abs=1e-9)


# The search

Tried = Callable[[Algorithm, bool], Trial]


def task(name: str = "ga", trials: int = 40, changes: tuple[str, ...] = ()) -> search.Task:
    (found,) = search.tasks([name], changes, trials)
    return found


def found_by(tried: Tried, *what: Any) -> search.Found:
    return search.search(task(*what), 0, tried, lambda *_: None)


@pytest.mark.parametrize("lr", [3e-5, 2e-3, 0.05])
def test_the_best_rate_is_found_and_the_same_seed_finds_the_same(lr: float) -> None:
    def tried(algorithm: Algorithm, whole: bool) -> Trial:
        settings = algorithm.settings()
        off = abs(math.log10(float(settings["lr"]) / lr)) + (settings["optimizer"] != "sgd")
        return Trial(algorithm, 20, 1.0 if off < 1 else 0.9 / (1 + off), 10 * off, 0.0, 0.5)

    done: list[int] = []
    found = search.search(task(), 0, tried, lambda n, _: done.append(n))
    settings = found.best.algorithm.settings()
    assert abs(math.log10(float(settings["lr"]) / lr)) < 0.25
    assert sum(done) == 40
    assert found.best.rank <= min(trial.rank for trial in found.shipped.values())
    assert found_by(tried) == found
    assert float(f"{settings['lr']:.3g}") == settings["lr"]
    assert found.settings() == {"optimizer": "sgd", "lr": settings["lr"]}


def test_what_is_shipped_is_tried_first_on_all_samples() -> None:
    seen: list[tuple[Algorithm, bool]] = []

    def tried(algorithm: Algorithm, whole: bool) -> Trial:
        seen.append((algorithm, whole))
        return Trial(algorithm, 20, 1.0, 5.0, 0.0, 1.0)

    found = found_by(tried, "ga", 1)
    assert [(algorithm.settings()["lr"], whole) for algorithm, whole in seen] == [
        (1e-4, True),
        (3e-4, True),
    ]
    assert set(found.shipped) == {"defaults", "digits", "paper"}
    assert found.shipped["defaults"] == found.shipped["paper"]  # the same settings


def test_what_was_stopped_is_tried_on_all_before_it_is_taken() -> None:
    whole = list[Algorithm]()

    def tried(algorithm: Algorithm, on_all: bool) -> Trial:
        if not on_all:
            return Trial(algorithm, 5, 0.4, 0.0, 0.0, 1.0)
        whole.append(algorithm)
        return Trial(algorithm, 20, 0.1 if len(whole) < 4 else 0.3, 0.0, 0.0, 1.0)

    found = found_by(tried, "ga", 8)
    assert (found.best.samples, found.best.flip_rate) == (20, 0.3)
    assert len(whole) == 8  # each that seemed better than it


def test_what_is_given_is_not_searched_but_kept() -> None:
    changes = ("scrub.lr=2e-3", "scrub.retain_batch=7")
    assert set(task("scrub", 4, changes).space) == {"optimizer", "alpha", "temperature"}
    tried: set[tuple[Any, Any]] = set()

    def note(algorithm: Algorithm, whole: bool) -> Trial:
        tried.add((algorithm.settings()["lr"], algorithm.settings()["retain_batch"]))
        return Trial(algorithm, 20, 1.0, 0.0, 0.0, 1.0)

    found = found_by(note, "scrub", 4, changes)
    assert tried == {(2e-3, 7)}
    assert found.settings().items() >= {"lr": 2e-3, "retain_batch": 7}.items()


@pytest.mark.parametrize("name", [name for name in algorithms.names() if name != "retrain"])
def test_all_that_is_searched_is_accepted(name: str) -> None:
    found = task(name)
    assert len(found.space) in (2, 3, 4)
    for setting, among in found.space.items():
        for value in among if isinstance(among[0], str) else among[:2]:
            assert found.algorithm.from_text({setting: value}).settings()[setting] == value


# The samples


def test_samples_are_others_than_a_sweep_draws() -> None:
    base = small_base()
    ids, wrong = base.dataset.train.ids.tolist(), misclassified(base)
    right = len(ids) - len(wrong)
    tried = draw_to_try(base, 20, 20, seed=3)
    assert len({*tried} - wrong) == 20
    assert not {*tried} & {*draw_samples(ids, right - 20, 3, wrong)}
    assert draw_to_try(base, 5, 20, seed=3) == tried[:5]
    assert draw_to_try(base, 5, 20, seed=3, avoided=tried[:2]) == tried[2:7]
    assert draw_to_try(base, None, 20, seed=3) == tried
    assert len(draw_to_try(base, None, 10**6, seed=3)) == right
    said = f"{right} samples are asked for: of 300 in .* gets {right} right, and {right - 1} of"
    for count, avoided, message in (
        (right, tried[:1], said),
        (None, ids, "no sample to try"),
        (None, [99999], "99999"),
    ):
        with pytest.raises(UserError, match=message):
            draw_to_try(base, count, 20, 3, avoided)
