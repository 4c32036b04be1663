"""What is found by name: ours, other people's packages, and modules of the user's own."""

from __future__ import annotations

import hashlib
import logging
import pickle
import re
import sys
from pathlib import Path
from typing import Any

import pytest

import factors
from tests.plugins import ALGORITHM, ARCHITECTURE, DATASET, FAMILY, install
from unlearning import algorithms, architectures, datasets, models
from unlearning.errors import Failure, Raised, Stopped, UserError
from unlearning.registry import Registry

REGISTRIES: dict[str, Registry[Any]] = {
    "algorithm": algorithms.REGISTRY,
    "factor family": factors.REGISTRY,
    "data set": datasets.REGISTRY,
    "architecture": architectures.REGISTRY,
}


def test_other_peoples_come_with_distribution_and_version(site: Path) -> None:
    modules = {
        "acme_method": ALGORITHM.format(name="acme_halt"),
        "acme_family": FAMILY.format(name="acme", column="acme_brightness"),
        "acme_data": DATASET.format(name="acme-stripes"),
        "acme_net": ARCHITECTURE,
    }
    points = {
        "algorithms": {"acme_halt": "acme_method:Halt"},
        "factors": {"acme": "acme_family:FAMILY"},
        "datasets": {"acme-stripes": "acme_data:DATASET"},
        "architectures": {"acme-net": "acme_net:net"},
    }
    install(site, "acme-methods", modules, points, version="2.1")
    for registry, (name,) in zip(REGISTRIES.values(), points.values(), strict=True):
        assert name in registry.names()
        assert str(registry.provider(name)) == "acme-methods 2.1"
        assert registry.reference(name) == name
    assert algorithms.get("acme_halt").from_text({"share": "0.5"}).settings()["share"] == 0.5
    assert [f.name for f in factors.families()][-1] == "acme"
    dataset = datasets.load("acme-stripes", datasets.Source(train_samples=20))
    assert (len(dataset.train), len(dataset.test)) == (20, 30)
    assert datasets.load_described(datasets.described("acme-stripes")).name == "acme-stripes"
    assert models.build("acme-net", dataset)(dataset.inputs(dataset.test)).shape == (30, 2)
    with pytest.raises(UserError, match="--image-size"):
        datasets.load("acme-stripes", datasets.Source(image_size=4))


BROKEN = {
    "does_not_import": ("import nothing_of_this_name", "No module named 'nothing_of_this_name'"),
    "raises": ("raise RuntimeError('two\\nlines')", "RuntimeError: two lines"),
    "exits": ("import sys\nsys.exit('bye')", "SystemExit: bye"),
    "is_not_there": ("", "has no attribute 'Halt'"),
    "is_no_algorithm": ("class Halt: ...", "is no class of an algorithm"),
    "has_another_name": (ALGORITHM.format(name="stop"), "calls itself 'stop'"),
    "has_bare_fields": (
        ALGORITHM.format(name="has_bare_fields").replace(
            'hyperparameter(1.0, "share of the loss", above=0, at_most=1)', "1.0"
        ),
        "share is not declared by `hyperparameter(...)`",
    ),
    "refuses_its_default": (
        ALGORITHM.format(name="refuses_its_default").replace("(1.0,", "(2.0,"),
        "share is 2.0: accepted is > 0 and <= 1",
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


def test_what_is_printed_on_import_is_no_data(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = "print('hello')\n" + ALGORITHM.format(name="talks")
    install(site, "talks", {"talks": source}, {"algorithms": {"talks": "talks:Halt"}})
    assert algorithms.get("talks").name == "talks"
    assert capsys.readouterr() == ("", "hello\n")


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


BAD: dict[str, tuple[str, str]] = {
    "own_wrong:Nothing": ("", "has no attribute 'Nothing'"),
    "own_syntax:Halt": ("def :", "SyntaxError"),
    "own_exit:Halt": ("raise SystemExit(3)", "SystemExit: 3"),
    "own_ga:Halt": (ALGORITHM.format(name="ga"), "has the name 'ga'"),
    "own_spaced:Halt": (ALGORITHM.format(name="two words"), "has the name 'two words'"),
    "own_number:Halt": ("Halt = 3", "3 is no class of an algorithm"),
}


@pytest.mark.parametrize("where", BAD)
def test_a_module_that_cannot_be_used_is_one_line(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, said = BAD[where]
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / f"{where.partition(':')[0]}.py").write_text(source)
    with pytest.raises(UserError, match=re.escape(said)) as refusal:
        algorithms.get(f"module:{where}")
    assert f"algorithm 'module:{where}'" in str(refusal.value)
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


@pytest.mark.parametrize("kind", [UserError, Failure, Stopped])
def test_what_is_raised_on_purpose_stays_what_it_is(kind: type[Exception], site: Path) -> None:
    name = f"on_purpose_{kind.__name__.lower()}"
    bring(site, name, f"raise {kind.__name__}('so')")
    with pytest.raises(kind, match=r"^so$") as raised:
        datasets.load(name)
    assert type(raised.value) is kind


def test_our_own_mistakes_stay_what_they_are() -> None:
    with pytest.raises(ZeroDivisionError), algorithms.REGISTRY.by("ga"):
        _ = 1 / 0
