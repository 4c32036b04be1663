"""What the methods of an algorithm give is what `unlearning.algorithm` says that they give.

A tensor of another shape may be spread over members otherwise, and be wrong in silence. Each
function raises Raised for what it does not take.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from unlearning import algorithms
from unlearning.algorithm import Algorithm, Loss, Stepwise
from unlearning.errors import Raised


def mapping(algorithm: Algorithm, method: str, found: object) -> Mapping[str, Any]:
    """What a method gives, as a mapping."""
    if not isinstance(found, Mapping):
        raise _refused(algorithm, method, found, "a mapping of names to tensors")
    return found


def losses(algorithm: Stepwise, step: int) -> tuple[Loss, ...]:
    """The losses of a step."""
    found: object = algorithm.losses(step)
    several = tuple(found) if isinstance(found, Iterable) else (None,)
    if not all(map(callable, several)):
        raise _refused(algorithm, "losses", found, "a tuple of functions")
    return several


def loss(algorithm: Algorithm, value: object) -> Tensor:
    """One member's loss, ()."""
    if not isinstance(value, Tensor) or value.shape != () or not value.is_floating_point():
        raise _refused(algorithm, "losses", value, "a loss that is one real number, a tensor ()")
    return value


def weights(
    algorithm: Algorithm, method: str, found: object, known: Mapping[str, Tensor], size: int
) -> Mapping[str, Tensor]:
    """Parameters, and perhaps buffers, of K members: (K, ...) each.

    Args:
        known: those of one, by name. size: K.
    """
    for name, value in mapping(algorithm, method, found).items():
        if name not in known:
            raise _refused(algorithm, method, name, "names of the model's parameters and buffers")
        one = known[name]
        expected = (one.dtype, (size, *one.shape))
        if not isinstance(value, Tensor) or (value.dtype, tuple(value.shape)) != expected:
            shape = f"{_type(one)} {expected[1]}"
            raise _refused(algorithm, method, value, f"{shape} for '{name}' of {size} members")
    return mapping(algorithm, method, found)


def numbers(
    algorithm: Algorithm, method: str, found: object, names: Iterable[str], size: int
) -> Mapping[str, Tensor]:
    """Real numbers of K members, (K,) each, under all of some names."""
    given = mapping(algorithm, method, found)
    for name in names:
        value = given.get(name)
        if not isinstance(value, Tensor) or value.shape != (size,) or value.is_complex():
            expected = f"({size},) for '{name}' of {size} members"
            raise _refused(algorithm, method, value, expected)
    return given


def _refused(algorithm: Algorithm, method: str, found: object, expected: str) -> Raised:
    given = f"'{found}'" if isinstance(found, str) else f"a {type(found).__name__}"
    if isinstance(found, Tensor):
        given = f"{_type(found)} {tuple(found.shape)}"
    line = f"gives {given} in its method {method}, where it takes {expected}"
    registry, name = algorithms.REGISTRY, algorithm.name
    trace = "".join(traceback.format_stack())
    return Raised(registry.kind, name, f"{registry.in_words(name)} {line}", trace)


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
