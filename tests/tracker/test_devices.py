"""Where is computed: names of devices, several GPUs, threads that share one."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.tracker.conftest import Done, Indelible, own_copy
from tracker.base import workers
from tracker.base.base_models import accuracies
from tracker.base.devices import pick_device, pick_devices
from tracker.base.workers import Stop, Threads
from tracker.face.asked import computing
from tracker.record.opening import open_store
from tracker.record.records import VERSIONS, Kind
from tracker.sweeping.evidence import evidence
from tracker.sweeping.trials import Attempts
from unlearning import algorithms, base_model, losses, training
from unlearning.base_model import BaseModel, Params
from unlearning.errors import UserError
from unlearning.machine import rule_out_chance
from unlearning.passes import Form, Passes
from unlearning.precision import EvalPrecision
from unlearning.recipe import Recipe

CPU = torch.device("cpu")


def cuda(index: int | None = None) -> torch.device:
    return torch.device("cuda") if index is None else torch.device("cuda", index)


@contextmanager
def gpus(count: int) -> Iterator[None]:
    """A machine with so many of NVIDIA's, as far as torch is asked."""
    flags = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    chance = torch.backends.cudnn.deterministic
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: count > 0)
        patch.setattr(torch.cuda, "device_count", lambda: count)
        yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = flags
    torch.backends.cudnn.deterministic = chance


@pytest.mark.parametrize(
    ("name", "count", "wanted"),
    [
        ("auto", 0, (CPU,)),
        ("cpu", 2, (CPU,)),
        ("auto", 2, (cuda(),)),
        ("cuda", 1, (cuda(),)),
        ("cuda:1", 2, (cuda(1),)),
        ("cuda:1,cuda:0", 2, (cuda(1), cuda(0))),
        ("cuda:0,cuda:0", 2, (cuda(0),)),
        ("cuda:all", 3, (cuda(0), cuda(1), cuda(2))),
    ],
)
def test_devices_by_their_names(name: str, count: int, wanted: tuple[torch.device, ...]) -> None:
    with gpus(count):
        assert pick_devices(name) == wanted
        assert pick_device(name) == wanted[0]


def test_apples_gpu_is_taken_only_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    with gpus(0):
        assert pick_devices("auto") == (CPU,)
        assert pick_devices("mps") == (torch.device("mps"),)


@pytest.mark.parametrize(
    ("name", "count", "message"),
    [
        ("cuda", 0, "'cuda' is asked for, but torch sees none: use --device cpu"),
        ("cuda:all", 0, "'cuda:0' is asked for, but torch sees none: use --device cpu"),
        ("cuda:2", 2, "'cuda:2' is asked for, but torch sees 2, from cuda:0 on"),
        ("cuda:0,cuda:9", 2, "'cuda:9' is asked for, but torch sees 2, from cuda:0 on"),
        ("mps", 1, "'mps' is asked for, but torch sees none: use --device cpu"),
        ("tpu", 1, "device is 'tpu': choose auto, cpu, cuda, cuda:1, cuda:0,cuda:1, cuda:all or"),
        ("cuda:0,cpu", 1, "device is 'cuda:0,cpu': choose auto"),
        ("cuda,cuda", 1, "device is 'cuda,cuda': choose auto"),
        ("", 1, "device is '': choose auto"),
        ("cuda:00", 1, "device is 'cuda:00': choose auto"),
        ("cuda:٣", 9, "device is 'cuda:٣': choose auto"),
        ("cuda:99999999999", 1, "device is 'cuda:99999999999': choose auto"),
    ],
)
def test_devices_that_are_not_there(name: str, count: int, message: str) -> None:
    with gpus(count), pytest.raises(UserError, match=message):
        pick_devices(name)


def test_on_a_gpu_float32_is_no_tf32_and_kernels_have_no_chance() -> None:
    assert torch.backends.cudnn.allow_tf32  # torch's own default
    with gpus(1):
        rule_out_chance(CPU)
        assert torch.backends.cudnn.allow_tf32
        rule_out_chance(cuda())
        assert not torch.backends.cudnn.allow_tf32
        assert not torch.backends.cuda.matmul.allow_tf32
        assert torch.backends.cudnn.deterministic


def test_whoever_trains_or_has_a_base_model_rules_out_chance(
    base: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[torch.device] = []
    for module in (base_model, training):
        monkeypatch.setattr(module, "rule_out_chance", told.append)
    base.on(CPU)
    training.train(base.dataset, "mlp", Recipe(epochs=1), CPU)
    arrived = object.__new__(BaseModel)  # in another process, as an actor of Ray
    arrived.__setstate__(base.__getstate__() | {"device": cuda(1)})
    assert told == [CPU, CPU, cuda(1)]


@pytest.mark.parametrize("command", ["sweep", "train", "measure", "predict", "tune", "demo"])
def test_a_device_that_is_not_there_is_one_line(
    trained: object, indelible: Indelible, command: str
) -> None:
    how: tuple[str, ...] = ("--algorithm", "ga") if command in ("sweep", "predict", "tune") else ()
    how += ("--output", "preset.toml") if command == "tune" else ()
    said = indelible(trained, command, *how, "--device", "tpu")
    assert said.code == 2
    assert "device is 'tpu': choose auto, cpu" in said.err


@pytest.mark.parametrize(
    "command", [("demo",), ("unlearn", "--algorithm", "ga", "--sample", 2, "--output", "out")]
)
def test_what_computes_on_one_device_refuses_several(
    trained: Path, indelible: Indelible, command: tuple[str, ...]
) -> None:
    with gpus(2):
        said = indelible(trained, *command, "--device", "cuda:0,cuda:1")
    assert said.code == 2
    assert "device is 'cuda:0,cuda:1': this computes on a single one, name that" in said.err


@pytest.mark.parametrize("device", ["cuda:0,cuda:1", "cuda:1"])
def test_a_slot_of_ray_has_a_gpu_of_its_own(
    trained: Path, indelible: Indelible, device: str
) -> None:
    with gpus(2):
        said = indelible(
            trained, "sweep", "--algorithm", "ga", "--engine", "ray", "--device", device
        )
        with (
            pytest.raises(UserError, match="each slot has a GPU of its own, give 'cuda'"),
            computing(None, device, "local", print),
        ):
            pass
    assert said.code == 2
    assert f"device is '{device}': on a Ray cluster each slot has a GPU of its own" in said.err


# Several GPUs: on a machine without one, the CPU under another name


def test_threads_share_several_devices(base: BaseModel, monkeypatch: pytest.MonkeyPatch) -> None:
    others: list[BaseModel] = []
    real = BaseModel.on

    def on(self: BaseModel, device: torch.device) -> BaseModel:
        others.append(real(self, device))
        return others[-1]

    monkeypatch.setattr(BaseModel, "on", on)
    engine = Threads(further=(CPU, CPU))
    meeting = threading.Barrier(6, timeout=60)

    def compute(twin: BaseModel, piece: int) -> tuple[int, list[float]]:
        meeting.wait()  # until all six are at work
        return id(twin.params), twin.model(twin.test_inputs[piece : piece + 1])[0].tolist()

    monkeypatch.setattr(workers, "cores", lambda: 6)
    with engine.pool(base, Stop()) as pool:
        assert pool.count == 6
        found = [result for _, result in pool.map(compute, range(6))]
    used = [where for where, _ in found]
    assert sorted(map(used.count, set(used))) == [2, 2, 2]
    assert set(used) == {id(base.params), *(id(other.params) for other in others)}
    for piece, (_, logits) in enumerate(found):
        wanted = base.model(base.test_inputs[piece : piece + 1])[0].tolist()
        assert logits == pytest.approx(wanted, rel=1e-6)


def test_what_twins_have_of_their_own_ends_with_the_pool(base: BaseModel) -> None:
    """Graphs are among it on a GPU, and their memory; the garbage collector is not waited for."""
    alive: weakref.WeakSet[Passes] = weakref.WeakSet()

    def compute(twin: BaseModel, piece: int) -> BaseModel:
        alive.add(twin.for_itself("passes", lambda: Passes(twin, Form(graphs=True))))
        return twin

    own = base.for_itself("own", object)
    gc.disable()
    try:
        with Threads(2).pool(base, Stop()) as pool:
            twins = [twin for _, twin in pool.map(compute, range(3))]
            assert alive
        assert not alive
    finally:
        gc.enable()
    assert all(twin is not base for twin in twins)
    assert base.for_itself("own", list) is own


def test_each_device_has_a_thread_at_least_and_a_gpu_two(base: BaseModel) -> None:
    gpu = base.twin()
    gpu.device = cuda(0)
    assert Threads().count(gpu) == 2
    assert Threads(further=(cuda(1),)).count(gpu) == 4
    assert Threads(1, (cuda(1), cuda(2))).count(gpu) == 3
    assert Threads(5, (cuda(1),)).count(gpu) == 5


def test_the_room_of_several_is_the_smallest_of_each(
    base: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = {cuda(0): 80.0, cuda(1): 24.0}
    monkeypatch.setattr(workers, "budget", free.__getitem__)
    gpu = base.twin()
    gpu.device = cuda(0)
    assert Threads(further=(cuda(1),)).room(gpu) == 48.0
    assert Threads().room(gpu) == 80.0


def test_a_base_model_on_another_device_remembers_by_itself(base: BaseModel) -> None:
    other = base.on(CPU)
    assert other.network is not base.network
    assert other.once("test/where", lambda: "there") == "there"
    assert base.once("test/where", lambda: "here") == "here"
    assert other.eval_precision == base.eval_precision
    assert other.origin == base.origin
    assert other.train_logits.equal(base.train_logits)


def test_tf32_is_refused_on_several(base: BaseModel) -> None:
    rounded = BaseModel(base.network, base.dataset, CPU, eval_precision=EvalPrecision.TF32)
    with pytest.raises(UserError, match="give one device, or float16"):
        Threads(further=(CPU,)).pool(rounded, Stop())


# Threads that share a GPU


@pytest.mark.parametrize(("device", "most"), [(CPU, 3), (cuda(0), 1)], ids=["CPU", "GPU"])
def test_a_gpu_is_taken_by_turns(base: BaseModel, device: torch.device, most: int) -> None:
    shared = base.twin()
    shared.device = device
    shared._turns = threading.Lock()
    inside, seen = 0, []
    meeting = threading.Barrier(3, timeout=60)

    def work(twin: BaseModel) -> None:
        nonlocal inside
        meeting.wait()
        with twin.computing():
            inside += 1
            time.sleep(0.05)
            seen.append(inside)
            inside -= 1

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(work, [shared.twin() for _ in range(3)]))
    assert max(seen) == most


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What evaluates with a base model while it is that thread's turn, or not."""
    inside, seen = threading.local(), list[str]()

    @contextmanager
    def computing(_: BaseModel) -> Iterator[None]:
        inside.now = True
        yield
        inside.now = False

    real = Passes.outputs

    def outputs(self: Passes, state: Params, inputs: Tensor) -> tuple[Tensor, Tensor]:
        seen.append("in turn" if getattr(inside, "now", False) else "any time")
        return real(self, state, inputs)

    monkeypatch.setattr(BaseModel, "computing", computing)
    monkeypatch.setattr(Passes, "outputs", outputs)
    return seen


def test_what_is_measured_again_takes_turns(
    done: Done, indelible: Indelible, tmp_path: Path, turns: list[str]
) -> None:
    copy = open_store(own_copy(done.folder, tmp_path))
    (run, *_) = copy.finished_runs(Kind.MEMBER, "tags.status = 'flipped'")
    copy.client.set_tag(run.info.run_id, VERSIONS, "{}")
    assert indelible(tmp_path, "measure", "--sweep", "all").code == 0
    assert turns == ["in turn"]


def test_what_is_tried_takes_turns(base: BaseModel, turns: list[str]) -> None:
    ids = base.dataset.train.ids[:3].tolist()
    Attempts(0, Stop())(base, (0, algorithms.get("ga").from_text({}), ids))
    assert turns
    assert set(turns) == {"in turn"}


def test_no_more_than_float32_is_asked_of_a_device_that_has_no_more(
    base: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted, requests = accuracies(base), torch.arange(4)
    before = evidence(base, base.params, requests)

    def double(_: Tensor) -> Tensor:
        raise TypeError("Cannot convert a MPS Tensor to float64 dtype")

    monkeypatch.setattr(losses, "NO_FLOAT64", ("cpu",))
    monkeypatch.setattr(Tensor, "double", double)
    assert accuracies(base) == pytest.approx(wanted, rel=1e-5)
    assert evidence(base, base.params, requests) == pytest.approx(before, rel=1e-4)
