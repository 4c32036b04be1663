"""The report's page, built of warehouses made by hand."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from analysis.answers import Answers, answer, ask
from analysis.pictures import Pictures, data_uri
from analysis.report import in_short, render, write_report
from analysis.statuses import endings, looks
from analysis.warehouse import open_warehouse, rebuild
from analysis.words import signed
from tests.analysis.warehouses import member, staging, warehouse_of
from unlearning.errors import UserError
from unlearning.outcome import Status

HOSTILE = "</script><img src=x onerror=alert(1)>'\"{{ 7 * 7 }}"


class Page(HTMLParser):
    """What a page is made of: tags with their attributes, and text outside of scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.inside: list[str] = []
        self.scripts: list[str] = []
        self.styles: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        self.inside.append(f"/{tag}")

    def handle_data(self, data: str) -> None:
        if self.inside[-1:] == ["script"]:
            self.scripts.append(data)
        elif self.inside[-1:] == ["style"]:
            self.styles.append(data)
        else:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def data(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.scripts[0])
        return found


def members_of(*algorithms: str, n: int = 12, **changes: Any) -> list[dict[str, Any]]:
    random = np.random.default_rng(0)

    def one(algorithm: str, k: int) -> dict[str, Any]:
        f, u, size = random.random(3)
        drawn: dict[str, Any] = {"f": f, "u": 0.5 + 0.4 * u, "size": size, "pre_size": float(k)}
        return member(k, algorithm=algorithm, **drawn | changes)

    return [one(algorithm, k) for algorithm in algorithms for k in range(n)]


def pictures_for(answers: Answers, **changes: Any) -> Pictures:
    return Pictures({k: np.full((8, 8), 0.5) for k in answers.sample_ids}, **changes)


def rendered(answers: Answers, pictures: Pictures, ui: str = "http://127.0.0.1:5000") -> str:
    return render(answers, pictures, in_short(answers, pictures), ui)


def page_of(folder: Path, members: list[dict[str, Any]], **changes: Any) -> Page:
    with warehouse_of(folder, members, ("pre_size", "size")) as warehouse:
        answers = ask(warehouse, "s")
    return Page(rendered(answers, pictures_for(answers, **changes)))


def test_every_section_says_what_there_is(tmp_path: Path) -> None:
    page = page_of(tmp_path, members_of("ga", "salun"), classes=("even", "odd"))
    headings = [tag for tag, _ in page.tags if re.fullmatch("h[1-6]", tag)]
    assert headings[0] == "h1"
    assert headings.count("h1") == 1
    levels = [int(tag[1]) for tag in headings]
    assert all(deeper <= level + 1 for level, deeper in pairwise(levels))
    anchors = {str(link["href"])[1:] for link in page.all("a") if str(link["href"])[0] == "#"}
    assert anchors <= {section.get("id") for section in page.all("section")}
    assert all(word in page.text for word in ("ga", "salun", "pre_size", "even", "odd"))
    options = [option["value"] for option in page.all("option")]
    factors = [option for option in options if option in page.data["factors"]]
    assert factors[0] == "pre_size"  # what is known before comes first
    assert "missing" not in {section.get("class") for section in page.all("section")}


def test_data_is_embedded_once_and_belongs_together(tmp_path: Path) -> None:
    members = members_of("ga", "salun")
    data = page_of(tmp_path, members).data
    assert set(data["factors"]) == {
        "pre_size", "size", "test_prob_diff", "forget_prob_diff", "steps",
    }  # fmt: skip
    assert len(data["images"]) == 12
    by_member = {(m["algorithm"], m["sample_id"]): m["metrics"]["size"] for m in members}
    keys = zip(data["members"]["algorithm"], data["members"]["sample_id"], strict=True)
    found = dict(zip(keys, data["factors"]["size"]["values"], strict=True))
    assert found == {key: pytest.approx(value, rel=1e-5) for key, value in by_member.items()}
    assert data["factors"]["pre_size"]["of"] == {str(k): k for k in range(12)}  # alike for both


def test_of_very_many_samples_some_are_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("analysis.answers.MOST", 10)
    page = page_of(tmp_path, members_of("ga", "salun", n=100))
    drawn = set(page.data["members"]["sample_id"])
    assert drawn >= {*range(0, 100, 10), 1, 2, 97, 98, 99}  # and the ends of pre_size
    assert len(drawn) < 60
    assert {int(sample) for sample in page.data["images"]} == drawn
    assert page.data["sizes"] == {"ga": 100, "salun": 100}
    assert f"Of the 100 samples {len(drawn)} are drawn" in page.text
    shown = {image["data-sample"] for image in page.all("img")}
    assert {int(str(sample)) for sample in shown} <= drawn


def test_nothing_is_fetched(tmp_path: Path) -> None:
    page = page_of(tmp_path, members_of("ga", "salun"))
    assert not {"iframe", "object", "embed", "base", "form"} & {tag for tag, _ in page.tags}
    for tag, attributes in page.tags:
        for name in ("src", "href", "srcset", "poster", "action"):
            target = attributes.get(name) or "#"
            allowed = ("http://127.0.0.1:5000/#/runs/", "https://arxiv.org/") if tag == "a" else ()
            assert target.startswith(("#", "data:", *allowed)), (tag, name, target)
    assert page.styles
    assert not re.search(r"url\(|@import", "".join(page.styles))
    assert all("alt" in image for image in page.all("img"))


@pytest.mark.parametrize("where", ["sweep", "algorithm", "class", "factor", "missing"])
def test_hostile_names_are_text(tmp_path: Path, where: str) -> None:
    members = members_of(HOSTILE if where == "algorithm" else "ga", "salun")
    tables = staging(members, ("pre_size", "size"))
    if where == "sweep":
        tables["runs"] = renamed(tables["runs"], "name", lambda _: HOSTILE)
    if where == "factor":
        tables["catalogs"] = renamed(tables["catalogs"], "title", lambda _: HOSTILE)
        tables["catalogs"] = renamed(tables["catalogs"], "unit", lambda _: HOSTILE)
    rebuild(tmp_path / "w.duckdb", tables)
    with open_warehouse(tmp_path / "w.duckdb") as warehouse:
        answers = ask(warehouse, "s")
    pictures = pictures_for(
        answers,
        classes=(HOSTILE, "odd") if where == "class" else (),
        missing=HOSTILE if where == "missing" else "",
    )
    html = rendered(answers, pictures)
    page = Page(html)
    assert HOSTILE in " ".join(page.texts)
    assert "onerror" not in {name for _, attributes in page.tags for name in attributes}
    assert [script.get("type") for script in page.all("script")] == ["application/json"] + [
        "module"
    ] * 2
    assert html.count("</script") == 3
    assert "alert" not in "".join(page.scripts[1:])


def renamed(table: pa.Table, column: str, name: Callable[[Any], str]) -> pa.Table:
    values = [name(value) for value in table[column].to_pylist()]
    return table.set_column(table.schema.get_field_index(column), column, pa.array(values))


def test_the_page_is_the_same_each_time(tmp_path: Path) -> None:
    with warehouse_of(tmp_path, members_of("ga", "salun"), ("size",)) as warehouse:
        all_answers = [ask(warehouse, "s") for _ in range(2)]
    one, other = (rendered(answers, pictures_for(answers)) for answers in all_answers)
    assert one == other


def test_sql_beside_a_table_answers_as_it_stands(tmp_path: Path) -> None:
    with warehouse_of(tmp_path, members_of("ga", "salun")) as warehouse:
        for found in ask(warehouse, "s").by_name.values():
            assert warehouse.query(found.sql).records() == found.rows
        tricky = answer(warehouse, "statuses", sweep="it's")
        assert warehouse.query(tricky.sql).rows == []


def test_without_the_data_sets_files_it_says_so(tmp_path: Path) -> None:
    with warehouse_of(tmp_path, members_of("ga")) as warehouse:
        page = Page(rendered(ask(warehouse, "s"), Pictures(missing="the files of d are not there")))
    assert "no pictures of the samples: the files of d are not there" in page.text
    assert not page.all("img")


def test_every_end_of_an_attempt_has_its_words_colour_and_count(tmp_path: Path) -> None:
    assert {ending.status for ending in endings()} == set(Status)
    members = [
        {**m, "status": status, "algorithm": algorithm}
        for algorithm in ("ga", "scrub_r")
        for m, status in zip(members_of("ga", n=len(Status)), Status, strict=True)
    ]
    page = page_of(tmp_path, members)
    counts = {(row["algorithm"], row["status"]): row["count"] for row in page.data["statuses"]}
    for name in ("ga", "scrub_r"):
        assert counts.pop((name, "damaged")) == 0  # what it cost is not known
    assert counts == {(name, status): 1 for name in ("ga", "scrub_r") for status in Status}
    assert "flipped rewound out of steps unchanged non-finite already wrong mean GT" in page.text
    style = "".join(page.styles)
    for ending in looks():
        assert page.data["endings"][ending.status]["words"] == ending.words
        assert style.count(f"--{ending.status}: #") == 2  # in light and in dark
    for ending in endings():
        assert f"{ending.words.capitalize()}: {ending.meaning}." in page.text
    shown = {*page.data["members"]["sample_id"], *page.data["others"]["sample_id"]}
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
    page = Page(rendered(answers, pictures_for(answers)))
    counts = {(row["algorithm"], row["status"]): row["count"] for row in page.data["statuses"]}
    flips = [counts[name, status] for name in ("ga", "salun") for status in ("flipped", "damaged")]
    assert flips == [2, 2, 1, 3]
    assert page.data["members"]["ending"].count("damaged") == 5
    assert "ga 4 20.3 70.0 69.8%" in page.text
    assert "62.5% of the flips damaged the network: they cost more than 5 points" in page.text
    assert "The costliest of all attempts, flip or not, took 80.0 points, with salun." in page.text
    assert "With salun most of the flips damaged the network" in page.text
    assert [row["damaged"] for row in strict.rows("summary")] == [3, 4]


def test_shares_of_the_attempts_that_were_run_say_of_how_many(tmp_path: Path) -> None:
    members = members_of("ga", n=4)
    wrong = [m | {"sample_id": 4 + k, "status": "already_wrong"} for k, m in enumerate(members)]
    assert "run flipped" not in page_of(tmp_path, members).text
    page = page_of(tmp_path, [*members, *wrong])
    assert "attempts finished 8 of 8 flipped, network in order 100% of 4 run" in page.text


def test_retraining_is_said_to_be_the_reference(tmp_path: Path) -> None:
    members = [
        *members_of("retrain", status="max_steps", test_accuracy=0.9),
        *members_of("ga", test_accuracy=0.8, unlearning_gap=0.25),
    ]
    with warehouse_of(tmp_path, members, ("test_accuracy", "unlearning_gap")) as warehouse:
        page = Page(rendered(ask(warehouse, "s"), Pictures()))
    assert "ga 12 10.0 10.0 80.0% 2.0 – 0.25 0 12 0" in page.text
    assert "retrain 12 0.0 0.0 90.0% 2.0 – the reference 0 0 12" in page.text
    assert "It seldom flips" in page.text
    assert "GT tends to rank retrain , which is exact unlearning, as the hardest" in page.text


def test_no_term_is_used_before_it_is_explained(tmp_path: Path) -> None:
    page = page_of(tmp_path, members_of("ga", "salun", "neggrad"))
    before, explained, _ = page.text.partition("What follows speaks of GT")
    assert explained
    assert "In short" in before
    assert not re.findall(r"\bGT\b|ρ|λ|\bW\b", before.partition("Which samples of d are")[2])


def test_what_was_rewound_is_said_beside_what_flipped(tmp_path: Path) -> None:
    members = members_of("ga") + members_of("scrub_r", status="rewound")
    assert (
        "100% of the attempts with scrub_r flipped it too, but went back to a step before."
        in page_of(tmp_path, members).text
    )
    tries = [*members_of("ga", n=3), *members_of("ga", n=9, status="max_steps")]
    assert "but went back" not in page_of(tmp_path / "other", tries).text


CASES: dict[str, tuple[list[dict[str, Any]], str]] = {
    "one algorithm": (members_of("ga"), "It takes two algorithms"),
    "equal gt": (members_of("ga", "salun", f=-1.0), "constant gt"),
    "only wrong ones": (
        members_of("ga", status="already_wrong", f=float("nan"), u=float("nan")),
        "No attempt has a GT",
    ),
    "a class of one": (
        [*members_of("ga"), member(99, f=0.5, u=0.5, label=7, size=0.1)],
        "Is difficulty a matter of class?",
    ),
    "never repeated": (members_of("ga"), "Nothing of this sweep was measured twice"),
    "not the paper's": (members_of("other"), "The paper has none of these"),
}


@pytest.mark.parametrize("case", CASES)
def test_thin_sweeps_build_and_say_what_is_missing(tmp_path: Path, case: str) -> None:
    members, said = CASES[case]
    assert said in page_of(tmp_path, members).text


def test_a_sweep_without_a_finished_run_builds(tmp_path: Path) -> None:
    tables = staging(members_of("ga"), ("size",))
    kinds = tables["runs"]["kind"].to_pylist()
    status = ["RUNNING" if kind == "member" else "FINISHED" for kind in kinds]
    place = tables["runs"].schema.get_field_index("status")
    tables["runs"] = tables["runs"].set_column(place, "status", pa.array(status))
    rebuild(tmp_path / "w.duckdb", tables)
    with open_warehouse(tmp_path / "w.duckdb") as warehouse:
        page = Page(rendered(ask(warehouse, "s"), Pictures()))
    assert "12 attempts are missing" in page.text
    assert "There are too few outcomes to say anything" in page.text


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
    with warehouse_of(tmp_path, members, ("pre_size", "size")) as warehouse:
        page = Page(rendered(ask(warehouse, "s"), Pictures()))
    assert f"Measured again under another {varied}" in page.text
    assert limited in page.text
    # Every factor known before looks at the base model: the other ceiling is not theirs.
    is_shown = "the most that can be expected ±" in page.text
    assert is_shown == (varied == "unlearning seed")
    assert ("The same with means over repeats" in page.text) == is_shown


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_report("", tmp_path / "file" / "report")


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


@pytest.mark.parametrize(
    ("value", "said"),
    [(-0.871, "\N{MINUS SIGN}0.87"), (0.5, "+0.50"), (-0.004, "+0.00"), (None, "–")],
)
def test_signs_are_signs(value: float | None, said: str) -> None:
    assert signed(value) == said
