"""The report and the figures of a sweep, written from what the warehouse answers."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from analysis.answers import Answers, ask
from analysis.figures import write_figures
from analysis.findings import in_short
from analysis.pictures import Pictures
from analysis.report import render, write_report
from tracker.api.place import Place
from tracker.base.base_models import load_data
from tracker.base.images import images_of
from tracker.commands.ask import Figures, Report
from tracker.reading.publishing import publish_figures, publish_report
from unlearning.errors import UserError

FOLDER = "report"  # in the store's folder, where no other is given


def report(place: Place, asked: Report) -> Path:
    """Write the report of a sweep into a folder, and log it if that is asked for; its path."""
    answers, pictures = _answers(place, asked.sweep, asked.max_loss)
    findings = in_short(answers, pictures)
    html = render(answers, pictures, findings, asked.ui or place.ui)
    page = write_report(html, asked.output or place.folder / FOLDER)
    if asked.log:
        with place.store() as store:
            publish_report(store, answers, findings, page)
    return page


def figures(place: Place, asked: Figures) -> list[Path]:
    """Write the figures of a sweep, and log them if that is asked for; their paths."""
    answers, pictures = _answers(place, asked.sweep, asked.max_loss)
    if pictures.missing:
        place.say(f"no galleries: {pictures.missing}")
    folder = asked.output or place.folder / "figures"
    paths = write_figures(answers, pictures, folder, asked.kind, partial(place.progress, "drawing"))
    if asked.log:
        with place.store() as store:
            publish_figures(store, answers.sweep["sweep_id"], paths, asked.kind)
    return paths


def _answers(place: Place, sweep: str, max_loss: float) -> tuple[Answers, Pictures]:
    """What the warehouse says of a sweep, and the images of its samples or why there are none."""
    with place.warehouse() as warehouse:
        answers = ask(warehouse, place.sweep_id(warehouse, sweep), max_loss)
    try:
        keys = ("base_run_id", "source", "data_fingerprint")
        base, source, sha256 = (str(answers.sweep[key]) for key in keys)
        data = load_data(base, source, sha256, place.data_dir, place.folder)
    except UserError as error:
        return answers, Pictures(missing=str(error))
    try:
        return answers, Pictures(images_of(data, answers.sample_ids), data.classes)
    except UserError as error:
        return answers, Pictures(classes=data.classes, missing=str(error))
