"""The results of a sweep in sentences, whose texts are templates in `page`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

import jinja2

from analysis import words
from analysis.statistics import FEWEST_REPEATS, signs_by_chance
from analysis.statuses import MAX_LOSS
from analysis.words import MINUS, Rows, in_words, is_by_chance, is_told, nested, plain

PAGE = Path(__file__).parent / "page"
CENTRAL = (0.025, 0.975)  # ends of what chance gives in 95% of trials

# The terms of the findings, to be said before their first use.
TERMS = (
    "What follows speaks of GT, ρ and p. GT is what an attempt comes to: large where the sample "
    "was forgotten with little damage, small where that was hard. ρ, Spearman's rank correlation, "
    "says how far two orders of the samples agree: +1 is the same order, 0 no relation, "
    "\N{MINUS SIGN}1 the opposite order. p is how often chance alone would give as much."
)
TERM = re.compile(r"\bGT\b|ρ|\bp\b")
# How strongly two orders agree, by |rho|, from the strongest; "hardly" below the last.
STRENGTHS = ((0.9, "almost exactly"), (0.7, "closely"), (0.5, "roughly"), (0.3, "loosely"))
KNOWN = 0.7  # |rho| from which on we could have known
# How sure the base model was of a sample that it got right, by the probability of its label.
CERTAINTIES = (
    *((0.99, "almost certain"), (0.9, "very sure"), (0.7, "fairly sure")),
    *((0.5, "unsure"), (0.0, "very unsure")),
)
LIMITED = {
    "unlearning seed": "known before unlearning",
    "base model seed": "that does not look at this very network",
}


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
    made.globals |= {"LEVEL": words.LEVEL, "nested": nested, "ceiling": words.ceiling}
    made.filters |= {
        "both_ends": lambda rows: rows[:: max(1, len(rows) - 1)],
        **{each.__name__: each for each in (words.signed, words.number, words.share, words.points)},
        **{each.__name__: each for each in (words.crowd, words.said_p, words.with_interval)},
        **{each.__name__: each for each in (in_words, is_told, reason, contradicted)},
    }
    made.tests["is_told"] = is_told
    return made


def rendered(template: str, rows: Mapping[str, Any], **context: Any) -> str:
    """A template of `page` with its context."""
    return environment().get_template(template).render(rows, **context)


def findings(
    rows: dict[str, Rows], classes: dict[int, str], max_loss: float = MAX_LOSS
) -> list[str]:
    """The findings for which there are rows, in the order of the page.

    Args:
        rows: of reports of the warehouse, by the report's name.
        classes: the name of each label.
        max_loss: percentage points of test accuracy beyond which a flip counts as damage.
    """
    tried = [
        row | {"ran": row["members"] - row["ended"]["already_wrong"]} for row in rows["statuses"]
    ]
    costs = [row for row in rows["summary"] if row["worst_points_lost"] is not None]
    again = [row for row in rows["ceilings"] if row["mean_rho"] is not None]
    tested = {row["algorithm"]: row["p_holm"] for row in rows["class_tests"]}
    tested = {name: p for name, p in tested.items() if p is not None}
    text = rendered(
        "findings.txt.j2",
        rows,
        max_loss=max_loss,
        tried=[row | {"rate": row["ended"]["flipped"] / row["ran"]} for row in tried if row["ran"]],
        costs=costs,
        flips=[row | {"rate": row["damaged"] / row["flipped"]} for row in costs if row["flipped"]],
        strongest=[strongest(rows["strengths"], phase) for phase in ("pre", "post")],
        cells=[r | {"size": abs(r["rho"])} for r in rows["heat_map"] if r["rho"] is not None],
        tested=tested,
        ends=_ends_of_classes([r for r in rows["classes"] if is_told(tested.get(r["algorithm"]))]),
        classes=classes,
        paper=beside_paper(rows["paper"]),
        again={
            (varied, limited): [
                [r for r in again if r["varied"] == varied and is_by_chance(r) is untold]
                for untold in (False, True)
            ]
            for varied, limited in LIMITED.items()
        },
        few=_few,
    )
    return [" ".join(part.split()) for part in text.split("\n\n") if part.strip()]


def explained(sentences: list[str]) -> list[str]:
    """The sentences, with TERMS before the first that uses one of these terms."""
    first = next((k for k, text in enumerate(sentences) if TERM.search(text)), None)
    return sentences if first is None else [*sentences[:first], TERMS, *sentences[first:]]


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


def _ends_of_classes(rows: Rows) -> list[tuple[int, float]]:
    """The hardest and the easiest label by their mean percentile over all rows of `classes`."""
    means = {
        label: fmean([row["mean_percentile"] for row in own], [row["n"] for row in own])
        for label, own in nested(rows, "label").items()
    }
    return [(end(means, key=means.__getitem__), end(means.values())) for end in (max, min) if means]


def _few(ceilings: Rows) -> str:
    """A remark in brackets if there were fewer repeats than FEWEST_REPEATS; else nothing."""
    few = sorted({row["repeats"] for row in ceilings if row["repeats"] < FEWEST_REPEATS})
    return f" ({' or '.join(map(str, few))} repeats only)" if few else ""


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
    if row["flipped"] < row["attempts"]:
        after.append(f"{row['flipped']} of {row['attempts']} flipped")
    return ": ".join(part for part in (before, ", ".join(after)) if part)


def could_we_have_known(rows: dict[str, Rows]) -> str:
    """One sentence that answers the question, without a term that a reader would have to know.

    It is about the prediction that was made before the sweep, where there is one, else about the
    one factor known beforehand that orders the samples most as the outcome does.

    Args:
        rows: of the reports `known`, `strengths` and `heat_map`.
    """
    scored = {
        row["algorithm"]: row["rho"]
        for row in rows["known"]
        if row["target"] == "gt" and row["rho"] is not None
    }
    best = strongest(rows["strengths"], "pre")
    rhos = scored or {
        row["algorithm"]: abs(row["rho"])
        for row in rows["heat_map"]
        if row["factor"] == best.get("factor") and row["rho"] is not None
    }
    text = rendered(
        "verdict.txt.j2",
        {},
        scored=scored,
        rhos=rhos,
        known=sorted(name for name, rho in rhos.items() if rho >= KNOWN),
        in_part=max(rhos.values(), default=0) >= STRENGTHS[-1][0],
        graded=_graded(rhos),
        others=sorted({row["algorithm"] for row in rows["heat_map"]} - set(scored)),
        best=best,
        phases=set() if scored or best else {row["phase"] for row in rows["heat_map"]},
    )
    return " ".join(text.split())


def _graded(rhos: dict[str, float]) -> str:
    """How far each algorithm's order was known, in words with the number that they stand for."""
    ordered = sorted(rhos, key=lambda name: -rhos[name])
    said = nested(
        [{"name": n, "words": _level(STRENGTHS, rhos[n], "hardly at all")} for n in ordered],
        "words",
    )
    parts = [
        f"{words} with " + in_words([f"{r['name']} ({plain(rhos[r['name']])})" for r in alike])
        for words, alike in said.items()
    ]
    return f"{in_words(parts)}, where 1 is the same order and 0 no relation" if parts else ""


def _level(levels: tuple[tuple[float, str], ...], value: float, lowest: str) -> str:
    """The words of the first level that a value reaches."""
    return next((words for least, words in levels if value >= least), lowest)
