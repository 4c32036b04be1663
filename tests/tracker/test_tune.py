"""Settings are looked for through the command line: runs, the file, killed ones, and mistakes."""

from __future__ import annotations

import csv
import io
import json
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow.entities import Run

from tests.tracker.conftest import Answer, AnyStore, Indelible, opened, own_copy
from tests.tracker.test_damage import one_line
from tracker.base import base_models
from tracker.base.workers import Threads
from tracker.store.bulk import SqlStore
from tracker.store.opening import open_store
from tracker.store.records import Kind
from tracker.store.write import Store
from tracker.studies import trials, tune as tuned, tune as tuning
from tracker.sweep.choosing import draw_samples, misclassified
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


def content(path: Path) -> list[str]:
    """A preset's lines but those that tell of the run, the day and the version."""
    return [line for line in path.read_text("utf-8").splitlines() if "tuning" not in line]


def refuse_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a trial that was there is made again")

    monkeypatch.setattr(trials.Attempts, "__call__", refuse)


@pytest.mark.slow
def test_the_tuning_and_its_trials_are_runs(store: Path) -> None:
    (run,) = runs(store, Kind.TUNING)
    assert run.info.status == "FINISHED"
    own = runs(store, Kind.TRIAL)
    assert {trial.data.tags["mlflow.parentRunId"] for trial in own} == {run.info.run_id}
    assert {trial.info.status for trial in own} == {"FINISHED"}
    assert len({trial.data.tags["key"] for trial in own}) == len(own) >= 10
    for trial in own:
        assert set(trial.data.metrics) == {"flip_rate", "points_lost", "prob_lost", "seconds"}
        samples = int(trial.data.params["samples"])
        assert samples == 6 or (samples == 5 and trial.data.metrics["flip_rate"] < 0.5)
    best = {
        name: min(
            (
                t
                for t in own
                if t.data.params["algorithm"] == name and t.data.params["samples"] == "6"
            ),
            key=lambda t: (
                t.data.metrics["flip_rate"] < 0.95,
                -t.data.metrics["flip_rate"] if t.data.metrics["flip_rate"] < 0.95 else 0,
                t.data.metrics["points_lost"],
                t.data.metrics["prob_lost"],
            ),
        )
        for name in ("ga", "salun")
    }
    for name, trial in best.items():
        for metric in ("flip_rate", "points_lost", "prob_lost"):
            assert run.data.metrics[f"{name}/{metric}"] == trial.data.metrics[metric]
    kept = presets.load(str(store.parent / "mine.toml"))
    assert set(kept) == {"ga", "salun"}
    for name, settings in kept.items():
        logged = best[name].data.params
        assert {n: logged[n] for n in settings} == {n: str(v) for n, v in settings.items()}


def test_nobody_takes_them_for_something_else(
    store: Path, indelible: Indelible, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert rows(indelible(store, "sweeps", "--format", "json")) == []
    assert len(rows(indelible(store, "models", "--format", "json"))) == 1
    assert indelible(store, "load").code == 0
    for table in ("attempts", "sweeps", "outcomes"):
        counts = rows(
            indelible(store, "sql", f"select count(*) as n from {table}", "--format=json")
        )
        assert counts == [{"n": 0}]
    assert indelible(store, "check").code == 0
    assert "nothing" in indelible(store, "prune").err
    assert runs(store, Kind.MEMBER) == []
    merged = indelible(store.parent / "merged", "merge", store)
    assert merged.code == 0, merged.err
    assert "1 tuning," in merged.err
    refuse_work(monkeypatch)  # the merged store has all trials
    again = store.parent / "again.toml"
    assert indelible(store.parent / "merged", *BOTH, "--output", again).code == 0
    assert again.read_bytes() == (store.parent / "mine.toml").read_bytes()


def test_called_again_it_finds_all_and_writes_the_same_file(
    store: Path, indelible: Indelible, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, before = store.parent / "mine.toml", len(runs(store, Kind.TRIAL))
    first = path.read_bytes()
    path.unlink()
    refuse_work(monkeypatch)
    monkeypatch.setenv("COLUMNS", "80")
    for style in ("json", "csv", "table"):
        answer = indelible(store, *BOTH, "--output", path, "--format", style)
        assert answer.code == 0, answer.err
        assert path.read_bytes() == first
        if style == "json":
            (ga, salun) = json.loads(answer.out)
        elif style == "csv":
            found = list(csv.DictReader(io.StringIO(answer.out)))
            assert [json.loads(row["settings"]) for row in found] == [
                ga["settings"],
                salun["settings"],
            ]
        else:
            assert max(map(len, answer.out.splitlines())) <= 80
            assert "salun" in answer.out
    assert (len(runs(store, Kind.TRIAL)), len(runs(store, Kind.TUNING))) == (before, 1)
    assert [run.info.status for run in runs(store, Kind.TUNING)] == ["FINISHED"]
    assert tomllib.loads(first.decode())["ga"] == ga["settings"]
    assert (ga["flip_rate"] < 0.95, -ga["flip_rate"]) <= (
        ga["shipped_flip_rate"] < 0.95,
        -ga["shipped_flip_rate"],
    )


def test_more_trials_go_on_from_those_that_are_there(store: Path, indelible: Indelible) -> None:
    before = {run.info.run_id for run in runs(store, Kind.TRIAL)}
    more = ("tune", "--algorithm", "ga", "--samples", 6, "--trials", 7)
    assert indelible(store, *more, "--output", store.parent / "more.toml").code == 0
    new = [run for run in runs(store, Kind.TRIAL) if run.info.run_id not in before]
    assert {run.data.params["algorithm"] for run in new} == {"ga"}
    assert 1 <= len(new) <= 3  # two more, and one of them perhaps on all samples
    assert len(runs(store, Kind.TUNING)) == 2


def test_a_sweep_takes_the_file(store: Path, indelible: Indelible) -> None:
    path = store.parent / "mine.toml"
    chosen = ("sweep", "--algorithm", "ga", "--algorithm", "neggrad", "--sample", 2)
    answer = indelible(store, *chosen, "--preset", path)
    assert answer.code == 0, answer.err
    said = next(line for line in answer.err.splitlines() if line.startswith("preset"))
    assert said.startswith("preset mine.toml: asked for, with SHA-256 ")
    lacks = "; it says nothing of neggrad: defaults, not what preset digits has for neggrad"
    assert said.endswith(lacks)
    (sweep,) = runs(store, Kind.SWEEP)
    assert sweep.data.params["preset"] == "mine.toml"
    assert said == f"preset mine.toml: {sweep.data.params['preset_reason']}"
    found = {run.data.params["algorithm"]: run.data.params for run in runs(store, Kind.MEMBER)}
    for name, value in presets.load(str(path))["ga"].items():
        assert found["ga"][name] == str(value)
    assert found["neggrad"]["lr"] == "0.0001"
    settings = presets.load(str(path))["ga"].items()
    changes = [word for name, v in settings for word in ("--set", f"ga.{name}={v}")]
    same = ("sweep", "--algorithm", "ga", "--sample", 2, "--preset", "paper", *changes)
    assert indelible(store, *same).code == 0
    assert len(runs(store, Kind.MEMBER)) == 2  # the same settings, the same key
    shown = ("predict", "--algorithm", "ga", "--samples", 2, "--preset", path)
    assert "preset mine.toml" in indelible(store, *shown).err


@pytest.mark.slow
def test_a_killed_tuning_goes_on(
    store: Path,
    trained: Path,
    tmp_path: Path,
    indelible: Indelible,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, path = own_copy(trained, tmp_path / "killed"), tmp_path / "killed.toml"
    write, made = trials.Ledger.write, list[Any]()

    def die(ledger: trials.Ledger, *rest: Any) -> None:
        if len(made) == 4:
            raise KeyboardInterrupt
        made.append(rest)
        write(ledger, *rest)

    monkeypatch.setattr(trials.Ledger, "write", die)
    answer = indelible(folder, *BOTH, "--output", path)
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.splitlines()[-1].endswith("the same command goes on where it stopped")
    assert not path.exists()
    assert [run.info.status for run in runs(folder, Kind.TUNING)] == ["KILLED"]
    monkeypatch.setattr(trials.Ledger, "write", write)
    assert indelible(folder, *BOTH, "--output", path).code == 0
    assert [run.info.status for run in runs(folder, Kind.TUNING)] == ["FINISHED"]
    keys = [sorted(r.data.tags["key"] for r in runs(s, Kind.TRIAL)) for s in (store, folder)]
    assert keys[0] == keys[1]
    assert content(path)[1:] == content(store.parent / "mine.toml")[1:]


@pytest.mark.parametrize("kind", [Store, SqlStore])
def test_every_way_of_writing_has_the_same_trials(
    kind: type[AnyStore], store: Path, trained: Path, tmp_path: Path
) -> None:
    own_copy(trained, tmp_path / "other")
    kept = opened(kind, tmp_path / "other")
    base = base_models.load(kept, "latest", torch.device("cpu"))
    todo = tuning.tasks(["ga"], (), 5)
    ids = trials_of(store)
    made = [tuning.tune(kept, base, todo, ids, 0, Threads(1)) for _ in range(2)]
    assert made[0].found == made[1].found
    (run,) = runs(tmp_path / "other", Kind.TUNING)
    assert (run.info.run_id, run.info.status) == (made[0].run.info.run_id, "FINISHED")
    others = [r for r in runs(store, Kind.TRIAL) if r.data.params["algorithm"] == "ga"]
    own = runs(tmp_path / "other", Kind.TRIAL)

    def told(some: list[Run]) -> list[Any]:
        return sorted(
            (r.data.tags["key"], r.data.params, {**r.data.metrics, "seconds": 0}) for r in some
        )

    assert [key for key, *_ in told(own)] == [key for key, *_ in told(others)]
    for one, other in zip(told(own), told(others), strict=True):
        assert one[1] == other[1]
        assert one[2] == pytest.approx(other[2], abs=1e-6)  # of two workers, or one


def trials_of(store: Path) -> list[int]:
    """The samples of the tuning, in the order of being tried."""
    (run,) = runs(store, Kind.TUNING)
    (path,) = (store / "artifacts").rglob(f"{run.info.run_id}/artifacts/samples.txt")
    return [int(word) for word in path.read_text().split()]


def test_samples_are_right_and_not_those_that_are_left_out(
    store: Path, tmp_path: Path, indelible: Indelible
) -> None:
    base = base_models.load(open_store(store), "latest", torch.device("cpu")).model
    ids, tried = base.dataset.train.ids.tolist(), trials_of(store)
    assert not misclassified(base) & set(tried)
    assert not set(draw_samples(ids, 500, 0)) & set(tried)  # a sweep's of the same seed
    (tmp_path / "out.txt").write_text(" ".join(map(str, tried[:4])))
    words = ("tune", "--algorithm", "ga", "--samples", 2, "--trials", 1)
    out = ("--leave-out-samples", tmp_path / "out.txt", "--output", tmp_path / "o.toml")
    assert indelible(store, *words, *out).code == 0
    (newest, _) = runs(store, Kind.TUNING)
    (path,) = (store / "artifacts").rglob(f"{newest.info.run_id}/artifacts/samples.txt")
    assert [int(word) for word in path.read_text().split()] == tried[4:6]


def test_nothing_flips_and_it_is_said(trained: Path, tmp_path: Path, indelible: Indelible) -> None:
    folder, path = own_copy(trained, tmp_path / "s"), tmp_path / "none.toml"
    fixed = ("--set", "ga.max_steps=1", "--set", "ga.lr=1e-9", "--trials", 3, "--samples", 2)
    answer = indelible(folder, "tune", "--algorithm", "ga", *fixed, "--output", path)
    assert answer.code == 0, answer.err
    given = "max_steps=1, lr=1e-09"
    kept = f"it keeps its defaults, with {given}"
    assert f"ga: nothing that was tried flips a sample; {kept}" in answer.err
    assert f"ga: what is shipped was tried with {given} as well, not as it is" in answer.err
    assert presets.load(str(path)) == {"ga": {"max_steps": 1, "lr": 1e-9}}
    assert f"none flips a sample; {kept}" in path.read_text()
    assert f"#   preset digits, changed to {given}: flips 0%" in path.read_text()


def test_imported_weights_are_tuned_and_retraining_is_left_as_it_is(
    store: Path, tmp_path: Path, indelible: Indelible
) -> None:
    (weights,) = (store / "artifacts").rglob("weights-*.safetensors")
    other = tmp_path / "imported"
    assert indelible(other, "train", "--from-weights", weights).code == 0
    words = ("tune", "--algorithm", "retrain", "--algorithm", "ga", "--samples", 2, "--trials", 2)
    given = ("--set", "ft.lr=0.5", "--set", "ft.optimizer=sgd")  # and so nothing is searched
    answer = indelible(other, *words, "--algorithm", "ft", *given, "--output", tmp_path / "w.toml")
    assert answer.code == 0, answer.err
    assert "retrain has nothing to search" in answer.err
    assert f"w.toml {' '.join(given)} --samples 100" in answer.err
    assert set(presets.load(str(tmp_path / "w.toml"))) <= {"ga"}
    sweep = ("sweep", "--algorithm", "ga", "--sample", 2, "--preset")
    for folder in (store, other):  # the same weights
        answer = indelible(folder, *sweep, tmp_path / "w.toml")
        assert "tuned for another base model" not in answer.err
    small = ("train", "--arch", "mlp", "--epochs", 1, "--train-samples", 50)
    assert indelible(other, *small).code == 0
    forecast = ("predict", "--algorithm", "ga", "--samples", 1, "--preset")
    answer = indelible(other, *forecast, tmp_path / "w.toml")
    assert "; it was tuned for another base model" in answer.err


REFUSED: dict[str, tuple[tuple[object, ...], str]] = {
    "too many samples": (("--samples", 5000), "5000 samples are asked for"),
    "no samples": (("--samples", 0), "--samples"),
    "no trials": (("--trials", 0), "--trials"),
    "unknown algorithm": (("--algorithm", "gaa"), "did you mean 'ga'"),
    "nothing to search": (("--set", "ga.lr=1", "--set", "ga.optimizer=sgd"), "nothing to search"),
    "a change of another": (("--set", "salun.lr=1"), "--set salun.lr=1"),
    "a change that is refused": (("--set", "ga.lr=-1"), "accepted is > 0"),
    "no such model": (("--model", "nobody"), "there is no base model 'nobody'"),
}


@pytest.mark.parametrize(("options", "said"), REFUSED.values(), ids=REFUSED)
def test_mistakes_are_one_line(
    tuned_store: Path, tmp_path: Path, indelible: Indelible, options: tuple[object, ...], said: str
) -> None:
    path = tmp_path / "x.toml"
    answer = indelible(tuned_store, "tune", "--algorithm", "ga", *options, "--output", path)
    one_line(answer, said)
    assert answer.out == ""
    assert not path.exists()
    assert len(runs(tuned_store, Kind.TUNING)) == 1


def test_a_file_that_is_somebody_elses_stays(
    tuned_store: Path, tmp_path: Path, indelible: Indelible
) -> None:
    (tmp_path / "own.toml").write_text("[ga]\nlr = 1.0\n")
    words = ("tune", "--algorithm", "ga", "--samples", 2, "--output")
    one_line(indelible(tuned_store, *words, tmp_path / "own.toml"), "not written by")
    assert (tmp_path / "own.toml").read_text() == "[ga]\nlr = 1.0\n"
    one_line(indelible(tuned_store, *words, tmp_path / "own.txt"), "ends in .toml")
    one_line(indelible(tuned_store, *words, tmp_path / "no" / "own.toml"), "no folder")


def test_odd_names_make_no_odd_file(store: Path) -> None:
    kept = open_store(store)
    base = base_models.load(kept, "latest", torch.device("cpu"))
    todo = tuning.tasks(["ga", "salun"], (), 5)
    made = tuning.tune(kept, base, todo, trials_of(store), 0)
    vars(made.run.data)  # of MLflow's: no field is ours
    made.run.data.params["dataset"] = 'a\n[ga]\nlr = 1 \x00"\udcff'
    text = tuned.as_toml(made, base).decode()
    assert tomllib.loads(text) == tomllib.loads((store.parent / "mine.toml").read_text("utf-8"))
