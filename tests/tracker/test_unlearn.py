"""One model that forgets several samples: `indelible unlearn`."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import os
import signal
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow.entities import Run
from safetensors.torch import load_file
from torch import Tensor, nn

from tests.oracles.factors.membership import mia_forgotten
from tests.tracker import dying
from tests.tracker.conftest import Answer, Indelible, own_copy
from tracker.base import base_models
from tracker.face import studies
from tracker.store.driver import driving
from tracker.store.opening import open_store
from tracker.store.records import NOTE, PARENT, Kind
from tracker.store.write import Store
from tracker.studies import evidence, unlearn as forgetting, unlearn as forgotten, handover as handing
from unlearning import datasets, models
from unlearning.algorithm import Members
from unlearning.algorithms.retrain import Retrain
from unlearning.base_model import BaseModel, Origin
from unlearning.dataset import Split
from unlearning.losses import log_prob
from unlearning.models import weights_sha256
from unlearning.recipe import Recipe
from unlearning.several import unlearn_next

CPU = torch.device("cpu")


@pytest.fixture
def store(trained: Path, tmp_path: Path) -> Path:
    return own_copy(trained, tmp_path / "store")


@pytest.fixture(scope="module")
def base(trained: Path) -> BaseModel:
    return base_models.load(open_store(trained), "latest", CPU).model


@pytest.fixture(scope="module")
def ids(base: BaseModel) -> list[int]:
    """Samples that the base model gets right, not in the order of their ids."""
    right = base.train_logits.argmax(1) == base.train_labels
    found: list[int] = base.dataset.train.ids[right][[40, 3, 17, 99]].tolist()
    return found


@pytest.fixture(scope="module")
def wrong(base: BaseModel) -> int:
    """A sample that it gets wrong."""
    found = base.train_logits.argmax(1) != base.train_labels
    return int(base.dataset.train.ids[found][0])


def asked(ids: list[int], out: Path, *more: object, algorithm: str = "ga") -> tuple[object, ...]:
    samples = [word for sample in ids for word in ("--sample", sample)]
    return ("unlearn", "--algorithm", algorithm, *samples, "--output", out, *more)


def with_weights(state: dict[str, Tensor]) -> BaseModel:
    digits = datasets.load("digits")
    network = models.build("small-cnn", digits).to(next(iter(state.values())).dtype)
    network.load_state_dict(state)
    return BaseModel(network, digits, CPU)


def parents(folder: Path) -> list[Run]:
    return list(open_store(folder).finished_runs(Kind.UNLEARNING))


def steps_of(folder: Path, parent: str) -> list[Run]:
    """Its steps, in order."""
    own = f"tags.`{PARENT}` = '{parent}'"
    found = open_store(folder).finished_runs(Kind.STEP, own)
    return sorted(found, key=lambda run: run.data.tags["key"])


def rows_of(answer: Answer) -> list[dict[str, Any]]:
    assert answer.code == 0, answer.err
    rows: list[dict[str, Any]] = json.loads(answer.out)
    return rows


def test_one_model_has_forgotten_all(
    store: Path, indelible: Indelible, tmp_path: Path, base: BaseModel, ids: list[int], wrong: int
) -> None:
    out = tmp_path / "out"
    answer = indelible(store, *asked([*ids, wrong], out, "--format", "json"))
    rows = rows_of(answer)
    assert [row["sample_id"] for row in rows] == [*ids, wrong]
    assert [row["ended"] for row in rows] == ["forgotten"] * 4 + ["already_wrong"]
    assert "4 of 5 requests are forgotten" in answer.err
    assert f"nothing was unlearned of what the base model got wrong: {wrong}" in answer.err
    state = load_file(out / "unlearned.safetensors")
    pickled = torch.load(out / "unlearned.pt", weights_only=True)
    assert weights_sha256(state) == weights_sha256(pickled)
    model = with_weights(state)
    at = model.dataset.train.positions([*ids, wrong])
    labels = model.train_labels[at]
    assert (model.train_logits[at].argmax(1) != labels)[:4].all()
    prob = log_prob(model.train_logits[at], labels).exp()
    assert [row["forget_prob"] for row in rows] == pytest.approx(prob.tolist(), rel=1e-6)
    (run,) = parents(store)
    said = run.data.metrics
    accuracy = (model.test_logits.argmax(1) == model.test_labels).double().mean().item()
    assert said["after/test_accuracy"] == pytest.approx(accuracy, abs=1e-12)
    before = (base.test_logits.argmax(1) == base.test_labels).double().mean().item()
    assert said["points_lost"] == pytest.approx(100 * (before - accuracy), abs=1e-9)
    assert sum(row["points_lost"] for row in rows) == pytest.approx(said["points_lost"], abs=1e-9)
    steps = steps_of(store, run.info.run_id)
    assert sum(step.data.metrics["steps"] for step in steps) == sum(row["steps"] for row in rows)
    assert steps[-1].data.metrics["points_lost"] == pytest.approx(said["points_lost"], abs=1e-9)
    assert [s.data.tags["status"] for s in steps][4] == "already_wrong"
    assert not any("checkpoint" in step.data.tags for step in steps)
    written = list(csv.DictReader(io.StringIO((out / "requests.csv").read_text())))
    assert [int(row["sample_id"]) for row in written] == [*ids, wrong]
    readme = (out / "README.md").read_text()
    for words in ("is no proof", run.info.run_id, f"--sample {ids[0]}", "unlearning_gap"):
        assert words in readme
    before_again = {path: path.read_bytes() for path in out.iterdir()}
    again = indelible(store, *asked([*ids, wrong], out, "--format", "json"))
    assert again.out == answer.out
    assert {path: path.read_bytes() for path in out.iterdir()} == before_again


def test_numbers_of_the_evidence_follow_from_their_definition(
    store: Path, indelible: Indelible, tmp_path: Path, base: BaseModel, ids: list[int]
) -> None:
    assert indelible(store, *asked(ids, tmp_path / "out")).code == 0
    said = parents(store)[0].data.metrics
    model = with_weights(load_file(tmp_path / "out" / "unlearned.safetensors"))
    for when, of in (("before", base), ("after", model)):
        at = of.dataset.train.positions(ids).tolist()
        train = log_prob(of.train_logits, of.train_labels)
        test = log_prob(of.test_logits, of.test_labels)
        rest = [k for k in range(len(of.train_labels)) if k not in at]
        right = sum(int(of.train_logits[k].argmax()) == int(of.train_labels[k]) for k in rest)
        assert said[f"{when}/remaining_accuracy"] == pytest.approx(right / len(rest))
        assert said[f"{when}/requests_loss"] == pytest.approx(-float(train[at].mean()), rel=1e-6)
        unseen, losses = [], []
        for position in at:
            label = int(of.train_labels[position])
            members = [float(train[k].exp()) for k in rest if int(of.train_labels[k]) == label]
            of_class = test[of.test_labels == label]
            prob = float(train[position].exp())
            unseen.append(mia_forgotten(members, of_class.exp().tolist(), prob))
            losses.append(-float(of_class.mean()))
        assert said[f"{when}/called_unseen"] == pytest.approx(sum(unseen) / len(unseen))
        assert said[f"{when}/classes_loss"] == pytest.approx(sum(losses) / len(losses), rel=1e-6)


def test_copies_are_told_of_however_samples_are_named(
    store: Path,
    indelible: Indelible,
    tmp_path: Path,
    ids: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def twins(split: Split, asked: Sequence[int]) -> dict[int, list[int]]:
        return {asked[0]: [ids[1]]}

    monkeypatch.setattr("unlearning.requests.twins", twins)
    (tmp_path / "ids.txt").write_text(str(ids[0]))
    by_file = asked([], tmp_path / "out", "--sample-ids", tmp_path / "ids.txt")
    by_name = asked([], tmp_path / "out", "--requests", tmp_path / "ids.txt")
    for words in (asked(ids[:1], tmp_path / "out"), by_file, by_name):
        answer = indelible(store, *words)
        assert answer.code == 0, answer.err
        assert answer.err.count(f"{ids[0]} is also {ids[1]}") == 1


def test_it_is_done_once(
    store: Path, indelible: Indelible, tmp_path: Path, ids: list[int], wrong: int
) -> None:
    first = indelible(store, *asked(ids, tmp_path / "out", "--format", "csv"))
    (tmp_path / "requests.txt").write_text("\n".join(map(str, ids)))
    by_file = ("--requests", tmp_path / "requests.txt", "--format", "csv")
    again = indelible(store, *asked([], tmp_path / "out", *by_file))
    other = indelible(store, *asked(ids, tmp_path / "other", "--format", "csv"))
    assert first.out == again.out == other.out
    assert "it was done before" not in first.err
    assert "it was done before" in again.err
    assert first.err.splitlines()[-2:-1] == again.err.splitlines()[-2:-1]
    names = ("unlearned.safetensors", "unlearned.pt", "requests.csv", "README.md")
    for name in names:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "other" / name).read_bytes()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(names)
    assert len(parents(store)) == 1
    taken = indelible(store, *asked([*ids, wrong], tmp_path / "out"))
    assert taken.code == 2
    assert "of something else: give another --output" in taken.err


def test_a_folder_that_another_unlearning_takes_meanwhile(
    store: Path,
    indelible: Indelible,
    tmp_path: Path,
    ids: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    weights, find = tmp_path / "out" / handing.WEIGHTS, forgotten.find

    def taken(*given: Any) -> Any:
        weights.write_bytes(handing.as_safetensors({}, "another"))
        return find(*given)

    monkeypatch.setattr(studies, "find", taken)
    answer = indelible(store, *asked(ids, tmp_path / "out"))
    assert answer.code == 2
    assert "of something else: give another --output" in answer.err
    assert [*weights.parent.iterdir()] == [weights]
    monkeypatch.undo()
    assert "done before" in indelible(store, *asked(ids, tmp_path / "other")).err
    assert len(parents(store)) == 1
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "README.md").write_text("mine")
    assert indelible(store, *asked(ids, tmp_path / "mine")).code == 2
    assert (tmp_path / "mine" / "README.md").read_text() == "mine"


@pytest.mark.slow
def test_other_commands_are_content_with_the_store(
    store: Path, indelible: Indelible, tmp_path: Path, ids: list[int]
) -> None:
    out = tmp_path / "out"
    assert indelible(store, *asked(ids[:2], out)).code == 0
    assert indelible(store, "sweep", "--algorithm", "ga", "--sample", ids[0]).code == 0
    assert indelible(store, "load").code == 0
    check = indelible(store, "check")
    assert check.code == 0, check.out + check.err
    counted = indelible(store, "sql", "select count(*) as n from runs", "--format", "json")
    assert json.loads(counted.out) == [{"n": 1}]
    assert len(json.loads(indelible(store, "sweeps", "--format", "json").out)) == 1
    assert indelible(store, "prune", "--yes").code == 0
    (run,) = parents(store)
    paths = [tmp_path / "back.safetensors", tmp_path / "back.pt"]
    for reference, path in zip((run.info.run_id, run.info.run_name), paths, strict=True):
        answer = indelible(store, "restore", reference, "--output", path)
        assert answer.code == 0, answer.err
    restored = [load_file(paths[0]), torch.load(paths[1], weights_only=True)]
    own = weights_sha256(load_file(out / "unlearned.safetensors"))
    assert [weights_sha256(state) for state in restored] == [own, own]
    name = f"ga-{ids[0]:05d}"
    both = indelible(store, "restore", run.info.run_id, name, "--output", tmp_path / "both")
    assert both.code == 0, both.err
    files = sorted(path.name for path in (tmp_path / "both").iterdir())
    assert files == sorted([f"{run.info.run_name}.safetensors", f"{name}.safetensors"])
    folder = indelible(store, "restore", name, "--output", tmp_path / "both")
    assert (folder.code, "is a folder" in folder.err) == (2, True)
    file = indelible(store, "restore", name, run.info.run_id, "--output", paths[0])
    assert (file.code, "File exists" in file.err) == (2, True)
    merged = indelible(tmp_path / "merged", "merge", store)
    assert merged.code == 0, merged.err
    assert "1 unlearning," in merged.err
    weights = next((store / "artifacts").glob(f"*/{run.info.run_id}/artifacts/checkpoint-*"))
    weights.write_bytes(b"lost")
    assert "unlearning" in indelible(store, "check").out


@pytest.mark.slow
def test_easy_and_hard_follow_the_prediction(
    store: Path, indelible: Indelible, tmp_path: Path, ids: list[int]
) -> None:
    predict = ("predict", "--algorithm", "ga", *(w for s in ids for w in ("--sample", s)))
    predicted = json.loads(indelible(store, *predict, "--format", "json").out)
    hardest = [row["sample_id"] for row in sorted(predicted, key=lambda row: row["gt"])]
    for order, expected in (("hard", hardest), ("easy", hardest[::-1]), ("given", ids)):
        answer = indelible(
            store, *asked(ids, tmp_path / order, "--order", order, "--format", "json")
        )
        assert [row["sample_id"] for row in rows_of(answer)] == expected
    again = indelible(store, *asked(ids[::-1], tmp_path / "hard", "--order", "hard"))
    assert "it was done before" in again.err
    answer = indelible(
        store, *asked(ids, tmp_path / "out", "--order", "easy", algorithm="influence")
    )
    assert answer.code == 2
    assert "which samples are easy for influence is not known beforehand" in answer.err
    begun = open_store(store).runs(["1"], f"tags.kind = '{Kind.UNLEARNING}'")
    assert {run.info.status for run in begun} == {"FINISHED"}


def test_all_at_once(store: Path, indelible: Indelible, tmp_path: Path, ids: list[int]) -> None:
    how = ("--order", "together", "--format", "json")
    rows = rows_of(indelible(store, *asked(ids, tmp_path / "out", *how, algorithm="neggrad")))
    assert {row["ended"] for row in rows} == {"forgotten"}
    assert {row["points_lost"] for row in rows} == {None}
    (run,) = parents(store)
    (step,) = steps_of(store, run.info.run_id)
    assert {row["steps"] for row in rows} == {step.data.metrics["steps"]}
    model = with_weights(load_file(tmp_path / "out" / "unlearned.safetensors"))
    at = model.dataset.train.positions(ids)
    assert (model.train_logits[at].argmax(1) != model.train_labels[at]).all()


@pytest.mark.slow
def test_retraining_is_the_reference_of_itself(
    store: Path, indelible: Indelible, tmp_path: Path, ids: list[int], wrong: int
) -> None:
    how = ("--order", "together", "--reference")
    answer = indelible(store, *asked([*ids, wrong], tmp_path / "out", *how, algorithm="retrain"))
    assert answer.code == 0, answer.err
    assert "trained without the requests: test accuracy" in answer.err
    assert "the model was trained without any of the 5 requests" in answer.err
    said = parents(store)[0].data.metrics
    assert said["unlearning_gap"] == pytest.approx(0, abs=1e-6)
    assert said["untouched_gap"] > 1e-3
    assert said["reference_test_accuracy"] == pytest.approx(said["after/test_accuracy"])
    assert said["reference_requests_accuracy"] == pytest.approx(said["after/requests_accuracy"])
    assert said["rounds"] == 1
    assert "and 5 were never seen" in parents(store)[0].data.tags[NOTE]


def test_files_are_there_before_the_reference_is(
    store: Path,
    indelible: Indelible,
    tmp_path: Path,
    ids: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stops(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(studies, "reference", stops)
    answer = indelible(store, *asked(ids[:1], tmp_path / "out", "--reference"))
    assert answer.code == 1
    assert len([*(tmp_path / "out").iterdir()]) == 4
    monkeypatch.setattr(studies, "reference", lambda *_: dict.fromkeys(REFERENCE, 0.5))
    assert indelible(store, *asked(ids[:1], tmp_path / "out", "--reference")).code == 0
    assert '"unlearning_gap": 0.5' in (tmp_path / "out" / "README.md").read_text()


REFERENCE = (
    "reference_test_accuracy",
    "reference_requests_accuracy",
    "unlearning_gap",
    "untouched_gap",
)


class Tied(nn.Module):
    """A network of which one parameter has two names."""

    def __init__(self, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        self.first, self.again = nn.Linear(math.prod(shape), 8), nn.Linear(8, 8)
        self.last = nn.Linear(8, 8)
        self.last.weight = self.again.weight
        self.head = nn.Linear(8, classes)

    def forward(self, images: Tensor) -> Tensor:
        hidden = self.first(images.flatten(1)).relu()
        logits: Tensor = self.head(self.last(self.again(hidden).relu()))
        return logits


def test_the_reference_takes_the_state_dict_of_tied_weights() -> None:
    arch, digits = f"module:{__name__}:Tied", datasets.load("digits")
    few = dataclasses.replace(digits, train=digits.train.draw(60), test=digits.test.draw(40))
    origin = Origin(arch, Recipe(epochs=1, batch_size=32))
    tied = BaseModel(models.build(arch, few, 1), few, CPU, origin)
    state = {name: tensor.clone() for name, tensor in tied.network.state_dict().items()}
    assert state.keys() > tied.params.keys()
    found = evidence.reference(tied, state, torch.tensor([0, 1]))
    assert found["unlearning_gap"] == pytest.approx(found["untouched_gap"], rel=1e-6)
    assert found["untouched_gap"] > 0


def test_training_that_fails_leaves_the_base_model_which_saw_them_all(
    store: Path,
    indelible: Indelible,
    tmp_path: Path,
    ids: list[int],
    wrong: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(self: Retrain, members: Members, step: int) -> dict[str, Tensor]:
        return {n: torch.full_like(p, torch.nan)[None] for n, p in members.base.params.items()}

    monkeypatch.setattr(Retrain, "propose", fails)
    how = ("--order", "together", "--format", "json")
    asks = asked([*ids[:2], wrong], tmp_path / "out", *how, algorithm="retrain")
    answer = indelible(store, *asks)
    assert [row["ended"] for row in rows_of(answer)] == ["remembered"] * 2 + ["already_wrong"]
    assert "0 of 3 requests are forgotten; NOT forgotten:" in answer.err
    assert "trained without" not in answer.err
    assert answer.code == 0
    strict = indelible(store, *asks, "--strict")
    assert (strict.code, strict.out) == (1, answer.out)
    assert strict.err.splitlines()[-1] == (
        f"indelible: the model gets 2 requests right: {ids[0]}, {ids[1]}"
    )


Next = Callable[..., Any]


def stopping(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Have the user press Ctrl-C after so many steps."""
    calls = 0

    def stops(*given: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > after:
            raise KeyboardInterrupt
        return unlearn_next(*given)

    monkeypatch.setattr(forgetting, "unlearn_next", stops)


def test_it_goes_on_where_it_stopped(
    store: Path,
    indelible: Indelible,
    tmp_path: Path,
    ids: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = own_copy(store, tmp_path / "whole")
    expected = indelible(whole, *asked(ids, tmp_path / "whole-out", "--format", "csv"))
    for _ in range(2):
        stopping(monkeypatch, 1)
        answer = indelible(store, *asked(ids, tmp_path / "out", "--format", "csv"))
        assert answer.code == 1
        assert "the same command goes on where it stopped" in answer.err
        assert parents(store) == []
        assert list((tmp_path / "out").iterdir()) == []
    (begun,) = open_store(store).runs(["1"], f"tags.kind = '{Kind.UNLEARNING}'")
    assert begun.info.status == "KILLED"
    steps = steps_of(store, begun.info.run_id)
    assert ["checkpoint" in step.data.tags for step in steps] == [False, True]
    assert indelible(store, "load").code == 0
    assert indelible(store, "check").code == 0
    monkeypatch.undo()
    answer = indelible(store, *asked(ids, tmp_path / "out", "--format", "csv"))
    assert (answer.code, answer.out) == (0, expected.out)
    same = [(tmp_path / name / "unlearned.pt").read_bytes() for name in ("out", "whole-out")]
    assert same[0] == same[1]


def test_weights_that_a_dead_process_did_not_let_go_of_are_let_go_of(
    store: Path,
    indelible: Indelible,
    tmp_path: Path,
    ids: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Store, "drop_checkpoint", dies)
    assert indelible(store, *asked(ids[:3], tmp_path / "out")).code == 1
    (begun,) = open_store(store).runs(["1"], f"tags.kind = '{Kind.UNLEARNING}'")
    steps = steps_of(store, begun.info.run_id)
    assert ["checkpoint" in step.data.tags for step in steps] == [True, True]
    monkeypatch.undo()
    assert indelible(store, *asked(ids[:3], tmp_path / "out")).code == 0
    steps = steps_of(store, begun.info.run_id)
    assert not any("checkpoint" in step.data.tags for step in steps)
    (kept,) = (store / "artifacts").rglob("checkpoint-*")
    assert kept.parent.parent.name == begun.info.run_id


@pytest.mark.slow
def test_with_the_last_weights_lost_it_begins_anew(
    store: Path,
    indelible: Indelible,
    tmp_path: Path,
    ids: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stopping(monkeypatch, 2)
    assert indelible(store, *asked(ids, tmp_path / "out")).code == 1
    (lost,) = (store / "artifacts").rglob("checkpoint-*")
    lost.unlink()
    monkeypatch.undo()
    answer = indelible(store, *asked(ids, tmp_path / "out"))
    assert answer.code == 0, answer.err
    (run,) = parents(store)
    first = [s for s in steps_of(store, run.info.run_id) if s.data.params["round"] == "1"]
    assert [step.data.params["place"] for step in first] == ["1", "2", "3", "4"]


def test_two_processes_are_not_at_one(
    store: Path,
    indelible: Indelible,
    tmp_path: Path,
    ids: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stopping(monkeypatch, 1)
    assert indelible(store, *asked(ids[:2], tmp_path / "out")).code == 1
    monkeypatch.undo()
    kept = open_store(store)
    (begun,) = kept.runs(["1"], f"tags.kind = '{Kind.UNLEARNING}'")
    with driving(kept, begun.info.run_id, "it"):
        refused = indelible(store, *asked(ids[:2], tmp_path / "out"))
    assert refused.code == 2
    assert f"process {os.getpid()} on {socket.gethostname()} drives unlearning" in refused.err
    assert indelible(store, *asked(ids[:2], tmp_path / "out")).code == 0


@pytest.mark.faults
@pytest.mark.parametrize(
    ("moment", "chance"),
    [("commit", 1), ("commit", 2), ("transaction", 9), ("artifact", 3), ("disk", 6), ("disk", 11)],
)
def test_a_kill_changes_nothing(
    store: Path, indelible: Indelible, tmp_path: Path, ids: list[int], moment: str, chance: int
) -> None:
    whole = own_copy(store, tmp_path / "whole")
    expected = indelible(whole, *asked(ids, tmp_path / "whole-out", "--format", "csv"))
    words = [str(word) for word in asked(ids, tmp_path / "out")]
    code, _ = dying.started(store, moment, chance, words).ended()
    assert code == -signal.SIGKILL
    assert indelible(store, "load").code == 0
    check = indelible(store, "check", "--format", "json")
    assert {row["audit"] for row in json.loads(check.out)} <= {"orphan_folder", "stray_file"}
    answer = indelible(store, *asked(ids, tmp_path / "out", "--format", "csv"))
    assert (answer.code, answer.out) == (0, expected.out)
    same = [(tmp_path / name / "unlearned.pt").read_bytes() for name in ("out", "whole-out")]
    assert same[0] == same[1]


def test_what_is_remembered_again_is_unlearned_again(
    store: Path,
    indelible: Indelible,
    tmp_path: Path,
    ids: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Steps that begin with the base model's weights undo what the steps before them did."""

    def undoing(base: BaseModel, state: Any, *given: Any) -> Any:
        return unlearn_next(base, base.state, *given)

    monkeypatch.setattr(forgetting, "unlearn_next", undoing)
    first, second = ids[:2]
    how = ("--rounds", 2, "--format", "json")
    answer = indelible(store, *asked([first, second], tmp_path / "out", *how))
    rows = rows_of(answer)
    assert [(row["ended"], row["rounds"]) for row in rows] == [("remembered", 2), ("forgotten", 2)]
    told = [line for line in answer.err.splitlines() if "requests are forgotten" in line]
    assert told[0].startswith(f"1 of 2 requests are forgotten; NOT forgotten: {first}")
    (run,) = parents(store)
    places = [
        (s.data.params["round"], s.data.params["place"]) for s in steps_of(store, run.info.run_id)
    ]
    assert places == [("1", "1"), ("1", "2"), ("2", "1"), ("2", "2")]


def test_what_was_wrong_and_is_right_now_is_told(
    store: Path, indelible: Indelible, tmp_path: Path, base: BaseModel, ids: list[int]
) -> None:
    """Steps of this kind go on learning from the remaining data."""
    found = base.train_logits.argmax(1) != base.train_labels
    wrong = base.dataset.train.ids[found][:20].tolist()
    how = ("--set", "neggrad.alpha=1", "--set", "neggrad.lr=0.003", "--rounds", 1)
    asks = asked([ids[0], *wrong], tmp_path / "out", *how, "--format", "json", algorithm="neggrad")
    answer = indelible(store, *asks)
    rows = {row["sample_id"]: row for row in rows_of(answer)}
    model = with_weights(load_file(tmp_path / "out" / "unlearned.safetensors"))
    at = model.dataset.train.positions(wrong)
    right = (model.train_logits[at].argmax(1) == model.train_labels[at]).tolist()
    learned = [str(sample) for sample, is_right in zip(wrong, right, strict=True) if is_right]
    assert learned
    assert [rows[sample]["is_wrong_now"] for sample in wrong] == [not each for each in right]
    assert {rows[sample]["ended"] for sample in wrong} == {"already_wrong"}
    assert f"of these the unlearned model gets right: {', '.join(learned[:10])}" in answer.err
    readme = (tmp_path / "out" / "README.md").read_text()
    assert f"of these this model gets right: {', '.join(learned)}\n" in readme


def test_what_is_forgotten_already_takes_no_step(
    store: Path, indelible: Indelible, tmp_path: Path, ids: list[int], base: BaseModel
) -> None:
    """At such a rate the first step takes many others with it."""
    how = ("--set", "ga.lr=0.05", "--format", "json", "--max-loss", 1)
    answer = indelible(store, *asked(ids, tmp_path / "out", *how))
    rows = rows_of(answer)
    none = [row["sample_id"] for row in rows if not row["steps"]]
    assert none
    for row in rows:
        assert row["ended"] == ("misclassified" if row["sample_id"] in none else "forgotten")
        assert row["is_wrong_now"]
    assert f"{4 - len(none)} of 4 requests are forgotten" in answer.err
    words = f"misclassified after steps for others alone: {', '.join(map(str, none))}"
    assert words in answer.err
    assert words in (tmp_path / "out" / "README.md").read_text()
    assert "the model is damaged: it lost more than 1 points" in answer.err
    (run,) = parents(store)
    said = run.data.metrics
    assert (said["forgotten"], said["misclassified"]) == (4 - len(none), len(none))
    assert f"{len(none)} are misclassified after steps for others alone" in run.data.tags[NOTE]
    steps = steps_of(store, run.info.run_id)
    statuses = {int(s.data.tags["sample_id"]): s.data.tags["status"] for s in steps}
    assert [sample for sample, how in statuses.items() if how == "misclassified"] == none


@pytest.mark.slow
def test_it_is_registered_once(
    store: Path, indelible: Indelible, tmp_path: Path, ids: list[int]
) -> None:
    how = ("--register", "forgets")
    for _ in range(2):
        answer = indelible(store, *asked(ids[:2], tmp_path / "out", *how))
        assert answer.code == 0, answer.err
        assert "registered as version 1 of forgets" in answer.err
    client = open_store(store).client
    (version,) = client.search_model_versions("name = 'forgets'")
    (run,) = parents(store)
    assert (str(version.version), version.run_id) == ("1", run.info.run_id)
    folder = Path(client.get_model_version_download_uri("forgets", "1").removeprefix("file://"))
    own = load_file(tmp_path / "out" / "unlearned.safetensors")
    assert weights_sha256(load_file(folder / "unlearned.safetensors")) == weights_sha256(own)
    assert indelible(store, "load").code == 0
    assert indelible(store, "check").code == 0
    bad = indelible(store, *asked(ids[:2], tmp_path / "out", "--register", "a/b"))
    assert (bad.code, "takes a name without / and :" in bad.err) == (2, True)


@pytest.mark.slow
def test_float64_comes_back_to_the_last_bit(
    store: Path, indelible: Indelible, tmp_path: Path, ids: list[int]
) -> None:
    how = ("--precision", "float64")
    assert indelible(store, *asked(ids[:2], tmp_path / "out", *how)).code == 0
    state = load_file(tmp_path / "out" / "unlearned.safetensors")
    assert {tensor.dtype for tensor in state.values()} == {torch.float64}
    (run,) = parents(store)
    assert weights_sha256(state) == run.data.tags["weights_sha256"]
    assert indelible(store, *asked(ids[:2], tmp_path / "out", *how)).code == 0
    assert indelible(store, "load").code == 0
    assert indelible(store, "check").code == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--algorithm", "ga"), "name what is to be forgotten"),
        (("--algorithm", "ga", "--algorithm", "ft", "--sample", "1"), "is given 2 times"),
        (("--algorithm", "retrain", "--sample", "2"), "give --order together"),
        (
            ("--algorithm", "scrub_r", "--sample", "2", "--order", "together"),
            "scrub_r unlearns one sample at a time: those that unlearn several at once are",
        ),
        (("--algorithm", "ga", "--sample", "99999"), "is not a training sample"),
        (("--algorithm", "ga", "--sample", "2", "--sample", "2"), "given more than once"),
        (("--algorithm", "ga", "--sample", "2", "--rounds", "0"), "--rounds"),
        (("--algorithm", "nope", "--sample", "1"), "nope"),
    ],
)
def test_a_mistake_is_one_line(
    store: Path, indelible: Indelible, tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    answer = indelible(store, "unlearn", *words, "--output", tmp_path / "out")
    assert answer.code == 2, answer.err
    assert said in answer.err.splitlines()[-1]
    assert not (tmp_path / "out").exists()
    assert parents(store) == []
