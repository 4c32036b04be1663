"""Predictors of planted outcomes: what was planted is found, and the file says the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import spearmanr

from analysis.warehouse import FORECAST
from tracker.access.addresses import Address
from tracker.access.artifacts import Artifacts, Damaged
from tracker.access.patience import Patience
from tracker.sweeping import card
from tracker.sweeping.attempted import Attempt
from tracker.sweeping.calibration import SCALES
from tracker.sweeping.features import Known
from tracker.sweeping.fitting import FEWEST, Part, examples, fit, refuse_few
from tracker.sweeping.predictor import (
    FLIPS,
    TAG,
    Basis,
    OfAlgorithm,
    Predictor,
    file_name,
    largest,
    read_predictor,
)
from tracker.sweeping.regression import Linear
from unlearning import algorithms
from unlearning.errors import UserError

Floats = NDArray[np.float64]
GA = algorithms.get("ga")()
REPEATS = 3
SIGNS = {"prob_lost": 0.1, "points_lost": 10.0, "gt": -1e-4, "steps": 0.3}  # of the planted slope


def planted(count: int, seed: int, with_index: bool = False, noise: float = 0.01) -> Part:
    """Samples whose outcomes rise or fall with `size`, beside two features that say nothing.

    With the index there are forecasts that know all but what follows from `size`.
    """
    random = np.random.default_rng(seed)
    size, margin, entropy, hidden = random.normal(size=(4, count))
    entropy[::7] = np.nan
    scores = {"size": size, "margin": margin, "entropy": entropy, "equal": np.ones(count)}
    base = {name: slope * (hidden if with_index else 0 * hidden) for name, slope in SIGNS.items()}
    truth = {name: base[name] + slope * size for name, slope in SIGNS.items()}
    nothing = {name: np.full(count, np.nan) for name in FORECAST}
    said = {name: SCALES[name].back(value) for name, value in base.items()} if with_index else {}
    found = []
    for sample in range(count):
        for repeat in range(REPEATS):
            outcome = {FLIPS: 1.0}
            for name, slope in SIGNS.items():
                value = truth[name][sample] + abs(slope) * noise * random.normal()
                outcome[name] = SCALES[name].back(np.array([value])).item()
            found.append(Attempt(f"{seed}{repeat}-{sample:05d}", sample, "sweep", outcome))
    known = Known(tuple(range(count)), {"ga": scores}, {"ga": {**nothing, **said}}, margin)
    return Part(known, found)


def fitted(*parts: Part) -> OfAlgorithm:
    keys = {f"weights{k}": part.keys for k, part in enumerate(parts)}
    return fit(GA, examples(parts, "ga"), keys)


@pytest.mark.parametrize("with_index", [False, True])
def test_what_was_planted_is_found(with_index: bool) -> None:
    """Also on samples of another base model, nine of ten within their intervals."""
    of = fitted(planted(120, 0, with_index, noise=0.3))
    assert of.features == ("size", "margin", "entropy")
    assert (of.samples, len(of.keys)) == (120, 120 * REPEATS)
    new = planted(300, 1, with_index, noise=0.3)
    said = of(new.known.table("ga", of.features), new.known.forecasts["ga"])
    for name in SIGNS:
        target = of.targets[name]
        assert (target.reference is None) is with_index
        ((first, weight), *others) = largest(of, name, 3)
        assert first == "size"
        slope = SIGNS[name] if with_index else np.sign(SIGNS[name])
        assert weight == pytest.approx(slope, rel=0.15)
        assert all(abs(other) < abs(weight) / 10 for _, other in others)
        assert target.scores["rho"] > 0.9
        assert target.scores["margin_rho"] < 0.3
        assert ("index_rho" in target.scores) is with_index
        if with_index:
            assert target.scores["index_rho"] < target.scores["rho"] - 0.1
        measured = np.array([attempt.outcome[name] for attempt in new.attempts[::REPEATS]])
        assert spearmanr(said[name], measured).statistic > 0.9
        covered = (said[f"{name}_low"] <= measured) & (measured <= said[f"{name}_high"])
        assert covered.mean() == pytest.approx(0.9, abs=0.05)
        assert target.scores["coverage"] == pytest.approx(0.9, abs=0.05)
    np.testing.assert_array_equal(said[FLIPS], 1.0)


def test_rows_are_samples_and_means_are_over_repeats() -> None:
    part = planted(40, 0)
    some = replace(part, attempts=part.attempts[3:])  # none on sample 0
    found = examples([some, planted(40, 1)], "ga")
    assert found.groups.tolist() == [*range(1, 40), *range(40)]
    assert found.samples == 40
    assert found.rows.tolist() == [row for row in range(79) for _ in range(REPEATS)]
    of_one = [attempt.outcome["steps"] for attempt in part.attempts[3:6]]
    assert found.means["steps"][0] == pytest.approx(np.log(of_one).mean(), rel=1e-12)
    assert found.ones["steps"][0] == np.log(of_one[0])
    np.testing.assert_array_equal(found.features[:39, 0], part.known.scores["ga"]["size"][1:])
    assert found.as_bytes() == examples([some, planted(40, 1)], "ga").as_bytes()
    assert found.as_bytes() != examples([part, planted(40, 1)], "ga").as_bytes()


@pytest.mark.parametrize("with_index", [False, True])
def test_a_few_that_end_otherwise_do_not_bend_it(with_index: bool) -> None:
    part = planted(120, 0, with_index)
    odd = [replace(a, outcome={**a.outcome, "gt": 9.0}) for a in part.attempts[:6]]
    model = fitted(replace(part, attempts=[*odd, *part.attempts[6:]])).targets["gt"].model
    straight = fitted(part).targets["gt"].model
    assert isinstance(model, Linear)
    assert isinstance(straight, Linear)
    assert model.weights[0] == pytest.approx(straight.weights[0], rel=0.2)


def test_a_target_that_few_attempts_have_is_not_fitted() -> None:
    part = planted(60, 0)
    found = [
        replace(a, outcome={**a.outcome, "gt": np.nan}) if a.sample_id > 20 else a
        for a in part.attempts
    ]
    of = fitted(replace(part, attempts=found))
    assert of.targets["gt"].model is None
    said = of(part.known.table("ga", of.features), part.known.forecasts["ga"])
    assert np.isnan([said["gt"], said["gt_low"], said["gt_high"]]).all()
    assert np.isfinite(said["steps"]).all()
    assert "gt" not in card.written(predictor(of), {"weights0": "base"}, ["s"]).split("| target")[1]


def test_few_samples_are_refused() -> None:
    refuse_few("ga", range(FEWEST))
    with pytest.raises(UserError, match=f"attempts on {FEWEST - 1}: sweep more"):
        refuse_few("ga", range(FEWEST - 1))


def predictor(of: OfAlgorithm) -> Predictor:
    basis = Basis("digits", "f00", "small-cnn", "float32", "all", 2, "1ndex" * 3, {"pre/a": "v1"})
    return Predictor(basis, {"ga": of})


@pytest.fixture(scope="module")
def of() -> OfAlgorithm:
    """A predictor for which samples flip if they are large."""
    part = planted(60, 0, with_index=True)
    size = part.known.scores["ga"]["size"]
    found = [
        replace(a, outcome={**a.outcome, FLIPS: float(size[a.sample_id] > 0)})
        for a in part.attempts
    ]
    return fitted(replace(part, attempts=found))


def test_the_card_says_what_it_is(of: OfAlgorithm) -> None:
    text = card.written(predictor(of), {"weights0": "base-run"}, [f"s{k}" for k in range(9)])
    scores = of.targets["gt"].scores
    row = f"| ga | gt | 60 | {scores['rho']:.3f} ({scores['rho_low']:.3f} to"
    assert row in text
    assert "180 attempts on 60 samples of base model `base-run`, with optimizer=adam" in text
    assert "`s4` and 4 more" in text
    assert f"flips with Brier score {of.targets[FLIPS].scores['brier']:.3f}" in text
    assert "size" in text.split("coefficients")[1]


class Files:
    """A folder as the artifacts of a run."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.uri = folder, folder.as_uri()
        self.artifacts = Artifacts(Address.of(folder), Patience("the store"))

    def put(self, content: bytes) -> dict[str, str]:
        sha256 = hashlib.sha256(content).hexdigest()
        (self.folder / file_name(sha256)).write_bytes(content)
        return {TAG: sha256}

    def read(self, tags: dict[str, str]) -> Predictor:
        return read_predictor(self.artifacts, self.uri, tags)


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_the_file_says_the_same(of: OfAlgorithm, files: Files) -> None:
    whole = predictor(of)
    found = files.read(files.put(whole.as_file()))
    assert found.as_file() == whole.as_file()
    assert found.basis == whole.basis
    new = planted(50, 3, with_index=True).known
    table, forecasts = new.table("ga", of.features), new.forecasts["ga"]
    again = found.algorithms["ga"]
    for name, values in of(table, forecasts).items():
        np.testing.assert_array_equal(again(table, forecasts)[name], values)
    assert again.keys == of.keys


def test_a_lost_or_changed_file_is_damaged(of: OfAlgorithm, files: Files) -> None:
    content = predictor(of).as_file()
    tags = files.put(content)
    (path,) = files.folder.glob("predictor-*.json")
    path.write_bytes(content[:-1] + b"!")
    with pytest.raises(Damaged, match="is damaged, it is not what was written: --fitted new"):
        files.read(tags)
    path.unlink()
    with pytest.raises(Damaged, match="is missing"):
        files.read(tags)


Change = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    "change",
    [
        lambda plain: plain.pop("basis"),
        lambda plain: plain["basis"].update(colour="blue"),
        lambda plain: plain["algorithms"]["ga"]["targets"].pop("gt"),
        lambda plain: plain["algorithms"]["ga"]["features"].pop(),
        lambda plain: plain["algorithms"]["ga"]["targets"]["gt"]["model"].update(weights="abc"),
        lambda plain: plain["algorithms"]["ga"]["targets"]["gt"]["model"].pop("medians"),
        lambda plain: plain.update(algorithms=[]),
    ],
)
def test_a_file_of_another_shape_is_no_predictor(
    of: OfAlgorithm, files: Files, change: Change
) -> None:
    plain = json.loads(predictor(of).as_file())
    change(plain)
    with pytest.raises(Damaged, match=r"is no predictor .*: --fitted new fits another"):
        files.read(files.put(json.dumps(plain).encode()))
    with pytest.raises(Damaged, match="is no predictor"):
        files.read(files.put(b"[]"))
