"""Every registered algorithm through the same contract."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path

import pytest
import torch

from unlearning import algorithms, datasets, presets, training
from unlearning.algorithm import Accepts, Algorithm, Stepwise
from unlearning.base_model import BaseModel, Origin
from unlearning.engine import unlearn
from unlearning.errors import UserError
from unlearning.outcome import Status
from unlearning.recipe import Recipe

ALL = pytest.mark.parametrize("name", algorithms.names())


def test_every_algorithm_of_the_paper_is_there() -> None:
    paper = {"ga", "neggrad", "scrub", "salun", "ft", "influence", "retrain"}
    assert paper <= set(algorithms.names())


@ALL
def test_is_registered_by_its_modules_name_and_documented(name: str) -> None:
    found = algorithms.get(name)
    assert found.name == name
    assert found.__doc__
    assert found.citation
    for field in dataclasses.fields(found):
        assert field.metadata["accepts"].description, field.name
        assert str(field.metadata["accepts"]), f"{field.name} does not say what it accepts"


@ALL
def test_settings_survive_a_round_trip_through_text(name: str) -> None:
    default = algorithms.get(name)()
    as_text = {key: str(value) for key, value in default.settings().items()}
    assert algorithms.get(name).from_text(as_text) == default


@ALL
def test_refuses_every_hyperparameter_out_of_range_and_unknown_names(name: str) -> None:
    found = algorithms.get(name)
    for field in dataclasses.fields(found):
        accepts = field.metadata["accepts"]
        with pytest.raises(UserError, match=re.escape(str(accepts))):
            found.from_text({field.name: wrong_value(accepts, type(field.default))})
        if not isinstance(field.default, str):
            with pytest.raises(UserError, match="type"):
                found.from_text({field.name: "many"})
    with pytest.raises(UserError, match="choose one of" if dataclasses.fields(found) else "has no"):
        found.from_text({"speed": "9"})


def wrong_value(accepts: Accepts, kind: type) -> str:
    """A value of the right type that is just not accepted."""
    if kind is str:
        return "neither"
    if math.isfinite(accepts.above):
        return str(kind(accepts.above))
    return str(kind(accepts.at_least - 1))


def test_momentum_is_for_sgd_and_whole_numbers_stay_whole() -> None:
    with pytest.raises(UserError, match="sgd"):
        algorithms.get("ga").from_text({"momentum": "0.9", "optimizer": "adam"})
    with pytest.raises(UserError, match="int"):
        algorithms.get("ga").from_text({"max_steps": "2.5"})
    with pytest.raises(UserError, match="> 0"):
        algorithms.get("ga").from_text({"lr": "nan"})


@pytest.fixture(scope="module")
def short(digits: datasets.Dataset) -> BaseModel:
    """A base model that is trained again in a moment."""
    recipe = Recipe(epochs=4)
    cpu = torch.device("cpu")
    network = training.train(digits, "small-cnn", recipe, cpu)
    return BaseModel(network, digits, cpu, Origin("small-cnn", recipe))


def eager(name: str) -> Algorithm:
    """The algorithm with settings that move something in a few steps."""
    found = algorithms.get(name)
    return found.from_text({"lr": 1e-3} if issubclass(found, Stepwise) else {})


@ALL
def test_changes_parameters_and_leaves_the_base_model_alone(name: str, short: BaseModel) -> None:
    before = {key: value.clone() for key, value in short.network.state_dict().items()}
    result = unlearn(short, eager(name), torch.arange(4), seed=0)
    for member, status in enumerate(result.status):
        moved = [not torch.equal(result.params[key][member], short.params[key]) for key in before]
        assert any(moved) == (status is not Status.ALREADY_WRONG)
    for key, value in short.network.state_dict().items():
        assert torch.equal(value, before[key])


@ALL
def test_a_seed_gives_the_same_bits(name: str, short: BaseModel) -> None:
    first, again = (unlearn(short, eager(name), torch.arange(4), 5) for _ in "ab")
    for key in short.params:
        assert torch.equal(first.params[key], again.params[key])


@ALL
def test_what_it_reports_is_a_number_a_member(name: str, short: BaseModel) -> None:
    found = algorithms.get(name)
    right = (short.train_logits.argmax(1) == short.train_labels).nonzero().squeeze(1)[:3]
    result = unlearn(short, found(), right, 0)
    assert set(result.details) == set(found.logged)
    for values in result.details.values():
        assert values.shape == (3,)
        assert values.isfinite().all()


@pytest.mark.parametrize("preset", presets.names())
def test_presets_name_algorithms_and_settings_that_exist(preset: str) -> None:
    for name, settings in presets.load(preset).items():
        algorithms.get(name).from_text(settings)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UserError, match=r"'gradient': choose .*\bga\b.*\bneggrad\b"):
        algorithms.get("gradient")
    with pytest.raises(UserError, match=r"\bdigits\b.*\bpaper\b"):
        presets.load("mine")


def test_names_are_the_modules() -> None:
    folder = Path(algorithms.__file__).parent
    assert algorithms.names() == sorted(p.stem for p in folder.glob("[a-z]*.py"))
