"""Settings are looked for through the command line: runs, the file, killed ones, and mistakes."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tracker.conftest import Answer, Indelible, own_copy
from tests.tracker.test_damage import one_line
from tracker.base import base_models
from tracker.store.opening import open_store
from tracker.store.records import Kind, Run
from tracker.studies import tune
from tracker.sweep.choosing import misclassified
from unlearning import presets

FEW = ("--samples", 6, "--trials", 5)
BOTH = ("tune", "--algorithm", "ga", "--algorithm", "salun", *FEW)


@pytest.fixture(scope="module")
def tuned_store(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a tuning of two algorithms, and the file beside it."""
    from tracker.cli import run

    folder = own_copy(trained, tmp_path_factory.mktemp("tuned") / "store")
    words = [*BOTH, "--output", folder.parent / "mine.toml"]
    assert run(["--store", str(folder), *map(str, words)]) == 0
    return folder


@pytest.fixture
def store(tuned_store: Path, tmp_path: Path) -> Path:
    """A copy of one's own, with its file."""
    shutil.copy(tuned_store.parent / "mine.toml", tmp_path / "mine.toml")
    return own_copy(tuned_store, tmp_path / "store")


def runs(store: Path, kind: Kind) -> list[Run]:
    kept = open_store(store)
    ids = [experiment.experiment_id for experiment in kept.experiments()]
    return list(kept.runs(ids, f"tags.kind = '{kind}'"))


def rows(answer: Answer) -> list[dict[str, Any]]:
    assert answer.code == 0, answer.err
    found: list[dict[str, Any]] = json.loads(answer.out)
    return found


def refuse_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tune, "attempts", None)  # no trial that is there is made again


def test_the_tuning_and_its_trials_are_runs(store: Path) -> None:
    (run,) = runs(store, Kind.TUNING)
    own = runs(store, Kind.TRIAL)
    assert {trial.status for trial in (run, *own)} == {"FINISHED"}
    assert {trial.tags["mlflow.parentRunId"] for trial in own} == {run.run_id}
    assert len({trial.tags["key"] for trial in own}) == len(own) >= 10
    kept = presets.load(str(store.parent / "mine.toml"))
    assert set(kept) == {"ga", "salun"}
    for name, settings in kept.items():
        of_it = [trial for trial in own if trial.params["algorithm"] == name]
        best = min((t for t in of_it if t.params["samples"] == "6"), key=rank)
        for metric in ("flip_rate", "points_lost", "prob_lost"):
            assert run.metrics[f"{name}/{metric}"] == best.metrics[metric]
        logged = best.params
        assert {n: logged[n] for n in settings} == {n: str(v) for n, v in settings.items()}
    for trial in own:
        assert set(trial.metrics) == {"flip_rate", "points_lost", "prob_lost", "seconds"}
        samples = int(trial.params["samples"])
        assert samples == 6 or (samples == 5 and trial.metrics["flip_rate"] < 0.5)


def rank(trial: Run) -> tuple[float, ...]:
    flips, lost, prob = (trial.metrics[n] for n in ("flip_rate", "points_lost", "prob_lost"))
    return (0, 0, lost, prob) if flips >= 0.95 else (1, -flips, lost, prob)


def test_called_again_it_finds_all_and_writes_the_same_file(
    store: Path, indelible: Indelible, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, before = store.parent / "mine.toml", len(runs(store, Kind.TRIAL))
    first = path.read_bytes()
    refuse_work(monkeypatch)
    (ga, _) = rows(indelible(store, *BOTH, "--output", path, "--format", "json"))
    assert path.read_bytes() == first
    assert tomllib.loads(first.decode())["ga"] == ga["settings"]
    assert (len(runs(store, Kind.TRIAL)), len(runs(store, Kind.TUNING))) == (before, 1)
    monkeypatch.undo()
    more = ("tune", "--algorithm", "ga", "--samples", 6, "--trials", 7)
    assert indelible(store, *more, "--output", store.parent / "more.toml").code == 0
    new = runs(store, Kind.TRIAL)[: len(runs(store, Kind.TRIAL)) - before]
    assert {run.params["algorithm"] for run in new} == {"ga"}
    assert 1 <= len(new) <= 3  # two more, and one of them perhaps on all samples
    assert len(runs(store, Kind.TUNING)) == 2


def test_a_sweep_takes_the_file(store: Path, indelible: Indelible) -> None:
    path = store.parent / "mine.toml"
    chosen = ("sweep", "--algorithm", "ga", "--algorithm", "neggrad", "--sample", 2)
    answer = indelible(store, *chosen, "--preset", path)
    assert answer.code == 0, answer.err
    said = next(line for line in answer.err.splitlines() if line.startswith("preset"))
    assert said.startswith("preset mine.toml: asked for, with SHA-256 ")
    assert said.endswith("; it says nothing of neggrad: defaults")
    (sweep,) = runs(store, Kind.SWEEP)
    assert said == "preset {preset}: {preset_reason}".format(**sweep.params)
    settings = presets.load(str(path))["ga"].items()
    (member, _) = sorted(runs(store, Kind.MEMBER), key=lambda run: run.name)
    assert {n: str(v) for n, v in settings}.items() <= member.params.items()


@pytest.mark.slow
def test_a_killed_tuning_goes_on(
    store: Path,
    trained: Path,
    tmp_path: Path,
    indelible: Indelible,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, path = own_copy(trained, tmp_path / "killed"), tmp_path / "killed.toml"
    write, made = tune.Trials._write, list[Any]()

    def die(trials: Any, trial: Any) -> None:
        if len(made) == 4:
            raise KeyboardInterrupt
        made.append(trial)
        write(trials, trial)

    monkeypatch.setattr(tune.Trials, "_write", die)
    answer = indelible(folder, *BOTH, "--output", path)
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.splitlines()[-1].endswith("the same command goes on where it stopped")
    assert not path.exists()
    assert [run.status for run in runs(folder, Kind.TUNING)] == ["KILLED"]
    monkeypatch.undo()
    assert indelible(folder, *BOTH, "--output", path).code == 0
    assert [run.status for run in runs(folder, Kind.TUNING)] == ["FINISHED"]
    keys = [sorted(r.tags["key"] for r in runs(s, Kind.TRIAL)) for s in (store, folder)]
    assert keys[0] == keys[1]
    assert presets.load(str(path)) == presets.load(str(store.parent / "mine.toml"))


def samples_of(store: Path, tuning: Run) -> list[int]:
    """The samples of a tuning, in the order of being tried."""
    (path,) = (store / "artifacts").rglob(f"{tuning.run_id}/artifacts/samples.txt")
    return [int(word) for word in path.read_text().split()]


def test_samples_are_right_and_not_those_that_are_left_out(
    store: Path, tmp_path: Path, indelible: Indelible
) -> None:
    base = base_models.load(open_store(store), "latest", torch.device("cpu")).model
    tried = samples_of(store, runs(store, Kind.TUNING)[0])
    assert not misclassified(base) & set(tried)
    (tmp_path / "out.txt").write_text(" ".join(map(str, tried[:4])))
    words = ("tune", "--algorithm", "ga", "--samples", 2, "--trials", 1)
    out = ("--leave-out-samples", tmp_path / "out.txt", "--output", tmp_path / "o.toml")
    assert indelible(store, *words, *out).code == 0
    assert samples_of(store, runs(store, Kind.TUNING)[0]) == tried[4:6]


def test_mistakes_are_one_line(tuned_store: Path, tmp_path: Path, indelible: Indelible) -> None:
    (tmp_path / "own.toml").write_text("[ga]\nlr = 1.0\n")
    path = tmp_path / "x.toml"
    for options, said in (
        (("--samples", 5000), "5000 samples are asked for"),
        (("--trials", 0), "--trials"),
        (("--set", "ga.lr=1", "--set", "ga.optimizer=sgd"), "nothing to search"),
        (("--set", "salun.lr=1"), "--set salun.lr=1"),
        (("--output", "no/own.toml"), "no folder"),
        (("--output", "own.txt"), "ends in .toml"),
        (("--output", tmp_path / "own.toml"), "not written by"),
    ):
        answer = indelible(tuned_store, "tune", "--algorithm", "ga", "--output", path, *options)
        one_line(answer, said)
        assert (answer.out, path.exists()) == ("", False)
    assert len(runs(tuned_store, Kind.TUNING)) == 1
    assert (tmp_path / "own.toml").read_text() == "[ga]\nlr = 1.0\n"
