"""A name in SQL means one number: what a factor is called, nothing else may be called."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest

import factors
from factors.family import Column
from tests.tracker.conftest import Indelible, own_copy
from tracker.store.opening import open_store
from tracker.store.records import Kind
from tracker.sweep.plan import Plan
from tracker.sweep.settings import configure
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


@pytest.mark.parametrize("column", factors.columns(), ids=lambda column: column.name)
def test_no_sweep_is_planned_whose_details_are_named_like_a_factor(column: Column) -> None:
    with pytest.raises(UserError) as refusal:
        planned(logging("fine", column.name)())
    assert f"'talkative/{column.name}'" in str(refusal.value)
    assert f"'{column.metric}'" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_it_is_said_before_anything_is_run(
    trained: Path, tmp_path: Path, indelible: Indelible, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = own_copy(trained, tmp_path / "s")
    monkeypatch.setattr("unlearning.algorithms.ga.ALGORITHM", logging("margin"))
    answer = indelible(folder, "sweep", "--algorithm", "ga", "--samples", 2)
    assert (answer.code, answer.out) == (2, "")
    assert "'talkative/margin'" in answer.err
    assert not list(open_store(folder).finished_runs(Kind.MEMBER))


def test_all_that_there_are_can_be_planned_and_other_names_too() -> None:
    every = configure(algorithms.names(), "digits", [])
    assert planned(*every, logging("alpha", "own_margin", "steps_")()).size == 2 * (len(every) + 1)
