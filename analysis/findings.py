"""The results of a sweep in sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator
from statistics import fmean
from typing import Any

from analysis.chance import CENTRAL, signs_by_chance
from analysis.reliability import FEWEST_REPEATS
from analysis.rows import (
    LEVEL,
    Rows,
    ceiling,
    in_words,
    is_by_chance,
    is_told,
    nested,
    said_p,
    signed,
)
from analysis.statuses import MAX_LOSS
from unlearning.naming import counted

# The terms of the findings, to be said before their first use.
TERMS = (
    "What follows speaks of GT, ρ and p. GT is what an attempt comes to: large where the sample "
    "was forgotten with little damage, small where that was hard. ρ, Spearman's rank correlation, "
    "says how far two orders of the samples agree: +1 is the same order, 0 no relation, "
    "\N{MINUS SIGN}1 the opposite order. p is how often chance alone would give as much."
)
TERM = re.compile(r"\bGT\b|ρ|\bp\b")


def findings(
    rows: dict[str, Rows], classes: dict[int, str], max_loss: float = MAX_LOSS
) -> list[str]:
    """The findings for which there are rows, in the order of the page.

    Args:
        rows: of reports of the warehouse, by the report's name.
        classes: the name of each label.
        max_loss: percentage points of test accuracy beyond which a flip counts as damage.
    """
    parts = (
        _flips(rows["statuses"]),
        _damage(rows["summary"], max_loss),
        _known(rows["known"]),
        _factors(rows["strengths"], rows["heat_map"]),
        map(contradicted, rows["contradictions"]),
        _agreement(rows["agree"]),
        _classes(rows["classes"], rows["class_tests"], classes),
        beside_paper(rows["paper"]),
        _reliability(rows["ceilings"]),
    )
    return [said for part in parts for said in part]


def explained(sentences: list[str]) -> list[str]:
    """The sentences, with TERMS before the first that uses one of these terms."""
    first = next((k for k, said in enumerate(sentences) if TERM.search(said)), None)
    return sentences if first is None else [*sentences[:first], TERMS, *sentences[first:]]


def strongest(strengths: Rows, phase: str) -> dict[str, Any]:
    """The row of the strongest factor of a phase; empty if there is none.

    Args:
        strengths: rows of the report `strengths`, which has no ingredients of GT.
    """
    return next((row for row in strengths if row["phase"] == phase), {})


def flip_rate(statuses: Rows) -> float | None:
    """The share of flips among the attempts that were run; None if none was.

    Args:
        statuses: rows of the report `statuses`, which are taken together.
    """
    ran = sum(_ran(row) for row in statuses)
    return sum(row["ended"]["flipped"] for row in statuses) / ran if ran else None


def _ran(row: dict[str, Any]) -> int:
    """How many attempts were run at all."""
    return int(row["members"] - row["ended"]["already_wrong"])


def share(value: float) -> str:
    """A share in percent, to the tenth where it is not a whole number."""
    return f"{100 * value:.1f}".removesuffix(".0") + "%"


def _flips(statuses: Rows) -> Iterator[str]:
    """How many attempts flipped the prediction, and how many went back before the flip."""
    rates = {row["algorithm"]: rate for row in statuses if (rate := flip_rate([row])) is not None}
    if not rates:
        return
    least, most = min(rates, key=rates.__getitem__), max(rates, key=rates.__getitem__)
    if rates[least] == rates[most]:
        who = "with every algorithm" if len(rates) > 1 else f"with {most}"
        yield f"{share(rates[most])} of the attempts {who} flipped the prediction."
    else:
        yield (
            f"From {share(rates[least])} of the attempts ({least}) to {share(rates[most])} "
            f"({most}) flipped the prediction."
        )
    for row in statuses:
        if rewound := row["ended"]["rewound"]:
            part = share(rewound / _ran(row))
            yield (
                f"{part} of the attempts with {row['algorithm']} flipped it too, but went back to "
                "a step before."
            )


def _damage(summary: Rows, max_loss: float) -> Iterator[str]:
    """How many of the flips ruined the network, and with which algorithms most and least."""
    rows = [row for row in summary if row["flipped"] and row["worst_points_lost"] is not None]
    if not rows:
        return
    damaged, flipped = (sum(row[name] for row in rows) for name in ("damaged", "flipped"))
    if not damaged:
        yield f"No flip cost more than {max_loss:g} points of test accuracy."
        return
    rows.sort(key=lambda row: row["damaged"] / row["flipped"])
    ends = [f"{row['damaged']} of {row['flipped']} with {row['algorithm']}" for row in rows]
    known = [row for row in summary if row["worst_points_lost"] is not None]
    worst = max(known, key=lambda row: row["worst_points_lost"])
    yield (
        f"{share(damaged / flipped)} of the flips damaged the network: they cost more than "
        f"{max_loss:g} points of test accuracy ({' to '.join(ends[:: max(1, len(ends) - 1)])}). "
        f"The costliest of all attempts, flip or not, took {worst['worst_points_lost']:.1f} "
        f"points, with {worst['algorithm']}."
    )


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


def _known(known: Rows) -> Iterator[str]:
    """How well it was known before, of the algorithms of which something was predicted."""
    rows = [row for row in known if row["target"] == "gt" and row["rho"] is not None]
    if rows:
        ordered = sorted(rows, key=lambda row: row["rho"], reverse=True)
        said = in_words([f"{_with_interval(row)} with {row['algorithm']}" for row in ordered])
        yield f"Predicted before unlearning, by a formula without fitting: ρ with GT is {said}."


def _factors(strengths: Rows, heat_map: Rows) -> Iterator[str]:
    """Which factor of each phase correlates most with GT, and whether that may be chance."""
    for phase, known in (("pre", "known before unlearning"), ("post", "measured afterwards")):
        best = strongest(strengths, phase)
        if not best:
            continue
        named = f"“{best['title']}”"
        rows = [r for r in heat_map if r["factor"] == best["factor"] and r["rho"] is not None]
        rows.sort(key=lambda row: abs(row["rho"]), reverse=True)
        ends = [f"{_with_interval(r)} with {r['algorithm']}" for r in (rows[0], rows[-1])]
        said = f"ρ is {' to '.join(ends[: len(rows)])}"
        how = said_p(best["p_choice"]) + (" for the mean of |ρ|" if len(rows) > 1 else "")
        if best["factors"] > 1:
            how += f", corrected for the choice among {best['factors']} factors"
            standing = sum(is_told(r["p_choice"]) for r in strengths if r["phase"] == phase)
            how += f", of which {standing} stand out" if standing > 1 else ""
        if is_told(best["p_choice"]):
            yield (
                f"Of what is {known}, {named} orders the samples most as GT does: {said} ({how})."
            )
        else:
            yield (
                f"Nothing that is {known} stands out of what chance gives; most as GT does "
                f"{named} orders the samples: {said} ({how})."
            )


def _with_interval(row: dict[str, Any]) -> str:
    """A rho with its 95% interval, if it has one."""
    if row["ci_low"] is None:
        return signed(row["rho"])
    return f"{signed(row['rho'])} ({signed(row['ci_low'])} to {signed(row['ci_high'])})"


def _agreement(agree: Rows) -> Iterator[str]:
    """Which two algorithms agree most and least on what is hard, and how far all of them do."""
    rows = sorted((row for row in agree if row["rho"] is not None), key=lambda row: row["rho"])
    if not rows:
        return
    most, least = rows[-1], rows[0]
    said = f"{_pair(most)} agree on what is hard with ρ {signed(most['rho'])}"
    if len(rows) > 1:
        said += f", and {_pair(least)} least of all, with {signed(least['rho'])}"
    if len(rows) > 1 and most["concordance"] is not None:
        count, w = most["concordance_algorithms"], most["concordance"]
        said += (
            f"; all {count} together reach a Kendall's W of {w:.2f}, which is 1 where all have the "
            "same order and 0 where they have none in common"
        )
    yield f"{said}."


def _pair(row: dict[str, Any]) -> str:
    """The names of two algorithms of a row of the report `agree`."""
    return f"{row['algorithm_a']} and {row['algorithm_b']}"


def _classes(rows: Rows, tests: Rows, classes: dict[int, str]) -> Iterator[str]:
    """Whether classes differ in difficulty, and which are the hardest and the easiest."""
    tested = {row["algorithm"]: row["p_holm"] for row in tests if row["p_holm"] is not None}
    if not tested:
        return
    differ = [name for name, p in tested.items() if is_told(p)]
    many = counted(len(tested), "algorithm")
    if not differ:
        yield (
            "No difference in difficulty between classes can be told from chance: the smallest "
            f"p is {min(tested.values()):.2f} over {many} (Kruskal–Wallis, corrected by Holm)."
        )
        return
    rows = [row for row in rows if row["algorithm"] in differ]
    labels = {row["label"] for row in rows}
    means = {label: _mean([row for row in rows if row["label"] == label]) for label in labels}
    hard, easy = max(labels, key=means.__getitem__), min(labels, key=means.__getitem__)
    yield (
        f"Classes differ in difficulty with {len(differ)} of {many} ({', '.join(differ)}; "
        f"Kruskal–Wallis, p < {LEVEL} corrected by Holm): there the samples of class "
        f"{classes[hard]} are harder than {means[hard]:.0f}% of all on average, those of class "
        f"{classes[easy]} than {means[easy]:.0f}%."
    )


def _mean(rows: Rows) -> float:
    return fmean([row["mean_percentile"] for row in rows], [row["n"] for row in rows])


def beside_paper(paper: Rows) -> Iterator[str]:
    """How many correlations have the sign that they have in the paper, and whether by chance.

    Args:
        paper: rows of the report `compare` of one population. Those of U do not count.
    """
    rows = [row for row in paper if row["signs_agree"] is not None and not row["is_u"]]
    of_data_set = nested([r for r in rows if r["against"] == r["dataset"]] or rows, "against")
    if not of_data_set:
        return
    said, beyond = [], []
    for name, own in of_data_set.items():
        agreeing, many = sum(row["signs_agree"] for row in own), len(own)
        low, high = (signs_by_chance(end, many) for end in CENTRAL)
        said.append(f"on {name.upper()} {agreeing} of {many} (by chance {low:.0f} to {high:.0f})")
        beyond += [] if low <= agreeing <= high else [name.upper()]
    verdict = f"not within chance on {in_words(beyond)}" if beyond else "within chance"
    yield (
        f"The paper's correlations have the same sign here {in_words(said)}: {verdict}, if the "
        "signs were independent, which those of factors that hang together are not. Test "
        "accuracy, loss and probability do not count: they are U, a part of GT, by other names."
    )


def _reliability(ceilings: Rows) -> Iterator[str]:
    """How far repeats under other seeds limit what can be expected of a factor."""
    for varied, limited in (
        ("unlearning seed", "known before unlearning"),
        ("base model seed", "that does not look at this very network"),
    ):
        rows = [r for r in ceilings if r["varied"] == varied and r["mean_rho"] is not None]
        told = sorted((r for r in rows if not is_by_chance(r)), key=lambda row: row["ceiling"])
        untold = [row for row in rows if is_by_chance(row)]
        if told:
            ends = " to ".join(
                f"{ceiling(row, interval=True)} with {row['algorithm']}"
                for row in told[:: max(1, len(told) - 1)]
            )
            yield (
                f"Measured again under another {varied}{_few(told)}, GT agrees with itself such "
                f"that nothing {limited} can be expected to correlate with it beyond ρ {ends}."
            )
        if untold:
            yield (
                f"Measured again under another {varied}{_few(untold)}, GT with "
                f"{in_words([row['algorithm'] for row in untold])} cannot be told from chance."
            )


def _few(ceilings: Rows) -> str:
    """A remark in brackets if there were fewer repeats than FEWEST_REPEATS; else nothing."""
    few = sorted({row["repeats"] for row in ceilings if row["repeats"] < FEWEST_REPEATS})
    return f" ({' or '.join(map(str, few))} repeats only)" if few else ""
