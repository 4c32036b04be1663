"""Every registered algorithm through the same contract."""

from __future__ import annotations

import pytest

from unlearning import algorithms, contract, presets
from unlearning.algorithm import Algorithm, Setting, Stepwise
from unlearning.errors import UserError

ALL = pytest.mark.parametrize("name", algorithms.names())


def eager(algorithm: type[Algorithm]) -> dict[str, Setting]:
    """Settings that move something in a few steps."""
    return {"lr": 1e-3} if issubclass(algorithm, Stepwise) else {}


def test_every_algorithm_of_the_paper_is_there() -> None:
    paper = {"ga", "neggrad", "scrub", "salun", "ft", "influence", "retrain"}
    assert paper <= set(algorithms.names())


@ALL
@pytest.mark.parametrize("check", contract.BEHAVIOUR, ids=lambda check: str(check.__name__))
def test_behaves_as_every_algorithm_does(name: str, check: contract.Check) -> None:
    algorithm = algorithms.get(name)
    check(algorithm, eager(algorithm))


@ALL
def test_is_declared_as_every_algorithm_is(name: str) -> None:
    algorithm = algorithms.get(name)
    contract.declares_itself(algorithm)
    contract.settings_survive_text(algorithm)
    contract.refuses_what_it_does_not_accept(algorithm)
    assert algorithm.name == name


def test_momentum_is_for_sgd_and_whole_numbers_stay_whole() -> None:
    with pytest.raises(UserError, match="sgd"):
        algorithms.get("ga").from_text({"momentum": "0.9", "optimizer": "adam"})
    with pytest.raises(UserError, match="int"):
        algorithms.get("ga").from_text({"max_steps": "2.5"})
    with pytest.raises(UserError, match="float"):
        algorithms.get("ga").from_text({"lr": "nan"})


@pytest.mark.parametrize("preset", presets.names())
def test_presets_name_algorithms_and_settings_that_exist(preset: str) -> None:
    for name, settings in presets.load(preset).items():
        algorithms.get(name).from_text(settings)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UserError, match=r"'gradient': choose .*\bga\b.*\bneggrad\b"):
        algorithms.get("gradient")
    with pytest.raises(UserError, match=r"\bdigits\b.*\bpaper\b"):
        presets.load("mine")
