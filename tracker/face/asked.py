"""What is asked for in Python, as the rooms below take it: samples, settings, engines."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING

from tracker.sweep.planning import LAST_SEED, Wanted
from unlearning import algorithms
from unlearning.errors import UserError

if TYPE_CHECKING:
    from tracker.base.workers import Engine
    from unlearning.dataset import Dataset

Requests = Iterable[str | int | os.PathLike[str]] | str | os.PathLike[str]
Settings = Mapping[str, Mapping[str, object]]

WAYS = "samples, sample_ids and requests exclude each other: give one"


@dataclass(frozen=True)
class Samples:
    """Which samples are asked for: so many, or those with these ids or of these names.

    Attributes:
        ids, requests: None where they were not given.
    """

    count: int | None = None
    ids: tuple[int, ...] | None = None
    requests: tuple[str, ...] | None = None

    @classmethod
    def of(
        cls, samples: int | None, sample_ids: Iterable[int] | None, requests: Requests | None
    ) -> Samples:
        """From what a caller gave. Raises UserError."""
        if sum(way is not None for way in (samples, sample_ids, requests)) > 1:
            raise UserError(WAYS)
        ids = None if sample_ids is None else tuple(_whole(i, "sample_ids") for i in sample_ids)
        names = None if requests is None else _names(requests)
        if ids == () or names == ():
            raise UserError("no sample is asked for: name one at least, or leave the list out")
        return cls(None if samples is None else count(samples, "samples"), ids, names)

    def named(self, dataset: Dataset, say: Callable[[str], None]) -> list[int]:
        """The ids of those that were named; none where they are to be drawn.

        Args:
            say: is told where several requests are for one sample, or a sample has copies.

        Raises UserError.
        """
        if self.requests is None:
            return list(self.ids or ())
        from unlearning.requests import remarks, requested

        ids = requested(dataset, self.requests, "requests")
        for line in remarks(dataset, self.requests, ids):
            say(line)
        return ids


def wanted(
    names: tuple[str, ...],
    samples: Samples,
    *,
    only_correct: bool,
    remaining: int | None,
    preset: str | None,
    settings: Settings | None,
    seed: int,
) -> Wanted:
    """Which members are asked for. Raises UserError."""
    if not names or not all(isinstance(name, str) for name in names):
        raise UserError(
            f"name the algorithms as texts, such as 'ga', 'salun': {', '.join(algorithms.names())}"
        )
    if not 0 <= _whole(seed, "seed") <= LAST_SEED:
        raise UserError(f"seed is {seed}: it takes a whole number from 0 to 2^63 - 1")
    return Wanted(
        names=names,
        samples=samples.count,
        only_correct=only_correct,
        remaining=None if remaining is None else count(remaining, "remaining"),
        preset=preset,
        changes=_changes(settings or {}),
        seed=index(seed),
        repeats=1,
    )


@contextmanager
def computing(
    workers: int | None, device: str, ray: str | None, say: Callable[[str], None]
) -> Iterator[Engine]:
    """Who computes: threads of this process, or the nodes of the Ray cluster at an address."""
    from tracker.base.devices import pick_device

    pick_device(device, on_ray=ray is not None)  # refused before a cluster is begun
    if ray is None:
        from tracker.base.workers import Threads

        yield Threads(None if workers is None else count(workers, "workers"))
        return
    from tracker.base.ray_engine import RayEngine

    with RayEngine(ray, workers, say) as engine:
        yield engine


def _names(requests: Requests) -> tuple[str, ...]:
    """Requests as texts; those in a file where that is given."""
    from unlearning.requests import read_requests

    if isinstance(requests, str | os.PathLike):
        return tuple(read_requests(Path(requests)))
    return tuple(os.fspath(one) if isinstance(one, os.PathLike) else str(one) for one in requests)


def _changes(settings: Settings) -> tuple[str, ...]:
    """Settings as the command line writes them."""
    for name, values in settings.items():
        if not isinstance(values, Mapping):
            raise UserError(
                f"settings of {name} are {values!r}: write settings={{'{name}': {{'lr': 3e-4}}}}"
            )
    return tuple(
        f"{algorithm}.{name}={value}"
        for algorithm, values in settings.items()
        for name, value in values.items()
    )


def count(value: int, name: str) -> int:
    """A whole number from 1. Raises UserError; `name`: what it is, for the message."""
    if (number := _whole(value, name)) < 1:
        raise UserError(f"{name} is {value}: it takes a whole number from 1")
    return number


def _whole(value: object, name: str) -> int:
    try:
        return index(value)  # type: ignore[arg-type] # which is what is tried
    except TypeError:
        raise UserError(f"{name} has {value!r}: it takes whole numbers") from None
