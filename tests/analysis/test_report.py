"""The report's page and its sentences, built of warehouses made by hand."""

from __future__ import annotations

import base64
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
from analysis.findings import contradicted, could_we_have_known, in_short, reason
from analysis.pictures import Pictures, data_uri
from analysis.report import render, write_report
from analysis.warehouse import open_warehouse, rebuild
from analysis.words import looks, signed
from tests.analysis.warehouses import (
    ATTACK,
    Members,
    attacked,
    labelled,
    member,
    mixed,
    staging,
    sweep_of,
    warehouse_of,
)
from unlearning.errors import UserError
from unlearning.outcome import Status

HOSTILE = "</script><img src=x onerror=alert(1)>'\"{{ 7 * 7 }}"
SIZES = ("pre_size", "size")
MINUS = "\N{MINUS SIGN}"


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
def pair(tmp_path_factory: pytest.TempPathFactory) -> Answers:
    """The answers about a sweep of two algorithms."""
    return answers_of(tmp_path_factory.mktemp("pair"), members_of("ga", "salun"))


def test_every_section_says_what_there_is(pair: Answers) -> None:
    found = page(pair, pictures_for(pair, classes=("even", "odd")))
    levels = [int(tag[1]) for tag, _ in found.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == levels.count(1) == 1
    assert all(deeper <= level + 1 for level, deeper in pairwise(levels))
    anchors = {str(link["href"])[1:] for link in found.all("a") if str(link["href"])[0] == "#"}
    assert anchors <= {section.get("id") for section in found.all("section")}
    assert all(word in found.text for word in ("ga", "salun", "pre_size", "even", "odd"))
    options = [option["value"] for option in found.all("option")]
    factors = [option for option in options if option in found.data["factors"]]
    assert factors[0] == "pre_size"  # what is known before comes first
    assert found.html == page(pair, pictures_for(pair, classes=("even", "odd"))).html


def test_data_is_embedded_once_and_belongs_together(pair: Answers) -> None:
    members, data = members_of("ga", "salun"), page(pair).data
    assert set(data["factors"]) == {*SIZES, "test_prob_diff", "forget_prob_diff", "steps"}
    assert len(data["images"]) == 12
    by_member = {(m["algorithm"], m["sample_id"]): m["metrics"]["size"] for m in members}
    keys = zip(data["members"]["algorithm"], data["members"]["sample_id"], strict=True)
    found = dict(zip(keys, data["factors"]["size"]["values"], strict=True))
    assert found == {key: pytest.approx(value, rel=1e-5) for key, value in by_member.items()}


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
    assert {int(str(image["data-sample"])) for image in found.all("img")} <= drawn


def test_nothing_is_fetched(pair: Answers) -> None:
    found = page(pair)
    assert not {"iframe", "object", "embed", "base", "form"} & {tag for tag, _ in found.tags}
    for tag, attributes in found.tags:
        for name in ("src", "href", "srcset", "poster", "action"):
            target = attributes.get(name) or "#"
            allowed = ("http://127.0.0.1:5000/#/", "https://arxiv.org/") if tag == "a" else ()
            assert target.startswith(("#", "data:", *allowed)), (tag, name, target)
    assert not re.search(r"url\(|@import", "".join(found.parts["style"]))
    assert all("alt" in image for image in found.all("img"))


@pytest.mark.parametrize("where", ["sweep", "algorithm", "class", "factor", "missing"])
def test_hostile_names_are_text(tmp_path: Path, where: str) -> None:
    tables = staging(members_of(HOSTILE if where == "algorithm" else "ga", "salun"), SIZES)
    for table, column in {"sweep": [("runs", "name")], "factor": [("catalogs", "title")]}.get(
        where, []
    ):
        place = tables[table].schema.get_field_index(column)
        names = pa.array([HOSTILE] * len(tables[table]))
        tables[table] = tables[table].set_column(place, column, names)
    rebuild(tmp_path / "w.duckdb", tables)
    with open_warehouse(tmp_path / "w.duckdb") as warehouse:
        answers = ask(warehouse, "s")
    classes = (HOSTILE, "odd") if where == "class" else ()
    missing = HOSTILE if where == "missing" else ""
    found = page(answers, pictures_for(answers, classes=classes, missing=missing))
    assert HOSTILE in " ".join(found.parts[""])
    assert "onerror" not in {name for _, attributes in found.tags for name in attributes}
    assert found.html.count("</script") == 3
    assert "alert" not in "".join(found.parts["script"][1:])


def test_sql_beside_a_table_answers_as_it_stands(tmp_path: Path) -> None:
    with warehouse_of(tmp_path, members_of("ga", "salun")) as warehouse:
        for found in ask(warehouse, "s").by_name.values():
            assert warehouse.query(found.sql).records() == found.rows
        tricky = answer(warehouse, "statuses", sweep="it's")
        assert warehouse.query(tricky.sql).rows == []


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    answers = answers_of(tmp_path, members_of("ga"))
    found = page(answers, Pictures(missing="the files of d are not there"))
    assert "no pictures of the samples: the files of d are not there" in found.text
    assert not found.all("img")
    tables = staging(members_of("ga"), ("size",))
    kinds = tables["runs"]["kind"].to_pylist()
    status = ["RUNNING" if kind == "member" else "FINISHED" for kind in kinds]
    place = tables["runs"].schema.get_field_index("status")
    tables["runs"] = tables["runs"].set_column(place, "status", pa.array(status))
    rebuild(tmp_path / "w.duckdb", tables)
    with open_warehouse(tmp_path / "w.duckdb") as warehouse:
        found = page(ask(warehouse, "s"))
    assert "12 attempts are missing" in found.text
    assert "There are too few outcomes to say anything" in found.text
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_report("", tmp_path / "file" / "report")


NAN = float("nan")
CASES: dict[str, tuple[Members, str]] = {
    "one algorithm": (members_of("ga"), "It takes two algorithms"),
    "equal gt": (members_of("ga", "salun", f=-1.0), "constant gt"),
    "only wrong ones": (
        members_of("ga", status="already_wrong", f=NAN, u=NAN),
        "No attempt has a GT",
    ),
    "a class of one": (
        [*members_of("ga"), member(99, f=0.5, u=0.5, label=7, size=0.1)],
        "Is difficulty a matter of class?",
    ),
    "never repeated": (members_of("ga"), "Nothing of this sweep was measured twice"),
    "not the paper's": (members_of("other"), "The paper has none of these"),
    "rewound": (
        members_of("ga") + members_of("scrub_r", status="rewound"),
        "100% of the attempts with scrub_r flipped it too, but went back to a step before.",
    ),
    "some were not run": (
        members_of("ga", n=4) + members_of("ga", n=8, status="already_wrong")[4:],
        "attempts finished 8 of 8 flipped, network in order 100% of 4 run",
    ),
    "an attack by chance": (
        attacked({"ga": [0.5, 0.52], "salun": [0.99, 0.98]}),
        "‡ The membership attack is not known to be better than chance (ga)",
    ),
    "two regimes": (
        [
            m | {"status": "flipped" if m["sample_id"] % 2 else "max_steps"}
            for m in members_of("ga")
        ],
        "by jackknife with ga",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_page_says_what_there_is_and_what_is_missing(tmp_path: Path, case: str) -> None:
    members, said = CASES[case]
    assert said in page_of(tmp_path, members, (*SIZES, *ATTACK)).text


def test_no_term_is_used_before_it_is_explained(tmp_path: Path) -> None:
    text = page_of(tmp_path, members_of("ga", "salun", "neggrad")).text
    before, explained, _ = text.partition("What follows speaks of GT")
    assert explained
    assert "In short" in before
    assert not re.findall(r"\bGT\b|ρ|λ|\bW\b", before.partition("Which samples of d are")[2])


def test_the_page_says_what_its_intervals_hold_for(tmp_path: Path) -> None:
    text = page_of(tmp_path, members_of("ga")).text
    assert "this base model and this seed of unlearning alone" in text
    assert "by the formula of Bonett and Wright" in text
    assert "whose chance they share" in text
    assert "jackknife" not in text
    assert "‡" not in text


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
    with warehouse_of(tmp_path, members, ("test_accuracy",)) as warehouse:
        answers, strict = ask(warehouse, "s"), ask(warehouse, "s", max_loss=4)
    found = page(answers)
    counts = {(row["algorithm"], row["status"]): row["count"] for row in found.data["statuses"]}
    flips = [counts[name, status] for name in ("ga", "salun") for status in ("flipped", "damaged")]
    assert flips == [2, 2, 1, 3]
    assert found.data["members"]["ending"].count("damaged") == 5
    assert "ga 4 20.3 70.0 69.8%" in found.text
    assert "62.5% of the flips damaged the network: they cost more than 5 points" in found.text
    assert "The costliest of all attempts, flip or not, took 80.0 points, with salun." in found.text
    assert "With salun most of the flips damaged the network" in found.text
    assert [row["damaged"] for row in strict.rows("summary")] == [3, 4]


def test_retraining_is_said_to_be_the_reference(tmp_path: Path) -> None:
    members = [
        *members_of("retrain", status="max_steps", test_accuracy=0.9),
        *members_of("ga", test_accuracy=0.8, unlearning_gap=0.25),
    ]
    text = page_of(tmp_path, members, ("test_accuracy", "unlearning_gap")).text
    assert "ga 12 10.0 10.0 80.0% 2.0 – 0.25 0 12 0" in text
    assert "retrain 12 0.0 0.0 90.0% 2.0 – the reference 0 0 12" in text
    assert "GT tends to rank retrain , which is exact unlearning, as the hardest" in text


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
        (UNMEASURED | {"confidence": 0.3, "margin": 0.4}, "very unsure (margin 0.4): 16 steps"),
        (UNMEASURED | {"confidence": 0.1, "margin": -0.5}, f"wrong (margin {MINUS}0.5): 16 steps"),
        ({"confidence": None, "mean_steps": 2.25}, f"margin 12.9: 2.3 steps, {FALL}"),
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


def verdict(
    known: dict[str, float] | None = None,
    factor: dict[str, float] | None = None,
    p_choice: float = 0.001,
) -> str:
    """The answer where these rho were reached by a prediction, and by the best factor."""
    best = {"phase": "pre", "factor": "margin", "title": "Margin", "factors": 9}
    scores = [{"algorithm": k, "target": "gt", "rho": rho} for k, rho in (known or {}).items()]
    cells = [{"algorithm": k, "factor": "margin", "rho": rho} for k, rho in (factor or {}).items()]
    strengths = [best | {"p_choice": p_choice}] if factor else []
    return could_we_have_known(made_up(known=scores, strengths=strengths, heat_map=cells))


FACTOR = {"ga": -0.82}


@pytest.mark.parametrize(
    ("said", "begin", "within"),
    [
        (
            verdict({"ga": 0.99, "scrub": 0.55, "salun": 0.52}, {"ga": -0.3}),
            "With ga, yes. A prediction",
            "almost exactly with ga (0.99) and roughly with scrub (0.55) and salun (0.52)",
        ),
        (verdict({"ga": 0.9, "scrub": 0.7}), "Yes.", "almost exactly"),
        (verdict({"ga": 0.9}, {"ga": -0.3, "ft": 0.1}), "With", " Nothing was predicted of ft."),
        (verdict({"ga": 0.4}), "In part.", "loosely"),
        (verdict({"ga": -0.4}), "Hardly.", f"hardly at all with ga ({MINUS}0.40)"),
        (verdict(factor=FACTOR), "Yes. Nothing was predicted", "closely with ga (0.82)"),
        (verdict(factor=FACTOR, p_choice=0.2), "Not from this", "“Margin” comes nearest"),
        (verdict(), "That cannot be said: the outcomes put the samples in no order", ""),
    ],
)
def test_whether_it_was_known_is_said_of_the_prediction_or_of_the_best_factor(
    said: str, begin: str, within: str
) -> None:
    assert said.startswith(begin)
    assert within in said


def test_no_sample_is_both_among_the_hardest_and_the_easiest(tmp_path: Path) -> None:
    tied = [member(k, f=0.0, u=1.0, status="max_steps") for k in range(5)]
    extremes = answers_of(tmp_path, tied).extremes
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


# What GT says


def test_two_large_populations_are_shown_apart(tmp_path: Path) -> None:
    found = page_of(tmp_path, mixed(40, 2)).html  # 5% flipped
    assert "pools two questions" in found
    folded = re.findall(r"<details class=\"more\"( open)?><summary>(.*?)</summary>", found)
    folds = {html.unescape(title): bool(opened) for opened, title in folded}
    for what in ("flipped", "did not flip"):
        assert folds[f"The same over the samples that {what}"]
    assert not folds["The same within classes"]
    assert "pools two questions" not in page_of(tmp_path, mixed(40, 1)).html


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
    assert "hardest, of 7 that are tied" in found.text
    assert "2 steps, tied with 6" in found.text
    assert found.data["members"]["tied"] == [6] * 14


# Classes and the paper


def test_only_where_the_test_says_so_classes_are_harder(tmp_path: Path) -> None:
    members = labelled(3, {"ga": 0.0, "salun": 0.1, "scrub": 0.1})
    answers = answers_of(tmp_path, members)
    with open_warehouse(tmp_path / "w.duckdb") as warehouse:
        query = "select label, avg(percentile) from difficulty where algorithm != 'ga' group by all"
        means = dict(warehouse.query(query).rows)
    pictures = Pictures(classes=("c0", "c1", "c2"))
    said = (
        "Classes differ in difficulty with 2 of 3 algorithms (salun, scrub; Kruskal–Wallis, "
        "p < 0.05 corrected by Holm): there the samples of class c0 are harder than "
        f"{means[0]:.0f}% of all on average, those of class c2 than {means[2]:.0f}%."
    )
    assert said in in_short(answers, pictures)
    text = page(answers, pictures).text
    assert "Classes differ with salun, scrub." in text
    assert "p < 0.001" in text
    one = answers_of(tmp_path, [member(k, f=0.1 + k / 20, u=0.9, label=4) for k in range(9)])
    assert not [line for line in in_short(one, Pictures()) if "class" in line]
    assert "Kruskal" not in page(one).text


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
    (said,) = (line for line in in_short(told, Pictures()) if "paper" in line)
    of_mnist = [row for row in rows if row["against"] == "mnist" and row["rho"]]
    assert len(of_mnist) == 24  # six factors: test_prob_diff, steps and one more are all alike
    agreeing = sum(row["signs_agree"] for row in of_mnist if row["factor"] not in u)
    assert f"on MNIST {agreeing} of 16 (by chance 4 to 12)" in said
    assert ("not within chance" in said) == (not 4 <= agreeing <= 12)
    assert "SVHN" not in said
    counts = rf"\d of 4 0 to 4 \d of 4 [+{MINUS}]\d\.\d\d "
    assert re.search(rf"all SVHN ga {counts}all neggrad {counts}", page(answers).text)


# Ceilings


@pytest.mark.parametrize(
    ("other", "varied", "limited"),
    [
        ({"seed": 1}, "unlearning seed", "nothing known before unlearning"),
        ({"base": "c", "base_seed": 1}, "base model seed", "nothing that does not look at this"),
    ],
)
def test_repeats_show_the_ceiling(
    tmp_path: Path, other: dict[str, Any], varied: str, limited: str
) -> None:
    members = members_of("ga") + [
        m | {"sweep": "t", **other} for m in members_of("ga", n=11) if m["sample_id"] != 3
    ]
    text = page_of(tmp_path, members).text
    assert f"Measured again under another {varied}" in text
    assert limited in text
    # Every factor known before looks at the base model: the other ceiling is not theirs.
    is_shown = "the most that can be expected ±" in text
    assert is_shown == (varied == "unlearning seed")
    assert ("The same with means over repeats" in text) == is_shown


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
    assert "2 repeats are little: they make 1 pair of seeds" in text


AGAIN = "Measured again under another unlearning seed"
BEYOND = (
    "GT agrees with itself such that nothing known before unlearning can be expected to correlate "
    "with it beyond ρ"
)
SCRUB = "0.80 (0.60 to 0.90) with scrub"


def of(algorithm: str, ceiling: float | None, low: float | None, **other: Any) -> dict[str, Any]:
    interval = {"ceiling_low": low, "ceiling_high": None if low is None else 0.9}
    known = {"varied": "unlearning seed", "repeats": 5, "mean_rho": (ceiling or -0.4) ** 2}
    return known | {"algorithm": algorithm, "ceiling": ceiling, **interval, **other}


@pytest.mark.parametrize(
    ("ceilings", "said"),
    [
        ([of("ga", 0.7, 0.5)], [f"{AGAIN}, {BEYOND} 0.70 (0.50 to 0.90) with ga."]),
        (
            [of("ga", 0.7, 0.5), of("salun", 0.6, 0.4), of("scrub", 0.8, 0.6)],
            [f"{AGAIN}, {BEYOND} 0.60 (0.40 to 0.90) with salun to {SCRUB}."],
        ),
        (
            [of("ga", 0.2, 0.0), of("salun", None, 0.0), of("scrub", 0.8, 0.6)],
            [
                f"{AGAIN}, {BEYOND} {SCRUB}.",
                f"{AGAIN}, GT with ga and salun cannot be told from chance.",
            ],
        ),
        (
            [of("ga", 0.7, 0.5, repeats=2), of("salun", 0.1, 0.0, repeats=3)],
            [
                f"{AGAIN} (2 repeats only), {BEYOND} 0.70 (0.50 to 0.90) with ga.",
                f"{AGAIN} (3 repeats only), GT with salun cannot be told from chance.",
            ],
        ),
        ([of("ga", 0.7, None)], [f"{AGAIN}, {BEYOND} 0.70 with ga."]),  # below eight samples
        ([of("ga", None, None, mean_rho=None)], []),
    ],
)
def test_ceilings_are_told_with_their_intervals(ceilings: Members, said: list[str]) -> None:
    terms, *told = in_short(made_up(ceilings=ceilings), Pictures()) or [""]
    assert told == said
    assert terms.startswith("What follows speaks of GT") == bool(said)


# Pictures and numbers


@pytest.mark.parametrize(
    ("shape", "kind", "size"),
    [
        ((8, 8), "png", (8, 8)),
        ((32, 20, 3), "png", (20, 32)),
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
