"""The report of a sweep, written from what the warehouse answers."""

from __future__ import annotations

from pathlib import Path

from analysis.answers import Answers, ask
from analysis.findings import could_we_have_known, in_short, why
from analysis.pictures import Pictures
from analysis.report import render, write_report
from tracker.api.place import Place
from tracker.commands.ask import Report
from unlearning.errors import UserError

FOLDER = "report"  # in the store's folder, where no other is given


def report(place: Place, asked: Report) -> Path:
    """Write the report of a sweep into a folder, and log it if that is asked for; its path."""
    answers, pictures = answers_of(place, asked.sweep, asked.max_loss)
    findings = in_short(answers, pictures)
    html = render(answers, pictures, findings, asked.ui or place.ui)
    page = write_report(html, asked.output or place.folder / FOLDER)
    if asked.log:
        from tracker.reading.publishing import publish_report

        with place.store() as store:
            known = f"Could it have been known beforehand? {could_we_have_known(answers)}"
            said = [*findings, *filter(None, [why(answers)]), known]
            publish_report(store, answers, said, page)
    return page


def answers_of(place: Place, sweep: str, max_loss: float) -> tuple[Answers, Pictures]:
    """What the warehouse says of a sweep, and the images of its samples or why there are none."""
    with place.warehouse() as warehouse:
        answers = ask(warehouse, place.sweep_id(warehouse, sweep), max_loss)
    # Torch comes when DuckDB has given back its memory.
    from tracker.base.base_models import load_data
    from tracker.base.images import images_of

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
