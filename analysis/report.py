"""The report: one HTML page that needs nothing beside it, about one sweep."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import vl_convert
from markupsafe import Markup

from analysis.answers import Answers
from analysis.drafts import make_folder, write_whole
from analysis.findings import contradicted, explained, findings, share, strongest
from analysis.first_screen import could_we_have_known, reason, under_other_seeds
from analysis.page_data import TARGETS, around_run, ended_apart, page_data
from analysis.pictures import Pictures
from analysis.reliability import FEWEST_REPEATS
from analysis.rows import LEVEL, Rows, ceiling, crowd, names, nested, said_p, signed
from analysis.statuses import Ending, looks

FILE = "report.html"
PAGE = Path(__file__).parent / "page"
VEGA = "window.vegaEmbed = vegaEmbed;"  # what the bundle gives to the page
PHASES = {"pre": "Known before unlearning", "post": "Measured afterwards"}
CONTENTS = {
    "findings": "In short",
    "ends": "How it ended",
    "samples": "All samples",
    "known": "Could we have known?",
    "outcome": "What the outcome says",
    "correlations": "Correlations",
    "one": "One factor at a time",
    "agreement": "Agreement",
    "classes": "Classes",
    "reliability": "Reliability",
    "done": "Settings",
}

VERDICT = ("known", "strengths", "heat_map")  # the answers that say whether it was known


def write_report(page: str, folder: Path) -> Path:
    """Write a page that was rendered as `report.html` into a folder; its path.

    Raises UserError if the folder cannot be written, Failure if there is no room.
    """
    path = folder / FILE
    make_folder(folder, f"the report in {folder}")
    write_whole(path, page.encode())
    return path


def render(answers: Answers, pictures: Pictures, sentences: list[str], ui: str) -> str:
    """The page about a sweep.

    Args:
        sentences: the findings, of `in_short`. ui: address of the MLflow UI that the page links to.
    """
    rows, ui = answers.rows, ui.rstrip("/")
    around = around_run(ui, rows("sweep")[0]["experiment_id"])
    data = page_data(answers, pictures, around)
    occurring = _occurring(data["statuses"])
    harsh = [row["algorithm"] for row in rows("summary") if 2 * row["damaged"] > row["flipped"]]
    return _template().render(
        {**answers.by_name, "sweep": rows("sweep")[0]},
        algorithms=names(rows("statuses"), "algorithm"),
        ended=_ended(rows("summary")),
        occurring=occurring,
        ways=[(ending.status, ending.words) for ending in occurring],
        extremes=answers.extremes,
        counted=[row["algorithm"] for row in rows("seed_agreement") if row["is_counted"]],
        unsteady=under_other_seeds(rows("seed_agreement")),
        sums={row["algorithm"]: row for row in rows("summary")},
        harsh=harsh,
        slower=[name for name in harsh if _has_rate(rows("settings"), name)],
        max_loss=answers.max_loss,
        findings=sentences,
        verdict=could_we_have_known({name: rows(name) for name in VERDICT}),
        contradicted={row["factor"]: row for row in rows("contradictions")},
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
        around=around,
        drawn=(len(data["labels"]), len(names(rows("members"), "sample_id"))),
        data=data,
    )


def in_short(answers: Answers, pictures: Pictures) -> list[str]:
    """The findings, in sentences, as the page begins with them."""
    rows = {name: answer.rows for name, answer in answers.by_name.items()}
    classes = {row["label"]: pictures.name(row["label"]) for row in rows["classes"]}
    return explained(findings(rows, classes, answers.max_loss))


def _ended(summary: Rows) -> dict[str, int]:
    """How many attempts were run, how many of them flipped in good order, and how many ruined."""
    run, flipped, damaged = (
        sum(row[name] for row in summary) for name in ("attempts", "flipped", "damaged")
    )
    return {"run": run, "flipped": flipped - damaged, "damaged": damaged}


def _has_rate(settings: Rows, algorithm: str) -> bool:
    """Whether an algorithm has a learning rate that can be set, by the report `settings`."""
    own = (row["settings"] or "" for row in settings if row["algorithm"] == algorithm)
    return any(setting.startswith("lr=") for said in own for setting in said.split(", "))


def _occurring(statuses: Rows) -> list[Ending]:
    """The endings of which there are any, and flips in any case."""
    found = {row["status"] for row in statuses if row["count"]} | {"flipped"}
    return [ending for ending in looks() if ending.status in found]


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
        "endings": looks(),
        "ended_apart": ended_apart,
        "twice": lambda values: [(value, value) for value in values],
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
        "reason": reason,
        "contradicted": contradicted,
        "points": points,
    }
    return environment.get_template("report.html.j2")


def points(value: float | None) -> str:
    """Percentage points to the tenth; a dash where they are not known."""
    said = "\N{EN DASH}" if value is None else f"{round(value, 1) or 0.0:.1f}"
    return said.replace("-", "\N{MINUS SIGN}")


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
