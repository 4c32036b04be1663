"""What is found by name: ours, other people's packages, and modules of the user's own."""

from __future__ import annotations

import hashlib
import logging
import pickle
import re
import sys
from pathlib import Path

import pytest

from tests.plugins import ALGORITHM, install
from unlearning import algorithms, datasets
from unlearning.errors import Raised, Stopped, UserError

BROKEN = {
    "does_not_import": ("import nothing_of_this_name", "No module named 'nothing_of_this_name'"),
    "raises": ("raise RuntimeError('two\\nlines')", "RuntimeError: two lines"),
    "has_another_name": (ALGORITHM.format(name="stop"), "calls itself 'stop'"),
    "has_bare_fields": (
        ALGORITHM.format(name="has_bare_fields").replace(
            'hyperparameter(1.0, "share of the loss", above=0, at_most=1)', "1.0"
        ),
        "share is not declared by `hyperparameter(...)`",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_left_out_and_said(
    name: str, site: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source, said = BROKEN[name]
    points = {"algorithms": {name: f"broken_{name}:Halt"}}
    install(site, f"broken-{name}", {f"broken_{name}": source}, points)
    ours = algorithms.REGISTRY.ours()
    for _ in range(2):
        assert {*ours} <= {*algorithms.every()}
        assert name not in algorithms.every()
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    for part in (f"the algorithm '{name}' of broken-{name} 1.0 cannot be used", said):
        assert part in record.message
    assert "\n" not in record.message
    with pytest.raises(UserError, match=re.escape(said)):
        algorithms.get(name)


def test_names_that_are_taken(site: Path, caplog: pytest.LogCaptureFixture) -> None:
    module = {"left_replica": ALGORITHM.format(name="replica")}
    points = {"ga": "left_replica:Halt", "no name": "x:y", "replica": "left_replica:Halt"}
    install(site, "left", module, {"algorithms": points})
    assert "no name" not in algorithms.names()
    assert algorithms.get("replica").name == "replica"
    assert algorithms.get("ga").__module__ == "unlearning.algorithms.ga"
    assert algorithms.provider("ga") is None
    said = " ".join(record.message for record in caplog.records)
    assert "'ga' of left 1.0 is left out: a name takes letters" in said
    assert "'no name' of left 1.0 is left out: a name takes letters" in said


def test_a_module_of_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    source = ALGORITHM.format(name="own_halt")
    (tmp_path / "own_method.py").write_text(source)
    reference = "module:own_method:Halt"
    assert algorithms.named([reference, "ga", reference]) == ["own_halt", "ga"]
    assert algorithms.get("own_halt") is algorithms.get(reference)
    assert algorithms.reference("own_halt") == reference
    provider = algorithms.provider("own_halt")
    assert provider is not None
    assert provider.version == hashlib.sha256(source.encode()).hexdigest()
    assert "own_halt" not in algorithms.names()
    assert sys.path[-1] == str(tmp_path)
    assert sys.path[0] != str(tmp_path)
    with pytest.raises(UserError, match="has the name of 'module:own_method:ALGORITHM'"):
        algorithms.named(["module:own_method:ALGORITHM", reference])


@pytest.mark.parametrize(
    ("module", "source", "said"),
    [
        ("own_wrong", "", "has no attribute 'Halt'"),
        ("own_exit", "raise SystemExit(3)", "SystemExit: 3"),
        ("own_ga", ALGORITHM.format(name="ga"), "has the name 'ga'"),
        ("own_number", "Halt = 3", "3 is no class of an algorithm"),
    ],
)
def test_a_module_that_cannot_be_used_is_one_line(
    module: str, source: str, said: str, site: Path
) -> None:
    (site / f"{module}.py").write_text(source)
    with pytest.raises(UserError, match=re.escape(said)) as refusal:
        algorithms.get(f"module:{module}:Halt")
    assert f"algorithm 'module:{module}:Halt'" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def bring(site: Path, name: str, raises: str) -> None:
    """Install a data set that raises something."""
    source = f"from unlearning.errors import *\ndef DATASET(source):\n    {raises}\n"
    points = {"datasets": {name: f"{name}_sets:DATASET"}}
    install(site, f"the-{name}", {f"{name}_sets": source}, points, version="3")


def test_what_a_plug_in_raises_is_one_line(site: Path) -> None:
    bring(site, "no_disk", 'raise OSError("no\\n such disk: " + "x" * 1000)')
    with pytest.raises(Raised) as raised:
        datasets.load("no_disk")
    line = str(raised.value)
    assert line.startswith("the data set 'no_disk' of the-no_disk 3 raised OSError: no such disk")
    assert line.endswith(f"... ({site / 'no_disk_sets.py'}:3)")
    assert len(line) < 500 + len(str(site))
    assert raised.value.trace.startswith("Traceback (most recent call last)")
    assert vars(pickle.loads(pickle.dumps(raised.value))) == vars(raised.value)
    (site / "own_sets.py").write_text("def DATASET(source):\n    return source.nothing\n")
    with pytest.raises(Raised, match="the data set 'module:own_sets:DATASET' raised AttributeErr"):
        datasets.load("module:own_sets:DATASET")


def test_what_is_raised_on_purpose_stays_what_it_is(site: Path) -> None:
    bring(site, "on_purpose", "raise Stopped('so')")
    with pytest.raises(Stopped, match=r"^so$"):
        datasets.load("on_purpose")
