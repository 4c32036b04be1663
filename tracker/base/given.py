"""What a base model has from Python: a network and data that were given, and data that are kept.

A base model is logged with the name of its architecture and where its data come from, by which
other processes find both. A network whose class has no name that can be imported is known to the
process that was given it: others say so.
"""

from __future__ import annotations

import copy
import io
import json
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from analysis.atomic import make_folder, write_atomically
from unlearning import datasets, models
from unlearning.dataset import Dataset
from unlearning.errors import UserError
from unlearning.registry import MODULE

PYTHON = "python:"  # begins the architecture of a network that no other process can make
FOLDER = "data"  # of data that are kept, in a store's folder
ALIKE = 1e-4  # of the outputs of a network that was made anew


def network_for(
    base_run_id: str, arch: str, dataset: Dataset, own: nn.Module | None = None
) -> nn.Module:
    """A network of a base model's architecture, with any weights.

    Args:
        own: what this process was given of it.

    Raises UserError where it was given to another process.
    """
    if is_named(arch):
        return models.build(arch, dataset)
    if own is None:
        raise UserError(
            f"base model {base_run_id} is a network {arch.removeprefix(PYTHON)} that Python was "
            f"given and nobody else can make: store.model('{base_run_id}', network=...) takes it "
            "again, and a class in a module of its own needs no such thing"
        )
    return copy.deepcopy(own)


def is_named(arch: str) -> bool:
    """Whether other processes can make a network of this architecture."""
    return not arch.startswith(PYTHON)


def keep(dataset: Dataset, folder: Path) -> str:
    """Write a data set of Python's into a store's folder, once; where it comes from now.

    Raises UserError where it cannot be written, or read again as what it is.
    """
    path = folder.expanduser().absolute() / FOLDER / f"{dataset.name.removeprefix('npz-')}.npz"

    def is_there() -> bool:
        with suppress(UserError):
            return datasets.load(f"npz:{path}").fingerprint == dataset.fingerprint
        return False

    if not is_there():
        arrays: dict[str, Any] = {"classes": np.array(dataset.classes)}
        for prefix, split in (("", dataset.train), ("test_", dataset.test)):
            images = split.images.numpy()
            arrays[f"{prefix}images"] = images[:, 0] if images.shape[1] == 1 else images
            arrays[f"{prefix}labels"] = split.labels.numpy()
        content = io.BytesIO()
        np.savez(content, **arrays)
        make_folder(path.parent)
        write_atomically(path, content.getvalue())
        if not is_there():
            raise UserError(
                f"images of the shape {tuple(dataset.image_shape)} cannot be kept in a file .npz, "
                "in which channels may be first or last"
            )
    return datasets.described(f"npz:{path}")


def where_it_is(described: str, folder: Path | None) -> str:
    """Where data come from; what is kept with a store lies in its folder, wherever that is now."""
    said = json.loads(described)
    kind, _, name = str(said.get("name", "")).partition(":")
    path = Path(name)
    if folder is None or kind != "npz" or path.parent.name != FOLDER or path.exists():
        return described
    here = folder.expanduser().absolute() / FOLDER / path.name
    return json.dumps(said | {"name": f"npz:{here}"}) if here.exists() else described


def arch_of(network: nn.Module, dataset: Dataset) -> str:
    """How an architecture is called: by where its class is, where that makes such a network.

    It is tried: the network that comes out of the class has to do what this one does.
    """
    kind = type(network)
    named = f"{MODULE}{kind.__module__}:{kind.__qualname__}"
    found = getattr(sys.modules.get(kind.__module__), kind.__qualname__, None)
    if kind.__module__ != "__main__" and found is kind:
        with suppress(UserError, RuntimeError, TypeError, ValueError), torch.no_grad():
            made = models.build(named, dataset).eval()
            made.load_state_dict(network.state_dict())
            some = dataset.inputs(dataset.test)[:16]
            if torch.allclose(made(some), network(some), rtol=ALIKE, atol=ALIKE):
                return named
    return f"{PYTHON}{kind.__name__}"
