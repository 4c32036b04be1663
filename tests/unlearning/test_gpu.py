"""The same numbers on a GPU, where there is one."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest
import torch
from torch import Tensor, nn

import factors
from factors.evaluation import evaluate
from factors.family import post_values, pre_values
from tests.oracles import algorithms as oracles
from tests.unlearning.plain_loops import assert_same_weights
from unlearning import algorithms, graphs, training
from unlearning.algorithm import Stepwise
from unlearning.base_model import BaseModel
from unlearning.datasets import Dataset
from unlearning.engine import unlearn
from unlearning.execution import Execution
from unlearning.graphs import Recorded
from unlearning.machine import rule_out_chance
from unlearning.recipe import Recipe
from unlearning.subsets import AllBut

GPU = "cuda" if torch.cuda.is_available() else "mps"
there = torch.cuda.is_available() or torch.backends.mps.is_available()
pytestmark = pytest.mark.skipif(not there, reason="needs a GPU")
records = pytest.mark.skipif(GPU != "cuda", reason="only on an NVIDIA GPU is anything recorded")
STEPWISE = [n for n in algorithms.names() if issubclass(algorithms.get(n), Stepwise)]
POSITIONS = torch.arange(40)  # of which four lanes each take some


@pytest.mark.parametrize("name", [n for n in oracles.names() if oracles.find(n).SETTINGS])
@pytest.mark.parametrize("execution", Execution)
def test_a_gpu_gives_the_same_as_the_cpu(
    base64: BaseModel, name: str, execution: Execution
) -> None:
    if GPU == "mps":
        pytest.skip("MPS has no float64")
    settings = oracles.find(name).SETTINGS[0] | (
        {"max_steps": 5} if issubclass(algorithms.get(name), Stepwise) else {}
    )
    algorithm, positions = algorithms.get(name).from_text(settings), torch.arange(6)
    network = copy.deepcopy(base64.network)
    there = BaseModel(network, base64.dataset, torch.device(GPU), base64.origin)
    here, found = (unlearn(model, algorithm, positions, 0, execution) for model in (base64, there))
    assert found.status == here.status
    assert torch.equal(found.steps, here.steps)
    for member in range(6):
        assert_same_weights(found.cpu().state_of(member), here.state_of(member), tolerance=1e-6)
    families = factors.families()
    values = []
    for model, outcome in ((base64, here), (there, found)):
        at = positions.to(model.device)
        chunk = evaluate(model, at, outcome, model.some(None))
        values.append(pre_values(model, families, at) | post_values(chunk, families))
    for column in values[0].keys() - {"elapsed_s"}:
        torch.testing.assert_close(
            values[1][column], values[0][column], rtol=1e-5, atol=1e-7, equal_nan=True
        )


@pytest.fixture
def there64(base64: BaseModel) -> BaseModel:
    network = copy.deepcopy(base64.network)
    return BaseModel(network, base64.dataset, torch.device(GPU), base64.origin)


@contextmanager
def unrecorded() -> Iterator[None]:
    with patch.object(graphs, "records", lambda device: False):
        yield


@contextmanager
def streams_of_graphs() -> Iterator[list[Any]]:
    """The streams on which is recorded in this context, one for each graph."""
    streams: list[Any] = []

    class Counted(Recorded):
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            streams.append(self.lane.stream)

    with patch.object(graphs, "Recorded", Counted):
        yield streams


@records
@pytest.mark.parametrize("name", STEPWISE)
@pytest.mark.parametrize("execution", Execution)
def test_recorded_steps_are_the_steps(there64: BaseModel, name: str, execution: Execution) -> None:
    """One by one on four lanes; stacked, with rows of members that ended among the others."""
    algorithm = algorithms.get(name).from_text(oracles.find(name).SETTINGS[0] | {"max_steps": 6})
    with unrecorded():
        wanted = unlearn(there64, algorithm, POSITIONS, 0, execution)
    with streams_of_graphs() as streams:
        found = unlearn(there64, algorithm, POSITIONS, 0, execution)
    assert streams
    assert len(set(streams)) <= (1 if execution is Execution.STACKED else graphs.LANES)
    assert found.status == wanted.status
    assert torch.equal(found.steps, wanted.steps)
    torch.testing.assert_close(
        found.forget_loss, wanted.forget_loss, rtol=1e-6, atol=1e-9, equal_nan=True
    )
    one, other = found.cpu(), wanted.cpu()
    for member in range(len(POSITIONS)):
        assert_same_weights(one.state_of(member), other.state_of(member), tolerance=1e-6)


@records
@pytest.mark.parametrize("execution", Execution)
def test_so_many_lanes_and_so_many_rows(there64: BaseModel, execution: Execution) -> None:
    """None flips: two graphs a lane. Others flip one after the other: fewer rows each time."""
    stay = algorithms.get("ga").from_text({"lr": 1e-9, "max_steps": 5})
    with streams_of_graphs() as streams:
        unlearn(there64, stay, POSITIONS, 0, execution)
    lanes = 1 if execution is Execution.STACKED else graphs.LANES
    assert len(streams) == 2 * lanes
    assert len(set(streams)) == lanes
    leave = algorithms.get("ga").from_text({"lr": 2e-4, "max_steps": 30})
    with unrecorded():
        wanted = unlearn(there64, leave, POSITIONS, 0, execution)
    found = unlearn(there64, leave, POSITIONS, 0, execution)
    assert found.status == wanted.status
    assert torch.equal(found.steps, wanted.steps)
    assert len(set(found.steps.tolist())) > 5


@records
def test_lanes_compute_beside_each_other_what_they_compute_alone() -> None:
    """Products of matrices, for which cuBLAS keeps room on each stream; again and again."""
    device = torch.device(GPU)
    rule_out_chance(device)
    weights = torch.randn(32, 512, 512, device=device) / 23
    inputs = torch.randn(32, 4096, 512, device=device)

    def work(weight: Tensor, x: Tensor) -> Tensor:
        for _ in range(8):
            x = torch.relu(x @ weight) - 0.2
        return x.T @ x / len(x)

    wanted = torch.stack([work(w, x) for w, x in zip(weights, inputs, strict=True)])
    mapped = graphs.mapper(Execution.SEQUENTIAL, device).members(work, "work")
    with streams_of_graphs() as streams:
        for _ in range(10):
            torch.testing.assert_close(mapped(weights, inputs), wanted, rtol=1e-4, atol=1e-5)
    assert len(set(streams)) == graphs.LANES


@records
def test_a_graph_outlives_others() -> None:
    """Torch 2.13, for one, gives a stream's room for cuBLAS back with the first of its graphs."""
    device = torch.device(GPU)
    rule_out_chance(device)
    x = torch.randn(512, 32768, device=device)

    def gram(x: Tensor) -> Tensor:
        return x @ x.T / x.shape[1]

    wanted, kept = gram(x), Recorded(gram, (x,), graphs.Lane(device))
    for _ in range(2 * graphs.STREAMS):
        Recorded(gram, (x,), graphs.Lane(device))(x)
        graphs.give_memory_back()
        others = [torch.full((2**20,), torch.nan, device=device) for _ in range(32)]
        torch.testing.assert_close(kept(x), wanted, rtol=1e-4, atol=1e-4)
        assert all(other.isnan().all() for other in others)


class Clipped(nn.Module):
    """Looks, in training, at what was computed."""

    def forward(self, seen: Tensor) -> Tensor:
        return seen / max(seen.abs().max().item(), 1.0) if self.training else seen


@records
@pytest.mark.parametrize(
    ("layer", "recorded"), [(nn.ReLU(), True), (nn.Dropout(0.3), False), (Clipped(), False)]
)
@pytest.mark.parametrize("execution", Execution)
def test_training_sees_what_it_sees_unrecorded(
    digits: Dataset, layer: nn.Module, recorded: bool, execution: Execution
) -> None:
    """Each batch once, and the same random numbers; recorded or not, stacked where there are none.

    That something could not be recorded leaves torch as it was.
    """
    device, recipe = torch.device(GPU), Recipe(epochs=3, batch_size=50, lr=0.05, optimizer="sgd")
    rule_out_chance(device)
    norm = nn.BatchNorm2d(1) if execution is Execution.SEQUENTIAL else nn.Identity()
    torch.manual_seed(7)
    network = nn.Sequential(norm, nn.Flatten(), nn.Linear(64, 32), layer, nn.Linear(32, 10))
    network = network.double().to(device)
    images = digits.inputs(digits.train)[:205].to(device, torch.float64)
    labels = digits.train.labels[:205].to(device)
    if execution is Execution.STACKED and not recorded:
        pytest.skip("vmap refuses it")

    def trained() -> dict[str, Tensor]:
        torch.manual_seed(4)
        subsets = AllBut(torch.tensor([3, 60]), 205)
        return training.train_on(subsets, network, images, labels, recipe, execution)

    with unrecorded():
        wanted = trained()
    with streams_of_graphs() as streams:
        found = trained()
    assert bool(streams) == recorded
    for name, tensor in wanted.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-8, atol=1e-10)
    assert Recorded(torch.square, (labels,), graphs.Lane(device))(labels).equal(labels**2)
    torch.cuda.empty_cache()
    torch.rand(2, device=device)


@records
def test_others_copy_while_something_is_recorded() -> None:
    """And give memory back; each copy is of what was computed before it."""
    device, done, wrong = torch.device(GPU), threading.Event(), list[object]()

    def copying() -> None:
        k = 0
        try:
            while not done.is_set():
                k += 1
                x = torch.full((2**20,), k, device=device)
                copies = graphs.aside(device)
                with copies:
                    there = x.cpu()
                if not (there == k).all():
                    wrong.append(k)
                graphs.give_memory_back()
        except Exception as error:
            wrong.append(error)

    thread = threading.Thread(target=copying)
    thread.start()
    x = torch.randn(512, 512, device=device)
    try:
        for _ in range(100):
            graph = Recorded(lambda x: (x @ x).relu().sum(dim=0), (x,), graphs.Lane(device))
            torch.testing.assert_close(graph(x), (x @ x).relu().sum(dim=0), rtol=1e-3, atol=1e-2)
    finally:
        done.set()
        thread.join()
    assert not wrong
