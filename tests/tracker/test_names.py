"""A name in SQL means one number: what a factor is called, nothing else may be called."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

import factors
from tests.tracker.conftest import Indelible
from tracker.store.opening import open_store
from tracker.store.records import Kind
from tracker.sweep.choosing import configure
from tracker.sweep.plan import Plan
from unlearning import algorithms
from unlearning.algorithm import Algorithm
from unlearning.errors import UserError


def logging(*names: str) -> type[Algorithm]:
    """An algorithm that nobody registered, with details of these names."""

    @dataclass(frozen=True, kw_only=True)
    class Talkative(algorithms.get("ga")):  # type: ignore[misc]
        name = "talkative"
        logged: ClassVar[tuple[str, ...]] = names

    return Talkative


def planned(*chosen: Algorithm) -> Plan:
    return Plan("weights", "data", "net", "float32", chosen, (1, 2), seed=0, name="s")


@pytest.mark.parametrize("name", sorted({column.name for column in factors.columns()}))
def test_no_sweep_is_planned_whose_details_are_named_like_a_factor(name: str) -> None:
    column = next(column for column in factors.columns() if column.name == name)
    with pytest.raises(UserError) as refusal:
        planned(logging("fine", name)())
    assert f"'talkative/{name}'" in str(refusal.value)
    assert f"'{column.metric}'" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_an_algorithm_put_in_anothers_place_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unlearning.algorithms.ga.ALGORITHM", logging("margin"))
    with pytest.raises(UserError, match="'talkative/margin'"):
        planned(*configure(["ga"], "digits", []))


def test_it_is_said_before_anything_is_run(
    tmp_path: Path, indelible: Indelible, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert indelible(tmp_path, "train", "--epochs", 1).code == 0
    monkeypatch.setattr("unlearning.algorithms.ga.ALGORITHM", logging("margin"))
    answer = indelible(tmp_path, "sweep", "--algorithm", "ga", "--samples", 2)
    assert (answer.code, answer.out) == (2, "")
    assert "'talkative/margin'" in answer.err
    assert "'initial/margin'" in answer.err
    assert open_store(tmp_path).experiments()
    assert not list(open_store(tmp_path).finished_runs(Kind.MEMBER))


def test_all_that_there_are_can_be_planned_and_other_names_too() -> None:
    every = configure(algorithms.names(), "digits", [])
    assert planned(*every, logging("alpha", "own_margin", "steps_")()).size == 2 * (len(every) + 1)
