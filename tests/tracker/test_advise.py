"""Which algorithm for which sample: all are tried in one sweep, and the best is advised."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import indelible as python
from tests.tracker.conftest import Indelible
from tests.tracker.test_references import ONE, SHARE, TRAIN, known_samples
from tracker.cli import run
from tracker.store.opening import open_store
from tracker.store.records import AVERAGED, READ, Finished, Kind
from tracker.studies.advise import advise, usual
from tracker.sweep.choosing import configure
from tracker.sweep.plan import Plan
from unlearning.errors import UserError

NAMES = ("ga", "neggrad", "salun")
ACCURACY = 0.9
BOTH = ("--algorithm", "ga", "--algorithm", "neggrad")


def advised(outcomes: Mapping[str, tuple[str, float]], max_loss: float = 1) -> dict[str, Any]:
    """The row of a sample whose attempts come to what is given: status, points lost."""
    chosen = tuple(configure(outcomes, "digits", []))
    plan = Plan("weights", "data", "net", "float32", chosen, (1,), seed=0, name="x")
    done = {plan.key(each, 1): member(each.name, *outcomes[each.name]) for each in chosen}
    (row,) = advise(plan, done, ACCURACY, max_loss, lambda sample: f"{sample}.png")
    return row


def member(algorithm: str, status: str, lost: float) -> Finished:
    metrics = {
        AVERAGED["steps"]: 3.0,
        AVERAGED["elapsed_s"]: 0.5,
        AVERAGED["test_accuracy"]: ACCURACY - lost / 100,
        READ["test_prob_diff"]: lost / 100,
        READ["z"]: -2.0,
        READ["forgotten"]: float(algorithm != "salun"),
    }
    return Finished(algorithm, "s", status, metrics, has_checkpoint=True)


@pytest.mark.parametrize(
    ("outcomes", "said"),
    [
        ((("flipped", 0.9), ("flipped", 0.5), ("flipped", 9.0)), ("neggrad", "unlearn")),
        ((("max_steps", 0.0), ("flipped", 3.0), ("flipped", 2.0)), ("salun", "too dear")),
        ((("at_reference", 1.0), ("non_finite", 0.0), ("max_steps", 0.0)), ("ga", "unlearn")),
        ((("max_steps", 0.0), ("rewound", 0.0), ("unchanged", 0.0)), (None, "nothing unlearns it")),
        ((("already_wrong", 0.0),) * 3, (None, "already wrong")),
        ((("nothing_to_forget", 0.0),) * 3, (None, "nothing to forget")),
    ],
)
def test_the_cheapest_attempt_that_arrived_is_advised(
    outcomes: tuple[tuple[str, float], ...], said: tuple[str | None, str]
) -> None:
    row = advised(dict(zip(NAMES, outcomes, strict=True)))
    assert (row["algorithm"], row["advice"]) == said
    assert (row["sample_id"], row["sample_path"], {*row["tried"]}) == (1, "1.png", {*NAMES})
    assert (row["run_id"], row["steps"]) == (said[0], said[0] and 3)
    verdict = "over_forgotten" if said[0] == "salun" else "forgotten"
    assert (row["z"], row["verdict"]) == ((-2, verdict) if said[0] else (None, None))


def test_what_is_tried_where_nothing_is_named() -> None:
    assert {"ga", "neggrad"} <= {*usual("flip")}
    assert {*usual("reference")} - {*usual("flip")} <= {"matching"} <= {*usual("reference")}
    assert not {"retrain", "scrub_r"} & {*usual("reference")}


@pytest.mark.slow
def test_the_command(trained: Path, tmp_path: Path, indelible: Indelible) -> None:
    store = Path(shutil.copytree(trained, tmp_path / "store"))
    asked = tmp_path / "requests.txt"
    asked.write_text("8 # the first\n17\n19\n", "utf-8")
    options = (*BOTH, "--max-loss", 100)
    swept = indelible(store, "sweep", "--algorithm", "ga", "--sample", 8).id
    answer = indelible(store, "advise", "--requests", asked, *options, "--format", "json")
    assert answer.code == 0, answer.err
    rows = json.loads(answer.out)
    assert [row["sample_id"] for row in rows] == [8, 17, 19]
    members = {run.run_id: run for run in open_store(store).finished_runs(Kind.MEMBER)}
    assert len(members) == 6  # with that which the sweep made
    (base,) = open_store(store).finished_runs(Kind.BASE_MODEL)
    accuracy = base.metrics["test_accuracy"]
    for row in rows:
        of_it = [r for r in members.values() if r.tags["sample_id"] == str(row["sample_id"])]
        flipped = [r for r in of_it if r.tags["status"] == "flipped"]
        best = max(flipped, key=lambda run: run.metrics["performance/test_accuracy"])
        said = members[row["run_id"]].metrics
        assert said["performance/test_accuracy"] == best.metrics["performance/test_accuracy"]
        lost = 100 * (accuracy - said["performance/test_accuracy"])
        assert row["points_lost"] == pytest.approx(lost)
        assert (row["advice"], row["steps"]) == ("unlearn", said["cost/steps"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "80")
        again = indelible(store, "advise", "--requests", asked, *options)
    assert max(map(len, again.out.splitlines())) <= 80
    assert "3 of 3 samples can be unlearned, each alone, for 100 points" in again.err
    strict = indelible(store, "advise", "--requests", asked, *BOTH, "--max-loss", 0)
    assert (strict.code, "not within the limit: 8, 17, 19" in strict.err) == (0, True)
    assert len(list(open_store(store).finished_runs(Kind.MEMBER))) == 6
    nobody_takes_it_for_a_sweep(store, swept)


def nobody_takes_it_for_a_sweep(store: Path, swept: str) -> None:
    """What an advice made is there where it is named only, though it began last."""
    opened = python.open(store)
    advice, sweep = opened.sweeps().project("run_id, name, study").fetchall()
    assert advice[1:] == ("advice-ga-neggrad-3-samples", "advice")
    assert sweep[::2] == (swept, None)
    assert opened.find_sweep().run_id == swept
    assert opened.sql("select find_sweep('latest')").fetchall() == [(swept,)]
    assert len(opened.rank()) == 1
    assert {one for (one,) in opened.sql("select sweep_id from internal.designs").fetchall()} == {
        swept
    }
    assert len(opened.rank(sweep=advice[1], algorithm="ga")) == 3
    found = opened.sql("select distinct sweep_id from attempts where algorithm = 'neggrad'")
    assert found.fetchall() == [(advice[0],)]


@pytest.mark.slow
def test_until_the_reference(tmp_path: Path, indelible: Indelible) -> None:
    store = tmp_path / "store"
    assert run(["--store", str(store), *map(str, (*TRAIN, "--references", 8, *SHARE, *ONE))]) == 0
    some = known_samples(store, 4)
    words = ("advise", "--until", "reference", "--algorithm", "ga", "--algorithm", "matching")
    answer = indelible(store, *words, *some, "--preset", "digits", "--format", "json")
    assert answer.code == 0, answer.err
    statuses = {r.tags["status"] for r in open_store(store).finished_runs(Kind.MEMBER)}
    assert "at_reference" in statuses
    assert "flipped" not in statuses
    for row in json.loads(answer.out):
        if row["advice"] == "nothing to forget":
            assert row["verdict"] is None
        else:
            verdicts = ("forgotten", "over_forgotten", "remembered")
            assert (row["verdict"] in verdicts, row["z"] is None) == (True, False)
    refused = "of .* samples fewer than two of the 8 reference models"
    with pytest.raises(UserError, match=refused):
        python.open(store).tune("ga", output=tmp_path / "x.toml", until="reference", samples=600)
    for until in ("reference", "flip"):  # trials under one are none under the other
        tune = ("tune", "--algorithm", "ga", "--samples", 2, "--trials", 2, "--until", until)
        assert indelible(store, *tune, "--output", tmp_path / f"{until}.toml").code == 0
        said = "# Until the reference" in (tmp_path / f"{until}.toml").read_text("utf-8")
        assert said is (until == "reference")
    tunings, trials = (
        python.open(store).sql(f"select distinct {column}, until from trials").fetchall()
        for column in ("tuning_id", "trial_id")
    )
    assert sorted(until for _, until in tunings) == ["flip", "reference"]
    assert len({trial for trial, _ in trials}) == len(trials) >= 4
    settings = python.open(store).sql("select distinct map_keys(settings) from trials").fetchall()
    assert len(settings) == 1
    assert "references" not in settings[0][0]
