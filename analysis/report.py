"""The report: one HTML page that needs nothing beside it, about one sweep."""

from __future__ import annotations

import math
from collections import Counter
from functools import cache
from itertools import compress
from pathlib import Path
from typing import Any

import jinja2
import vl_convert
from markupsafe import Markup

from analysis.answers import Answers
from analysis.drafts import unwritten, write_whole
from analysis.findings import findings, flip_rate, share, strongest
from analysis.pictures import Pictures, data_uri
from analysis.reliability import FEWEST_REPEATS
from analysis.rows import LEVEL, Rows, ceiling, crowd, names, nested, said, said_p, signed
from analysis.statuses import endings

FILE = "report.html"
PAGE = Path(__file__).parent / "page"
VEGA = "window.vegaEmbed = vegaEmbed;"  # what the bundle gives to the page
PHASES = {"pre": "Known before unlearning", "post": "Measured afterwards"}
CONTENTS = {
    "findings": "In short",
    "done": "What was done",
    "ends": "How it ended",
    "outcome": "What GT says",
    "known": "Could we have known?",
    "correlations": "Correlations",
    "one": "One factor at a time",
    "samples": "Samples",
    "agreement": "Agreement",
    "classes": "Classes",
    "reliability": "Reliability",
}

# What is predicted, and drawn against what was measured.
TARGETS = {
    "gt": {"title": "GT", "axis": "GT"},
    "prob_lost": {"title": "damage to the test set", "axis": "probability lost"},
    "steps": {"title": "steps", "axis": "steps"},
}


def write_report(page: str, folder: Path) -> Path:
    """Write a page that was rendered as `report.html` into a folder; its path.

    Raises UserError if the folder cannot be written, Failure if there is no room.
    """
    path = folder / FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritten(f"the report in {folder}", error) from error
    write_whole(path, page.encode())
    return path


def render(answers: Answers, pictures: Pictures, sentences: list[str], ui: str) -> str:
    """The page about a sweep.

    Args:
        sentences: the findings, of `in_short`. ui: address of the MLflow UI that the page links to.
    """
    rows, ui = answers.rows, ui.rstrip("/")
    data = _data(answers, pictures, ui)
    return _template().render(
        {**answers.by_name, "sweep": rows("sweep")[0]},
        algorithms=names(rows("statuses"), "algorithm"),
        flip_rate=flip_rate(rows("statuses")),
        findings=sentences,
        first=strongest(rows("strengths"), "pre").get("factor"),
        titles={row["factor"]: row["title"] for row in rows("heat_map")},
        mixed=[row["algorithm"] for row in rows("regimes") if row["mixed"]],
        most=_ceilings(rows("ceilings")),
        most_of_means=_ceilings(rows("ceilings"), rows("heat_map_repeats")),
        galleries=answers.galleries,
        pair=_pairs(rows("agree")),
        contents=CONTENTS,
        pictures=pictures,
        targets=TARGETS,
        rungs=data["ladder"],
        ui=ui,
        drawn=(len(data["labels"]), len(names(rows("members"), "sample_id"))),
        data=data,
    )


def in_short(answers: Answers, pictures: Pictures) -> list[str]:
    """The findings, in sentences, as the page begins with them."""
    rows = {name: answer.rows for name, answer in answers.by_name.items()}
    classes = {row["label"]: pictures.name(row["label"]) for row in rows["classes"]}
    return findings(rows, classes)


def _pairs(rows: Rows) -> dict[tuple[str, str], dict[str, Any]]:
    """The rows of the report `agree` by the names of both algorithms, in either order."""
    there = {(row["algorithm_a"], row["algorithm_b"]): row for row in rows}
    return there | {(b, a): row for (a, b), row in there.items()}


def _ceilings(ceilings: Rows, of_means: Rows | None = None) -> dict[str, str]:
    """The ceiling of rho for factors known before unlearning, in words, by algorithm.

    Args:
        of_means: rows of the report `heat_map_repeats`: if given, the ceiling for means over
            repeats is taken from these, not the one for a single measurement.
    """
    known = {row["algorithm"]: row for row in ceilings if row["varied"] == "unlearning seed"}
    if of_means is not None:
        known = {row["algorithm"]: row for row in of_means if row["algorithm"] in known}
    return {name: ceiling(row, "±", interval=True) for name, row in known.items()}


def _data(answers: Answers, pictures: Pictures, ui: str) -> dict[str, Any]:
    """The data of the page's charts."""
    rows, kept = answers.rows, set(answers.sample_ids)
    columns = (
        *("algorithm", "sample_id", "status", "steps", "gt", "gt_share", "regime"),
        *("difficulty_rank", "tied", "run_id"),
    )
    is_shown = [row["sample_id"] in kept for row in rows("members")]
    members = list(compress(rows("members"), is_shown))
    return {
        "ui": ui,
        "members": {name: [_short(row[name]) for row in members] for name in columns},
        "sizes": Counter(row["algorithm"] for row in rows("members")),
        "labels": {row["sample_id"]: pictures.name(row["label"]) for row in members},
        "classes": [pictures.name(label) for label in names(rows("classes"), "label")],
        "images": {k: data_uri(image) for k, image in pictures.images.items() if k in kept},
        "factors": {row["factor"]: _factor(row, is_shown) for row in rows("points")},
        "predicted": _predicted([row for row in rows("predicted") if row["sample_id"] in kept]),
        "targets": TARGETS,
        "ladder": _ladder(rows("ladder")),
        "rho": {
            factor: {row["algorithm"]: said(row) for row in found}
            for factor, found in nested(rows("heat_map"), "factor").items()
        },
        "endings": {
            ending.status: {"words": ending.words, "shape": ending.shape} for ending in endings()
        },
        "statuses": [
            {"algorithm": row["algorithm"], "status": status, "count": count}
            for row in rows("statuses")
            for status, count in row["ended"].items()
        ],
    }


def _predicted(rows: Rows) -> dict[str, list[Any]]:
    """What was predicted and what was measured, by column."""
    both = [name for target in TARGETS for name in (f"predicted_{target}", target)]
    columns = ("algorithm", "sample_id", "status", "run_id", *both)
    return {name: [_short(row[name]) for row in rows] for name in columns}


def _ladder(rows: Rows) -> dict[str, Any]:
    """What is known beforehand, and its cost: a multiple of an attempt's where that is known."""
    unit = "seconds" if any(row["of_attempt"] is None for row in rows) else "of_attempt"
    columns = ("algorithm", "kind", "title", "rho", "strength", "best")
    rungs = [{name: _short(row[name]) for name in columns} for row in rows]
    for rung, row in zip(rungs, rows, strict=True):
        rung["cost"] = _short(row[unit])
    return {"unit": unit, "rungs": rungs}


def _factor(row: dict[str, Any], is_shown: list[bool]) -> dict[str, Any]:
    values = [_short(value) for value in compress(row["values"], is_shown)]
    return {"title": row["title"], "unit": row["unit"], "values": values}


def _short(value: Any) -> Any:
    """A number rounded to six digits, for the charts; None if it is not finite."""
    if not isinstance(value, float):
        return value
    return float(f"{value:.6g}") if math.isfinite(value) else None


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PAGE),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.globals |= {
        "PHASES": PHASES,
        "asset": asset,
        "endings": endings(),
        "vega": vega,
        "nested": nested,
        "ceiling": ceiling,
        "LEVEL": LEVEL,
        "FEWEST_REPEATS": FEWEST_REPEATS,
    }
    environment.filters |= {
        "signed": signed,
        "number": number,
        "share": share,
        "crowd": crowd,
        "said_p": said_p,
    }
    return environment.get_template("report.html.j2")


def asset(name: str) -> Markup:
    """A file of the page, as it is."""
    return Markup((PAGE / name).read_text("utf-8"))  # noqa: S704 - our own


@cache
def vega() -> Markup:
    """Vega, Vega-Lite and Vega-Embed in one script."""
    # Ours and not the user's, and nothing in it may end the element that it stands in.
    return Markup(vl_convert.javascript_bundle(VEGA).replace("</script", r"<\/script"))  # noqa: S704


def number(value: float | None, digits: int = 3) -> str:
    """A number with that many significant digits; a whole number without decimals."""
    if value is None or not math.isfinite(value):
        return "–"
    plain = f"{value:.0f}" if float(value).is_integer() else f"{value:.{digits}g}"
    return plain.replace("-", "\N{MINUS SIGN}")
