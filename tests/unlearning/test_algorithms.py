"""Every registered algorithm through the same contract, and presets that are files."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path
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


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UserError, match=r"'gradient': choose .*\bga\b.*\bneggrad\b"):
        algorithms.get("gradient")
    with pytest.raises(UserError, match=r"\bdigits\b.*\bpaper\b"):
        presets.load("mine")


# A preset of the user's own is a file, and whatever is wrong with it is one line

WRONG: dict[str, tuple[bytes, str]] = {
    "no TOML": (b"[ga\nlr = 1", "cannot be read as TOML"),
    "no UTF-8": (b"[ga] # \xff", "UTF-8"),
    "no table": (b"ga = 3", "has 'ga'"),
    "unknown algorithm": (b"[gaa]\nlr = 1.0", "did you mean 'ga'"),
    "unknown setting": (b"[ga]\nlrr = 1.0", "did you mean 'lr'"),
    "out of range": (b"[ga]\nlr = -1.0", "ga.lr is -1.0: accepted is > 0"),
    "not finite": (b"[ga]\nlr = nan", "ga.lr is 'nan'"),
    "too large": (b"[ga]\nlr = 1" + b"0" * 400, "type float"),
    "no such choice": (b"[ga]\noptimizer = 'lion'", "adam or sgd"),
    "a bool": (b"[ga]\nlr = true", "ga.lr is 'True': it takes a value of type float"),
    "a list": (b"[ga]\nlr = [1.0]", "type float"),
    "no whole number": (b"[ga]\nmax_steps = 2.5", "type int"),
    "settings that exclude each other": (b"[ga]\nmomentum = 0.9", "only optimizer=sgd"),
}


@pytest.mark.parametrize(("content", "said"), WRONG.values(), ids=WRONG)
def test_a_bad_file_is_one_line_that_names_it(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    with pytest.raises(UserError) as refused:
        presets.load(str(path))
    assert said in str(refused.value)
    assert str(path) in str(refused.value)


@pytest.mark.parametrize("name", ["nowhere.toml", str(Path("no", "where")), "."])
def test_a_file_that_cannot_be_read_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError):
        presets.load(name)
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(UserError, match="cannot be read"):
        presets.load("folder.toml")


def test_numbers_and_tables_as_they_may_be_written(tmp_path: Path) -> None:
    path = tmp_path / "ü 'a'.toml"
    path.write_text(
        '\ufeff# mine\n[train.x]\nlr = 1\n[ga]\nlr = 1e-05 # small\nmax_steps = 3\n["scrub"]\n'
        "temperature = 4",
        "utf-8",
    )
    assert presets.load(str(path)) == {
        "ga": {"lr": 1e-05, "max_steps": 3},
        "scrub": {"temperature": 4},
    }


def test_a_name_is_no_file_and_training_takes_no_file(tmp_path: Path) -> None:
    assert presets.load("digits")["ga"]["lr"] == 3e-4
    assert not presets.is_file("digits")
    assert all(map(presets.is_file, ("digits.toml", "./digits", "a/b", ".toml")))
    with pytest.raises(UserError, match="choose one of digits, paper"):
        presets.load("digit")
    with pytest.raises(UserError, match="training takes one of digits, paper"):
        presets.recipe("mine.toml", "digits")
