"""Reference models on the command line, and sweeps until the reference."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tracker.conftest import Indelible, own_copy
from tests.tracker.test_damage import one_line
from tests.tracker.test_models import members
from tracker.base import references
from tracker.base.parts import REFERENCES
from tracker.base.references import Making
from tracker.cli import run
from tracker.store.opening import open_store
from tracker.store.records import Kind
from tracker.sweep import chunks
from unlearning import datasets, engine
from unlearning.outcome import Status
from unlearning.references import References

TRAIN = ("train", "--arch", "mlp", "--epochs", 3)
SHARE = ("--reference-share", 0.5)  # so that eight suffice for most samples
ONE = ("--workers", 1)
REFER = (*TRAIN, "--references", 8, *SHARE, *ONE)
GA = ("--algorithm", "ga", "--preset", "digits", "--execution", "sequential", "--chunk", 1)
Z = ("forgetting/z", "forgetting/z_error", "forgetting/forgotten")
Patch = pytest.MonkeyPatch


def called(folder: Path, *words: object) -> None:
    assert run(["--store", str(folder), *map(str, words)]) == 0


@pytest.fixture(scope="module")
def without_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("without")
    called(folder, *TRAIN)
    return folder


@pytest.fixture(scope="module")
def with_once(without_once: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = own_copy(without_once, tmp_path_factory.mktemp("with"))
    called(folder, *REFER)
    return folder


@pytest.fixture
def without(without_once: Path, tmp_path: Path) -> Path:
    """A base model without reference models, to be changed."""
    return own_copy(without_once, tmp_path / "without")


@pytest.fixture
def referred(with_once: Path, tmp_path: Path) -> Path:
    """A base model with eight reference models, to be changed."""
    return own_copy(with_once, tmp_path / "with")


def rows() -> dict[int, int]:
    """Where the training samples stand in the split, by id."""
    return {sample: row for row, sample in enumerate(datasets.load("digits").train.ids.tolist())}


def said_by(folder: Path) -> References:
    """What the reference models of the base model say."""
    store = open_store(folder)
    (base,) = store.finished_runs(Kind.BASE_MODEL)
    found = references.read(store, base)
    assert found is not None
    return found


def known_samples(folder: Path, count: int) -> list[str]:
    """Options for samples of which two models of each kind tell."""
    said = said_by(folder)
    enough = (said.outside.models > 1) & (said.inside.models > 1)
    ids = [sample for sample, row in rows().items() if enough[row]][:count]
    return [word for sample in ids for word in ("--sample", str(sample))]


def made_by(patch: Patch, fails_at: int | None = None) -> list[int]:
    """The numbers of the models that are trained from now on; one of them fails."""
    real, made = Making.model, list[int]()

    def model(self: Making, base: Any, number: int, *stop: Any) -> Any:
        if number == fails_at:
            raise KeyboardInterrupt
        made.append(number)
        return real(self, base, number, *stop)

    patch.setattr(Making, "model", model)
    return made


def outcomes(folder: Path) -> dict[int, dict[str, float]]:
    """What attempts came to by sample, clocks aside."""
    found = members(open_store(folder), "ga")
    return {
        sample: {k: v for k, v in run.metrics.items() if "elapsed" not in k}
        for sample, run in found.items()
    }


# Training them


def test_what_was_interrupted_goes_on_and_a_second_call_finds_all(
    without: Path, with_once: Path, indelible: Indelible, monkeypatch: Patch
) -> None:
    with monkeypatch.context() as patch:
        made = made_by(patch, fails_at=3)
        assert indelible(without, *REFER).code != 0
        assert {*made} >= {0, 1, 2}  # who computes is a little ahead of who keeps
    with monkeypatch.context() as patch:
        others = made_by(patch)
        answer = indelible(without, *REFER)
        assert {3} <= {*others} <= {3, 4, 5, 6, 7}
    assert "reference models get" in answer.err
    assert answer.id == next(open_store(without).finished_runs(Kind.BASE_MODEL)).run_id
    monkeypatch.setattr(Making, "model", lambda *_: pytest.fail("they are there"))
    for share in (SHARE, ()):
        assert indelible(without, *TRAIN, "--references", 8, *share).code == 0
    assert said_by(without).digest == said_by(with_once).digest


def test_more_of_them_keep_those_that_were_there(
    referred: Path, indelible: Indelible, monkeypatch: Patch
) -> None:
    before = said_by(referred)
    made = made_by(monkeypatch)
    assert indelible(referred, *TRAIN, "--references", 9, *ONE).code == 0
    assert made == [8]
    after = said_by(referred)
    assert len(after) == 9
    assert after.only(torch.arange(8)).digest == before.digest
    assert after.included.sum(dim=1).tolist() == [500] * 9
    assert after.included.unique(dim=0).shape == (9, 1000)
    store = open_store(referred)
    base = next(store.finished_runs(Kind.BASE_MODEL))
    kept = torch.cat([part["test_accuracy"] for part, _ in REFERENCES.of(store, base)])
    assert len(kept) == 9
    assert base.metrics[references.ACCURACY] == pytest.approx(kept.mean().item())
    (right, wrong) = (after.phi[after.correct == is_right] for is_right in (True, False))
    assert right.min() > -2.2  # of ten classes the likeliest has a probability of at least .1
    assert wrong.max() < 0  # one that is not the likeliest has less than a half


def test_bad_input(referred: Path, indelible: Indelible, monkeypatch: Patch) -> None:
    monkeypatch.setattr(Making, "model", lambda *_: pytest.fail("it is refused"))
    for words, said in (
        (("--references", 9, "--reference-share", 0.75), "of another recipe or share"),
        (("--references", 1), "--references"),
        (("--references", 4, "--reference-share", 0), "--reference-share"),
        (SHARE, "--reference-share has no effect without --references"),
    ):
        one_line(indelible(referred, *TRAIN, *words), said)


def test_an_imported_model_is_given_the_recipe_of_its_reference_models(
    without_once: Path, tmp_path: Path, indelible: Indelible, monkeypatch: Patch
) -> None:
    store, (weights,) = tmp_path / "s", without_once.glob("artifacts/*/*/artifacts/weights-*")
    imported = ("train", "--arch", "mlp", "--from-weights", weights)
    said = "--lr has no effect with --from-weights, but for --references"
    one_line(indelible(store, *imported, "--lr", 0.1), said)
    one_line(indelible(store, *imported, "--references", 2, "--lr", 0.002), "give --epochs")
    made = made_by(monkeypatch)
    model = indelible(store, *imported, "--references", 2, "--epochs", 1, "--lr", 1e-9, *ONE)
    assert (model.code, made) == (0, [0, 1])
    assert "reference models get" in model.err
    assert "that is no reference" in model.err
    swept = indelible(store, "sweep", "--algorithm", "ga", "--samples", 60, *ONE)
    assert "that is no reference" in swept.err
    assert indelible(store, "report", "--output", tmp_path / "r").code == 0
    page = next((tmp_path / "r").glob("*.html")).read_text("utf-8")
    assert "Whether samples were forgotten is not known here: reference models get" in page
    again = indelible(store, *imported, "--references", 3, *ONE)
    assert (again.id, made) == (model.id, [0, 1, 2])
    other = ("--references", 3, "--epochs", 2)
    one_line(indelible(store, *imported, *other), "of another recipe or share")
    assert len(said_by(store)) == 3


# Sweeps until the reference


def test_a_sweep_until_reference_ends_there_and_says_so(
    referred: Path, indelible: Indelible, monkeypatch: Patch
) -> None:
    flip = ("sweep", *GA, *known_samples(referred, 4))
    sweep = (*flip, "--until", "reference", *ONE)
    calls = 0

    def unlearn(*given: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return engine.unlearn(*given)

    with monkeypatch.context() as patch:
        patch.setattr(chunks, "unlearn", unlearn)
        assert indelible(referred, *sweep).code != 0
    store = open_store(referred)
    assert len(members(store, "ga")) < 4
    answer = indelible(referred, *sweep)
    assert answer.code == 0
    assert "at reference" in answer.err
    (parent,) = store.finished_runs(Kind.SWEEP)
    assert parent.params["until"] == "reference"
    found = members(store, "ga")
    assert len(found) == 4
    said = said_by(referred)
    for sample, member in found.items():
        metrics, status = member.metrics, member.tags["status"]
        assert "--until reference" in member.tags["command"]
        assert {*Z} <= metrics.keys()
        if status == Status.NOTHING_TO_FORGET:
            assert (metrics["cost/steps"], "gt" in metrics) == (0, False)
            assert metrics["forgetting/z"] == pytest.approx(metrics["forgetting/z_untouched"])
        elif status == Status.AT_REFERENCE:
            # Where the model stood among those that saw the sample, it stands among the others.
            row, untouched = rows()[sample], metrics["forgetting/z_untouched"]
            out = said.outside
            phi = metrics["forgetting/reference_phi"] + untouched * out.sd[row].item()
            shift = (metrics["forgetting/reference_phi"] - out.mean[row].item()) / out.sd[
                row
            ].item()
            inside = said.inside.raised(shift)
            place = inside.z(torch.tensor([phi]).double(), torch.tensor([row])).item()
            assert metrics["forgetting/z"] == pytest.approx(place, abs=0.05)
            assert metrics["forgetting/z"] <= place + 1e-3
    statuses = [member.tags["status"] for member in found.values()]
    assert Status.AT_REFERENCE in statuses
    summed = parent.metrics
    assert summed["ga/at_reference"] == statuses.count(Status.AT_REFERENCE)
    for mean, metric in (("forgotten_rate", "forgetting/forgotten"), ("mean_z", "forgetting/z")):
        values = [member.metrics[metric] for member in found.values()]
        assert summed[f"ga/{mean}"] == pytest.approx(sum(values) / 4)
    assert indelible(referred, *sweep).id == answer.id
    assert indelible(referred, *flip).id != answer.id


def test_without_enough_reference_models_it_is_refused(without: Path, indelible: Indelible) -> None:
    sweep = ("sweep", "--algorithm", "ga", "--samples", 2, "--until", "reference")
    answer = indelible(without, *sweep)
    one_line(answer, "has no reference models", "as before with --references 32")
    called(without, *TRAIN, "--references", 2, *ONE)
    one_line(indelible(without, *sweep), "fewer than two of the 2 reference models")
    assert [*open_store(without).finished_runs(Kind.SWEEP)] == []


# Attempts that were there before


def test_z_is_added_to_attempts_that_are_there(without: Path, indelible: Indelible) -> None:
    sweep = ("sweep", *GA, "--samples", 3)
    assert indelible(without, *sweep).code == 0
    before = outcomes(without)
    assert not any({*Z} & metrics.keys() for metrics in before.values())
    called(without, *REFER)
    answer = indelible(without, "measure", "--format", "json")
    (row,) = json.loads(answer.out)
    assert row["measured"] == 3
    after = outcomes(without)
    out, place = said_by(without).outside, rows()
    known = [sample for sample in after if out.models[place[sample]] > 1]
    assert known
    for sample, metrics in after.items():
        assert before[sample].items() <= metrics.items()
        if sample in known and metrics.get("cost/steps"):
            assert {*Z} <= metrics.keys()
    called(without, *TRAIN, "--references", 9, *ONE)
    (row,) = json.loads(indelible(without, "measure", "--format", "json").out)
    assert row["measured"] == 3
    assert outcomes(without) != after


@pytest.mark.slow
def test_reference_models_are_exported_and_merged(
    referred: Path, without: Path, tmp_path: Path, indelible: Indelible
) -> None:
    samples = known_samples(referred, 2)
    sweep = ("sweep", *GA, *samples, "--until", "reference")
    exported, merged = tmp_path / "exported", tmp_path / "merged"
    assert indelible(referred, "models", "--export", exported).code == 0
    assert said_by(exported).digest == said_by(referred).digest
    assert indelible(exported, *sweep).code == 0
    called(without, *TRAIN, "--references", 2, *SHARE)  # of another mean accuracy
    assert indelible(merged, "merge", without, exported).code == 0
    assert said_by(merged).digest == said_by(referred).digest
    assert outcomes(merged) == outcomes(exported)
    (parent,) = open_store(merged).finished_runs(Kind.SWEEP)
    assert parent.params["until"] == "reference"
    assert indelible(merged, *sweep).id == parent.run_id
    assert indelible(merged, "load").code == 0
    assert indelible(merged, "check").code == 0
