"""Figures of samples and factors as wholes: courses, likeness and ranks."""

from __future__ import annotations

import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.words import Rows, nested

COLUMNS = 4  # panels side by side
NAMED = 3  # samples at either end that are drawn apart
ENDS = {"the hardest": "#0072B2", "the easiest": "#D55E00"}


def grid(count: int, width: float, height: float, shared: bool = True) -> tuple[Figure, list[Axes]]:
    """A figure with that many panels, in rows of COLUMNS, that share their y-axis or not."""
    columns, rows = max(1, min(count, COLUMNS)), max(1, math.ceil(count / COLUMNS))
    figure = Figure((width * columns + 0.3, height * rows + 0.55), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False, sharey=shared).ravel())
    for axis in axes[count:]:
        axis.remove()
    return figure, axes[:count]


def legend(figure: Figure, axes: list[Axes]) -> None:
    """One line of marks, or one below the other above a single panel."""
    if axes:
        handles, labels = axes[0].get_legend_handles_labels()
        look: dict[str, Any] = {"loc": "outside upper right", "fontsize": 7, "frameon": False}
        figure.legend(handles, labels, ncols=len(labels) if len(axes) > 1 else 1, **look)


def _ends(overall: Rows) -> dict[int, str]:
    """The first and last samples of the report `overall`, and at which end they are."""
    samples = [row["sample_id"] for row in overall]
    last = dict.fromkeys(samples[-NAMED:], "the easiest")
    return last | dict.fromkeys(samples[:NAMED], "the hardest")


def courses(bands: Rows, curves: Rows, overall: Rows) -> Figure:
    """The probability of samples' labels by step, a panel an algorithm: some, and the band of all.

    Args:
        bands, curves, overall: the reports of these names.
    """
    panels, named = nested(bands, "algorithm"), _ends(overall)
    figure, axes = grid(len(panels), 1.75, 1.65)
    for axis, (name, band) in zip(axes, panels.items(), strict=True):
        steps, low, middle, high = (
            [row[k] for row in band] for k in ("step", "low", "middle", "high")
        )
        axis.fill_between(steps, low, high, color="0.85", linewidth=0, label="middle 80% of all")
        axis.plot(steps, middle, color="0.5", linewidth=0.7, linestyle="--", label="median")
        for end, colour in ENDS.items():
            own = [r for r in curves if (r["algorithm"], named.get(r["sample_id"])) == (name, end)]
            for k, row in enumerate(own):
                label = None if k else end
                axis.plot(row["steps"], row["probs"], color=colour, linewidth=0.8, label=label)
        axis.set(title=name, yscale="log", ylim=(0.001, 1.15))
        axis.set_yticks([0.001, 0.01, 0.1, 1], ["0.001", "0.01", "0.1", "1"])
        axis.locator_params("x", nbins=4, integer=True)
    legend(figure, axes)
    figure.supylabel("probability of its label", fontsize=8)
    figure.supxlabel("step", fontsize=8)
    return figure


def ranks(members: Rows, overall: Rows) -> Figure:
    """The share of samples that are easier than each, a line a sample over the algorithms.

    Args:
        members, overall: the reports of these names.
    """
    algorithms, named = list(nested(members, "algorithm")), _ends(overall)
    figure = Figure((1.2 * len(algorithms) + 0.6, 2.6), layout="constrained")
    axis, samples = figure.subplots(), nested(members, "sample_id")
    looks: dict[str | None, Any] = {None: {"color": "0.6", "linewidth": 0.4, "alpha": 0.25}}
    for end, colour in ENDS.items():
        looks[end] = {"color": colour, "linewidth": 1.2, "marker": "o", "markersize": 2.5}
    for place, look in looks.items():
        for k, own in enumerate(samples[one] for one in samples if named.get(one) == place):
            x = [algorithms.index(row["algorithm"]) for row in own]
            y = [row["percentile"] for row in own]
            axis.plot(x, y, label=None if k else place, **look)
    axis.set_xticks(range(len(algorithms)), algorithms)
    axis.set_ylabel("harder than, %")
    legend(figure, [axis])
    return figure


def likeness(titles: list[str], strengths: list[list[float | None]]) -> Figure:
    """How strongly the orders of each two factors correlate, factors of a group side by side."""
    side = 0.14 * len(titles)
    figure = Figure((side + 3.2, side + 1.9), layout="constrained")
    axis = figure.subplots()
    cells = [[math.nan if rho is None else rho for rho in row] for row in strengths]
    image = axis.imshow(cells, cmap="Blues", vmin=0, vmax=1)
    axis.set_xticks(range(len(titles)), titles, rotation=90, fontsize=6)
    axis.set_yticks(range(len(titles)), titles, fontsize=6)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)
    figure.colorbar(image, label="|Spearman's ρ|", shrink=0.5).outline.set_visible(False)
    return figure
