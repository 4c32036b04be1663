"""Exceptions of other people's code: whose they are is found in the traceback."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import pytest
import torch

from tests.plugins import ALGORITHM, install
from unlearning import algorithms, architectures, datasets
from unlearning.algorithm import Stepwise
from unlearning.datasets import Source
from unlearning.errors import Failure, UserError
from unlearning.others import Raised, blamed, raised_by

NET = """
from torch import nn


class Net(nn.Module):
    def forward(self, images):
        raise NotImplementedError


def {name}(image_shape, classes):
    return Net()
"""
DATA = """
from other_data.helps import helps


def data(source):
    return helps(source)
"""
HELPS = """
def helps(source):
    raise OSError("no\\n such disk: " + "x" * 1000)
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which packages are installed, and where the user is."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    return tmp_path


def test_a_network_of_a_factory(site: Path) -> None:
    modules = {"other_nets": NET.format(name="net") + ALGORITHM.format(name="in_one_module")}
    points = {
        "architectures": {"other-net": "other_nets:net"},
        "algorithms": {"in_one_module": "other_nets:Halt"},
    }
    install(site, "other-nets", modules, points)
    network = architectures.get("other-net")((1, 8, 8), 10)
    with pytest.raises(Raised) as raised, blamed():
        network(torch.zeros(1, 1, 8, 8))
    assert str(raised.value) == (
        "the architecture 'other-net' of other-nets 1.0 raised NotImplementedError "
        f"({site / 'other_nets.py'}:7)"
    )
    assert raised.value.trace.startswith("Traceback (most recent call last)")
    with pytest.raises(Raised) as of_several, blamed():
        exec("1 / 0", vars(sys.modules["other_nets"]))  # of neither
    assert str(of_several.value).startswith(
        "the algorithm 'in_one_module' or the architecture 'other-net' of other-nets 1.0 raised "
        "ZeroDivisionError: division by zero ("
    )


def test_a_helper_of_a_module_is_named_where_it_raised(site: Path) -> None:
    points = {"datasets": {"other-data": "other_data.sets:data"}}
    install(site, "other-data", {}, points, version="3")
    (site / "other_data").mkdir()
    for module, source in {
        "__init__": "",
        "sets": DATA,
        "helps": HELPS,
    }.items():
        (site / "other_data" / f"{module}.py").write_text(source)
    with pytest.raises(Raised) as raised, blamed():
        datasets.load("other-data", Source())
    line = str(raised.value)
    assert line.startswith("the data set 'other-data' of other-data 3 raised OSError: no such disk")
    assert line.endswith(f"... ({site / 'other_data' / 'helps.py'}:3)")
    assert len(line) < 500 + len(str(site))
    again = pickle.loads(pickle.dumps(raised.value))
    assert (str(again), again.trace, again.whose) == (line, raised.value.trace, raised.value.whose)


def test_a_module_of_the_users_own(site: Path) -> None:
    source = ALGORITHM.format(name="raises").replace("share = self.share", "share = self.shares")
    (site / "other_own.py").write_text(source)
    algorithm = algorithms.get("module:other_own:Halt")()
    assert isinstance(algorithm, Stepwise)
    with pytest.raises(AttributeError) as caught:
        algorithm.losses(1)
    raised = raised_by(caught.value)
    assert raised is not None
    assert raised.is_of(algorithm)
    assert str(raised).startswith(
        "the algorithm 'raises' of module:other_own:Halt raised AttributeError: 'Halt' object has"
    )


def test_our_own_mistakes_and_what_is_raised_on_purpose_stay_what_they_are(site: Path) -> None:
    with pytest.raises(AttributeError), blamed():
        algorithms.get("ga").from_text(None)  # type: ignore[arg-type]
    for kind in (UserError, Failure):
        source = f"from unlearning.errors import *\ndef f(*_):\n    raise {kind.__name__}('so')\n"
        name = f"other_{kind.__name__}"
        (site / f"{name}.py").write_text(source)
        with pytest.raises(kind, match=r"^so$"), blamed():
            datasets.load(f"module:{name}:f")
