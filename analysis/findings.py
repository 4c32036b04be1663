"""The results of a sweep in sentences, whose texts are templates in `page`."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

import jinja2

from analysis import words
from analysis.answers import Answers
from analysis.pictures import Pictures
from analysis.statistics import FEWEST_REPEATS, signs_by_chance
from analysis.words import MINUS, Rows, in_words, is_told, nested, plain

PAGE = Path(__file__).parent / "page"
CENTRAL = (0.025, 0.975)  # ends of what chance gives in 95% of trials

# How far it was known, by the share of the ceiling; without half of the hardest tenth not quite.
YES, PARTLY, FOUND = 0.8, 0.5, 0.5
REASONS = Path(__file__).parent / "data" / "reasons.csv"
# How sure the base model was of a sample that it got right, by the probability of its label.
CERTAINTIES = (
    *((0.99, "almost certain"), (0.9, "very sure"), (0.7, "fairly sure")),
    *((0.5, "unsure"), (0.0, "very unsure")),
)


@cache
def environment() -> jinja2.Environment:
    """The templates of `page`, with what turns numbers into words; only HTML is escaped."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PAGE),
        autoescape=jinja2.select_autoescape(["html.j2"]),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    made.globals |= {"LEVEL": words.LEVEL, "FEWEST_REPEATS": FEWEST_REPEATS}
    made.globals |= {"nested": nested, "ceiling": words.ceiling}
    of_words = (words.signed, words.number, words.share, words.points, words.said_p, plain)
    for each in (*of_words, words.with_interval, in_words, is_told, reason, contradicted):
        made.filters[each.__name__] = each
    made.filters["both_ends"] = lambda rows: rows[:: max(1, len(rows) - 1)]
    made.tests["is_told"] = is_told
    return made


def sentences(template: str, context: Mapping[str, Any]) -> list[str]:
    """The paragraphs of a text template, a line each."""
    text = environment().get_template(template).render(context)
    return [" ".join(part.split()) for part in text.split("\n\n") if part.strip()]


def in_short(answers: Answers, pictures: Pictures) -> list[str]:
    """The findings, in at most five sentences: those for which there are rows."""
    rows = {name: answer.rows for name, answer in answers.by_name.items()}
    ran = [r | {"ran": r["members"] - r["ended"]["already_wrong"]} for r in rows["statuses"]]
    costs = [row for row in rows["summary"] if row["worst_points_lost"] is not None]
    tested = {r["algorithm"]: r["p_holm"] for r in rows["class_tests"] if r["p_holm"] is not None}
    means = {
        label: fmean([row["mean_percentile"] for row in own], [row["n"] for row in own])
        for label, own in nested(
            [row for row in rows["classes"] if is_told(tested.get(row["algorithm"]))], "label"
        ).items()
    }
    context = {
        "max_loss": answers.max_loss,
        "end": answers.end,
        "tried": [r | {"rate": r["ended"][answers.end] / r["ran"]} for r in ran if r["ran"]],
        "costs": costs,
        "flips": [r | {"rate": r["damaged"] / r["arrived"]} for r in costs if r["arrived"]],
        "tested": tested,
        "ends": [(end(means, key=means.__getitem__), end(means.values())) for end in (max, min)]
        if means
        else [],
        "pictures": pictures,
    }
    return sentences("findings.txt.j2", rows | context)


def strongest(strengths: Rows, phase: str) -> dict[str, Any]:
    """The row of the strongest factor of a phase; empty if there is none.

    Args:
        strengths: rows of the report `strengths`, which has no ingredients of GT.
    """
    return next((row for row in strengths if row["phase"] == phase), {})


def contradicted(row: dict[str, Any]) -> str:
    """A factor that was measured to be hard at the other end than the catalog says.

    Args:
        row: of the report `contradictions`.
    """
    more = f", and less clearly with {row['lean']} more" if row["lean"] else ""
    return (
        f"{row['harder'].capitalize()} values of “{row['title']}” are said to be hard, but were "
        f"measured to be easy: clearly with {in_words(row['against'])}{more}."
    )


def beside_paper(paper: Rows) -> list[str]:
    """How many correlations have the sign that they have in the paper, and whether by chance.

    Args:
        paper: rows of the report `compare` of one population. Those of U do not count.
    """
    rows = [row for row in paper if row["signs_agree"] is not None and not row["is_u"]]
    of_data_set = nested([r for r in rows if r["against"] == r["dataset"]] or rows, "against")
    if not of_data_set:
        return []
    said, beyond = [], []
    for name, own in of_data_set.items():
        agreeing, many = sum(row["signs_agree"] for row in own), len(own)
        low, high = (signs_by_chance(end, many) for end in CENTRAL)
        said.append(f"on {name.upper()} {agreeing} of {many} (by chance {low:.0f} to {high:.0f})")
        beyond += [] if low <= agreeing <= high else [name.upper()]
    verdict = f"not within chance on {in_words(beyond)}" if beyond else "within chance"
    return [
        f"The paper's correlations have the same sign here {in_words(said)}: {verdict}, if the "
        "signs were independent, which those of factors that hang together are not. Test "
        "accuracy, loss and probability do not count: they are U, a part of GT, by other names."
    ]


# The first screen


def reason(row: dict[str, Any]) -> str:
    """What made a sample hard or easy: how sure the network was of it, its steps and their price.

    Args:
        row: of the report `overall`. What was not measured is left out.
    """
    is_wrong = row["margin"] is not None and row["margin"] < 0
    levels = () if is_wrong else CERTAINTIES
    before = "" if row["confidence"] is None else _level(levels, row["confidence"], "wrong")
    if row["margin"] is not None:
        margin = f"margin {row['margin']:.1f}".replace("-", MINUS)
        before = f"{before} ({margin})" if before else margin
    after = []
    if row["mean_steps"] is not None:
        count = f"{math.floor(10 * row['mean_steps'] + 0.5) / 10:g}"  # as the page's script rounds
        after.append(f"{count} step{'' if count == '1' else 's'}")
    if row["accuracy_after"] is not None and row["accuracy_before"] is not None:
        fall = f"{100 * row['accuracy_before']:.1f} to {100 * row['accuracy_after']:.1f}%"
        after.append(f"accuracy {fall}")
    if row["tied"]:
        after.append(f"tied with {row['tied']}")
    if row["arrived"] < row["attempts"]:
        how = "flipped" if row["until"] == "flip" else "came to the reference"
        after.append(f"{row['arrived']} of {row['attempts']} {how}")
    return ": ".join(part for part in (before, ", ".join(after)) if part)


def could_we_have_known(answers: Answers) -> str:
    """One sentence that answers the question, without a term that a reader would have to know.

    It is about the prediction that was made before the sweep, where there is one, else about the
    one factor known beforehand that orders the samples most as the outcome does.
    """
    best, cells = _most_like_gt(answers)
    scored = [r for r in answers.rows("known") if r["target"] == "gt" and r["rho"] is not None]
    ceilings = {
        row["algorithm"]: row["ceiling"]
        for row in answers.rows("ceilings")
        if row["varied"] == "unlearning seed" and row["ceiling_low"]
    }
    rows = scored or [row | {"rho": abs(row["rho"]), "precision_10": None} for row in cells]
    known = [
        row | {"ceiling": ceilings.get(row["algorithm"])}
        for row in sorted(rows, key=lambda row: -row["rho"])
    ]
    every = answers.rows("heat_map")
    context = {
        "scored": scored,
        "grades": nested([row | {"grade": _grade(row)} for row in known], "grade"),
        "known": known,
        "others": sorted({row["algorithm"] for row in every} - {r["algorithm"] for r in scored}),
        "best": best,
        "phases": set() if scored or best else {row["phase"] for row in every},
    }
    return " ".join(sentences("verdict.txt.j2", context))


def _grade(row: dict[str, Any]) -> str:
    """How far an order was known, by its rho, the most to expect of it, and the share of the
    hardest tenth that was found; the last two may be None."""
    reached, found = row["rho"] / (row["ceiling"] or 1), row["precision_10"]
    if reached < PARTLY:
        return "no"
    return "yes" if reached >= YES and (found is None or found >= FOUND) else "partly"


def _most_like_gt(answers: Answers) -> tuple[dict[str, Any], Rows]:
    """The strongest factor known beforehand, and its correlations with GT, the strongest first."""
    best = strongest(answers.rows("strengths"), "pre")
    cells = [
        row
        for row in answers.rows("heat_map")
        if row["factor"] == best.get("factor") and row["rho"] is not None
    ]
    return best, sorted(cells, key=lambda row: -abs(row["rho"]))


def why(answers: Answers) -> str:
    """The factor known beforehand that orders the samples most as GT does, in a sentence for those
    who do not know it; empty if none is more than chance."""
    best, cells = _most_like_gt(answers)
    with REASONS.open(encoding="utf-8", newline="") as file:
        said = {row["of"]: row["more"] for row in csv.DictReader(file)}
    factor = best.get("factor", "")
    reasons = (said.get(k) for k in (factor, factor.rpartition("_")[0], best.get("family")))
    context = {
        "best": best,
        "cells": cells,
        "more": next(filter(None, reasons), ""),
        # GT is small where a sample is hard.
        "is_as_said": (sum(row["rho"] for row in cells) < 0) == (best.get("harder") == "high"),
    }
    return " ".join(sentences("why.txt.j2", context))


def _level(levels: tuple[tuple[float, str], ...], value: float, lowest: str) -> str:
    """The words of the first level that a value reaches."""
    return next((words for least, words in levels if value >= least), lowest)
