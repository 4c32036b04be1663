"""The report: one HTML page that needs nothing beside it, about one sweep."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from numpy.typing import NDArray

from indelible.analysis.figures import Panel, scatter, thumbnail
from indelible.analysis.warehouse import Warehouse
from indelible.errors import UserError

Rows = list[dict[str, Any]]


def sample_ids(warehouse: Warehouse, sweep: str) -> list[int]:
    """The samples whose images the report of a sweep shows."""
    rows = warehouse.report("gallery", sweep=sweep).records() + _hardest(warehouse, sweep)
    return sorted({row["sample_id"] for row in rows})


def write_report(
    warehouse: Warehouse, sweep: str, images: Mapping[int, NDArray[np.float64]], folder: Path
) -> Path:
    """Write the report of a sweep as `report.html` into a folder; its path.

    Args:
        images: by sample id, (H, W) grey or (H, W, 3) colour, in [0, 1].

    Raises UserError if the folder cannot be written.
    """
    page = _render(warehouse, sweep, images)
    path = folder / "report.html"
    draft = folder / f".report.html.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        draft.write_text(page, "utf-8")
        draft.replace(path)
    except OSError as error:
        raise UserError(f"the report cannot be written to {folder}: {error.strerror}") from error
    return path


def _render(warehouse: Warehouse, sweep: str, images: Mapping[int, NDArray[np.float64]]) -> str:
    correlations = warehouse.report(
        "correlate", sweep=sweep, reading="set_sizes", fixed=None, population="all"
    ).records()
    points = warehouse.report("points", sweep=sweep).records()
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["data_uri"] = _data_uri
    return environment.get_template("report.html.j2").render(
        sweep=warehouse.report("sweep", sweep=sweep).records()[0],
        statuses=warehouse.report("statuses", sweep=sweep).records(),
        correlations=_by_factor(correlations),
        algorithms=sorted({row["algorithm"] for row in correlations}),
        agreement=warehouse.report("agreement", sweep=sweep).records(),
        hardest=_hardest(warehouse, sweep),
        scatters=_scatters(points, correlations),
        galleries=_galleries(warehouse, sweep),
        titles={row["factor"]: row["title"] for row in warehouse.report("catalog").records()},
        images={sample: thumbnail(image) for sample, image in images.items()},
    )


def _hardest(warehouse: Warehouse, sweep: str) -> Rows:
    rows = warehouse.report("rank_overall", sweep=sweep, easiest=False, top=10).records()
    return list({row["sample_id"]: row for row in rows}.values())


def _by_factor(correlations: Rows) -> dict[str, dict[str, dict[str, Any]]]:
    table: dict[str, dict[str, dict[str, Any]]] = {}
    for row in correlations:
        table.setdefault(row["factor"], {})[row["algorithm"]] = row
    return table


def _scatters(points: Rows, correlations: Rows) -> dict[str, bytes]:
    """A PNG a factor that has points, in the catalog's order."""
    grouped: dict[str, dict[str, Rows]] = {}
    for point in points:
        grouped.setdefault(point["factor"], {}).setdefault(point["algorithm"], []).append(point)
    found = {(row["factor"], row["algorithm"]): row for row in correlations}
    titles = {row["factor"]: row["title"] for row in correlations}
    return {
        factor: scatter(
            {name: _panel(name, rows, found[factor, name]) for name, rows in panels.items()},
            titles[factor],
        )
        for factor, panels in grouped.items()
        if factor in titles
    }


def _panel(algorithm: str, points: Rows, correlation: dict[str, Any]) -> Panel:
    rho = correlation["rho"]
    said = correlation["undefined"] if rho is None else f"rho = {rho:+.3f}"
    return Panel(
        title=f"{algorithm}: {said}",
        values=[point["value"] for point in points],
        gt=[point["gt"] for point in points],
        status=[point["status"] for point in points],
    )


def _galleries(warehouse: Warehouse, sweep: str) -> dict[str, dict[str, dict[str, Rows]]]:
    """factor -> algorithm -> easiest or hardest -> up to three samples."""
    found: dict[str, dict[str, dict[str, Rows]]] = {}
    for row in warehouse.report("gallery", sweep=sweep).records():
        sides = found.setdefault(row["factor"], {}).setdefault(row["algorithm"], {})
        sides.setdefault(row["side"], []).append(row)
    return found


def _data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
