"""A fitted model that predicts attempts, and its file: numbers as JSON, nothing that is run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from tracker.access.artifacts import Artifacts, Damaged
from tracker.sweeping.calibration import SCALES, Floats
from tracker.sweeping.ranks import from_normal_scores
from tracker.sweeping.regression import Constant, Linear, Model
from unlearning.algorithm import Setting

TAG = "predictor"  # of its run: the SHA-256 of its file
FLIPS = "flips"  # the target that is a probability; the others are those of SCALES
VECTORS = ("medians", "means", "scales", "weights")  # of a Linear, a number each for its features


@dataclass(frozen=True)
class Target:
    """The model of one target.

    Attributes:
        model: None where too few attempts have it.
        half: half the width of its 90% interval, on the scale of the model, if it has one.
        scores: how well it did on samples that it was not fitted on, by name.
        reference: outcomes, ascending and on the scale of the target: the model says the normal
            score of the rank among them. None where it says, on the scale of the target, by how
            much the forecast of the index is to be corrected; and of flips.
    """

    model: Model | None
    half: float | None
    scores: Mapping[str, float]
    reference: Floats | None = None

    def back(self, values: Floats, name: str, forecasts: Floats) -> Floats:
        """What the model says (K,) as outcomes of the target of that name."""
        if self.reference is None:
            return SCALES[name].back(SCALES[name].to(forecasts) + values)
        return SCALES[name].back(from_normal_scores(values, self.reference))


@dataclass(frozen=True)
class OfAlgorithm:
    """The models of one algorithm.

    Attributes:
        settings: of the algorithm. features: their names, in order. targets: by name.
        fitted_on: the keys of the attempts, by the SHA-256 of the weights of their base model.
        samples: how many different ones they are on.
    """

    settings: Mapping[str, Setting]
    features: tuple[str, ...]
    targets: Mapping[str, Target]
    fitted_on: Mapping[str, tuple[str, ...]]
    samples: int

    def __call__(self, features: Floats, forecasts: Mapping[str, Floats]) -> dict[str, Floats]:
        """Each target with the ends of its interval, (K,) of (K, F); NaN where it is unknown.

        Ends are named `<target>_low` and `<target>_high`.

        Args:
            forecasts: what the index says, by target, (K,) each.
        """
        found = {}
        for name, target in self.targets.items():
            unknown = np.full(len(features), np.nan)
            value = unknown if target.model is None else target.model(features)
            if name == FLIPS:
                found[name] = value
                continue
            half = np.nan if target.half is None else target.half
            for end, moved in (("", value), ("_low", value - half), ("_high", value + half)):
                found[name + end] = target.back(moved, name, forecasts[name])
        return found

    @property
    def keys(self) -> list[str]:
        """Of all attempts that it was fitted on."""
        return [key for keys in self.fitted_on.values() for key in keys]


@dataclass(frozen=True)
class Basis:
    """What a predictor holds for.

    Attributes:
        remaining: how many training samples stand for the remaining data, or `all`.
        index: the fingerprint of the index. families: the versions of the families of factors that
            features are of, by their keys.
    """

    dataset: str
    fingerprint: str
    arch: str
    precision: str
    remaining: str
    engine_version: int
    index: str
    families: Mapping[str, str]


@dataclass(frozen=True)
class Predictor:
    """The models of several algorithms, for base models of one data set and architecture."""

    basis: Basis
    algorithms: Mapping[str, OfAlgorithm]

    def as_file(self) -> bytes:
        """The content of its file, the same for the same predictor."""
        plain = {
            "basis": asdict(self.basis),
            "algorithms": {name: _plain(models) for name, models in self.algorithms.items()},
        }
        return json.dumps(plain, allow_nan=False, sort_keys=True, indent=1).encode()


def file_name(sha256: str) -> str:
    """The file of a predictor, by the SHA-256 of its content."""
    return f"predictor-{sha256[:16]}.json"


def read_predictor(artifacts: Artifacts, uri: str, tags: Mapping[str, str]) -> Predictor:
    """The predictor that a run's tags tell of.

    Raises Damaged if its file is lost or is not what was written.
    """
    sha256 = tags.get(TAG, "")
    again = "--fitted new fits another"
    content = artifacts.checked(uri, file_name(sha256), sha256, again)
    try:
        plain = json.loads(content)
        of = {name: _models(models) for name, models in plain["algorithms"].items()}
        return Predictor(Basis(**plain["basis"]), of)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Damaged(f"{file_name(sha256)} is no predictor ({error!r}): {again}") from error


def largest(of: OfAlgorithm, target: str, count: int) -> list[tuple[str, float]]:
    """The features with the largest standardised coefficients, and these."""
    model = of.targets[target].model
    if not isinstance(model, Linear):
        return []
    order = np.argsort(-np.abs(model.weights), kind="stable")[:count]
    return [(of.features[k], float(model.weights[k])) for k in order]


def _plain(of: OfAlgorithm) -> dict[str, Any]:
    return {
        "settings": dict(of.settings),
        "features": list(of.features),
        "targets": {
            name: {
                "model": _plain_model(target.model),
                "half": target.half,
                "reference": None if target.reference is None else target.reference.tolist(),
                "scores": dict(target.scores),
            }
            for name, target in of.targets.items()
        },
        "fitted_on": {base: list(keys) for base, keys in of.fitted_on.items()},
        "samples": of.samples,
    }


def _plain_model(model: Model | None) -> dict[str, Any] | None:
    if model is None:
        return None
    return dict(_numbers(model))


def _numbers(model: Model) -> Iterator[tuple[str, Any]]:
    for each in fields(model):
        value = getattr(model, each.name)
        yield each.name, value.tolist() if isinstance(value, np.ndarray) else value


def _models(plain: Mapping[str, Any]) -> OfAlgorithm:
    """Raises ValueError, TypeError or KeyError where it is not what `_plain` gives."""
    names = tuple(plain["features"])
    targets = {
        name: Target(
            _model(said["model"], names),
            None if said["half"] is None else float(said["half"]),
            dict(said["scores"]),
            None if said["reference"] is None else np.array(said["reference"], dtype=np.float64),
        )
        for name, said in plain["targets"].items()
    }
    if targets.keys() != {*SCALES, FLIPS}:
        raise ValueError(f"targets are {sorted(targets)}")
    fitted_on = {base: tuple(keys) for base, keys in plain["fitted_on"].items()}
    return OfAlgorithm(plain["settings"], names, targets, fitted_on, int(plain["samples"]))


def _model(plain: Mapping[str, Any] | None, names: Sequence[str]) -> Model | None:
    if plain is None:
        return None
    if "value" in plain:
        return Constant(float(plain["value"]))
    vectors = {name: np.array(plain[name], dtype=np.float64) for name in VECTORS}
    for name, vector in vectors.items():
        if vector.shape != (len(names),):
            raise ValueError(f"{len(vector)} {name} of {len(names)} features")
    return Linear(
        **vectors,
        intercept=float(plain["intercept"]),
        strength=float(plain["strength"]),
        is_logistic=bool(plain["is_logistic"]),
    )
