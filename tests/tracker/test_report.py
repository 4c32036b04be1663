"""The commands that write the report and the figures."""

from __future__ import annotations

from pathlib import Path

import pytest

from indelible.errors import UserError
from indelible.unlearning import datasets
from tests.tracker.conftest import Done, Indelible


def test_figures_prints_a_path_each(done: Done, indelible: Indelible, tmp_path: Path) -> None:
    answer = indelible(done.folder, "figures", "--format", "svg", "--output", tmp_path)
    assert answer.code == 0
    paths = [Path(line) for line in answer.out.splitlines()]
    assert sorted(paths) == sorted(tmp_path.iterdir())
    assert {"correlations.svg", "factor-margin.svg", "gallery-gt.svg"} <= {p.name for p in paths}


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
    assert "gallery" not in answer.out


@pytest.mark.parametrize(
    ("options", "address"),
    [
        ((), "http://127.0.0.1:5000/#/runs/"),
        (("--ui", "https://mlflow.example/"), "https://mlflow.example/#/runs/"),
    ],
)
def test_links_lead_where_the_ui_is(
    done: Done, indelible: Indelible, tmp_path: Path, options: tuple[str, ...], address: str
) -> None:
    answer = indelible(done.folder, "report", "--output", tmp_path, *options)
    assert f'href="{address}{done.sweep}"' in Path(answer.id).read_text("utf-8")


def test_a_servers_own_address_is_linked_without_its_password(
    done: Done, indelible: Indelible, tmp_path: Path
) -> None:
    server = "https://me:secret@mlflow.example:8443"
    answer = indelible(done.folder, "--tracking-uri", server, "report", "--output", tmp_path)
    page = Path(answer.id).read_text("utf-8")
    assert f'href="https://mlflow.example:8443/#/runs/{done.sweep}"' in page
    assert "secret" not in page


def test_an_address_must_be_one(done: Done, indelible: Indelible) -> None:
    answer = indelible(done.folder, "report", "--ui", "javascript:alert(1)")
    assert answer.code == 2
    assert "--ui is 'javascript:alert(1)'" in answer.err
