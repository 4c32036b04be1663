"""Forms of evaluation: what is folded, rounded or recorded gives what the network itself gives."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import prune

from tests.unlearning import taped
from unlearning import datasets, passes
from unlearning import graphs as graphs_of
from unlearning.base_model import BLOCK, BaseModel, logits, outputs
from unlearning.errors import UserError
from unlearning.passes import Fold, Form, Outputs, Passes, folds_of, passes_of, refuse_unable
from unlearning.precision import EvalPrecision, Precision

CPU, HALF = torch.device("cpu"), EvalPrecision.FLOAT16


class Block(nn.Module):
    """A residual block: one normalisation after a sum, which no convolution may take."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.plain = nn.Conv2d(channels, channels, 3, padding=1, bias=True)
        self.plain_norm = nn.BatchNorm2d(channels, affine=False)
        self.grouped = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.grouped_norm = nn.BatchNorm2d(channels, eps=1e-2)
        self.after = nn.BatchNorm2d(channels)

    def forward(self, images: Tensor) -> Tensor:
        first = F.relu(self.plain_norm(self.plain(images)))
        return F.relu(self.after(self.grouped_norm(self.grouped(first)) + images))


class Net(nn.Module):
    """All that can be folded, and three that cannot: seen twice, called twice, without statistics
    that were kept.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.stem_norm = nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.block = Block(6)
        self.twice, self.twice_norm = nn.Conv2d(6, 6, 1), nn.BatchNorm2d(6)
        self.seen, self.seen_norm = nn.Conv2d(6, 6, 1), nn.BatchNorm2d(6)
        self.flat, self.flat_norm = nn.Linear(6, 12), nn.BatchNorm1d(12)
        self.head = nn.Linear(12, 10)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.block(F.relu(self.stem_norm(self.stem(images))))
        for _ in range(2):
            maps = F.relu(self.twice_norm(self.twice(maps)))
        seen = self.seen(maps)
        maps = self.seen_norm(seen) + seen
        logits: Tensor = self.head(F.relu(self.flat_norm(self.flat(maps.mean(dim=(2, 3))))))
        return logits


class Untraceable(Net):
    """Its way depends on what it computes."""

    def forward(self, images: Tensor) -> Tensor:
        found = super().forward(images)
        return found if found.sum() > -1e9 else -found


FOLDED = [
    Fold("stem", "stem_norm"),
    Fold("block.plain", "block.plain_norm"),
    Fold("block.grouped", "block.grouped_norm"),
]


def made(network: nn.Module, digits: datasets.Dataset, double: bool = False) -> BaseModel:
    """A base model whose normalisations do much."""
    chance = torch.Generator().manual_seed(3)
    for layer in network.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            assert layer.running_mean is not None
            assert layer.running_var is not None
            layer.running_mean.normal_(std=0.3, generator=chance)
            layer.running_var.uniform_(0.2, 3.0, generator=chance)
            for p in layer.parameters():
                nn.init.uniform_(p, -1.5, 1.5, generator=chance)
    return BaseModel(network.double() if double else network, digits, CPU)


@pytest.fixture
def other(digits: datasets.Dataset) -> BaseModel:
    torch.manual_seed(5)
    return made(Net(), digits, double=True)


def unlearned(base: BaseModel, buffers: bool = False) -> dict[str, Tensor]:
    """Weights near a base model's, with the running statistics too or without."""
    chance, changed = torch.Generator().manual_seed(1), dict(base.params)
    if buffers:
        changed |= {n: b for n, b in base.network.named_buffers() if b.is_floating_point()}
    return {
        name: t * (1 + 0.2 * torch.rand(t.shape, generator=chance, dtype=t.dtype))
        for name, t in changed.items()
    }


def test_what_can_be_folded_is(other: BaseModel) -> None:
    assert folds_of(other.network) == FOLDED
    assert folds_of(Untraceable()) == []


@pytest.mark.parametrize("buffers", [False, True], ids=["parameters", "and running statistics"])
@pytest.mark.parametrize("block", [7, 2000])
def test_a_folded_network_gives_the_same(other: BaseModel, buffers: bool, block: int) -> None:
    folded = Passes(other, Form(folded=True, block=block))
    assert folded.folds == FOLDED
    before, state = copy.deepcopy(other.network.state_dict()), unlearned(other, buffers)
    inputs = other.test_inputs[:40]
    wanted = outputs(other.model.at({**other.params, **state}), inputs)
    for found, expected in zip(folded.outputs(state, inputs), wanted, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(folded.logits(state, inputs), wanted[1], rtol=1e-12, atol=1e-12)
    after = other.network.state_dict()
    assert all(after[name].equal(tensor) for name, tensor in before.items())
    assert list(after) == list(before)


def test_a_fold_by_hand() -> None:
    """2x + 1, of mean 3 and variance 4 - eps, times 5 plus 7: 5 (2x + 1 - 3) / 2 + 7 = 5x + 2."""

    class One(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1, eps=0.5)
            self.head = nn.Linear(64, 10)

        def forward(self, images: Tensor) -> Tensor:
            logits: Tensor = self.head(self.norm(self.conv(images)).flatten(1))
            return logits

    network = One()
    values = {"conv.weight": 2.0, "conv.bias": 1.0, "norm.running_mean": 3.0}
    values |= {"norm.running_var": 3.5, "norm.weight": 5.0, "norm.bias": 7.0}
    for name, tensor in network.state_dict().items():
        tensor.fill_(values.get(name, 0.0))
    folded = Passes(BaseModel(network, datasets.load("digits"), CPU), Form(folded=True))
    weights = folded.weights({})
    assert weights["conv.weight"].item() == 5.0
    assert weights["conv.bias"].item() == 2.0
    assert not {name for name in weights if name.startswith("norm")}


def test_a_network_that_cannot_be_traced_is_evaluated_as_it_is(digits: datasets.Dataset) -> None:
    base = made(Untraceable(), digits)
    folded, inputs = Passes(base, Form(folded=True)), base.test_inputs[:20]
    assert folded.logits({}, inputs).equal(logits(base.model, inputs))


def test_tied_weights_are_not_folded(digits: datasets.Dataset) -> None:
    network = Net()
    network.seen.weight = network.twice.weight
    base = made(network, digits)
    folded, inputs = Passes(base, Form(folded=True)), base.test_inputs[:20]
    assert folded.folds == []
    assert folded.logits({}, inputs).equal(logits(base.model, inputs))


class Reader(Net):
    """Reads what its layers are, and takes another way by it or uses it once more."""

    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what
        if what == "another name":
            self.again = self.stem_norm = nn.BatchNorm2d(6, affine=False)
        if what == "no bias":
            self.stem = nn.Conv2d(1, 6, 3, padding=1, bias=False)

    def forward(self, images: Tensor, factor: Tensor | None = None) -> Tensor:
        maps = self.stem(images)
        if factor is None and self.what == "a default":
            maps = 2 * maps
        maps = self.again(maps) if self.what == "another name" else self.stem_norm(maps)
        if self.what == "a kernel":
            maps = maps + F.conv2d(images, self.stem.weight, padding=1)
        if self.what == "a size":
            maps = maps / self.stem_norm.num_features
        if self.what == "no bias" and self.stem.bias is not None:
            maps = -maps
        logits: Tensor = self.head(self.flat(maps.mean(dim=(2, 3))))
        return logits


@pytest.mark.parametrize("what", ["a default", "another name", "a kernel", "a size", "no bias"])
@pytest.mark.parametrize("fresh", [False, True], ids=["statistics", "none yet"])
def test_a_network_that_reads_its_layers_is_not_folded(
    digits: datasets.Dataset, what: str, fresh: bool
) -> None:
    network = Reader(what)
    base = BaseModel(network, digits, CPU) if fresh else made(network, digits)
    passes, inputs = Passes(base, Form(folded=True)), base.test_inputs[:20]
    assert passes.folds == []
    assert passes.logits(state := unlearned(base), inputs).equal(
        logits(base.model.at({**base.params, **state}), inputs)
    )


def hooked(network: Net, how: str) -> Net:
    """With something that a layer's call does beside its `forward`."""
    if how == "kernel pruned":
        prune.l1_unstructured(network.stem, "weight", 0.5)
    elif how == "gamma pruned":
        prune.l1_unstructured(network.stem_norm, "weight", 0.5)
    elif how == "clamped":
        network.stem.register_forward_hook(lambda *called: called[-1].clamp(-0.1, 0.1))
    else:
        network.stem_norm.register_forward_pre_hook(lambda _, inputs: (inputs[0] * 2,))
    return network


@pytest.mark.parametrize("how", ["kernel pruned", "gamma pruned", "clamped", "doubled"])
def test_layers_with_hooks_are_not_folded(digits: datasets.Dataset, how: str) -> None:
    base = made(hooked(Net(), how), digits).twin()
    passes, inputs = Passes(base, Form(folded=True)), base.test_inputs[:20]
    assert passes.folds == FOLDED[1:]
    torch.testing.assert_close(
        passes.logits({}, inputs), logits(base.model, inputs), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("folded", [False, True])
def test_half_precision_is_near_with_a_last_layer_in_single(
    digits: datasets.Dataset, folded: bool
) -> None:
    torch.manual_seed(5)
    base = made(Net(), digits)
    half, state, inputs = Passes(base, Form(HALF, folded)), unlearned(base), base.test_inputs
    features, found = half.outputs(state, inputs)
    wanted = outputs(base.model.at(state), inputs)
    assert features.dtype == found.dtype == torch.float32
    assert not found.equal(wanted[1])
    torch.testing.assert_close(found, wanted[1], rtol=1e-2, atol=1e-2)
    weight, bias = state["head.weight"], state["head.bias"]
    torch.testing.assert_close(found, features @ weight.T + bias)  # of features that were rounded


def test_beyond_the_range_of_half_precision_the_network_is_evaluated_as_it_is(
    digits: datasets.Dataset,
) -> None:
    base = made(Net(), digits)
    state = unlearned(base) | {"stem.weight": base.params["stem.weight"] * 1e7}
    wanted = logits(base.model.at(state), base.test_inputs)
    assert wanted.isfinite().all()
    assert Passes(base, Form(HALF)).logits(state, base.test_inputs).equal(wanted)


def test_a_variance_beyond_the_range_makes_no_channel_zero(digits: datasets.Dataset) -> None:
    base = made(Net(), digits)
    state = dict(base.params)
    state["stem_norm.running_var"] = torch.full((6,), 1e6)  # infinite in float16
    state["stem_norm.weight"] = torch.full((6,), 1e3)
    wanted = logits(base.model.at({**base.params, **state}), base.test_inputs)
    assert Passes(base, Form(HALF)).logits(state, base.test_inputs).equal(wanted)


class Constant(Net):
    """With a tensor that nobody can turn into float16: it is no buffer."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images + torch.ones(1))


class Tied(nn.Module):
    """Its last layer, which stays in single, has the kernel of another."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.back, self.head = nn.Linear(64, 10), nn.Linear(10, 64), nn.Linear(64, 10)
        self.head.weight = self.first.weight

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.back(self.first(images.flatten(1))))
        return logits


@pytest.mark.parametrize("kind", [Constant, Tied])
def test_a_network_that_cannot_compute_in_half_precision_is_refused(
    digits: datasets.Dataset, kind: type[nn.Module]
) -> None:
    base = BaseModel(kind(), digits, CPU, eval_precision=HALF)
    with pytest.raises(UserError, match=r"cannot be evaluated in float16 \(.*\): use float32"):
        passes_of(base)


def test_the_base_models_own_outputs_have_the_same_form(digits: datasets.Dataset) -> None:
    base = made(Net(), digits)
    half, plain = Passes(base, Form(HALF)), Passes(base, Form())
    assert plain.test_outputs is base.test_outputs
    assert plain.train_logits is base.train_logits
    assert half.test_outputs is half.test_outputs
    assert half.test_logits.equal(half.logits(base.params, base.test_inputs))
    assert half.train_logits.equal(half.logits(base.params, base.train_inputs))


def test_every_twin_has_passes_of_its_own(base: BaseModel) -> None:
    twin = base.twin()
    assert passes_of(base) is passes_of(base)
    assert passes_of(twin) is not passes_of(base)
    assert passes_of(twin).network is twin.network
    assert passes_of(base).form == Form()


def test_inputs_that_are_asked_for_again_are_the_same_tensor(base: BaseModel) -> None:
    some = base.some(30)
    assert base.some(30) is some
    inputs = base.inputs_at(some)
    assert inputs.equal(base.train_inputs[some])
    assert base.inputs_at(base.some(30)) is inputs
    assert base.inputs_at(base.some(20)).equal(base.train_inputs[base.some(20)])


@pytest.mark.parametrize("given", ["float16", "float64/float16", "float32/", "", None, 32])
def test_other_precisions_are_refused(given: Any) -> None:
    with pytest.raises(UserError, match=f"precision is {given!r}: choose float32, float32/tf32"):
        Precision.parse(given)


def test_tf32_needs_a_gpu() -> None:
    refuse_unable(EvalPrecision.TF32, torch.device("cuda"))
    with pytest.raises(UserError, match="--eval-precision tf32 needs an NVIDIA GPU"):
        refuse_unable(EvalPrecision.TF32, CPU)


def test_tf32_is_switched_on_for_the_pass_alone(digits: datasets.Dataset) -> None:
    seen: list[bool] = []

    class Watched(Net):
        def forward(self, images: Tensor) -> Tensor:
            seen.append(torch.backends.cudnn.allow_tf32 and torch.backends.cuda.matmul.allow_tf32)
            return super().forward(images)

    base = made(Watched(), digits)
    seen.clear()
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    Passes(base, Form(EvalPrecision.TF32)).logits({}, base.test_inputs[:5])
    assert seen == [True]
    assert (torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32) == before


# CUDA graphs, with a stand-in that does again what was done while it was recorded


@pytest.fixture
def captures(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How often each pass that was recorded is replayed, on a machine without a GPU."""
    replays: list[int] = []

    def capture(run: Callable[[], Outputs], lane: Any) -> Any:
        outputs, number = run(), len(replays)
        replays.append(0)

        def replay() -> None:
            replays[number] += 1
            for static, found in zip(outputs, run(), strict=True):
                static.copy_(found)

        return outputs, replay

    monkeypatch.setattr(graphs_of, "capture", capture)
    monkeypatch.setattr(graphs_of, "Lane", taped.Lane)
    return replays


def test_a_graph_gives_each_model_its_own_outputs(
    digits: datasets.Dataset, captures: list[int]
) -> None:
    base = made(Net(), digits)
    eager, graphs = Passes(base, Form(folded=True)), Passes(base, Form(folded=True, graphs=True))
    states = [unlearned(base, buffers) for buffers in (False, True, False)]
    for inputs in (base.test_inputs, base.train_inputs):
        found = [graphs.outputs(state, inputs) for state in states]
        for state, pair in zip(states, found, strict=True):
            wanted = eager.outputs(state, inputs)
            assert all(one.equal(other) for one, other in zip(pair, wanted, strict=True))
    assert captures == [2, 2]  # what passes for the first time is not recorded
    wanted_logits = eager.logits(states[0], base.test_inputs)
    assert graphs.logits(states[0], base.test_inputs).equal(wanted_logits)


def test_few_images_and_a_fifth_set_have_no_graph(
    digits: datasets.Dataset, captures: list[int]
) -> None:
    base = made(Net(), digits)
    graphs, sets = Passes(base, Form(graphs=True)), [base.train_inputs[k:] for k in range(6)]
    for _ in range(3):
        graphs.logits({}, base.test_inputs[: BLOCK - 1])
        for inputs in sets:
            graphs.logits({}, inputs)
    assert len(captures) == len(graphs.graphs) == passes.GRAPHS
    for inputs in sets:
        assert graphs.logits({}, inputs).equal(logits(base.model, inputs))


def test_images_that_were_let_go_leave_no_graph_behind(
    digits: datasets.Dataset, captures: list[int]
) -> None:
    base = made(Net(), digits)
    graphs = Passes(base, Form(graphs=True))
    for k in range(20):  # may come to lie where others lay before
        inputs = base.train_inputs[torch.arange(k, k + 300)]
        assert graphs.logits({}, inputs).equal(logits(base.model, inputs))


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA error: operation not permitted when stream is capturing"),
        torch.OutOfMemoryError("CUDA out of memory"),  # which one member alone may fit in without
    ],
)
def test_where_a_network_cannot_be_recorded_nothing_more_is(
    digits: datasets.Dataset, monkeypatch: pytest.MonkeyPatch, error: RuntimeError
) -> None:
    tried: list[int] = []

    def capture(*_: Any) -> Any:
        tried.append(1)
        raise error

    monkeypatch.setattr(graphs_of, "capture", capture)
    monkeypatch.setattr(graphs_of, "Lane", taped.Lane)
    base = made(Net(), digits)
    graphs = Passes(base, Form(graphs=True))
    for _ in range(4):
        for inputs in (base.test_inputs, base.train_inputs):
            assert graphs.logits({}, inputs).equal(logits(base.model, inputs))
    assert tried == [1]


def test_where_there_is_no_memory_for_any_pass_that_is_said(
    digits: datasets.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ran_out(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    base = made(Net(), digits)
    graphs = Passes(base, Form(graphs=True))
    graphs.logits({}, base.test_inputs)
    monkeypatch.setattr(graphs_of, "capture", ran_out)
    monkeypatch.setattr(graphs_of, "Lane", taped.Lane)
    monkeypatch.setattr(Passes, "_run", ran_out)
    with pytest.raises(torch.OutOfMemoryError):
        graphs.logits({}, base.test_inputs)
