"""The algorithms by name: one module each, of the algorithm's own name, that sets `ALGORITHM`.

Other people's come by the entry points `indelible.algorithms`, and the user's own as
`module:package.module:Class`. Listing the names imports nothing, so that a command line can show
them at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from unlearning.registry import Registry

if TYPE_CHECKING:
    from unlearning.algorithm import Algorithm


def _check(algorithm: type[Algorithm]) -> None:
    from unlearning import algorithm as kinds

    is_one = isinstance(algorithm, type) and issubclass(algorithm, (kinds.Stepwise, kinds.Direct))
    if not is_one or not hasattr(algorithm, "name"):
        raise TypeError(f"{algorithm} is no class of an algorithm, Stepwise or Direct, with a name")
    algorithm()  # its defaults are accepted


REGISTRY: Registry[type[Algorithm]] = Registry(
    "algorithm",
    __name__,
    "ALGORITHM",
    group="indelible.algorithms",
    check=_check,
    name_of=lambda algorithm: algorithm.name,
    otherwise=", or write module:package.module:Class",
)

names, get, every, named = REGISTRY.names, REGISTRY.get, REGISTRY.every, REGISTRY.named
provider, reference = REGISTRY.provider, REGISTRY.reference
