"""What many tests share: digits, a base model in both precisions, a folder for packages."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from pathlib import Path

# Two test processes on two cores: threads of torch's own would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")  # servers start sooner
os.environ.pop("COLUMNS", None)  # which would be the edge of what goes through a pipe

import pytest
import torch

from tracker.base.ray_engine import REGISTRIES
from unlearning import datasets, training
from unlearning.base_model import BaseModel, Origin
from unlearning.recipe import Recipe

CPU = torch.device("cpu")


LONG = (
    *("browser", "faults", "benchmarks", "ray", "servers", "plugins", "readme", "team", "wheel"),
    *("tour", "sweep", "story", "tune", "studies", "fashion_mnist", "plain_loops", "predict"),
    *("unlearnings_in_sql", "claims", "cli", "measure", "damage", "unlearn", "api", "learning"),
    *("merge", "identity", "outages", "loading", "frozen"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest go first, so that nobody waits for one of them at the end."""
    order = {f"test_{name}.py": place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))


@pytest.fixture(scope="session")
def digits() -> datasets.Dataset:
    return datasets.load("digits")


@pytest.fixture(scope="session")
def base(digits: datasets.Dataset) -> BaseModel:
    """The default base model, seed 0."""
    recipe = Recipe()
    network = training.train(digits, "small-cnn", recipe, CPU)
    return BaseModel(network, digits, CPU, Origin("small-cnn", recipe))


@pytest.fixture(scope="session")
def base64(base: BaseModel) -> BaseModel:
    """The same in float64, where an oracle and a stack may be compared digit by digit."""
    return BaseModel(copy.deepcopy(base.network).double(), base.dataset, CPU, base.origin)


@pytest.fixture(autouse=True)
def _process_is_left_as_it_was() -> Iterator[None]:
    """Files that a test asks for, and threads of torch's, are not met by those that follow."""
    threads = torch.get_num_threads()
    before = [(registry._own, dict(registry._own)) for registry in REGISTRIES]
    yield
    torch.set_num_threads(threads)
    for own, asked in before:
        own.clear()
        own.update(asked)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which packages are installed."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)
    return site
