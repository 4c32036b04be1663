"""Figures: each factor against GT, a panel an algorithm."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from matplotlib.image import imsave
from numpy.typing import NDArray

# Okabe & Ito's palette: told apart with any colour vision.
COLOURS = {"flipped": "#0072B2", "max_steps": "#E69F00"}


@dataclass(frozen=True)
class Panel:
    """One algorithm's points: the factor, GT and status of each, and what is said above them."""

    title: str
    values: Sequence[float]
    gt: Sequence[float]
    status: Sequence[str]


def scatter(panels: Mapping[str, Panel], label: str) -> bytes:
    """A row of scatter plots, factor against GT, as a PNG."""
    figure = Figure(figsize=(3.1 * len(panels), 2.9), dpi=110, layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, panel in zip(axes, panels.values(), strict=True):
        status = np.asarray(panel.status)
        for name, colour in COLOURS.items():
            chosen = status == name
            if chosen.any():
                x, y = np.asarray(panel.values)[chosen], np.asarray(panel.gt)[chosen]
                axis.scatter(x, y, s=9, alpha=0.6, color=colour, linewidths=0, label=name)
        axis.set_title(panel.title, fontsize=9)
        axis.tick_params(labelsize=7)
        axis.locator_params(axis="x", nbins=4)
        axis.grid(alpha=0.25, linewidth=0.5)
    axes[0].set_ylabel("GT (small = hard)", fontsize=8)
    figure.supxlabel(label, fontsize=9)
    handles = {h.get_label(): h for axis in axes for h in axis.collections}
    figure.legend(
        handles.values(),
        handles.keys(),
        loc="outside upper right",
        ncols=2,
        fontsize=7,
        frameon=False,
    )
    return _png(figure)


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


def thumbnail(image: NDArray[np.float64]) -> bytes:
    """An image as a PNG, pixel for pixel: (H, W) grey or (H, W, 3) colour, in [0, 1]."""
    file = io.BytesIO()
    imsave(file, image, format="png", cmap="gray", vmin=0, vmax=1)
    return file.getvalue()
