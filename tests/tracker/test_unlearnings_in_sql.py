"""Unlearnings and tunings as relations: every value against what MLflow's client says."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import Run

from analysis.warehouse import open_warehouse
from tests.analysis.test_shells import old_shell
from tests.tracker.conftest import Indelible, own_copy
from tracker.access.artifacts import Damaged
from tracker.base import base_models
from tracker.cli import run as call
from tracker.reading import loading
from tracker.record.opening import open_reader, open_store
from tracker.sweeping import evidence, forgetting
from tracker.sweeping.asked import read_rows

RELATIONS = ("unlearnings", "unlearning_steps", "unlearning_requests", "trials")
TUNE = ("tune", "--algorithm", "ga", "--samples", 3, "--trials", 3)
BOTH = (*TUNE, "--algorithm", "ft", "--set", "ft.max_steps=2")

EVIDENCE = [f"{what}_accuracy" for what in ("test", "remaining", "requests")]
EVIDENCE += ["requests_loss", "classes_loss", "called_unseen"]
WHEN = ("before", "after")

Row = dict[str, Any]


def indelibly(folder: Path, *words: object) -> int:
    return call(["--store", str(folder), *map(str, words)])


class PowerCut(BaseException):
    """What stops an unlearning."""


def stop_after_a_step(folder: Path, *words: object) -> None:
    """Call a command that stops when it is about to take its second step."""
    real = forgetting._Course._take

    def take(course: Any, round_: int, place: int) -> None:
        if course.taken:
            raise PowerCut
        real(course, round_, place)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forgetting._Course, "_take", take)
        with pytest.raises(PowerCut):
            indelibly(folder, *words)


def unlearn(ids: Iterable[int], out: Path, algorithm: str = "ga") -> tuple[object, ...]:
    samples = [word for sample in ids for word in ("--sample", sample)]
    return ("unlearn", "--algorithm", algorithm, *samples, "--output", out)


@pytest.fixture(scope="module")
def ids(trained: Path) -> list[int]:
    """Samples that the base model gets right, and, the last one, wrong."""
    base = base_models.load(open_store(trained), "latest", torch.device("cpu")).model
    is_right = base.train_logits.argmax(1) == base.train_labels
    right, wrong = (base.dataset.train.ids[some].tolist() for some in (is_right, ~is_right))
    return [right[40], right[3], right[17], wrong[0]]


@pytest.fixture(scope="module")
def filled(trained: Path, tmp_path_factory: pytest.TempPathFactory, ids: list[int]) -> Path:
    """Two tunings of which one took over a trial, and three unlearnings, one of them stopped."""
    root = tmp_path_factory.mktemp("filled")
    folder = own_copy(trained, root / "store")
    assert indelibly(folder, *TUNE, "--output", root / "one.toml") == 0
    assert indelibly(folder, *BOTH, "--output", root / "both.toml") == 0
    assert indelibly(folder, *unlearn(ids, root / "a"), "--register", "ours") == 0
    together = (*unlearn(ids[:2], root / "b", "neggrad"), "--order", "together", "--seed", 7)
    assert indelibly(folder, *together, "--register", "theirs, too") == 0
    assert indelibly(folder, *together, "--register", "ours") == 0
    stop_after_a_step(folder, *unlearn(ids[:2], root / "c"), "--set", "ga.lr=0.0002")
    assert indelibly(folder, "load") == 0
    return folder


@pytest.fixture
def store(filled: Path, tmp_path: Path) -> Path:
    return own_copy(filled, tmp_path / "store")


def relations(path: Path) -> dict[str, list[Row]]:
    """What the warehouse says."""
    with open_warehouse(path) as warehouse:
        return {name: warehouse.query(f"from {name}").records() for name in RELATIONS}


# The oracle: runs as MLflow's client gives them, one by one.


class Client:
    def __init__(self, folder: Path) -> None:
        self.client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
        ids = [experiment.experiment_id for experiment in self.client.search_experiments()]
        self.runs = list(self.client.search_runs(ids, max_results=1000))

    def of(self, kind: str) -> list[Run]:
        return [run for run in self.runs if run.data.tags.get("kind") == kind]

    def children(self, kind: str, parent: str) -> list[Run]:
        found = [r for r in self.of(kind) if r.data.tags["mlflow.parentRunId"] == parent]
        return [run for run in found if run.info.status == "FINISHED"]

    def table(self, run: Run) -> list[dict[str, str]]:
        folder = Path(run.info.artifact_uri.removeprefix("file://"))
        return list(csv.DictReader(io.StringIO((folder / "requests.csv").read_text("utf-8"))))

    def names(self, run: Run) -> str | None:
        found = self.client.search_model_versions(f"run_id = '{run.info.run_id}'")
        return ", ".join(sorted({version.name for version in found})) or None


def at(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).replace(tzinfo=None)


def seconds(runs: Iterable[Run]) -> float:
    return float(sum(run.info.end_time - run.info.start_time for run in runs)) / 1000


def whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def unlearnings_of(client: Client) -> list[Row]:
    rows = []
    (base,) = client.of("base_model")
    for run in client.of("unlearning"):
        params, tags, said = run.data.params, run.data.tags, run.data.metrics
        name = params["algorithm"]
        both = {f"{what}_{when}": said.get(f"{when}/{what}") for what in EVIDENCE for when in WHEN}
        rows.append(
            {
                "unlearning_id": run.info.run_id,
                "unlearning": run.info.run_name,
                "unlearning_status": run.info.status,
                "base_run_id": params["base_run_id"],
                "base_model": base.info.run_name,
                "dataset": params["dataset"],
                "data_fingerprint": tags["data_fingerprint"],
                "arch": params["arch"],
                "algorithm": name,
                "provider": None,
                "settings": {
                    key.removeprefix(f"{name}."): value
                    for key, value in params.items()
                    if key.startswith(f"{name}.")
                },
                "preset": params.get("preset"),
                "engine_version": int(params["engine_version"]),
                "precision": params["precision"],
                "seed": int(params["seed"]),
                "request_order": params["order"],
                "max_rounds": int(params["rounds"]),
                "requests": int(params["samples"]),
                **{
                    end: whole(said.get(end))
                    for end in ("forgotten", "remembered", "already_wrong", "never_seen")
                },
                "rounds_taken": whole(said.get("rounds")),
                "total_steps": whole(said.get("steps")),
                "test_points_lost": said.get("points_lost"),
                **both,
                "reference_test_accuracy": said.get("reference_test_accuracy"),
                "reference_requests_accuracy": said.get("reference_requests_accuracy"),
                "reference_gap_before": said.get("untouched_gap"),
                "reference_gap_after": said.get("unlearning_gap"),
                "registered_as": client.names(run),
                "unlearning_started_at": at(run.info.start_time),
                "unlearning_s": seconds(client.children("unlearning_step", run.info.run_id)),
                "experiment_id": run.info.experiment_id,
            }
        )
    return rows


def steps_of(client: Client) -> list[Row]:
    rows = []
    for parent in client.of("unlearning"):
        own = client.children("unlearning_step", parent.info.run_id)
        own.sort(key=lambda run: [int(run.data.params[name]) for name in ("round", "place")])
        for number, run in enumerate(own, start=1):
            params, tags, said = run.data.params, run.data.tags, run.data.metrics
            sample = tags.get("sample_id")
            rows.append(
                {
                    "unlearning_id": parent.info.run_id,
                    "run_id": run.info.run_id,
                    "step_number": number,
                    "round": int(params["round"]),
                    "request_place": int(params["place"]),
                    "step_requests": int(params["samples"]),
                    "sample_id": None if sample is None else int(sample),
                    "step_status": tags["status"],
                    "optimiser_steps": int(said["steps"]),
                    "forget_prob_before": said["forget_prob_before"],
                    "forget_prob_after": said["forget_prob"],
                    "step_test_accuracy": said["test_accuracy"],
                    "step_points_lost": said["points_lost_by_step"],
                    "points_lost_so_far": said["points_lost"],
                    "still_remembered": int(said["remembered"]),
                    "step_started_at": at(run.info.start_time),
                    "step_s": seconds([run]),
                }
            )
    return rows


def requests_of(client: Client) -> list[Row]:
    return [
        {
            "unlearning_id": run.info.run_id,
            "request_place": place,
            "sample_id": int(row["sample_id"]),
            "label": int(row["label"]),
            "sample_path": row["sample_path"],
            "ended": row["ended"],
            "is_wrong_now": row["forgotten"] == "True",
            "request_rounds": int(row["rounds"]),
            "request_steps": int(row["steps"]),
            "request_points_lost": float(row["points_lost"]) if row["points_lost"] else None,
            "final_forget_prob": float(row["forget_prob"]),
        }
        for run in client.of("unlearning")
        if run.info.status == "FINISHED"
        for place, row in enumerate(client.table(run), start=1)
    ]


def best_of(trials: Iterable[Run]) -> Run:
    """What a tuning is to take, by the words of its manual."""
    most = max(int(run.data.params["samples"]) for run in trials)

    def rank(run: Run) -> tuple[float, ...]:
        flips, lost, prob = (run.data.metrics[n] for n in ("flip_rate", "points_lost", "prob_lost"))
        return (0, 0, lost, prob) if flips >= 0.95 else (1, -flips, lost, prob)

    return min((run for run in trials if int(run.data.params["samples"]) == most), key=rank)


def trials_of(client: Client) -> list[Row]:
    rows = []
    every = client.of("trial")
    for tuning in client.of("tuning"):
        chosen = {}
        for name in tuning.data.params["algorithms"].split(","):
            best = best_of([run for run in every if run.data.params["algorithm"] == name])
            if best.data.metrics["flip_rate"]:
                chosen[name] = best.info.run_id
        for run in every:
            params, said, own = run.data.params, run.data.metrics, run.data.tags
            maker = own["mlflow.parentRunId"]
            if maker != tuning.info.run_id and run.info.run_id not in chosen.values():
                continue
            no_settings = ("algorithm", "samples", "seed", "engine_version", "precision")
            rows.append(
                {
                    "tuning_id": tuning.info.run_id,
                    "tuning": tuning.info.run_name,
                    "trial_id": run.info.run_id,
                    "tried_by": maker,
                    "base_run_id": tuning.data.params["base_run_id"],
                    "dataset": tuning.data.params["dataset"],
                    "arch": tuning.data.params["arch"],
                    "algorithm": params["algorithm"],
                    "provider": None,
                    "settings": {n: v for n, v in params.items() if n not in no_settings},
                    "engine_version": int(params["engine_version"]),
                    "precision": params["precision"],
                    "seed": int(params["seed"]),
                    "trial_samples": int(params["samples"]),
                    "flip_rate": said["flip_rate"],
                    "mean_points_lost": said["points_lost"],
                    "mean_prob_lost": said["prob_lost"],
                    "is_chosen": run.info.run_id in chosen.values(),
                    "trial_s": said["seconds"],
                    "tried_at": at(run.info.end_time),
                }
            )
    return rows


def said_by_the_client(folder: Path) -> dict[str, list[Row]]:
    client = Client(folder)
    made = (unlearnings_of, steps_of, requests_of, trials_of)
    return {name: rows(client) for name, rows in zip(RELATIONS, made, strict=True)}


def assert_all_is_said(folder: Path) -> dict[str, list[Row]]:
    """That the warehouse has what the client says: the same rows, and each value of them."""
    found, expected = relations(folder / "analysis.duckdb"), said_by_the_client(folder)
    for name, rows in expected.items():
        assert {len(rows), len(found[name])} == {len(rows)}, name
        for row in rows:
            assert row in found[name], name
            assert [*row] == [*found[name][0]]
    return found


def test_every_value_is_what_the_client_says(filled: Path, ids: list[int]) -> None:
    found = assert_all_is_said(filled)
    stopped, *done = sorted(found["unlearnings"], key=lambda row: row["unlearning_status"][::-1])
    statuses = [row["unlearning_status"] for row in (stopped, *done)]
    assert sorted(statuses) == ["FINISHED", "FINISHED", "KILLED"]
    names = {row["registered_as"] for row in found["unlearnings"]}
    assert names == {None, "ours", "ours, theirs, too"}
    assert [row["sample_id"] for row in found["unlearning_requests"]].count(ids[0]) == 2
    assert {row["step_requests"] for row in found["unlearning_steps"]} == {1, 2}
    assert "already_wrong" in {row["step_status"] for row in found["unlearning_steps"]}


def test_a_tuning_that_took_over_a_trial_says_so(filled: Path) -> None:
    rows = relations(filled / "analysis.duckdb")["trials"]
    (first,) = {row["tuning_id"] for row in rows if row["tuning"] == "tuning-ga"}
    taken = [row for row in rows if row["is_chosen"] and row["algorithm"] == "ga"]
    assert len({row["trial_id"] for row in taken}) == 1
    assert [row["tried_by"] for row in taken] == [first] * 2
    assert len({row["tuning_id"] for row in taken}) == 2
    assert len({(row["tuning_id"], row["trial_id"]) for row in rows}) == len(rows)


def test_relations_join_naturally(filled: Path) -> None:
    """What has one name is the same, so that nothing of a row is lost and none is doubled."""
    with open_warehouse(filled / "analysis.duckdb") as warehouse:

        def count(query: str) -> int:
            ((n,),) = warehouse.query(f"select count(*) from {query}").rows
            return int(n)

        assert count("unlearning_steps natural join unlearnings") == count("unlearning_steps") > 4
        joined = count("unlearning_requests natural join unlearnings")
        assert joined == count("unlearning_requests") == 6
        singles = count(
            "unlearning_steps where sample_id is not null and exists "
            "(from unlearnings as u where u.unlearning_id = unlearning_steps.unlearning_id "
            "and u.unlearning_status = 'FINISHED')"
        )
        both = "unlearning_steps natural join unlearning_requests"
        assert count(both) == singles > 3
        assert count("unlearnings natural join base_models") == 3
        assert count("trials natural join base_models") == count("trials") > 6
        assert count("histories") == count("attempts") == 0  # steps are none


def load(folder: Path) -> tuple[int, int]:
    found = loading.load(open_reader(folder), folder / "analysis.duckdb").changes
    return len(found.read), len(found.forget)


def test_a_second_load_reads_what_changed(
    store: Path, ids: list[int], tmp_path: Path, indelible: Indelible
) -> None:
    load(store)  # a copy has its own place
    assert load(store) == (0, 0)
    again = (*unlearn(ids[:2], tmp_path / "c"), "--set", "ga.lr=0.0002")
    assert indelible(store, *again).code == 0  # the rest of what was stopped
    read, _ = load(store)
    rows = assert_all_is_said(store)["unlearnings"]
    assert [row["unlearning_status"] for row in rows] == ["FINISHED"] * 3
    assert 2 <= read <= 3  # the unlearning, and the steps that are new
    assert load(store) == (0, 0)


def test_what_is_added_later_is_seen(
    store: Path, ids: list[int], tmp_path: Path, indelible: Indelible, monkeypatch: Any
) -> None:
    names = ["reference_test_accuracy", "reference_requests_accuracy"]
    names += [evidence.GAP, "untouched_gap"]
    monkeypatch.setattr(
        evidence, "reference", lambda *_: {name: k / 8 for k, name in enumerate(names)}
    )
    load(store)
    words = (*unlearn(ids, tmp_path / "a"), "--register", "mine")
    assert indelible(store, *words, "--reference").code == 0
    assert load(store) == (1, 1)
    (row,) = [r for r in assert_all_is_said(store)["unlearnings"] if r["requests"] == 4]
    assert (row["registered_as"], row["reference_gap_before"]) == ("mine, ours", 0.375)
    assert indelible(store, *words, "--reference").code == 0
    assert load(store) == (0, 0)


def test_deleted_runs_go(store: Path) -> None:
    load(store)
    client = Client(store)
    for run in (*client.of("unlearning")[:1], client.of("trial")[0], client.of("tuning")[0]):
        client.client.delete_run(run.info.run_id)
    assert load(store) == (0, 3)
    found = relations(store / "analysis.duckdb")
    gone = client.of("unlearning")[0].info.run_id
    assert gone not in json.dumps(found, default=str)
    assert len(found["unlearnings"]) == 2
    trials = {row["trial_id"] for row in found["trials"]}
    assert client.of("trial")[0].info.run_id not in trials
    assert {row["tuning_id"] for row in found["trials"]} == {client.of("tuning")[1].info.run_id}
    client.client.restore_run(gone)
    assert load(store)[0] == 1
    assert len(relations(store / "analysis.duckdb")["unlearnings"]) == 3


@pytest.mark.parametrize("content", [None, b"changed"])
def test_a_lost_table_is_said_and_what_was_known_stays(
    store: Path, content: bytes | None, indelible: Indelible
) -> None:
    assert indelible(store, "load").code == 0
    before = relations(store / "analysis.duckdb")
    run = next(r for r in Client(store).of("unlearning") if r.info.status == "FINISHED")
    table = Path(run.info.artifact_uri.removeprefix("file://"), "requests.csv")
    own = table.read_bytes()
    table.unlink() if content is None else table.write_bytes(content)
    answer = indelible(store, "load", "--deep")
    assert answer.code == 1
    assert run.info.run_id in answer.err
    assert "Traceback" not in answer.err
    after = relations(store / "analysis.duckdb")
    key = "unlearning_requests"
    assert sorted(after[key], key=str) == sorted(before[key], key=str)
    (store / "analysis.duckdb").unlink()
    assert indelible(store, "load").code == 1
    left = relations(store / "analysis.duckdb")
    assert run.info.run_id not in {row["unlearning_id"] for row in left[key]}
    assert len(left["unlearnings"]) == 3
    table.write_bytes(own)
    assert indelible(store, "load").code == 0
    assert len(relations(store / "analysis.duckdb")[key]) == len(before[key])


@pytest.mark.parametrize("content", [b"", b"sample_id,label\n1,2\n", b"\xff", b"a\n\0"])
def test_a_table_without_hash_that_is_none_is_damaged(tmp_path: Path, content: bytes) -> None:
    artifacts = open_store(tmp_path).artifacts
    (tmp_path / "requests.csv").write_bytes(content)
    with pytest.raises(Damaged, match=r"of unlearning r is lost or damaged"):
        read_rows(artifacts, tmp_path.as_uri(), "r", {})


def test_what_earlier_versions_logged_is_read(store: Path) -> None:
    """They gave no hash of the table, and did not say which trials were taken."""
    client = Client(store)
    for kind, tag in (("unlearning", "requests_sha256"), ("tuning", "chosen")):
        for run in client.of(kind):
            if tag in run.data.tags:
                client.client.delete_tag(run.info.run_id, tag)
    (store / "analysis.duckdb").unlink()
    load(store)
    found = relations(store / "analysis.duckdb")
    assert len(found["unlearning_requests"]) == 6
    assert {row["is_chosen"] for row in found["trials"]} == {None}


@pytest.mark.parametrize("relation", RELATIONS)
def test_the_oldest_shell_reads_them(filled: Path, relation: str) -> None:
    shell, path = old_shell(), filled / "analysis.duckdb"
    said = list(csv.reader(io.StringIO(shell(path, f"from {relation}"))))
    with open_warehouse(path) as warehouse:
        expected = warehouse.query(f"from {relation}")
    assert said[0] == expected.columns
    assert len(said) == 1 + len(expected.rows)
    plain = [n for n, name in enumerate(expected.columns) if name != "settings"]
    for own, row in zip(said[1:], expected.rows, strict=True):
        values = ("" if row[n] is None else str(row[n]) for n in plain)
        assert [own[n] for n in plain] == [*values]
