"""Every registered algorithm through the same contract, and presets that are files."""

from __future__ import annotations

from pathlib import Path

import pytest

from unlearning import algorithms, presets, testing
from unlearning.errors import UserError


def test_algorithms_keep_the_contract() -> None:
    for name in algorithms.names():
        algorithm = algorithms.get(name)
        testing.declares_itself(algorithm)
        assert algorithm.name == name
        default = algorithm()
        assert algorithm.from_text({n: str(v) for n, v in default.settings().items()}) == default
    testing.check_algorithm(algorithms.get("salun"), lr=1e-3)
    testing.check_algorithm(algorithms.get("ssd"))


def test_momentum_is_for_sgd_and_whole_numbers_stay_whole() -> None:
    with pytest.raises(UserError, match="sgd"):
        algorithms.get("ga").from_text({"momentum": "0.9", "optimizer": "adam"})
    with pytest.raises(UserError, match="int"):
        algorithms.get("ga").from_text({"max_steps": "2.5"})
    with pytest.raises(UserError, match="no_such_setting"):
        algorithms.get("ga").from_text({"no_such_setting": "9"})


# A preset of the user's own is a file, and whatever is wrong with it is one line

WRONG: dict[str, tuple[bytes, str]] = {
    "no TOML": (b"[ga\nlr = 1", "cannot be read as TOML"),
    "no table": (b"ga = 3", "has 'ga'"),
    "unknown algorithm": (b"[gaa]\nlr = 1.0", "did you mean 'ga'"),
    "unknown setting": (b"[ga]\nlrr = 1.0", "did you mean 'lr'"),
    "out of range": (b"[ga]\nlr = -1.0", "ga.lr is -1.0: accepted is > 0"),
    "not finite": (b"[ga]\nlr = nan", "ga.lr is 'nan'"),
    "no such choice": (b"[ga]\noptimizer = 'lion'", "adam or sgd"),
    "a bool": (b"[ga]\nlr = true", "ga.lr is 'True': it takes a value of type float"),
}


@pytest.mark.parametrize(("content", "said"), WRONG.values(), ids=WRONG)
def test_a_bad_file_is_one_line_that_names_it(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    with pytest.raises(UserError) as refused:
        presets.load(str(path))
    assert said in str(refused.value)
    assert str(path) in str(refused.value)


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
