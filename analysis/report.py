"""The report: one HTML page that needs nothing beside it, about one sweep."""

from __future__ import annotations

import math
from collections import Counter
from functools import cache
from itertools import compress
from pathlib import Path
from typing import Any

import vl_convert
from markupsafe import Markup

from analysis.answers import Answers
from analysis.atomic import make_folder, write_atomically
from analysis.findings import (
    PAGE,
    could_we_have_known,
    explained,
    findings,
    rendered,
    strongest,
)
from analysis.pictures import Pictures, data_uri
from analysis.statistics import FEWEST_REPEATS
from analysis.statuses import looks
from analysis.words import Rows, ceiling, names, nested, said, under_other_seeds

FILE = "report.html"
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


def in_short(answers: Answers, pictures: Pictures) -> list[str]:
    """The findings, in sentences, as the page begins with them."""
    rows = {name: answer.rows for name, answer in answers.by_name.items()}
    classes = {row["label"]: pictures.name(row["label"]) for row in rows["classes"]}
    return explained(findings(rows, classes, answers.max_loss))


def render(answers: Answers, pictures: Pictures, sentences: list[str], ui: str) -> str:
    """The page about a sweep.

    Args:
        sentences: the findings, of `in_short`. ui: address of the MLflow UI that the page links to.
    """
    rows = {name: answer.rows for name, answer in answers.by_name.items()}
    around = around_run(ui.rstrip("/"), answers.sweep["experiment_id"])
    data = page_data(answers, pictures, around)
    there = {row["status"] for row in data["statuses"] if row["count"]} | {"flipped"}
    occurring = [ending for ending in looks() if ending.status in there]
    harsh = [row["algorithm"] for row in rows["summary"] if 2 * row["damaged"] > row["flipped"]]
    own = {row["algorithm"]: f", {row['settings'] or ''}" for row in rows["settings"]}
    run, flipped, damaged = (
        sum(row[name] for row in rows["summary"]) for name in ("attempts", "flipped", "damaged")
    )
    pairs = {(row["algorithm_a"], row["algorithm_b"]): row for row in rows["agree"]}
    return rendered(
        "report.html.j2",
        {**answers.by_name, "sweep": answers.sweep},
        PHASES=PHASES,
        FEWEST_REPEATS=FEWEST_REPEATS,
        asset=asset,
        vega=vega,
        endings=looks(),
        ended_apart=ended_apart,
        twice=lambda values: [(value, value) for value in values],
        algorithms=names(rows["statuses"], "algorithm"),
        ended={"run": run, "flipped": flipped - damaged, "damaged": damaged},
        occurring=occurring,
        ways=[(ending.status, ending.words) for ending in occurring],
        extremes=answers.extremes,
        counted=[row["algorithm"] for row in rows["seed_agreement"] if row["is_counted"]],
        unsteady=under_other_seeds(rows["seed_agreement"]),
        sums={row["algorithm"]: row for row in rows["summary"]},
        harsh=harsh,
        slower=[name for name in harsh if ", lr=" in own.get(name, "")],
        max_loss=answers.max_loss,
        findings=sentences,
        verdict=could_we_have_known(rows),
        contradicted={row["factor"]: row for row in rows["contradictions"]},
        first=strongest(rows["strengths"], "pre").get("factor"),
        titles={row["factor"]: row["title"] for row in rows["heat_map"]},
        mixed=[row["algorithm"] for row in rows["regimes"] if row["mixed"]],
        most=_ceilings(rows["ceilings"]),
        most_of_means=_ceilings(rows["ceilings"], rows["heat_map_repeats"]),
        galleries=answers.galleries,
        pair=pairs | {(b, a): row for (a, b), row in pairs.items()},
        contents=CONTENTS,
        pictures=pictures,
        targets=TARGETS,
        rungs=data["ladder"],
        ui=ui.rstrip("/"),
        around=around,
        drawn=(len(data["labels"]), len(names(rows["members"], "sample_id"))),
        data=data,
    )


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


def around_run(ui: str, experiment_id: str | None) -> tuple[str, str]:
    """What comes before and after a run's id in the address of its page in the MLflow UI.

    Where the experiment is known, the page opens among those of model training.
    """
    if experiment_id is None:
        return f"{ui}/#/runs/", ""
    return f"{ui}/#/experiments/{experiment_id}/runs/", "?workflowType=machine_learning"


def page_data(answers: Answers, pictures: Pictures, around: tuple[str, str]) -> dict[str, Any]:
    """The data of the page's charts and of its grid.

    Args:
        around: a run's id, in the address that points and samples link to; see `around_run`.
    """
    rows, kept = answers.rows, set(answers.sample_ids)

    def shown(name: str) -> Rows:
        return [row for row in rows(name) if row["sample_id"] in kept]

    is_shown = [row["sample_id"] in kept for row in rows("members")]
    members, others = shown("members"), shown("without_gt")
    both = (*members, *others)
    label_of = {row["sample_id"]: row["label"] for row in both}
    damaged = {row["algorithm"]: row["damaged"] for row in rows("summary")}
    unit = "seconds" if any(r["of_attempt"] is None for r in rows("ladder")) else "of_attempt"
    return {
        "around": around,
        "limit": answers.max_loss,
        "members": _columns(members, MEMBERS),
        "others": _columns(others, OTHERS),
        "overall": _columns(shown("overall"), OVERALL),
        "sizes": Counter(row["algorithm"] for row in rows("members")),
        "paths": {row["sample_id"]: path for row in both if (path := row["sample_path"])},
        "labels": {sample: pictures.name(label) for sample, label in label_of.items()},
        "names": [pictures.name(label) for label in sorted(set(label_of.values()))],
        "classes": [pictures.name(label) for label in names(rows("classes"), "label")],
        "images": {k: data_uri(image) for k, image in pictures.images.items() if k in kept},
        "factors": {row["factor"]: _factor(row, is_shown, members) for row in rows("points")},
        "predicted": _columns(shown("predicted"), PREDICTED),
        "targets": TARGETS,
        "ladder": {
            "unit": unit,
            "rungs": [
                {name: _short(row[name]) for name in LADDER.split()} | {"cost": _short(row[unit])}
                for row in rows("ladder")
            ],
        },
        "rho": {
            factor: {row["algorithm"]: said(row) for row in found}
            for factor, found in nested(rows("heat_map"), "factor").items()
        },
        "order": [ending.status for ending in looks()],
        "endings": {
            ending.status: {"words": ending.words, "shape": ending.shape} for ending in looks()
        },
        "statuses": [
            {"algorithm": row["algorithm"], "status": status, "count": count}
            for row in rows("statuses")
            for status, count in ended_apart(row, damaged.get(row["algorithm"], 0)).items()
        ],
    }


def ended_apart(row: dict[str, Any], damaged: int) -> dict[str, int]:
    """How many attempts ended in each way, those that flipped and damaged the network apart.

    Args:
        row: of the report `statuses`. damaged: how many of its flips did damage.
    """
    flipped = {"flipped": row["ended"]["flipped"] - damaged, "damaged": damaged}
    return flipped | {name: many for name, many in row["ended"].items() if name != "flipped"}


def _columns(rows: Rows, columns: str) -> dict[str, list[Any]]:
    return {name: [_short(row[name]) for row in rows] for name in columns.split()}


def _factor(row: dict[str, Any], is_shown: list[bool], members: Rows) -> dict[str, Any]:
    """The values of a factor, one a member; of all algorithms at once where they are the same."""
    values = [_short(value) for value in compress(row["values"], is_shown)]
    samples = [member["sample_id"] for member in members]
    of = dict(zip(samples, values, strict=True))
    is_same = all(of[sample] == value for sample, value in zip(samples, values, strict=True))
    found = {"of": of} if is_same else {"values": values}
    return {"title": row["title"], "unit": row["unit"], **found}


def _short(value: Any) -> Any:
    """A number rounded to six digits, for the charts; None if it is not finite."""
    if not isinstance(value, float):
        return value
    return float(f"{value:.6g}") if math.isfinite(value) else None
