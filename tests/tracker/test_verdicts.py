"""Whether samples were forgotten: in SQL, ranks, lists, the report and MLflow's table.

All is compared with plain Python over what MLflow has of the child runs.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from analysis.warehouse import open_warehouse
from analysis.words import points
from tests.analysis.test_report import Page
from tests.analysis.warehouses import Members, sweep_of, warehouse_of
from tests.tracker.conftest import Done, Indelible
from tracker.cli import run
from tracker.store.opening import open_store
from tracker.store.records import Kind, Run

SAMPLES = (21, 37, 41, 56, 80, 87)  # the base model gets 37 wrong
FLIP, REFERENCE = "flips", "references"  # names of the sweeps
KNOWN = ("test_accuracy", "z", "z_error", "forgotten")  # factors of made-up members


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base model with reference models; one sweep until the flip and one until the reference."""
    folder = tmp_path_factory.mktemp("store")
    ids = [word for sample in SAMPLES for word in ("--sample", str(sample))]
    recipe = ("--arch", "mlp", "--epochs", "10")
    train = ("train", *recipe, "--references", "10", "--reference-share", "0.5")
    sweep = ("sweep", "--algorithm", "ga", *ids)
    until = (*sweep, "--until", "reference", "--name", REFERENCE)
    for command in (train, (*sweep, "--name", FLIP), until, ("load",)):
        assert run(["--store", str(folder), *command]) == 0
    return folder


@pytest.fixture(scope="module")
def before(store: Path) -> float:
    """The base model's test accuracy."""
    (model,) = open_store(store).finished_runs(Kind.BASE_MODEL)
    return float(model.metrics["test_accuracy"])


@pytest.fixture(scope="module")
def attempts(store: Path) -> dict[str, dict[int, Run]]:
    """The child runs by sweep and sample, as MLflow has them."""
    opened = open_store(store)
    names = {sweep.run_id: sweep.name for sweep in opened.finished_runs(Kind.SWEEP)}
    found: dict[str, dict[int, Run]] = {name: {} for name in names.values()}
    for child in opened.finished_runs(Kind.MEMBER):
        tags = child.tags
        found[names[tags["mlflow.parentRunId"]]][int(tags["sample_id"])] = child
    return found


def asked(indelible: Indelible, store: Path, *words: object) -> list[dict[str, Any]]:
    answer = indelible(store, *words, "--format", "json")
    assert answer.code == 0, answer.err
    rows: list[dict[str, Any]] = json.loads(answer.out)
    return rows


def verdict(child: Run) -> str | None:
    """By the definition, of the metrics of a child run."""
    z, is_forgotten = (child.metrics.get(f"forgetting/{n}") for n in ("z", "forgotten"))
    if z is None:
        return None
    return "forgotten" if is_forgotten else "remembered" if z > 0 else "over_forgotten"


def lost(child: Run, before: float) -> float | None:
    after = child.metrics.get("performance/test_accuracy")
    return None if after is None else 100 * (before - after)


def test_attempts_have_z_and_verdict(
    store: Path, indelible: Indelible, attempts: dict[str, dict[int, Run]]
) -> None:
    rows = asked(indelible, store, "sql", "from attempts join sweeps using (sweep_id)")
    assert len(rows) == 2 * len(SAMPLES)
    for row in rows:
        child = attempts[row["sweep"]][row["sample_id"]]
        metrics = child.metrics
        assert (row["status"], row["verdict"]) == (child.tags["status"], verdict(child))
        assert row["z"] == metrics.get("forgetting/z")
        assert row["z_error"] == metrics.get("forgetting/z_error")
        assert row["until"] == {FLIP: "flip", REFERENCE: "reference"}[row["sweep"]]
        assert (row["gt"] is None) == ("gt" not in metrics)
        if row["z"] is not None and row["verdict"] != "forgotten":
            assert abs(row["z"]) > 1.645
    verdicts = {sweep: [verdict(child) for child in attempts[sweep].values()] for sweep in attempts}
    assert verdicts[FLIP].count("over_forgotten") > 1
    assert verdicts[FLIP].count(None) == 1
    assert set(verdicts[REFERENCE]) == {"forgotten", "over_forgotten", "remembered"}
    ends = {child.tags["status"] for child in attempts[REFERENCE].values()}
    assert ends == {"at_reference", "nothing_to_forget"}


def test_summaries_count_verdicts_and_damage_of_what_arrived(
    store: Path, indelible: Indelible, attempts: dict[str, dict[int, Run]], before: float
) -> None:
    rows = asked(indelible, store, "sql", "from summaries(max_loss := 0.2)")
    listed = {row["run_id"]: row for row in asked(indelible, store, "sweeps", "--max-loss", 0.2)}
    for row in rows:
        children = attempts[row["sweep"]].values()
        ends = [child.tags["status"] for child in children]
        arrived = [c for c in children if c.tags["status"] in ("flipped", "at_reference")]
        assert row["attempts"] == len(SAMPLES) - ends.count("already_wrong")
        assert (row["flipped"], row["arrived"]) == (ends.count("flipped"), len(arrived))
        assert row["damaged"] == sum((lost(child, before) or 0) > 0.2 for child in arrived)
        verdicts = [verdict(child) for child in children]
        for word in ("forgotten", "over_forgotten", "remembered"):
            assert row[word] == verdicts.count(word)
        z = [c.metrics["forgetting/z"] for c in children if "forgetting/z" in c.metrics]
        assert row["mean_z"] == pytest.approx(fmean(z), rel=1e-12)
        assert listed[row["sweep_id"]]["damaged"] == row["damaged"]
    assert {row["sweep"]: row["flipped"] > 0 for row in rows} == {FLIP: True, REFERENCE: False}
    assert min(row["damaged"] for row in rows) > 0


@pytest.mark.parametrize(("target", "sweep"), [("z", FLIP), ("points_lost", REFERENCE)])
def test_ranks_by_other_targets(
    store: Path,
    indelible: Indelible,
    attempts: dict[str, dict[int, Run]],
    before: float,
    target: str,
    sweep: str,
) -> None:
    def level(child: Run) -> float | None:
        return child.metrics.get("forgetting/z") if target == "z" else lost(child, before)

    levels = {k: x for k, child in attempts[sweep].items() if (x := level(child)) is not None}
    order = sorted(levels, key=lambda sample: (-levels[sample], sample))
    words = ("rank", "--sweep", sweep, "--by", target)
    rows = asked(indelible, store, *words, "--algorithm", "ga")
    assert [row["sample_id"] for row in rows] == order
    for row in rows:
        above = sum(other > levels[row["sample_id"]] for other in levels.values())
        same = sum(other == levels[row["sample_id"]] for other in levels.values()) - 1
        assert (row["difficulty_rank"], row["tied"]) == (above + 1, same)
        easier = len(levels) - above - same - 1 + (same + 1) / 2
        assert row["percentile"] == pytest.approx(100 * easier / len(levels))
        assert row["z" if target == "z" else "test_points_lost"] == levels[row["sample_id"]]
        assert row["verdict"] == verdict(attempts[sweep][row["sample_id"]])
    easiest = asked(indelible, store, *words, "--algorithm", "ga", "--easiest", "--top", 2)
    ascending = sorted(levels, key=lambda sample: (levels[sample], sample))
    assert [row["sample_id"] for row in easiest] == ascending[:2]
    overall = asked(indelible, store, *words)
    assert [row["sample_id"] for row in overall] == order
    assert [row["rank_ga"] for row in overall] == [row["difficulty_rank"] for row in rows]
    table = indelible(store, *words, "--algorithm", "ga").out
    assert f"The hardest samples for ga by {target}" in table
    assert "verdict" in table


def test_sample_and_sweeps_say_it(
    store: Path, indelible: Indelible, attempts: dict[str, dict[int, Run]]
) -> None:
    (row,) = asked(indelible, store, "sample", 41, "--sweep", FLIP)
    child = attempts[FLIP][41]
    assert (row["z"], row["verdict"]) == (child.metrics["forgetting/z"], verdict(child))
    for row in asked(indelible, store, "sweeps"):
        own = attempts[row["name"]].values()
        found = [v == "forgotten" for child in own if (v := verdict(child)) is not None]
        assert row["forgotten"] == pytest.approx(fmean(found))
        assert row["until"] == {FLIP: "flip", REFERENCE: "reference"}[row["name"]]
        assert row["at_reference"] == {FLIP: None, REFERENCE: len(SAMPLES)}[row["name"]]


@pytest.fixture(scope="module")
def pages(store: Path) -> dict[str, Page]:
    """The report of each sweep."""
    found = {}
    for sweep in (FLIP, REFERENCE):
        words = ("report", "--sweep", sweep, "--output", str(store / sweep))
        assert run(["--store", str(store), *words]) == 0
        (path,) = (store / sweep).glob("*.html")
        found[sweep] = Page(path.read_text("utf-8"))
    return found


def test_the_first_screen_says_whether_they_were_forgotten(
    pages: dict[str, Page], attempts: dict[str, dict[int, Run]]
) -> None:
    texts = {}
    for sweep, children in attempts.items():
        texts[sweep] = pages[sweep].text.partition("In short")[0]
        verdicts = [v for child in children.values() if (v := verdict(child)) is not None]
        said = {
            "over-forgotten": verdicts.count("over_forgotten"),
            "remembered": verdicts.count("remembered"),
            "forgotten": verdicts.count("forgotten"),
        }
        for words, many in said.items():
            share = f"{100 * many / len(verdicts):.1f}".removesuffix(".0")
            assert f" {words} {share}%" in texts[sweep]
        assert f"% of {len(verdicts)} attempts the network was" in texts[sweep]
    assert "prediction of the sample flips , or when" in texts[FLIP]
    assert "had it never seen the sample: at the reference , or when" in texts[REFERENCE]
    assert "at the reference, network in order" in texts[REFERENCE]
    assert "flipped" not in texts[REFERENCE]


def test_what_was_attempted_both_ways_stands_side_by_side(
    store: Path, pages: dict[str, Page], attempts: dict[str, dict[int, Run]], before: float
) -> None:
    judged = [s for s in SAMPLES if all(verdict(attempts[end][s]) for end in attempts)]
    forgotten, mean, worst = {}, {}, {}
    for end, children in attempts.items():
        verdicts = [verdict(children[sample]) for sample in judged]
        costs = [lost(children[sample], before) or 0.0 for sample in judged]
        forgotten[end] = verdicts.count("forgotten") / len(judged)
        mean[end], worst[end] = fmean(costs), max(costs)
    for own, other in ((FLIP, REFERENCE), (REFERENCE, FLIP)):
        with open_warehouse(store / "analysis.duckdb") as warehouse:
            (sweep,) = (r for r in warehouse.report("sweeps").records() if r["name"] == own)
            (row,) = warehouse.report("stops", sweep=sweep["sweep_id"]).records()
        assert (row["algorithm"], row["samples"]) == ("ga", len(judged))
        for start, end in (("", own), ("other_", other)):
            assert row[f"{start}forgotten"] == pytest.approx(forgotten[end])
            assert row[f"{start}mean_points_lost"] == pytest.approx(mean[end])
            assert row[f"{start}worst_points_lost"] == pytest.approx(worst[end])
        instead = f"for {points(mean[other])} points of test accuracy instead of "
        assert f"{instead}{points(mean[own])}." in pages[own].text
        cells = [f"{points(x)} {points(y)}" for x, y in ((mean[e], worst[e]) for e in attempts)]
        assert all(cell in pages[own].text for cell in cells)


def test_the_page_names_ends_at_the_reference(store: Path, pages: dict[str, Page]) -> None:
    found = pages[REFERENCE]
    counts = {row["status"]: row["count"] for row in found.data["statuses"] if row["count"]}
    with open_warehouse(store / "analysis.duckdb") as warehouse:
        rows = warehouse.query(
            "select ending(status, test_points_lost), count(*) from attempts join sweeps using "
            f"(sweep_id, sweep, dataset, arch, base_run_id) where sweep = '{REFERENCE}' group by 1"
        ).rows
    assert counts == dict(rows)
    assert "ended where the network would stand, had it never seen the sample;" in found.text
    assert re.search(r"; with ga [\d.]+% had nothing to do", found.text)
    assert "No attempt that ended there cost more than 5 points" in found.text


def test_mlflows_table_has_z_beside_gt(store: Path) -> None:
    opened = open_store(store)
    (sweep, *_) = opened.finished_runs(Kind.SWEEP)
    experiment = opened.client.get_experiment(sweep.experiment_id)
    table = json.loads(experiment.tags[f"mlflow.sharedViewState.{sweep.run_id}"])
    columns = [column.strip("`") for column in table["selectedColumns"][:3]]
    assert columns == ["metrics.`gt", "metrics.`forgetting/z", "metrics.`forgetting/forgotten"]


# Made-up attempts


def made_up() -> Members:
    """Of two algorithms, with ties in z, and one sample without."""
    members = sweep_of(0, 9)
    for number, each in enumerate(members):
        z = float(each["sample_id"] // 2 - 2) * (1 + number // 9)
        known = {"test_accuracy": 0.9 - each["sample_id"] / 100, "z": z, "z_error": 0.4}
        known["forgotten"] = float(abs(z) < 1.645)
        each["metrics"] |= known if each["sample_id"] else {"test_accuracy": 0.5}
    return members


def test_a_verdict_follows_from_z_and_the_limit(tmp_path: Path) -> None:
    with warehouse_of(tmp_path, made_up(), KNOWN) as warehouse:
        rows = warehouse.query("select sample_id, algorithm, z, verdict from attempts").rows
        ranked = warehouse.query("from ranking('s', 'z') order by algorithm, place").records()
    assert len(rows) == 18
    for sample, _, z, said in rows:
        if sample == 0:
            assert (z, said) == (None, None)
        else:
            is_within = abs(z) < 1.645
            word = "forgotten" if is_within else "over_forgotten" if z < 0 else "remembered"
            assert said == word
    ga = [(row["sample_id"], row["difficulty_rank"], row["tied"]) for row in ranked[:8]]
    assert {row[0] for row in ga} == set(range(1, 9))
    pairs = [(rank, 1) for rank in (2, 2, 4, 4, 6, 6)]
    assert sorted(row[1:] for row in ga) == [(1, 0), *pairs, (8, 0)]


def test_rank_by_z_needs_reference_models(done: Done, indelible: Indelible) -> None:
    answer = indelible(done.folder, "rank", "--by", "z")
    assert answer.code == 2
    assert "no attempt has a z: 'indelible train --references N'" in answer.err
