"""Passes of many images through unlearned models: forms of a network for evaluation alone.

On a GPU nearly all of a sweep's time is evaluation. There a network is evaluated in large blocks,
with each batch normalisation folded into the convolution before it, and a whole pass is recorded
once as a CUDA graph, into whose buffers the weights of one model after the other are copied. On a
CPU none of this pays, and the network is evaluated as it is.

Another form gives other last bits. So the base model's outputs that evaluations are compared with
are taken in the same form, and what steps look at, the teacher's logits among it, never is.

Sources: folding, Jacob et al. 2018, arXiv 1712.05877, section 3.2; CUDA graphs,
https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs.
"""

from __future__ import annotations

import copy
import inspect
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from unlearning import graphs
from unlearning.base_model import BLOCK, BaseModel, Model, Params
from unlearning.errors import UserError, words_of
from unlearning.graphs import Recorded, records
from unlearning.memory import activations
from unlearning.models import ALIKE
from unlearning.precision import EvalPrecision

LARGE_BLOCK = 2000  # images that pass at a time on a GPU, where their activations
BLOCK_BYTES = 2**31  # take no more than this in any layer
GRAPHS = 4  # that are kept: the test set and what stands for the remaining data have one each
FAR = 1.25  # times the statistics of a normalisation, where a fold is tried out
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)

Outputs = tuple[Tensor, ...]
Pass = Callable[[Params], Outputs]  # of the same images, under any weights


@dataclass(frozen=True)
class Form:
    """How models are evaluated.

    Attributes:
        folded: whether batch normalisation is folded into convolutions. graphs: whether passes are
            recorded as CUDA graphs. block: images that pass at a time.
    """

    precision: EvalPrecision = EvalPrecision.SAME
    folded: bool = False
    graphs: bool = False
    block: int = BLOCK

    @property
    def is_plain(self) -> bool:
        """Whether the network is evaluated as it is."""
        return not (self.folded or self.graphs) and self.precision is EvalPrecision.SAME

    @classmethod
    def of(cls, base: BaseModel) -> Form:
        """The form that is fast on the device of a base model, in the precision asked for."""
        if not records(base.device):
            return cls(base.eval_precision)
        block = max(1, min(LARGE_BLOCK, BLOCK_BYTES // max(activations(base))))
        return cls(base.eval_precision, folded=True, graphs=True, block=block)


class Fold(NamedTuple):
    """The names of a convolution, and of the batch normalisation that alone sees its output."""

    convolution: str
    norm: str


class Passes:
    """The passes of a base model and of what is unlearned from it, for one thread at a time.

    Raises UserError for a network that cannot compute in float16, where that is asked for.
    """

    def __init__(self, base: BaseModel, form: Form) -> None:
        self.base, self.form = base, form
        self.folds = sound_folds(base) if form.folded else []
        self.network = base.network if form.is_plain else without_norms(base.network, self.folds)
        self.recorded: dict[tuple[int, int, bool], OfImages | None] = {}
        self.records = form.graphs
        self.lane: graphs.Lane | None = None
        self.head = self.network.get_submodule(base.head_name)
        if form.precision is EvalPrecision.FLOAT16:
            self.head.register_forward_pre_hook(lambda _, inputs: (inputs[0].float(),))
            self._refuse_unable()

    @torch.no_grad()
    def _refuse_unable(self) -> None:
        """Raise UserError where the network brings other numbers than weights and images."""
        try:
            self._run(self.weights({}), self.base.test_inputs[:1], False)
        except RuntimeError as error:
            if isinstance(error, torch.cuda.OutOfMemoryError):
                raise
            raise UserError(
                f"the network cannot be evaluated in {self.form.precision} "
                f"({words_of(error).partition(chr(10))[0]}): use float32"
            ) from error

    @property
    def test_outputs(self) -> tuple[Tensor, Tensor]:
        """The base model's own, in this form: features and logits of the test set."""
        if self.form.is_plain:
            return self.base.test_outputs
        return self.base.once(
            ("passes/test", self.form), lambda: self.outputs({}, self.base.test_inputs)
        )

    @property
    def test_logits(self) -> Tensor:
        """The base model's own, in this form: (test samples, classes)."""
        return self.test_outputs[1]

    @property
    def train_logits(self) -> Tensor:
        """The base model's own, in this form: (train samples, classes)."""
        if self.form.is_plain:
            return self.base.train_logits
        return self.base.once(
            ("passes/train", self.form), lambda: self.logits({}, self.base.train_inputs)
        )

    def outputs(self, state: Params, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Features and logits: (N, C, H, W) to (N, D) and (N, classes).

        Args:
            state: parameters and buffers by name; those that are not there are the base model's.
        """
        features, logits = self._pass(state, inputs, True)
        return features, logits

    def logits(self, state: Params, inputs: Tensor) -> Tensor:
        """Logits alone: (N, C, H, W) to (N, classes)."""
        (logits,) = self._pass(state, inputs, False)
        return logits

    @torch.no_grad()
    def _pass(self, state: Params, inputs: Tensor, features: bool) -> Outputs:
        def plain() -> Outputs:
            model = self.base.model
            return _in_blocks(model.at({**model.params, **state}), inputs, features, BLOCK)

        if self.form.is_plain:
            return plain()

        weights, half = self.weights(state), self.form.precision is EvalPrecision.FLOAT16
        if half and not _are_finite(w for w in weights.values() if w.is_floating_point()):
            return plain()  # a variance that is infinite would make a channel zero, and be unseen
        with _tf32() if self.form.precision is EvalPrecision.TF32 else nullcontext():
            found = self._recorded_or(
                lambda weights: self._run(weights, inputs, features), weights, inputs, features
            )
        if half and not _are_finite(found):
            return plain()  # beyond the range of float16, perhaps of float32 too
        return found

    def _run(self, weights: Params, inputs: Tensor, features: bool) -> Outputs:
        """A pass by the network of this form, under its own weights."""
        assert isinstance(self.head, nn.Linear)
        model = Model(self.network, weights, self.head, self.base.model.tied)
        kind = torch.float16 if self.form.precision is EvalPrecision.FLOAT16 else inputs.dtype
        return _in_blocks(model, inputs, features, self.form.block, kind)

    def weights(self, state: Params) -> dict[str, Tensor]:
        """A state as the network of this form takes it."""
        weights = folded({**self.base.state, **state}, self.base.network, self.folds)
        if self.form.precision is EvalPrecision.FLOAT16:
            head = self.base.head_parameters
            weights |= {
                name: w.half()
                for name, w in weights.items()
                if name not in head and w.is_floating_point()
            }
        return weights

    def _recorded_or(self, run: Pass, weights: Params, inputs: Tensor, features: bool) -> Outputs:
        """What a pass gives: by its graph from the second pass of the same images on."""
        key = (inputs.data_ptr(), len(inputs), features)
        if not self.records or len(inputs) < BLOCK:
            return run(weights)
        if key not in self.recorded:
            self.recorded[key] = None
        elif self.recorded[key] is None and len(self.graphs) < GRAPHS:
            try:
                self.lane = self.lane or graphs.Lane(inputs.device)
                self.recorded[key] = OfImages(inputs, Recorded(run, (weights,), self.lane))
            except RuntimeError:  # a network that asks for what it computed; or memory ran out,
                self.records = False  # of which a pass that is not recorded keeps none
                self.recorded.clear()  # all graphs of a lane end together
        recorded = self.recorded.get(key)
        if recorded is None:
            return run(weights)
        found: Outputs = recorded.graph(weights)
        return found

    @property
    def graphs(self) -> list[Recorded]:
        """Those that were recorded."""
        return [each.graph for each in self.recorded.values() if each is not None]


class OfImages(NamedTuple):
    """A pass as a CUDA graph, and its images: kept, so that no others come to lie there."""

    images: Tensor
    graph: Recorded


def passes_of(base: BaseModel) -> Passes:
    """The passes of a base model, made once for each twin of it."""
    return base.for_itself("passes", lambda: Passes(base, Form.of(base)))


def refuse_unable(precision: EvalPrecision, device: torch.device) -> None:
    """Raise UserError for a precision of evaluation that a device lacks."""
    if precision is EvalPrecision.TF32 and device.type != "cuda":
        raise UserError(
            f"--eval-precision tf32 needs an NVIDIA GPU, and the device is '{device.type}': use "
            "float32"
        )


def sound_folds(base: BaseModel) -> list[Fold]:
    """What can be folded in a base model, as far as that is tried out; nothing if it fails there.

    A `forward` may read the layers themselves, which no trace of it shows: a kernel that it also
    uses elsewhere, or whether there is a bias.
    """
    found = [] if base.model.tied else folds_of(base.network)
    if not found:
        return []
    norms = tuple(f"{fold.norm}." for fold in found)
    state = {  # under statistics that are not those of a fresh layer, which do nothing
        name: FAR * tensor if name.startswith(norms) and tensor.is_floating_point() else tensor
        for name, tensor in base.state.items()
    }
    images, network = base.test_inputs[:2], without_norms(base.network, found)
    try:
        with torch.no_grad():
            wanted = base.model.at(state)(images)
            logits = Model(network, folded(state, base.network, found), tied=False)(images)
    except Exception as error:  # whatever a user's forward raises where a layer is another one
        if isinstance(error, torch.cuda.OutOfMemoryError):
            raise
        return []
    return found if (logits - wanted).abs().max() <= ALIKE * wanted.abs().max() else []


def folds_of(network: nn.Module) -> list[Fold]:
    """Convolutions whose output nothing but one batch normalisation sees, with that.

    None in a network whose `forward` cannot be traced.
    """
    asked = inspect.signature(network.forward).parameters.values()
    given = {each.name: each.default for each in asked if each.default is not each.empty}
    try:
        traced = fx.symbolic_trace(copy.deepcopy(network), given)
    except Exception:  # whatever a user's forward raises on a stand-in for an image
        return []
    calls = [node for node in traced.graph.nodes if node.op == "call_module"]
    layers = {node: network.get_submodule(node.target) for node in calls}
    names = Counter(id(layer) for _, layer in network.named_modules(remove_duplicate=False))
    often = Counter(map(id, layers.values()))
    found = []
    for node, layer in layers.items():
        before = next(iter(node.args), None)
        if (
            isinstance(layer, _BatchNorm)
            and layer.running_mean is not None
            and isinstance(before, fx.Node)
            and type(layers.get(before)) in CONVOLUTIONS
            and len(before.users) == 1
            and often[id(layer)] == often[id(layers[before])] == 1
            and names[id(layer)] == names[id(layers[before])] == 1
            and not (_has_hooks(layer) or _has_hooks(layers[before]))
        ):
            found.append(Fold(str(before.target), str(node.target)))
    return found


def _has_hooks(layer: nn.Module) -> bool:
    """Whether a call of the layer does more than its `forward`: pruning, for instance."""
    return bool(layer._forward_hooks or layer._forward_pre_hooks)


def without_norms(network: nn.Module, folds: Sequence[Fold]) -> nn.Module:
    """A copy of a network whose convolutions have a bias, and which lacks the normalisations."""
    network = copy.deepcopy(network)
    for fold in folds:
        convolution = network.get_submodule(fold.convolution)
        kernel = convolution.get_parameter("weight")
        convolution.register_parameter("bias", nn.Parameter(kernel.new_zeros(len(kernel))))
        network.set_submodule(fold.norm, nn.Identity())
    return network


def folded(state: Params, network: nn.Module, folds: Sequence[Fold]) -> dict[str, Tensor]:
    """A state of a network as the network without normalisations takes it.

    gamma (Wx + c - mean) / sqrt(var + eps) + beta = (sW) x + (c - mean) s + beta, where s is
    gamma / sqrt(var + eps). In float64, rounded once.
    """
    weights = dict(state)
    for fold in folds:
        layer = network.get_submodule(fold.norm)
        assert isinstance(layer, _BatchNorm)
        own = dict(layer.named_buffers()) | dict(layer.named_parameters())
        norm = {name: weights.pop(f"{fold.norm}.{name}").double() for name in own}
        kernel, bias = (f"{fold.convolution}.{name}" for name in ("weight", "bias"))
        scale = (norm["running_var"] + layer.eps).rsqrt() * norm.get("weight", 1.0)
        shift = (weights.get(bias, 0.0) - norm["running_mean"]) * scale + norm.get("bias", 0.0)
        old = weights[kernel]
        weights[kernel] = (old * scale.reshape(-1, *[1] * (old.ndim - 1))).to(old.dtype)
        weights[bias] = shift.to(old.dtype)
    return weights


def _in_blocks(
    model: Model, inputs: Tensor, features: bool, block: int, kind: torch.dtype | None = None
) -> Outputs:
    """Logits of all inputs, after features if these are asked for, in blocks of so many."""
    forward = model.outputs if features else lambda images: (model(images),)
    parts = [forward(some.to(kind or some.dtype)) for some in inputs.split(block)]
    return tuple(torch.cat(part) for part in zip(*parts, strict=True))


def _are_finite(tensors: Iterable[Tensor]) -> bool:
    return bool(torch.stack([tensor.isfinite().all() for tensor in tensors]).all())


@contextmanager
def _tf32() -> Iterator[None]:
    """Let convolutions and matrices be multiplied in TF32; a switch of the whole process."""
    flags: tuple[Any, ...] = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [flag.allow_tf32 for flag in flags]
    try:
        for flag in flags:
            flag.allow_tf32 = True
        yield
    finally:
        for flag, was in zip(flags, before, strict=True):
            flag.allow_tf32 = was
