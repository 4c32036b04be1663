"""One model that forgets several samples: `indelible unlearn`."""

from __future__ import annotations

import dataclasses
import json
import signal
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from tests.oracles.factors.membership import mia_forgotten
from tests.tracker import dying
from tests.tracker.conftest import Answer, Indelible, own_copy
from tracker.base import base_models
from tracker.store.opening import open_store
from tracker.store.records import NOTE, PARENT, Kind, Run
from tracker.studies import unlearn as unlearning
from unlearning import datasets, models
from unlearning.algorithms.retrain import left_out_models
from unlearning.base_model import BaseModel
from unlearning.losses import log_prob
from unlearning.models import weights_sha256
from unlearning.several import unlearn_next

CPU = torch.device("cpu")
MonkeyPatch = pytest.MonkeyPatch
JSON = ("--format", "json")


@dataclasses.dataclass
class Case:
    """A store with a base model, samples of it, and the commands to call on it.

    Attributes:
        folder: beside the store, where models are handed over. ids: samples that the base model
            gets right, not in the order of their ids. wrong: others.
    """

    folder: Path
    base: BaseModel
    ids: list[int]
    wrong: list[int]
    indelible: Indelible

    @property
    def store(self) -> Path:
        return self.folder / "store"

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def parents(self, status: str = "FINISHED") -> list[Run]:
        asked = f"tags.kind = '{Kind.UNLEARNING}' and attributes.status = '{status}'"
        return list(open_store(self.store).runs(["1"], asked))

    def steps(self, parent: Run) -> list[Run]:
        """Its steps, in order."""
        own = f"tags.`{PARENT}` = '{parent.run_id}'"
        found = open_store(self.store).finished_runs(Kind.STEP, own)
        return sorted(found, key=lambda run: run.tags["key"])

    def call(self, *words: object) -> Answer:
        return self.indelible(self.store, *words)

    def unlearn(self, ids: list[int], *more: object, out: str = "out", **named: Any) -> Answer:
        return self.call(*words(ids, self.folder / out, *more, **named))


@pytest.fixture(scope="module")
def base(trained: Path) -> BaseModel:
    return base_models.load(open_store(trained), "latest", CPU).model


@pytest.fixture
def case(trained: Path, tmp_path: Path, base: BaseModel, indelible: Indelible) -> Case:
    own_copy(trained, tmp_path / "store")
    is_right = base.train_logits.argmax(1) == base.train_labels
    right, wrong = (base.dataset.train.ids[some] for some in (is_right, ~is_right))
    ids = right[[40, 3, 17, 99]].tolist()
    return Case(tmp_path, base, ids, wrong[:20].tolist(), indelible)


def words(ids: list[int], out: Path, *more: object, algorithm: str = "ga") -> tuple[Any, ...]:
    samples = [word for sample in ids for word in ("--sample", sample)]
    how = ("--until", "flip", *(() if "--max-loss" in more else ("--max-loss", 100)))
    return ("unlearn", "--algorithm", algorithm, *samples, "--output", out, *how, *more)


def unlearned(folder: Path) -> BaseModel:
    """The model that was handed over."""
    state = load_file(folder / "unlearned.safetensors")
    digits = datasets.load("digits")
    network = models.build("small-cnn", digits)
    network.load_state_dict(state)
    return BaseModel(network, digits, CPU)


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def evidence(of: BaseModel, ids: list[int]) -> dict[str, float]:
    """What is said of requests beside a model, by its definition."""
    at = of.dataset.train.positions(ids).tolist()
    train = log_prob(of.train_logits, of.train_labels)
    test = log_prob(of.test_logits, of.test_labels)
    rest = [k for k in range(len(of.train_labels)) if k not in at]
    right = sum(int(of.train_logits[k].argmax()) == int(of.train_labels[k]) for k in rest)
    unseen, losses = [], []
    for position in at:
        label = int(of.train_labels[position])
        members = [float(train[k].exp()) for k in rest if int(of.train_labels[k]) == label]
        of_class = test[of.test_labels == label]
        prob = float(train[position].exp())
        unseen.append(mia_forgotten(members, of_class.exp().tolist(), prob))
        losses.append(-float(of_class.mean()))
    return {
        "remaining_accuracy": right / len(rest),
        "requests_loss": -float(train[at].mean()),
        "called_unseen": sum(unseen) / len(unseen),
        "classes_loss": sum(losses) / len(losses),
    }


def test_one_model_has_forgotten_all(case: Case) -> None:
    asked, out = [*case.ids, case.wrong[0]], case.out
    answer = case.unlearn(asked, *JSON)
    rows = json.loads(answer.out)
    is_done = all(row["is_wrong_now"] for row in rows)
    assert answer.code == (0 if is_done else 1), answer.err
    assert [row["sample_id"] for row in rows] == asked
    assert [row["ended"] for row in rows] == ["forgotten"] * 4 + ["already_wrong"]
    assert "4 of 5 requests are forgotten" in answer.err
    assert f"nothing was unlearned of what the base model got wrong: {case.wrong[0]}" in answer.err
    model, pickled = unlearned(out), torch.load(out / "unlearned.pt", weights_only=True)
    assert weights_sha256(model.network.state_dict()) == weights_sha256(pickled)
    at = model.dataset.train.positions(asked)
    labels = model.train_labels[at]
    assert (model.train_logits[at].argmax(1) != labels)[:4].all()
    prob = log_prob(model.train_logits[at], labels).exp()
    assert [row["forget_prob"] for row in rows] == pytest.approx(prob.tolist(), rel=1e-6)
    (run,) = case.parents()
    said, steps = run.metrics, case.steps(run)
    accuracy, before = (
        (m.test_logits.argmax(1) == m.test_labels).double().mean().item()
        for m in (model, case.base)
    )
    assert said["after/test_accuracy"] == pytest.approx(accuracy, abs=1e-12)
    assert said["points_lost"] == pytest.approx(100 * (before - accuracy), abs=1e-9)
    assert sum(row["points_lost"] for row in rows) == pytest.approx(said["points_lost"], abs=1e-9)
    assert sum(step.metrics["steps"] for step in steps) == sum(row["steps"] for row in rows)
    assert steps[-1].metrics["points_lost"] == pytest.approx(said["points_lost"], abs=1e-9)
    assert not any("checkpoint" in step.tags for step in steps)
    for when, of in (("before", case.base), ("after", model)):
        expected = evidence(of, asked)
        found = {name: said[f"{when}/{name}"] for name in expected}
        assert found == pytest.approx(expected, rel=1e-6)
    first = files_in(out)
    names = {"requests.csv", "record.json", "record.html"}
    assert first.keys() == {"unlearned.safetensors", "unlearned.pt", *names}
    assert run.run_id in first["record.html"].decode()
    record = json.loads(first["record.json"])
    assert record["is_done"] is is_done
    assert record["model"]["weights_sha256"] == weights_sha256(pickled)

    (case.folder / "requests.txt").write_text("\n".join(map(str, asked)))
    again = case.unlearn([], "--requests", case.folder / "requests.txt", *JSON, out="other")
    assert (again.out, "it was done before" in again.err) == (answer.out, True)
    assert files_in(case.folder / "other") == files_in(out) == first
    taken = case.unlearn(case.ids)
    assert (taken.code, "of something else: give another --output" in taken.err) == (2, True)
    assert files_in(out) == first


@pytest.mark.slow
def test_other_commands_are_content_with_the_store(case: Case) -> None:
    for _ in range(2):
        answer = case.unlearn(case.ids[:2], "--register", "forgets", "--precision", "float64")
        assert answer.code == 0, answer.err
        assert "registered as version 1 of forgets" in answer.err
    (run,) = case.parents()
    state = load_file(case.out / "unlearned.safetensors")
    own = weights_sha256(state)
    assert {tensor.dtype for tensor in state.values()} == {torch.float64}
    assert own == run.tags["weights_sha256"]
    for command in (("load",), ("check",), ("prune", "--yes")):
        assert case.call(*command).code == 0, command
    assert json.loads(case.call("sweeps", *JSON).out) == []
    path = case.folder / "restored.safetensors"
    assert case.call("restore", run.run_id, "--output", path).code == 0
    assert weights_sha256(load_file(path)) == own
    weights = next((case.store / "artifacts").glob(f"*/{run.run_id}/artifacts/checkpoint-*"))
    weights.write_bytes(b"lost")
    assert "unlearning" in case.call("check").out


@pytest.mark.slow
def test_retraining_needs_no_reference_models(case: Case) -> None:
    asked = [*case.ids, case.wrong[0]]
    samples = [word for sample in asked for word in ("--sample", sample)]
    how = ("--algorithm", "retrain", "--output", case.out)
    answer = case.call("unlearn", *samples, *how)
    assert answer.code == 0, answer.err
    assert "the model was trained without any of the 5 requests" in answer.err
    (run,) = case.parents()
    said, model = run.metrics, unlearned(case.out)
    assert (said["rounds"], said["never_seen"]) == (1, 5)
    assert "and 5 were never seen" in run.tags[NOTE]
    positions = model.dataset.train.positions(asked)
    alone = left_out_models(case.base, positions[None])
    own = {name: part[0] for name, part in alone.items()}
    for name, tensor in model.params.items():
        torch.testing.assert_close(tensor, own[name])


def test_it_goes_on_where_it_stopped(case: Case, monkeypatch: MonkeyPatch) -> None:
    calls = 0

    def stops(*given: Any, target: Tensor | None) -> Any:
        nonlocal calls
        calls += 1
        if calls > 2:
            raise KeyboardInterrupt
        return cast("Any", unlearn_next)(*given, target=target)

    whole = own_copy(case.store, case.folder / "whole")
    expected = case.indelible(whole, *words(case.ids, case.folder / "whole-out", "--format", "csv"))
    monkeypatch.setattr(unlearning, "unlearn_next", stops)
    answer = case.unlearn(case.ids)
    assert answer.code == 1
    assert "the same command goes on where it stopped" in answer.err
    assert (case.parents(), files_in(case.out)) == ([], {})
    next((case.store / "artifacts").rglob("requests.json")).unlink()  # as if not written yet
    (begun,) = case.parents("KILLED")
    assert ["checkpoint" in step.tags for step in case.steps(begun)] == [False, True]
    monkeypatch.undo()
    (last,) = (case.store / "artifacts").rglob("checkpoint-*")
    last.rename(last.with_name("away"))
    lost = case.unlearn(case.ids)
    assert (lost.code, "delete run" in lost.err.splitlines()[-1]) == (2, True)
    last.with_name("away").rename(last)
    answer = case.unlearn(case.ids, "--format", "csv")
    assert (answer.code, answer.out) == (0, expected.out)
    name = "unlearned.pt"
    assert files_in(case.out)[name] == files_in(case.folder / "whole-out")[name]


@pytest.mark.faults
@pytest.mark.parametrize(("moment", "chance"), [("transaction", 9), ("disk", 11)])
def test_a_kill_changes_nothing(case: Case, moment: str, chance: int) -> None:
    whole = own_copy(case.store, case.folder / "whole")
    expected = case.indelible(whole, *words(case.ids, case.folder / "whole-out", "--format", "csv"))
    command = [str(word) for word in words(case.ids, case.out)]
    code, _ = dying.started(case.store, moment, chance, command).ended()
    assert code == -signal.SIGKILL
    assert case.call("load").code == 0
    check = case.call("check", *JSON)
    assert {row["audit"] for row in json.loads(check.out)} <= {"orphan_folder", "stray_file"}
    answer = case.unlearn(case.ids, "--format", "csv")
    assert (answer.code, answer.out) == (0, expected.out)
    name = "unlearned.pt"
    assert files_in(case.out)[name] == files_in(case.folder / "whole-out")[name]


def test_what_is_remembered_again_is_unlearned_again(case: Case, monkeypatch: MonkeyPatch) -> None:
    """Steps that begin with the base model's weights undo what the steps before them did."""

    def undoing(base: BaseModel, state: Any, *given: Any, target: Tensor | None) -> Any:
        return cast("Any", unlearn_next)(base, base.state, *given, target=target)

    monkeypatch.setattr(unlearning, "unlearn_next", undoing)
    answer = case.unlearn(case.ids[:2], "--rounds", 2, *JSON)
    rows = [(row["ended"], row["rounds"]) for row in json.loads(answer.out)]
    assert rows == [("remembered", 2), ("forgotten", 2)]
    assert answer.code == 1
    assert f"1 request not forgotten: {case.ids[0]}" in answer.err
    steps = [run.params for run in case.steps(case.parents()[0])]
    assert [(step["round"], step["place"]) for step in steps] == [*zip("1122", "1212", strict=True)]


def test_what_is_forgotten_already_takes_no_step(case: Case) -> None:
    """At such a rate the first step takes many others with it."""
    answer = case.unlearn(case.ids, "--set", "ga.lr=0.05", *JSON, "--max-loss", 1)
    assert answer.code == 1
    rows = json.loads(answer.out)
    none = [row["sample_id"] for row in rows if not row["steps"]]
    assert none
    for row in rows:
        assert row["ended"] == ("misclassified" if row["sample_id"] in none else "forgotten")
        assert row["is_wrong_now"]
    assert "points of test accuracy, more than 1 (--max-loss)" in answer.err
    (run,) = case.parents()
    said = run.metrics
    assert (said["forgotten"], said["misclassified"]) == (4 - len(none), len(none))


def test_a_mistake_is_one_line(case: Case) -> None:
    for given, said in (
        (("ga", "--order", "given"), "name what is to be forgotten"),
        (("retrain", "--sample", "2", "--order", "given"), "give --order together"),
        (("scrub_r", "--sample", "2", "--order", "together"), "scrub_r unlearns one sample at"),
        (("ga", "--sample", "99999"), "is not a training sample"),
    ):
        how = ("--until", "flip", "--output", case.out)
        answer = case.call("unlearn", "--algorithm", *given, *how)
        assert answer.code == 2, answer.err
        assert said in answer.err.splitlines()[-1]
        assert not (case.out).exists()
    assert case.parents() == []
