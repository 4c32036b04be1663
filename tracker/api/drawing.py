"""The figures of a sweep, written from what the warehouse answers."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from analysis.figures import write_figures
from tracker.api.pages import answers_of
from tracker.api.place import Place
from tracker.commands.ask import Figures
from tracker.reading.publishing import publish_figures


def figures(place: Place, asked: Figures) -> list[Path]:
    """Write the figures of a sweep, and log them if that is asked for; their paths."""
    answers, pictures = answers_of(place, asked.sweep, asked.max_loss)
    if pictures.missing:
        place.say(f"no galleries: {pictures.missing}")
    folder = asked.output or place.folder / "figures"
    paths = write_figures(
        answers, pictures, folder, asked.kind, partial(place.progress, "drawing"), every=asked.every
    )
    if asked.log:
        with place.store() as store:
            publish_figures(store, answers.sweep["sweep_id"], paths, asked.kind)
    return paths
