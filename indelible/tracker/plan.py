"""What a sweep is to do: members and the keys by which they are known for ever."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from indelible import factors
from indelible.errors import UserError
from indelible.tracker.members import member_key, sha256_of, sweep_key
from indelible.unlearning import algorithms, presets
from indelible.unlearning.algorithm import Algorithm
from indelible.unlearning.version import VERSION

if TYPE_CHECKING:
    from indelible.tracker.base_models import BaseRun


TRIAL = "preset_trial"  # the tag of a sweep that says which trial chose its presets


@dataclass(frozen=True)
class Choice:
    """The preset of each algorithm, by its name, and why it is this one.

    Attributes:
        trial: the key of the trial that chose, if one did.
    """

    presets: Mapping[str, str]
    reason: str
    trial: str | None = None

    @classmethod
    def of(cls, names: Iterable[str], preset: str, reason: str) -> Choice:
        """One preset for all algorithms."""
        return cls(dict.fromkeys(names, preset), reason)

    @classmethod
    def read(cls, params: Mapping[str, str], names: Iterable[str], trial: str) -> Choice:
        """What `params` gave, of these algorithms."""
        said = params["preset"]
        found = dict(pair.split("=") for pair in said.split(", ")) if "=" in said else {}
        return cls({name: found.get(name, said) for name in names}, params["preset_reason"], trial)

    @property
    def params(self) -> dict[str, str]:
        """The choice as a sweep's params."""
        pairs = [f"{name}={preset}" for name, preset in self.presets.items()]
        different = len(set(self.presets.values())) > 1
        said = ", ".join(pairs) if different else next(iter(self.presets.values()))
        return {"preset": said, "preset_reason": self.reason}

    def __str__(self) -> str:
        """One line."""
        return "preset {preset}: {preset_reason}".format(**self.params)


@dataclass(frozen=True)
class Plan:
    """One sweep: every algorithm on every sample, from one base model.

    Attributes:
        weights_sha256, fingerprint: of the base model as it is kept, and of its data.
        arch: its architecture; two may have the same weights and other outputs.
        precision: of weights and inputs, float32 or float64.
        sample_ids: positions in the data set's own training file.
        seed: of the unlearning: retain draws and the algorithms' random choices.
        remaining: how many training samples stand for the remaining data; all if None.
        preset: where the settings come from, if that is known; part of no key.

    Raises UserError for an algorithm that logs a detail under a factor's name.
    """

    weights_sha256: str
    fingerprint: str
    arch: str
    precision: str
    algorithms: tuple[Algorithm, ...]
    sample_ids: tuple[int, ...]
    seed: int
    name: str
    remaining: int | None = None
    preset: Choice | None = None

    def __post_init__(self) -> None:
        factors.refuse_ambiguous(self.algorithms)

    @classmethod
    def on(
        cls,
        base: BaseRun,
        algorithms: Iterable[Algorithm],
        sample_ids: Iterable[int],
        seed: int,
        name: str,
        remaining: int | None = None,
        preset: Choice | None = None,
    ) -> Plan:
        """The plan for a base model. Raises UserError for ids that are not training samples."""
        sample_ids = tuple(sample_ids)
        data = base.model.dataset
        data.train.positions(list(sample_ids))
        return cls(
            weights_sha256=base.weights_sha256,
            fingerprint=data.fingerprint,
            arch=base.arch,
            precision=base.precision,
            algorithms=tuple(algorithms),
            sample_ids=sample_ids,
            seed=seed,
            name=name,
            remaining=remaining,
            preset=preset,
        )

    def digest(self, algorithm: Algorithm) -> str:
        """What all members of one algorithm share: base model, data, settings, seed and so on."""
        base = (self.weights_sha256, self.fingerprint, self.arch, self.precision)
        return _digest(base, algorithm, self.seed, self.remaining, VERSION)

    @property
    def digests(self) -> tuple[str, ...]:
        """Of all algorithms, in order."""
        return tuple(self.digest(algorithm) for algorithm in self.algorithms)

    def key(self, algorithm: Algorithm, sample_id: int) -> str:
        """A member's key: equal keys mean that the same thing was done to the same sample."""
        return member_key(self.digest(algorithm), sample_id)

    def keys(self) -> set[str]:
        """The keys of all members."""
        return {self.key(a, sample) for a in self.algorithms for sample in self.sample_ids}

    @property
    def sweep_key(self) -> str:
        """The same plan called again is the same sweep."""
        return sweep_key(self.digests, self.sample_ids, self.name)

    @property
    def size(self) -> int:
        """How many members there are."""
        return len(self.algorithms) * len(self.sample_ids)

    def as_json(self) -> dict[str, Any]:
        """The plan as plain values, kept with the sweep: what belongs to it, and how to redo it."""
        return {
            "name": self.name,
            "seed": self.seed,
            "remaining": self.remaining,
            "weights_sha256": self.weights_sha256,
            "data_fingerprint": self.fingerprint,
            "arch": self.arch,
            "engine_version": VERSION,
            "precision": self.precision,
            **(self.preset.params if self.preset else {}),
            "algorithms": {
                algorithm.name: {
                    "digest": self.digest(algorithm),
                    "settings": algorithm.settings(),
                }
                for algorithm in self.algorithms
            },
            "sample_ids": list(self.sample_ids),
            "factors": [_described(column) for column in factors.columns()],
        }


@lru_cache(maxsize=64)
def _digest(
    base: tuple[str, ...], algorithm: Algorithm, seed: int, remaining: int | None, version: int
) -> str:
    """Of a chunk's hundreds of members it is asked for again and again."""
    shared = (*base, algorithm.name, algorithm.settings())
    return sha256_of(*shared, seed, remaining, version)[:16]


def _described(column: factors.Column) -> dict[str, str]:
    """A factor as its row in the catalog."""
    described = dataclasses.asdict(column)
    return {"factor": described.pop("name"), **described}


def configure(
    names: Iterable[str], preset: str | Choice, changes: Iterable[str]
) -> list[Algorithm]:
    """The algorithms of those names with a preset's settings and single changes to them.

    Args:
        preset: of all, or the choice for each. changes: `algorithm.name=value` each.

    Raises UserError for an unknown algorithm, preset or hyper-parameter, or a value out of range.
    """
    classes = {name: algorithms.get(name) for name in names}
    of = dict.fromkeys(classes, preset) if isinstance(preset, str) else preset.presets
    settings = {name: dict(presets.load(of[name]).get(name, {})) for name in classes}
    for change in changes:
        target, equals, value = change.partition("=")
        algorithm, dot, name = target.partition(".")
        if not (equals and dot and algorithm in classes):
            raise UserError(
                f"--set {change} is not understood: write ALGORITHM.NAME=VALUE with one of the "
                f"sweep's algorithms ({', '.join(classes)})"
            )
        settings[algorithm][name] = value
    return [found.from_text(settings[name]) for name, found in classes.items()]
