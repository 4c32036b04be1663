"""Every registered algorithm through the same contract."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

import pytest

from unlearning import algorithms, presets, testing
from unlearning.algorithm import Stepwise
from unlearning.errors import UserError
from unlearning.hyperparameters import Accepts, Setting

ALL = pytest.mark.parametrize("name", algorithms.names())


@ALL
def test_keeps_the_contract_of_algorithms(name: str) -> None:
    algorithm = algorithms.get(name)
    eager: dict[str, Setting] = {"lr": 1e-3} if issubclass(algorithm, Stepwise) else {}
    testing.check_algorithm(algorithm, **eager)
    assert algorithm.name == name
    default = algorithm()
    assert algorithm.from_text({n: str(v) for n, v in default.settings().items()}) == default


@ALL
def test_settings_that_are_not_accepted_are_refused(name: str) -> None:
    algorithm = algorithms.get(name)
    for field in dataclasses.fields(algorithm):
        accepts: Accepts = field.metadata["accepts"]
        kind: Any = type(field.default)
        just_outside = [accepts.above, accepts.at_least - 1, accepts.at_most + 1]
        values = [str(kind(value)) for value in just_outside if math.isfinite(value)]
        for value in [f"not {accepts.choices[0]}"] if accepts.choices else values:
            with pytest.raises(UserError, match=f"{re.escape(str(accepts))}|at most"):
                algorithm.from_text({field.name: value})
        if kind is not str:
            with pytest.raises(UserError, match="type"):
                algorithm.from_text({field.name: "many"})
    with pytest.raises(UserError, match="no_such_setting"):
        algorithm.from_text({"no_such_setting": "9"})


def test_momentum_is_for_sgd_and_whole_numbers_stay_whole() -> None:
    with pytest.raises(UserError, match="sgd"):
        algorithms.get("ga").from_text({"momentum": "0.9", "optimizer": "adam"})
    with pytest.raises(UserError, match="int"):
        algorithms.get("ga").from_text({"max_steps": "2.5"})
    with pytest.raises(UserError, match="float"):
        algorithms.get("ga").from_text({"lr": "nan"})


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UserError, match=r"'gradient': choose .*\bga\b.*\bneggrad\b"):
        algorithms.get("gradient")
    with pytest.raises(UserError, match=r"\bdigits\b.*\bpaper\b"):
        presets.load("mine")
