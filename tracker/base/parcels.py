"""What a process on another machine is sent: plain bytes, with tensors apart as numpy arrays.

Tensors that share memory, as a network's parameters and their detached views, share it again where
they arrive; strides stay, since the last bits of a convolution depend on them.
"""

from __future__ import annotations

import io
import pickle
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Bytes = NDArray[np.uint8]


class _Place(NamedTuple):
    """Where a tensor lies: the number of its array, and how it is laid out there."""

    array: int
    device: str
    dtype: torch.dtype
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class _Memory(NamedTuple):
    """What tensors share: its number, itself, and what keeps its address from being used again."""

    number: int
    array: Bytes
    storage: torch.UntypedStorage


@dataclass(frozen=True)
class Parcel:
    """An object, packed.

    Attributes:
        pickled: all of it but tensors. arrays: the memory of the tensors.
        written: numbers of the arrays that whoever receives it may write into.
    """

    pickled: bytes
    arrays: tuple[Bytes, ...]
    written: frozenset[int]


def packed(
    content: Any, pickler: type[pickle.Pickler], known: Mapping[int, str], written: Any = ()
) -> Parcel:
    """An object as a parcel.

    Args:
        pickler: its class. known: names, by `id`, of objects that the receiver has already.
        written: tensors that the receiver may write into; all others are read only there.
    """
    memory: dict[int, _Memory] = {}

    def array_of(tensor: Tensor) -> int:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in memory:
            raw = torch.empty(0, dtype=torch.uint8).set_(storage.cpu()).numpy()
            memory[storage.data_ptr()] = _Memory(len(memory), raw, storage)
        return memory[storage.data_ptr()].number

    class Packing(pickler):  # type: ignore[valid-type, misc]
        def persistent_id(self, thing: Any) -> Any:
            if id(thing) in known:
                return known[id(thing)]
            if type(thing) is not Tensor or thing.requires_grad:
                return None
            return _Place(
                array_of(thing),
                str(thing.device),
                thing.dtype,
                int(thing.storage_offset()),
                tuple(thing.shape),
                thing.stride(),
            )

    stream = io.BytesIO()
    Packing(stream, protocol=5).dump(content)
    own = frozenset(array_of(tensor) for tensor in written)
    return Parcel(stream.getvalue(), tuple(one.array for one in memory.values()), own)


def unpacked(parcel: Parcel, known: Mapping[str, Any]) -> Any:
    """The object in a parcel. What was read only is not copied.

    Args:
        known: the objects that were not packed, by name.
    """

    def storage(number: int, array: Bytes) -> torch.UntypedStorage:
        with warnings.catch_warnings():  # that a tensor of it must not be written
            warnings.simplefilter("ignore", UserWarning)
            own = array.copy() if number in parcel.written else array
            return torch.from_numpy(own).untyped_storage()

    storages = [storage(number, array) for number, array in enumerate(parcel.arrays)]

    class Unpacking(pickle.Unpickler):
        def persistent_load(self, told: Any) -> Any:
            if isinstance(told, str):
                return known[told]
            place = _Place(*told)
            tensor = torch.empty(0, dtype=place.dtype)
            tensor.set_(storages[place.array], place.offset, place.shape, place.stride)
            return tensor.to(place.device)

    return Unpacking(io.BytesIO(parcel.pickled)).load()
