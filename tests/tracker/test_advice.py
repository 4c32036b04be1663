"""Which samples are chosen, and what is said of samples and settings that lead nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from analysis.words import MAX_LOSS
from tests.tracker.conftest import Indelible, own_copy
from tracker.base import base_models
from tracker.cli import run
from tracker.store.opening import open_store
from tracker.store.records import Finished
from tracker.sweep.choosing import choose_samples, configure, draw_samples, misclassified
from tracker.sweep.plan import Plan
from tracker.sweep.summary import after_sweep
from unlearning.base_model import BaseModel
from unlearning.errors import UserError
from unlearning.outcome import Status


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a base model that gets many samples wrong; not to be written into."""
    folder = tmp_path_factory.mktemp("store")
    assert run(["--store", str(folder), "train", "--epochs", "1", "--lr", "5e-4"]) == 0
    return folder


def base_of(store: Path) -> BaseModel:
    return base_models.load(open_store(store), "latest", torch.device("cpu")).model


def wrong_of(base: BaseModel) -> set[int]:
    """One image at a time."""
    train = base.dataset.train
    return {
        int(sample)
        for sample, image, label in zip(train.ids, base.train_inputs, train.labels, strict=True)
        if int(base.network(image[None]).argmax()) != int(label)
    }


def test_what_is_left_out_gives_way_and_the_others_stay() -> None:
    ids = list(range(100, 160))
    plain = draw_samples(ids, 20, seed=3)
    left_out = {*plain[:5], 101, 102}
    drawn = draw_samples(ids, 20, 3, left_out)
    assert len(set(drawn)) == 20
    assert not left_out & set(drawn)
    assert set(plain) - left_out <= set(drawn)
    assert set(draw_samples(ids, 10, 3, left_out)) <= set(drawn)
    assert draw_samples(ids, 60 - len(left_out), 3, left_out) == sorted({*ids} - left_out)
    with pytest.raises(UserError, match=r"split has 60, of which the base model gets 5\d right"):
        draw_samples(ids, 60, 3, left_out)
    with pytest.raises(UserError, match=r"the training split has 60$"):
        draw_samples(ids, 61, 3)


def test_only_samples_that_the_base_model_gets_right(store: Path) -> None:
    base = base_of(store)
    wrong = wrong_of(base)
    right = sorted({*base.dataset.train.ids.tolist()} - wrong)
    assert misclassified(base) == wrong
    assert len(wrong) > 100
    assert choose_samples(base, [], None, 0, only_correct=True) == right
    assert choose_samples(base, right[:2], None, 0, only_correct=True) == right[:2]
    some = choose_samples(base, [], 30, 0, only_correct=True)
    assert len(some) == 30
    assert not wrong & set(some)
    named = [right[0], *sorted(wrong)[:7]]
    assert choose_samples(base, named, None, 0, only_correct=False) == named
    first = ", ".join(map(str, sorted(wrong)[:5]))
    with pytest.raises(UserError, match=rf"misclassifies 7 of .* \({first}, \.\.\.\): leave them"):
        choose_samples(base, named, None, 0, only_correct=True)


def said(name: str, ends: dict[Status, list[float]], max_loss: float = MAX_LOSS) -> list[str]:
    """What is said of members that end so, with these test accuracies; the base model has 98%."""
    (algorithm,) = configure([name], "digits", [])
    every = [(status, accuracy) for status, found in ends.items() for accuracy in found]
    plan = Plan("w", "f", "a", "float32", (algorithm,), tuple(range(len(every))), 0, "s")
    done = {
        plan.key(algorithm, sample): Finished(
            "", "", status, {"performance/test_accuracy": accuracy}, False
        )
        for sample, (status, accuracy) in enumerate(every)
    }
    return list(after_sweep(plan, done, 0.98, max_loss))


FLIP, NOT = Status.FLIPPED, Status.MAX_STEPS


@pytest.mark.parametrize(
    ("name", "ends", "expected"),
    [
        ("ga", {FLIP: [0.98] * 10, NOT: [0.98] * 90}, None),
        (
            "ga",
            {FLIP: [0.98] * 9, NOT: [0.98] * 91},
            "9 of 100 flipped: try a higher ga.lr or ga.max_steps",
        ),
        (
            "ga",
            {NOT: [0.98] * 2, Status.NON_FINITE: [0.1] * 3},
            "0 of 5 flipped: try a lower ga.lr",
        ),
        (
            "ssd",
            {NOT: [0.98] * 4},
            "0 of 4 flipped: try other settings ('indelible algorithms')",
        ),
        (
            "retrain",
            {NOT: [0.98] * 4},
            "0 of 4 flipped. It is exact unlearning, the reference: a model that never saw a "
            "sample mostly gets it right all the same, so it seldom flips, F is small, and GT "
            "ranks it as the hardest",
        ),
        ("salun", {FLIP: [0.92] * 2 + [0.98] * 8}, None),
        (
            "salun",
            {FLIP: [0.5] * 3 + [0.98] * 7, NOT: [0.1] * 9},
            "10 of 19 flipped, 3 of them damaged: try a lower salun.lr",
        ),
    ],
)
def test_settings_that_flip_few_or_damage_many_are_named(
    name: str, ends: dict[Status, list[float]], expected: str | None
) -> None:
    assert said(name, ends) == [f"{name}: {line}" for line in (expected or "").splitlines()]


def test_what_counts_as_damage_is_the_users_choice() -> None:
    for max_loss, count in ((MAX_LOSS, 0), (3.9, 1), (4, 0)):  # 98 - 94, not a bit more
        assert len(said("salun", {FLIP: [0.94] * 10}, max_loss)) == count


def test_a_sweep_says_at_its_end_which_setting_to_change(
    trained: Path, tmp_path: Path, indelible: Indelible
) -> None:
    options = ("--samples", 4, "--algorithm", "ga", "--algorithm", "salun", "--only-correct")
    change = ("--set", "ga.lr=1e-9", "--set", "ga.max_steps=3", "--set", "salun.lr=1")
    answer = indelible(own_copy(trained, tmp_path), "sweep", *options, *change)
    assert "ga: 0 of 4 flipped: try a higher ga.lr or ga.max_steps\n" in answer.err
    last = answer.err.splitlines()[-1]
    assert last == "salun: 4 of 4 flipped, 4 of them damaged: try a lower salun.lr"
