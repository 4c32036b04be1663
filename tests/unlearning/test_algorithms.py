"""Every registered algorithm through the same contract."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from indelible.errors import UserError
from indelible.unlearning import algorithms, presets
from indelible.unlearning.base import BaseModel
from indelible.unlearning.engine import Status, unlearn

ALL = pytest.mark.parametrize("name", algorithms.names())


def test_the_papers_algorithms_are_there() -> None:
    assert {"ga", "neggrad", "scrub", "salun"} <= set(algorithms.names())


@ALL
def test_is_registered_by_its_modules_name_and_documented(name: str) -> None:
    found = algorithms.get(name)
    assert found.name == name
    assert found.__doc__
    assert found.source
    for field in dataclasses.fields(found):
        assert field.metadata["accepts"].description, field.name
        assert str(field.metadata["accepts"]), f"{field.name} does not say what it accepts"


@ALL
def test_settings_survive_a_round_trip_through_text(name: str) -> None:
    default = algorithms.get(name)()
    as_text = {key: str(value) for key, value in default.settings().items()}
    assert algorithms.get(name).from_text(as_text) == default


@ALL
def test_refuses_values_out_of_range_wrong_types_and_unknown_names(name: str) -> None:
    found = algorithms.get(name)
    for wrong, said in (
        ({"lr": "0"}, "> 0"),
        ({"lr": "nan"}, "> 0"),
        ({"max_steps": "0"}, ">= 1"),
        ({"max_steps": "2.5"}, "int"),
        ({"optimizer": "lion"}, "adam or sgd"),
        ({"speed": "9"}, "choose one of"),
        ({"momentum": "0.9", "optimizer": "adam"}, "sgd"),
    ):
        with pytest.raises(UserError, match=said):
            found.from_text(wrong)


@ALL
def test_changes_parameters_and_leaves_the_base_model_alone(name: str, base: BaseModel) -> None:
    before = {key: value.clone() for key, value in base.network.state_dict().items()}
    result = unlearn(base, algorithms.get(name)(lr=1e-3), torch.arange(4), seed=0)
    for member, status in enumerate(result.status):
        moved = [not torch.equal(result.params[key][member], base.params[key]) for key in before]
        assert any(moved) == (status is not Status.ALREADY_WRONG)
    for key, value in base.network.state_dict().items():
        assert torch.equal(value, before[key])


@ALL
def test_a_seed_gives_the_same_bits(name: str, base: BaseModel) -> None:
    first, again = (unlearn(base, algorithms.get(name)(lr=1e-3), torch.arange(4), 5) for _ in "ab")
    for key in base.params:
        assert torch.equal(first.params[key], again.params[key])


@ALL
def test_what_it_reports_is_a_number_a_member(name: str, base: BaseModel) -> None:
    found = algorithms.get(name)
    result = unlearn(base, found(), torch.arange(3), 0)
    assert set(result.details) == set(found.logged)
    for values in result.details.values():
        assert values.shape == (3,)
        assert values.isfinite().all()


@pytest.mark.parametrize("preset", presets.names())
def test_presets_name_algorithms_and_settings_that_exist(preset: str) -> None:
    for name, settings in presets.load(preset).items():
        algorithms.get(name).from_text(settings)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UserError, match="ga, neggrad"):
        algorithms.get("gradient")
    with pytest.raises(UserError, match="digits, paper"):
        presets.load("mine")


def test_names_are_the_modules() -> None:
    folder = Path(algorithms.__file__).parent
    assert algorithms.names() == sorted(p.stem for p in folder.glob("[a-z]*.py"))
