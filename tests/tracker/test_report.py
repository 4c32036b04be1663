"""The commands that write the report and the figures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.tracker.conftest import Done, Indelible
from unlearning import datasets
from unlearning.errors import UserError


@pytest.mark.usefixtures("few_figures")
def test_figures_prints_its_folder(done: Done, indelible: Indelible, tmp_path: Path) -> None:
    for name in ("factor-gone.png", "mine.png"):
        (tmp_path / name).touch()
    answer = indelible(done.folder, "figures", "--all", "--format", "svg", "--output", tmp_path)
    assert answer.code == 0
    assert answer.out == f"{tmp_path}\n"
    paths = list(tmp_path.glob("*.svg"))
    assert f"drawing: {len(paths)} of {len(paths)}" in answer.err
    assert {"correlations.svg", "factor-margin.svg", "gallery-gt.svg"} <= {p.name for p in paths}
    assert "not of this call: 1 other figure there, as factor-gone.png" in answer.err


@pytest.mark.usefixtures("few_figures")
def test_without_the_data_sets_files_both_say_so(
    done: Done, indelible: Indelible, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object) -> None:
        raise UserError("the files of digits are not in data")

    monkeypatch.setattr(datasets, "load_described", missing)
    answer = indelible(done.folder, "report", "--output", tmp_path)
    assert answer.code == 0
    page = Path(answer.id).read_text("utf-8")
    assert "no pictures of the samples: the files of digits are not in data" in page
    answer = indelible(done.folder, "figures", "--output", tmp_path / "figures")
    assert answer.code == 0
    assert "the files of digits are not in data" in answer.err
    assert not list((tmp_path / "figures").glob("gallery*"))


@pytest.mark.parametrize(
    ("options", "address"),
    [
        ((), "http://127.0.0.1:5000/"),
        (("--ui", "https://mlflow.example/"), "https://mlflow.example/"),
    ],
)
def test_links_lead_where_the_ui_is(
    done: Done, indelible: Indelible, tmp_path: Path, options: tuple[str, ...], address: str
) -> None:
    answer = indelible(done.folder, "report", "--output", tmp_path, *options)
    assert f'href="{address}{page_of_sweep(done)}"' in Path(answer.id).read_text("utf-8")


def page_of_sweep(done: Done) -> str:
    """After the UI's address."""
    experiment = done.store.run(done.sweep).experiment_id
    return f"#/experiments/{experiment}/runs/{done.sweep}?workflowType=machine_learning"


def test_a_servers_own_address_is_linked_without_its_password(
    done: Done, indelible: Indelible, tmp_path: Path
) -> None:
    server = "https://me:secret@mlflow.example:8443"
    to = ("--tracking-uri", server, "--server-timeout", 1)
    answer = indelible(done.folder, *to, "report", "--output", tmp_path)
    assert "new runs are not read" in answer.err
    assert "secret" not in answer.err
    page = Path(answer.id).read_text("utf-8")
    assert f'href="https://mlflow.example:8443/{page_of_sweep(done)}"' in page
    assert "secret" not in page


def test_what_was_found_goes_into_mlflow(
    done: Done, indelible: Indelible, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):  # the second time replaces the first
        answer = indelible(done.folder, "report", "--output", tmp_path, "--log")
        assert answer.code == 0
    client = done.store.client
    sweep = client.get_run(done.sweep)
    files = {file.path for file in client.list_artifacts(done.sweep)}
    assert {"plan.json", "report.html", "correlations.json"} <= files
    note = sweep.data.tags["mlflow.note.content"]
    assert note.count("#### In short") == note.count("#### What was done") == 1
    assert "each unlearned on its own" in note
    assert "flipped the prediction" in note
    with monkeypatch.context() as elsewhere:  # it also looks at the store of the environment
        elsewhere.setenv("MLFLOW_TRACKING_URI", done.store.address.uri)
        table = client.load_table(
            sweep.info.experiment_id, "correlations.json", run_ids=[done.sweep]
        )
    rows = json.loads(indelible(done.folder, "correlate", "--format", "json").out)
    measured = {(row["factor"], row["algorithm"]): row["rho"] for row in rows if row["n"]}
    cells = zip(table["factor"], table["algorithm"], strict=True)
    logged = dict(zip(cells, table["rho"], strict=True))
    assert logged == pytest.approx(measured, rel=1e-12)
    assert indelible(done.folder, "check").code == 0
