"""An audit: models that forgot a sample beside models that never saw it."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.oracles import forgetting as oracle
from tests.tracker.conftest import Indelible, own_copy
from tests.tracker.test_damage import one_line
from tracker.base import base_models, references
from tracker.cli import run
from tracker.store.opening import open_store
from tracker.store.records import Kind
from tracker.studies.audited import read_audited
from unlearning.base_model import logits
from unlearning.several import moved

MODELS = 12
TRAIN = ("train", "--epochs", "2", "--train-samples", "120", "--test-samples", "60")
BESIDE = ("--references", str(MODELS), "--reference-share", "0.5")
SWEEP = ("sweep", "--algorithm", "ga", "--samples", "3", "--until", "reference")


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with reference models and a sweep until the reference."""
    folder = tmp_path_factory.mktemp("audited")
    for words in ((*TRAIN, *BESIDE), SWEEP):
        assert run(["--store", str(folder), *words]) == 0
    return folder


@pytest.fixture(scope="module")
def audited(swept: Path) -> list[dict[str, Any]]:
    """The rows of `audit_phi` after an audit."""
    assert run(["--store", str(swept), "audit"]) == 0
    store = open_store(swept)
    (parent,) = store.finished_runs(Kind.AUDIT)
    table = read_audited(store.artifacts, parent.artifact_uri, parent.tags)
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def test_what_is_said_of_each_sample_is_what_the_oracles_say(
    swept: Path, audited: list[dict[str, Any]], indelible: Indelible
) -> None:
    forgot, never = defaultdict(list), defaultdict(list)
    for row in audited:
        if row["is_audited"] and row["saw"]:
            forgot[row["algorithm"], row["sample_id"]].append(row["phi"])
        elif row["is_audited"]:
            never[row["sample_id"]].append(row["phi"])
    asked = "select * from audits where algorithm != 'never_saw'"
    found = json.loads(indelible(swept, "sql", asked, "--format", "json").out)
    assert {(row["algorithm"], row["sample_id"]) for row in found} >= forgot.keys()
    for row in found:
        u, o = forgot[row["algorithm"], row["sample_id"]], never[row["sample_id"]]
        assert (row["models_saw"], row["models_never_saw"]) == (len(u), len(o))
        if not u:  # too few of the others say where they stop
            assert (row["auc_z"], row["klom"], row["p"]) == (None, None, None)
            continue
        assert row["auc_z"] == pytest.approx(oracle.auc(u, o))
        if min(len(u), len(o)) > 2:
            assert row["auc_ratio"] == pytest.approx(oracle.leave_pair_out_auc(u, o))
            scores = oracle.leave_one_out_ratio(u, o)
            assert row["tpr_at_5"] == pytest.approx(oracle.tpr_at(*scores, 0.05))
        assert row["klom"] == pytest.approx(oracle.klom(u, o), nan_ok=True)
        assert row["p"] == pytest.approx(oracle.permutation_p(u, o))


def test_models_stop_where_models_stand_that_never_saw_the_sample(
    swept: Path, audited: list[dict[str, Any]]
) -> None:
    store = open_store(swept)
    run_ = base_models.find(store.reader, "latest")
    base = base_models.load(store, "latest", torch.device("cpu")).model
    how = references.making(store, run_)
    assert how is not None
    before = {(r["sample_id"], r["model"]): r for r in audited if r["algorithm"] == "untouched"}
    for row in (row for row in audited if row["algorithm"] == "ga"):
        sample, number = row["sample_id"], row["model"]
        judges = [before[sample, n] for n in range(MODELS // 2)]
        inside, outside = ([r["phi"] for r in judges if r["saw"] is saw] for saw in (True, False))
        phi = before[sample, number]["phi"]
        seen, state = how.model(base, number)
        assert int(base.dataset.train.positions([sample])[0]) in seen.tolist()
        own = moved(base, state)
        at = own.dataset.train.positions([sample])
        (of_sample,), label = logits(own.model, own.train_inputs[at]).tolist(), own.train_labels[at]
        again = oracle.log_odds(of_sample, int(label))
        assert again == pytest.approx(phi, abs=1e-5), "a reference model is the same each time"
        # The spread is moderated over all samples, which the oracle's own test holds.
        if min(len(inside), len(outside)) > 1 and row["steps"] < 20 and row["phi"] != phi:
            of_all = base.companions.references
            assert of_all is not None
            some = of_all.only(torch.arange(MODELS) < MODELS // 2)
            spread = [float(part.sd[at]) for part in (some.inside, some.outside)]
            target = oracle.mapped_target(
                phi, np.mean(inside), spread[0], np.mean(outside), spread[1]
            )
            assert row["phi"] <= target + 1e-6
            assert row["phi"] == pytest.approx(target, abs=0.05)
            assert row["points_lost"] <= 100


@pytest.mark.slow
def test_an_audit_that_was_stopped_goes_on(
    swept: Path,
    tmp_path: Path,
    audited: list[dict[str, Any]],
    indelible: Indelible,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = own_copy(swept, tmp_path / "copy")
    store = open_store(folder)
    (known,) = store.finished_runs(Kind.AUDIT)
    for child in [known, *store.finished_runs(Kind.AUDITED)]:
        store.client.delete_run(child.run_id)
    base_id = base_models.find(store.reader, "latest").run_id
    for tag in store.run(base_id).tags:
        if tag.startswith("audits/"):
            store.client.delete_tag(base_id, tag)
    real, made = references.Making.model, list[int]()

    def interrupted(self: Any, base: Any, number: int, *rest: Any) -> Any:
        if number == 7 and 7 not in made:
            made.append(number)
            raise KeyboardInterrupt
        made.append(number)
        return real(self, base, number, *rest)

    monkeypatch.setattr(references.Making, "model", interrupted)
    assert indelible(folder, "audit", "--workers", "1").code == 1
    first = len(made)
    assert indelible(folder, "audit", "--workers", "1").code == 0
    assert len(made) - first < MODELS, "those that were done are kept"
    (again,) = store.finished_runs(Kind.AUDIT)
    table = read_audited(store.artifacts, again.artifact_uri, again.tags)
    assert [row["phi"] for row in table.to_pylist()] == pytest.approx([r["phi"] for r in audited])
    assert indelible(folder, "check").code == 0


def test_the_table_says_it_over_all_samples(
    swept: Path, audited: list[dict[str, Any]], indelible: Indelible
) -> None:
    printed = json.loads(indelible(swept, "audit", "--format", "json").out)
    rows = {row["algorithm"]: row for row in printed}
    assert list(rows) == ["untouched", "ga", "never_saw"]
    own = [row for row in audited if row["algorithm"] == "ga"]
    assert rows["ga"]["points_lost"] == pytest.approx(np.mean([r["points_lost"] for r in own]))
    within = [abs(row["z"]) <= row["z_limit"] for row in own if row["z"] is not None]
    assert rows["ga"]["forgotten"] == pytest.approx(np.mean(within))
    assert rows["untouched"]["points_lost"] is None
    for row in rows.values():
        assert row["auc_z_low"] <= row["auc_z"] <= row["auc_z_high"]
    shown = indelible(swept, "audit")
    assert "never_saw" in shown.out


def test_bad_input_is_one_line(swept: Path, tmp_path: Path, indelible: Indelible) -> None:
    one_line(indelible(swept, "audit", "--models", "9"), "9 are to be audited", "3 say where")
    one_line(indelible(swept, "audit", "--sweep", "nothing"), "nothing")
    indelible(tmp_path, *TRAIN)
    one_line(indelible(tmp_path, "audit"), "sweep")
    indelible(tmp_path, "sweep", "--algorithm", "ga", "--samples", "2")
    one_line(indelible(tmp_path, "audit"), "no reference models")


@pytest.mark.slow
def test_audits_are_merged(swept: Path, tmp_path: Path, indelible: Indelible) -> None:
    assert indelible(swept, "audit").code == 0
    other = tmp_path / "other"
    assert indelible(other, *TRAIN).code == 0
    assert indelible(other, "merge", str(swept)).code == 0
    asked = ("sql", "select count(*) as rows from audits", "--format", "json")
    assert indelible(other, *asked).out == indelible(swept, *asked).out
    assert indelible(other, "check").code == 0
