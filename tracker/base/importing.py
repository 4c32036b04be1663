"""Weights that were trained elsewhere: read without executing anything, and fitted to a network.

What a file is, is seen in its content, whatever it is called: a safetensors file, or what
`torch.save` wrote of a state dict or of a checkpoint with one in it.
"""

from __future__ import annotations

import io
import json
import pickletools
import re
import shlex
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tracker.base.base_models import misfit
from unlearning.checkpoints import read_tensors
from unlearning.errors import UserError
from unlearning.models import weights_sha256

ZIP, PICKLE = b"PK\x03\x04", b"\x80"  # how a file of torch.save begins, and did before torch 1.6
DEPTH = 3  # of mappings within each other in which a state dict is looked for
USUAL = ("state_dict", "model_state_dict", "model", "net", "weights", "params")
TRACKED = "num_batches_tracked"  # of batch norm; torch writes it since 0.4.1
SHOWN = 3  # names in a remark
GLOBAL = re.compile(r"GLOBAL ([\w.]+)")  # what torch refused to unpickle, in its message
REASON = re.compile(r".*WeightsUnpickler error: ", re.DOTALL)  # what comes before it is advice

Place = tuple[str, ...]  # the keys on the way to a state dict


@dataclass(frozen=True)
class Imported:
    """Weights under the names that a network has for them.

    Attributes:
        tensors: as the file has them, in its precision.
        remarks: what was chosen or changed on the way, a line each.
    """

    tensors: Mapping[str, Tensor]
    remarks: tuple[str, ...]


def import_weights(path: Path, network: nn.Module) -> Imported:
    """The one state dict of a file that fits the network.

    Raises UserError where the file cannot be read, is no such file, would have to execute code, or
    holds none that fits, or several.
    """
    own = network.state_dict()
    found, refused = dict[str, tuple[Place, Imported]](), list[tuple[int, int, str]]()
    for place, entries in _state_dicts(_read(path)):
        whose = f"'{'.'.join(place)}' of {path}" if place else str(path)
        weights, remarks = _fitted(entries, own)
        if difference := _difference(weights, own):
            known, said = len(own.keys() & weights.keys()), f"the weights {whose} do not fit"
            refused.append((known, len(weights), f"{said} the architecture: {difference}"))
            continue
        if place:
            remarks = [f"the weights are {whose}", *remarks]
        found.setdefault(weights_sha256(weights), (place, Imported(weights, tuple(remarks))))
    if len(found) > 1:
        raise _several(path, [place for place, _ in found.values()])
    if not found and not refused:
        raise UserError(f"{path} holds no tensors by name: --from-weights takes a state dict")
    if not found:
        raise UserError(max(refused)[2])  # of those that are nearest to it
    return next(iter(found.values()))[1]


def _read(path: Path) -> Any:
    """What is in the file: for a state dict, tensors by name."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    if content[8:9] == b"{":  # after eight bytes with the header's length
        return read_tensors(content, str(path))
    if content.startswith(ZIP):
        _check_archive(path, content)
    elif not content.startswith(PICKLE):
        what = "is neither a safetensors file nor one of torch.save" if content else "is empty"
        raise UserError(f"{path} {what}: --from-weights takes a state dict in one of these")
    try:
        with warnings.catch_warnings(action="ignore"):
            stream = io.BytesIO(content)  # a path would be read by its suffix
            return torch.load(stream, map_location="cpu", weights_only=True, mmap=False)
    except Exception as error:  # whatever zip, torch and its unpickler say of bytes without sense
        if refused := GLOBAL.search(str(error)):
            raise _pickled(path, content, refused[1]) from error
        said = REASON.sub("", str(error)).partition("\n")[0].partition(". ")[0]
        raise UserError(
            f"{path} is damaged, or not what torch.save writes of a state dict: "
            f"{said or type(error).__name__}"
        ) from error


def _check_archive(path: Path, content: bytes) -> None:
    """Raise UserError for a zip file that has no state dict in it."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = {name.rpartition("/")[2] for name in archive.namelist()}
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise UserError(
            f"{path} is damaged: it begins like a zip file and ends otherwise"
        ) from error
    if "constants.pkl" in names:
        code = f"torch.jit.load({_quoted(path)}).state_dict()"
        raise UserError(
            f"{path} is a TorchScript archive, a program with its weights: if you trust it, write "
            f"these alone by {_command(path, code)}"
        )
    if "data.pkl" not in names:
        raise UserError(f"{path} is a zip file, but not one of torch.save")


def _pickled(path: Path, content: bytes, refused: str) -> UserError:
    """The mistake of giving a file that has other objects than tensors in it.

    Args:
        refused: module and name of what torch did not unpickle.
    """
    whole, texts = _glance(content)
    loaded = f"torch.load({_quoted(path)}, weights_only=False)"
    if whole:
        what, code = f"is a whole pickled {whole}", f"{loaded}.state_dict()"
    else:
        what = f"has objects beside its tensors, {refused}"
        name = next((name for name in USUAL if name in texts), None)
        items = f"{{k: torch.as_tensor(v) for k, v in {loaded}.items()}}"
        code = items if name is None else f'{loaded}["{name}"]'
    return UserError(
        f"{path} {what}, which could execute anything when it is loaded: where its code is, and if "
        f"you trust it, write the state dict alone by {_command(path, code)}"
    )


def _glance(content: bytes) -> tuple[str | None, set[str]]:
    """The class of what is pickled, None for a mapping; and its texts. Nothing is executed."""
    stream, made = io.BytesIO(content), list[tuple[str, Any]]()
    try:
        if content.startswith(ZIP):
            with zipfile.ZipFile(stream) as archive:
                names = [name for name in archive.namelist() if name.endswith("data.pkl")]
                stream = io.BytesIO(archive.read(names[0]))
        else:  # a magic number, the version and the system come before
            for _ in range(3):
                for _ in pickletools.genops(stream):
                    pass
        for opcode, argument, _ in pickletools.genops(stream):
            if opcode.name not in ("PROTO", "FRAME", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
                made.append((opcode.name, argument))
    except Exception:  # noqa: S110 - bytes without sense: what was seen up to them counts
        pass
    texts = {argument for _, argument in made if isinstance(argument, str)}
    # A class comes first, but for a module before torch 1.6: there with its source, in a tuple.
    if [name for _, name in made[1:2]] == ["module"]:
        made = made[2:]
    kind, name = made[0] if made else ("", None)
    is_mapping = kind != "GLOBAL" or name == "collections OrderedDict"
    return None if is_mapping else str(name).replace(" ", "."), texts


def _quoted(path: Path) -> str:
    """A path as Python writes it, in double quotes."""
    return json.dumps(str(path), ensure_ascii=False)


def _command(path: Path, code: str) -> str:
    """The command that writes what `code` gives into a file of another name."""
    out = json.dumps(f"{path.stem}-state-dict.pt", ensure_ascii=False)
    return f"python -c {shlex.quote(f'import torch; torch.save({code}, {out})')}"


def _several(path: Path, places: list[Place]) -> UserError:
    """The mistake of giving a file in which several state dicts fit."""
    named = ", ".join(f"'{'.'.join(place)}'" if place else "the whole" for place in places)
    keys = "".join(f"[{json.dumps(key, ensure_ascii=False)}]" for key in places[-1])
    return UserError(
        f"{path} holds {len(places)} different state dicts that fit the architecture, {named}: "
        f"write the one that you mean, as by {_command(path, f'torch.load({_quoted(path)}){keys}')}"
    )


def _state_dicts(
    loaded: Any, place: Place = (), seen: frozenset[int] = frozenset()
) -> Iterator[tuple[Place, Mapping[str, Any]]]:
    """Mappings with a tensor under some name, from the outside to the inside."""
    if not isinstance(loaded, Mapping) or id(loaded) in seen or len(place) > DEPTH:
        return
    named = {name: value for name, value in loaded.items() if isinstance(name, str)}
    if any(isinstance(value, Tensor) for value in named.values()):
        yield place, named
    for name, value in named.items():
        yield from _state_dicts(value, (*place, name), seen | {id(loaded)})


def _fitted(
    entries: Mapping[str, Any], own: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors under the network's names, as far as that can be, and remarks on it."""
    weights = {name: value for name, value in entries.items() if isinstance(value, Tensor)}
    remarks = []
    if others := [name for name in entries if name not in weights]:
        remarks.append(f"left aside, being no tensors: {_list(others)}")
    prefixes: Counter[str] = Counter()
    for name in weights:
        dots = [0, *(dot.end() for dot in re.finditer(r"\.", name))]
        prefixes.update(name[:dot] for dot in dots if name[dot:] in own)
    prefix = max(prefixes, key=lambda each: (prefixes[each], -len(each)), default="")
    if prefix and all(name.startswith(prefix) for name in weights):
        weights = {name.removeprefix(prefix): value for name, value in weights.items()}
        remarks.append(f"the prefix '{prefix}' of their names is left out")
    for name, *others in _tied(own):
        kept = next((weights[each] for each in (name, *others) if each in weights), None)
        if kept is not None:  # safetensors writes what has several names under one of them
            weights |= {each: kept for each in (name, *others) if each not in weights}
    missing = own.keys() - weights.keys()
    counters = sorted(name for name in missing if name.rpartition(".")[2] == TRACKED)
    if counters and len(counters) == len(missing):
        weights |= {name: torch.zeros_like(own[name], device="cpu") for name in counters}
        remarks.append(f"{TRACKED}, which is missing as in files of old, is set to 0")
    types = {(t.dtype, own[name].dtype) for name, t in weights.items() if name in own}
    for given, taken in sorted((each for each in types if each[0] != each[1]), key=str):
        remarks.append(f"{_bare(given)} becomes {_bare(taken)}, the architecture's precision")
    return weights, remarks


def _difference(weights: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str | None:
    """In what weights do not fit a network; None if they do."""
    if difference := misfit(own, weights):
        missing, more = own.keys() - weights.keys(), weights.keys() - own.keys()
        counts = f"; {len(missing)} of {len(own)} tensors are missing, {len(more)} are unknown"
        return difference + (counts if missing or more else "")
    for name, tensor in weights.items():
        if tensor.is_complex() or tensor.is_quantized or tensor.is_meta:
            return f"'{name}' is complex, quantized or without values, where numbers are expected"
        if tensor.layout != torch.strided:
            return f"'{name}' is {str(tensor.layout).removeprefix('torch.')}, not dense"
        if own[name].is_floating_point() and not tensor.is_floating_point():
            kinds = f"'{name}' is {_bare(tensor.dtype)}, where {_bare(own[name].dtype)} is expected"
            return f"{kinds}; quantized weights are to be made floating-point numbers first"
    for name, *others in _tied(own):
        for other in others:
            if not torch.equal(weights[name], weights[other]):
                return f"'{name}' and '{other}' differ, where they are one tensor with two names"
    return None


def _tied(own: Mapping[str, Tensor]) -> list[list[str]]:
    """Names of a network's state that are one tensor, together."""
    names: dict[tuple[object, ...], list[str]] = {}
    for name, tensor in own.items():
        if tensor.numel():
            where = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
            names.setdefault(where, []).append(name)
    return [together for together in names.values() if len(together) > 1]


def _bare(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _list(names: list[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:SHOWN])
    return shown + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
