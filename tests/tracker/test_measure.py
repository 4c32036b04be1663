"""Factors that are measured of members and samples which are in the store."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

import factors
from analysis.warehouse import open_warehouse
from tests.tracker.conftest import Indelible
from tests.tracker.test_models import OWN, QUICK
from tracker.cli import run
from tracker.store.bulk import SqlStore
from tracker.store.records import Measured
from unlearning import datasets

MEMBERS = "(select run_uuid from tags where key = 'kind' and value = 'member')"
OF_MEMBERS = f"run_uuid in {MEMBERS}"
BRIGHTNESS = """
from factors.family import Column, Family

def brightness(base, positions):
    return {"brightness": %s * base.train_inputs[positions].double().flatten(1).mean(dim=1)}

FAMILY = Family(
    name="bright", pre=brightness,
    declared=(Column("brightness", "Brightness", "share", "high", "mean of the pixels"),),
)
"""
MEMBERS_OF_ONE = 3 * 6  # of each sweep: algorithms and samples
Values = dict[tuple[str, str], float]  # by run and metric


def rows(folder: Path, query: str, *values: object) -> list[Any]:
    with changing(folder) as db:
        return db.execute(query, values).fetchall()


@contextmanager
def changing(folder: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(folder / "mlflow.db")) as db, db:
        yield db


def metrics(folder: Path) -> Values:
    """The latest metrics of all members, NaN left out."""
    query = f"select run_uuid, key, value from latest_metrics where run_uuid in {MEMBERS}"
    return {(run, key): value for run, key, value in rows(folder, f"{query} and not is_nan")}


def told(folder: Path) -> dict[str, dict[str, str]]:
    """The versions of factors by member."""
    found = rows(folder, "select run_uuid, value from tags where key = 'factor_versions'")
    return {run: json.loads(value) for run, value in found}


def forget(folder: Path, *kept: str) -> None:
    """Take the factors out of a store, but for what is logged of an attempt and these."""
    logged = [*factors.HISTORIES, "cost/steps", "cost/elapsed_s", "points_lost", *kept]
    marks = ", ".join("?" * len(logged))
    with changing(folder) as db:
        for table in ("metrics", "latest_metrics"):
            db.execute(
                f"delete from {table} where run_uuid in {MEMBERS} and key not in ({marks}) "
                "and key not like 'salun/%' and key not like 'scrub_r/%'",
                logged,
            )
        db.execute("delete from tags where key = 'factor_versions' or key like 'pre_factors/%'")


def table(answer: Any) -> list[dict[str, Any]]:
    assert answer.code == 0, answer.err
    found: list[dict[str, Any]] = json.loads(answer.out)
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which every factor is defined for some members; one base model has buffers."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "own_net.py").write_text(OWN)
    known = [str(i) for i in datasets.load("digits").train.ids[:6].tolist()]
    (folder / "ids.txt").write_text(" ".join(known))
    chosen = [word for name in ("ga", "salun", "scrub_r") for word in ("--algorithm", name)]
    sweep = ["sweep", *chosen, "--preset", "digits", "--sample-ids", str(folder / "ids.txt")]
    companions = ["--leave-out", ",".join(known[:3]), "--references", "8"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for command in (
            ["train", *map(str, QUICK), *companions],
            sweep,
            ["train", "--arch", "module:own_net:Tiny", "--epochs", "2"],
            [*sweep, "--set", "salun.batch_norm=batch", "--remaining", "200"],
        ):
            assert run(["--store", str(folder / "s"), *command]) == 0
    return folder / "s"


@pytest.fixture
def copy(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of one's own to change."""
    monkeypatch.chdir(whole.parent)
    return Path(shutil.copytree(whole, tmp_path / "copy"))


def test_it_goes_on_where_it_was_stopped_and_a_sweep_called_again_measures_its_own(
    copy: Path, indelible: Indelible, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, versions = metrics(copy), told(copy)
    measured = {key.rpartition("/")[2] for _, key in before}
    assert {column.name for column in factors.columns()} <= measured
    forget(copy)
    assert len(metrics(copy)) < len(before) / 3
    written, add = list[int](), SqlStore.add_factors

    def stopped(store: SqlStore, members: Sequence[Measured]) -> int:
        if len(written) == 1:
            raise KeyboardInterrupt
        written.append(add(store, members))
        return written[-1]

    everything = ("measure", "--sweep", "all", "--format", "json")
    with monkeypatch.context() as patch:
        patch.setattr(SqlStore, "add_factors", stopped)
        answer = indelible(copy, *everything)
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.splitlines()[-1].endswith("the same command goes on where it stopped")
    assert len(told(copy)) == sum(written) > 0
    answer = indelible(
        *(copy, "sweep", "--model", base_of(copy, "small-cnn"), "--algorithm", "ga"),
        *("--algorithm", "salun", "--algorithm", "scrub_r", "--preset", "digits"),
        *("--sample-ids", "ids.txt"),
    )
    assert (answer.code, "measure" in answer.err) == (0, True)
    assert len({run for run, key in metrics(copy) if key == "initial/margin"}) >= MEMBERS_OF_ONE
    there = len(told(copy))
    found = table(indelible(copy, *everything))
    assert sum(row["measured"] for row in found) == 2 * MEMBERS_OF_ONE - there > 0
    assert metrics(copy) == before
    assert told(copy) == versions
    again = table(indelible(copy, *everything))
    assert [(row["up_to_date"], row["measured"]) for row in again] == [(MEMBERS_OF_ONE, 0)] * 2


def base_of(folder: Path, arch: str) -> str:
    ((run_id,),) = rows(
        folder,
        "select p.run_uuid from params as p join tags as t on t.run_uuid = p.run_uuid "
        "where t.key = 'kind' and t.value = 'base_model' and p.key = 'arch' and p.value = ?",
        arch,
    )
    return str(run_id)


@pytest.mark.slow
def test_a_family_that_is_new_or_has_changed(
    copy: Path, indelible: Indelible, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, factor in (("bright_once", 1), ("bright_twice", 2)):
        (copy.parent / f"{name}.py").write_text(BRIGHTNESS % factor)
    monkeypatch.syspath_prepend(copy.parent)

    def rows_of(*words: str) -> list[dict[str, Any]]:
        return table(indelible(copy, *words, "--format", "json"))

    asked = "select count(brightness) as n, avg(brightness) as mean from samples"
    latest = rows_of("measure", "--factors=module:bright_once:FAMILY", "--factor", "brightness")
    assert [row["measured"] for row in latest] == [MEMBERS_OF_ONE]
    assert indelible(copy, "load").code == 0
    (once,) = rows_of("sql", asked)
    with changing(copy) as db:  # as if one had been left out
        db.execute(
            'update tags set value = replace(value, \'"pre/bright":"\', \'"pre/bright":"0\') '
            "where key = 'factor_versions' and run_uuid = (select max(run_uuid) from tags "
            "where key = 'factor_versions' and value like '%pre/bright%')"
        )
    (problem,) = json.loads(indelible(copy, "check", "--format", "json").out)
    assert (problem["audit"], problem["repair"]) == ("mixed_versions", "measure")
    assert "factors of 2 versions: pre/bright: 'indelible measure --sweep" in problem["problem"]
    latest = rows_of("measure", "--factors=module:bright_twice:FAMILY")
    assert [row["measured"] for row in latest] == [MEMBERS_OF_ONE]
    assert indelible(copy, "load").code == 0
    assert rows_of("check") == []
    assert rows_of("sql", asked) == [{"n": 6, "mean": pytest.approx(2 * once["mean"])}]


@pytest.mark.slow
def test_members_without_a_checkpoint(copy: Path, indelible: Indelible) -> None:
    """They are unlearned again; one that comes to other weights stays as it is."""
    with changing(copy) as db:  # as if the sweeps had been made with --checkpoints none
        db.execute(f"delete from tags where key = 'checkpoint' and {OF_MEMBERS}")
        query = "select min(run_uuid) from tags where key = 'status' and value = 'flipped'"
        ((apart,),) = db.execute(query).fetchall()
        other = "update tags set value = 'other' where key = 'weights_sha256' and run_uuid = ?"
        db.execute(other, [apart])
    for path in copy.glob("artifacts/*/*/artifacts/checkpoint-*"):
        path.unlink()
    before, versions = metrics(copy), told(copy)
    forget(copy)
    answer = indelible(copy, "measure", "--sweep", "all", "--format", "json")
    statuses = [value for (value,) in rows(copy, "select value from tags where key = 'status'")]
    ran = 2 * MEMBERS_OF_ONE - statuses.count("already_wrong")
    assert sum(row["not_kept"] for row in table(answer)) == ran > 0
    assert "members keep no checkpoint or histories, and lack distance of" in answer.err
    assert "cost of" not in answer.err
    again = ("measure", "--sweep", "all", "--recompute", "--format", "json")
    found = table(indelible(copy, *again))
    assert sum(row["recomputed"] for row in found) == ran - 1
    assert sum(row["not_kept"] for row in found) == 1
    after, now = metrics(copy), told(copy)
    assert {run for run, _ in before.keys() - after.keys()} == {apart}
    assert {run for run in versions if now[run] != versions[run]} == {apart}
    apart_by = [abs(value - before[key]) for key, value in after.items() if "elapsed" not in key[1]]
    assert max(apart_by) <= 1e-12


def test_what_cannot_be_measured_is_told_and_all_else_is(copy: Path, indelible: Indelible) -> None:
    forget(copy)
    model = base_of(copy, "small-cnn")
    with changing(copy) as db:
        db.execute("update runs set lifecycle_stage = 'deleted' where run_uuid = ?", (model,))
        db.execute("delete from tags where key = 'weights_sha256' and run_uuid = ?", (model,))
    for path in copy.glob("artifacts/*-own_net*/*/artifacts/checkpoint-*"):
        path.write_bytes(b"damaged")
        break
    answer = indelible(copy, "measure", "--sweep", "all", "--format", "json")
    assert [(row["measured"], row["lost"]) for row in table(answer)] == [(MEMBERS_OF_ONE - 1, 1)]
    assert "1 members cannot be measured; of the first: checkpoint-" in answer.err
    (line,) = (line for line in answer.err.splitlines() if "is left out" in line)
    assert model in line


def test_samples_that_no_sweep_asked_for(copy: Path, indelible: Indelible) -> None:
    model = base_of(copy, "small-cnn")
    answer = indelible(
        copy, "measure", "--model", model, "--samples", 40, "--factor", "margin", "--format", "json"
    )
    assert [row["samples"] for row in table(answer)] == [40]
    assert indelible(copy, "load").code == 0
    with open_warehouse(copy / "analysis.duckdb") as warehouse:
        counted = "select count(margin), count(kde_density), count(distinct label) from samples"
        ((margins, densities, labels),) = warehouse.query(
            f"{counted} where base_run_id = '{model}'"
        ).rows
    assert 40 <= margins <= 46
    assert densities == 6
    assert labels == 10


REFUSED = {
    "factor is 'nothing'": ["--factor", "nothing"],
    "--samples has no effect without --model": ["--samples", "all"],
    "the training split has 1000": ["--model", "latest", "--samples", "9999"],
    "those of attempts": ["--model", "latest", "--samples", "5", "--factor", "gt"],
}


def test_bad_input_is_one_line(whole: Path, indelible: Indelible) -> None:
    before = metrics(whole)
    for said, words in REFUSED.items():
        answer = indelible(whole, "measure", *words)
        assert (answer.code, answer.out) == (2, "")
        assert said in answer.err.splitlines()[-1]
    assert metrics(whole) == before
