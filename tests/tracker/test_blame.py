"""What other people's code raises ends a command with one line, and keeps what is done."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from tests.plugins import ALGORITHM, install
from tests.tracker.conftest import Indelible
from tracker.store.opening import open_store
from tracker.store.records import Kind
from tracker.studies.advise import usual
from unlearning import algorithms
from unlearning.errors import UserError
from unlearning.several import refuse_unable


def test_an_algorithm_that_raises_is_one_line_and_others_go_on(
    indelible: Indelible, trained: Path, site: Path, tmp_path: Path
) -> None:
    source = ALGORITHM.format(name="blunder").replace(
        "        share = self.share\n", "        share = self.share\n        [][step]\n"
    )
    points = {"algorithms": {"blunder": "blundering:Halt"}}
    install(site, "acme-blunder", {"blundering": source}, points)
    store = shutil.copytree(trained, tmp_path / "store")
    line = 1 + source[: source.index("[][step]")].count("\n")
    sweep = (
        "sweep",
        "--algorithm",
        "blunder",
        "--algorithm",
        "ga",
        "--samples",
        4,
        "--only-correct",
    )
    for more, times in (((), 1), (("--chunk", 1, "--repeats", 2), 2)):
        done = indelible(store, *sweep, *more)
        assert (done.code, done.out) == (1, "")
        assert done.err.splitlines()[-1] == (
            "indelible: the algorithm 'blunder' of acme-blunder 1.0 raised IndexError: list index "
            f"out of range ({site / 'blundering.py'}:{line}): 4 attempts of blunder are not done. "
            "All else is done, and the same command tries these again. "
            "'indelible --verbose ...' shows the traceback"
        )
        assert "Traceback" not in done.err
        members = open_store(store).finished_runs(Kind.MEMBER)
        assert [run.params["algorithm"] for run in members] == ["ga"] * 4 * times
    told = indelible(store, "--verbose", *sweep)
    assert told.code == 1
    assert "Traceback (most recent call last)" in told.err
    assert told.err.splitlines()[-1].startswith("indelible: the algorithm 'blunder' of acme")


def test_one_that_is_broken_is_left_out_of_what_is_done_with_all(site: Path) -> None:
    points = {"algorithms": {"broken_one": "broken_one:function"}}
    install(site, "acme-broken", {"broken_one": "def function(): ..."}, points)
    assert "broken_one" in algorithms.names()
    assert {"ga", "neggrad"} <= {*usual("flip")}
    with pytest.raises(UserError, match=r"those that unlearn several at once are .*ga, "):
        refuse_unable(algorithms.get("scrub_r")())
    with pytest.raises(UserError, match="is no class of an algorithm, Stepwise or Direct"):
        algorithms.get("broken_one")


FACTOR = """
import torch
from factors.family import Column, Family


def {phase}(chunk, positions=None):
    {work}


FAMILY = Family(
    name="{name}", {phase}={phase},
    declared=(Column("{name}_norm", "Norm", "1", "high", "a norm"),),
)
"""


def test_a_factor_that_raises_ends_a_sweep_with_a_line(
    indelible: Indelible, trained: Path, site: Path, tmp_path: Path
) -> None:
    store = shutil.copytree(trained, tmp_path / "store")
    sweep = ("sweep", "--algorithm", "ga", "--samples", 3)
    for phase in ("pre", "post"):
        name = f"odd_{phase}"
        source = FACTOR.format(phase=phase, name=name, work="import sys; sys.exit(0)")
        install(site, f"acme-{phase}", {name: source}, {"factors": {name: f"{name}:FAMILY"}})
        done = indelible(store, *sweep)
        assert (done.code, done.out) == (1, "")
        assert (
            f"indelible: the factor family '{name}' of acme-{phase} 1.0 raised SystemExit: 0 "
            f"({site / name}.py:7). 'indelible"
        ) in done.err.splitlines()[-1]
        shutil.rmtree(site / f"acme_{phase}-1.0.dist-info")
        sys.path[0] = str(site) + "/" * (phase == "pre")  # what is installed is looked up again
