"""Networks for a data set, and what is asked of any: its last linear layer and its inputs.

A network is any `nn.Module` from images (N, C, H, W) in [0, 1] to logits (N, classes). Where these
come straight out of a linear layer, that layer's inputs are the penultimate features.
"""

from __future__ import annotations

import copy
import hashlib
import inspect
import math
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad

from unlearning import architectures
from unlearning.dataset import Dataset
from unlearning.errors import UserError, words_of
from unlearning.execution import Execution, gradients, make_ready, stacked_copies

ALIKE = 1e-3  # of the logits of one image, however often and beside whatever it is given

_SEEDED = threading.Lock()  # held while torch's own generator, which threads share, is ours


def build(arch: str, dataset: Dataset, seed: int = 0) -> nn.Module:
    """A freshly initialised network for the data set.

    Args:
        arch: one of `architectures.names()`, or `module:package.module:factory` for a function from
            the image shape (channels, height, width) and the number of classes to a network, or
            for a class or function of no arguments.

    Raises UserError for an unknown name, and for a network of another form.
    """
    factory = architectures.get(arch)
    with architectures.REGISTRY.by(arch):
        with seeded(seed):
            try:
                network = factory(dataset.image_shape, len(dataset.classes))
            except (TypeError, ValueError, RuntimeError, AssertionError) as error:
                try:
                    inspect.signature(factory).bind()  # raises TypeError where it takes arguments
                    network = factory()  # made for one kind of images
                except (TypeError, ValueError, RuntimeError):
                    raise UserError(
                        f"architecture '{arch}' cannot be made from an image shape "
                        f"{dataset.image_shape} and {len(dataset.classes)} classes: "
                        f"{words_of(error)}"
                    ) from error
            check(network, arch, dataset)  # lazy layers draw their weights from the first images
        if not architectures.REGISTRY.is_ours(arch):
            check_gradients(network, arch, dataset)
            draws(network, _two_images(dataset))  # in train mode, as training will call it
    return network


@contextmanager
def seeded(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """A context in which torch's own generators begin with a seed, for one thread at a time.

    Args:
        device: whose generator is used beside that of the CPU.
    """
    devices = [device] if device and device.type == "cuda" else []
    with _SEEDED, torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        yield


def draws(network: nn.Module, images: Tensor) -> bool:
    """Whether a network draws random numbers in train mode, as dropout does.

    Args:
        images: some to try it on, (N, C, H, W).
    """
    trial, device = copy.deepcopy(network).train(), images.device
    generator = getattr(torch, device.type) if device.type in ("cuda", "mps") else torch
    with seeded(0, device), torch.no_grad():
        before = generator.get_rng_state()
        trial(images)
        return not torch.equal(before, generator.get_rng_state())


def check(network: nn.Module, arch: str, dataset: Dataset) -> None:
    """Raise UserError for a network that does not fit a data set, or is of another form."""
    if not isinstance(network, nn.Module):
        raise UserError(f"architecture '{arch}' gives a {type(network).__name__}, not a network")
    images, mode = _two_images(dataset), network.training
    try:
        with torch.no_grad():
            logits = network.eval()(images)
            alone = network(images[:1])
    except (RuntimeError, ValueError) as error:
        raise UserError(
            f"architecture '{arch}' does not take images of shape {dataset.image_shape}: "
            f"{words_of(error)}"
        ) from error
    finally:
        network.train(mode)
    expected = (len(images), len(dataset.classes))
    if not isinstance(logits, Tensor) or tuple(logits.shape) != expected:
        raise UserError(
            f"architecture '{arch}' must give the logits of {expected[1]} classes, a tensor"
        )
    if (logits >= 0).all() and torch.allclose(logits.sum(dim=1), logits.new_ones(len(images))):
        raise UserError(f"architecture '{arch}' gives probabilities, not logits: leave softmax out")
    if not torch.allclose(alone, logits[:1], rtol=ALIKE, atol=ALIKE, equal_nan=True):
        raise UserError(
            f"architecture '{arch}': an image's logits change from call to call, or depend on "
            "others beside it; in eval mode let it draw nothing, take no statistics and change no "
            "image"
        )


def check_gradients(network: nn.Module, arch: str, dataset: Dataset) -> None:
    """Raise UserError for a network that cannot be differentiated as a function of its weights."""
    images = _two_images(dataset)
    try:
        with _in_eval_mode(network):
            grad(_spread(network))(dict(network.named_parameters()), images[0])
    except RuntimeError as error:
        raise UserError(
            f"architecture '{arch}' has no gradients under torch.func: {words_of(error)}"
        ) from error


def unstackable(network: nn.Module, images: Tensor) -> str:
    """Why vmap cannot have two members take a step together, in words; empty where it can.

    nn.LSTM, branches that depend on the data, writing into a buffer and kernels that vmap has no
    rule for are such reasons.

    Args:
        images: two of them, (2, C, H, W).
    """
    params = {name: stacked_copies(p.detach(), 2) for name, p in network.named_parameters()}
    try:
        with _in_eval_mode(network):
            gradients(_spread(network), Execution.STACKED)(params, images)
    except RuntimeError as error:
        return words_of(error).partition(". ")[0]
    return ""


@contextmanager
def _in_eval_mode(network: nn.Module) -> Iterator[None]:
    """A context in which a network is differentiated in eval mode."""
    make_ready(torch.device("cpu"))
    mode = network.training
    network.eval()
    try:
        with torch.enable_grad():
            yield
    finally:
        network.train(mode)


def _spread(network: nn.Module) -> Callable[[Mapping[str, Tensor], Tensor], Tensor]:
    """A loss of one member and one image."""

    def spread(params: Mapping[str, Tensor], image: Tensor) -> Tensor:
        logits: Tensor = functional_call(
            network, {**own_buffers(network), **params}, (image[None],)
        )
        return logits.logsumexp(dim=1).sum()

    return spread


def own_buffers(network: nn.Module) -> dict[str, Tensor]:
    """Copies of the network's buffers for one call, which may write into them."""
    return {name: buffer.clone() for name, buffer in network.named_buffers()}


def _two_images(dataset: Dataset) -> Tensor:
    """Images of a data set's shape, (2, C, H, W), that differ."""
    images = torch.linspace(0, 1, 2 * math.prod(dataset.image_shape))
    return images.reshape(2, *dataset.image_shape)


def last_linear(network: nn.Module, images: Tensor) -> str | None:
    """The name of the linear layer whose outputs are the network's, None if there is none."""
    outputs: dict[str, Tensor] = {}
    hooks = [
        module.register_forward_hook(lambda *call, name=name: outputs.update({name: call[-1]}))
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear)
    ]
    try:
        logits = functional_call(network, own_buffers(network), (images,))
    finally:
        for handle in hooks:
            handle.remove()
    return next((name for name, output in outputs.items() if output is logits), None)


def as_channels_last(network: nn.Module) -> None:
    """Let convolutions have their weights as images have: with one channel these do not show it."""
    for p in network.parameters():
        if p.ndim == 4:
            p.data = p.data.contiguous(memory_format=torch.channels_last)


@contextmanager
def captured_inputs(layer: nn.Module) -> Iterator[list[Tensor]]:
    """What enters the layer while the context lasts, call by call."""
    seen: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    try:
        yield seen
    finally:
        handle.remove()


def weights_sha256(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and raw bits of a state dict, in the order of names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def outputs_of(network: nn.Module, image: Tensor) -> int:
    """How many numbers a network answers an image (C, H, W) uint8 with. Raises UserError."""
    try:
        with torch.no_grad():
            return int(network(image[None] / 255).shape[1])
    except Exception as error:  # whatever torch, or a class of the user's, says
        raise UserError(
            f"the network {type(network).__name__} gives no logits (N, classes) of images of shape "
            f"{tuple(image.shape)} with values from 0 to 1: {words_of(error)}"
        ) from error


def network_of(module: nn.Module) -> nn.Module:
    """A copy of a network on the CPU, in eval mode and with float32 weights.

    What torch.compile or DataParallel wraps is unwrapped. Raises UserError for what is no network,
    or has nothing to unlearn with.
    """
    inner = getattr(module, "_orig_mod", module)  # by torch.compile
    if isinstance(inner, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        inner = inner.module
    if not isinstance(inner, nn.Module) or not list(inner.parameters()):
        raise UserError(
            f"a {type(inner).__name__} is no network with parameters to unlearn with: it takes a "
            "torch.nn.Module"
        )
    return copy.deepcopy(inner).float().cpu().eval()
