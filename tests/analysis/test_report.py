"""The report's page and its sentences, built of warehouses made by hand."""

from __future__ import annotations

import base64
import csv
import html
import io
import json
import math
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from analysis.answers import ASKED, Answer, Answers, answer, ask
from analysis.findings import (
    REASONS,
    beside_paper,
    contradicted,
    could_we_have_known,
    in_short,
    reason,
    why,
)
from analysis.pictures import Pictures, data_uri
from analysis.report import render
from analysis.warehouse import open_warehouse, rebuild
from analysis.words import looks, signed
from factors import columns
from tests.analysis.warehouses import (
    ATTACK,
    EACH,
    Members,
    labelled,
    member,
    mixed,
    staging,
    strength,
    sweep_of,
    warehouse_of,
)
from unlearning.outcome import Status

HOSTILE = "</script><img src=x onerror=alert(1)>'\"{{ 7 * 7 }}"
SIZES = ("pre_size", "size")
THREE = ("ga", "salun", "neggrad")
MINUS = "\N{MINUS SIGN}"
NAN = float("nan")


class Page(HTMLParser):
    """What a page is made of: tags with their attributes, and text outside of scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inside = ""
        self.parts: dict[str, list[str]] = {"script": [], "style": [], "": []}
        self.feed(html)
        self.text = " ".join(" ".join(self.parts[""]).split())
        self.data: dict[str, Any] = json.loads(self.parts["script"][0])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside = tag

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        self.parts[self.inside if self.inside in self.parts else ""].append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def members_of(*algorithms: str, n: int = 12, **changes: Any) -> Members:
    random = np.random.default_rng(0)

    def one(algorithm: str, k: int) -> dict[str, Any]:
        f, u, size = random.random(3)
        drawn: dict[str, Any] = {"f": f, "u": 0.5 + 0.4 * u, "size": size, "pre_size": float(k)}
        return member(k, algorithm=algorithm, **drawn | changes)

    return [one(algorithm, k) for algorithm in algorithms for k in range(n)]


def answers_of(folder: Path, members: Members, factors: Sequence[str] = SIZES) -> Answers:
    folder.mkdir(exist_ok=True)
    with warehouse_of(folder, members, factors) as warehouse:
        return ask(warehouse, "s")


def pictures_for(answers: Answers, **changes: Any) -> Pictures:
    return Pictures({k: np.full((8, 8), 0.5) for k in answers.sample_ids}, **changes)


def page(answers: Answers, pictures: Pictures | None = None) -> Page:
    shown = pictures_for(answers) if pictures is None else pictures
    return Page(render(answers, shown, in_short(answers, shown), "http://127.0.0.1:5000"))


def page_of(folder: Path, members: Members, factors: Sequence[str] = SIZES) -> Page:
    return page(answers_of(folder, members, factors))


def made_up(**rows: Members) -> Answers:
    """Answers that have these rows only."""
    return Answers({name: Answer(rows.get(name, []), "") for name in ASKED})


# The page as a whole


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the warehouse of a sweep of three algorithms is."""
    return tmp_path_factory.mktemp("three")


@pytest.fixture(scope="module")
def three(folder: Path) -> Answers:
    """The answers about that sweep."""
    return answers_of(folder, members_of(*THREE))


def test_every_section_says_what_there_is(three: Answers) -> None:
    found = page(three, pictures_for(three, classes=("even", "odd")))
    levels = [int(tag[1]) for tag, _ in found.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == levels.count(1) == 1
    assert all(deeper <= level + 1 for level, deeper in pairwise(levels))
    anchors = {str(link["href"])[1:] for link in found.all("a") if str(link["href"])[0] == "#"}
    assert anchors <= {section.get("id") for section in found.all("section")}
    assert all(word in found.text for word in (*THREE, "pre_size", "even", "odd"))
    options = [option["value"] for option in found.all("option")]
    factors = [option for option in options if option in found.data["factors"]]
    assert factors[0] == "pre_size"  # what is known before comes first
    assert found.html == page(three, pictures_for(three, classes=("even", "odd"))).html


def test_every_term_is_in_the_glossary_one_click_away(three: Answers) -> None:
    found = page(three)
    text, _, glossary = found.text.rpartition("What do the words mean?")
    assert all(f" {term} " in glossary for term in ("GT", "ρ", "p", "ceiling", "index", "margin"))
    before = text.partition("GT, ρ and p are explained")[0]
    assert not re.findall(r"\bp [=<]|λ|\bW\b", before)
    assert found.html.index('href="#glossary"') < found.html.index('id="ends"')


def test_data_is_embedded_once_and_belongs_together(three: Answers) -> None:
    members, data = members_of(*THREE), page(three).data
    assert set(data["factors"]) == {*SIZES, "test_prob_diff", "forget_prob_diff", "steps"}
    assert len(data["images"]) == 12
    by_member = {(m["algorithm"], m["sample_id"]): m["metrics"]["size"] for m in members}
    keys = zip(data["members"]["algorithm"], data["members"]["sample_id"], strict=True)
    found = dict(zip(keys, data["factors"]["size"]["values"], strict=True))
    assert found == {key: pytest.approx(value, rel=1e-5) for key, value in by_member.items()}
    before = data["factors"]["pre_size"]  # a sample's, whatever the algorithm
    assert before["values"] == [*range(12)]


def test_of_very_many_samples_some_are_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("analysis.answers.MOST", 10)
    found = page_of(tmp_path, members_of("ga", "salun", n=100))
    drawn = set(found.data["members"]["sample_id"])
    assert drawn >= {*range(0, 100, 10), 1, 2, 97, 98, 99}  # and the ends of pre_size
    assert len(drawn) < 60
    assert {int(sample) for sample in found.data["images"]} == drawn
    assert found.data["sizes"] == {"ga": 100, "salun": 100}
    assert f"Of the 100 samples {len(drawn)} are drawn" in found.text
    shown = [image["data-sample"] for image in found.all("img") if "data-sample" in image]
    assert {int(str(sample)) for sample in shown} <= drawn


def test_nothing_is_fetched_and_every_picture_leads_to_its_sample(three: Answers) -> None:
    found = page(three)
    assert not {"iframe", "object", "embed", "base", "form"} & {tag for tag, _ in found.tags}
    for tag, attributes in found.tags:
        for name in ("src", "href", "srcset", "poster", "action"):
            target = attributes.get(name) or "#"
            allowed = ("http://127.0.0.1:5000/#/", "https://arxiv.org/") if tag == "a" else ()
            assert target.startswith(("#", "data:", *allowed)), (tag, name, target)
    assert not re.search(r"url\(|@import", "".join(found.parts["style"]))
    assert all("alt" in image for image in found.all("img"))
    tags = [(tag, attributes) for tag, attributes in found.tags if tag in ("a", "img")]
    pictures = [k for k, (tag, own) in enumerate(tags) if tag == "img" and "data-sample" in own]
    assert len(pictures) == 12
    for k in pictures:
        tag, link = tags[k - 1]
        assert (tag, link["href"]) == ("a", "#sample")
        assert link["data-open"] == tags[k][1]["data-sample"]


def test_hostile_names_are_text(tmp_path: Path) -> None:
    sweep, algorithm, factor, missing, *classes = (f"{k}{HOSTILE}" for k in range(6))
    tables = staging(members_of(algorithm, "salun"), SIZES)
    for table, column, name in (("runs", "name", sweep), ("catalogs", "title", factor)):
        place = tables[table].schema.get_field_index(column)
        names = pa.array([name] * len(tables[table]))
        tables[table] = tables[table].set_column(place, column, names)
    rebuild(tmp_path / "w.duckdb", tables)
    with open_warehouse(tmp_path / "w.duckdb") as warehouse:
        answers = ask(warehouse, "s")
    found = page(answers, pictures_for(answers, classes=tuple(classes), missing=missing))
    shown = " ".join(found.parts[""])
    assert all(name in shown for name in (sweep, algorithm, factor, missing, *classes))
    assert "onerror" not in {name for _, attributes in found.tags for name in attributes}
    assert found.html.count("</script") == 3
    assert "alert" not in "".join(found.parts["script"][1:])


def listed(rows: Members) -> Members:
    """Rows with lists in the place of arrays, and None where these have no number."""

    def plain(value: Any) -> Any:
        if not isinstance(value, np.ndarray):
            return value
        return [None if math.isnan(each) else each for each in value.tolist()]

    return [{name: plain(value) for name, value in row.items()} for row in rows]


def test_sql_beside_a_table_answers_as_it_stands(three: Answers, folder: Path) -> None:
    with open_warehouse(folder / "w.duckdb") as warehouse:
        for found in three.by_name.values():
            assert warehouse.query(found.sql).records() == listed(found.rows)
        tricky = answer(warehouse, "statuses", sweep="it's")
        assert warehouse.query(tricky.sql).rows == []


def test_what_is_not_there_is_said(three: Answers, tmp_path: Path) -> None:
    found = page(three, Pictures(missing="the files of d are not there"))
    assert "no pictures of the samples: the files of d are not there" in found.text
    assert not found.all("img")
    wrong = members_of("salun", status="already_wrong", f=NAN, u=NAN)
    tables = staging([*members_of("ga"), *wrong], ("size",))
    runs = tables["runs"]["run_id"].to_pylist()
    status = ["RUNNING" if run in {f"m{k}" for k in range(12)} else "FINISHED" for run in runs]
    place = tables["runs"].schema.get_field_index("status")
    tables["runs"] = tables["runs"].set_column(place, "status", pa.array(status))
    rebuild(tmp_path / "w.duckdb", tables)
    with open_warehouse(tmp_path / "w.duckdb") as warehouse:
        text = page(ask(warehouse, "s")).text
    assert "12 attempts are missing" in text
    assert "There are too few outcomes to say anything" in text
    assert "No attempt has a GT" in text


def test_of_one_algorithm_the_page_says_what_it_cannot_say(tmp_path: Path) -> None:
    members = [*members_of("other"), member(99, 0.5, 0.5, algorithm="other", label=7, size=0.1)]
    found = page_of(tmp_path, members)
    for said in (
        "It takes two algorithms",
        "Is difficulty a matter of class?",
        "Nothing of this sweep was measured twice",
        "The paper has none of these",
        "this base model and this seed of unlearning alone",
        "by the formula of Bonett and Wright",
        "whose chance they share",
    ):
        assert said in found.text
    assert "jackknife" not in found.text
    assert "‡" not in found.text
    assert "pools two questions" not in found.text
    tables = re.findall(r"<table\s(.*?)>(.*?)</table>", found.html, flags=re.DOTALL)
    assert any("single" in how for how, _ in tables)
    for how, rows in tables:
        assert ("single" in how) == (rows.count("<tr") == 2)
        assert "single" not in how or "<br>" not in rows


def test_the_page_says_of_each_algorithm_what_is_odd(tmp_path: Path) -> None:
    chance: dict[str, Any] = dict(zip(ATTACK, (0.3, 0.5, strength(0.5, *EACH)), strict=True))
    mixed_up = [
        m | {"status": "flipped" if m["sample_id"] % 2 else "max_steps"}
        for m in members_of("neggrad")
    ]
    members = [
        *members_of("retrain", status="max_steps", test_accuracy=0.9),
        *members_of("ga", test_accuracy=0.8, unlearning_gap=0.25, **chance),
        *mixed_up,
        *members_of("salun", f=-1.0),
        *members_of("scrub_r", status="rewound"),
    ]
    text = page_of(tmp_path, members, (*SIZES, "test_accuracy", "unlearning_gap", *ATTACK)).text
    assert "ga 12 10.0 10.0 80.0% 2.0 – 0.25 0 12 0 0" in text
    assert "retrain 12 0.0 0.0 90.0% 2.0 – the reference 0 0 0 12" in text
    assert "; with scrub_r 100% flipped it, but went back to a step before." in text
    assert "by jackknife with neggrad" in text
    assert "constant gt" in text
    assert "‡ The membership attack is not known to be better than chance (ga)" in text


# How attempts ended


def test_every_end_of_an_attempt_has_its_words_colour_and_count(tmp_path: Path) -> None:
    ends = [look for look in looks() if look["position"]]
    assert {end["status"] for end in ends} == set(Status)
    members = [
        {**m, "status": status, "algorithm": algorithm}
        for algorithm in ("ga", "scrub_r")
        for m, status in zip(members_of("ga", n=len(Status)), Status, strict=True)
    ]
    found = page_of(tmp_path, members)
    counts = {(row["algorithm"], row["status"]): row["count"] for row in found.data["statuses"]}
    for name in ("ga", "scrub_r"):
        assert counts.pop((name, "damaged")) == 0  # what it cost is not known
    assert counts == {(name, status): 1 for name in ("ga", "scrub_r") for status in Status}
    assert " ".join([*(end["words"] for end in ends), "mean GT"]) in found.text
    for look in looks():
        assert found.data["endings"][look["status"]]["words"] == look["words"]
        assert "".join(found.parts["style"]).count(f"--{look['status']}: #") == 2  # light and dark
    for end in ends:
        assert f"{end['words'].capitalize()}: {end['meaning']}." in found.text
    shown = {*found.data["members"]["sample_id"], *found.data["others"]["sample_id"]}
    assert shown == {m["sample_id"] for m in members}


def test_flips_that_damaged_the_network_stand_apart(tmp_path: Path) -> None:
    after = (0.9, 0.85, 0.84, 0.2)  # of 0.9: a loss of 5 points is no damage yet
    members = [
        member(k, algorithm=name, f=0.5, u=0.5 + k / 9, test_accuracy=accuracy)
        for name, accuracies in (("ga", after), ("salun", (0.1, *after[1:])))
        for k, accuracy in enumerate(accuracies)
    ]
    members += [member(k, NAN, NAN, "already_wrong") for k in (4, 5)]
    with warehouse_of(tmp_path, members, ("test_accuracy",)) as warehouse:
        answers, strict = ask(warehouse, "s"), ask(warehouse, "s", max_loss=4)
    found = page(answers)
    counts = {(row["algorithm"], row["status"]): row["count"] for row in found.data["statuses"]}
    flips = [counts[name, status] for name in ("ga", "salun") for status in ("flipped", "damaged")]
    assert flips == [2, 2, 1, 3]
    assert found.data["members"]["ending"].count("damaged") == 5
    assert "attempts finished 10 of 10 flipped, network in order 37.5% of 8 run" in found.text
    assert "ga 6 20.3 70.0 69.8%" in found.text
    assert "62.5% of the flips cost more than 5 points" in found.text
    assert "; the costliest attempt took 80.0, with salun." in found.text
    assert "With salun most of the flips damaged the network" in found.text
    assert [row["damaged"] for row in strict.rows("summary")] == [3, 4]


def test_verdicts_are_drawn_and_an_audit_is_told(three: Answers) -> None:
    verdicts = {"forgotten": 1, "over_forgotten": 2, "remembered": 0}
    judged = [row | verdicts for row in three.rows("summary")]
    names = ("auc_ratio", "auc_ratio_low", "auc_ratio_high")
    audits = [
        {"algorithm": "ga", **dict(zip(names, (0.9, 0.85, 0.95), strict=True))},
        {"algorithm": "salun", **dict.fromkeys(names, NAN)},
    ]
    told = {"summary": Answer(judged, ""), "audited": Answer(audits, "")}
    found = page(Answers(three.by_name | told))  # type: ignore[operator]
    assert found.data["verdicts"] == [
        {"algorithm": name, "status": verdict, "count": count}
        for name in sorted(THREE)
        for verdict, count in verdicts.items()
    ]
    assert "with ga can be told from those that never saw it with an AUC of 0.90" in found.text
    assert "with salun can be told" not in found.text


# The first screen

ROW: dict[str, Any] = {
    **{"confidence": 0.9999, "margin": 12.9, "mean_steps": 16.0, "attempts": 1, "arrived": 1},
    **{"tied": 0, "until": "flip", "accuracy_before": 0.985, "accuracy_after": 0.861},
}
UNMEASURED = {"accuracy_after": None}
FALL = "accuracy 98.5 to 86.1%"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, f"almost certain (margin 12.9): 16 steps, {FALL}"),
        (UNMEASURED | {"confidence": 0.1, "margin": -0.5}, f"wrong (margin {MINUS}0.5): 16 steps"),
        (
            {"margin": None, "mean_steps": 1.0, "attempts": 4, "arrived": 3},
            f"almost certain: 1 step, {FALL}, 3 of 4 flipped",
        ),
        (
            UNMEASURED | {"until": "reference", "attempts": 4, "arrived": 2},
            "almost certain (margin 12.9): 16 steps, 2 of 4 came to the reference",
        ),
        ({"confidence": None, "margin": None, "accuracy_before": None}, "16 steps"),
    ],
)
def test_a_reason_says_what_was_measured(changes: dict[str, Any], said: str) -> None:
    assert reason(ROW | changes) == said


def of(algorithm: str, ceiling: float | None, low: float | None, **other: Any) -> dict[str, Any]:
    interval = {"ceiling_low": low, "ceiling_high": None if low is None else 0.9}
    known = {"varied": "unlearning seed", "repeats": 5, "mean_rho": (ceiling or -0.4) ** 2}
    return known | {"algorithm": algorithm, "ceiling": ceiling, **interval, **other}


BEST: dict[str, Any] = {
    **{"phase": "pre", "factor": "margin", "family": "initial", "harder": "high"},
    **{"title": "Margin", "factors": 9},
}


def verdict(
    known: dict[str, tuple[float, float | None]] | None = None,
    factor: dict[str, float] | None = None,
    p_choice: float = 0.001,
    ceiling: float | None = None,
) -> str:
    """The answer where a prediction reached these rho and shares of the hardest tenth, and the best
    factor these rho, of at most this ceiling."""
    scores = [
        {"algorithm": k, "target": "gt", "rho": rho, "precision_10": found}
        for k, (rho, found) in (known or {}).items()
    ]
    cells = [{"algorithm": k, "factor": "margin", "rho": rho} for k, rho in (factor or {}).items()]
    strengths = [BEST | {"p_choice": p_choice}] if factor else []
    most = [of(name, ceiling, 0.1) for name in ("ga", "salun") if ceiling]
    return could_we_have_known(
        made_up(known=scores, strengths=strengths, heat_map=cells, ceilings=most)
    )


FACTOR = {"ga": -0.82}


@pytest.mark.parametrize(
    ("said", "begin", "within"),
    [
        (
            verdict({"ga": (0.99, 0.96), "scrub": (0.55, 0.4), "salun": (0.2, None)}),
            "Yes with ga, partly with scrub, no with salun. How far a prediction",
            "0.99 with ga (96% of the hardest tenth found), 0.55 with scrub (40%) and 0.20 with "
            "salun, where 1 is",
        ),
        (verdict({"ga": (0.99, 0.49)}), "Partly. ", "49%"),  # few of the hardest were found
        (verdict({"ga": (0.74, 0.9)}, ceiling=0.9), "Yes.", "0.74 of at most 0.90 with ga"),
        (verdict({"ga": (0.9, None)}, {"ga": -0.3, "ft": 0.1}), "Yes with ga.", "predicted of ft."),
        (verdict({"ga": (-0.4, None)}), "No. ", f"out: {MINUS}0.40 with ga, where"),
        (verdict(factor=FACTOR), "Yes. Nothing was predicted", "out: 0.82 with ga, where 1"),
        (verdict(factor=FACTOR, p_choice=0.2), "Not from this", "“Margin” comes nearest"),
        (verdict(), "That cannot be said: the outcomes put the samples in no order", ""),
    ],
)
def test_whether_it_was_known_is_said_of_the_prediction_or_of_the_best_factor(
    said: str, begin: str, within: str
) -> None:
    assert said.startswith(begin)
    assert within in said


SURER = "The surer the network was of a sample, the"


@pytest.mark.parametrize(
    ("best", "rhos", "said"),
    [
        (
            {},
            {"ga": (-0.8, -0.9, -0.7), "salun": (-0.4, None, None)},
            f"{SURER} harder it was to unlearn: ρ of “Margin” with GT is {MINUS}0.80 "
            f"({MINUS}0.90 to {MINUS}0.70) with ga to {MINUS}0.40 with salun.",
        ),
        ({"harder": "low"}, {"ga": (-0.8, None, None)}, f"{SURER} easier"),
        (
            {"family": "theirs"},
            {"ga": (-0.8, None, None)},
            "The higher a sample's “Margin”, the harder it was to unlearn: ρ of this with GT is",
        ),
        ({"p_choice": 0.2}, {"ga": (-0.8, None, None)}, ""),
    ],
)
def test_the_strongest_factor_is_told_in_plain_words(
    best: dict[str, Any], rhos: dict[str, tuple[float, float, float]], said: str
) -> None:
    cells = [
        {"algorithm": name, "factor": "margin", "rho": rho, "ci_low": low, "ci_high": high}
        for name, (rho, low, high) in rhos.items()
    ]
    found = why(made_up(strengths=[BEST | {"p_choice": 0.001} | best], heat_map=cells))
    assert found.startswith(said)
    assert bool(found) == bool(said)


def test_reasons_are_of_factors_or_families_that_there_are() -> None:
    kinds = {name.rpartition("_")[0] for name in (column.name for column in columns())}
    known = kinds | {name for column in columns() for name in (column.name, column.family)}
    with REASONS.open(encoding="utf-8", newline="") as file:
        told = {row["of"] for row in csv.DictReader(file)}
    assert told <= known
    assert {column.family for column in columns() if column.phase == "pre"} <= told


def test_no_sample_is_both_among_the_hardest_and_the_easiest() -> None:
    extremes = made_up(overall=[{"sample_id": k, "from_easiest": 1} for k in range(5)]).extremes
    named = {side: [row["sample_id"] for row in rows] for side, rows in extremes.items()}
    assert named == {"hardest": [0, 1, 2], "easiest": [3, 4]}


def test_a_factor_that_is_hard_at_the_other_end_than_said_is_told(tmp_path: Path) -> None:
    """All are said to be hard where high: GT, which u orders, should be small there."""
    members = [
        member(
            k, algorithm=name, f=0.9, u=0.5 + k / 100,
            pre_high=-float(k), pre_low=float(k), pre_once=float(k if name == "ga" else -k),
        )
        for name in ("ga", "salun")
        for k in range(20)
    ]  # fmt: skip
    answers = answers_of(tmp_path, members, ("pre_high", "pre_low", "pre_once"))
    (row,) = answers.rows("contradictions")
    assert (row["factor"], row["against"], row["lean"]) == ("pre_low", ["ga", "salun"], 0)
    assert contradicted(row) == (
        "High values of “pre_low” are said to be hard, but were measured to be easy: clearly with "
        "ga and salun."
    )


# How samples were unlearned


def test_samples_fall_in_bands_and_are_taken_for_other_classes(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    members = members_of("ga", "salun", n=9)
    for m in members:
        m["probs"] = sorted(random.random(random.integers(1, 6)).tolist(), reverse=True)
        m["metrics"]["steps"] = float(len(m["probs"]) - 1)
    tables = staging(members, ())
    taken = [
        {"run_id": f"m{number}", "key": "flipped_to", "value": str(1 - m["label"])}
        for number, m in enumerate(members)
        if m["sample_id"] > 4
    ]
    own_tags = pa.Table.from_pylist(taken, tables["tags"].schema)
    rebuild(tmp_path / "w.duckdb", tables | {"tags": pa.concat_tables([tables["tags"], own_tags])})
    with open_warehouse(tmp_path / "w.duckdb") as warehouse:
        answers = ask(warehouse, "s")
    curves = {(row["algorithm"], row["sample_id"]): row for row in answers.rows("curves")}
    for m in members:
        drawn = [max(prob, 0.001) for prob in m["probs"]]
        assert curves[m["algorithm"], m["sample_id"]]["probs"] == pytest.approx(drawn, abs=1e-5)
    for row in answers.rows("bands"):
        own = [m["probs"] for m in members if m["algorithm"] == row["algorithm"]]
        held = [probs[min(row["step"], len(probs) - 1)] for probs in own]
        low, middle, high = np.quantile(held, (0.1, 0.5, 0.9))
        band = [row[end] for end in ("low", "middle", "high")]
        assert band == pytest.approx([low, middle, high], abs=1e-5)
    longest = {m["algorithm"]: 0 for m in members}
    for m in members:
        longest[m["algorithm"]] = max(longest[m["algorithm"]], len(m["probs"]))
    assert len(answers.rows("bands")) == sum(longest.values())
    assert answers.rows("flips") == [
        {"algorithm": name, "label": label, "flipped_to": 1 - label, "attempts": 2}
        for name in ("ga", "salun")
        for label in (0, 1)
    ]
    data = page(answers, pictures_for(answers, classes=("even", "odd"))).data
    assert (data["curves"], data["bands"]) == (
        listed(answers.rows("curves")),
        answers.rows("bands"),
    )
    assert data["flips"][0]["flipped_to"] == "odd"


# What GT says


def test_two_large_populations_are_shown_apart(tmp_path: Path) -> None:
    members = [m | {"label": 4} for m in mixed(40, 2)]  # 5% flipped
    found = page_of(tmp_path, members).html
    assert "pools two questions" in found
    folded = re.findall(r"<details class=\"more\"( open)?><summary>(.*?)</summary>", found)
    folds = {html.unescape(title): bool(opened) for opened, title in folded}
    for what in ("flipped", "did not flip"):
        assert folds[f"The same over the samples that {what}"]
    assert not folds["The same within classes"]
    assert "Kruskal" not in found  # it takes two classes


def test_galleries_say_how_many_are_tied_and_show_no_arbitrary_ones(tmp_path: Path) -> None:
    """GT is 0 for all; the larger its id, the further a sample went the wrong way."""
    answers = answers_of(tmp_path, [
        member(k, f=-0.01 * k, u=0.5, gt=0.0, algorithm=name)
        for name in ("ga", "scrub") for k in range(7)
    ])  # fmt: skip
    ((name, gallery),) = answers.galleries["gt"].items()
    assert name == "all algorithms alike"
    assert [row["sample_id"] for row in gallery["hardest"]] == [6, 5, 4]
    assert [row["sample_id"] for row in gallery["easiest"]] == [0, 1, 2]
    found = page(answers)
    assert "2 steps, tied with 6" in found.text
    assert found.data["members"]["tied"] == [6] * 14


# Classes and the paper


def test_only_where_the_test_says_so_classes_are_harder(tmp_path: Path) -> None:
    members = [
        m | {"sweep": sweep, "seed": seed}
        for seed, sweep in enumerate("st")
        for m in labelled(3, {"ga": 0.0, "salun": 0.1, "scrub": 0.1})
    ]
    answers = answers_of(tmp_path, members)
    with open_warehouse(tmp_path / "w.duckdb") as warehouse:
        query = (
            "select label, avg(percentile) from attempts where sweep = 's' and algorithm != 'ga' "
            "group by label"
        )
        means = dict(warehouse.query(query).rows)
    pictures = Pictures(classes=("c0", "c1", "c2"))
    said = (
        "Classes differ with salun and scrub (p < 0.05): there the samples of class c0 are harder "
        "than "
        f"{means[0]:.0f}% of all on average, those of class c2 than {means[2]:.0f}%."
    )
    told = in_short(answers, pictures)
    assert said in told
    assert len(told) <= 5
    assert not any(". " in line for line in told)
    text = page(answers, pictures).text
    assert "Classes differ with salun, scrub." in text
    assert "p < 0.001" in text


def test_the_finding_says_what_chance_gives(tmp_path: Path) -> None:
    u = ("test_accuracy", "test_loss_diff", "test_prob_diff")  # a part of GT, by three names
    factors = (*u[:2], "elapsed_s", "model_distance_kl", "model_distance_abs")
    members = sweep_of(5, 40, ("ga", "neggrad", "salun", "scrub"))
    for k, m in enumerate(members):
        m["metrics"] |= {name: float(k * (i + 7) % 41) for i, name in enumerate(factors)}
    answers = answers_of(tmp_path, members, factors)
    rows = answers.rows("paper")
    own = [row | {"dataset": "mnist"} for row in rows]
    told = Answers(answers.by_name | {"paper": Answer(own, "")})  # type: ignore[operator]
    (said,) = beside_paper(told.rows("paper"))
    assert said in page(told).text
    of_mnist = [row for row in rows if row["against"] == "mnist" and row["rho"]]
    assert len(of_mnist) == 24  # six factors: test_prob_diff, steps and one more are all alike
    agreeing = sum(row["signs_agree"] for row in of_mnist if row["factor"] not in u)
    assert f"on MNIST {agreeing} of 16 (by chance 4 to 12)" in said
    assert ("not within chance" in said) == (not 4 <= agreeing <= 12)
    assert "SVHN" not in said
    counts = rf"\d of 4 0 to 4 \d of 4 [+{MINUS}]\d\.\d\d "
    assert re.search(rf"all SVHN ga {counts}all neggrad {counts}", page(answers).text)


# Ceilings


def test_the_ceiling_under_other_base_models_is_not_that_of_what_looks_at_this(
    tmp_path: Path,
) -> None:
    """Every factor known before looks at the base model."""
    members = members_of("ga") + [
        m | {"sweep": "t", "base": "c", "base_seed": 1}
        for m in members_of("ga", n=11)
        if m["sample_id"] != 3
    ]
    text = page_of(tmp_path, members).text
    assert "Under another base model seed" in text
    assert "anything that does not look at this" in text
    assert "the most that can be expected ±" not in text
    assert "The same with means over repeats" not in text


def test_a_ceiling_that_may_be_zero_is_not_a_number(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    noise, same = (
        [
            member(k, f=float(random.uniform(0.1, 0.9)), u=0.9, algorithm=name, pre_size=float(k))
            | {"sweep": sweep, "seed": seed}
            for seed, sweep in enumerate(("s", "t"))
            for k in range(30)
        ]
        for name in ("noise", "same")
    )
    for m in same:
        m["metrics"]["forget_prob_diff"] = 0.1 + m["sample_id"] / 50 + 0.1 * random.random()
    answers = answers_of(tmp_path, [*noise, *same])
    by_name = {row["algorithm"]: row for row in answers.rows("ceilings")}
    row, text = by_name["same"], page(answers).text
    assert by_name["noise"]["mean_rho_low"] < 0 < row["mean_rho_low"]
    interval = f"{row['ceiling_low']:.2f} to {row['ceiling_high']:.2f}"
    untold = "the most that can be expected not distinguishable from 0"
    assert f"{untold} ±{row['ceiling']:.2f} ({interval})" in text
    low, high, mean = (
        math.sqrt(2 * row[key] / (1 + row[key]))
        for key in ("mean_rho_low", "mean_rho_high", "mean_rho")
    )
    assert f"{untold} ±{mean:.2f} ({low:.2f} to {high:.2f})" in text
    assert f"same unlearning seed 2 30 +{row['mean_rho']:.2f}" in text
    assert "Under another unlearning seed" in text
    assert "anything known before unlearning" in text
    assert "The same with means over repeats" in text
    assert "2 repeats are little: they make 1 pair of seeds" in text


AGAIN = "Under another unlearning seed"
BEYOND = "the most that anything known before unlearning can be expected to reach is ρ"
SCRUB = "0.80 (0.60 to 0.90) with scrub"


@pytest.mark.parametrize(
    ("ceilings", "said"),
    [
        (
            [of("ga", 0.7, 0.5), of("salun", 0.6, 0.4), of("scrub", 0.8, 0.6)],
            [f"{AGAIN}, {BEYOND} 0.60 (0.40 to 0.90) with salun to {SCRUB}."],
        ),
        (
            [of("ga", 0.2, 0.0), of("salun", None, 0.0), of("scrub", 0.8, 0.6)],
            [f"{AGAIN}, {BEYOND} {SCRUB}; GT with ga and salun cannot be told from chance."],
        ),
        (
            [of("ga", 0.7, 0.5, repeats=2), of("salun", 0.1, 0.0, repeats=3)],
            [
                f"{AGAIN} (2 or 3 repeats only), {BEYOND} 0.70 (0.50 to 0.90) with ga; GT with "
                "salun cannot be told from chance."
            ],
        ),
        ([of("ga", 0.7, None)], [f"{AGAIN}, {BEYOND} 0.70 with ga."]),  # below eight samples
        ([of("ga", None, None, mean_rho=None)], []),
    ],
)
def test_ceilings_are_told_with_their_intervals(ceilings: Members, said: list[str]) -> None:
    assert in_short(made_up(ceilings=ceilings), Pictures()) == said


# Pictures and numbers


@pytest.mark.parametrize(
    ("shape", "kind", "size"),
    [
        ((8, 8), "png", (8, 8)),
        ((200, 100, 3), "jpeg", (32, 64)),
        ((1, 65), "jpeg", (64, 1)),
    ],
)
def test_pictures_are_kept_or_reduced(
    shape: tuple[int, ...], kind: str, size: tuple[int, int]
) -> None:
    image = np.random.default_rng(0).random(shape)
    head, _, text = data_uri(image).partition(",")
    assert head == f"data:image/{kind};base64"
    picture = Image.open(io.BytesIO(base64.b64decode(text)))
    assert picture.size == size
    if kind == "png":
        assert np.array_equal(np.asarray(picture), (image * 255).round().astype(np.uint8))


def test_signs_are_signs() -> None:
    said = [signed(value) for value in (-0.871, 0.5, -0.004, None)]
    assert said == [f"{MINUS}0.87", "+0.50", "+0.00", "–"]
