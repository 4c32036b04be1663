"""Images and networks of the user's own, as Python has them: tensors, data sets, modules."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unlearning.dataset import Dataset, Pictures, Samples, own_name
from unlearning.errors import UserError, words_of

CHANNELS = (1, 3)
MODES = ("L", "RGB")  # of PIL's images
UNSIGNED = (torch.uint16, torch.uint32, torch.uint64)  # of which torch can do little
AT_ONCE = 4096  # images whose floats are looked at at a time
SEEN_TWICE = 3  # samples that are asked for twice, to see whether they stay as they are
DIGITS = 12  # of a fingerprint, in the name of a data set

TAKEN = (
    "it takes uint8 from 0 to 255, or floats from 0 to 1 that are 255ths, as torchvision's "
    "ToTensor gives them; put a normalisation into the network"
)


def dataset_of(train: Samples, test: Samples, classes: Sequence[str]) -> Dataset:
    """The data set of two parts, as `samples_of` gives them.

    It is that of a file `npz:` with the same content, and so has the same fingerprint. Its name
    ends in the beginning of that.

    Args:
        classes: a name for each label, from 0.

    Raises UserError for parts or names that do not belong together.
    """
    names = tuple(map(str, classes))
    if len(names) < 2 or len({*names}) < len(names) or not all(names):
        raise UserError(
            f"the classes are {list(names)}: it takes two names or more, all of them different"
        )
    shapes = [tuple(images.shape[1:]) for images, _ in (train, test)]
    if shapes[0] != shapes[1]:
        raise UserError(
            f"images of train and test differ as (channels, height, width): {shapes[0]} and "
            f"{shapes[1]}"
        )
    for which, (_, labels) in (("train", train), ("test", test)):
        low, high = labels.min().item(), labels.max().item()
        if low < 0 or high >= len(names):
            raise UserError(
                f"labels of {which} go from {low} to {high}: of {len(names)} classes they lie "
                f"between 0 and {len(names) - 1}"
            )
    pictures, drawn = Pictures(train, test, names), torch.arange(len(train[1]))
    fingerprint = pictures.split("npz-", drawn).fingerprint
    return pictures.split(own_name("npz", fingerprint[:DIGITS]), drawn)


def samples_of(given: Any, which: str) -> Samples:
    """Images (N, C, H, W) uint8 and labels (N,) int64.

    Args:
        given: a pair of images (N, C, H, W) and labels (N,), as tensors or arrays; or a sequence
            of pairs like torchvision's data sets, each of an image and a whole number. Images are
            uint8, or floats from 0 to 1 that are 255ths; in pairs also PIL's.
        which: `train` or `test`, for messages.

    Raises UserError for anything else.
    """
    images, labels = _arrays(given, which) if _is_pair(given) else _collected(given, which)
    if images.ndim != 4 or images.shape[1] not in CHANNELS or not images.numel():
        raise UserError(
            f"images of {which} have the shape {tuple(images.shape)}: it takes (N, C, H, W) with "
            "C of 1 or 3"
        )
    if labels.ndim != 1 or len(labels) != len(images) or _kind(labels) != "whole":
        raise UserError(
            f"labels of {which} have the shape {tuple(labels.shape)} and type {_type(labels)}, for "
            f"{len(images)} images: they must be (N,) whole numbers"
        )
    return as_bytes(images, f"images of {which}"), labels.to(torch.int64).clone()


def as_bytes(images: Tensor, whose: str) -> Tensor:
    """Images as uint8 from 0 to 255, a copy. Raises UserError where that would change them.

    Args:
        whose: they are, for messages.
    """
    if images.dtype == torch.uint8 and images.max() > 1:  # else they may mean black and white
        return images.clone(memory_format=torch.contiguous_format)
    if _kind(images) != "float":
        low, high = images.min().item(), images.max().item()
        raise UserError(f"{whose} are {_type(images)} from {low} to {high}: {TAKEN}")
    return torch.cat([_rounded(some, whose) for some in images.split(AT_ONCE)]).contiguous()


def _rounded(images: Tensor, whose: str) -> Tensor:
    """Floats as 255ths of themselves. Raises UserError where they are none."""
    wide = images.double()
    low, high = wide.min().item(), wide.max().item()
    if not 0 <= low <= high <= 1:  # which NaN is not
        raise UserError(f"{whose} are {_type(images)} from {low:.4g} to {high:.4g}: {TAKEN}")
    scaled = wide * 255
    near = scaled.round()
    apart = (scaled - near).abs() > max(1e-3, 128 * torch.finfo(images.dtype).eps)
    if apart.any():
        value = wide[apart][0].item()
        raise UserError(
            f"{whose} are {_type(images)} with values such as {value:.6g}, which is no 255th: "
            f"{TAKEN}"
        )
    return near.to(torch.uint8)


def _is_pair(given: Any) -> bool:
    """Whether it is images and labels, and no sequence of pairs."""
    is_pair = isinstance(given, (tuple, list)) and len(given) == 2
    return is_pair and all(hasattr(part, "shape") or _is_flat(part) for part in given)


def _is_flat(part: Any) -> bool:
    """Whether it is a list of numbers, as labels may be."""
    return isinstance(part, (tuple, list)) and all(isinstance(item, int) for item in part)


def _arrays(given: Any, which: str) -> tuple[Tensor, Tensor]:
    images, labels = (_tensor(part, which) for part in given)
    return images, labels


def _tensor(part: Any, which: str) -> Tensor:
    try:
        whole = np.ascontiguousarray(part) if isinstance(part, np.ndarray) else part
        found = torch.as_tensor(whole).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        said = words_of(error).partition("\n")[0]
        raise UserError(f"{which} has what is no tensor: {said}") from error
    return found.to(torch.int64) if found.dtype in UNSIGNED else found


def _collected(given: Any, which: str) -> tuple[Tensor, Tensor]:
    """The samples of a sequence of pairs, asked for one by one."""
    if not (hasattr(given, "__getitem__") and hasattr(given, "__len__")):
        raise UserError(
            f"{which} is a {type(given).__name__}: it takes a pair of images (N, C, H, W) and "
            "labels (N,), or a data set like torchvision's, of pairs of an image and a label"
        )
    count = len(given)
    if not count:
        raise UserError(f"{which} is empty: it takes a sample at least")
    images, labels = list[Tensor](), list[int]()
    for position in range(count):
        image, label = _sample(given, position, which)
        if position < SEEN_TWICE and not torch.equal(image, _sample(given, position, which)[0]):
            raise UserError(
                f"{which}[{position}] is another image each time: leave random transforms out"
            )
        if images and image.shape != images[0].shape:
            raise UserError(
                f"{which}[{position}] is an image of shape {tuple(image.shape)}, and the first is "
                f"{tuple(images[0].shape)}: resize them all to one size"
            )
        images.append(image)
        labels.append(label)
    return torch.stack(images), torch.tensor(labels)


def _sample(given: Any, position: int, which: str) -> tuple[Tensor, int]:
    """An image (C, H, W) and its label."""
    try:
        found = given[position]
    except LookupError as error:
        raise UserError(f"{which} has no sample {position}, of {len(given)}") from error
    if not (isinstance(found, (tuple, list)) and len(found) == 2):
        raise UserError(
            f"{which}[{position}] is a {type(found).__name__}: it takes pairs of an image and a "
            "label"
        )
    image, label = found
    whole = _tensor(label, which)
    if whole.numel() != 1 or _kind(whole) != "whole":
        raise UserError(f"{which}[{position}] has the label {label!r}: it takes a whole number")
    pixels = _pixels(image, f"{which}[{position}]")
    if pixels.ndim == 2:
        pixels = pixels[None]
    return pixels, int(whole)


def _pixels(image: Any, whose: str) -> Tensor:
    """An image as a tensor (C, H, W) or (H, W)."""
    from PIL import Image

    if not isinstance(image, Image.Image):
        return _tensor(image, whose)
    if image.mode not in MODES:
        raise UserError(
            f"{whose} is a PIL image of mode {image.mode}: convert it to {' or '.join(MODES)}"
        )
    pixels = torch.from_numpy(np.array(image))
    return pixels if pixels.ndim == 2 else pixels.permute(2, 0, 1)


def _kind(tensor: Tensor) -> str:
    if tensor.is_floating_point():
        return "float"
    return "other" if tensor.is_complex() or tensor.dtype == torch.bool else "whole"


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def outputs_of(network: nn.Module, images: Tensor) -> int:
    """How many numbers a network answers an image (C, H, W) uint8 with. Raises UserError."""
    try:
        with torch.no_grad():
            logits = network(images[None] / 255)
    except Exception as error:  # whatever torch, or a class of the user's, says
        said = words_of(error).partition("\n")[0]
        raise UserError(
            f"the network {type(network).__name__} does not take images of shape "
            f"{tuple(images.shape)} with values from 0 to 1: {said}"
        ) from error
    shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    if not isinstance(logits, Tensor) or logits.ndim != 2 or logits.shape[1] < 2:
        raise UserError(
            f"the network {type(network).__name__} answers an image with {shape}: it takes the "
            "logits of two classes or more, (N, classes)"
        )
    return int(logits.shape[1])


def network_of(module: nn.Module) -> nn.Module:
    """A copy of a network on the CPU, in eval mode and with float32 weights.

    Raises UserError for what cannot be copied, or would change by it.
    """
    if not isinstance(module, nn.Module):
        raise UserError(f"a {type(module).__name__} is no network: it takes a torch.nn.Module")
    wrapped = {
        "module": isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel)),
        "_orig_mod": "_orig_mod" in dict(module.named_children()),  # by torch.compile
    }
    for inner in (name for name, is_so in wrapped.items() if is_so):
        raise UserError(
            f"the network is wrapped in a {type(module).__name__}: give what is in it, "
            f"network.{inner}"
        )
    try:
        network = copy.deepcopy(module).cpu().eval()
    except Exception as error:  # whatever a class of the user's says
        said = words_of(error).partition("\n")[0]
        raise UserError(f"the network {type(module).__name__} cannot be copied: {said}") from error
    if not list(network.parameters()):
        raise UserError(f"the network {type(module).__name__} has no parameters to unlearn with")
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point() and not _fits(tensor):
            raise UserError(
                f"the weights '{name}' are {_type(tensor)}, which float32 cannot hold: give "
                "network.float(); precision='float64' computes in float64 from there"
            )
    return network.float()


def _fits(tensor: Tensor) -> bool:
    return torch.equal(tensor.float().to(tensor.dtype).nan_to_num(), tensor.nan_to_num())
