"""The report: one HTML page that needs nothing beside it, about one sweep."""

from __future__ import annotations

import math
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import vl_convert
from markupsafe import Markup

from analysis.answers import Answers
from analysis.atomic import make_folder, write_atomically
from analysis.findings import PAGE, beside_paper, could_we_have_known, environment, why
from analysis.likeness import alike, sample_map
from analysis.pictures import Pictures, data_uri
from analysis.words import (
    Rows,
    ceiling,
    is_squeezed,
    looks,
    names,
    nested,
    no_reference,
    said,
    under_other_seeds,
)

FILE = "report.html"
VEGA = "window.vegaEmbed = vegaEmbed;"  # what the bundle gives to the page
PHASES = {"pre": "Known before unlearning", "post": "Measured afterwards"}
CONTENTS = {
    "findings": "In short",
    "ends": "Ends",
    "forgotten": "Forgotten",
    "samples": "Samples",
    "sample": "One sample",
    "known": "Known?",
    "outcome": "GT",
    "correlations": "Factors",
    "one": "One factor",
    "alike": "Alike",
    "map": "Map",
    "agreement": "Agreement",
    "classes": "Classes",
    "flips": "Taken for",
    "reliability": "Reliability",
    "done": "Settings",
    "glossary": "Words",
}
# What is predicted, and drawn against what was measured.
TARGETS = {
    "gt": {"title": "GT", "axis": "GT"},
    "prob_lost": {"title": "damage to the test set", "axis": "probability lost"},
    "steps": {"title": "steps", "axis": "steps"},
}
# Columns of attempts that have a GT, of attempts that have none, of samples, of what was predicted
# and of what is known beforehand.
MEMBERS = (
    "algorithm sample_id ending steps gt gt_share regime f points_lost difficulty_rank tied "
    "percentile run_id"
)
OTHERS = "algorithm sample_id status steps run_id"
OVERALL = "sample_id from_hardest tied mean_percentile mean_steps mean_points_lost"
PREDICTED = "algorithm sample_id ending run_id " + " ".join(f"predicted_{t} {t}" for t in TARGETS)
LADDER = "algorithm kind title rho strength best"


def write_report(page: str, folder: Path) -> Path:
    """Write a page that was rendered as `report.html` into a folder; its path.

    Raises UserError if the folder cannot be written, Failure if there is no room.
    """
    path = folder / FILE
    make_folder(folder, f"the report in {folder}")
    write_atomically(path, page.encode())
    return path


def render(answers: Answers, pictures: Pictures, findings: list[str], ui: str) -> str:
    """The page about a sweep.

    Args:
        findings: in sentences, of `in_short`. ui: address of the MLflow UI that the page links to.
    """
    rows, ui = answers.rows, ui.rstrip("/")
    # What comes before and after a run's id in the address of its page.
    experiment = f"{ui}/#/experiments/{answers.sweep['experiment_id']}/runs/"
    data = page_data(answers, pictures, (experiment, "?workflowType=machine_learning"))
    there = {row["status"] for row in data["statuses"] if row["count"]} | {answers.end}
    pairs = {(row["algorithm_a"], row["algorithm_b"]): row for row in rows("agree")}
    context = {
        "sweep": answers.sweep,
        "PHASES": PHASES,
        "asset": asset,
        "vega": vega,
        "endings": looks(),
        "end": answers.end,
        "ended_apart": ended_apart,
        "algorithms": names(rows("statuses"), "algorithm"),
        "occurring": [ending for ending in looks() if ending["status"] in there],
        "extremes": answers.extremes,
        "unsteady": under_other_seeds(rows("seed_agreement")),
        "sums": {row["algorithm"]: row for row in rows("summary")},
        "max_loss": answers.max_loss,
        "findings": findings,
        "verdict": could_we_have_known(answers),
        "why": why(answers),
        "doubt": no_reference(answers.sweep["reference_accuracy"], answers.sweep["test_accuracy"]),
        "beside_paper": beside_paper(rows("paper")),
        "contradicted": {row["factor"]: row for row in rows("contradictions")},
        "most": _ceilings(rows("ceilings")),
        "most_of_means": _ceilings(rows("ceilings"), rows("heat_map_repeats")),
        "pair": pairs | {(b, a): row for (a, b), row in pairs.items()},
        "contents": CONTENTS,
        "pictures": pictures,
        "targets": TARGETS,
        "ui": ui,
        "drawn": (len(data["labels"]), len(names(rows("members"), "sample_id"))),
        "data": data,
    }
    return environment().get_template("report.html.j2").render({**answers.by_name, **context})


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


def asset(name: str) -> Markup:
    """A file of the page, as it is."""
    return Markup((PAGE / name).read_text("utf-8"))  # noqa: S704 - our own


@cache
def vega() -> Markup:
    """Vega, Vega-Lite and Vega-Embed in one script."""
    # Ours and not the user's, and nothing in it may end the element that it stands in.
    return Markup(vl_convert.javascript_bundle(VEGA).replace("</script", r"<\/script"))  # noqa: S704


# The data of the page's charts and of its grid of samples


def page_data(answers: Answers, pictures: Pictures, around: tuple[str, str]) -> dict[str, Any]:
    """The data of the page's charts and of its grid.

    Args:
        around: what stands around a run's id, in the address that points and samples link to.
    """
    rows, kept = answers.rows, set(answers.sample_ids)

    def shown(name: str) -> Rows:
        return [row for row in rows(name) if row["sample_id"] in kept]

    every = [k for k, row in enumerate(rows("members")) if row["sample_id"] in kept]
    once = [k for sample, k in answers.first_attempts.items() if sample in kept]
    both = (*shown("members"), *shown("without_gt"))
    label_of = {row["sample_id"]: row["label"] for row in both}
    unit = "seconds" if any(r["of_attempt"] is None for r in rows("ladder")) else "of_attempt"
    return {
        "around": around,
        "limit": answers.max_loss,
        "members": _columns(shown("members"), MEMBERS),
        "others": _columns(shown("without_gt"), OTHERS),
        "overall": _columns(shown("overall"), OVERALL),
        "sizes": Counter(row["algorithm"] for row in rows("members")),
        "paths": {row["sample_id"]: path for row in both if (path := row["sample_path"])},
        "labels": {sample: pictures.name(label) for sample, label in label_of.items()},
        "names": [pictures.name(label) for label in sorted(set(label_of.values()))],
        "classes": [pictures.name(label) for label in names(rows("classes"), "label")],
        "images": {k: data_uri(image) for k, image in pictures.images.items() if k in kept},
        "factors": {
            row["factor"]: {
                "title": row["title"],
                "unit": row["unit"],
                "phase": row["phase"],
                # What is known before is a sample's, whatever the algorithm.
                "values": [
                    _short(row["values"][k]) for k in (once if row["phase"] == "pre" else every)
                ],
            }
            for row in rows("points")
        },
        "predicted": _columns(shown("predicted"), PREDICTED),
        "curves": [row | {"probs": [*row["probs"]]} for row in shown("curves")],
        "targets": TARGETS,
        "ladder": {
            "unit": unit,
            "rungs": [
                {name: _short(row[name]) for name in LADDER.split()} | {"cost": _short(row[unit])}
                for row in rows("ladder")
            ],
        },
        "free": {
            "factor": is_squeezed(rows("members"), "gt"),
            **{target: is_squeezed(rows("predicted"), target) for target in TARGETS},
        },
        "rho": {
            factor: {row["algorithm"]: said(row) for row in found}
            for factor, found in nested(rows("heat_map"), "factor").items()
        },
        "order": [ending["status"] for ending in looks()],
        "endings": {e["status"]: {"words": e["words"], "shape": e["shape"]} for e in looks()},
        **_of_the_sweep(answers, pictures),
    }


def _of_the_sweep(answers: Answers, pictures: Pictures) -> dict[str, Any]:
    """The data of the charts that show no single attempts."""
    rows = answers.rows
    damaged = {row["algorithm"]: row["damaged"] for row in rows("summary")}
    return {
        "bands": rows("bands"),
        "flips": [
            row | {name: pictures.name(row[name]) for name in ("label", "flipped_to")}
            for row in rows("flips")
        ],
        "alike": alike(answers),
        "map": sample_map(answers),
        "statuses": [
            {"algorithm": row["algorithm"], "status": status, "count": count}
            for row in rows("statuses")
            for status, count in ended_apart(row, damaged.get(row["algorithm"], 0)).items()
        ],
        "verdicts": [
            {"algorithm": row["algorithm"], "status": verdict, "count": row[verdict]}
            for row in rows("summary")
            for verdict in ("forgotten", "over_forgotten", "remembered")
        ],
    }


def ended_apart(row: dict[str, Any], damaged: int) -> dict[str, int]:
    """How many attempts ended in each way, those that arrived and damaged the network apart.

    Args:
        row: of the report `statuses`. damaged: how many of those that arrived did damage.
    """
    ended = row["ended"]
    end = "at_reference" if ended["at_reference"] else "flipped"
    arrived = {end: ended[end] - damaged, "damaged": damaged}
    return arrived | {name: many for name, many in ended.items() if name != end}


def _columns(rows: Rows, columns: str) -> dict[str, list[Any]]:
    return {name: [_short(row[name]) for row in rows] for name in columns.split()}


def _short(value: Any) -> Any:
    """A number rounded to six digits, for the charts; None if it is not finite."""
    if not isinstance(value, float):
        return value
    return float(f"{value:.6g}") if math.isfinite(value) else None
