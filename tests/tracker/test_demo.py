"""The demo, on a store that has a part of what it does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tracker.conftest import SAMPLES, Done, Indelible, own_copy
from tracker.store.opening import open_store
from tracker.store.records import Kind

MORE = 4  # samples that the demo takes beside those that were attempted
GRADED = "How well it was known"


@pytest.mark.slow
def test_what_is_new_is_predicted_first_and_graded_each_time(
    done: Done, indelible: Indelible, tmp_path: Path
) -> None:
    folder = own_copy(done.folder, tmp_path / "copy")
    first = indelible(folder, "demo", "--samples", SAMPLES + MORE)
    assert first.code == 0
    assert GRADED in first.out
    store = open_store(folder)
    (run,) = store.finished_runs(Kind.PREDICTION)
    assert run.data.params["samples"] == str(MORE)  # the others were attempted before
    assert run.data.params["test_samples"] == "200"
    page = folder / "report" / "report.html"
    assert "Could we have known?" in page.read_text("utf-8")
    page.unlink()
    again = indelible(folder, "demo", "--samples", SAMPLES + MORE)
    assert (again.code, again.out) == (0, first.out)
    assert "predicting" not in again.err
    assert len(list(store.finished_runs(Kind.PREDICTION))) == 1
    assert page.exists()
    assert indelible(folder, "check").code == 0


def test_what_was_attempted_is_not_predicted_any_more(
    done: Done, indelible: Indelible, tmp_path: Path
) -> None:
    answer = indelible(own_copy(done.folder, tmp_path / "copy"), "demo", "--samples", SAMPLES)
    assert answer.code == 0
    assert "The hardest samples" in answer.out
    assert GRADED not in answer.out
