"""The demo, on a store that has a part of what it does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tracker.conftest import ALGORITHMS, SAMPLES, Done, Indelible, own_copy
from tracker.store.opening import open_store
from tracker.store.records import Kind

MORE = 4  # samples that the demo takes beside those that were attempted


def lines(said: str, word: str) -> list[str]:
    return [line for line in said.splitlines() if line.startswith(word)]


@pytest.mark.slow
def test_what_is_new_is_predicted_first_and_graded_each_time(
    done: Done, indelible: Indelible, tmp_path: Path
) -> None:
    folder = own_copy(done.folder, tmp_path / "copy")
    first = indelible(folder, "demo", "--samples", SAMPLES + MORE)
    assert first.code == 0
    (known,) = lines(first.err, "Predicted before unlearning: rho with GT ")
    assert all(f" ({name})" in known for name in ALGORITHMS)
    assert "predict --score latest" in first.err
    store = open_store(folder)
    (run,) = store.finished_runs(Kind.PREDICTION)
    assert run.data.params["samples"] == str(MORE)  # the others were attempted before
    assert run.data.params["test_samples"] == "200"
    page = folder / "report" / "report.html"
    assert "Could we have known?" in page.read_text("utf-8")
    page.unlink()
    again = indelible(folder, "demo", "--samples", SAMPLES + MORE)
    assert again.code == 0
    assert again.out == first.out
    assert lines(again.err, "Predicted") == [known]
    assert "predicting" not in again.err
    assert len(list(store.finished_runs(Kind.PREDICTION))) == 1
    assert page.exists()
    assert indelible(folder, "check").code == 0


def test_what_was_attempted_is_not_predicted_any_more(
    done: Done, indelible: Indelible, tmp_path: Path
) -> None:
    answer = indelible(own_copy(done.folder, tmp_path / "copy"), "demo", "--samples", SAMPLES)
    assert answer.code == 0
    assert not lines(answer.err, "Predicted")
