"""The report: one HTML page that needs nothing beside it, about one sweep."""

from __future__ import annotations

import math
import os
from collections import Counter
from dataclasses import dataclass
from functools import cache
from itertools import compress
from pathlib import Path
from typing import Any

import jinja2
import vl_convert
from markupsafe import Markup

from indelible.analysis.findings import findings, flip_rate, share, strongest
from indelible.analysis.pictures import Pictures, data_uri
from indelible.analysis.rows import Rows, names, nested, said, signed
from indelible.analysis.warehouse import SQL, Warehouse
from indelible.errors import UserError

PAGE = Path(__file__).parent / "page"
VEGA = "window.vegaEmbed = vegaEmbed;"  # what the bundle gives to the page
UI = "http://127.0.0.1:5000"  # where `indelible ui` is

# The queries that are asked of a sweep, each under its own name on the page.
REPORTS = (
    *("sweep", "settings", "statuses", "paper", "members", "points", "gallery"),
    *("pairs", "concord", "classes", "repeats"),
)
ENDS = {"hardest": {"easiest": False, "top": 10}, "easiest": {"easiest": True, "top": 10}}
MOST = 1500  # samples up to which all are drawn, that the page stays small and quick
STATUSES = ("flipped", "max_steps", "non_finite", "already_wrong")
PHASES = {"pre": "Known before unlearning", "post": "Measured afterwards"}
CONTENTS = {
    "findings": "In short",
    "done": "What was done",
    "ends": "How it ended",
    "correlations": "Correlations",
    "one": "One factor at a time",
    "samples": "Samples",
    "agreement": "Agreement",
    "classes": "Classes",
    "repeats": "Reliability",
}


@dataclass(frozen=True)
class Answer:
    """Rows of the warehouse, and the SQL that made them."""

    rows: Rows
    sql: str


def sample_ids(warehouse: Warehouse, sweep: str) -> list[int]:
    """The samples that the report of a sweep shows: all, or MOST of many and the remarkable."""
    reports = (
        ("members", {}),
        ("gallery", {}),
        *(("rank_overall", ends) for ends in ENDS.values()),
    )
    every, *remarkable = (
        {row["sample_id"] for row in warehouse.report(name, sweep=sweep, **more).records()}
        for name, more in reports
    )
    step = math.ceil(len(every) / MOST) or 1
    return sorted(set(sorted(every)[::step]).union(*remarkable))


def write_report(
    warehouse: Warehouse, sweep: str, pictures: Pictures, folder: Path, ui: str = UI
) -> Path:
    """Write the report of a sweep as `report.html` into a folder; its path.

    Args:
        ui: address of the MLflow UI that the page links to.

    Raises UserError if the folder cannot be written.
    """
    page = render(warehouse, sweep, pictures, ui)
    path = folder / "report.html"
    draft = folder / f".report.html.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        draft.write_text(page, "utf-8")
        draft.replace(path)
    except OSError as error:
        raise UserError(f"the report cannot be written to {folder}: {error.strerror}") from error
    return path


def render(warehouse: Warehouse, sweep: str, pictures: Pictures, ui: str = UI) -> str:
    """The page."""
    answers = _answers(warehouse, sweep)
    rows = {name: found.rows for name, found in answers.items()}
    ui, shown = ui.rstrip("/"), sample_ids(warehouse, sweep)
    return _template().render(
        **answers | {"sweep": rows["sweep"][0]},
        algorithms=names(rows["statuses"], "algorithm"),
        flip_rate=_flip_rate(rows["statuses"]),
        findings=_findings(rows, pictures),
        first=strongest(rows["heat_map"], "pre"),
        titles={row["factor"]: row["title"] for row in rows["heat_map"]},
        ceilings=_ceilings(rows["repeats"]),
        galleries=_galleries(rows["gallery"]),
        pair=_pairs(rows["pairs"]),
        contents=CONTENTS,
        pictures=pictures,
        ui=ui,
        drawn=(len(shown), len(names(rows["members"], "sample_id"))),
        data=_data(rows, shown, pictures, ui),
    )


def in_short(warehouse: Warehouse, sweep: str, pictures: Pictures) -> list[str]:
    """The findings, in sentences, as the page begins with them."""
    rows = {name: found.rows for name, found in _answers(warehouse, sweep).items()}
    return _findings(rows, pictures)


def _answers(warehouse: Warehouse, sweep: str) -> dict[str, Answer]:
    """All that is asked of a sweep, by the name it has on the page."""

    def ask(name: str, **more: object) -> Answer:
        return answer(warehouse, name, sweep=sweep, **more)

    return {name: ask(name) for name in REPORTS} | {
        "heat_map": ask("heat_map", population="all"),
        "heat_map_flipped": ask("heat_map", population="flipped"),
        **{name: ask("rank_overall", **ends) for name, ends in ENDS.items()},
    }


def _findings(rows: dict[str, Rows], pictures: Pictures) -> list[str]:
    classes = {row["label"]: pictures.name(row["label"]) for row in rows["classes"]}
    return findings(rows, classes)


def answer(warehouse: Warehouse, name: str, **parameters: object) -> Answer:
    """A report of the warehouse with its SQL, in which the parameters are written out."""
    sql = (SQL / "reports" / f"{name}.sql").read_text("utf-8").strip()
    for parameter, value in parameters.items():
        literal = "'" + value.replace("'", "''") + "'" if isinstance(value, str) else str(value)
        sql = sql.replace(f"${parameter}", literal)
    return Answer(warehouse.report(name, **parameters).records(), sql)


def _flip_rate(statuses: Rows) -> float | None:
    keys = ("members", "already_wrong", "flipped")
    return flip_rate({key: sum(row[key] for row in statuses) for key in keys})


def _pairs(rows: Rows) -> dict[tuple[str, str], dict[str, Any]]:
    """By the names of both algorithms, in either order."""
    there = {(row["algorithm_a"], row["algorithm_b"]): row for row in rows}
    return there | {(b, a): row for (a, b), row in there.items()}


def _ceilings(repeats: Rows) -> dict[str, float]:
    """By algorithm, the lowest over what was varied."""
    defined = [row for row in repeats if row["ceiling"] is not None]
    found = nested(defined, "algorithm").items()
    return {name: min(row["ceiling"] for row in rows) for name, rows in found}


def _galleries(rows: Rows) -> dict[str, dict[str, dict[str, Rows]]]:
    """factor -> algorithms -> easiest or hardest -> samples.

    Algorithms with the same samples, as for what is known before unlearning, share one entry.
    """
    galleries: dict[str, dict[str, dict[str, Rows]]] = {}
    for factor, panels in nested(rows, "factor", "algorithm", "side").items():
        alike: dict[str, list[str]] = {}
        for algorithm, sides in panels.items():
            alike.setdefault(str(_shown(sides)), []).append(algorithm)
        galleries[factor] = {
            "all algorithms alike" if len(group) == len(panels) > 1 else ", ".join(group): (
                panels[group[0]]
            )
            for group in alike.values()
        }
    return galleries


def _shown(sides: dict[str, Rows]) -> list[tuple[str, int, float]]:
    return [(side, row["sample_id"], row["value"]) for side in sides for row in sides[side]]


def _data(rows: dict[str, Rows], shown: list[int], pictures: Pictures, ui: str) -> dict[str, Any]:
    """What the page's charts are drawn from, each thing once."""
    kept, columns = set(shown), ("algorithm", "sample_id", "status", "steps")
    is_shown = [row["sample_id"] in kept for row in rows["members"]]
    members = list(compress(rows["members"], is_shown))
    return {
        "ui": ui,
        "members": {
            name: [_short(row[name]) for row in members]
            for name in (*columns, "gt", "difficulty_rank", "run_id")
        },
        "sizes": Counter(row["algorithm"] for row in rows["members"]),
        "labels": {row["sample_id"]: pictures.name(row["label"]) for row in members},
        "images": {k: data_uri(image) for k, image in pictures.images.items() if k in kept},
        "factors": {row["factor"]: _factor(row, is_shown) for row in rows["points"]},
        "rho": {
            factor: {row["algorithm"]: said(row) for row in found}
            for factor, found in nested(rows["heat_map"], "factor").items()
        },
        "statuses": [
            {"algorithm": row["algorithm"], "status": status, "count": row[status]}
            for row in rows["statuses"]
            for status in STATUSES
        ],
    }


def _factor(row: dict[str, Any], is_shown: list[bool]) -> dict[str, Any]:
    values = [_short(value) for value in compress(row["values"], is_shown)]
    return {"title": row["title"], "unit": row["unit"], "values": values}


def _short(value: Any) -> Any:
    """A number in the six digits that a picture can show; nothing where it is not finite."""
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
    environment.globals |= {"PHASES": PHASES, "asset": asset, "vega": vega, "nested": nested}
    environment.filters |= {"signed": signed, "number": number, "share": share}
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
    """A number in as many significant digits as tell it apart."""
    if value is None or not math.isfinite(value):
        return "–"
    plain = f"{value:.0f}" if float(value).is_integer() else f"{value:.{digits}g}"
    return plain.replace("-", "\N{MINUS SIGN}")
