"""The first screen of the report in words: why a sample was hard, and whether that was known."""

from __future__ import annotations

import math
from typing import Any

from analysis.rows import Rows, in_words, is_told

# How strongly two orders agree, by |rho|, from the strongest; "hardly" below the last.
STRENGTHS = ((0.9, "almost exactly"), (0.7, "closely"), (0.5, "roughly"), (0.3, "loosely"))
# How sure the base model was of a sample that it got right, by the probability of its label.
CERTAINTIES = (
    (0.99, "almost certain"),
    (0.9, "very sure"),
    (0.7, "fairly sure"),
    (0.5, "unsure"),
    (0.0, "very unsure"),
)
KNOWN = 0.7  # |rho| from which on we could have known


def reason(row: dict[str, Any]) -> str:
    """What made a sample hard or easy: how sure the network was of it, its steps and their price.

    Args:
        row: of the report `extremes`. What was not measured is left out.
    """
    is_wrong = row["margin"] is not None and row["margin"] < 0
    levels = () if is_wrong else CERTAINTIES
    before = [] if row["confidence"] is None else [_level(levels, row["confidence"], "wrong")]
    if row["margin"] is not None:
        margin = f"{row['margin']:.1f}".replace("-", "\N{MINUS SIGN}")
        before = [f"{before[0]} (margin {margin})" if before else f"margin {margin}"]
    after = []
    if row["mean_steps"] is not None:
        count = f"{math.floor(10 * row['mean_steps'] + 0.5) / 10:g}"  # as the page's script rounds
        after.append(f"{count} step{'' if count == '1' else 's'}")
    if row["accuracy_after"] is not None and row["accuracy_before"] is not None:
        after.append(f"accuracy {fall(row['accuracy_before'], row['accuracy_after'])}")
    if row["tied"]:
        after.append(f"tied with {row['tied']}")
    if row["flipped"] < row["attempts"]:
        after.append(f"{row['flipped']} of {row['attempts']} flipped")
    return ": ".join(part for part in (", ".join(before), ", ".join(after)) if part)


def under_other_seeds(seeds: Rows) -> str:
    """Which algorithms may order the samples by chance, and are left out where others do not.

    Args:
        seeds: rows of the report `seed_agreement`.
    """
    said = []
    for row in seeds:
        rho, repeats, known = row["seed_rho"], row["repeats"], "one seed"
        if rho is not None:
            seeds_of = f"of {repeats} repeats" if repeats else "seeds on digits; one seed here"
            known = f"ρ {_plain(rho)} between two {seeds_of}"
        said += [] if row["is_steady"] else [f"{row['algorithm']} ({known})"]
    why = "another seed may well give another order: "
    head = f"Left out, since {why}" if len(said) < len(seeds) else why.capitalize()
    return f"{head}{in_words(said)}." if said else ""


def fall(before: float, after: float) -> str:
    """A test accuracy before and after, in percent."""
    return f"{100 * before:.1f} to {100 * after:.1f}%"


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
    if scored:
        others = sorted({row["algorithm"] for row in rows["heat_map"]} - set(scored))
        rest = f" Nothing was predicted of {in_words(others)}." if others else ""
        return (
            f"{_verdict(scored, bool(others))} A prediction that was written down before the first "
            f"attempt put the samples in the order that came out {_graded(scored)}.{rest}"
        )
    best = next((row for row in rows["strengths"] if row["phase"] == "pre"), None)
    if best is None:
        if rows["heat_map"] and all(row["phase"] != "pre" for row in rows["heat_map"]):
            return "That cannot be said: nothing that is known beforehand was measured here."
        return (
            "That cannot be said: the outcomes put the samples in no order that anything known "
            "beforehand could be compared with."
        )
    rhos = {
        row["algorithm"]: abs(row["rho"])
        for row in rows["heat_map"]
        if row["factor"] == best["factor"] and row["rho"] is not None
    }
    if not is_told(best["p_choice"]):
        return (
            f"Not from this: of {best['factors']} properties that are known beforehand none orders "
            "the samples as the outcome does more clearly than chance would; "
            f"“{best['title']}” comes nearest."
        )
    return (
        f"{_verdict(rhos)} Nothing was predicted before this sweep, but of {best['factors']} "
        f"properties known beforehand the best, “{best['title']}”, puts the samples in the order "
        f"that came out {_graded(rhos)}."
    )


def _verdict(rhos: dict[str, float], is_partial: bool = False) -> str:
    """The answer in a word or two, by how many algorithms it was known of.

    Args:
        is_partial: whether there are algorithms of which nothing was predicted.
    """
    known = [name for name, rho in rhos.items() if rho >= KNOWN]
    if len(known) == len(rhos) and not is_partial:
        return "Yes."
    if known:
        return f"With {in_words(sorted(known))}, yes."
    return "In part." if max(rhos.values()) >= STRENGTHS[-1][0] else "Hardly."


def _graded(rhos: dict[str, float]) -> str:
    """How far each algorithm's order was known, in words with the number that they stand for."""
    ordered = sorted(rhos, key=lambda name: -rhos[name])
    said = {name: _level(STRENGTHS, rhos[name], "hardly at all") for name in ordered}
    parts = []
    for words in dict.fromkeys(said.values()):
        alike = [f"{name} ({_plain(rhos[name])})" for name in ordered if said[name] == words]
        parts.append(f"{words} with {in_words(alike)}")
    return f"{in_words(parts)}, where 1 is the same order and 0 no relation"


def _plain(rho: float) -> str:
    return f"{rho:.2f}".replace("-", "\N{MINUS SIGN}")


def _level(levels: tuple[tuple[float, str], ...], value: float, lowest: str) -> str:
    """The words of the first level that a value reaches."""
    return next((words for least, words in levels if value >= least), lowest)
