"""Figures for a publication: factors against GT, the correlations, the samples at both ends; and
samples and factors as wholes: courses, likeness and ranks.

Each file is the same to the byte whenever it is made of the same rows by the same matplotlib.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from analysis.answers import Answers, Gallery
from analysis.atomic import make_folder, written_atomically
from analysis.findings import strongest
from analysis.likeness import alike
from analysis.pictures import Pictures
from analysis.words import Rows, crowd, is_squeezed, looks, names, nested, said, signed

Format = Literal["png", "pdf", "svg"]
# Of so many pieces of work: a context whose function is told how many more are done, and which.
Bar = Callable[[int], AbstractContextManager[Callable[[int, str], None]]]

SIGNED = LinearSegmentedColormap.from_list("signed", ["#E07B39", "white", "#4A9BD0"])
# What would differ from one call to the next.
NO_DATES: dict[Format, dict[str, Any]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None},
    "svg": {"Date": None},
}
STYLE: Any = {
    "svg.hashsalt": "indelible",
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "pdf.fonttype": 42,  # text stays text
    "savefig.dpi": 200,
}
# How what is known beforehand is drawn.
RUNGS: dict[str, dict[str, Any]] = {
    "factor": {"label": "a factor", "marker": "o", "c": "#4A9BD0", "s": 10},
    "index": {"label": "the index", "marker": "D", "c": "#E07B39", "s": 20},
}
# How models are drawn that an audit compared.
COMPARED: dict[str, dict[str, Any]] = {
    "untouched": {"label": "saw it, nothing was done", "color": "0.6"},
    "never_saw": {"label": "never saw it", "color": "#4A9BD0"},
    "forgot": {"label": "saw it, and forgot it", "color": "#E07B39"},
}
BLUR = 0.25  # standard deviation of the normal that stands for a model, in z
LINE = 1.5  # height of a line of a gallery, in pictures
COLUMNS = 4  # panels side by side
NAMED = 3  # samples at either end that are drawn apart
ENDS = {"the hardest": "#0072B2", "the easiest": "#D55E00"}


def write_figures(
    answers: Answers,
    pictures: Pictures,
    folder: Path,
    kind: Format,
    bar: Bar | None = None,
    every: bool = False,
) -> list[Path]:
    """Write the figures of a sweep into a folder, a file each; their paths.

    `correlations`, `alike`, `courses`, `ranks`, `predicted` where attempts were predicted, `ladder`
    where it is known what factors take, `audited` where there is an audit, `factor-NAME` (a panel
    an algorithm, as figures 1 to 14 of the paper) and, where there are images, `gallery-NAME` (as
    figures 15 to 22).

    Args:
        bar: is told of each that is drawn, by its name.
        every: if not, the factors that are drawn are the strongest of each phase, and the
            galleries those of GT and of the strongest that is known before.

    Raises UserError if the folder cannot be written, Failure if there is no room.
    """
    make_folder(folder, f"the figures in {folder}")
    figures, paths = _figures(answers, pictures), list[Path]()
    if not every:
        first, last = (
            strongest(answers.rows("strengths"), phase).get("factor") for phase in ("pre", "post")
        )
        kept = {f"factor-{first}", f"factor-{last}", "gallery-gt", f"gallery-{first}"}
        figures = {k: draw for k, draw in figures.items() if "-" not in k or k in kept}
    told = bar(len(figures)) if bar else nullcontext(lambda count, doing: None)
    with mpl.rc_context(STYLE), told as advance:
        for name, draw in figures.items():
            paths.append(folder / f"{name}.{kind}")
            with written_atomically(paths[-1]) as draft:
                draw().savefig(draft, format=kind, metadata=NO_DATES[kind])
            advance(1, name)
    return paths


def as_png(draw: Callable[[], Figure]) -> bytes:
    """A figure as the content of a file."""
    content = io.BytesIO()
    with mpl.rc_context(STYLE):
        draw().savefig(content, format="png", metadata=NO_DATES["png"])
    return content.getvalue()


def _figures(answers: Answers, pictures: Pictures) -> dict[str, Callable[[], Figure]]:
    """How each figure is drawn, by its name."""
    rows, figures = answers.rows, dict[str, Callable[[], Figure]]()
    found = rows("heat_map")
    if found:
        figures["correlations"] = partial(heat_map, found)
    like = alike(answers)
    if len(like["titles"]) > 1:
        figures["alike"] = partial(likeness, like["titles"], like["strengths"])
    if rows("bands"):
        figures["courses"] = partial(courses, rows("bands"), rows("curves"), rows("overall"))
    if len(names(rows("members"), "algorithm")) > 1:
        figures["ranks"] = partial(ranks, rows("members"), rows("overall"))
    if rows("predicted"):
        figures["predicted"] = partial(predicted, rows("predicted"), rows("known"))
    if rows("ladder"):
        figures["ladder"] = partial(ladder, rows("ladder"))
    if rows("audited"):
        figures["audited"] = partial(audited, rows("audited"))
    correlations = {(row["factor"], row["algorithm"]): row for row in found}
    for factor in rows("points"):
        drawn = partial(scatter, factor, rows("members"), correlations)
        figures[f"factor-{factor['factor']}"] = drawn
    if pictures.images:
        titles = {row["factor"]: row["title"] for row in rows("gallery")}
        for name, panels in answers.galleries.items():
            figures[f"gallery-{name}"] = partial(ends, titles[name], panels, pictures)
    return figures


def scatter(factor: dict[str, Any], members: Rows, correlations: dict[Any, Any]) -> Figure:
    """A factor against GT, a panel an algorithm.

    Args:
        factor: a row of the report `points`, whose values belong to `members` in their order.
        correlations: by factor and algorithm, rows of the report `heat_map`.
    """
    placed = [
        member | {"value": value}
        for member, value in zip(members, factor["values"], strict=True)
        if value is not None and math.isfinite(value)
    ]
    titles = {name: name for name in names(placed, "algorithm")} | {
        name: f"{name}: {said(row)}"
        for (of, name), row in correlations.items()
        if of == factor["factor"]
    }
    figure, axes = _panels(placed, "value", "gt", "ending", _endings())
    for name, axis in axes.items():
        axis.set_title(titles[name])
        axis.locator_params(nbins=4)
    figure.supylabel("GT (small is hard)", fontsize=8)
    unit = f" ({factor['unit']})" if factor["unit"] else ""
    figure.supxlabel(f"{factor['title']}{unit}", fontsize=8)
    return figure


def predicted(members: Rows, scores: Rows) -> Figure:
    """The GT that was predicted against the one that was measured, a panel an algorithm.

    Args:
        members: the report `predicted`. scores: the report `known`.
    """
    rhos = {row["algorithm"]: row["rho"] for row in scores if row["target"] == "gt"}
    figure, axes = _panels(members, "predicted_gt", "gt", "ending", _endings())
    for name, axis in axes.items():
        axis.set_title(f"{name}: ρ {signed(rhos[name])}")
        axis.locator_params(nbins=4)
        axis.locator_params("x", nbins=3)
        axis.set(xlim=axis.get_xlim(), ylim=axis.get_ylim())  # those of the points, not of the line
        axis.axline((0, 0), slope=1, color="0.5", linewidth=0.6, linestyle="--", zorder=0)
    figure.supylabel("GT (small is hard)", fontsize=8)
    figure.supxlabel("GT predicted before unlearning; dashed: as measured", fontsize=8)
    return figure


def ladder(rungs: Rows) -> Figure:
    """What is known beforehand by what it costs, and how far it orders the samples as GT does.

    Args:
        rungs: the report `ladder`.
    """
    is_told = all(row["of_attempt"] is not None for row in rungs)
    cost = "of_attempt" if is_told else "seconds"
    figure, axes = _panels(rungs, cost, "strength", "kind", RUNGS)
    for name, axis in axes.items():
        best = [row for row in rungs if row["best"] and row["algorithm"] == name]
        x, y = ([row[column] for row in best] for column in (cost, "strength"))
        axis.step(x, y, where="post", color="0.6", linewidth=0.6, zorder=0)
        axis.set(title=name, xscale="log", ylim=(0, 1.03))
        axis.xaxis.set_major_formatter("{x:g}")
    figure.supylabel("|Spearman's ρ| with GT", fontsize=8)
    unit = "as a multiple of an attempt with ga" if is_told else "in seconds"
    figure.supxlabel(f"cost of a sample, {unit}", fontsize=8)
    return figure


def audited(algorithms: Rows) -> Figure:
    """Where models stand that never saw a sample, and that saw and forgot it, a panel an algorithm.

    Densities over samples and models, with a normal of BLUR for each model.

    Args:
        algorithms: the report `audited`.
    """
    figure, axes = grid(len(algorithms), 2, 1.65)
    every = np.concatenate([row[kind] for row in algorithms for kind in COMPARED])
    left, right = np.quantile(every, (0.005, 0.995)) + 4 * BLUR * np.array((-1, 1))
    z = np.linspace(left, right, 400)
    for axis, row in zip(axes, algorithms, strict=True):
        for kind, look in COMPARED.items():
            away = (z[:, None] - np.array(row[kind])) / BLUR
            density = np.exp(-(away**2) / 2).mean(axis=1) / (BLUR * math.sqrt(2 * math.pi))
            axis.plot(z, density, linewidth=1, **look)
            if kind != "untouched":
                axis.fill_between(z, density, color=look["color"], alpha=0.15, linewidth=0)
        auc, low, high = (row[f"auc_ratio{end}"] for end in ("", "_low", "_high"))
        is_told = auc is not None and not math.isnan(auc)
        said_auc = f"AUC {auc:.2f} ({low:.2f} to {high:.2f})" if is_told else "AUC unknown"
        axis.set_title(f"{row['algorithm']}\n{said_auc}")
        axis.set(yticks=[], xlim=(left, right))
        axis.spines["left"].set_visible(False)
    axes[0].set_ylim(bottom=0)  # of all of them, after what they have drawn
    legend(figure, axes)
    what = "z: standard deviations from where\nmodels stand that never saw the sample"
    figure.supxlabel(what, fontsize=8)
    return figure


def _endings() -> dict[str, dict[str, Any]]:
    """How attempts are drawn, by how they ended."""
    return {
        end["status"]: {"label": end["legend"], "marker": end["marker"], "c": end["print_colour"]}
        | {"s": 7, "alpha": 0.55}
        for end in looks()
        if end["marker"]
    }


def _panels(
    rows: Rows, x: str, y: str, by: str, kinds: Mapping[str, dict[str, Any]]
) -> tuple[Figure, dict[str, Axes]]:
    """A column against another, a panel an algorithm, with a mark for each kind of row."""
    panels, present = nested(rows, "algorithm"), names(rows, by)
    figure, axes = grid(len(panels), 1.75, 1.65, not is_squeezed(rows, y))
    for axis, points in zip(axes, panels.values(), strict=True):
        for kind, look in kinds.items():
            if kind in present:
                own = [point for point in points if point[by] == kind]
                axis.scatter([p[x] for p in own], [p[y] for p in own], linewidths=0, **look)
        axis.grid(alpha=0.25, linewidth=0.4)
    legend(figure, axes)
    return figure, dict(zip(panels, axes, strict=True))


def heat_map(correlations: Rows) -> Figure:
    """Spearman's rho of every factor (rows) with GT for every algorithm (columns).

    Args:
        correlations: the report `heat_map`.
    """
    marked = [row | {"title": f"{row['title']}{' †' * row['ingredient']}"} for row in correlations]
    table = nested(marked, "title", "algorithm")
    algorithms = sorted({row["algorithm"] for row in correlations})
    figure = Figure((2.8 + 0.72 * len(algorithms), 0.7 + 0.22 * len(table)), layout="constrained")
    axis = figure.subplots()
    rhos = [
        [c[name][0]["rho"] if name in c else None for name in algorithms] for c in table.values()
    ]
    cells = [[math.nan if rho is None else rho for rho in row] for row in rhos]
    image = axis.imshow(cells, cmap=SIGNED, vmin=-1, vmax=1, aspect="auto")
    for row, values in enumerate(rhos):
        for column, rho in enumerate(values):
            axis.text(column, row, signed(rho), ha="center", va="center", fontsize=6.5)
    axis.set_xticks(range(len(algorithms)), algorithms)
    axis.set_yticks(range(len(table)), list(table))
    axis.tick_params(length=0, labeltop=True, labelbottom=False)
    axis.spines[:].set_visible(False)
    if any(row["ingredient"] for row in correlations):
        axis.set_xlabel("† GT is made of this factor: its ρ is by construction", loc="right")
    figure.colorbar(image, label="Spearman's ρ with GT", shrink=0.6).outline.set_visible(False)
    return figure


def ends(title: str, panels: Gallery, pictures: Pictures) -> Figure:
    """The easiest (upper row) and hardest (lower row) samples by a factor, for each algorithm."""
    figure, axes = grid(len(panels), 1.65, 1.4)
    for axis, (algorithm, sides) in zip(axes, panels.items(), strict=True):
        for row, side in enumerate(("easiest", "hardest")):
            samples = sides.get(side, [])
            many = crowd(samples)
            title_of_side = f"{side}\n(of {many} tied)" if many else side
            axis.text(-0.05, LINE * row + 0.5, title_of_side, ha="right", va="center", rotation=90)
            for column, sample in enumerate(samples):
                _picture(axis, column, LINE * row, sample, pictures)
        axis.set(title=algorithm, xlim=(-0.3, 3), ylim=(2 * LINE, 0), aspect="equal")
        axis.set_axis_off()
    figure.supxlabel(title, fontsize=8)
    return figure


def _picture(
    axis: Axes, left: float, top: float, sample: dict[str, Any], pictures: Pictures
) -> None:
    """A sample in a square of side 1, with its id and value below."""
    image = pictures.images[sample["sample_id"]]
    height, width = (0.45 * side / max(image.shape[:2]) for side in image.shape[:2])
    x, y = left + 0.5, top + 0.5
    extent = (x - width, x + width, y + height, y - height)
    axis.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest", extent=extent)
    said = f"{sample['sample_id']}\n{sample['value']:.3g}".replace("-", "\N{MINUS SIGN}")
    axis.text(x, top + 1, said, ha="center", va="top", fontsize=5.5)


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
