"""Which algorithm for which sample: predicted, then tried, the best first."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.tracker.conftest import Indelible
from tracker.store.opening import open_store
from tracker.store.records import AVERAGED, READ, Finished, Kind
from tracker.studies.advise import Advice, advise
from tracker.studies.predicted import Prediction, as_table
from tracker.sweep.choosing import configure
from tracker.sweep.plan import Plan

NAMES = ("ga", "neggrad", "salun")
ACCURACY = 0.9


def plan(*samples: int) -> Plan:
    chosen = tuple(configure(NAMES, "digits", []))
    return Plan("weights", "data", "net", "float32", chosen, samples, seed=0, name="x")


def prediction(rows: Mapping[tuple[str, int], tuple[float | None, float | None]]) -> Prediction:
    """From (flips, points lost) by algorithm and sample; the probability lost goes with these."""
    lost = [points for _, points in rows.values()]
    table = as_table(
        {
            "algorithm": [name for name, _ in rows],
            "sample_id": [sample for _, sample in rows],
            "flips": [flips for flips, _ in rows.values()],
            "points_lost": lost,
            "prob_lost": [None if points is None else points / 100 for points in lost],
        }
    )
    return Prediction("p", table)


class Attempts:
    """Sweeps whose members come to what is given: (status, points lost) by algorithm and sample."""

    def __init__(self, outcomes: Mapping[tuple[str, int], tuple[str, float]]) -> None:
        self.outcomes, self.asked = outcomes, list[tuple[str, tuple[int, ...]]]()

    def __call__(self, part: Plan) -> dict[str, Finished]:
        (algorithm,) = part.algorithms
        self.asked.append((algorithm.name, part.sample_ids))
        return {
            part.key(algorithm, sample): self.member(algorithm.name, sample)
            for sample in part.sample_ids
        }

    def member(self, algorithm: str, sample: int) -> Finished:
        status, lost = self.outcomes[algorithm, sample]
        metrics = {
            AVERAGED["steps"]: 3.0,
            AVERAGED["elapsed_s"]: 0.5,
            AVERAGED["test_accuracy"]: ACCURACY - lost / 100,
            READ["test_prob_diff"]: lost / 100,
        }
        return Finished(f"{algorithm}-{sample}", "s", status, metrics, has_checkpoint=True)


def best(found: list[Advice]) -> dict[int, str | None]:
    return {one.sample_id: one.best.algorithm if one.best else None for one in found}


def test_those_that_look_best_are_tried_and_the_cheapest_flip_is_advised() -> None:
    """Of sample 1 ga and neggrad look best, and neggrad is; of 2 ga is not likely to flip it."""
    predicted = {
        ("ga", 1): (1.0, 2.0),
        ("neggrad", 1): (1.0, 1.5),
        ("salun", 1): (1.0, 9.0),
        ("ga", 2): (0.4, 0.1),
        ("neggrad", 2): (1.0, 3.0),
        ("salun", 2): (0.9, 2.0),
    }
    came_to = {
        ("ga", 1): ("flipped", 0.9),
        ("neggrad", 1): ("flipped", 0.5),
        ("neggrad", 2): ("max_steps", 0.0),
        ("salun", 2): ("flipped", 0.8),
    }
    attempts = Attempts(came_to)
    found = advise(plan(1, 2), prediction(predicted), ACCURACY, attempts, tries=2, max_loss=1)
    assert sorted(attempts.asked) == [
        ("ga", (1,)),
        ("neggrad", (1,)),
        ("neggrad", (2,)),
        ("salun", (2,)),
    ]
    assert best(found) == {1: "neggrad", 2: "salun"}
    assert all(one.is_fulfilled for one in found)
    assert [one.algorithm for one in found[0].tried] == ["neggrad", "ga"]
    assert found[0].expected["salun"]["points_lost"] == 9.0


def test_the_next_best_is_tried_where_none_was_good_enough() -> None:
    predicted = {(name, 1): (1.0, k) for k, name in enumerate(NAMES)}
    come_to = {("ga", 1): 4.0, ("neggrad", 1): 3.0, ("salun", 1): 2.0}
    for max_loss, asked in ((4.0, 1), (3.5, 2), (2.5, 3), (1.0, 3)):
        attempts = Attempts({key: ("flipped", lost) for key, lost in come_to.items()})
        (one,) = advise(plan(1), prediction(predicted), ACCURACY, attempts, 1, max_loss)
        assert len(attempts.asked) == asked == len(one.tried)
        assert one.is_fulfilled is (max_loss > 1)
        assert one.best is not None
        assert one.best.algorithm == NAMES[asked - 1]


def test_a_step_is_not_a_flip_and_nothing_known_comes_last() -> None:
    predicted = {("ga", 1): (None, None), ("neggrad", 1): (0.1, 5.0), ("salun", 1): (0.9, 7.0)}
    come_to = {(name, 1): ("non_finite", 0.0) for name in NAMES} | {("ga", 1): ("max_steps", 0.0)}
    attempts = Attempts(come_to)
    (one,) = advise(plan(1), prediction(predicted), ACCURACY, attempts, tries=1, max_loss=5)
    assert [name for name, _ in attempts.asked] == ["salun", "neggrad", "ga"]
    assert one.best is None
    assert not one.is_fulfilled


def test_of_what_the_base_model_gets_wrong_nothing_more_is_tried() -> None:
    predicted = {(name, 1): (None, None) for name in NAMES}
    attempts = Attempts({(name, 1): ("already_wrong", 0.0) for name in NAMES})
    (one,) = advise(plan(1), prediction(predicted), ACCURACY, attempts, tries=3, max_loss=5)
    assert (len(attempts.asked), one.was_wrong, one.best) == (1, True, None)


@pytest.mark.slow
def test_the_command(trained: Path, tmp_path: Path, indelible: Indelible) -> None:
    store = Path(shutil.copytree(trained, tmp_path / "store"))
    asked = tmp_path / "requests.txt"
    asked.write_text("8 # the first\n17\n19\n", "utf-8")
    options = ("--algorithm", "ga", "--algorithm", "neggrad", "--max-loss", 100, "--tries", 1)
    answer = indelible(store, "advise", "--requests", asked, *options, "--format", "json")
    assert answer.code == 0, answer.err
    rows = json.loads(answer.out)
    assert [row["sample_id"] for row in rows] == [8, 17, 19]
    members = {run.info.run_id: run for run in open_store(store).finished_runs(Kind.MEMBER)}
    assert len(members) == 3
    (base,) = open_store(store).finished_runs(Kind.BASE_MODEL)
    accuracy = base.data.metrics["test_accuracy"]
    for row in rows:
        member, said = members[row["run_id"]], members[row["run_id"]].data.metrics
        assert row["tried"] == [row["algorithm"]] == [member.data.params["algorithm"]]
        lost = 100 * (accuracy - said["performance/test_accuracy"])
        assert row["points_lost"] == pytest.approx(lost)
        assert (row["advice"], row["steps"]) == ("unlearn", said["cost/steps"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "80")
        again = indelible(store, "advise", "--requests", asked, *options)
    assert max(map(len, again.out.splitlines())) <= 80
    assert "3 of 3 samples can be unlearned, each alone, for 100 points" in again.err
    assert indelible(store, "load").code == 0
    assert "'indelible advise' made it, for each of 3 samples" in indelible(store, "rank").err
    words = rows[0]["restore"].split()
    assert indelible(store, *words[1:-1], tmp_path / words[-1]).code == 0
    strict = indelible(store, "advise", "--requests", asked, *options[:4], "--max-loss", 0)
    assert (strict.code, "not within the limit: 8, 17, 19" in strict.err) == (0, True)
    assert len(list(open_store(store).finished_runs(Kind.MEMBER))) == 6
