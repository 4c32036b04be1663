"""Weights that were trained elsewhere: read without executing anything, and fitted to a network.

What a file is, is seen in its content, whatever it is called: a safetensors file, or what
`torch.save` wrote of a state dict or of a checkpoint with one in it.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tracker.base.base_models import fill
from unlearning.checkpoints import read_tensors
from unlearning.errors import UserError
from unlearning.models import weights_sha256

DEPTH = 3  # of mappings within each other in which a state dict is looked for
GLOBAL = re.compile(r"GLOBAL ([\w.]+)")  # what torch refused to unpickle, in its message
REASON = re.compile(r".*WeightsUnpickler error: ", re.DOTALL)  # what comes before it is advice


def import_weights(path: Path, network: nn.Module) -> tuple[dict[str, Tensor], list[str]]:
    """The one state dict of a file that fits the network, which gets weights.

    Returns: the tensors under the network's names, in the file's precision, and remarks on what was
    chosen or changed on the way.

    Raises UserError where the file cannot be read, is no such file, would have to execute code, or
    holds none that fits, or several.
    """
    own = network.state_dict()
    found = dict[str, tuple[str, dict[str, Tensor], list[str]]]()
    refused = f"{path} holds no tensors by name: --from-weights takes a state dict"
    for place, entries in _state_dicts(_read(path)):
        whose = f"'{place}' of {path}" if place else str(path)
        weights, remarks = _fitted(entries, own, whose)
        try:
            _hold_classes(weights, own, whose)
            fill(network, weights, whose)
        except UserError as error:
            refused = str(error)
        else:
            remarks = [f"the weights are {whose}", *remarks] if place else remarks
            found.setdefault(weights_sha256(weights), (place, weights, remarks))
    if len(found) > 1:
        places = ", ".join(f"'{place}'" if place else "the whole" for place, *_ in found.values())
        raise UserError(
            f"{path} holds {len(found)} different state dicts that fit the architecture, {places}: "
            "write the one that you mean into a file of its own"
        )
    if not found:
        raise UserError(refused)
    ((_, weights, remarks),) = found.values()
    return weights, remarks


def _hold_classes(weights: Mapping[str, Tensor], own: Mapping[str, Tensor], whose: str) -> None:
    """Raise UserError where weights fit but for the number of classes."""
    if own.keys() != weights.keys():
        return
    pairs = [(weights[name].shape, shaped.shape) for name, shaped in own.items()]
    apart = [(theirs, ours) for theirs, ours in pairs if theirs != ours]
    is_last = all(theirs[1:] == ours[1:] for theirs, ours in apart)
    sizes = {(theirs[:1], ours[:1]) for theirs, ours in apart}
    if is_last and len(sizes) == 1 and any(len(ours) > 1 for _, ours in apart):
        (((theirs,), (ours,)),) = sizes
        raise UserError(
            f"the classifier of {whose} is for {theirs} classes, and the data set has {ours}: "
            "import weights that were trained further on these classes"
        )


def _read(path: Path) -> Any:
    """What is in the file: for a state dict, tensors by name."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    if content[8:9] == b"{":  # after eight bytes with the header's length
        return read_tensors(content, str(path))
    try:
        with warnings.catch_warnings(action="ignore"):
            stream = io.BytesIO(content)  # a path would be read by its suffix
            return torch.load(stream, map_location="cpu", weights_only=True, mmap=False)
    except Exception as error:  # whatever zip, torch and its unpickler say of bytes without sense
        if refused := GLOBAL.search(str(error)):
            raise UserError(
                f"{path} has {refused[1]} in it beside tensors, which could execute anything when "
                "it is loaded: if you trust it, write the state dict alone by torch.save, of "
                f"torch.load('{path}', weights_only=False).state_dict(), or of its entry "
                "['state_dict'] where it is a checkpoint"
            ) from error
        said = REASON.sub("", str(error)).partition("\n")[0].partition(". ")[0]
        raise UserError(
            f"{path} is neither a safetensors file nor what torch.save writes of a state dict, or "
            f"is damaged: {said or type(error).__name__}"
        ) from error


def _state_dicts(loaded: Any, *place: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Mappings with a tensor under some name, from the outside to the inside, by their keys."""
    if isinstance(loaded, Mapping) and len(place) <= DEPTH:
        named = {name: value for name, value in loaded.items() if isinstance(name, str)}
        if any(isinstance(value, Tensor) for value in named.values()):
            yield ".".join(place), named
        for name, value in named.items():
            yield from _state_dicts(value, *place, name)


def _fitted(
    entries: Mapping[str, Any], own: Mapping[str, Tensor], whose: str
) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors under the network's names, as far as that can be, and remarks on it."""
    weights = {name: value for name, value in entries.items() if isinstance(value, Tensor)}
    remarks, first = [], next(iter(own), "")
    if others := [f"'{name}'" for name in entries if name not in weights]:
        remarks.append(f"left aside, being no tensors: {', '.join(others[:3])}")
    longer = [name for name in weights if name.endswith(f".{first}") and first not in weights]
    prefix = longer[0].removesuffix(first) if longer else ""
    if prefix and all(name.startswith(prefix) for name in weights):
        weights = {name.removeprefix(prefix): value for name, value in weights.items()}
        remarks.append(f"the prefix '{prefix}' of their names is left out")
    tied = {own[name].data_ptr(): tensor for name, tensor in weights.items() if name in own}
    for name in own.keys() - weights.keys():  # safetensors writes a tied tensor under one name
        if own[name].data_ptr() in tied:
            weights[name] = tied[own[name].data_ptr()]
    for name in own.keys() & weights.keys():
        if own[name].is_floating_point() and not weights[name].is_floating_point():
            raise UserError(
                f"the weights {whose} are {weights[name].dtype}, where {own[name].dtype} is "
                "expected: make floating-point numbers of them first"
            )
    return weights, remarks
