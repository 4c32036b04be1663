"""Requests that are brought to where models stand that never saw them: `indelible unlearn`."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import indelible as library
from tests.oracles import forgetting as oracle
from tests.tracker.conftest import Answer, Indelible, own_copy
from tracker.base import base_models
from tracker.cli import run
from tracker.store.opening import open_store
from tracker.store.records import PARENT, Kind
from tracker.studies import unlearn as unlearning
from tracker.studies.evidence import ROOM, goals, standing
from tracker.studies.request_table import Ended, Row
from unlearning import datasets, models
from unlearning.algorithms.retrain import Retrain
from unlearning.base_model import BaseModel
from unlearning.engine import SLACK
from unlearning.losses import log_odds
from unlearning.models import weights_sha256
from unlearning.several import unlearn_at_once

IDS = [2, 13, 42, 90, 117]
JSON = ("--format", "json")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a base model and reference models."""
    folder = tmp_path_factory.mktemp("made") / "store"
    train = ("train", "--epochs", "4", "--references", "10", "--reference-share", "0.5")
    assert run(["--store", str(folder), *train, "--workers", "1"]) == 0
    return folder


@pytest.fixture(scope="module")
def base(made: Path) -> BaseModel:
    return base_models.load(open_store(made), "latest", torch.device("cpu")).model


@dataclass(frozen=True)
class Chosen:
    """What became of the requests in a copy of the store, where retraining may be chosen."""

    store: Path
    out: Path
    answer: Answer


@pytest.fixture(scope="module")
def chosen(made: Path) -> Chosen:
    store = own_copy(made, made.parent / "chosen")
    out = made.parent / "out"
    asked = ["--store", str(store), *map(str, words(IDS, out, "--retrain"))]
    with redirect_stdout(io.StringIO()) as printed:
        code = run(asked)
    return Chosen(store, out, Answer(code, printed.getvalue(), ""))


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Path:
    return own_copy(made, tmp_path / "store")


def words(ids: list[int], out: Path, *more: object) -> tuple[object, ...]:
    samples = [word for sample in ids for word in ("--sample", sample)]
    return ("unlearn", *samples, "--output", out, *more, *JSON)


def rows_of(answer: Answer) -> dict[int, dict[str, Any]]:
    return {row["sample_id"]: row for row in json.loads(answer.out)}


def record_in(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "record.json").read_text("utf-8"))
    return found


def phi_of(base: BaseModel, out: Path, ids: list[int]) -> Tensor:
    """Log-odds of samples by the weights that were handed over, loaded as anybody would."""
    network = models.build("small-cnn", datasets.load("digits"))
    network.load_state_dict(load_file(out / "unlearned.safetensors"))
    at = base.dataset.train.positions(ids)
    with torch.no_grad():
        return log_odds(network.eval()(base.train_inputs[at]), base.train_labels[at])


def test_where_requests_stand_is_the_definition(base: BaseModel) -> None:
    positions = base.dataset.train.positions(IDS)
    found, references = standing(base, base.state, positions), base.references
    assert found is not None
    assert references is not None
    wanted = goals(base, positions)
    for row, position in enumerate(positions.tolist()):
        logits = base.train_logits[position].double().tolist()
        phi = oracle.log_odds(logits, int(base.train_labels[position]))
        mean, sd = (float(part[position]) for part in references.outside[:2])
        z, limit = oracle.z_score(phi, mean, sd), float(found.limit[row])
        assert float(found.z[row]) == pytest.approx(z, abs=1e-9)
        seen, spread = (float(part[position]) for part in references.inside[:2])
        mapped = (oracle.mapped_target(phi, seen, spread, mean, sd) - mean) / sd
        most = max(limit - ROOM - SLACK / sd, 0)
        goal = mean + sd * min(max(mapped, -most), most)
        assert float(wanted[row]) == pytest.approx(goal, abs=1e-9)


def test_it_chooses_and_says_why(chosen: Chosen, base: BaseModel, indelible: Indelible) -> None:
    out, answer = chosen.out, chosen.answer
    record, rows = record_in(out), rows_of(answer)
    assert answer.code == (0 if record["is_done"] else 1), answer.err
    assert [trial["algorithm"] for trial in record["trials"]] == ["matching"] * 3 + ["retrain"]
    rates = [trial["settings"]["lr"] for trial in record["trials"][:3]]
    assert [rate / rates[1] for rate in rates] == pytest.approx([1 / 3, 1, 3])
    done = [
        trial
        for trial in record["trials"][:3]
        if [*trial["ended"]] == ["forgotten"] and trial["points_lost"] <= 1
    ]
    (kept,) = [trial for trial in record["trials"] if trial["is_kept"]]
    best = min(done, key=lambda trial: trial["points_lost"], default=record["trials"][3])
    assert kept == best
    positions = base.dataset.train.positions(IDS)
    phi, outside = phi_of(base, out, IDS), standing(base, base.state, positions)
    assert base.references is not None
    assert outside is not None
    for k, sample in enumerate(IDS):
        mean, sd = (float(part[positions[k]]) for part in base.references.outside[:2])
        row, limit = rows[sample], float(outside.limit[k])
        assert row["z"] == pytest.approx((float(phi[k]) - mean) / sd, abs=1e-4)
        assert row["z_limit"] == pytest.approx(limit)
        assert (row["ended"] == "forgotten") is (kept["algorithm"] == "matching")
        assert row["z_untouched"] == pytest.approx(float(outside.z[k]), abs=1e-6)
    weights = load_file(out / "unlearned.safetensors")
    assert record["model"]["weights_sha256"] == weights_sha256(weights)
    assert record["retraining"]["by"] == "measured"
    again = indelible(chosen.store, *words(IDS[::-1], out.parent / "again", "--retrain"))
    assert (again.out, "it was done before" in again.err) == (answer.out, True)


def test_what_no_trial_does_is_trained_away(
    store: Path, indelible: Indelible, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, real = store.parent / "out", cast("Any", unlearn_at_once)

    def spoils(base: Any, state: Any, algorithm: Any, *given: Any, target: Tensor) -> Any:
        """Weights of the other sign are of no use."""
        result = real(base, state, algorithm, *given, target=target)
        if algorithm.is_exact:
            return result
        return replace(result, params={name: -part for name, part in result.params.items()})

    monkeypatch.setattr(unlearning, "unlearn_at_once", spoils)
    answer = indelible(store, *words(IDS, out, "--max-loss", 5))
    record = record_in(out)
    assert record["model"]["is_trained_without_requests"]
    assert {row["ended"] for row in rows_of(answer).values()} == {"never_seen"}
    assert "the model was trained without any of the 5 requests" in answer.err
    assert answer.code == (0 if record["metrics"]["points_lost"] <= 5 else 1)
    without = indelible(store, *words(IDS, store.parent / "b", "--algorithm", "matching"))
    assert without.code == 1
    said = without.err.splitlines()[-1]
    assert "5 requests not forgotten: 2, 13, 42, 90, 117" in said
    assert "points of test accuracy, more than 1 (--max-loss)" in said


def test_a_stop_between_trials_loses_nothing(
    store: Path, chosen: Chosen, indelible: Indelible, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, real = list[int](), cast("Any", unlearn_at_once)

    def stops(*given: Any, target: Tensor) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*given, target=target)

    monkeypatch.setattr(unlearning, "unlearn_at_once", stops)
    command = words(IDS, store.parent / "out", "--retrain")
    assert indelible(store, *command).code == 1
    answer = indelible(store, *command)
    assert (answer.code, answer.out) == (chosen.answer.code, chosen.answer.out)
    steps = [*open_store(store).finished_runs(Kind.STEP)]
    assert len({run.tags[PARENT] for run in steps}) == 1
    assert len(calls) == len(steps) + 1
    assert not any("checkpoint" in run.tags for run in steps)


def test_without_reference_models_they_are_trained_or_the_recipe_is_asked_for(
    tmp_path: Path, base: BaseModel, indelible: Indelible
) -> None:
    store, weights = tmp_path / "store", tmp_path / "weights.pt"
    some = ("--references", 12, "--epochs", 1, "--lr", 1e-3, "--max-loss", 100)
    torch.save(base.network.state_dict(), weights)
    assert indelible(store, "train", "--from-weights", weights).code == 0
    refused = indelible(store, *words(IDS[:2], tmp_path / "out"))
    assert (refused.code, "give the recipe that trained it, --epochs" in refused.err) == (2, True)
    assert not (tmp_path / "out").exists()
    answer = indelible(store, *words(IDS[:2], tmp_path / "out", *some))
    assert answer.code in (0, 1), answer.err
    assert "training 12 reference models, once for this base model" in answer.err
    record = record_in(tmp_path / "out")
    assert record["references"]["models"] == 12
    assert record["references"]["recipe"]["epochs"] == 1
    gone = indelible(store, *words(IDS[:2], tmp_path / "b", "--algorithm", "retrain"))
    assert {row["ended"] for row in rows_of(gone).values()} == {"never_seen"}


def test_python_has_the_same_and_goes_on_another_day(chosen: Chosen, indelible: Indelible) -> None:
    store, out, before = chosen.store, chosen.out, record_in(chosen.out)
    opened = library.open(store)
    done = opened.unlearn(requests=IDS, output=out, retrain=True)
    assert done.is_done is (chosen.answer.code == 0)
    assert done.verdicts["sample_id"].tolist() == IDS
    ended = [row["ended"] for row in rows_of(chosen.answer).values()]
    assert done.verdicts["ended"].tolist() == ended
    assert done.record == before
    pickled = torch.load(out / "unlearned.pt", weights_only=True)
    assert weights_sha256(done.state_dict()) == weights_sha256(pickled)
    # It takes the place of what it goes on from.
    more = opened.unlearn(requests=[IDS[0], 159], model=done, output=out)
    assert more.verdicts["sample_id"].tolist() == [*IDS, 159]
    record = record_in(out)
    assert record["how"]["goes_on_from"] == before["run"]
    assert record["spent"]["calls"] == before["spent"]["calls"] + 1
    assert record["spent"]["seconds"] >= before["spent"]["seconds"]
    (out / "record.json").write_text("{}")
    lost = indelible(store, *words(IDS[3:], out.parent / "b", "--model", out))
    assert (lost.code, "is no record of an unlearning" in lost.err) == (2, True)


def test_training_that_fails_is_no_forgetting(
    store: Path, indelible: Indelible, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: Retrain, members: Any, step: int) -> dict[str, Tensor]:
        return {n: torch.full_like(p, torch.nan)[None] for n, p in members.base.params.items()}

    monkeypatch.setattr(Retrain, "propose", fails)
    answer = indelible(store, *words(IDS, store.parent / "out", "--algorithm", "retrain"))
    assert not {row["ended"] for row in rows_of(answer).values()} & {"never_seen"}


def test_what_is_asked_decides_which_ends_count_as_forgotten() -> None:
    """A request that the base model got wrong and this one gets right is not, until the flip."""
    said = Row(1, 0, Ended.FORGOTTEN, True, 1, 1, None, 0.1, None)
    counted = {
        (ended, is_wrong, until)
        for ended in Ended
        for is_wrong in (False, True)
        for until in ("flip", "reference")
        if replace(said, ended=ended, is_wrong_now=is_wrong).is_forgotten(until)
    }
    always = {(end, w, u) for end in ("forgotten", "never_seen") for w in (False, True)
              for u in ("flip", "reference")}  # fmt: skip
    assert counted == always | {(ended, True, "flip") for ended in Ended}
