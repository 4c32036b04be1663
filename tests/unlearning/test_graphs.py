"""What is recorded as a graph gives what it gives unrecorded, bit by bit where one by one.

The graphs are a stand-in's: `taped`.
"""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.oracles import algorithms as oracles
from tests.unlearning import taped
from tests.unlearning.taped import Taping
from unlearning import algorithms, graphs, models, training
from unlearning.algorithm import Forget, Loss, Retain, Setting, State, Stepwise, forget_loss
from unlearning.base_model import BaseModel, Model
from unlearning.datasets import Dataset
from unlearning.engine import unlearn
from unlearning.execution import Execution
from unlearning.graphs import GraphMapper, Recorded, Repeated
from unlearning.memory import size_of
from unlearning.outcome import Status, Unlearned
from unlearning.recipe import Recipe
from unlearning.subsets import AllBut

CPU = torch.device("cpu")
STEPWISE = [n for n in algorithms.names() if issubclass(algorithms.get(n), Stepwise)]
POSITIONS = torch.arange(10)


@pytest.fixture
def taping(monkeypatch: pytest.MonkeyPatch) -> Taping:
    return taped.install(monkeypatch)


def same(found: Unlearned, wanted: Unlearned, exactly: bool) -> None:
    assert found.status == wanted.status
    assert torch.equal(found.steps, wanted.steps)
    close: dict[str, Any] = {"rtol": 0, "atol": 0} if exactly else {"rtol": 1e-9, "atol": 1e-12}
    pairs = [(found.params[name], p) for name, p in wanted.params.items()]
    pairs += [(found.forget_loss, wanted.forget_loss)]
    pairs += [(found.details[name], d) for name, d in wanted.details.items()]
    for one, other in pairs:
        torch.testing.assert_close(one, other, equal_nan=True, **close)


@pytest.mark.parametrize("execution", Execution)
@pytest.mark.parametrize("name", STEPWISE)
def test_recorded_steps_are_the_steps(
    base64: BaseModel, name: str, execution: Execution, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = oracles.find(name).SETTINGS[0] | {"max_steps": 3}
    algorithm = algorithms.get(name).from_text(settings)
    wanted = unlearn(base64, algorithm, POSITIONS, 0, execution)
    taping = taped.install(monkeypatch)
    found = unlearn(base64, algorithm, POSITIONS, 0, execution)
    assert taping.replays
    assert all(taping.replays)
    same(found, wanted, exactly=execution is Execution.SEQUENTIAL)


def test_members_end_at_different_steps(base64: BaseModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of those that ended are replayed until half are such; then fewer rows are recorded."""
    algorithm = algorithms.get("ga").from_text({"lr": 2e-4, "max_steps": 30})
    positions = torch.arange(40)
    wanted = unlearn(base64, algorithm, positions, 0, Execution.STACKED)
    assert len(set(wanted.steps.tolist())) > 5
    rows: list[int] = []
    taping = taped.install(monkeypatch)

    class Counted(Recorded):
        def __init__(self, function: Any, arguments: tuple[Any, ...], *rest: Any) -> None:
            super().__init__(function, arguments, *rest)
            rows.append(len(self.arguments[0]))

    monkeypatch.setattr(graphs, "Recorded", Counted)
    found = unlearn(base64, algorithm, positions, 0, Execution.STACKED)
    same(found, wanted, exactly=False)
    of_gradients = rows[::2]  # the logits after each step are another function
    assert len(of_gradients) < len(set(wanted.steps.tolist()))
    assert all(2 * b <= a for a, b in pairwise(of_gradients))
    assert sum(taping.replays) > len(rows)


def test_a_loss_that_changes_with_the_step_is_another_graph(
    base64: BaseModel, taping: Taping
) -> None:
    settings = {"lr": 1e-4, "max_steps": 4, "max_steps_forget": 2, "retain_batches": 2}
    algorithm = algorithms.get("scrub").from_text(settings)
    graphs_used = unlearn(base64, algorithm, POSITIONS, 0, Execution.SEQUENTIAL)
    assert len(taping.replays) > 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graphs, "records", lambda device: False)
        wanted = unlearn(base64, algorithm, POSITIONS, 0, Execution.SEQUENTIAL)
    same(graphs_used, wanted, exactly=True)


@pytest.mark.parametrize("execution", Execution)
@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: operation not permitted when stream is capturing"),
        torch.OutOfMemoryError("CUDA out of memory"),  # which members may fit in without graphs
    ],
)
def test_where_nothing_can_be_recorded_members_go_on_without(
    base64: BaseModel,
    execution: Execution,
    error: RuntimeError,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    algorithm, tried = algorithms.get("neggrad").from_text({"max_steps": 4}), []
    wanted = unlearn(base64, algorithm, POSITIONS, 0, execution)
    taped.install(monkeypatch)

    def fails(*_: Any) -> Any:
        tried.append(1)
        raise error

    monkeypatch.setattr(graphs, "capture", fails)
    same(unlearn(base64, algorithm, POSITIONS, 0, execution), wanted, exactly=True)
    assert tried == [1]


@dataclass(frozen=True, kw_only=True)
class Looking(Stepwise):
    """An algorithm whose loss depends on a number that it looks at."""

    name = "looking"
    citation = "none"

    def losses(self, step: int) -> tuple[Loss, ...]:
        return (self.loss,)

    def loss(self, model: Model, forget: Forget, retain: Retain, state: State) -> Tensor:
        loss = forget_loss(model, forget)
        return -loss if loss.item() < 1 else -2 * loss


def test_a_loss_that_looks_at_numbers_is_not_recorded(
    base64: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    algorithm = Looking(lr=2e-3, max_steps=12)
    wanted = unlearn(base64, algorithm, POSITIONS, 0, Execution.SEQUENTIAL)
    taped.install(monkeypatch)
    same(unlearn(base64, algorithm, POSITIONS, 0, Execution.SEQUENTIAL), wanted, exactly=True)


class Normed(nn.Module):
    """A network with batch normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)
        self.unused, self.head = nn.Linear(3, 3), nn.Linear(4, 10)
        self.head.bias.requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        seen = torch.relu(self.norm(self.first(images)))
        logits: Tensor = self.head(seen.mean(dim=(2, 3)))
        return logits


def trained(
    digits: Dataset, recipe: Recipe, normed: bool, execution: Execution
) -> dict[str, Tensor]:
    torch.manual_seed(3)
    network = Normed() if normed else models.build("small-cnn", digits, 0)
    images, labels = digits.inputs(digits.train)[:205], digits.train.labels[:205]
    subsets = AllBut(torch.tensor([3, 9, 30]), 205)
    return training.train_on(subsets, network, images, labels, recipe, execution)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize(
    ("normed", "execution"),
    [(True, Execution.SEQUENTIAL), (False, Execution.SEQUENTIAL), (False, Execution.STACKED)],
)
@pytest.mark.parametrize("mixed", [False, True])
def test_recorded_training_is_the_training(
    digits: Dataset,
    normed: bool,
    execution: Execution,
    optimizer: str,
    mixed: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The last batch of an epoch is smaller; running statistics see no batch twice."""
    recipe = Recipe(epochs=3, batch_size=50, lr=1e-3, optimizer=optimizer, mixed_precision=mixed)
    wanted = trained(digits, recipe, normed, execution)
    taping = taped.install(monkeypatch)
    found = trained(digits, recipe, normed, execution)
    assert len(taping.replays) >= 2
    assert all(taping.replays)
    for name, tensor in wanted.items():
        assert torch.equal(found[name], tensor), name
    assert normed == ("norm.running_mean" in wanted)


def test_a_base_model_trained_by_graphs_is_the_same(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = Recipe(epochs=2, batch_size=256)
    states = []
    for _ in range(2):
        states.append(training.train(digits, "small-cnn", recipe, CPU).state_dict())
        taped.install(monkeypatch)
    assert all(torch.equal(states[1][name], tensor) for name, tensor in states[0].items())


def test_by_hand(taping: Taping) -> None:
    factor = [2.0]
    doubled = Recorded(lambda x: {"twice": factor[0] * x}, (torch.ones(2),), graphs.Lane(CPU))
    factor[0] = 5.0  # which no replay sees
    found = doubled(torch.tensor([3.0, 4.0]))
    assert found["twice"].tolist() == [6.0, 8.0]
    assert doubled(torch.zeros(2))["twice"].tolist() == [0.0, 0.0]
    assert found["twice"].tolist() == [6.0, 8.0]  # a copy
    with pytest.raises(RuntimeError, match="recorded with"):
        doubled({"x": torch.zeros(2)})


def test_what_a_function_changes_is_changed_once_a_call(taping: Taping) -> None:
    total = torch.zeros(())

    def add(x: Tensor) -> Tensor:
        total.add_(x)
        return 10 * x

    adding = Repeated(add, CPU, [total])
    found = [adding(torch.tensor(x)).item() for x in (1.0, 2.0, 3.0)]
    assert found == [10.0, 20.0, 30.0]
    assert total.item() == 6.0
    assert taping.replays == [2]


def test_each_shape_has_its_graph(taping: Taping) -> None:
    twice = Repeated(lambda x: 2 * x, CPU)
    for size in (3, 2, 3, 2, 3, 2, 5):
        assert twice(torch.arange(size)).tolist() == [2 * k for k in range(size)]
    assert taping.replays == [2, 2]


def test_lanes_take_members_by_turns(taping: Taping) -> None:
    """A lane for each eight members before, four at most; results come in the members' order."""
    mapping = GraphMapper(Execution.SEQUENTIAL, CPU)
    squared = mapping.members(lambda x: {"x": x * x}, "squared")
    for size, lanes in ((9, 0), (3, 1), (9, 1), (40, 2), (2, 2)):
        x = torch.randn(size, 3, 5).transpose(1, 2)
        assert torch.equal(squared(x)["x"], x * x)
        assert len(taping.replays) == lanes
    assert taping.replays == [3 + 9 + 20 + 1, 20 + 1]
    assert len(squared(torch.randn(50, 2))["x"]) == 50
    assert len(squared(torch.randn(50, 2))["x"]) == 50  # another shape, which comes again
    assert len(taping.replays) == 2 + 4
    assert not any(lane.open for lane in mapping.lanes)  # type: ignore[attr-defined]


def test_lanes_end_where_something_fails(taping: Taping) -> None:
    mapping = GraphMapper(Execution.SEQUENTIAL, CPU)
    plus_one = mapping.members(lambda x: x + 1, "plus")
    for _ in range(2):
        assert plus_one(torch.zeros(8)).tolist() == [1.0] * 8

    def fails() -> None:
        raise RuntimeError("CUDA error: misaligned address")

    ((graph,),) = mapping.graphs.values()
    graph.replay = fails
    assert plus_one(torch.zeros(8)).tolist() == [1.0] * 8
    assert not any(lane.open for lane in mapping.lanes)  # type: ignore[attr-defined]
    assert not mapping.records


def test_statistics_of_a_batch_are_not_recorded(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They change buffers in place, which a graph would change elsewhere."""
    torch.manual_seed(1)
    base = BaseModel(Normed().double(), digits, CPU)
    algorithm = algorithms.get("neggrad").from_text(
        {"max_steps": 4, "batch_norm": "batch", "retain_batch": 8}
    )
    positions = (base.train_logits.argmax(1) == base.train_labels).nonzero().squeeze(1)[:9]
    wanted = unlearn(base, algorithm, positions, 0, Execution.SEQUENTIAL)
    assert Status.ALREADY_WRONG not in wanted.status
    taped.install(monkeypatch)
    found = unlearn(base, algorithm, positions, 0, Execution.SEQUENTIAL)
    same(found, wanted, exactly=True)
    for name, buffer in wanted.buffers.items():
        assert torch.equal(found.buffers[name], buffer)


def test_partial_losses_of_one_step_are_told_apart() -> None:
    from unlearning.stepping import same as key

    scrub, other = (algorithms.get("scrub").from_text({"retain_batches": n}) for n in (2, 3))
    assert isinstance(scrub, Stepwise)
    assert isinstance(other, Stepwise)
    first, again = scrub.losses(1), scrub.losses(2)
    assert [key(loss) for loss in first] == [key(loss) for loss in again]
    assert len({key(loss) for loss in first}) == 3
    assert key(other.losses(1)[0]) != key(first[0])


@pytest.mark.parametrize("execution", Execution)
@pytest.mark.parametrize("name", [*STEPWISE, "scrub of many"])
def test_what_graphs_keep_is_counted(
    base: BaseModel, name: str, execution: Execution, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Setting] = {"max_steps": 4, "lr": 1e-6}
    if name == "scrub of many":
        name, settings = "scrub", settings | {"retain_batches": 3}
    algorithm = algorithms.get(name).from_text(settings)
    plain = algorithm.memory(base, execution)
    taped.install(monkeypatch)
    monkeypatch.setattr(graphs, "OFTEN", 1)  # so that all lanes are there
    made: list[Recorded] = []

    class Kept(Recorded):
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            made.append(self)

    monkeypatch.setattr(graphs, "Recorded", Kept)
    unlearn(base, algorithm, POSITIONS, 0, execution)
    counted = algorithm.memory(base, execution)
    more = (counted.member - plain.member) * len(POSITIONS) + counted.once - plain.once
    assert 0 < size_of(t for each in made for t in (*each.arguments, *each.outputs)) < more


class Fake:
    """A CUDA runtime without a GPU that writes down what is asked of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fails: bool = False) -> None:
        self.stack: list[Any] = ["the thread's"]
        self.asked: list[Any] = []
        runtime, made = self, [0]

        class Stream:
            def __init__(self, device: torch.device | None = None) -> None:
                self.number = made[0] % graphs.STREAMS  # as torch gives them out
                made[0] += device is not None

            def __eq__(self, other: object) -> bool:
                return isinstance(other, Stream) and other.number == self.number

            def __hash__(self) -> int:
                return self.number

            def wait_stream(self, other: object) -> None:
                runtime.asked.append("wait")

            def synchronize(self) -> None:
                runtime.asked.append("synchronize")

        class Graph:
            def capture_begin(self, capture_error_mode: str) -> None:
                runtime.asked.append("begin")
                runtime.stack.append(capture_error_mode)

            def capture_end(self) -> None:
                assert runtime.stack.pop() == "thread_local"
                runtime.asked.append("end")
                if fails:
                    raise RuntimeError("CUDA error: operation failed due to a previous error")

            def replay(self) -> None:
                runtime.asked.append("replay")

        @contextmanager
        def stream(of: Stream) -> Iterator[None]:
            self.stack.append(of)
            try:
                yield
            finally:
                self.stack.pop()

        graphs._streams.cache_clear()
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device", lambda _: nullcontext())
        monkeypatch.setattr(torch.cuda, "current_stream", lambda _: Stream())
        monkeypatch.setattr(torch.cuda, "Stream", Stream)
        monkeypatch.setattr(torch.cuda, "stream", stream)
        monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
        monkeypatch.setattr(torch.cuda, "empty_cache", self.empty_cache)

    def empty_cache(self) -> None:
        assert "thread_local" not in self.stack, "while something is recorded"
        self.asked.append("empty")


@pytest.fixture(autouse=True)
def no_fake_streams() -> Iterator[None]:
    yield
    graphs._streams.cache_clear()


@pytest.mark.parametrize("fails", [False, True])
def test_recording_leaves_the_thread_where_it_was(
    fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits for what ran beside, also where it fails: else it would read what is not done."""
    fake = Fake(monkeypatch, fails)
    lane, runs = graphs.Lane(CPU), list[bool]()
    with pytest.raises(RuntimeError, match="previous error") if fails else nullcontext():
        _, replay = graphs.capture(lambda: runs.append(gc.isenabled()), lane)
        replay()
    after = ["wait"] if fails else ["wait", "replay"]
    assert fake.asked == ["wait", "synchronize", "empty", "begin", "end", *after]
    assert runs == [True, False]  # a graph that ended now would spoil this one
    assert gc.isenabled()
    assert fake.stack == ["the thread's"]


def test_no_two_lanes_have_one_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch gives the same 32 out again and again; a graph keeps its lane."""
    fake = Fake(monkeypatch)
    lanes = [graphs.Lane(CPU) for _ in range(graphs.STREAMS)]
    assert len({lane.stream for lane in lanes}) == graphs.STREAMS
    with pytest.raises(RuntimeError, match="32 streams of cpu are in use"):
        graphs.Lane(CPU)
    monkeypatch.setattr(graphs, "records", lambda device: True)
    with graphs.aside(CPU):  # on the thread's own, then
        assert fake.stack == ["the thread's"]
    free = lanes[5].stream
    recorded = Recorded(lambda x: x + 1, (torch.ones(2),), lanes[7])
    kept = lanes[7].stream
    del lanes[7], lanes[5]
    with graphs.aside(CPU):
        assert fake.stack == ["the thread's", free]
        with pytest.raises(RuntimeError, match="in use"):
            graphs.Lane(CPU)
    assert graphs.Lane(CPU).stream == free
    del recorded
    assert {graphs.Lane(CPU).stream for _ in range(2)} == {free}
    assert kept != free


def test_memory_is_given_back_only_while_nothing_is_recorded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """To do it while another thread records would be an error of torch's."""
    fake, lane = Fake(monkeypatch), graphs.Lane(CPU)
    giving = threading.Thread(target=graphs.give_memory_back)

    def run() -> None:
        if "thread_local" in fake.stack:
            giving.start()
            giving.join(timeout=0.2)

    graphs.capture(run, lane)
    giving.join()
    assert fake.asked.index("end") < len(fake.asked) - 1 - fake.asked[::-1].index("empty")


def writes(x: Tensor) -> Tensor:
    return x.mul_(2)


CANNOT: dict[str, Any] = {
    "a number": lambda x: x * x.sum().item(),
    "a condition": lambda x: x if x.sum() > 0 else -x,
    "as many as are positive": lambda x: x[x > 0].sum(),
    "written where positive": lambda x: x.clone().index_put_((x > 0,), x[:2] * 2),
    "different values": lambda x: torch.unique(x),
    "its argument": writes,
    "random numbers": lambda x: x * torch.rand_like(x),
}
CAN: dict[str, Any] = {
    "positions": lambda x: x[torch.arange(2)] + x[-2:],
    "one number where positive": lambda x: x.clone().index_put_((x > 0,), torch.tensor(2.0)),
    "a constant": lambda x: x * torch.tensor(2.0),
}


@pytest.mark.parametrize("what", CANNOT)
def test_what_a_graph_cannot_do_is_found_before_it_is_recorded(what: str, taping: Taping) -> None:
    x, state = torch.tensor([-1.0, 2.0, 3.0, -4.0]), torch.get_rng_state()
    with pytest.raises(RuntimeError, match="cannot be recorded"):
        Recorded(CANNOT[what], (x,), graphs.Lane(CPU))
    assert x.tolist() == [-1.0, 2.0, 3.0, -4.0]
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("what", CAN)
def test_what_a_graph_can_do_is_recorded(what: str, taping: Taping) -> None:
    x, function = torch.tensor([-1.0, 2.0, 3.0, -4.0]), CAN[what]
    graph = Recorded(function, (torch.ones(4),), graphs.Lane(CPU))
    for sign in (1, -1):
        assert torch.equal(graph(sign * x), function(sign * x))


@pytest.mark.parametrize("execution", Execution)
def test_a_function_that_writes_into_its_arguments_does_so_every_time(
    execution: Execution, taping: Taping
) -> None:
    x = torch.ones(9, 3)
    doubled = GraphMapper(execution, CPU).members(writes, "writes")
    for k in range(1, 5):
        assert torch.equal(doubled(x), torch.full((9, 3), 2.0**k))
    assert torch.equal(x, torch.full((9, 3), 2.0**4))


class Clipped(nn.Module):
    """Looks, after batch normalisation, at what was computed."""

    def forward(self, seen: Tensor) -> Tensor:
        return seen / max(seen.abs().max().item(), 1.0) if self.training else seen


@pytest.mark.parametrize("layer", [nn.Dropout(0.3), Clipped()], ids=["dropout", "clipped"])
def test_training_that_cannot_be_recorded_sees_each_batch_once(
    digits: Dataset, layer: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Running statistics and random numbers are those of training that nobody tried to record."""
    recipe, found = Recipe(epochs=2, batch_size=50), []
    network = nn.Sequential(nn.BatchNorm2d(1), layer, nn.Flatten(), nn.Linear(64, 10))
    images, labels = digits.inputs(digits.train)[:205], digits.train.labels[:205]
    for recorded in (False, True):
        taping = taped.install(monkeypatch) if recorded else None
        torch.manual_seed(4)
        subsets = AllBut(torch.tensor([3, 60]), 205)
        found.append(
            training.train_on(subsets, network, images, labels, recipe, Execution.SEQUENTIAL)
        )
    assert taping is not None
    assert not taping.replays
    for name, tensor in found[0].items():
        assert torch.equal(found[1][name], tensor), name


@pytest.mark.parametrize("execution", Execution)
def test_graphs_end_with_their_chunk(
    base64: BaseModel, execution: Execution, taping: Taping, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None waits for the garbage collector, and until then keeps its memory."""
    alive: weakref.WeakSet[Recorded] = weakref.WeakSet()

    class Watched(Recorded):
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            alive.add(self)

    monkeypatch.setattr(graphs, "Recorded", Watched)
    algorithm = algorithms.get("salun").from_text({"max_steps": 4, "lr": 1e-6})
    gc.disable()
    try:
        unlearn(base64, algorithm, POSITIONS, 0, execution)
        trained_by = training.train(base64.dataset, "small-cnn", Recipe(epochs=1), CPU)
        assert taping.replays
        assert not alive
    finally:
        gc.enable()
    assert not trained_by.training
